// SPDX-License-Identifier: GPL-2.0

//! Data that is in the tree itself: inline extents, and the targets of symbolic links,
//! which are inline extents too.

use btrfs_format::file_extent::{file_extent_type, Compression, FileExtent, FileExtentHeader};
use btrfs_format::inode::InodeFlags;
use btrfs_format::types::Generation;
use core::ops::Range;
use kernel::prelude::*;
use kfs::block::IoBuf;
use kfs::iomap::FolioRange;
use kfs::mem::{until_memory, KBuf};

use super::compress::Packer;
use super::decode;
use super::extent::{Extent, Place, MAX_PACKED};
use super::ordered;
use super::replace;
use super::replace::MOST;
use super::writeback::Folios;
use crate::edits::end;
use crate::inode::store::store;
use crate::inode::Inode;
use crate::mount::Fs;
use crate::vfs::BtrfsInode;

/// Bytes in front of the data of an inline extent.
const HEADER: u64 = 21;

/// The data of a small file, ready to go into an item.
pub(super) struct Inline {
    size: u64,
    compression: Compression,
    /// The item, without the fields in front of the data.
    item: KVec<u8>,
}

/// How many bytes of data a leaf has room for in an inline extent.
fn most(fs: &Fs) -> Result<u64> {
    let body = u64::try_from(fs.volume().geometry().body_size())?;
    Ok(body.saturating_sub(25 + HEADER))
}

/// What goes into an item for a file whose dirty bytes `range` are in `folios`; `None` if it is
/// not that small, or there is no memory to find out.
pub(super) fn prepare(inode: &BtrfsInode, range: &Range<u64>, folios: &Folios) -> Option<Inline> {
    let data = inode.data();
    let (fs, sector) = (data.fs(), data.fs().sector_size());
    let size = u64::try_from(inode.size()).ok()?;
    let all = range.start == 0 && size > 0 && size <= range.end && size <= sector;
    if !all || data.flags().contains(InodeFlags::PREALLOC) {
        return None;
    }
    let limit = fs.options().max_inline.min(most(fs).ok()?);
    let packer = Packer::of(data).filter(|_| limit > 0);
    if packer.is_none() && size > limit.min(sector.saturating_sub(1)) {
        return None;
    }
    let len = usize::try_from(size).ok()?;
    let mut plain = KVec::from_elem(0u8, len, GFP_KERNEL).ok()?;
    folios.copy_out(0, &mut plain).ok()?;
    if let Some(packer) = packer.filter(|packer| packer.is_worth_trying(&plain)) {
        let room = usize::try_from(limit).ok()?.min(len.saturating_sub(1));
        if let Ok(Some((packed, used))) = packer.pack(&plain, room) {
            let feature = packer.feature();
            let added = feature.map_or(Ok(()), |feature| fs.volume().add_incompat(feature));
            if added.is_ok() {
                return Inline::new(size, packer.kind(), packed.get(..used)?);
            }
        }
    }
    (size <= limit.min(sector.saturating_sub(1)))
        .then(|| Inline::new(size, Compression::None, &plain))
        .flatten()
}

/// Makes `packed`, which unpacks to `size` bytes, all that is in the file. Nothing of it is dirty or
/// in flight; the inode lock is held for writing.
///
/// `Ok(false)`: that cannot be in an item; nothing has changed.
pub(super) fn replace_all(
    inode: &BtrfsInode,
    size: u64,
    compression: Compression,
    packed: &[u8],
) -> Result<bool> {
    let fs = inode.data().fs();
    let limit = fs.options().max_inline.min(most(fs)?);
    let len = u64::try_from(packed.len())?;
    let old = u64::try_from(inode.size())?;
    if size > fs.sector_size() || size < old || len > limit || len >= fs.sector_size() {
        return Ok(false);
    }
    let item = Inline::new(size, compression, packed).ok_or(ENOMEM)?;
    inode.set_size(i64::try_from(size)?);
    put(inode, item)?;
    Ok(true)
}

