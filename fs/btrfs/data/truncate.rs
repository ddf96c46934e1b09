// SPDX-License-Identifier: GPL-2.0

//! Changing the size of a file.
//!
//! A file gets longer by its size alone, and by items for holes where the feature is missing with
//! which they need none. It gets shorter in this order: the size is set, the page cache is cut, what
//! is in flight arrives, and then the items go, from the end on, in steps of [`MOST`]. Each step
//! leaves a file that is consistent, only longer than asked for. Where one fails, the file gets that
//! size again: with the new one, what is left would be in it when it grows.
//!
//! That must work where nothing is free, so no data is written for it: what a sector has behind
//! the end of the file stays on disk. Reads give zeroes for it ([`read`](super::read)), and
//! [`expand`] zeroes it before it is in the file again.

use btrfs_format::file_extent::{Compression, DiskExtent};
use btrfs_format::superblock::Incompat;
use btrfs_format::types::Logical;
use core::ops::Range;
use kernel::prelude::*;
use kfs::mem::until_memory;

use super::inline;
use super::read::FileData;
use super::replace::{self, MOST};
use crate::edits::end;
use crate::inode::store::store;
use crate::vfs::BtrfsInode;

/// Makes the file `inode`, which is `old` bytes long, ready to have bytes at `new`, behind its
/// end. The inode lock is held.
pub(crate) fn expand(inode: &BtrfsInode, old: u64, new: u64) -> Result {
    let fs = inode.data().fs();
    let sector = fs.sector_size();
    let edge = old.checked_next_multiple_of(sector).ok_or(EFBIG)?;
    if old < edge {
        let lock = inode.lock_invalidate();
        inode.zero_range::<FileData>(old..edge, &lock)?;
    }
    let end = new.checked_next_multiple_of(sector).ok_or(EFBIG)?;
    if edge < end && !fs.has_incompat(Incompat::NO_HOLES) {
        put_holes(inode, edge..end)?;
    }
    Ok(())
}

/// Puts items for the holes in `range`.
pub(super) fn put_holes(inode: &BtrfsInode, range: Range<u64>) -> Result {
    let data = inode.data();
    let (fs, file) = (data.fs(), data.file()?);
    let mut at = range.start;
    while at < range.end {
        let rest = at..range.end;
        let count = replace::find(data, &rest, MOST)?.items.len();
        let mut handle = fs.txn().start(replace::demand(count, 4))?;
        let edit = file.edit();
        let olds = replace::find(data, &rest, count.saturating_add(2))?;
        let olds_end = olds.range.end;
        let mut change = || -> Result {
            let mut from = at;
            let gaps = olds.items.iter().map(|old| (old.start, old.end));
            for (start, end) in Iterator::chain(gaps, [(olds_end, olds_end)]) {
                if from < start {
                    let hole = hole(handle.transid(), start.saturating_sub(from));
                    replace::put_extent(data.tree(), data.ino(), &mut handle, from, &hole, false)?;
                }
                from = from.max(end);
            }
            file.changed(olds.range.clone());
            store(&mut handle, inode)
        };
        let changed = change();
        end(fs, handle, edit, "hole", changed)?;
        at = olds_end;
    }
    Ok(())
}

/// A hole of `len` bytes.
pub(super) fn hole(generation: btrfs_format::types::Generation, len: u64) -> DiskExtent {
    DiskExtent {
        generation,
        ram_bytes: len,
        compression: Compression::None,
        disk_bytenr: Logical(0),
        disk_num_bytes: 0,
        offset: 0,
        num_bytes: len,
    }
}

/// Sets the size of a regular file, in bytes. The inode lock is held for writing; times have been
/// set, or are after.
pub(crate) fn set_size(inode: &BtrfsInode, size: i64) -> Result {
    let (old, new) = (u64::try_from(inode.size())?, u64::try_from(size)?);
    inode.wait_for_direct_io();
    match new.cmp(&old) {
        core::cmp::Ordering::Equal => cut_behind(inode, new),
        core::cmp::Ordering::Greater => {
            expand(inode, old, new)?;
            extend(inode, new)
        }
        core::cmp::Ordering::Less => shorten(inode, new),
    }
}

/// Raises the size to `size`. The inode lock is held for writing.
pub(super) fn extend(inode: &BtrfsInode, size: u64) -> Result {
    let data = inode.data();
    let old = inode.size();
    let new = i64::try_from(size)?;
    let mut handle = data.fs().txn().start(replace::demand(0, 1))?;
    inode.set_size(new);
    inode.size_extended(old, new);
    data.file()?.raise_disk_size(size);
    store(&mut handle, inode)
}

/// Takes out what was allocated in advance behind the end of the file, which is `size`.
fn cut_behind(inode: &BtrfsInode, size: u64) -> Result {
    let data = inode.data();
    let edge = size.checked_next_multiple_of(data.fs().sector_size());
    match replace::find_last(data, edge.ok_or(EFBIG)?, 1)?.items.len() {
        0 => Ok(()),
        _ => drop_extents(inode, size),
    }
}

fn shorten(inode: &BtrfsInode, size: u64) -> Result {
    let data = inode.data();
    let edge = size.checked_next_multiple_of(data.fs().sector_size());
    let edge = edge.ok_or(EFBIG)?;
    {
        let _lock = inode.lock_invalidate();
        let size = i64::try_from(size)?;
        inode.set_size(size);
        inode.truncate_cache(size);
    }
    let file = data.file()?;
    drop(file.undelay(edge..u64::MAX));
    let items = until_memory(|| {
        inline::cut(inode, size)?;
        drop_extents(inode, size)
    });
    items.inspect_err(|_| {
        if let Ok(left) = i64::try_from(file.disk_size().max(size)) {
            inode.set_size(left);
        }
    })
}

/// For a file that is to be removed: takes all items of extents out if they are many. Returns how
/// many are left.
pub(crate) fn drop_many(inode: &BtrfsInode) -> Result<u64> {
    let data = inode.data();
    let count = replace::find_last(data, 0, MOST)?.items.len();
    if count < MOST {
        return Ok(u64::try_from(count)?);
    }
    drop_extents(inode, 0)?;
    Ok(0)
}

/// Takes everything from offset `from` on, rounded up to sectors, out of the items of `inode`,
/// and lowers the size in its item to `from`.
///
/// Nothing is in flight there, or can be. Inline extents that begin before `from` stay.
pub(crate) fn drop_extents(inode: &BtrfsInode, from: u64) -> Result {
    let data = inode.data();
    let (fs, file) = (data.fs(), data.file()?);
    let edge = from.checked_next_multiple_of(fs.sector_size());
    let edge = edge.ok_or(EFBIG)?;
    loop {
        let count = replace::find_last(data, edge, MOST)?.items.len();
        let mut handle = fs.txn().start(replace::demand(count, 4).deleting())?;
        let edit = file.edit();
        let olds = replace::find_last(data, edge, count)?;
        let reached = olds.range.start;
        let mut change = || -> Result {
            let freed = replace::cut(data.tree(), data.ino(), &mut handle, &olds)?;
            file.count(0, freed);
            fs.space().note_freed(freed);
            file.changed(olds.range.clone());
            file.cut_disk_size(match reached <= edge {
                true => from,
                false => reached,
            });
            if reached <= edge {
                // What was pending behind the new end held the size back.
                file.raise_disk_size(from);
            }
            store(&mut handle, inode)
        };
        let changed = change();
        end(fs, handle, edit, "truncate", changed)?;
        if reached <= edge {
            return Ok(());
        }
    }
}
