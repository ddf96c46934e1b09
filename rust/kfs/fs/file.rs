// SPDX-License-Identifier: GPL-2.0

//! Open files, and operations on regular files.

use super::{
    errno,
    fiemap::FiemapInfo,
    idmap::IdMap,
    inode::INode,
    inode_ops::{common, InodeOperations},
    kiocb::{Kiocb, Outcome},
    super_block::FileSystem,
};
use crate::{
    bindings,
    iomap::{page_mkwrite, IomapWriteOps},
};
use core::{marker::PhantomData, ops::Range};
use kernel::{
    error::{to_result, VTABLE_DEFAULT_ERROR},
    iov::{IovIterDest, IovIterSource},
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

    pub(super) fn dentry(&self) -> *mut bindings::dentry {
        // SAFETY: By the type invariant; constant while the file is open.
        unsafe { bindings::kfs_file_dentry(self.as_raw()) }
    }

    /// `FS_IOC_MEASURE_VERITY` with what user space passed: tells the digest of a file with verity.
    pub fn measure_verity(&self, arg: usize) -> Result<isize> {
        // SAFETY: An open file; the argument is checked as an address of user space.
        let ret = unsafe { bindings::kfs_verity_measure(self.as_raw(), arg as c_ulong) };
        to_result(ret).map(|()| 0)
    }

    /// `FS_IOC_READ_VERITY_METADATA` with what user space passed; returns the number of bytes.
    pub fn read_verity_metadata(&self, arg: usize) -> Result<isize> {
        // SAFETY: As above.
        let ret = unsafe { bindings::kfs_verity_read_metadata(self.as_raw(), arg as c_ulong) };
        match ret {
            0.. => Ok(ret as isize),
            error => Err(Error::from_errno(error)),
        }
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

    /// Drops set-id bits and security attributes, and sets the times, as a change of the file
    /// does. The inode lock is held for writing.
    pub fn modified(&self) -> Result {
        // SAFETY: By the type invariant.
        to_result(unsafe { bindings::file_modified(self.as_raw()) })
    }

    /// Writes the dirty folios of the bytes from `start` up to and with `end`, waits, and
    /// reports errors of writes since it was last asked through this file.
    pub fn write_and_wait(&self, start: i64, end: i64) -> Result {
        // SAFETY: By the type invariant.
        to_result(unsafe { bindings::file_write_and_wait_range(self.as_raw(), start, end) })
    }

    /// Whether the current task may write `len` bytes at `pos`.
    ///
    /// # Errors
    ///
    /// `EINVAL` for what is no range of a file; whatever a security module says.
    pub fn check_write(&self, pos: i64, len: u64) -> Result {
        let len = usize::try_from(len)?;
        // SAFETY: By the type invariant.
        to_result(unsafe { bindings::kfs_verify_write(self.as_raw(), pos, len) })
    }

    /// Tells those who watch the file that its content has changed.
    pub fn notify_modified(&self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::kfs_fsnotify_modify(self.as_raw()) };
    }

    /// Whether what is written shall be durable before the writer goes on.
    pub fn wants_sync(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { bindings::kfs_file_is_dsync(self.as_raw()) }
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

/// Leases and delegations of files and directories, of which the VFS does all.
#[cfg(CONFIG_FILE_LOCKING)]
pub(super) const SETLEASE: SetLease = Some(bindings::generic_setlease);
#[cfg(not(CONFIG_FILE_LOCKING))]
pub(super) const SETLEASE: SetLease = None;

type SetLease = Option<
    unsafe extern "C" fn(
        *mut bindings::file,
        c_int,
        *mut *mut bindings::file_lease,
        *mut *mut c_void,
    ) -> c_int,
>;

/// What `fallocate` does with a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallocate {
    /// Allocates space where there is none.
    Allocate,
    /// Frees it.
    PunchHole,
    /// Makes it read as zeroes, with space allocated.
    Zero,
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
    /// The data.
    type Data: IomapWriteOps<Inode = INode<Self::Fs>>;

    /// A file is being opened.
    fn open(_inode: &INode<Self::Fs>, _file: &File<Self::Fs>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Says no to opening, reading and mapping a file, also one whose data is in memory.
    fn check(_inode: &INode<Self::Fs>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Reads with `O_DIRECT` into `to`, starting at `iocb.pos()`; returns the number of bytes.
    /// Advances `to`, but not the position. The inode lock is held shared.
    ///
    /// What is left of `to` after a short read is read through the page cache; so 0 bytes
    /// refuse to read directly.
    fn read_direct(_iocb: Kiocb<'_, Self::Fs>, _to: &mut IovIterDest<'_>) -> Result<Outcome> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Writes from `from`, starting at `iocb.pos()`, which is moved on; returns the number of
    /// bytes. Does everything from the lock on ([`Kiocb`] and [`INode`] have the steps), but
    /// what `O_SYNC` wants.
    fn write(_iocb: Kiocb<'_, Self::Fs>, _from: &mut IovIterSource<'_>) -> Result<Outcome> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Allocates or frees the space of a range of bytes, which is not empty; `keep_size`: the
    /// file does not get longer.
    fn fallocate(
        _file: &File<Self::Fs>,
        _what: Fallocate,
        _keep_size: bool,
        _range: Range<u64>,
    ) -> Result {
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

    /// A command that came through io_uring, with the address that came with it; `compat`: of a
    /// 32-bit program. Returns what the request ends with. May sleep: it runs in a thread of
    /// io_uring that has the memory of whoever made the request.
    fn uring_cmd(_file: &File<Self::Fs>, _cmd: u32, _arg: usize, _compat: bool) -> Result<isize> {
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
        fop_flags: bindings::FOP_BUFFER_RASYNC
            | if O::HAS_WRITE {
                bindings::FOP_BUFFER_WASYNC
            } else {
                0
            },
        open: Some(Self::open),
        llseek: Some(Self::llseek),
        read_iter: Some(Self::read_iter),
        write_iter: if O::HAS_WRITE {
            Some(Self::write_iter)
        } else {
            None
        },
        splice_read: Some(Self::splice_read),
        splice_write: if O::HAS_WRITE {
            Some(bindings::iter_file_splice_write)
        } else {
            None
        },
        mmap_prepare: Some(Self::mmap_prepare),
        fallocate: if O::HAS_FALLOCATE {
            Some(Self::fallocate)
        } else {
            None
        },
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
        setlease: SETLEASE,
        uring_cmd: if O::HAS_URING_CMD {
            Some(Self::uring_cmd)
        } else {
            None
        },
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Called by the VFS with a regular file of the file system of `O`.
    unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: Called by the VFS with a file that is being opened; its inode is in use.
        let mut ret = unsafe { Self::checked(inode) };
        if ret == 0 {
            // SAFETY: As above.
            ret = unsafe { bindings::generic_file_open(inode, file) };
        }
        if ret != 0 {
            return ret;
        }
        // SAFETY: As above.
        let ret = unsafe { bindings::kfs_verity_open(inode, file) };
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

    /// What [`FileOperations::check`] says.
    ///
    /// # Safety
    ///
    /// The inode is a regular file of the file system of `O`, in use.
    unsafe fn checked(inode: *mut bindings::inode) -> c_int {
        if !O::HAS_CHECK {
            return 0;
        }
        // SAFETY: As promised by the caller.
        errno(O::check(unsafe { INode::from_raw(inode) }))
    }

    /// # Safety
    ///
    /// Called by the VFS with a regular file of the file system of `O`.
    unsafe extern "C" fn splice_read(
        file: *mut bindings::file,
        pos: *mut bindings::loff_t,
        pipe: *mut bindings::pipe_inode_info,
        len: usize,
        flags: c_uint,
    ) -> isize {
        // SAFETY: Called by the VFS with valid arguments.
        unsafe {
            match Self::checked((*file).f_inode) {
                0 => bindings::filemap_splice_read(file, pos, pipe, len, flags),
                errno => errno as isize,
            }
        }
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
        let errno = unsafe { Self::checked((*(*iocb).ki_filp).f_inode) };
        if errno != 0 {
            return errno as isize;
        }
        // SAFETY: As above.
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
        // SAFETY: As the caller promises.
        let req = unsafe { Kiocb::<O::Fs>::from_raw(iocb) };
        let inode = req.file().inode();
        // What is dirty in the page cache must be on disk first.
        // SAFETY: Valid arguments of the VFS.
        let ret = unsafe { bindings::kiocb_write_and_wait(iocb, bindings::kfs_iov_iter_count(to)) };
        if ret != 0 {
            return ret as isize;
        }
        // SAFETY: As above.
        unsafe { bindings::kfs_file_accessed((*iocb).ki_filp) };
        // SAFETY: A valid iterator for reading into, used by this task alone.
        let dest = unsafe { IovIterDest::from_raw(to.cast()) };
        // Keeps truncation out, and direct writes.
        let done = if req.nowait() {
            match inode.try_lock_shared() {
                Some(_lock) => O::read_direct(req, dest),
                None => Err(EAGAIN),
            }
        } else {
            let _lock = inode.lock_shared();
            O::read_direct(req, dest)
        };
        let done = match done {
            Ok(Outcome::Done(done)) => done,
            // The request may be gone.
            Ok(Outcome::Queued(_)) => return EIOCBQUEUED.to_errno() as isize,
            Err(e) => return e.to_errno() as isize,
        };
        let Ok(done_pos) = i64::try_from(done) else {
            return EIO.to_errno() as isize;
        };
        // SAFETY: Valid, and used by this task alone.
        unsafe {
            (*iocb).ki_pos += done_pos;
            if bindings::kfs_iov_iter_count(to) == 0 || (*iocb).ki_pos >= inode.size() {
                return done_pos as isize;
            }
            bindings::filemap_read(iocb, to, done_pos as isize)
        }
    }

    /// # Safety
    ///
    /// Called by the VFS with a regular file of the file system of `O`.
    unsafe extern "C" fn write_iter(
        iocb: *mut bindings::kiocb,
        from: *mut bindings::iov_iter,
    ) -> isize {
        // SAFETY: Called by the VFS with valid arguments.
        let req = unsafe { Kiocb::<O::Fs>::from_raw(iocb) };
        // SAFETY: A valid iterator to write from, used by this task alone.
        let source = unsafe { IovIterSource::from_raw(from.cast()) };
        match O::write(req, source) {
            // SAFETY: As above; the position is behind what was written.
            Ok(Outcome::Done(n)) if n > 0 => unsafe {
                bindings::kfs_generic_write_sync(iocb, n as isize)
            },
            Ok(Outcome::Done(_)) => 0,
            // The request may be gone.
            Ok(Outcome::Queued(_)) => EIOCBQUEUED.to_errno() as isize,
            Err(e) => e.to_errno() as isize,
        }
    }

    const VM: &'static bindings::vm_operations_struct = &bindings::vm_operations_struct {
        fault: Some(bindings::filemap_fault),
        map_pages: Some(bindings::filemap_map_pages),
        page_mkwrite: Some(Self::page_mkwrite),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Called by the VM with a mapping of a regular file of the file system of `O`.
    unsafe extern "C" fn mmap_prepare(desc: *mut bindings::vm_area_desc) -> c_int {
        // SAFETY: Called by the VM with valid arguments.
        let mut ret = unsafe { Self::checked((*(*desc).file).f_inode) };
        if ret == 0 {
            // SAFETY: As above.
            ret = unsafe { bindings::generic_file_mmap_prepare(desc) };
        }
        if ret == 0 {
            // SAFETY: As above; the table is constant.
            unsafe { (*desc).vm_ops = Self::VM };
        }
        ret
    }

    /// # Safety
    ///
    /// Called by the VM for a mapping that [`Self::mmap_prepare`] has set up.
    unsafe extern "C" fn page_mkwrite(vmf: *mut bindings::vm_fault) -> bindings::vm_fault_t {
        // SAFETY: Called by the VM with valid arguments; a mapping holds its file, and that the
        // inode, its super block and its page cache.
        unsafe {
            let file = bindings::kfs_vmf_file(vmf);
            let inode = (*file).f_inode;
            bindings::kfs_sb_start_pagefault((*inode).i_sb);
            let updated = bindings::file_update_time(file);
            let ret = if updated < 0 {
                bindings::kfs_vmf_error(updated)
            } else {
                let lock = &raw mut (*(*inode).i_mapping).invalidate_lock;
                bindings::down_read(lock);
                let ret = page_mkwrite::<O::Data>(vmf);
                bindings::up_read(lock);
                ret
            };
            bindings::kfs_sb_end_pagefault((*inode).i_sb);
            ret
        }
    }

    /// # Safety
    ///
    /// Called by the VFS with a regular file of the file system of `O`, open for writing.
    unsafe extern "C" fn fallocate(
        file: *mut bindings::file,
        mode: c_int,
        offset: bindings::loff_t,
        len: bindings::loff_t,
    ) -> c_long {
        let keep = bindings::FALLOC_FL_KEEP_SIZE;
        let Ok(mode) = u32::try_from(mode) else {
            return EOPNOTSUPP.to_errno() as c_long;
        };
        let what = match mode & !keep {
            bindings::FALLOC_FL_ALLOCATE_RANGE => Fallocate::Allocate,
            bindings::FALLOC_FL_PUNCH_HOLE => Fallocate::PunchHole,
            bindings::FALLOC_FL_ZERO_RANGE => Fallocate::Zero,
            _ => return EOPNOTSUPP.to_errno() as c_long,
        };
        let range = u64::try_from(offset).ok().zip(u64::try_from(len).ok());
        let Some((start, len)) = range.filter(|(_, len)| *len > 0) else {
            return EINVAL.to_errno() as c_long;
        };
        // SAFETY: Called by the VFS with an open file.
        let file = unsafe { File::from_raw(file) };
        let range = start..start.saturating_add(len);
        errno(O::fallocate(file, what, mode & keep != 0, range)) as c_long
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
    /// Called by io_uring with a command for a regular file of the file system of `O`.
    unsafe extern "C" fn uring_cmd(cmd: *mut bindings::io_uring_cmd, flags: c_uint) -> c_int {
        if flags & bindings::IO_URING_F_NONBLOCK != 0 {
            // Comes again, in a thread that may sleep.
            return EAGAIN.to_errno();
        }
        // SAFETY: io_uring passes a valid command.
        let (file, op, arg) = unsafe {
            (
                (*cmd).file,
                (*cmd).cmd_op,
                bindings::kfs_uring_cmd_addr(cmd),
            )
        };
        let Ok(arg) = usize::try_from(arg) else {
            return EFAULT.to_errno();
        };
        let compat = flags & bindings::IO_URING_F_COMPAT != 0;
        // SAFETY: The command holds its file open.
        let done = O::uring_cmd(unsafe { File::from_raw(file) }, op, arg, compat);
        match done.and_then(|n| Ok(i32::try_from(n)?)) {
            Ok(n) => n,
            Err(e) => e.to_errno(),
        }
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