impl Inline {
    fn new(size: u64, compression: Compression, data: &[u8]) -> Option<Self> {
        let header = usize::try_from(HEADER).ok()?;
        let mut item = KVec::with_capacity(header.saturating_add(data.len()), GFP_KERNEL).ok()?;
        item.resize(header, 0, GFP_KERNEL).ok()?;
        item.extend_from_slice(data, GFP_KERNEL).ok()?;
        Some(Self {
            size,
            compression,
            item,
        })
    }
}

/// Writes all of a file into an item, and ends the writeback of its folios.
///
/// Without memory, or when the transaction fails, that is an error of the write. `ended` is called
/// when the items are put.
pub(super) fn write(
    inode: &BtrfsInode,
    inline: Inline,
    folios: Result<IoBuf>,
    ended: impl FnOnce(),
) {
    let whole = 0..inode.data().fs().sector_size();
    let result = folios
        .as_ref()
        .map_err(|e| *e)
        .and_then(|_| put(inode, inline));
    if let Err(error) = result {
        ordered::fail(inode, whole);
        let data = inode.data();
        data.fs().log().error_limited(format_args!(
            "root {} inode {}: writing inline data failed (error {})",
            data.subvol().id(),
            data.ino(),
            error.to_errno()
        ));
    }
    ended();
    if let Ok(buf) = folios {
        buf.finish(result);
    }
}

fn put(inode: &BtrfsInode, inline: Inline) -> Result {
    let data = inode.data();
    let (fs, file) = (data.fs(), data.file()?);
    let Inline {
        size,
        compression,
        mut item,
    } = inline;
    let header = usize::try_from(HEADER)?;
    let whole = 0..fs.sector_size();
    let count = until_memory(|| replace::find(data, &whole, MOST))?
        .items
        .len();
    let demand = replace::demand(count, size.div_ceil(replace::ITEM).saturating_add(4));
    let paid = file.take_trees(&whole);
    let mut handle = fs.txn().start_writeback(demand, paid)?;
    let edit = file.edit();
    let olds = until_memory(|| replace::find(data, &whole, MOST))?;
    let fields = header_of(handle.transid(), size, compression);
    item.get_mut(..header)
        .ok_or(EINVAL)?
        .copy_from_slice(fields.to_disk());
    let mut change = || -> Result {
        let freed = replace::cut(data.tree(), data.ino(), &mut handle, &olds)?;
        data.tree()
            .put(&mut handle, replace::key(data.ino(), 0), &item)?;
        file.arrived(whole.clone(), size, freed);
        file.land(whole.clone());
        file.raise_disk_size(size);
        store(&mut handle, inode)
    };
    let changed = change();
    end(fs, handle, edit, "inline extent", changed)
}

/// Cuts the bytes from `size` on off the inline extent of a file that is `size` bytes long now, if
/// there is one. Nothing is in flight. The inode lock is held for writing.
///
/// A long one stays as it is if it was packed and does not fit without: nothing of it but what is
/// in the file is read.
pub(super) fn cut(inode: &BtrfsInode, size: u64) -> Result {
    let data = inode.data();
    let (fs, file) = (data.fs(), data.file()?);
    if size == 0 || size > most(fs)? {
        return Ok(());
    }
    let longer = |extent: &Extent| match extent.place {
        Place::Inline { key, size: has, .. } if has > size => Some((key, has)),
        _ => None,
    };
    if longer(&data.extent_at(0)?).is_none() {
        return Ok(());
    }
    let header = usize::try_from(HEADER)?;
    let mut item = KVec::from_elem(0u8, usize::try_from(HEADER + size)?, GFP_KERNEL)?;
    let demand = replace::demand(1, size.div_ceil(replace::ITEM).saturating_add(4));
    let mut handle = fs.txn().start(demand.deleting())?;
    let edit = file.edit();
    // What a mapping made dirty may have been written meanwhile.
    let extent = data.extents_from(0)?.next()?.ok_or(EUCLEAN)?;
    let Some((key, has)) = longer(&extent) else {
        return Ok(());
    };
    let fields = header_of(handle.transid(), size, Compression::None);
    let (head, rest) = item.split_at_mut_checked(header).ok_or(EINVAL)?;
    head.copy_from_slice(fields.to_disk());
    data.copy_inline(&extent, 0, rest)?;
    let mut change = || -> Result {
        data.tree().put(&mut handle, key, &item)?;
        file.count(0, has.saturating_sub(size));
        file.changed(0..fs.sector_size());
        file.cut_disk_size(size);
        store(&mut handle, inode)
    };
    let changed = change();
    end(fs, handle, edit, "inline extent", changed)
}

