// SPDX-License-Identifier: GPL-2.0

//! System calls that `std` lacks.

use std::ffi::{CStr, CString, OsStr};
use std::io::{Error, Result};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A path or name as a C string; a NUL in it is `EINVAL`.
pub fn cstr(path: impl AsRef<OsStr>) -> Result<CString> {
    CString::new(path.as_ref().as_bytes()).map_err(|_| Error::from_raw_os_error(libc::EINVAL))
}

/// Turns the -1 of a system call into an error.
pub fn check<T: PartialEq + From<i8>>(ret: T) -> Result<T> {
    if ret == T::from(-1) {
        Err(Error::last_os_error())
    } else {
        Ok(ret)
    }
}

/// The name of an errno value, as test output shows it.
pub fn errno_name(error: &Error) -> String {
    let Some(code) = error.raw_os_error() else {
        return error.to_string();
    };
    match code {
        libc::EPERM => "EPERM".into(),
        libc::ENOENT => "ENOENT".into(),
        libc::EIO => "EIO".into(),
        libc::ENXIO => "ENXIO".into(),
        libc::EACCES => "EACCES".into(),
        libc::EINVAL => "EINVAL".into(),
        libc::ENOTTY => "ENOTTY".into(),
        libc::ENOSPC => "ENOSPC".into(),
        libc::EROFS => "EROFS".into(),
        libc::EOPNOTSUPP => "EOPNOTSUPP".into(),
        libc::EUCLEAN => "EUCLEAN".into(),
        libc::ENODATA => "ENODATA".into(),
        libc::EOVERFLOW => "EOVERFLOW".into(),
        libc::ENAMETOOLONG => "ENAMETOOLONG".into(),
        libc::ESTALE => "ESTALE".into(),
        libc::ELOOP => "ELOOP".into(),
        _ => format!("errno{code}"),
    }
}

/// `AT_FDCWD` as a borrowed descriptor: names are relative to the current directory.
pub fn cwd() -> BorrowedFd<'static> {
    // SAFETY: not a descriptor that could be closed; every *at system call knows it.
    unsafe { BorrowedFd::borrow_raw(libc::AT_FDCWD) }
}

/// Reads `buf.len()` bytes of a mapped file through the mapping, without risking SIGBUS: the kernel
/// faults the pages in (`process_vm_readv(2)` of this process) and reports what it could not.
pub fn read_mapped(fd: &impl AsRawFd, offset: i64, buf: &mut [u8]) -> Result<usize> {
    let len = buf.len();
    // SAFETY: a new mapping at an address the kernel chooses.
    let addr = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            len,
            libc::PROT_READ,
            libc::MAP_SHARED,
            fd.as_raw_fd(),
            offset,
        )
    };
    if addr == libc::MAP_FAILED {
        return Err(Error::last_os_error());
    }
    let to = libc::iovec {
        iov_base: buf.as_mut_ptr().cast(),
        iov_len: len,
    };
    let from = libc::iovec {
        iov_base: addr,
        iov_len: len,
    };
    // SAFETY: `to` is `buf`, `from` is the mapping made above; neither is used afterwards.
    let result = check(unsafe { libc::process_vm_readv(libc::getpid(), &to, 1, &from, 1, 0) });
    // SAFETY: unmaps what was mapped above.
    unsafe { libc::munmap(addr, len) };
    result.map(|n| n as usize)
}

/// `openat(2)`.
pub fn openat(dir: BorrowedFd<'_>, name: &OsStr, flags: i32, mode: u32) -> Result<OwnedFd> {
    let name = cstr(name)?;
    // SAFETY: `name` is a C string that outlives the call.
    let fd = check(unsafe {
        libc::openat(
            dir.as_raw_fd(),
            name.as_ptr(),
            flags | libc::O_CLOEXEC,
            mode,
        )
    })?;
    // SAFETY: the kernel just gave us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `open(2)`.
pub fn open(path: impl AsRef<Path>, flags: i32) -> Result<OwnedFd> {
    let path = cstr(path.as_ref())?;
    // SAFETY: `path` is a C string that outlives the call.
    let fd = check(unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC, 0o600) })?;
    // SAFETY: the kernel just gave us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `statx(2)` with everything asked for, of the object itself (links are not followed).
pub fn statx(dir: BorrowedFd<'_>, name: &OsStr) -> Result<libc::statx> {
    let name = cstr(name)?;
    // SAFETY: all-zero bytes are a valid statx.
    let mut st: libc::statx = unsafe { std::mem::zeroed() };
    let flags = libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH;
    // STATX_ALL and STATX_SUBVOL.
    let mask = libc::STATX_BASIC_STATS | libc::STATX_BTIME | STATX_SUBVOL;
    // SAFETY: both pointers are valid for the call.
    check(unsafe { libc::statx(dir.as_raw_fd(), name.as_ptr(), flags, mask, &mut st) })?;
    Ok(st)
}

