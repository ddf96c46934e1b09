// SPDX-License-Identifier: GPL-2.0

//! `DEFRAG` and `DEFRAG_RANGE`.

use super::user;
use crate::data::{
    compress::Recode,
    defrag::{defrag, Request, THRESHOLD},
};
use crate::mount::options::Algorithm;
use crate::subvol;
use crate::vfs::Btrfs;
use btrfs_format::types::Generation;
use kernel::{ioctl::_IOW, prelude::*};
use kfs::fs::{capable, Access, Capability, File};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `BTRFS_IOC_DEFRAG`.
pub(crate) const DEFRAG: u32 = _IOW::<[u8; 4096]>(0x94, 2);
/// `BTRFS_IOC_DEFRAG_RANGE`.
pub(crate) const DEFRAG_RANGE: u32 = _IOW::<DefragArgs>(0x94, 16);

/// `BTRFS_DEFRAG_RANGE_COMPRESS`.
const COMPRESS: u64 = 1 << 0;
/// `BTRFS_DEFRAG_RANGE_START_IO`.
const START_IO: u64 = 1 << 1;
/// `BTRFS_DEFRAG_RANGE_COMPRESS_LEVEL`.
const COMPRESS_LEVEL: u64 = 1 << 2;
/// `BTRFS_DEFRAG_RANGE_NOCOMPRESS`.
const NOCOMPRESS: u64 = 1 << 3;

/// `struct btrfs_ioctl_defrag_range_args`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct DefragArgs {
    start: u64,
    /// Bytes.
    len: u64,
    flags: u64,
    /// Extents of this size are left alone; 0 means the default.
    threshold: u32,
    /// With [`COMPRESS`]: the algorithm as the format numbers it, 0 for zlib. With
    /// [`COMPRESS_LEVEL`] that is the first byte only.
    compression: [u8; 4],
    unused: [u32; 4],
}

impl DefragArgs {
    /// How the data is to be compressed. `EINVAL` for an unknown algorithm or level.
    fn recode(&self) -> Result<Option<Recode>> {
        if self.flags & NOCOMPRESS != 0 {
            return Ok(Some(Recode::Plain));
        }
        if self.flags & COMPRESS == 0 {
            return Ok(None);
        }
        let [kind, level, ..] = self.compression;
        let (number, level) = match self.flags & COMPRESS_LEVEL {
            0 => (u32::from_ne_bytes(self.compression), 0),
            _ => (u32::from(kind), i32::from(i8::from_ne_bytes([level]))),
        };
        let algorithm = match number {
            0 | 1 => Algorithm::Zlib,
            2 => Algorithm::Lzo,
            3 => Algorithm::Zstd,
            _ => return Err(EINVAL),
        };
        // Of the default algorithm, chosen by 0, the level does not count.
        let level = if number == 0 { 0 } else { level };
        if level != 0 && algorithm.level(level) != level {
            return Err(EINVAL);
        }
        Ok(Some(Recode::Packed(algorithm, level)))
    }
}

/// `EROFS`, or `EPERM` for who may not write to the file.
fn check(file: &File<Btrfs>) -> Result {
    let inode = file.inode();
    if inode.data().subvol().is_readonly() {
        return Err(EROFS);
    }
    if inode.is_dir() {
        return super::require_admin();
    }
    if !inode.is_reg() {
        return Err(EINVAL);
    }
    // The file may be open for reading only: a program that runs can be defragmented.
    let may_write = || file.idmap().permission(inode, Access::WRITE).is_ok();
    match capable(Capability::SysAdmin) || may_write() {
        true => Ok(()),
        false => Err(EPERM),
    }
}

/// Of a directory: the tree of its subvolume, whatever else is asked for. Returns whether it is one.
fn defrag_tree(file: &File<Btrfs>) -> Result<bool> {
    let inode = file.inode();
    if inode.is_dir() {
        let data = inode.data();
        subvol::defrag::defrag(data.fs(), data.subvol().tree())?;
    }
    Ok(inode.is_dir())
}

/// `DEFRAG`: the whole file.
pub(crate) fn defrag_file(file: &File<Btrfs>) -> Result<isize> {
    let _write = file.want_write()?;
    check(file)?;
    if defrag_tree(file)? {
        return Ok(0);
    }
    let request = Request {
        range: 0..u64::MAX,
        threshold: THRESHOLD,
        newer: Generation(0),
        recode: None,
    };
    defrag(file.inode(), &request)?;
    Ok(0)
}

/// `DEFRAG_RANGE`: a part of a file, and perhaps with another compression.
///
/// `EOPNOTSUPP`: a flag is not known.
pub(crate) fn defrag_range(file: &File<Btrfs>, arg: usize) -> Result<isize> {
    let _write = file.want_write()?;
    check(file)?;
    if defrag_tree(file)? {
        return Ok(0);
    }
    let args: DefragArgs = user::read(arg)?;
    if args.flags & !(COMPRESS | START_IO | COMPRESS_LEVEL | NOCOMPRESS) != 0 {
        return Err(EOPNOTSUPP);
    }
    if args.flags & COMPRESS != 0 && args.flags & NOCOMPRESS != 0 {
        return Err(EINVAL);
    }
    let threshold = match args.threshold {
        0 => THRESHOLD,
        bytes => u64::from(bytes),
    };
    let request = Request {
        // A length that goes past the last offset, or none, means the rest of the file.
        range: args.start..match args.start.checked_add(args.len) {
            Some(end) if args.len > 0 => end,
            _ => u64::MAX,
        },
        threshold,
        newer: Generation(0),
        recode: args.recode()?,
    };
    defrag(file.inode(), &request)?;
    if args.flags & START_IO != 0 {
        file.inode().start_writeback()?;
    }
    Ok(0)
}
