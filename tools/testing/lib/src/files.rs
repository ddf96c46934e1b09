// SPDX-License-Identifier: GPL-2.0

//! System calls that change files and names, and mappings.

use crate::sys::{check, cstr};
use std::io::{Error, Result};
use std::os::fd::AsRawFd;
use std::path::Path;

/// `renameat2(2)` of two paths.
pub fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>, flags: u32) -> Result<()> {
    let (from, to) = (cstr(from.as_ref())?, cstr(to.as_ref())?);
    // SAFETY: two C strings that outlive the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            libc::AT_FDCWD,
            from.as_ptr(),
            libc::AT_FDCWD,
            to.as_ptr(),
            flags,
        )
    })?;
    Ok(())
}

/// Gives an open file a name: `linkat(2)` of its entry in /proc.
pub fn link_fd(fd: &impl AsRawFd, to: impl AsRef<Path>) -> Result<()> {
    let from = cstr(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
    let to = cstr(to.as_ref())?;
    // SAFETY: two C strings that outlive the call.
    check(unsafe {
        libc::linkat(
            libc::AT_FDCWD,
            from.as_ptr(),
            libc::AT_FDCWD,
            to.as_ptr(),
            libc::AT_SYMLINK_FOLLOW,
        )
    })?;
    Ok(())
}

/// `pwrite(2)`, or `write(2)` at the end of a file opened for appending.
pub fn pwrite(fd: &impl AsRawFd, buf: &[u8], offset: Option<u64>) -> Result<usize> {
    let (fd, at, len) = (fd.as_raw_fd(), buf.as_ptr().cast(), buf.len());
    // SAFETY: `buf` has the length passed.
    let n = unsafe {
        match offset {
            Some(offset) => libc::pwrite64(fd, at, len, offset as i64),
            None => libc::write(fd, at, len),
        }
    };
    check(n).map(|n| n as usize)
}

/// `ftruncate(2)`.
pub fn truncate(fd: &impl AsRawFd, size: u64) -> Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::ftruncate64(fd.as_raw_fd(), size as i64) }).map(|_| ())
}

/// `fsync(2)`, or `fdatasync(2)`.
pub fn fsync(fd: &impl AsRawFd, data_only: bool) -> Result<()> {
    let fd = fd.as_raw_fd();
    // SAFETY: no pointers.
    check(unsafe {
        match data_only {
            true => libc::fdatasync(fd),
            false => libc::fsync(fd),
        }
    })
    .map(|_| ())
}

/// `syncfs(2)`.
pub fn syncfs(fd: &impl AsRawFd) -> Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::syncfs(fd.as_raw_fd()) }).map(|_| ())
}

/// `copy_file_range(2)`.
pub fn copy_range(
    from: &impl AsRawFd,
    from_offset: u64,
    to: &impl AsRawFd,
    to_offset: u64,
    len: usize,
) -> Result<usize> {
    let (mut a, mut b) = (from_offset as i64, to_offset as i64);
    // SAFETY: both offsets are valid for the call.
    let n = check(unsafe {
        libc::copy_file_range(from.as_raw_fd(), &mut a, to.as_raw_fd(), &mut b, len, 0)
    })?;
    Ok(n as usize)
}

/// `lsetxattr(2)` with flags.
pub fn set_xattr(path: impl AsRef<Path>, name: &[u8], value: &[u8], flags: i32) -> Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let path = cstr(path.as_ref())?;
    let name = cstr(std::ffi::OsStr::from_bytes(name))?;
    // SAFETY: all pointers are valid for the call, `value` has the length passed.
    check(unsafe {
        libc::lsetxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            flags,
        )
    })
    .map(|_| ())
}

/// `lremovexattr(2)`.
pub fn remove_xattr(path: impl AsRef<Path>, name: &[u8]) -> Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let path = cstr(path.as_ref())?;
    let name = cstr(std::ffi::OsStr::from_bytes(name))?;
    // SAFETY: two C strings that outlive the call.
    check(unsafe { libc::lremovexattr(path.as_ptr(), name.as_ptr()) }).map(|_| ())
}

/// A shared, writable mapping of a file from its start.
///
/// Touching what lies behind the end of the file, or what cannot be read or written, kills the
/// process: callers keep inside the file's size.
pub struct Mapping {
    start: *mut u8,
    len: usize,
}

impl Mapping {
    pub fn new(fd: &impl AsRawFd, len: usize) -> Result<Self> {
        // SAFETY: a new mapping at an address the kernel chooses.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(Error::last_os_error());
        }
        Ok(Mapping {
            start: start.cast(),
            len,
        })
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn range(&self, at: usize, len: usize) -> Result<*mut u8> {
        if at.checked_add(len).is_none_or(|end| end > self.len) {
            return Err(Error::from_raw_os_error(libc::EINVAL));
        }
        // SAFETY: inside the mapping.
        Ok(unsafe { self.start.add(at) })
    }

    pub fn write(&self, at: usize, bytes: &[u8]) -> Result<()> {
        let to = self.range(at, bytes.len())?;
        // SAFETY: the range is inside the mapping, and nothing else refers to that memory.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
        Ok(())
    }

    pub fn read(&self, at: usize, bytes: &mut [u8]) -> Result<()> {
        let from = self.range(at, bytes.len())?;
        // SAFETY: as above.
        unsafe { std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    /// `msync(2)`, waiting.
    pub fn sync(&self) -> Result<()> {
        // SAFETY: the mapping made by `new`.
        check(unsafe { libc::msync(self.start.cast(), self.len, libc::MS_SYNC) }).map(|_| ())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping made by `new`; no pointer into it is kept.
        unsafe { libc::munmap(self.start.cast(), self.len) };
    }
}