/// The statx mask bit of `stx_subvol`.
pub const STATX_SUBVOL: u32 = 0x8000;

/// `stx_subvol` of a [`statx`] result, when the kernel filled it in.
pub fn statx_subvol(st: &libc::statx) -> Option<u64> {
    if st.stx_mask & STATX_SUBVOL == 0 {
        return None;
    }
    // The field follows stx_dio_mem_align and stx_dio_offset_align, at byte 160 (linux/stat.h).
    let mut bytes = [0u8; 8];
    // SAFETY: struct statx has 256 bytes.
    unsafe {
        let from = std::ptr::from_ref(st).cast::<u8>().add(160);
        std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), 8);
    }
    Some(u64::from_ne_bytes(bytes))
}

/// `statfs(2)` of a path.
pub fn statfs(path: impl AsRef<Path>) -> Result<libc::statfs> {
    let path = cstr(path.as_ref())?;
    // SAFETY: all-zero bytes are a valid statfs.
    let mut st: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are valid for the call.
    check(unsafe { libc::statfs(path.as_ptr(), &mut st) })?;
    Ok(st)
}

/// The two words of a file system id.
pub fn fsid(st: &libc::statfs) -> [u32; 2] {
    // SAFETY: fsid_t is two C ints.
    unsafe { std::mem::transmute::<libc::fsid_t, [u32; 2]>(st.f_fsid) }
}

/// `llistxattr(2)`: the raw, NUL separated list.
pub fn llistxattr(path: &CStr) -> Result<Vec<u8>> {
    let mut buf = vec![0u8; 65536];
    // SAFETY: `buf` has the length passed.
    let n = check(unsafe { libc::llistxattr(path.as_ptr(), buf.as_mut_ptr().cast(), buf.len()) })?;
    buf.truncate(n as usize);
    Ok(buf)
}

/// `lgetxattr(2)`.
pub fn lgetxattr(path: &CStr, name: &CStr) -> Result<Vec<u8>> {
    let mut buf = vec![0u8; 65536];
    // SAFETY: `buf` has the length passed.
    let n = check(unsafe {
        libc::lgetxattr(
            path.as_ptr(),
            name.as_ptr(),
            buf.as_mut_ptr().cast(),
            buf.len(),
        )
    })?;
    buf.truncate(n as usize);
    Ok(buf)
}

/// `lsetxattr(2)`.
pub fn lsetxattr(path: impl AsRef<Path>, name: &[u8], value: &[u8]) -> Result<()> {
    let path = cstr(path.as_ref())?;
    let name = cstr(OsStr::from_bytes(name))?;
    // SAFETY: all pointers are valid for the call, `value` has the length passed.
    check(unsafe {
        libc::lsetxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    })?;
    Ok(())
}

/// `mknod(2)`.
pub fn mknod(path: impl AsRef<Path>, mode: u32, dev: u64) -> Result<()> {
    let path = cstr(path.as_ref())?;
    // SAFETY: `path` is a C string that outlives the call.
    check(unsafe { libc::mknod(path.as_ptr(), mode, dev) })?;
    Ok(())
}

/// `lchown(2)`.
pub fn lchown(path: impl AsRef<Path>, uid: u32, gid: u32) -> Result<()> {
    let path = cstr(path.as_ref())?;
    // SAFETY: `path` is a C string that outlives the call.
    check(unsafe { libc::lchown(path.as_ptr(), uid, gid) })?;
    Ok(())
}

/// Sets access and modification time (seconds, nanoseconds) of the object itself.
pub fn utimens(path: impl AsRef<Path>, atime: (i64, i64), mtime: (i64, i64)) -> Result<()> {
    let path = cstr(path.as_ref())?;
    let times = [atime, mtime].map(|(tv_sec, tv_nsec)| libc::timespec { tv_sec, tv_nsec });
    // SAFETY: `times` has the two elements the call reads.
    check(unsafe {
        libc::utimensat(
            libc::AT_FDCWD,
            path.as_ptr(),
            times.as_ptr(),
            libc::AT_SYMLINK_NOFOLLOW,
        )
    })?;
    Ok(())
}

/// `fallocate(2)`.
pub fn fallocate(fd: &impl AsRawFd, mode: i32, offset: i64, len: i64) -> Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::fallocate(fd.as_raw_fd(), mode, offset, len) })?;
    Ok(())
}

/// `lseek(2)`.
pub fn lseek(fd: &impl AsRawFd, offset: i64, whence: i32) -> Result<i64> {
    // SAFETY: no pointers.
    check(unsafe { libc::lseek64(fd.as_raw_fd(), offset, whence) })
}

