// SPDX-License-Identifier: GPL-2.0

//! Small value types of the VFS.

use crate::bindings;

/// A point in time: seconds since the epoch and nanoseconds (below 10^9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timespec {
    /// Seconds since 1970, may be negative.
    pub sec: i64,
    /// Nanoseconds within the second.
    pub nsec: u32,
}

impl Timespec {
    pub(crate) fn to_c(self) -> bindings::timespec64 {
        bindings::timespec64 {
            tv_sec: self.sec,
            tv_nsec: self.nsec as kernel::ffi::c_long,
        }
    }

    pub(crate) fn from_c(ts: &bindings::timespec64) -> Self {
        Self {
            sec: ts.tv_sec,
            nsec: u32::try_from(ts.tv_nsec).unwrap_or(0),
        }
    }
}

/// The time now.
pub fn current_time() -> Timespec {
    let mut now = bindings::timespec64::default();
    // SAFETY: The pointer is valid.
    unsafe { bindings::ktime_get_real_ts64(&mut now) };
    Timespec::from_c(&now)
}

/// A device number in the kernel's internal encoding (12 bits major, 20 bits
/// minor), which is also what btrfs stores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceNumber(u32);

impl DeviceNumber {
    /// From the kernel's encoding.
    pub const fn from_raw(dev: u32) -> Self {
        Self(dev)
    }

    /// In the kernel's encoding.
    pub const fn into_raw(self) -> u32 {
        self.0
    }

    /// The major number.
    pub const fn major(self) -> u32 {
        self.0 >> 20
    }

    /// The minor number.
    pub const fn minor(self) -> u32 {
        self.0 & 0xf_ffff
    }
}

/// Bits of `st_mode`.
pub mod mode {
    /// Mask of the file type bits.
    pub const S_IFMT: u16 = 0o170000;
    /// Socket.
    pub const S_IFSOCK: u16 = 0o140000;
    /// Symbolic link.
    pub const S_IFLNK: u16 = 0o120000;
    /// Regular file.
    pub const S_IFREG: u16 = 0o100000;
    /// Block device.
    pub const S_IFBLK: u16 = 0o060000;
    /// Directory.
    pub const S_IFDIR: u16 = 0o040000;
    /// Character device.
    pub const S_IFCHR: u16 = 0o020000;
    /// Named pipe.
    pub const S_IFIFO: u16 = 0o010000;
}

/// The type of a directory entry, as `getdents` reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum DType {
    /// Not known.
    Unknown = 0,
    /// Named pipe.
    Fifo = 1,
    /// Character device.
    Chr = 2,
    /// Directory.
    Dir = 4,
    /// Block device.
    Blk = 6,
    /// Regular file.
    Reg = 8,
    /// Symbolic link.
    Lnk = 10,
    /// Socket.
    Sock = 12,
    /// Whiteout.
    Wht = 14,
}
