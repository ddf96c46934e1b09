// SPDX-License-Identifier: GPL-2.0

//! What the VFS calls to change the names in a directory.
//!
//! The VFS holds the inode locks of the directories, and of inodes that lose or get a name, so
//! names are stable and nobody else changes the same ones.

use super::{
    create::{Created, NewEntry},
    dir::DirOperations,
    errno,
    idmap::IdMap,
    inode::INode,
    super_block::FileSystem,
    types::{mode, DeviceNumber},
};
use crate::bindings;
use core::{marker::PhantomData, ptr};
use kernel::prelude::*;

/// How a rename goes beyond moving one name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RenameFlags(u32);

impl RenameFlags {
    /// Both names exchange what they stand for; both exist.
    pub fn is_exchange(self) -> bool {
        self.0 & bindings::RENAME_EXCHANGE != 0
    }

    /// A whiteout, the character device 0:0, takes the place of the old name.
    pub fn is_whiteout(self) -> bool {
        self.0 & bindings::RENAME_WHITEOUT != 0
    }
}

/// One end of a rename.
pub struct Place<'a, T: FileSystem> {
    /// The directory.
    pub dir: &'a INode<T>,
    /// The name in it.
    pub name: &'a [u8],
}

/// A rename.
pub struct Rename<'a, T: FileSystem> {
    /// The name that goes.
    pub from: Place<'a, T>,
    /// What it stands for.
    pub inode: &'a INode<T>,
    /// The name that comes.
    pub to: Place<'a, T>,
    /// What the new name stands for before, if it exists: it is replaced, or exchanged.
    pub target: Option<&'a INode<T>>,
    /// How.
    pub flags: RenameFlags,
}

/// The name of a dentry.
///
/// # Safety
///
/// `dentry` must be valid, and its name must not change, for `'a`.
pub(super) unsafe fn name_of<'a>(dentry: *mut bindings::dentry) -> &'a [u8] {
    // SAFETY: By the requirement of this function.
    unsafe {
        let q = &(*dentry).__bindgen_anon_1.d_name;
        let len = q.__bindgen_anon_1.__bindgen_anon_1.len;
        core::slice::from_raw_parts(q.name, len as usize)
    }
}

/// Takes a name out, as `how` does it.
///
/// # Safety
///
/// `dir` and the positive `dentry` in it must be of the file system of `T`, both locked.
unsafe fn remove<T: FileSystem>(
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
    how: fn(&INode<T>, &[u8], &INode<T>) -> Result,
) -> c_int {
    // SAFETY: By the requirement of this function: valid, and the name is stable.
    let (dir, name, inode) = unsafe {
        let inode = INode::from_raw((*dentry).d_inode);
        (INode::from_raw(dir), name_of(dentry), inode)
    };
    errno(how(dir, name, inode))
}

/// The shims. All are called by the VFS with a directory of the file system of `O`, of which it
/// holds the lock, and with dentries in it.
pub(super) struct Names<O>(PhantomData<O>);

impl<O: DirOperations> Names<O> {
    /// # Safety
    ///
    /// The arguments must be those of a callback that makes an entry.
    unsafe fn make(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        entry: &NewEntry<'_>,
    ) -> Result {
        // SAFETY: The directory is in use, its names are stable.
        let (dir, name) = unsafe { (INode::from_raw(dir), name_of(dentry)) };
        // SAFETY: The mapping is valid during the call.
        let created = O::create(dir, name, entry, unsafe { IdMap::from_raw(idmap) })?;
        // SAFETY: The dentry is negative and takes over the reference; the inode is new.
        unsafe { bindings::d_instantiate_new(dentry, created.into_raw().as_ptr()) };
        Ok(())
    }

    /// # Safety
    ///
    /// See [`Names`].
    pub(super) unsafe extern "C" fn create(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        perm: bindings::umode_t,
    ) -> c_int {
        let entry = entry((perm & !mode::S_IFMT) | mode::S_IFREG);
        // SAFETY: As of this function.
        errno(unsafe { Self::make(idmap, dir, dentry, &entry) })
    }

    /// # Safety
    ///
    /// See [`Names`].
    pub(super) unsafe extern "C" fn mkdir(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        perm: bindings::umode_t,
    ) -> *mut bindings::dentry {
        let entry = entry((perm & !mode::S_IFMT) | mode::S_IFDIR);
        // SAFETY: As of this function.
        match unsafe { Self::make(idmap, dir, dentry, &entry) } {
            // The dentry that was passed is used.
            Ok(()) => ptr::null_mut(),
            Err(e) => e.to_ptr(),
        }
    }

