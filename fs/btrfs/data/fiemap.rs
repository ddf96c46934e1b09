// SPDX-License-Identifier: GPL-2.0

//! FIEMAP: the extents of a file as user space sees them.
//!
//! Physical addresses are logical addresses of the file system. Neighbours that
//! continue each other in the file and in the address space, with the same flags,
//! are reported as one.
//!
//! What is pending has no address yet, and is reported as such, where items say that there is
//! nothing; elsewhere what the items say is reported until others take their place.

use btrfs_format::file_extent::Compression;
use btrfs_format::types::Logical;
use core::ops::Range;
use kernel::prelude::*;
use kfs::task;

use super::extent::{Extent, Place, FILE_END};
use crate::inode::Inode;

/// Flags of a reported extent: `FIEMAP_EXTENT_*` of `linux/fiemap.h`.
pub(crate) mod flag {
    /// Nothing comes behind it.
    pub(crate) const LAST: u32 = 0x1;
    /// It is not known where it is.
    pub(crate) const UNKNOWN: u32 = 0x2;
    /// Nothing is allocated yet.
    pub(crate) const DELALLOC: u32 = 0x4;
    /// Compressed.
    pub(crate) const ENCODED: u32 = 0x8;
    /// The addresses are not those of blocks.
    pub(crate) const NOT_ALIGNED: u32 = 0x100;
    /// In the metadata.
    pub(crate) const DATA_INLINE: u32 = 0x200;
    /// Allocated, but nothing was written.
    pub(crate) const UNWRITTEN: u32 = 0x800;
    /// Others refer to it too.
    pub(crate) const SHARED: u32 = 0x2000;
}

/// An extent to report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Reported {
    /// Offset in the file.
    pub(crate) offset: u64,
    /// Address.
    pub(crate) address: u64,
    /// Length in bytes.
    pub(crate) length: u64,
    /// Of [`flag`].
    pub(crate) flags: u32,
}

impl Reported {
    fn continues(&self, before: &Reported) -> bool {
        // An address can be anything: the tree checker does not know what chunks there are.
        before.offset.checked_add(before.length) == Some(self.offset)
            && before.address.checked_add(before.length) == Some(self.address)
            && before.flags == self.flags
    }
}

/// Neighbours that become one; the last is held back.
struct Merged<E> {
    last: Option<Reported>,
    emit: E,
}

impl<E: FnMut(Reported) -> Result<bool>> Merged<E> {
    /// Returns false when no more are wanted.
    fn add(&mut self, next: Reported) -> Result<bool> {
        match &mut self.last {
            Some(before) if next.continues(before) => {
                before.length = before.length.saturating_add(next.length);
                Ok(true)
            }
            before => match before.replace(next) {
                Some(done) => (self.emit)(done),
                None => Ok(true),
            },
        }
    }
}

/// Reports the extents of `inode` that have a part in `range`, whole sectors, to `emit`, which
/// returns false when it wants no more. `EINTR` when the task is killed.
///
/// `last_end` is where the last extent of the file ends that is not a hole;
/// `is_shared(allocation, offset)` says whether data is shared. The inode lock is held.
pub(crate) fn report(
    inode: &Inode,
    range: Range<u64>,
    (last_end, size): (u64, u64),
    mut is_shared: impl FnMut(Logical, u64) -> Result<bool>,
    emit: impl FnMut(Reported) -> Result<bool>,
) -> Result {
    let end = range.end.min(FILE_END);
    let mut out = Merged { last: None, emit };
    let mut at = range.start;
    if at < end {
        let first = inode.extent_at(at)?;
        if !matches!(first.place, Place::Hole) {
            at = first.start;
        }
    }
    while at < end {
        if task::is_killed() {
            return Err(EINTR);
        }
        let (extent, is_pending) = piece(inode, at)?;
        at = extent.end;
        if is_pending {
            let delayed = Reported {
                offset: extent.start,
                address: 0,
                length: extent.end.min(end).saturating_sub(extent.start),
                flags: flag::DELALLOC | flag::UNKNOWN,
            };
            if !out.add(delayed)? {
                return Ok(());
            }
            continue;
        }
        let Some((mut next, allocation)) = describe(&extent) else {
            continue;
        };
        if let Some(allocation) = allocation {
            if is_shared(allocation, extent.start)? {
                next.flags |= flag::SHARED;
            }
        }
        if !out.add(next)? {
            return Ok(());
        }
    }
    if let Some(mut done) = out.last {
        let behind = inode.file()?.pending(at);
        let more = at < size && (behind.yes || behind.until < size);
        if done.offset.saturating_add(done.length) >= last_end && !more {
            done.flags |= flag::LAST;
        }
        (out.emit)(done)?;
    }
    Ok(())
}

/// What is at `at`, and whether it is pending. Where there is nothing yet, not more than is the same
/// in this; else the whole extent.
fn piece(inode: &Inode, at: u64) -> Result<(Extent, bool)> {
    // In this order: what arrives in between has its items then.
    let pending = inode.file()?.pending(at);
    let mut extent = inode.extent_at(at)?;
    match &mut extent.place {
        Place::Hole => {}
        Place::Prealloc { address, .. } => {
            let skipped = at.saturating_sub(extent.start);
            *address = address.checked_add(skipped).ok_or(EUCLEAN)?;
        }
        _ => return Ok((extent, false)),
    }
    extent.start = at;
    extent.end = extent.end.min(pending.until);
    Ok((extent, pending.yes))
}

/// How an extent is reported, and of which allocation it is a part; `None` for holes.
fn describe(extent: &Extent) -> Option<(Reported, Option<Logical>)> {
    let (address, flags, allocation) = match extent.place {
        Place::Hole => return None,
        Place::Plain {
            address,
            allocation,
        } => (address.get(), 0, Some(allocation)),
        Place::Prealloc {
            address,
            allocation,
        } => (address.get(), flag::UNWRITTEN, Some(allocation)),
        Place::Packed(packed) => (packed.address.get(), flag::ENCODED, Some(packed.address)),
        Place::Inline { compression, .. } => {
            let mut flags = flag::DATA_INLINE | flag::NOT_ALIGNED;
            if compression != Compression::None {
                flags |= flag::ENCODED;
            }
            (0, flags, None)
        }
    };
    let reported = Reported {
        offset: extent.start,
        address,
        length: extent.end - extent.start,
        flags,
    };
    Some((reported, allocation))
}
