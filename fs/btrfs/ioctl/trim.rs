// SPDX-License-Identifier: GPL-2.0

//! Discarding free space on demand: `FITRIM`.

use super::user;
use crate::mount::Fs;
use kernel::{ioctl::_IOWR, prelude::*};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `FITRIM`.
pub(crate) const FITRIM: u32 = _IOWR::<TrimRange>(0x58, 121);

/// `struct fstrim_range`. Bytes.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct TrimRange {
    /// First logical address.
    start: u64,
    /// Length; how much was discarded, in the answer.
    len: u64,
    /// Shorter free ranges are left alone.
    minlen: u64,
}

/// Discards free space in a range of logical addresses.
///
/// `EPERM` without `CAP_SYS_ADMIN`, `EOPNOTSUPP` where no device can discard or the file system
/// is read-only, `EINVAL` for a range that passes the end of the address space or
/// is shorter than a sector.
pub(crate) fn fitrim(fs: &Fs, arg: usize) -> Result<isize> {
    super::require_admin()?;
    let volume = fs.volume();
    let devices = volume.devices()?;
    let able = devices
        .iter()
        .filter_map(|device| device.bdev())
        .any(|bdev| bdev.can_discard());
    if !able || !volume.is_writable() {
        return Err(EOPNOTSUPP);
    }
    let mut range: TrimRange = user::read(arg)?;
    if range.len < fs.sector_size() {
        return Err(EINVAL);
    }
    let end = match range.len {
        u64::MAX if range.start != u64::MAX => u64::MAX,
        len => range.start.checked_add(len).ok_or(EINVAL)?,
    };
    let least = range.minlen.max(fs.sector_size());
    range.len = fs.space().trim(range.start, end, least)?;
    user::write(arg, &range)?;
    Ok(0)
}
