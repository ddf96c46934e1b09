// SPDX-License-Identifier: GPL-2.0

//! Operations that all kinds of inodes have.

use super::{
    acl::{self, AclType, PosixAcl},
    errno,
    fileattr::FileAttr,
    idmap::IdMap,
    inode::INode,
    setattr::SetAttr,
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
/// that changing attributes fails with `EOPNOTSUPP`, and changing times does nothing.
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

    /// Changes attributes that the caller may change. The inode lock is held.
    fn setattr(_inode: &INode<Self::Fs>, _attr: &SetAttr<'_, Self::Fs>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Stores the times and the version of the inode, which have changed in memory.
    fn update_time(_inode: &INode<Self::Fs>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Stores an ACL, or removes it, together with the inode, of which the permissions may
    /// have changed.
    fn set_acl(_inode: &INode<Self::Fs>, _kind: AclType, _value: Option<&[u8]>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Changes the flags of `chattr`. The VFS has checked who may; the inode lock is held.
    fn fileattr_set(_inode: &INode<Self::Fs>, _attr: &FileAttr, _idmap: &IdMap) -> Result {
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
        fileattr_set: if O::HAS_FILEATTR_SET {
            Some(fileattr_set::<O>)
        } else {
            None
        },
        set_acl: if O::HAS_SET_ACL {
            Some(set_acl::<O>)
        } else {
            None
        },
        update_time: Some(update_time::<O>),
        setattr: Some(setattr::<O>),
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

/// Whether anything in the subvolume may be changed.
fn check_writable<O: InodeOperations>(inode: &INode<O::Fs>) -> Result {
    if O::HAS_MAY_WRITE {
        O::may_write(inode)?;
    }
    Ok(())
}

/// Without an operation the VFS would change the inode in memory only.
///
/// # Safety
///
/// Called by the VFS with a positive dentry of the file system of `O`, whose inode is locked.
unsafe extern "C" fn setattr<O: InodeOperations>(
    idmap: *mut bindings::mnt_idmap,
    dentry: *mut bindings::dentry,
    attr: *mut bindings::iattr,
) -> c_int {
    if !O::HAS_SETATTR {
        return EOPNOTSUPP.to_errno();
    }
    // SAFETY: The dentry is positive.
    let inode = unsafe { INode::<O::Fs>::from_raw((*dentry).d_inode) };
    if let Err(e) = check_writable::<O>(inode) {
        return e.to_errno();
    }
    // SAFETY: All are valid.
    let ret = unsafe { bindings::setattr_prepare(idmap, dentry, attr) };
    if ret != 0 {
        return ret;
    }
    // INVARIANT: All are valid during the call.
    let attr = SetAttr {
        idmap,
        dentry,
        attr,
        _p: PhantomData,
    };
    errno(O::setattr(inode, &attr))
}

/// # Safety
///
/// Called by the VFS with an inode of the file system of `O`.
unsafe extern "C" fn update_time<O: InodeOperations>(
    inode: *mut bindings::inode,
    kind: bindings::fs_update_time,
    flags: c_uint,
) -> c_int {
    if !O::HAS_UPDATE_TIME {
        return 0;
    }
    // SAFETY: In use.
    let node = unsafe { INode::<O::Fs>::from_raw(inode) };
    if let Err(e) = check_writable::<O>(node) {
        return e.to_errno();
    }
    // Whoever does not want to wait gets `EAGAIN` here, unless times are stored lazily.
    // SAFETY: Valid.
    let dirty = unsafe { bindings::inode_update_time(inode, kind, flags) };
    if dirty <= 0 {
        return dirty;
    }
    if dirty == bindings::I_DIRTY_TIME as c_int {
        // Lazily: the VFS says when it is time.
        // SAFETY: Valid.
        unsafe { bindings::__mark_inode_dirty(inode, dirty) };
        return 0;
    }
    errno(O::update_time(node))
}

/// # Safety
///
/// Called by the VFS with a positive dentry of the file system of `O`, whose inode is locked.
unsafe extern "C" fn set_acl<O: InodeOperations>(
    idmap: *mut bindings::mnt_idmap,
    dentry: *mut bindings::dentry,
    acl: *mut bindings::posix_acl,
    raw_kind: c_int,
) -> c_int {
    let Some(kind) = AclType::from_raw(raw_kind) else {
        return EINVAL.to_errno();
    };
    // SAFETY: The dentry is positive.
    let inode = unsafe { INode::<O::Fs>::from_raw((*dentry).d_inode) };
    if let Err(e) = check_writable::<O>(inode) {
        return e.to_errno();
    }
    if kind == AclType::Default && !inode.is_dir() {
        return match acl.is_null() {
            true => 0,
            false => EINVAL.to_errno(),
        };
    }
    let mut acl = acl;
    let old = inode.mode();
    if kind == AclType::Access && !acl.is_null() {
        let mut mode = old;
        // SAFETY: All are valid. An ACL that says no more than the mode becomes null.
        let ret =
            unsafe { bindings::posix_acl_update_mode(idmap, inode.as_raw(), &mut mode, &mut acl) };
        if ret != 0 {
            return ret;
        }
        inode.set_perm(mode);
    }
    let value = match acl.is_null() {
        true => Ok(None),
        // SAFETY: A valid ACL.
        false => unsafe { acl::xattr_value(acl) }.map(Some),
    };
    match value.and_then(|value| O::set_acl(inode, kind, value.as_deref())) {
        Ok(()) => {
            // SAFETY: Valid; it takes a reference of its own.
            unsafe { bindings::set_cached_acl(inode.as_raw(), raw_kind, acl) };
            0
        }
        Err(e) => {
            inode.set_perm(old);
            e.to_errno()
        }
    }
}

/// # Safety
///
/// Called by the VFS with a positive dentry of the file system of `O`, whose inode is locked.
unsafe extern "C" fn fileattr_set<O: InodeOperations>(
    idmap: *mut bindings::mnt_idmap,
    dentry: *mut bindings::dentry,
    attr: *mut bindings::file_kattr,
) -> c_int {
    // SAFETY: The dentry is positive.
    let inode = unsafe { INode::<O::Fs>::from_raw((*dentry).d_inode) };
    if let Err(e) = check_writable::<O>(inode) {
        return e.to_errno();
    }
    // SAFETY: Both are valid, and used by the callback alone.
    let (attr, idmap) = unsafe { (FileAttr::from_raw(attr), IdMap::from_raw(idmap)) };
    errno(O::fileattr_set(inode, attr, idmap))
}
