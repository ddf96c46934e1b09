// SPDX-License-Identifier: GPL-2.0

//! Names that an ioctl makes or removes, as the system calls for that do.
//!
//! C header: [`include/linux/namei.h`](srctree/include/linux/namei.h)

use super::{create::Created, file::File, idmap::IdMap, inode::INode, super_block::FileSystem};
use crate::bindings;
use core::marker::PhantomData;
use kernel::{
    error::{from_err_ptr, to_result},
    prelude::*,
    sync::aref::ARef,
    types::NotThreadSafe,
};

/// A dentry of a directory, of which a reference is held.
///
/// # Invariants
///
/// Owns a reference to a positive dentry of a directory of `T`.
struct DirRef<T: FileSystem>(*mut bindings::dentry, PhantomData<T>);

impl<T: FileSystem> Drop for DirRef<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::dput(self.0) };
    }
}

/// A name in a directory, of which the inode lock is held.
///
/// # Invariants
///
/// `dentry` came from one of the `start_` functions and is not ended yet; `dir` is its parent's
/// reference.
struct HeldName<'a, T: FileSystem> {
    dentry: *mut bindings::dentry,
    dir: DirRef<T>,
    idmap: &'a IdMap,
    _task: NotThreadSafe,
}

impl<T: FileSystem> HeldName<'_, T> {
    fn dir(&self) -> &INode<T> {
        // SAFETY: The dentry of a directory is positive, and its inode initialised.
        unsafe { INode::from_raw((*self.dir.0).d_inode) }
    }
}

impl<T: FileSystem> Drop for HeldName<'_, T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant; this unlocks the directory.
        unsafe { bindings::end_dirop(self.dentry) };
    }
}

/// The name as the VFS wants it. The hash is computed by who gets it.
fn qstr(name: &[u8]) -> Result<bindings::qstr> {
    let mut qstr = bindings::qstr::default();
    qstr.__bindgen_anon_1.__bindgen_anon_1.len = u32::try_from(name.len())?;
    qstr.name = name.as_ptr();
    Ok(qstr)
}

/// A name that does not exist yet, in a directory in which the caller may make it.
pub struct NameToMake<'a, T: FileSystem>(HeldName<'a, T>);

impl<'a, T: FileSystem> NameToMake<'a, T> {
    /// Looks `name` up in the open directory and checks what the caller may do.
    ///
    /// # Errors
    ///
    /// `EEXIST`, `EINTR` when the task is killed, and what permissions say.
    pub fn new(dir: &'a File<T>, name: &[u8]) -> Result<Self> {
        let idmap = dir.idmap();
        let mut name = qstr(name)?;
        // SAFETY: The dentry of an open file is valid; we take a reference of our own.
        let parent = DirRef(unsafe { bindings::kfs_dget(dir.dentry()) }, PhantomData);
        // SAFETY: All are valid.
        let dentry = from_err_ptr(unsafe {
            bindings::start_creating_killable(idmap.as_raw(), parent.0, &mut name)
        })?;
        // INVARIANT: Just started.
        let held = HeldName {
            dentry,
            dir: parent,
            idmap,
            _task: NotThreadSafe,
        };
        // SAFETY: All are valid, the directory is locked.
        to_result(unsafe {
            bindings::may_create_dentry(idmap.as_raw(), held.dir().as_raw(), dentry)
        })?;
        Ok(Self(held))
    }

    /// The directory.
    pub fn dir(&self) -> &INode<T> {
        self.0.dir()
    }

    /// The id mapping of the mount.
    pub fn idmap(&self) -> &IdMap {
        self.0.idmap
    }

    /// Publishes the directory `created` under the name.
    pub fn publish(self, created: Created<T>) {
        // SAFETY: The dentry is negative and takes over the reference; the inode is new.
        unsafe {
            bindings::d_instantiate_new(self.0.dentry, created.into_raw().as_ptr());
            bindings::kfs_fsnotify_mkdir(self.dir().as_raw(), self.0.dentry);
        }
    }
}

/// A name of a directory that is to be removed.
pub struct NameToRemove<'a, T: FileSystem>(HeldName<'a, T>);

impl<'a, T: FileSystem> NameToRemove<'a, T> {
    /// Looks `name` up in the open directory.
    ///
    /// # Errors
    ///
    /// `ENOENT`, `EINTR` when the task is killed, and what permissions to search say.
    pub fn new(dir: &'a File<T>, name: &[u8]) -> Result<Self> {
        // SAFETY: The dentry of an open file is valid; we take a reference of our own.
        let parent = DirRef(unsafe { bindings::kfs_dget(dir.dentry()) }, PhantomData);
        Self::start(parent, dir.idmap(), name)
    }

    /// Looks `name` up in the directory `dir`, which may be outside of every mount.
    pub fn in_directory(dir: ARef<INode<T>>, idmap: &'a IdMap, name: &[u8]) -> Result<Self> {
        if !dir.is_dir() {
            return Err(ENOTDIR);
        }
        let inode = ARef::into_raw(dir).as_ptr().cast();
        // SAFETY: The inode is in use; the reference is consumed.
        let dentry = from_err_ptr(unsafe { bindings::d_obtain_alias(inode) })?;
        // INVARIANT: The dentry is that of a directory, with a new reference.
        Self::start(DirRef(dentry, PhantomData), idmap, name)
    }

    fn start(parent: DirRef<T>, idmap: &'a IdMap, name: &[u8]) -> Result<Self> {
        let mut name = qstr(name)?;
        // SAFETY: All are valid.
        let dentry = from_err_ptr(unsafe {
            bindings::start_removing_killable(idmap.as_raw(), parent.0, &mut name)
        })?;
        // INVARIANT: Just started.
        Ok(Self(HeldName {
            dentry,
            dir: parent,
            idmap,
            _task: NotThreadSafe,
        }))
    }

    /// The directory that has the name.
    pub fn dir(&self) -> &INode<T> {
        self.0.dir()
    }

    /// What the name stands for.
    pub fn inode(&self) -> &INode<T> {
        // SAFETY: The name exists, and cannot go while the directory is locked.
        unsafe { INode::from_raw((*self.0.dentry).d_inode) }
    }

    /// `EPERM`, `ENOTDIR`, ...: whether the caller may remove it as a directory.
    pub fn check(&self) -> Result {
        // SAFETY: All are valid, the directory is locked.
        to_result(unsafe {
            bindings::may_delete_dentry(
                self.0.idmap.as_raw(),
                self.dir().as_raw(),
                self.0.dentry,
                true,
            )
        })
    }

    /// Tells the VFS that the directory is gone, with all that is in it.
    pub fn removed(self) {
        // SAFETY: The dentry is positive and valid.
        unsafe {
            bindings::d_invalidate(self.0.dentry);
            bindings::kfs_d_delete_notify(self.dir().as_raw(), self.0.dentry);
        }
    }
}
