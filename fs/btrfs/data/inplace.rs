// SPDX-License-Identifier: GPL-2.0

//! Overwriting data where it is.
//!
//! Files without copy-on-write, and space that was allocated in advance, are written in place if
//! nobody else has the extent: it is younger than the last snapshot of the subvolume, and the
//! extent tree knows of no other place that refers to it. Data with checksums is never overwritten:
//! the old sum and the new data would be on disk together for a while. What was allocated in advance
//! has no sums: it reads as zeroes until the transaction in which it gets them, and an item that
//! says that it was written.

use btrfs_format::file_extent::Compression;
use btrfs_format::inode::InodeFlags;
use btrfs_format::types::Generation;
use core::ops::Range;
use kernel::prelude::*;

use super::ordered::Target;
use super::replace::{self, OldKind};
use super::shared::Sharing;
use crate::inode::Inode;

/// Where the bytes from the beginning of `range` on can be written in place, and up to where;
/// with `None`: up to where they cannot.
pub(super) fn find(inode: &Inode, range: &Range<u64>) -> Result<(Option<Target>, u64)> {
    let flags = inode.flags();
    let rewrites = flags.contains(InodeFlags::NODATACOW) && flags.contains(InodeFlags::NODATASUM);
    if !rewrites && !flags.contains(InodeFlags::PREALLOC) {
        return Ok((None, range.end));
    }
    let (moving, until) = inode.file()?.moving(range.start);
    let range = &(range.start..range.end.min(until));
    if moving {
        return Ok((None, range.end));
    }
    let olds = inode.file()?.look(|| replace::find(inode, range, 1))?;
    let Some(old) = olds.items.first() else {
        return Ok((None, range.end));
    };
    if old.start > range.start {
        return Ok((None, old.start.min(range.end)));
    }
    let end = old.end.min(range.end);
    let OldKind::Disk { extent, prealloc } = old.kind else {
        return Ok((None, end));
    };
    let snapshot = Generation(inode.tree().item().last_snapshot.get());
    let writable = prealloc || rewrites;
    let plain = extent.compression == Compression::None && !extent.is_hole();
    if !writable || !plain || extent.generation <= snapshot {
        return Ok((None, end));
    }
    let Some(extents) = inode.fs().roots().standard().extent.as_ref() else {
        return Ok((None, end));
    };
    let tree = inode.tree().view();
    let mut sharing = Sharing::new(extents.view(), tree, inode.ino(), snapshot);
    if sharing.is_shared(extent.disk_bytenr, old.start)? {
        return Ok((None, end));
    }
    let skipped = range.start.saturating_sub(old.start);
    let disk = extent
        .disk_bytenr
        .checked_add(extent.offset)
        .and_then(|at| at.checked_add(skipped))
        .ok_or(EUCLEAN)?;
    let len = end.saturating_sub(range.start);
    let target = Target {
        disk,
        disk_len: len,
        ram: len,
        skip: 0,
        compression: Compression::None,
        within: Some((extent, prealloc)),
    };
    Ok((Some(target), end))
}

/// Whether all of `range`, in which there is one item, can be written in place.
pub(super) fn is_possible(inode: &Inode, range: &Range<u64>) -> Result<bool> {
    let (target, until) = find(inode, range)?;
    Ok(target.is_some() && until == range.end)
}
