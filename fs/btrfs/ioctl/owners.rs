// SPDX-License-Identifier: GPL-2.0

//! From data to the files that show it: `LOGICAL_INO`, `LOGICAL_INO_V2`.

use super::{container::Container, require_admin, user};
use crate::{backref::Backrefs, mount::Fs};
use btrfs_format::types::Logical;
use kernel::{ioctl::_IOWR, prelude::*};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `BTRFS_IOC_LOGICAL_INO`.
pub(crate) const LOGICAL_INO: u32 = _IOWR::<LogicalInoArgs>(0x94, 36);
/// `BTRFS_IOC_LOGICAL_INO_V2`.
pub(crate) const LOGICAL_INO_V2: u32 = _IOWR::<LogicalInoArgs>(0x94, 59);

/// `struct btrfs_ioctl_logical_ino_args`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct LogicalInoArgs {
    logical: u64,
    size: u64,
    reserved: [u64; 3],
    /// In version 1 one more reserved field.
    flags: u64,
    inodes: u64,
}

/// `BTRFS_LOGICAL_INO_ARGS_IGNORE_OFFSET`: any byte of the extent will do.
const IGNORE_OFFSET: u64 = 1 << 0;

/// Largest result of version 1, in bytes.
const MAX_RESULT: usize = 64 << 10;
/// Largest result of version 2, in bytes.
const MAX_RESULT_V2: usize = 16 << 20;

/// `LOGICAL_INO`.
pub(crate) fn logical_ino(fs: &Fs, arg: usize) -> Result<isize> {
    require_admin()?;
    let args: LogicalInoArgs = user::read(arg)?;
    resolve(fs, &args, false, MAX_RESULT)
}

/// `LOGICAL_INO_V2`: with flags, and larger results.
pub(crate) fn logical_ino_v2(fs: &Fs, arg: usize) -> Result<isize> {
    require_admin()?;
    let args: LogicalInoArgs = user::read(arg)?;
    if args.reserved != [0; 3] || args.flags & !IGNORE_OFFSET != 0 {
        return Err(EINVAL);
    }
    let whole = args.flags & IGNORE_OFFSET != 0;
    resolve(fs, &args, whole, MAX_RESULT_V2)
}

/// Writes the places that show a byte: inode, offset and subvolume of each.
fn resolve(fs: &Fs, args: &LogicalInoArgs, whole: bool, max: usize) -> Result<isize> {
    // Only the low 32 bits of the size ever counted.
    let size = usize::try_from(args.size & u64::from(u32::MAX))?.min(max);
    let mut result = Container::new(size)?;
    Backrefs::new(fs.roots())?.places(Logical(args.logical), whole, |tree, place| {
        result.push([place.ino.get(), place.offset, tree.get()]);
    })?;
    user::write_bytes(usize::try_from(args.inodes)?, result.bytes(size)?)?;
    Ok(0)
}
