// SPDX-License-Identifier: GPL-2.0

//! Directories.

use super::{
    create::{Created, NewEntry},
    errno,
    file::File,
    idmap::IdMap,
    inode::INode,
    inode_ops::{common, InodeOperations},
    names::{name_of, Names, Rename},
    super_block::FileSystem,
    types::DType,
};
use crate::bindings;
use core::{marker::PhantomData, ptr};
use kernel::{error::VTABLE_DEFAULT_ERROR, prelude::*, sync::aref::ARef, types::ForeignOwnable};

/// Takes the entries that `getdents` returns.
///
/// # Invariants
///
/// Both pointers are valid; the file is an open directory.
pub struct DirEmitter<'a> {
    ctx: *mut bindings::dir_context,
    file: *mut bindings::file,
    _p: PhantomData<&'a mut ()>,
}

impl DirEmitter<'_> {
    /// The position at which to go on. 0 is the beginning; other values are those that
    /// were passed to [`Self::emit`], or anything that user space seeks to.
    pub fn pos(&self) -> i64 {
        // SAFETY: Valid by the type invariant.
        unsafe { (*self.ctx).pos }
    }

    /// Sets the position, for example behind entries that are not shown.
    pub fn set_pos(&mut self, pos: i64) {
        // SAFETY: Valid by the type invariant.
        unsafe { (*self.ctx).pos = pos };
    }

    /// Emits an entry at the current position and, when it was taken, moves on to `next`.
    ///
    /// Returns false when the caller's buffer is full: return `Ok(())` then.
    pub fn emit(&mut self, name: &[u8], ino: u64, kind: DType, next: i64) -> bool {
        let Ok(len) = c_int::try_from(name.len()) else {
            return false;
        };
        // SAFETY: Valid by the type invariant; the name is valid for its length.
        let taken = unsafe {
            bindings::kfs_dir_emit(self.ctx, name.as_ptr().cast(), len, ino, kind as c_uint)
        };
        if taken {
            self.set_pos(next);
        }
        taken
    }

    /// Emits `.` and `..` where the position is before them; they take the positions 0
    /// and 1, and 2 follows.
    ///
    /// Returns false when the caller's buffer is full.
    pub fn emit_dots(&mut self) -> bool {
        // SAFETY: Valid by the type invariant.
        unsafe { bindings::kfs_dir_emit_dots(self.file, self.ctx) }
    }
}

/// Operations on a directory.
#[vtable]
pub trait DirOperations: InodeOperations {
    /// What the file system keeps for each time a directory is opened. `()` costs nothing.
    type Open: Send + Sync;

    /// Finds the entry `name`.
    fn lookup(dir: &INode<Self::Fs>, name: &[u8]) -> Result<Option<ARef<INode<Self::Fs>>>>;

    /// Opens the directory.
    fn open(dir: &INode<Self::Fs>) -> Result<Self::Open>;

