// SPDX-License-Identifier: GPL-2.0

//! Writeback: from dirty folios to ordered extents.
//!
//! Ranges of folios come in the order of the file. Those that follow each other are collected
//! into *pieces*; a piece is given space, in as few extents as there is room for, and is written.
//!
//! # Bounds
//!
//! A piece, and so an extent, has at most [`MAX_EXTENT`] bytes. Compression takes two buffers of
//! [`RUN`] bytes for each of at most [`RUNS`] runs, and a workspace for each processor.

use btrfs_format::inode::InodeFlags;
use btrfs_format::types::Logical;
use core::ops::Range;
use kernel::prelude::*;
use kernel::sync::Arc;
use kfs::block::{IoBuf, Segment};
use kfs::iomap::WritebackRange;
use kfs::mem::{until_memory, KBuf, GFP_NOFAIL};
use kfs::parallel;

use super::compress::{Packer, RUN};
use super::ordered::{self, Ordered, Owner, Target, PART};
use super::{autodefrag, inline, inplace};
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
    /// How many bytes nothing is reserved for, because they have their space.
    unpaid: u64,
}

/// What a writeback has collected.
#[derive(Default)]
pub(crate) struct Collected(Option<Piece>);

impl Collected {
    /// Takes a dirty range.
    pub(super) fn add(&mut self, inode: &BtrfsInode, sync: bool, pos: u64, range: WritebackRange) {
        let end = pos.saturating_add(range.len() as u64);
        let (reserved, unpaid) = match launch(inode, pos..end) {
            Ok(launched) => launched,
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
                piece.unpaid = piece.unpaid.saturating_add(unpaid);
                piece.end = end;
                if let Err(range) = piece.folios.push(range) {
                    // What was collected up to here is sent without it.
                    piece.end = pos;
                    piece.unpaid = piece.unpaid.saturating_sub(unpaid);
                    let paid = end.saturating_sub(pos).saturating_sub(unpaid);
                    drop(piece.reserved.split(paid));
                    let _ = ordered::abandon(inode, pos..end);
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
                            unpaid,
                        })
                    }
                    Err(range) => {
                        let _ = ordered::abandon(inode, pos..end);
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
        match inline::prepare(inode, &(piece.start..piece.end), &piece.folios) {
            Some(small) => inline::write(inode, small, piece.folios.into_buf(), || {
                drop(piece.reserved)
            }),
            None => piece.send(inode, sync),
        }
    }
}

/// `range` is on its way to disk; returns space for all of it, but for the number of bytes that is
/// returned, too.
fn launch(inode: &BtrfsInode, range: Range<u64>) -> Result<(DataReservation, u64)> {
    let (file, space) = (inode.data().file()?, inode.data().fs().space());
    let len = range.end.saturating_sub(range.start);
    let (reserved, unpaid) = file.launch(range.clone())?;
    let has = reserved.as_ref().map_or(0, |r| r.bytes());
    // A folio may become dirty behind the back of the file system: it pays now.
    let missing = len.saturating_sub(has).saturating_sub(unpaid);
    let missing = space.reserve_data_as(missing, Urgency::Completion);
    match (reserved, missing) {
        (Some(mut reserved), Ok(missing)) => {
            reserved.merge(missing);
            Ok((reserved, unpaid))
        }
        (None, Ok(missing)) => Ok((missing, unpaid)),
        (_, Err(_)) => {
            let _ = ordered::abandon(inode, range);
            Err(ENOSPC)
        }
    }
}

/// Runs that are compressed at the same time.
const RUNS: usize = 8;

/// What became of a run: compressed data and its length, or nothing that is worth it.
enum Packed {
    No,
    /// It was tried, to no avail.
    Vain,
    Yes(KBuf, usize),
}

impl Piece {
    fn send(mut self, inode: &BtrfsInode, sync: bool) {
        let data = inode.data();
        let mut hint = None;
        autodefrag::consider(data, &(self.start..self.end));
        while self.start < self.end {
            let sent = match Packer::of(data) {
                Some(packer) => self.send_runs(data, &packer, &mut hint, sync),
                None => {
                    let len = self.end.saturating_sub(self.start);
                    self.send_plain(data, len, &mut hint, sync)
                }
            };
            if let Err(e) = sent {
                let _ = ordered::abandon(inode, self.start..self.end);
                return self.folios.finish(Err(e));
            }
        }
    }

    /// Compresses the next runs, each on whatever processor is free, and writes them in order.
    fn send_runs(
        &mut self,
        data: &Inode,
        packer: &Packer,
        hint: &mut Option<Logical>,
        sync: bool,
    ) -> Result {
        let sector = data.fs().sector_size();
        let total = self.end.saturating_sub(self.start);
        let len_at = |at: u64| total.saturating_sub(at).min(RUN);
        let mut packed = [const { Packed::No }; RUNS];
        let count = usize::try_from(total.div_ceil(RUN)).map_or(RUNS, |count| count.min(RUNS));
        let packed = packed.get_mut(..count).ok_or(EIO)?;
        let folios = &self.folios;
        parallel::chunks_mut(data.fs().volume().lanes(), packed, 1, |first, out| {
            let mut at = RUN.saturating_mul(first as u64);
            for out in out {
                // Without memory, for instance, it stays as it is.
                *out = pack(folios, packer, at, len_at(at), sector).unwrap_or(Packed::No);
                at = at.saturating_add(RUN);
            }
        });
        let mut given_up = false;
        for (index, packed) in packed.iter_mut().enumerate() {
            let len = len_at(RUN.saturating_mul(index as u64));
            let packed = core::mem::replace(packed, Packed::No);
            let packed = match packed {
                Packed::Yes(output, used) if !given_up => Some((output, used)),
                Packed::Vain => {
                    packer.give_up(data);
                    given_up = Packer::of(data).is_none();
                    None
                }
                _ => None,
            };
            let sent = match packed {
                Some((output, used)) => self
                    .send_packed(data, packer, len, &output, used, hint, sync)
                    .is_ok(),
                None => false,
            };
            if !sent {
                self.send_plain(data, len, hint, sync)?;
            }
            if self.start >= self.end {
                break;
            }
        }
        Ok(())
    }

