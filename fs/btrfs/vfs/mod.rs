// SPDX-License-Identifier: GPL-2.0

//! The VFS side: what the kernel calls, translated to the layers below.
//!
//! Thin on purpose: each callback checks what it got, calls [`inode`](crate::inode),
//! [`dir`](crate::dir), [`data`](crate::data), [`xattr`](crate::xattr) or
//! [`mount`](crate::mount), and translates the answer.

#![forbid(unsafe_code)]

mod dir;
mod export;
mod file;
pub(crate) mod handle;
mod node;
mod stub;
mod super_ops;
#[cfg(CONFIG_KUNIT = "y")]
mod tests;
mod xattr;

use crate::inode::verity;
use kfs::fs::{ExportOps, INode, SuperBlock, TypeSlot, VerityOps, XattrHandlers};

/// The file system type.
pub(crate) struct Btrfs;

/// The operations of all inodes that a tree knows.
pub(crate) struct Node;

/// The operations of stubs; see [`crate::inode`].
pub(crate) struct Stub;

/// An inode in memory.
pub(crate) type BtrfsInode = INode<Btrfs>;
/// A mounted super block.
pub(crate) type BtrfsSuper = SuperBlock<Btrfs>;

/// What the VFS keeps of the type.
pub(crate) static SLOT: TypeSlot = TypeSlot::new();

/// The operations on file handles.
pub(crate) fn export_ops() -> ExportOps<Btrfs> {
    ExportOps::new::<export::Handles>()
}

/// What knows the metadata of files with verity.
pub(crate) fn verity_ops() -> VerityOps<Btrfs> {
    VerityOps::new::<verity::Metadata>()
}

/// The handlers of extended attributes.
pub(crate) fn xattr_handlers() -> XattrHandlers<Btrfs> {
    xattr::handlers()
}
