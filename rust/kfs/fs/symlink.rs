// SPDX-License-Identifier: GPL-2.0

//! Symbolic links.
//!
//! The target is read at the first use and then kept with the inode, so that path
//! walks under RCU can follow it.

use super::{
    inode::INode,
    inode_ops::{common, InodeOperations},
    super_block::FileSystem,
};
use crate::bindings;
use core::marker::PhantomData;
use kernel::prelude::*;

/// Operations on a symbolic link.
#[vtable]
pub trait LinkOperations: InodeOperations {
    /// Reads the target, without a terminating NUL.
    fn read_link(inode: &INode<Self::Fs>) -> Result<KVec<u8>>;
}

/// The operation table of a symbolic link.
pub struct LinkOps<T: FileSystem> {
    pub(super) inode: *const bindings::inode_operations,
    _p: PhantomData<T>,
}

impl<T: FileSystem> LinkOps<T> {
    /// The operations of `O`.
    #[allow(clippy::new_without_default)]
    pub const fn new<O: LinkOperations<Fs = T>>() -> Self {
        Self {
            inode: LinkTable::<O>::INODE,
            _p: PhantomData,
        }
    }
}

struct LinkTable<O>(PhantomData<O>);

impl<O: LinkOperations> LinkTable<O> {
    const INODE: &'static bindings::inode_operations = &bindings::inode_operations {
        get_link: Some(Self::get_link),
        ..common::<O>()
    };

    /// # Safety
    ///
    /// Called by the VFS with a symbolic link of the file system of `O`.
    unsafe extern "C" fn get_link(
        dentry: *mut bindings::dentry,
        inode: *mut bindings::inode,
        _done: *mut bindings::delayed_call,
    ) -> *const c_char {
        if dentry.is_null() {
            // An RCU walk, which finds a target that has been read without us.
            return Error::from_errno(-(bindings::ECHILD as c_int)).to_ptr();
        }
        // SAFETY: Not in an RCU walk, so in use.
        let target = O::read_link(unsafe { INode::from_raw(inode) }).and_then(|mut target| {
            target.push(0, GFP_KERNEL)?;
            Ok(target)
        });
        let target = match target {
            Ok(target) => target,
            Err(e) => return e.to_ptr(),
        };
        let (ptr, len, cap) = target.into_raw_parts();
        // SAFETY: A NUL-terminated string in memory from kmalloc, which the inode owns from
        // now on: `free_inode` frees it.
        if !unsafe { bindings::kfs_set_cached_link(inode, ptr.cast()) } {
            // SAFETY: Another task was first, so the memory is still ours.
            drop(unsafe { KVec::from_raw_parts(ptr, len, cap) });
        }
        // SAFETY: Set, by us or the other task, and never changed again.
        unsafe { (*inode).__bindgen_anon_5.i_link }
    }
}
