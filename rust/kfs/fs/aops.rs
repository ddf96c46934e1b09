// SPDX-License-Identifier: GPL-2.0

//! The operation table of a page cache.

use super::{inode::INode, super_block::FileSystem};
use crate::{
    bindings,
    iomap::{address_space_operations, InodeRef, IomapWriteOps},
};
use core::{marker::PhantomData, ptr::NonNull};

// SAFETY: `from_raw` gives the only reference type there is for inodes of `T`, with the same
// requirements.
unsafe impl<T: FileSystem> InodeRef for INode<T> {
    unsafe fn from_raw<'a>(inode: NonNull<bindings::inode>) -> &'a Self {
        // SAFETY: By the requirements of this function.
        unsafe { INode::from_raw(inode.as_ptr()) }
    }

    fn as_raw(&self) -> *mut bindings::inode {
        INode::as_raw(self)
    }
}

/// How the page cache of a regular file reads and writes its data.
pub struct AddressSpaceOps<T: FileSystem> {
    pub(super) table: *const bindings::address_space_operations,
    _p: PhantomData<T>,
}

// SAFETY: The pointer refers to a constant.
unsafe impl<T: FileSystem> Send for AddressSpaceOps<T> {}
// SAFETY: As above.
unsafe impl<T: FileSystem> Sync for AddressSpaceOps<T> {}

struct Table<O>(PhantomData<O>);

impl<O: IomapWriteOps> Table<O> {
    const TABLE: &'static bindings::address_space_operations = &address_space_operations::<O>();
}

impl<T: FileSystem> AddressSpaceOps<T> {
    /// Reads and writes through iomap, with the mappings of `O`.
    #[allow(clippy::new_without_default)]
    pub const fn new<O: IomapWriteOps<Inode = INode<T>>>() -> Self {
        Self {
            table: Table::<O>::TABLE,
            _p: PhantomData,
        }
    }
}
