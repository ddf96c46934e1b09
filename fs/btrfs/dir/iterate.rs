// SPDX-License-Identifier: GPL-2.0

//! Listing a directory.
//!
//! A position is the index of an entry: indexes are given out in rising order and
//! not reused, so a position stays good while entries come and go. `.` and `..`
//! are at 0 and 1; the first real entry is at 2.

use btrfs_format::dir::{DirItems, FileType};
use btrfs_format::key::{item, Key};
use btrfs_format::types::Ino;
use kernel::prelude::*;

use crate::tree::TreeView;

/// The position behind the last entry.
///
/// New entries get positions behind all there are; a reader that renames what it
/// lists would never come to an end. So its position jumps to where no entry is
/// yet. 32-bit programs choke on large positions, hence the lower one first.
pub(crate) fn end_position(pos: u64) -> u64 {
    const LOW: u64 = i32::MAX as u64;
    if pos >= LOW {
        i64::MAX as u64
    } else {
        LOW
    }
}

/// Calls `emit(name, number, type, position)` for the entries of `dir` from
/// position `from` on, until it returns false.
///
/// Returns the position to go on from when `emit` had enough, `None` when the
/// directory is at its end.
pub(crate) fn list(
    tree: &TreeView,
    dir: Ino,
    from: u64,
    mut emit: impl FnMut(&[u8], u64, FileType, u64) -> bool,
) -> Result<Option<u64>> {
    let mut cursor = tree.seek(Key::new(dir.get(), item::DIR_INDEX, from))?;
    while let Some((key, data)) = cursor.item() {
        if key.objectid != dir.get() || key.item_type != item::DIR_INDEX {
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
