// SPDX-License-Identifier: GPL-2.0

//! The virtual file system.
//!
//! A file system implements [`FileSystem`] and a few operation traits, and
//! registers itself with a [`Registration`]. What the VFS calls are private
//! `extern "C"` shims; the traits see only safe types:
//!
//! | type | stands for |
//! | --- | --- |
//! | [`FsContext`] | `struct fs_context`: a mount or remount under way |
//! | [`SuperBlock<T, New>`], [`SuperBlock<T>`] | a super block before and after its private data exists |
//! | [`INode<T>`], [`NewInode<T>`] | an initialised inode, and one that only its creator sees |
//! | [`Draft<T>`], [`Created<T>`] | an inode that is not on disk yet, without and with a number |
//! | [`File<T>`], [`DirEmitter`], [`KStat`], ... | the argument of one callback |
//!
//! # Life of a super block
//!
//! A mount computes a *key* ([`FileSystem::super_key`]) that says which file
//! system is meant. An existing super block of an equal key is reused;
//! otherwise [`FileSystem::fill_super`] opens the file system and
//! [`FileSystem::root`] reads its root directory. [`FileSystem::put_super`] is
//! called once for each successful `fill_super`, when no inode is left.
//!
//! # Rules that types cannot express
//!
//! * An `ARef<INode<T>>` must not outlive the mount: what the private data of the
//!   super block holds is dropped in [`FileSystem::put_super`].
//! * References to inodes are dropped in process context (`iput` may sleep).
//! * Private data of an inode is gone when an RCU path walk may still see the C
//!   inode; so no operation trait is called in that mode, the shims send the
//!   walk into its slow mode instead.

mod acl;
mod anon_dev;
mod aops;
mod background;
mod context;
mod create;
mod dir;
mod export;
mod fiemap;
mod file;
mod fileattr;
mod held_name;
mod idmap;
mod inode;
mod inode_cache;
mod inode_data;
mod inode_edit;
mod inode_ops;
mod kiocb;
mod mount;
mod names;
mod new_inode;
mod params;
mod registration;
mod seq;
mod setattr;
mod stat;
mod super_block;
mod super_ops;
mod symlink;
mod types;
mod user_pages;
mod verity;
mod xattr;

pub use acl::{AclType, PosixAcl};
pub use anon_dev::AnonDev;
pub use aops::AddressSpaceOps;
pub use background::Held;
pub use context::{FsContext, Purpose};
pub use create::{Created, Draft, InitialXattr, NewAttributes, NewEntry};
pub use dir::{DirEmitter, DirOperations, DirOps};
pub use export::{EncodedHandle, ExportOperations, ExportOps, NameBuf};
pub use fiemap::FiemapInfo;
pub use file::{Fallocate, File, FileOperations, FileOps, SeekKind, WriteAccess};
pub use fileattr::FileAttr;
pub use held_name::{NameToMake, NameToRemove};
pub use idmap::{capable, Access, Capability, IdMap};
pub use inode::INode;
pub use inode_data::{DirectIo, ExclusiveLock, InvalidateLock};
pub use inode_ops::{InodeOperations, SpecialOps};
pub use kiocb::{Detached, Kiocb, Outcome, Queued};
pub use names::{Place, Rename, RenameFlags};
pub use new_inode::{INodeParams, InodeEntry, InodeFlags, InodeKind, NewInode};
pub use params::{EnumEntry, Param, ParamSpec, Params};
pub use registration::{FsFlags, Registration, TypeSlot};
pub use seq::seq_escape;
pub use setattr::SetAttr;
pub use stat::{KStat, StatFs, StatQuery};
pub use super_block::{
    FileSystem, InodeKey, InternalWrite, New, Ready, SbFlags, SuperBlock, WeakSuper,
};
pub use symlink::{LinkOperations, LinkOps};
pub use types::{current_time, mode, DType, DeviceNumber, Timespec};
pub use user_pages::UserPages;
pub use verity::{VerityOperations, VerityOps};
pub use xattr::{XattrBuf, XattrHandler, XattrHandlers, XattrList, XattrOperations, XattrSet};

use kernel::error::Result;

/// What a C callback returns for `r`: 0 or a negative errno.
pub(crate) fn errno(r: Result) -> core::ffi::c_int {
    match r {
        Ok(()) => 0,
        Err(e) => e.to_errno(),
    }
}
