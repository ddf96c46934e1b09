// SPDX-License-Identifier: GPL-2.0

//! Open files, and operations on regular files.

use super::{
    errno,
    fiemap::FiemapInfo,
    idmap::IdMap,
    inode::INode,
    inode_ops::{common, InodeOperations},
    super_block::FileSystem,
};
use crate::bindings;
use core::marker::PhantomData;
use kernel::{
    error::{to_result, VTABLE_DEFAULT_ERROR},
    iov::IovIterDest,
    prelude::*,
    types::Opaque,
};

/// An open file or directory of the file system `T`.
///
/// # Invariants
///
/// Points to an open `struct file` of an initialised inode of `T`.
#[repr(transparent)]
pub struct File<T: FileSystem>(Opaque<bindings::file>, PhantomData<T>);

impl<T: FileSystem> File<T> {
    /// # Safety
    ///
    /// `file` must fulfil the invariants of the type for `'a`.
    pub(crate) unsafe fn from_raw<'a>(file: *mut bindings::file) -> &'a Self {
        // SAFETY: The type is transparent; the rest is the caller's duty.
        unsafe { &*file.cast() }
    }

    pub(crate) fn as_raw(&self) -> *mut bindings::file {
        self.0.get()
    }

    /// The inode.
    pub fn inode(&self) -> &INode<T> {
        // SAFETY: By the type invariant.
        unsafe { INode::from_raw((*self.as_raw()).f_inode) }
    }

    /// The id mapping of the mount it was opened through.
    pub fn idmap(&self) -> &IdMap {
        // SAFETY: By the type invariant; an open file holds its mount.
        unsafe { IdMap::from_raw(bindings::kfs_file_mnt_idmap(self.as_raw())) }
    }

    /// The flags it was opened with, `O_*` of [`kernel::fs::file::flags`].
    pub fn flags(&self) -> u32 {
        // SAFETY: By the type invariant; racy by nature.
        unsafe { core::ptr::read_volatile(&raw const (*self.as_raw()).f_flags) }
    }

    /// Whether it was opened for reading.
    pub fn is_readable(&self) -> bool {
        // SAFETY: By the type invariant; constant.
        unsafe { (*self.as_raw()).f_mode & bindings::FMODE_READ != 0 }
    }

    /// Whether it was opened for writing.
    pub fn is_writable(&self) -> bool {
        // SAFETY: By the type invariant; constant.
        unsafe { (*self.as_raw()).f_mode & bindings::FMODE_WRITE != 0 }
    }

    /// Keeps the mount writable for as long as the result lives.
    ///
    /// # Errors
    ///
    /// `EROFS` when it is read-only.
    pub fn want_write(&self) -> Result<WriteAccess<'_, T>> {
        // SAFETY: By the type invariant.
        to_result(unsafe { bindings::mnt_want_write_file(self.as_raw()) })?;
        Ok(WriteAccess(self))
    }
}

/// The right to write to the mount of a file.
pub struct WriteAccess<'a, T: FileSystem>(&'a File<T>);

impl<T: FileSystem> Drop for WriteAccess<'_, T> {
    fn drop(&mut self) {
        // SAFETY: Taken by `want_write`.
        unsafe { bindings::mnt_drop_write_file(self.0.as_raw()) };
    }
}

/// A read or write under way.
///
/// # Invariants
///
/// Points to a valid `struct kiocb` of a file of `T`, used by the current task alone.
pub struct Kiocb<'a, T: FileSystem>(*mut bindings::kiocb, PhantomData<&'a mut T>);

impl<T: FileSystem> Kiocb<'_, T> {
    /// The file.
    pub fn file(&self) -> &File<T> {
        // SAFETY: By the type invariant.
        unsafe { File::from_raw((*self.0).ki_filp) }
    }

    /// The position in the file, in bytes.
    pub fn pos(&self) -> i64 {
        // SAFETY: By the type invariant.
        unsafe { (*self.0).ki_pos }
    }

    /// Whether the caller does not want to wait (`EAGAIN` then).
    pub fn nowait(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { (*self.0).ki_flags & bindings::IOCB_NOWAIT != 0 }
    }

    #[allow(dead_code)]
    pub(crate) fn as_raw(&mut self) -> *mut bindings::kiocb {
        self.0
    }
}

/// What `lseek` looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeekKind {
    /// The next data.
    Data,
    /// The next hole.
    Hole,
}

