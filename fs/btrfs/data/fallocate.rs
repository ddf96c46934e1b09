// SPDX-License-Identifier: GPL-2.0

//! `fallocate(2)`: space for ranges of files, and holes in them.

use btrfs_format::file_extent::{Compression, DiskExtent};
use btrfs_format::inode::InodeFlags;
use btrfs_format::superblock::Incompat;
use core::ops::Range;
use kernel::prelude::*;
use kfs::fs::{Fallocate, File, InvalidateLock};

use super::extent::Place;
use super::read::FileData;
use super::replace::{self, MOST};
use super::truncate;
use crate::edits::end;
use crate::inode::store::store;
use crate::vfs::{Btrfs, BtrfsInode};

/// Largest extent that is allocated without being written, bytes.
const MAX_PREALLOC: u64 = 256 << 20;

/// Does `what` with `range`.
pub(crate) fn run(file: &File<Btrfs>, what: Fallocate, keep: bool, range: Range<u64>) -> Result {
    let inode = file.inode();
    inode.data().fs().check_usable()?;
    let sector = inode.data().fs().sector_size();
    let _lock = inode.lock_exclusive();
    let size = u64::try_from(inode.size())?;
    let longer = !keep && what != Fallocate::PunchHole && range.end > size;
    if longer {
        inode.check_new_size(i64::try_from(range.end)?)?;
    }
    inode.wait_for_direct_io();
    file.modified()?;
    if longer {
        truncate::expand(inode, size, range.start.max(size))?;
    }
    // No mapping makes anything dirty meanwhile: what is a hole stays one.
    let lock = inode.lock_invalidate();
    if what != Fallocate::Allocate {
        zero_edges_and_punch(inode, &range, size, &lock)?;
    }
    if what != Fallocate::PunchHole {
        // The edges as well, where there is nothing.
        let first = range.start - range.start % sector;
        let end = range.end.checked_next_multiple_of(sector).ok_or(EFBIG)?;
        inode.write_and_wait(first..end)?;
        allocate(inode, first..end, &lock)?;
    }
    if longer {
        truncate::extend(inode, range.end)?;
    }
    Ok(())
}

/// Makes `range` read as zeroes, without space for the whole sectors in it.
fn zero_edges_and_punch(
    inode: &BtrfsInode,
    range: &Range<u64>,
    size: u64,
    lock: &InvalidateLock<'_, Btrfs>,
) -> Result {
    let data = inode.data();
    let sector = data.fs().sector_size();
    let start = range.start.checked_next_multiple_of(sector).ok_or(EFBIG)?;
    // The last sector of the file counts as whole.
    let end = match range.end >= size {
        true => range.end.checked_next_multiple_of(sector).ok_or(EFBIG)?,
        false => range.end - range.end % sector,
    };
    let zero = |from: u64, to: u64| {
        let to = to.min(size);
        match from < to {
            true => inode.zero_range::<FileData>(from..to, lock),
            false => Ok(()),
        }
    };
    if start >= end {
        return zero(range.start, range.end);
    }
    zero(range.start, start)?;
    zero(end, range.end)?;
    inode.truncate_pages(start..end);
    if let Ok(file) = data.file() {
        drop(file.undelay(start..end));
    }
    punch(inode, start..end)
}

/// Takes whole sectors out of the items of a file. Nothing is in flight there.
fn punch(inode: &BtrfsInode, range: Range<u64>) -> Result {
    let data = inode.data();
    let (fs, file) = (data.fs(), data.file()?);
    let no_holes = fs.has_incompat(Incompat::NO_HOLES);
    let mut at = range.start;
    while at < range.end {
        let rest = at..range.end;
        let count = replace::find(data, &rest, MOST)?.items.len();
        let mut handle = fs.txn().start(replace::demand(count, 4).deleting())?;
        let edit = file.edit();
        let olds = replace::find(data, &rest, count.saturating_add(2))?;
        let part = olds.range.clone();
        let mut change = || -> Result {
            let freed = replace::cut(data.tree(), data.ino(), &mut handle, &olds)?;
            let size = u64::try_from(inode.size())?;
            if !no_holes && part.start < size {
                let len = part.end.saturating_sub(part.start);
                let hole = truncate::hole(handle.transid(), len);
                let (tree, ino) = (data.tree(), data.ino());
                replace::put_extent(tree, ino, &mut handle, part.start, &hole, false)?;
            }
            file.count(0, freed);
            fs.space().note_freed(freed);
            file.changed(part.clone());
            // What was pending here held the size back.
            file.raise_disk_size(size);
            store(&mut handle, inode)
        };
        let changed = change();
        end(fs, handle, edit, "punch", changed)?;
        at = part.end;
    }
    Ok(())
}

/// Allocates space for the holes in `range`, whole sectors. Nothing is dirty there.
fn allocate(inode: &BtrfsInode, range: Range<u64>, _lock: &InvalidateLock<'_, Btrfs>) -> Result {
    let data = inode.data();
    let fs = data.fs();
    let mut hint = None;
    let mut at = range.start;
    while at < range.end {
        let extent = data.extent_at(at)?;
        let end = extent.end.min(range.end);
        if !matches!(extent.place, Place::Hole) {
            at = end;
            continue;
        }
        let want = end.saturating_sub(at).min(MAX_PREALLOC);
        let mut reserved = fs.space().reserve_data(want)?;
        let found = reserved.allocate(want, fs.sector_size(), hint)?;
        drop(reserved);
        hint = found.logical.checked_add(found.len);
        let part = at..at.saturating_add(found.len);
        let new = DiskExtent {
            generation: btrfs_format::types::Generation(0),
            ram_bytes: found.len,
            compression: Compression::None,
            disk_bytenr: found.logical,
            disk_num_bytes: found.len,
            offset: 0,
            num_bytes: found.len,
        };
        at = part.end;
        if let Err(e) = put_prealloc(inode, part, new) {
            fs.space().unalloc(found.logical, found.len);
            return Err(e);
        }
    }
    Ok(())
}

fn put_prealloc(inode: &BtrfsInode, part: Range<u64>, new: DiskExtent) -> Result {
    let data = inode.data();
    let (fs, file) = (data.fs(), data.file()?);
    // What is there are items of holes.
    let count = replace::find(data, &part, MOST)?.items.len();
    let mut handle = fs.txn().start(replace::demand(count, 4))?;
    let edit = file.edit();
    let olds = replace::find(data, &part, count.saturating_add(2))?;
    if olds.range.end < part.end {
        return Err(EIO);
    }
    let new = DiskExtent {
        generation: handle.transid(),
        ..new
    };
    let (tree, ino) = (data.tree(), data.ino());
    handle.born(new.disk_bytenr, new.disk_num_bytes, None)?;
    data.change_flags(InodeFlags::PREALLOC, InodeFlags(0));
    let mut change = || -> Result {
        replace::cut(tree, ino, &mut handle, &olds)?;
        replace::put_extent(tree, ino, &mut handle, part.start, &new, true)?;
        file.count(new.num_bytes, 0);
        file.changed(part.clone());
        store(&mut handle, inode)
    };
    let changed = change();
    end(fs, handle, edit, "preallocation", changed)
}
