// SPDX-License-Identifier: GPL-2.0

//! Writeback: from dirty folios to ordered extents.
//!
//! Ranges of folios come in the order of the file. Those that follow each other are collected
//! into *pieces*; a piece is given space, in as few extents as there is room for, and is written.
//!
//! # Bounds
//!
//! A piece, and so an extent, has at most [`MAX_EXTENT`] bytes.

use btrfs_format::file_extent::Compression;
use btrfs_format::inode::InodeFlags;
use core::ops::Range;
use kernel::prelude::*;
use kernel::sync::Arc;
use kfs::block::{IoBuf, Segment};
use kfs::iomap::WritebackRange;

use super::inline;
use super::ordered::{Ordered, Target, PART};
use crate::inode::Inode;
use crate::space::{DataReservation, Urgency};
use crate::vfs::BtrfsInode;

/// Largest extent, bytes.
pub(crate) const MAX_EXTENT: u64 = 128 << 20;

/// Ranges that follow each other in the file.
struct Piece {
    start: u64,
    end: u64,
    folios: Folios,
    reserved: DataReservation,
}

/// What a writeback has collected.
#[derive(Default)]
pub(crate) struct Collected(Option<Piece>);

impl Collected {
    /// Takes a dirty range.
    pub(super) fn add(&mut self, inode: &BtrfsInode, sync: bool, pos: u64, range: WritebackRange) {
        let data = inode.data();
        let end = pos.saturating_add(range.len() as u64);
        let reserved = match launch(data, pos..end) {
            Ok(reserved) => reserved,
            Err(e) => return range.finish(Err(e)),
        };
        let joins =
            |piece: &Piece| piece.end == pos && end.saturating_sub(piece.start) <= MAX_EXTENT;
        if !self.0.as_ref().is_some_and(joins) {
            self.send(inode, sync);
        }
        match &mut self.0 {
            Some(piece) => {
                piece.reserved.merge(reserved);
                piece.end = end;
                if let Err(range) = piece.folios.push(range) {
                    // What was collected up to here is sent without it.
                    piece.end = pos;
                    drop(piece.reserved.split(end.saturating_sub(pos)));
                    land(data, pos..end);
                    range.finish(Err(ENOMEM));
                    self.send(inode, sync);
                }
            }
            none => {
                let mut folios = Folios::new();
                match folios.push(range) {
                    Ok(()) => {
                        *none = Some(Piece {
                            start: pos,
                            end,
                            folios,
                            reserved,
                        })
                    }
                    Err(range) => {
                        land(data, pos..end);
                        range.finish(Err(ENOMEM));
                    }
                }
            }
        }
    }

    /// Writes what was collected.
    pub(super) fn send(&mut self, inode: &BtrfsInode, sync: bool) {
        if let Some(piece) = self.0.take() {
            piece.send(inode, sync);
        }
    }

    /// Writes what is left at the end of a writeback, when no folio is locked.
    pub(super) fn end(mut self, inode: &BtrfsInode, sync: bool) {
        let Some(piece) = self.0.take() else {
            return;
        };
        match inline::may_be(inode, &(piece.start..piece.end)) {
            Some(size) => inline::write(inode, size, piece.folios.into_buf(), || {
                drop(piece.reserved)
            }),
            None => piece.send(inode, sync),
        }
    }
}

/// `range` is on its way to disk; returns space for all of it.
fn launch(inode: &Inode, range: Range<u64>) -> Result<DataReservation> {
    let file = inode.file()?;
    let len = range.end.saturating_sub(range.start);
    let reserved = file.launch(range.clone())?;
    let has = reserved.as_ref().map_or(0, |r| r.bytes());
    // A folio may become dirty behind the back of the file system: it pays now.
    let missing = inode
        .fs()
        .space()
        .reserve_data_as(len.saturating_sub(has), Urgency::Nowait);
    match (reserved, missing) {
        (Some(mut reserved), Ok(missing)) => {
            reserved.merge(missing);
            Ok(reserved)
        }
        (None, Ok(missing)) => Ok(missing),
        (_, Err(_)) => {
            file.land(range);
            Err(ENOSPC)
        }
    }
}

fn land(inode: &Inode, range: Range<u64>) {
    if let Ok(file) = inode.file() {
        file.land(range);
    }
}