    /// # Safety
    ///
    /// See [`Names`].
    pub(super) unsafe extern "C" fn mknod(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: bindings::umode_t,
        dev: bindings::dev_t,
    ) -> c_int {
        let entry = NewEntry {
            dev: DeviceNumber::from_raw(dev),
            ..entry(mode)
        };
        // SAFETY: As of this function.
        errno(unsafe { Self::make(idmap, dir, dentry, &entry) })
    }

    /// # Safety
    ///
    /// See [`Names`]; `target` must be a string.
    pub(super) unsafe extern "C" fn symlink(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        target: *const c_char,
    ) -> c_int {
        // SAFETY: As of this function.
        let target = unsafe { CStr::from_char_ptr(target) };
        let entry = NewEntry {
            target: Some(target.to_bytes()),
            ..entry(mode::S_IFLNK | 0o777)
        };
        // SAFETY: As of this function.
        errno(unsafe { Self::make(idmap, dir, dentry, &entry) })
    }

    /// # Safety
    ///
    /// See [`Names`]; `file` is being opened.
    pub(super) unsafe extern "C" fn tmpfile(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        file: *mut bindings::file,
        mode: bindings::umode_t,
    ) -> c_int {
        // SAFETY: All are valid during the call.
        let (dir, idmap) = unsafe { (INode::from_raw(dir), IdMap::from_raw(idmap)) };
        let created: Created<O::Fs> = match O::tmpfile(dir, &entry(mode), idmap) {
            Ok(created) => created,
            Err(e) => return e.to_errno(),
        };
        // SAFETY: The dentry of the file is negative and takes over the reference; the inode
        // is new.
        unsafe { bindings::kfs_finish_tmpfile(file, created.into_raw().as_ptr()) }
    }

    /// # Safety
    ///
    /// See [`Names`]; `old` is positive and the lock of its inode is held.
    pub(super) unsafe extern "C" fn link(
        old: *mut bindings::dentry,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
    ) -> c_int {
        // SAFETY: All are valid, their names stable.
        let (dir, name, inode) = unsafe { (INode::from_raw(dir), name_of(dentry), (*old).d_inode) };
        // SAFETY: In use.
        if let Err(e) = O::link(dir, name, unsafe { INode::from_raw(inode) }) {
            return e.to_errno();
        }
        // SAFETY: The inode is in use; the negative dentry takes over the new reference.
        unsafe {
            bindings::ihold(inode);
            bindings::d_instantiate(dentry, inode);
        }
        0
    }

    /// # Safety
    ///
    /// See [`Names`]; `dentry` is positive and the lock of its inode is held.
    pub(super) unsafe extern "C" fn unlink(
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
    ) -> c_int {
        // SAFETY: The arguments are those of the VFS.
        unsafe { remove(dir, dentry, O::unlink) }
    }

    /// # Safety
    ///
    /// See [`Names`]; `dentry` is positive and the lock of its inode is held.
    pub(super) unsafe extern "C" fn rmdir(
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
    ) -> c_int {
        // SAFETY: The arguments are those of the VFS.
        unsafe { remove(dir, dentry, O::rmdir) }
    }

    /// # Safety
    ///
    /// See [`Names`]; `old` is positive, and all locks are held.
    pub(super) unsafe extern "C" fn rename(
        idmap: *mut bindings::mnt_idmap,
        old_dir: *mut bindings::inode,
        old: *mut bindings::dentry,
        new_dir: *mut bindings::inode,
        new: *mut bindings::dentry,
        flags: c_uint,
    ) -> c_int {
        const KNOWN: u32 =
            bindings::RENAME_NOREPLACE | bindings::RENAME_EXCHANGE | bindings::RENAME_WHITEOUT;
        if flags & !KNOWN != 0 {
            return EINVAL.to_errno();
        }
        // SAFETY: All are valid, their names stable.
        let (rename, idmap) = unsafe {
            let target = (*new).d_inode;
            let rename = Rename {
                from: Place {
                    dir: INode::from_raw(old_dir),
                    name: name_of(old),
                },
                inode: INode::from_raw((*old).d_inode),
                to: Place {
                    dir: INode::from_raw(new_dir),
                    name: name_of(new),
                },
                target: (!target.is_null()).then(|| INode::from_raw(target)),
                flags: RenameFlags(flags),
            };
            (rename, IdMap::from_raw(idmap))
        };
        errno(O::rename(&rename, idmap))
    }
}

fn entry(mode: u16) -> NewEntry<'static> {
    NewEntry {
        mode,
        dev: DeviceNumber::default(),
        target: None,
    }
}