    /// Emits entries from `out.pos()` on, until the buffer is full or the directory ends.
    fn iterate(dir: &INode<Self::Fs>, open: &Self::Open, out: &mut DirEmitter<'_>) -> Result;

    /// An ioctl; `ENOTTY` for unknown ones.
    fn ioctl(_file: &File<Self::Fs>, _cmd: u32, _arg: usize) -> Result<isize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// An ioctl of a 32-bit program. The default calls [`Self::ioctl`].
    fn compat_ioctl(_file: &File<Self::Fs>, _cmd: u32, _arg: usize) -> Result<isize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes the directory durable. Without it `fsync` is an error.
    fn fsync(_file: &File<Self::Fs>, _datasync: bool) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes a file, directory, symbolic link or special file and gives it the name `name`,
    /// which does not exist yet.
    fn create(
        _dir: &INode<Self::Fs>,
        _name: &[u8],
        _entry: &NewEntry<'_>,
        _idmap: &IdMap,
    ) -> Result<Created<Self::Fs>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes a regular file without a name.
    fn tmpfile(
        _dir: &INode<Self::Fs>,
        _entry: &NewEntry<'_>,
        _idmap: &IdMap,
    ) -> Result<Created<Self::Fs>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Gives `inode`, which is no directory, another name.
    fn link(_dir: &INode<Self::Fs>, _name: &[u8], _inode: &INode<Self::Fs>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Takes the name `name` away from `inode`, which is no directory.
    fn unlink(_dir: &INode<Self::Fs>, _name: &[u8], _inode: &INode<Self::Fs>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Removes the directory `inode`.
    ///
    /// # Errors
    ///
    /// `ENOTEMPTY`.
    fn rmdir(_dir: &INode<Self::Fs>, _name: &[u8], _inode: &INode<Self::Fs>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Moves or exchanges names. The VFS has checked whether a target may be replaced, except
    /// for whether a directory is empty.
    fn rename(_rename: &Rename<'_, Self::Fs>, _idmap: &IdMap) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// The operation tables of a directory.
pub struct DirOps<T: FileSystem> {
    pub(super) inode: *const bindings::inode_operations,
    pub(super) file: *const bindings::file_operations,
    _p: PhantomData<T>,
}

impl<T: FileSystem> DirOps<T> {
    /// The operations of `O`.
    #[allow(clippy::new_without_default)]
    pub const fn new<O: DirOperations<Fs = T>>() -> Self {
        Self {
            inode: DirTable::<O>::INODE,
            file: DirTable::<O>::FILE,
            _p: PhantomData,
        }
    }
}

struct DirTable<O>(PhantomData<O>);

impl<O: DirOperations> DirTable<O> {
    const INODE: &'static bindings::inode_operations = &bindings::inode_operations {
        lookup: Some(Self::lookup),
        create: if <O as DirOperations>::HAS_CREATE {
            Some(Names::<O>::create)
        } else {
            None
        },
        mkdir: if <O as DirOperations>::HAS_CREATE {
            Some(Names::<O>::mkdir)
        } else {
            None
        },
        mknod: if <O as DirOperations>::HAS_CREATE {
            Some(Names::<O>::mknod)
        } else {
            None
        },
        symlink: if <O as DirOperations>::HAS_CREATE {
            Some(Names::<O>::symlink)
        } else {
            None
        },
        tmpfile: if <O as DirOperations>::HAS_TMPFILE {
            Some(Names::<O>::tmpfile)
        } else {
            None
        },
        link: if <O as DirOperations>::HAS_LINK {
            Some(Names::<O>::link)
        } else {
            None
        },
        unlink: if <O as DirOperations>::HAS_UNLINK {
            Some(Names::<O>::unlink)
        } else {
            None
        },
        rmdir: if <O as DirOperations>::HAS_RMDIR {
            Some(Names::<O>::rmdir)
        } else {
            None
        },
        rename: if <O as DirOperations>::HAS_RENAME {
            Some(Names::<O>::rename)
        } else {
            None
        },
        ..common::<O>()
    };

    const FILE: &'static bindings::file_operations = &bindings::file_operations {
        open: Some(Self::open),
        release: Some(Self::release),
        llseek: Some(Self::llseek),
        read: Some(bindings::generic_read_dir),
        iterate_shared: Some(Self::iterate_shared),
        unlocked_ioctl: if <O as DirOperations>::HAS_IOCTL {
            Some(Self::ioctl)
        } else {
            None
        },
        compat_ioctl: if <O as DirOperations>::HAS_COMPAT_IOCTL {
            Some(Self::compat_ioctl)
        } else if <O as DirOperations>::HAS_IOCTL {
            Some(Self::compat_as_native)
        } else {
            None
        },
        fsync: if <O as DirOperations>::HAS_FSYNC {
            Some(Self::fsync)
        } else {
            None
        },
        setlease: super::file::SETLEASE,
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Called by the VFS with a directory of the file system of `O`, or an open file of one.
    unsafe extern "C" fn lookup(
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        _flags: c_uint,
    ) -> *mut bindings::dentry {
        // SAFETY: Called by the VFS for a directory in use.
        let dir = unsafe { INode::from_raw(dir) };
        // SAFETY: The name of a dentry that is being looked up does not change.
        let name = unsafe { name_of(dentry) };
        let inode = match O::lookup(dir, name) {
            Ok(Some(inode)) => ARef::into_raw(inode).as_ptr().cast(),
            Ok(None) => ptr::null_mut(),
            Err(e) => return e.to_ptr(),
        };
        // SAFETY: Consumes our reference; null makes the dentry negative.
        unsafe { bindings::d_splice_alias(inode, dentry) }
    }

    /// # Safety
    ///
    /// Called by the VFS with a directory of the file system of `O`, or an open file of one.
    unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: Called by the VFS for a directory in use.
        let open = match O::open(unsafe { INode::from_raw(inode) }) {
            Ok(open) => open,
            Err(e) => return e.to_errno(),
        };
        match KBox::new(open, GFP_KERNEL) {
            Ok(open) => {
                // SAFETY: The private data of a file that is being opened is ours.
                unsafe { (*file).private_data = open.into_foreign().cast() };
                0
            }
            Err(e) => Error::from(e).to_errno(),
        }
    }

    /// # Safety
    ///
    /// Called by the VFS with a directory of the file system of `O`, or an open file of one.
    unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: Set by `open`; this is the last use.
        drop(unsafe { KBox::<O::Open>::from_foreign((*file).private_data.cast()) });
        0
    }

    /// # Safety
    ///
    /// Called by the VFS with a directory of the file system of `O`, or an open file of one.
    unsafe extern "C" fn llseek(
        file: *mut bindings::file,
        offset: bindings::loff_t,
        whence: c_int,
    ) -> bindings::loff_t {
        // Positions are cookies: the size of the directory does not bound them.
        // SAFETY: The file is valid.
        unsafe {
            let size = bindings::kfs_i_size_read((*file).f_inode);
            bindings::generic_file_llseek_size(file, offset, whence, i64::MAX, size)
        }
    }

    /// # Safety
    ///
    /// Called by the VFS with a directory of the file system of `O`, or an open file of one.
    unsafe extern "C" fn iterate_shared(
        file: *mut bindings::file,
        ctx: *mut bindings::dir_context,
    ) -> c_int {
        // SAFETY: The inode of an open file is in use.
        let dir = unsafe { INode::from_raw((*file).f_inode) };
        // SAFETY: Set by `open`, freed by `release`.
        let open = unsafe { &*(*file).private_data.cast::<O::Open>() };
        // INVARIANT: Both are valid during the call.
        let mut out = DirEmitter {
            ctx,
            file,
            _p: PhantomData,
        };
        errno(O::iterate(dir, open, &mut out))
    }

    /// # Safety
    ///
    /// Called by the VFS with a directory of the file system of `O`, or an open file of one.
    unsafe extern "C" fn ioctl(file: *mut bindings::file, cmd: c_uint, arg: c_ulong) -> c_long {
        // SAFETY: Called by the VFS with an open file.
        let file = unsafe { File::from_raw(file) };
        super::file::ioctl_result(<O as DirOperations>::ioctl(file, cmd, arg))
    }

    /// # Safety
    ///
    /// Called by the VFS with a directory of the file system of `O`, or an open file of one.
    unsafe extern "C" fn compat_ioctl(
        file: *mut bindings::file,
        cmd: c_uint,
        arg: c_ulong,
    ) -> c_long {
        // SAFETY: Called by the VFS with an open file.
        let file = unsafe { File::from_raw(file) };
        super::file::ioctl_result(<O as DirOperations>::compat_ioctl(file, cmd, arg))
    }

    /// # Safety
    ///
    /// Called by the VFS with a directory of the file system of `O`, or an open file of one.
    unsafe extern "C" fn compat_as_native(
        file: *mut bindings::file,
        cmd: c_uint,
        arg: c_ulong,
    ) -> c_long {
        // SAFETY: Called by the VFS with an open file.
        let file = unsafe { File::from_raw(file) };
        super::file::ioctl_result(<O as DirOperations>::ioctl(file, cmd, arg))
    }

    /// # Safety
    ///
    /// Called by the VFS with a directory of the file system of `O`, or an open file of one.
    unsafe extern "C" fn fsync(
        file: *mut bindings::file,
        _start: bindings::loff_t,
        _end: bindings::loff_t,
        datasync: c_int,
    ) -> c_int {
        // SAFETY: Called by the VFS with an open file.
        let file = unsafe { File::from_raw(file) };
        errno(<O as DirOperations>::fsync(file, datasync != 0))
    }
}