impl Piece {
    fn send(mut self, inode: &BtrfsInode, sync: bool) {
        let data = inode.data();
        let sector = data.fs().sector_size();
        let csums = wants_csums(data);
        let mut hint = None;
        while self.start < self.end {
            let want = self.end.saturating_sub(self.start);
            let range = match self.reserved.allocate(want, sector, hint) {
                Ok(range) => range,
                Err(e) => {
                    land(data, self.start..self.end);
                    return self.folios.finish(Err(e));
                }
            };
            hint = range.logical.checked_add(range.len);
            let part = self.start..self.start.saturating_add(range.len);
            self.start = part.end;
            let target = Target {
                disk: range.logical,
                disk_len: range.len,
                ram: range.len,
                compression: Compression::None,
                within: None,
            };
            let parts = range.len.div_ceil(PART);
            let geometry = data.fs().volume().geometry();
            let ordered = usize::try_from(parts)
                .map_err(Error::from)
                .and_then(|parts| {
                    Ordered::new(geometry, part.clone(), target, parts, csums, false)
                });
            match ordered {
                Ok(ordered) => {
                    write_plain(&ordered, data, &mut self.folios, range.len, sync, csums)
                }
                Err(e) => {
                    data.fs().space().unalloc(range.logical, range.len);
                    land(data, part.start..self.end);
                    return self.folios.finish(Err(e));
                }
            }
        }
    }
}

/// Whether new data of `inode` gets checksums.
pub(super) fn wants_csums(inode: &Inode) -> bool {
    !inode.flags().contains(InodeFlags::NODATASUM) && inode.fs().roots().standard().csum.is_some()
}

/// Writes the next `len` bytes of `folios`.
fn write_plain(
    ordered: &Arc<Ordered>,
    inode: &Inode,
    folios: &mut Folios,
    len: u64,
    sync: bool,
    csums: bool,
) {
    let mut at = 0;
    while at < len {
        let part = len.saturating_sub(at).min(PART);
        match folios.take(part as usize) {
            Ok(buf) => ordered.write(inode, at, buf, sync, csums),
            Err((buf, e)) => {
                ordered.keep(buf);
                ordered.fail(e);
            }
        }
        at = at.saturating_add(part);
    }
}

/// Ranges of folios in order, to be taken from the front.
pub(super) struct Folios {
    ranges: KVVec<Option<WritebackRange>>,
    next: usize,
}

impl Folios {
    fn new() -> Self {
        Self {
            ranges: KVVec::new(),
            next: 0,
        }
    }

    fn push(&mut self, range: WritebackRange) -> Result<(), WritebackRange> {
        if self.ranges.reserve(1, GFP_KERNEL).is_err() {
            return Err(range);
        }
        let _ = self.ranges.push_within_capacity(Some(range));
        Ok(())
    }

    /// Takes ranges of `len` bytes altogether. On an error all of these bytes are taken as well,
    /// as far as that goes.
    pub(super) fn take(&mut self, len: usize) -> Result<IoBuf, (IoBuf, Error)> {
        let mut buf = IoBuf::new();
        while buf.len() < len {
            let Some(slot) = self.ranges.get_mut(self.next) else {
                return Err((buf, EIO));
            };
            let Some(range) = slot.take() else {
                self.next = self.next.saturating_add(1);
                continue;
            };
            let room = len.saturating_sub(buf.len());
            let range = if range.len() > room {
                match range.split_at(room) {
                    Ok((head, tail)) => {
                        *slot = Some(tail);
                        head
                    }
                    Err(range) => {
                        range.finish(Err(EIO));
                        return Err((buf, EIO));
                    }
                }
            } else {
                self.next = self.next.saturating_add(1);
                range
            };
            if let Err(Segment::Writeback(range)) = buf.push(Segment::Writeback(range)) {
                range.finish(Err(ENOMEM));
                return Err((buf, ENOMEM));
            }
        }
        Ok(buf)
    }

    fn finish(self, result: Result) {
        for range in self.ranges.into_iter().flatten() {
            range.finish(result);
        }
    }

    /// All that is left, as one buffer.
    fn into_buf(mut self) -> Result<IoBuf> {
        let len = self.ranges.iter().flatten().map(|range| range.len()).sum();
        self.take(len).map_err(|(buf, e)| {
            buf.finish(Err(e));
            e
        })
    }
}
