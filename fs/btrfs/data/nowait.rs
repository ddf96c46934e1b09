// SPDX-License-Identifier: GPL-2.0

//! Whether direct I/O finds in memory what it needs: for who does not want to wait (`RWF_NOWAIT`,
//! io_uring).
//!
//! What is found may be gone before it is used, and is then read all the same. That costs time and
//! nothing else, so nothing is held for the sake of the answer.

use btrfs_format::inode::InodeFlags;
use btrfs_format::key::{item, Key};
use btrfs_format::types::{objectid, Logical, CSUM_AREA};
use core::ops::Range;

use super::extent::{Extent, Place};
use super::queued::MOST;
use crate::inode::Inode;

/// Whether `range` can be read directly without reading anything else before.
pub(super) fn can_read(inode: &Inode, range: &Range<u64>) -> bool {
    let csums = !inode.flags().contains(InodeFlags::NODATASUM);
    all(inode, range, |extent, part| match extent.place {
        Place::Hole | Place::Prealloc { .. } => true,
        Place::Plain { address, .. } => {
            let at = |pos: u64| address.checked_add(pos.saturating_sub(extent.start));
            let ends = [part.start, part.end.saturating_sub(1)].map(at);
            !csums || ends.into_iter().all(|end| knows_csum(inode, end))
        }
        Place::Packed(_) | Place::Inline { .. } => false,
    })
}

/// Whether it is known without waiting where `range` is to be written.
pub(super) fn can_write(inode: &Inode, range: &Range<u64>) -> bool {
    // An inline extent is only at the beginning, and makes a direct write impossible.
    let starts = [0, range.start];
    if !starts.into_iter().all(|pos| knows_extent(inode, pos)) {
        return false;
    }
    let in_place = InodeFlags::NODATACOW | InodeFlags::PREALLOC;
    if !inode.flags().intersects(in_place) {
        return range.end.saturating_sub(range.start) <= MOST;
    }
    // Whether others have the extent is in the extent tree.
    all(inode, range, |extent, _| match extent.place {
        Place::Prealloc { allocation, .. } | Place::Plain { allocation, .. } => {
            knows_allocation(inode, allocation)
        }
        Place::Hole | Place::Packed(_) | Place::Inline { .. } => true,
    })
}

/// Whether all of `range` is known, not too long, and `fits`.
fn all(inode: &Inode, range: &Range<u64>, fits: impl Fn(&Extent, Range<u64>) -> bool) -> bool {
    if range.end.saturating_sub(range.start) > MOST {
        return false;
    }
    let mut at = range.start;
    while at < range.end {
        if !knows_extent(inode, at) {
            return false;
        }
        let Ok(extent) = inode.extent_at(at) else {
            return false;
        };
        let part = at..extent.end.min(range.end);
        at = part.end;
        if !fits(&extent, part) {
            return false;
        }
    }
    true
}

fn knows_extent(inode: &Inode, pos: u64) -> bool {
    let key = Key::new(inode.ino().get(), item::EXTENT_DATA, pos);
    let known = inode.file().is_ok_and(|file| file.find(pos).is_ok());
    known || inode.tree().view().is_at_hand(&key)
}

/// Whether the checksum of the sector in which `at` lies is in memory: in the tree, or fresh.
fn knows_csum(inode: &Inode, at: Option<Logical>) -> bool {
    let Some(at) = at else {
        return false;
    };
    let fs = inode.fs();
    let key = Key::new(objectid::EXTENT_CSUM, item::EXTENT_CSUM, at.get());
    let tree = fs.roots().standard().csum.as_ref();
    if tree.is_none_or(|tree| tree.view().is_at_hand(&key)) {
        return true;
    }
    let start = Logical(at.get() - at.get() % fs.sector_size());
    let mut csum = [0; CSUM_AREA];
    let Some(room) = csum.get_mut(..fs.volume().geometry().csum_type.size()) else {
        return false;
    };
    let mut fresh = false;
    let found = fs
        .txn()
        .csums(start, fs.sector_size(), room.len(), room, |_| {
            fresh = true;
            Ok(())
        });
    found.is_ok() && fresh
}

fn knows_allocation(inode: &Inode, allocation: Logical) -> bool {
    let key = Key::new(allocation.get(), item::EXTENT_ITEM, 0);
    let tree = inode.fs().roots().standard().extent.as_ref();
    tree.is_none_or(|tree| tree.view().is_at_hand(&key))
}