/// Operations on a regular file.
///
/// Buffered reads, mappings and splices go through the page cache and need nothing here.
#[vtable]
pub trait FileOperations: InodeOperations {
    /// Says no to opening the file.
    fn open(_inode: &INode<Self::Fs>, _file: &File<Self::Fs>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Reads with `O_DIRECT` into `to`, starting at `iocb.pos()`; returns the number of bytes.
    /// Advances `to`, but not the position.
    ///
    /// What is left of `to` after a short read is read through the page cache; so `Ok(0)`
    /// refuses to read directly.
    fn read_direct(_iocb: &Kiocb<'_, Self::Fs>, _to: &mut IovIterDest<'_>) -> Result<usize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The position of the next data or hole at or after `pos`.
    ///
    /// # Errors
    ///
    /// `ENXIO` when there is none.
    fn seek(_inode: &INode<Self::Fs>, _pos: i64, _kind: SeekKind) -> Result<i64> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Reports the extents in a range of bytes.
    fn fiemap(
        _inode: &INode<Self::Fs>,
        _info: &mut FiemapInfo<'_>,
        _start: u64,
        _len: u64,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// An ioctl; `ENOTTY` for unknown ones.
    fn ioctl(_file: &File<Self::Fs>, _cmd: u32, _arg: usize) -> Result<isize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// An ioctl of a 32-bit program. The default calls [`Self::ioctl`].
    fn compat_ioctl(_file: &File<Self::Fs>, _cmd: u32, _arg: usize) -> Result<isize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes a range of bytes durable. Without it `fsync` is an error.
    fn fsync(_file: &File<Self::Fs>, _start: i64, _end: i64, _datasync: bool) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// The operation tables of a regular file.
pub struct FileOps<T: FileSystem> {
    pub(super) inode: *const bindings::inode_operations,
    pub(super) file: *const bindings::file_operations,
    _p: PhantomData<T>,
}

impl<T: FileSystem> FileOps<T> {
    /// The operations of `O`.
    #[allow(clippy::new_without_default)]
    pub const fn new<O: FileOperations<Fs = T>>() -> Self {
        Self {
            inode: FileTable::<O>::INODE,
            file: FileTable::<O>::FILE,
            _p: PhantomData,
        }
    }
}

struct FileTable<O>(PhantomData<O>);

impl<O: FileOperations> FileTable<O> {
    const INODE: &'static bindings::inode_operations = &bindings::inode_operations {
        fiemap: if O::HAS_FIEMAP {
            Some(Self::fiemap)
        } else {
            None
        },
        ..common::<O>()
    };

    const FILE: &'static bindings::file_operations = &bindings::file_operations {
        fop_flags: bindings::FOP_BUFFER_RASYNC,
        open: Some(Self::open),
        llseek: Some(Self::llseek),
        read_iter: Some(Self::read_iter),
        splice_read: Some(bindings::filemap_splice_read),
        mmap_prepare: Some(bindings::generic_file_mmap_prepare),
        unlocked_ioctl: if O::HAS_IOCTL {
            Some(Self::ioctl)
        } else {
            None
        },
        compat_ioctl: if O::HAS_COMPAT_IOCTL {
            Some(Self::compat_ioctl)
        } else if O::HAS_IOCTL {
            Some(Self::compat_as_native)
        } else {
            None
        },
        fsync: if O::HAS_FSYNC {
            Some(Self::fsync)
        } else {
            None
        },
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Called by the VFS with a regular file of the file system of `O`.
    unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: Called by the VFS with a file that is being opened.
        let ret = unsafe { bindings::generic_file_open(inode, file) };
        if ret != 0 {
            return ret;
        }
        let mut mode = bindings::FMODE_NOWAIT;
        if O::HAS_READ_DIRECT {
            mode |= bindings::FMODE_CAN_ODIRECT;
        }
        // SAFETY: The file is ours while it is being opened.
        unsafe { (*file).f_mode |= mode };
        if !O::HAS_OPEN {
            return 0;
        }
        // SAFETY: As above; the inode is in use.
        errno(O::open(unsafe { INode::from_raw(inode) }, unsafe {
            File::from_raw(file)
        }))
    }

    /// # Safety
    ///
    /// Called by the VFS with a regular file of the file system of `O`.
    unsafe extern "C" fn llseek(
        file: *mut bindings::file,
        offset: bindings::loff_t,
        whence: c_int,
    ) -> bindings::loff_t {
        let kind = match u32::try_from(whence) {
            Ok(bindings::SEEK_DATA) => SeekKind::Data,
            Ok(bindings::SEEK_HOLE) => SeekKind::Hole,
            // SAFETY: The file is valid.
            _ => return unsafe { bindings::generic_file_llseek(file, offset, whence) },
        };
        if !O::HAS_SEEK {
            // SAFETY: As above; it takes all of the file as data.
            return unsafe { bindings::generic_file_llseek(file, offset, whence) };
        }
        // SAFETY: The inode of an open file is in use.
        let inode = unsafe { INode::<O::Fs>::from_raw((*file).f_inode) };
        if offset < 0 || offset >= inode.size() {
            return ENXIO.to_errno().into();
        }
        match O::seek(inode, offset, kind) {
            // SAFETY: The file is valid.
            Ok(pos) => unsafe {
                bindings::vfs_setpos(file, pos, (*(*inode.as_raw()).i_sb).s_maxbytes)
            },
            Err(e) => e.to_errno().into(),
        }
    }

    /// # Safety
    ///
    /// Called by the VFS with a regular file of the file system of `O`.
    unsafe extern "C" fn read_iter(
        iocb: *mut bindings::kiocb,
        to: *mut bindings::iov_iter,
    ) -> isize {
        // SAFETY: Called by the VFS with valid arguments.
        let direct = O::HAS_READ_DIRECT
            && unsafe {
                (*iocb).ki_flags & bindings::IOCB_DIRECT != 0
                    && bindings::kfs_iov_iter_count(to) != 0
            };
        if !direct {
            // SAFETY: As above.
            return unsafe { bindings::filemap_read(iocb, to, 0) };
        }
        // SAFETY: As above.
        unsafe { Self::read_direct(iocb, to) }
    }

    /// # Safety
    ///
    /// The arguments must be those of `read_iter`.
    unsafe fn read_direct(iocb: *mut bindings::kiocb, to: *mut bindings::iov_iter) -> isize {
        let req = Kiocb::<O::Fs>(iocb, PhantomData);
        // SAFETY: A valid iterator for reading into, used by this task alone.
        let dest = unsafe { IovIterDest::from_raw(to.cast()) };
        let done = match O::read_direct(&req, dest) {
            Ok(done) => done,
            Err(e) => return e.to_errno() as isize,
        };
        let Ok(done_pos) = i64::try_from(done) else {
            return EIO.to_errno() as isize;
        };
        // SAFETY: Valid, and used by this task alone.
        unsafe {
            (*iocb).ki_pos += done_pos;
            bindings::kfs_file_accessed((*iocb).ki_filp);
            if bindings::kfs_iov_iter_count(to) == 0 || (*iocb).ki_pos >= req.file().inode().size()
            {
                return done_pos as isize;
            }
            bindings::filemap_read(iocb, to, done_pos as isize)
        }
    }

    /// # Safety
    ///
    /// Called by the VFS with a regular file of the file system of `O`.
    unsafe extern "C" fn fiemap(
        inode: *mut bindings::inode,
        info: *mut bindings::fiemap_extent_info,
        start: u64,
        len: u64,
    ) -> c_int {
        let mut len = len;
        // SAFETY: Called by the VFS with valid arguments.
        let ret = unsafe { bindings::fiemap_prep(inode, info, start, &mut len, 0) };
        if ret != 0 {
            return ret;
        }
        // SAFETY: As above; the inode is in use.
        let inode = unsafe { INode::from_raw(inode) };
        // SAFETY: As above.
        let mut info = unsafe { FiemapInfo::from_raw(info) };
        errno(O::fiemap(inode, &mut info, start, len))
    }

    /// # Safety
    ///
    /// Called by the VFS with a regular file of the file system of `O`.
    unsafe extern "C" fn ioctl(file: *mut bindings::file, cmd: c_uint, arg: c_ulong) -> c_long {
        // SAFETY: Called by the VFS with an open file.
        ioctl_result(O::ioctl(unsafe { File::from_raw(file) }, cmd, arg))
    }

    /// # Safety
    ///
    /// Called by the VFS with a regular file of the file system of `O`.
    unsafe extern "C" fn compat_ioctl(
        file: *mut bindings::file,
        cmd: c_uint,
        arg: c_ulong,
    ) -> c_long {
        // SAFETY: Called by the VFS with an open file.
        ioctl_result(O::compat_ioctl(unsafe { File::from_raw(file) }, cmd, arg))
    }

    /// # Safety
    ///
    /// Called by the VFS with a regular file of the file system of `O`.
    unsafe extern "C" fn compat_as_native(
        file: *mut bindings::file,
        cmd: c_uint,
        arg: c_ulong,
    ) -> c_long {
        // SAFETY: Called by the VFS with an open file.
        ioctl_result(O::ioctl(unsafe { File::from_raw(file) }, cmd, arg))
    }

    /// # Safety
    ///
    /// Called by the VFS with a regular file of the file system of `O`.
    unsafe extern "C" fn fsync(
        file: *mut bindings::file,
        start: bindings::loff_t,
        end: bindings::loff_t,
        datasync: c_int,
    ) -> c_int {
        // SAFETY: Called by the VFS with an open file.
        errno(O::fsync(
            unsafe { File::from_raw(file) },
            start,
            end,
            datasync != 0,
        ))
    }
}

/// What an ioctl callback returns.
pub(super) fn ioctl_result(r: Result<isize>) -> c_long {
    match r {
        Ok(v) => v as c_long,
        Err(e) => e.to_errno() as c_long,
    }
}
