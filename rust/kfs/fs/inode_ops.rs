// SPDX-License-Identifier: GPL-2.0

//! Operations that all kinds of inodes have.

use super::{
    acl::{AclType, PosixAcl},
    errno,
    fileattr::FileAttr,
    inode::INode,
    stat::{KStat, StatQuery},
    super_block::FileSystem,
    xattr::XattrList,
};
use crate::bindings;
use core::{marker::PhantomData, ptr};
use kernel::{error::VTABLE_DEFAULT_ERROR, prelude::*};

/// Operations on an inode of any kind.
///
/// What is not implemented is done as for a file system without the feature, except
/// that changing attributes fails with `EOPNOTSUPP`.
#[vtable]
pub trait InodeOperations: Sized + Send + Sync + 'static {
    /// The file system.
    type Fs: FileSystem;

    /// Corrects what `stat` returns; `stat` has been filled from the inode.
    fn getattr(_inode: &INode<Self::Fs>, _stat: &mut KStat, _query: StatQuery) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Says no to writing (`EROFS`, `EACCES`), before permissions are checked.
    fn may_write(_inode: &INode<Self::Fs>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Lists the names of all extended attributes.
    fn listxattr(_inode: &INode<Self::Fs>, _list: &mut XattrList<'_>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Reads an ACL. The VFS caches the result.
    fn get_acl(_inode: &INode<Self::Fs>, _kind: AclType) -> Result<Option<PosixAcl>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Reports the flags of `lsattr`. The default has no flags.
    fn fileattr_get(_inode: &INode<Self::Fs>, _attr: &mut FileAttr) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// The common part of the inode operation tables of `O`.
pub(super) const fn common<O: InodeOperations>() -> bindings::inode_operations {
    bindings::inode_operations {
        getattr: if O::HAS_GETATTR {
            Some(getattr::<O>)
        } else {
            None
        },
        permission: if O::HAS_MAY_WRITE {
            Some(permission::<O>)
        } else {
            None
        },
        listxattr: if O::HAS_LISTXATTR {
            Some(listxattr::<O>)
        } else {
            None
        },
        get_inode_acl: if O::HAS_GET_ACL {
            Some(get_inode_acl::<O>)
        } else {
            None
        },
        fileattr_get: if O::HAS_FILEATTR_GET {
            Some(fileattr_get::<O>)
        } else {
            None
        },
        setattr: Some(setattr),
        ..pin_init::zeroed()
    }
}

/// The operations of pipes, sockets and device nodes.
pub struct SpecialOps<T: FileSystem> {
    pub(super) inode: *const bindings::inode_operations,
    _p: PhantomData<T>,
}

struct SpecialTable<O>(PhantomData<O>);

impl<O: InodeOperations> SpecialTable<O> {
    const INODE: &'static bindings::inode_operations = &common::<O>();
}

impl<T: FileSystem> SpecialOps<T> {
    /// The operations of `O`.
    #[allow(clippy::new_without_default)]
    pub const fn new<O: InodeOperations<Fs = T>>() -> Self {
        Self {
            inode: SpecialTable::<O>::INODE,
            _p: PhantomData,
        }
    }
}

/// # Safety
///
/// Called by the VFS with a path to an inode of the file system of `O`.
unsafe extern "C" fn getattr<O: InodeOperations>(
    idmap: *mut bindings::mnt_idmap,
    path: *const bindings::path,
    stat: *mut bindings::kstat,
    mask: u32,
    _flags: c_uint,
) -> c_int {
    // SAFETY: The dentry of the path is positive.
    let raw = unsafe { (*(*path).dentry).d_inode };
    // SAFETY: All are valid.
    unsafe { bindings::generic_fillattr(idmap, mask, raw, stat) };
    // SAFETY: An inode in use.
    let inode = unsafe { INode::from_raw(raw) };
    // SAFETY: Valid, and used by the callback alone.
    let stat = unsafe { KStat::from_raw(stat) };
    errno(O::getattr(inode, stat, StatQuery { mask }))
}

/// # Safety
///
/// Called by the VFS with an inode of the file system of `O`, maybe in an RCU walk.
unsafe extern "C" fn permission<O: InodeOperations>(
    idmap: *mut bindings::mnt_idmap,
    inode: *mut bindings::inode,
    mask: c_int,
) -> c_int {
    const WRITE: c_int = bindings::MAY_WRITE as c_int;
    const NOT_BLOCK: c_int = bindings::MAY_NOT_BLOCK as c_int;
    if mask & WRITE != 0 {
        if mask & NOT_BLOCK != 0 {
            return -(bindings::ECHILD as c_int);
        }
        // SAFETY: Not in an RCU walk, so in use.
        if let Err(e) = O::may_write(unsafe { INode::from_raw(inode) }) {
            return e.to_errno();
        }
    }
    // SAFETY: All are valid.
    unsafe { bindings::generic_permission(idmap, inode, mask) }
}

/// # Safety
///
/// Called by the VFS with a positive dentry and a buffer of `size` bytes.
unsafe extern "C" fn listxattr<O: InodeOperations>(
    dentry: *mut bindings::dentry,
    buf: *mut c_char,
    size: usize,
) -> isize {
    // SAFETY: The dentry is positive.
    let inode = unsafe { INode::from_raw((*dentry).d_inode) };
    // SAFETY: The buffer is valid for its size.
    unsafe { XattrList::with(buf, size, |list| O::listxattr(inode, list)) }
}

/// # Safety
///
/// Called by the VFS with an inode of the file system of `O`, maybe in an RCU walk.
unsafe extern "C" fn get_inode_acl<O: InodeOperations>(
    inode: *mut bindings::inode,
    kind: c_int,
    rcu: bool,
) -> *mut bindings::posix_acl {
    if rcu {
        return Error::from_errno(-(bindings::ECHILD as c_int)).to_ptr();
    }
    let Some(kind) = AclType::from_raw(kind) else {
        return EINVAL.to_ptr();
    };
    // SAFETY: Not in an RCU walk, so in use.
    match O::get_acl(unsafe { INode::from_raw(inode) }, kind) {
        Ok(Some(acl)) => acl.into_raw(),
        Ok(None) => ptr::null_mut(),
        Err(e) => e.to_ptr(),
    }
}

/// # Safety
///
/// Called by the VFS with a positive dentry of the file system of `O`.
unsafe extern "C" fn fileattr_get<O: InodeOperations>(
    dentry: *mut bindings::dentry,
    attr: *mut bindings::file_kattr,
) -> c_int {
    // SAFETY: The dentry is positive.
    let inode = unsafe { INode::from_raw((*dentry).d_inode) };
    // SAFETY: Valid, and used by the callback alone.
    errno(O::fileattr_get(inode, unsafe { FileAttr::from_raw(attr) }))
}

/// Without an operation the VFS would change the inode in memory only.
///
/// # Safety
///
/// May always be called.
unsafe extern "C" fn setattr(
    _idmap: *mut bindings::mnt_idmap,
    _dentry: *mut bindings::dentry,
    _attr: *mut bindings::iattr,
) -> c_int {
    EOPNOTSUPP.to_errno()
}