    /// Writes the next `len` bytes, of which `output` has `used` compressed ones. After an error
    /// nothing has changed.
    #[allow(clippy::too_many_arguments)]
    fn send_packed(
        &mut self,
        data: &Inode,
        packer: &Packer,
        len: u64,
        output: &KBuf,
        used: usize,
        hint: &mut Option<Logical>,
        sync: bool,
    ) -> Result {
        let (fs, sector) = (data.fs(), data.fs().sector_size());
        let size = usize::try_from(len)?;
        let disk_len = u64::try_from(used)?.next_multiple_of(sector);
        let mut packed = KBuf::zeroed(usize::try_from(disk_len)?, GFP_KERNEL)?;
        let (to, from) = (packed.get_mut(..used), output.get(..used));
        to.ok_or(EIO)?.copy_from_slice(from.ok_or(EIO)?);
        let packed = IoBuf::from_buf(packed)?;
        if let Some(feature) = packer.feature() {
            fs.volume().add_incompat(feature)?;
        }
        let range = self.reserved.allocate(disk_len, disk_len, *hint)?;
        let target = Target {
            disk: range.logical,
            disk_len,
            ram: len,
            skip: 0,
            compression: packer.kind(),
            within: None,
        };
        let part = self.start..self.start.saturating_add(len);
        let ordered = Ordered::new(fs.volume().geometry(), part, target, 1, true, Owner::Folios)
            .inspect_err(|_| fs.space().unalloc(range.logical, range.len))?;
        *hint = range.logical.checked_add(disk_len);
        self.start = self.start.saturating_add(len);
        // What was saved.
        drop(self.reserved.split(len.saturating_sub(disk_len)));
        match self.folios.take(size) {
            Ok(folios) => {
                ordered.keep(folios);
                ordered.write(data, 0, packed, sync, true);
            }
            Err((folios, e)) => {
                ordered.keep(folios);
                ordered.fail(e);
            }
        }
        Ok(())
    }

    /// Writes the next `len` bytes as they are.
    fn send_plain(
        &mut self,
        data: &Inode,
        len: u64,
        hint: &mut Option<Logical>,
        sync: bool,
    ) -> Result {
        let (fs, csums) = (data.fs(), wants_csums(data));
        let end = self.start.saturating_add(len);
        while self.start < end {
            let (found, until) = until_memory(|| inplace::find(data, &(self.start..end)))?;
            let target = match found {
                Some(target) => {
                    // It has its space.
                    let unpaid = self.unpaid.min(target.disk_len);
                    self.unpaid = self.unpaid.saturating_sub(unpaid);
                    drop(self.reserved.split(target.disk_len.saturating_sub(unpaid)));
                    target
                }
                None => {
                    let want = until.saturating_sub(self.start);
                    let range = self.reserved.allocate(want, fs.sector_size(), *hint)?;
                    Target::fresh(range)
                }
            };
            let len = target.disk_len;
            let part = self.start..self.start.saturating_add(len);
            let geometry = fs.volume().geometry();
            let ordered = usize::try_from(len.div_ceil(PART))
                .map_err(Error::from)
                .and_then(|parts| {
                    Ordered::new(geometry, part.clone(), target, parts, csums, Owner::Folios)
                })
                .inspect_err(|_| target.give_back(data))?;
            *hint = target.disk.checked_add(len);
            self.start = part.end;
            write_plain(&ordered, data, &mut self.folios, len, sync, csums);
        }
        Ok(())
    }
}

/// Compresses the `len` bytes that are `at` bytes behind the next one of `folios`.
fn pack(folios: &Folios, packer: &Packer, at: u64, len: u64, sector: u64) -> Result<Packed> {
    let room = usize::try_from(len.saturating_sub(sector))?;
    if room == 0 {
        return Ok(Packed::No);
    }
    let mut input = KBuf::new(usize::try_from(len)?, GFP_KERNEL)?;
    folios.copy_out(usize::try_from(at)?, &mut input)?;
    if !packer.is_worth_trying(&input) {
        return Ok(Packed::No);
    }
    Ok(match packer.pack(&input, room)? {
        Some((output, used)) => Packed::Yes(output, used),
        None => Packed::Vain,
    })
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
        if self.ranges.reserve(1, GFP_NOFAIL).is_err() {
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

    /// Copies bytes out, without taking them: those from `skip` bytes behind the next one on. `EIO`
    /// if there are less.
    pub(super) fn copy_out(&self, skip: usize, out: &mut [u8]) -> Result {
        let (mut skip, mut done) = (skip, 0);
        for range in self.ranges.iter().skip(self.next).flatten() {
            let rest = out.get_mut(done..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            let skipped = skip.min(range.len());
            skip = skip.saturating_sub(skipped);
            let len = rest.len().min(range.len().saturating_sub(skipped));
            if len == 0 {
                continue;
            }
            range.for_each(skipped, len, |piece| {
                let end = done.saturating_add(piece.len());
                out.get_mut(done..end).ok_or(EIO)?.copy_from_slice(piece);
                done = end;
                Ok(())
            })?;
        }
        match done == out.len() {
            true => Ok(()),
            false => Err(EIO),
        }
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