/// `posix_fadvise(POSIX_FADV_DONTNEED)` of the whole file: the next read comes from the device.
pub fn drop_pages(fd: &impl AsRawFd) {
    // SAFETY: no pointers.
    unsafe { libc::posix_fadvise(fd.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
}

/// `pread(2)` into an aligned buffer.
pub fn pread(fd: &impl AsRawFd, buf: &mut [u8], offset: i64) -> Result<usize> {
    // SAFETY: `buf` has the length passed.
    let n = check(unsafe {
        libc::pread64(fd.as_raw_fd(), buf.as_mut_ptr().cast(), buf.len(), offset)
    })?;
    Ok(n as usize)
}

/// A buffer whose address is a multiple of 4096, as direct I/O wants it.
pub struct AlignedBuf {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBuf {
    /// A zeroed buffer of `len` bytes.
    pub fn new(len: usize) -> Self {
        let memory = vec![0u8; len + 4096];
        let start = memory.as_ptr().align_offset(4096);
        AlignedBuf { memory, start, len }
    }

    /// The bytes.
    pub fn bytes(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len]
    }
}

/// One entry of `getdents64(2)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dirent {
    pub ino: u64,
    /// The cookie: seeking here gives the entry after this one.
    pub off: i64,
    pub kind: u8,
    pub name: Vec<u8>,
}

/// One `getdents64(2)` call with a buffer of `size` bytes; empty at the end of the directory.
pub fn getdents(fd: &impl AsRawFd, size: usize) -> Result<Vec<Dirent>> {
    let mut buf = vec![0u8; size];
    // SAFETY: `buf` has the length passed.
    let n = check(unsafe {
        libc::syscall(
            libc::SYS_getdents64,
            fd.as_raw_fd(),
            buf.as_mut_ptr(),
            buf.len(),
        )
    })?;
    let mut entries = Vec::new();
    let mut rest = &buf[..n as usize];
    while rest.len() > 19 {
        let len = usize::from(u16::from_ne_bytes([rest[16], rest[17]]));
        let name = rest[19..len].split(|b| *b == 0).next().unwrap_or_default();
        entries.push(Dirent {
            ino: u64::from_ne_bytes(rest[..8].try_into().unwrap_or_default()),
            off: i64::from_ne_bytes(rest[8..16].try_into().unwrap_or_default()),
            kind: rest[18],
            name: name.to_vec(),
        });
        rest = &rest[len..];
    }
    Ok(entries)
}

/// `name_to_handle_at(2)`: handle type and bytes.
pub fn file_handle(dir: BorrowedFd<'_>, name: &OsStr) -> Result<(i32, Vec<u8>)> {
    let name = cstr(name)?;
    // struct file_handle: u32 bytes, i32 type, the handle.
    let mut buf = [0u8; 8 + 128];
    buf[..4].copy_from_slice(&128u32.to_ne_bytes());
    let mut mount_id = 0i32;
    // SAFETY: the buffer is as long as its first field says.
    check(unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            dir.as_raw_fd(),
            name.as_ptr(),
            buf.as_mut_ptr(),
            &mut mount_id,
            0,
        )
    })?;
    let len = u32::from_ne_bytes([buf[0], buf[1], buf[2], buf[3]]) as usize;
    let kind = i32::from_ne_bytes([buf[4], buf[5], buf[6], buf[7]]);
    Ok((kind, buf[8..8 + len.min(128)].to_vec()))
}

/// `open_by_handle_at(2)`.
pub fn open_by_handle(
    mount: BorrowedFd<'_>,
    kind: i32,
    handle: &[u8],
    flags: i32,
) -> Result<OwnedFd> {
    let mut buf = Vec::with_capacity(8 + handle.len());
    buf.extend_from_slice(&(handle.len() as u32).to_ne_bytes());
    buf.extend_from_slice(&kind.to_ne_bytes());
    buf.extend_from_slice(handle);
    // SAFETY: the buffer is as long as its first field says.
    let fd = check(unsafe {
        libc::syscall(
            libc::SYS_open_by_handle_at,
            mount.as_raw_fd(),
            buf.as_ptr(),
            flags | libc::O_CLOEXEC,
        )
    })?;
    // SAFETY: the kernel just gave us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// `mount(2)` of a btrfs device.
pub fn mount(device: &str, target: &str, kind: &str, flags: u64, options: &str) -> Result<()> {
    let (device, target, kind, options) =
        (cstr(device)?, cstr(target)?, cstr(kind)?, cstr(options)?);
    // SAFETY: four C strings that outlive the call.
    check(unsafe {
        libc::mount(
            device.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            flags,
            options.as_ptr().cast(),
        )
    })?;
    Ok(())
}

/// `umount2(2)`.
pub fn umount(target: &str, flags: i32) -> Result<()> {
    let target = cstr(target)?;
    // SAFETY: a C string that outlives the call.
    check(unsafe { libc::umount2(target.as_ptr(), flags) })?;
    Ok(())
}

/// `umask(2)`.
pub fn umask(mask: u32) {
    // SAFETY: no pointers.
    unsafe { libc::umask(mask) };
}