/// The fields in front of the data of an inline extent.
fn header_of(generation: Generation, size: u64, compression: Compression) -> FileExtentHeader {
    FileExtentHeader {
        generation: generation.into(),
        ram_bytes: size.into(),
        compression: compression.raw(),
        encryption: 0,
        other_encoding: 0.into(),
        kind: file_extent_type::INLINE,
    }
}

impl Inode {
    /// Gives the unpacked bytes of the inline extent `extent` to `f`.
    fn with_inline<R>(&self, extent: &Extent, f: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
        let Place::Inline { key, .. } = extent.place else {
            return Err(EINVAL);
        };
        let item = self.tree().get(key)?.ok_or(EUCLEAN)?;
        let Some(FileExtent::Inline {
            ram_bytes,
            compression,
            data,
            ..
        }) = FileExtent::parse(&item)
        else {
            return Err(EUCLEAN);
        };
        let size = u32::try_from(ram_bytes).map_err(|_| EUCLEAN)?;
        if size > MAX_PACKED {
            return Err(EUCLEAN);
        }
        let size = usize::try_from(size)?;
        if compression == Compression::None {
            return f(data.get(..size.min(data.len())).ok_or(EUCLEAN)?);
        }
        let sector = usize::try_from(self.fs().sector_size())?;
        let mut unpacked = KBuf::new(size.next_multiple_of(sector).max(sector), GFP_KERNEL)?;
        decode::unpack(compression, sector, data, &mut unpacked)?;
        f(unpacked.get(..size).ok_or(EUCLEAN)?)
    }

    /// Copies the bytes of an inline extent from `skip` on to `out`, and zeroes the rest of it.
    pub(super) fn copy_inline(&self, extent: &Extent, skip: u64, out: &mut [u8]) -> Result {
        let skip = usize::try_from(skip)?;
        self.with_inline(extent, |data| {
            let rest = data.get(skip..).unwrap_or_default();
            let len = rest.len().min(out.len());
            let (head, tail) = out.split_at_mut(len);
            head.copy_from_slice(rest.get(..len).unwrap_or_default());
            tail.fill(0);
            Ok(())
        })
    }

    /// Fills `range` with the bytes of an inline extent from `skip` on, and zeroes what is
    /// behind them.
    pub(crate) fn fill_inline(&self, extent: &Extent, skip: u64, range: &mut FolioRange) -> Result {
        let skip = usize::try_from(skip)?;
        self.with_inline(extent, |data| {
            let rest = data.get(skip..).unwrap_or_default();
            let len = rest.len().min(range.len());
            range.write_at(0, rest.get(..len).unwrap_or_default())?;
            range.zero(len, range.len() - len)
        })
    }

    /// Reads the target of a symbolic link, which is as long as `out`.
    ///
    /// `EUCLEAN` if what the tree has is shorter.
    pub(crate) fn read_symlink(&self, out: &mut [u8]) -> Result {
        let extent = self.extents_from(0)?.next()?.ok_or(EUCLEAN)?;
        self.with_inline(&extent, |data| {
            let target = data.get(..out.len()).ok_or(EUCLEAN)?;
            out.copy_from_slice(target);
            Ok(())
        })
    }
}
