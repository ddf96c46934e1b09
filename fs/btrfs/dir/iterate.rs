// SPDX-License-Identifier: GPL-2.0

//! Listing a directory.
//!
//! A position is the index of an entry: indexes are given out in rising order and
//! not reused, so a position stays good while entries come and go. `.` and `..`
//! are at 0 and 1; the first real entry is at 2.
//!
//! A scan ends at the index that was the last one when it began. Entries that come
//! later are not shown: a reader that renames what it lists would never come to an
//! end, because a renamed entry gets a new index.

use btrfs_format::dir::{DirItems, FileType};
use btrfs_format::key::{item, Key};
use btrfs_format::types::Ino;
use core::ops::RangeInclusive;
use kernel::prelude::*;
use kernel::sync::Arc;

use crate::tree::LiveTree;

/// The position behind the last entry.
///
/// New entries get positions behind all there are, so at its end a scan jumps to
/// where no entry is yet. 32-bit programs choke on large positions, hence the lower
/// one first.
pub(crate) fn end_position(pos: u64) -> u64 {
    const LOW: u64 = i32::MAX as u64;
    if pos >= LOW {
        i64::MAX as u64
    } else {
        LOW
    }
}

/// The position of the last entry of `dir`; 0 if there is none.
pub(crate) fn last_position(tree: &Arc<LiveTree>, dir: Ino) -> Result<u64> {
    let end = Key::new(dir.get(), item::DIR_INDEX, u64::MAX);
    let last = tree.seek_at_or_before(end)?.key();
    let own = last.filter(|key| key.objectid == dir.get() && key.item_type == item::DIR_INDEX);
    Ok(own.map_or(0, |key| key.offset))
}

/// Calls `emit(name, number, type, position)` for the entries of `dir` at positions in
/// `range`, until it returns false.
///
/// Returns the position to go on from when `emit` had enough, `None` when the
/// directory is at its end.
pub(crate) fn list(
    tree: &Arc<LiveTree>,
    dir: Ino,
    range: RangeInclusive<u64>,
    mut emit: impl FnMut(&[u8], u64, FileType, u64) -> bool,
) -> Result<Option<u64>> {
    let mut cursor = tree.seek(Key::new(dir.get(), item::DIR_INDEX, *range.start()))?;
    while let Some((key, data)) = cursor.item() {
        let own = key.objectid == dir.get() && key.item_type == item::DIR_INDEX;
        if !own || key.offset > *range.end() {
            break;
        }
        let entry = DirItems::new(data).next().ok_or(EUCLEAN)?;
        let kind = entry.kind().unwrap_or(FileType::Unknown);
        if !emit(entry.name, entry.location.objectid, kind, key.offset) {
            return Ok(Some(key.offset));
        }
        cursor.next()?;
    }
    Ok(None)
}
