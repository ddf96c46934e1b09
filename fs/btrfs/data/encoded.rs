// SPDX-License-Identifier: GPL-2.0

//! Writing data that is compressed already.
//!
//! It is not unpacked to see what is in it: whoever may do this may write to the device as well, and
//! whoever reads it checks as always.

use btrfs_format::file_extent::Compression;
use btrfs_format::inode::InodeFlags;
use btrfs_format::superblock::Incompat;
use core::ops::Range;
use kernel::fs::file::flags::O_APPEND;
use kernel::prelude::*;
use kfs::block::IoBuf;
use kfs::fs::File;
use kfs::mem::KBuf;

use super::extent::MAX_PACKED;
use super::ordered::{self, Ordered, Owner, Target};
use super::{direct, inline, truncate};
use crate::vfs::{Btrfs, BtrfsInode};

/// Compressed data, and which part of it a file shows where.
pub(crate) struct Encoded {
    /// Offset in the file, bytes.
    pub(crate) pos: u64,
    /// Bytes of the file, from `skip` on in what is unpacked.
    pub(crate) len: u64,
    pub(crate) skip: u64,
    /// Bytes it unpacks to.
    pub(crate) unpacked: u64,
    pub(crate) compression: Compression,
    pub(crate) data: KVVec<u8>,
}

/// Puts `new` in place of what the file has there.
///
/// `EINVAL` for what cannot be an extent of this file, `EFBIG`; `EBUSY` if the page cache does not let
/// go of what is there.
pub(crate) fn write(file: &File<Btrfs>, mut new: Encoded) -> Result {
    let inode = file.inode();
    let sector = inode.data().fs().sector_size();
    let _lock = inode.lock_exclusive();
    if inode.is_swapfile() {
        return Err(ETXTBSY);
    }
    let size = u64::try_from(inode.size())?;
    if file.flags() & O_APPEND != 0 {
        new.pos = size;
    }
    let end = new.pos.checked_add(new.len).ok_or(EFBIG)?;
    inode.check_new_size(i64::try_from(end.max(size)).map_err(|_| EFBIG)?)?;
    file.modified()?;
    check(inode, &new, size)?;
    inode.wait_for_direct_io();
    if new.pos > size {
        truncate::expand(inode, size, new.pos)?;
    }
    let whole = new.pos..end.checked_next_multiple_of(sector).ok_or(EFBIG)?;
    if !direct::claim(inode, &whole)? {
        return Err(EBUSY);
    }
    let done = put(inode, &new, whole.clone(), end);
    // What a mapping brought into the page cache meanwhile is old.
    let _ = inode.invalidate_pages(whole.clone());
    inode.data().file()?.unclaim(whole.start);
    done
}

/// Puts `new`, of which the file has `whole`, into an item, or writes it. The range is claimed.
fn put(inode: &BtrfsInode, new: &Encoded, whole: Range<u64>, end: u64) -> Result {
    if let Some(feature) = Incompat::of_compression(new.compression) {
        inode.data().fs().volume().add_incompat(feature)?;
    }
    let all = new.pos == 0 && new.skip == 0 && new.len == new.unpacked;
    if all && inline::replace_all(inode, new.len, new.compression, &new.data)? {
        return Ok(());
    }
    write_extent(inode, new, whole, i64::try_from(end)?)
}

/// Whether `new` can be an extent of the file, which is `size` bytes long.
fn check(inode: &BtrfsInode, new: &Encoded, size: u64) -> Result {
    let sector = inode.data().fs().sector_size();
    let packed = u64::try_from(new.data.len())?;
    let most = u64::from(MAX_PACKED);
    let end = new.pos.saturating_add(new.len);
    // Compressed data always has checksums.
    let wrong = inode.data().flags().contains(InodeFlags::NODATASUM)
        || new.compression == Compression::None
        || new.unpacked > most
        || packed > most
        || packed == 0
        || packed >= new.unpacked
        || new.pos % sector != 0
        || new.skip % sector != 0
        || (end < size && end % sector != 0);
    match wrong {
        true => Err(EINVAL),
        false => Ok(()),
    }
}

/// Writes an extent of which the file has `whole`. The file ends behind `end` at least.
fn write_extent(inode: &BtrfsInode, new: &Encoded, whole: Range<u64>, end: i64) -> Result {
    let data = inode.data();
    let (fs, file) = (data.fs(), data.file()?);
    let sector = fs.sector_size();
    let disk_len = u64::try_from(new.data.len())?.next_multiple_of(sector);
    let mut padded = KBuf::zeroed(usize::try_from(disk_len)?, GFP_KERNEL)?;
    let part = padded.get_mut(..new.data.len()).ok_or(EIO)?;
    part.copy_from_slice(&new.data);
    let padded = IoBuf::from_buf(padded)?;
    let mut reserved = fs.space().reserve_data(disk_len)?;
    let found = reserved.allocate(disk_len, disk_len, None)?;
    let target = Target {
        disk: found.logical,
        disk_len,
        ram: new.unpacked.next_multiple_of(sector),
        skip: new.skip,
        compression: new.compression,
        within: None,
    };
    let ordered = file.launch(whole.clone()).and_then(|(delayed, _)| {
        drop(delayed);
        Ordered::new(
            fs.volume().geometry(),
            whole.clone(),
            target,
            1,
            true,
            Owner::Waiter,
        )
    });
    let ordered = ordered.inspect_err(|_| {
        target.give_back(data);
        ordered::fail(inode, whole.clone());
    })?;
    ordered.write(data, 0, padded, true, true);
    ordered.wait(inode, end)
}
