// SPDX-License-Identifier: GPL-2.0

//! Reading data.
//!
//! A request is cut where chunks and stripes end; all parts are under way at once. When the last
//! one is done, everything is verified in process context, on any CPU.

use super::super::{
    chunk_map::Chunk,
    csum::Checksum,
    device::Device,
    log::{limited, Hex},
    raid::Route,
    Volume,
};
use btrfs_format::{device::DevStat, Ino, Logical, TreeId};
use core::ops::Range;
use kernel::{prelude::*, sync::Arc};
use kfs::block::{with_plug, Io, IoBuf, IoDone};

/// Where in a file data belongs, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FilePosition {
    /// The subvolume.
    pub(crate) tree: TreeId,
    /// The file.
    pub(crate) ino: Ino,
    /// The byte in the file.
    pub(crate) offset: u64,
}

/// Whoever wants data.
pub(crate) trait DataClient: Send + 'static {
    /// What [`Volume::read_data_now`] returns.
    type Output;

    /// Where in a file the byte `offset` of the request belongs.
    fn position(&self, offset: usize) -> FilePosition;

    /// The request is over: gives the buffer back, and those ranges of it that could not be had,
    /// in order. All other bytes are right, as far as there are checksums.
    ///
    /// Called once, in process context, when nothing of the request is left in the volume.
    fn done(self, buf: IoBuf, bad: &[Range<usize>]) -> Self::Output;
}

/// A request for data.
pub(crate) struct DataRead<C> {
    /// Address of the first byte; a multiple of the sector size.
    pub(crate) logical: Logical,
    /// What is to be filled: whole sectors.
    pub(crate) buf: IoBuf,
    /// The checksums of the sectors one after the other; `None` if there are none.
    pub(crate) csums: Option<KVVec<u8>>,
    /// Whoever wants it.
    pub(crate) client: C,
}

/// A part of a request: bytes that are together on one device.
pub(super) struct Part {
    /// Where in the buffer.
    pub(super) range: Range<usize>,
    pub(super) chunk: Arc<Chunk>,
    /// Where in the chunk.
    pub(super) offset: u64,
    /// Which copy was asked.
    pub(super) copy: u16,
    /// Which transfer; `None` if the device is missing.
    transfer: Option<usize>,
}

/// What a request consists of while it is under way.
pub(super) struct Pending<C> {
    pub(super) volume: Arc<Volume>,
    pub(super) csums: Option<KVVec<u8>>,
    pub(super) client: C,
    parts: KVec<Part>,
}

impl Part {
    /// The device that was asked.
    fn device(&self) -> Option<&Arc<Device>> {
        match self.chunk.route(self.offset, self.copy)? {
            Route::Direct(piece) => Some(&self.chunk.stripe(piece.stripe)?.device),
            Route::Rebuild(_) => None,
        }
    }
}

impl Volume {
    /// Reads data. Returns when everything is under way; [`DataClient::done`] tells the outcome.
    pub(crate) fn read_data<C: DataClient>(self: &Arc<Self>, read: DataRead<C>) {
        match self.prepare_read(read) {
            Ok((io, pending)) => {
                with_plug(|| io.submit(move |done| drop(pending.complete(done))));
            }
            Err((client, buf)) => drop(refuse(client, buf)),
        }
    }

    /// Reads data and waits for it: everything happens in the calling thread, which is best for
    /// small requests. Sleeps.
    pub(crate) fn read_data_now<C: DataClient>(self: &Arc<Self>, read: DataRead<C>) -> C::Output {
        match self.prepare_read(read) {
            Ok((io, pending)) => pending.complete(with_plug(|| io.submit_wait())),
            Err((client, buf)) => refuse(client, buf),
        }
    }

    /// Plans a request, or gives client and buffer back when that is not possible.
    fn prepare_read<C: DataClient>(
        self: &Arc<Self>,
        read: DataRead<C>,
    ) -> Result<(Io, Pending<C>), (C, IoBuf)> {
        let DataRead {
            logical,
            buf,
            csums,
            client,
        } = read;
        let mut io = Io::read(buf).on(&self.lanes);
        match self.plan_read(&mut io, logical) {
            Ok(parts) => {
                let pending = Pending {
                    volume: self.clone(),
                    csums,
                    client,
                    parts,
                };
                Ok((io, pending))
            }
            Err(_) => Err((client, io.into_buf())),
        }
    }

    /// Cuts a read into parts and adds the transfers.
    fn plan_read(&self, io: &mut Io, logical: Logical) -> Result<KVec<Part>> {
        let len = io.buf_len();
        let sectorsize = u64::from(self.geometry.sectorsize);
        let mut parts = KVec::new();
        let mut start: usize = 0;
        let mut here = logical;
        while start < len {
            let (chunk, offset) = self.locate(here, sectorsize)?;
            let (_, in_chunk) = chunk.offset_of(here).ok_or(EIO)?;
            let copy = self.first_copy(&chunk, offset);
            let Some(Route::Direct(piece)) = chunk.route(offset, copy) else {
                return Err(EIO);
            };
            let available = usize::try_from(piece.len.min(in_chunk)).unwrap_or(usize::MAX);
            let end = len.min(start.saturating_add(available));
            let (stripe, physical) = chunk.place(&piece).ok_or(EIO)?;
            let transfer = match stripe.device.bdev() {
                Some(bdev) => match io.add(bdev, physical, start..end) {
                    Ok(()) => io.parts().checked_sub(1),
                    Err(error) if error == ENOMEM => return Err(error),
                    Err(_) => None,
                },
                None => None,
            };
            let part = Part {
                range: start..end,
                offset,
                copy,
                transfer,
                chunk,
            };
            parts.push(part, GFP_KERNEL)?;
            let step = u64::try_from(end.saturating_sub(start))?;
            here = here.checked_add(step).ok_or(EIO)?;
            start = end;
        }
        Ok(parts)
    }
}

/// Tells a client that it gets nothing.
fn refuse<C: DataClient>(client: C, buf: IoBuf) -> C::Output {
    let all = 0..buf.len();
    client.done(buf, &[all])
}

impl<C: DataClient> Pending<C> {
    /// All transfers are done.
    fn complete(self, done: IoDone) -> C::Output {
        let mut bad = KVec::new();
        let mut complete = true;
        let mut damaged = KVec::new();
        for part in &self.parts {
            complete &= self.check_part(part, &done, &mut damaged).is_ok();
        }
        let mut buf = done.into_buf();
        for (index, range) in &damaged {
            if let Some(part) = self.parts.get(*index) {
                complete &= self
                    .recover(part, range.clone(), &mut buf, &mut bad)
                    .is_ok();
            }
        }
        let Self {
            volume,
            client,
            csums,
            parts,
        } = self;
        // Parts hold devices open, which the last unmount must be able to close.
        drop((parts, csums, volume));
        if complete {
            client.done(buf, &bad)
        } else {
            // No memory to tell good from bad.
            refuse(client, buf)
        }
    }

    /// Adds the ranges of a part that need to be recovered to `damaged`. Fails only for memory.
    fn check_part(
        &self,
        part: &Part,
        done: &IoDone,
        damaged: &mut KVec<(usize, Range<usize>)>,
    ) -> Result {
        let index = self
            .parts
            .iter()
            .position(|p| core::ptr::eq(p, part))
            .ok_or(EINVAL)?;
        let read = match part.transfer {
            Some(transfer) => done.status(transfer).inspect_err(|_| {
                if let Some(device) = part.device() {
                    device.count(DevStat::ReadErrors, self.volume.log());
                }
            }),
            None => Err(EIO),
        };
        if read.is_err() {
            damaged.push((index, part.range.clone()), GFP_KERNEL)?;
            return Ok(());
        }
        let Some(csums) = &self.csums else {
            return Ok(());
        };
        let step = usize::try_from(self.volume.geometry().sectorsize)?;
        let mut run: Option<Range<usize>> = None;
        for start in part.range.clone().step_by(step) {
            let sector = start..start.saturating_add(step).min(part.range.end);
            if self.sector_is_good(part, csums, done.buf(), sector.clone(), start, part.copy)? {
                if let Some(run) = run.take() {
                    damaged.push((index, run), GFP_KERNEL)?;
                }
                continue;
            }
            run = Some(match run {
                Some(run) => run.start..sector.end,
                None => sector,
            });
        }
        if let Some(run) = run {
            damaged.push((index, run), GFP_KERNEL)?;
        }
        Ok(())
    }

    /// Whether the bytes `sector` of `buf` have the checksum of the sector at `position` in the
    /// request. If not, it is counted and logged as a fault of `copy`.
    pub(super) fn sector_is_good(
        &self,
        part: &Part,
        csums: &[u8],
        buf: &IoBuf,
        sector: Range<usize>,
        position: usize,
        copy: u16,
    ) -> Result<bool> {
        let geometry = self.volume.geometry();
        let size = usize::try_from(geometry.csum_size)?;
        let number = position
            .checked_div(usize::try_from(geometry.sectorsize)?)
            .ok_or(EINVAL)?;
        let at = number.checked_mul(size).ok_or(EINVAL)?;
        let wanted = csums.get(at..at.saturating_add(size)).ok_or(EINVAL)?;
        let found = Checksum::of_buf(geometry.csum_type, buf, sector)?;
        if found.as_slice() == wanted {
            return Ok(true);
        }
        self.report_mismatch(part, position, copy, &found, wanted);
        Ok(false)
    }

    fn report_mismatch(
        &self,
        part: &Part,
        position: usize,
        copy: u16,
        found: &Checksum,
        wanted: &[u8],
    ) {
        let log = self.volume.log();
        let file = self.client.position(position);
        limited!(
            log,
            Warning,
            "csum failed root {} ino {} off {} csum {} expected csum {} mirror {}",
            // Internal trees have ids that are negative numbers.
            i64::from_ne_bytes(file.tree.get().to_ne_bytes()),
            file.ino,
            file.offset,
            Hex(found.as_slice()),
            Hex(wanted),
            super::mirror(copy)
        );
        let inside = position.saturating_sub(part.range.start);
        let offset = part
            .offset
            .saturating_add(u64::try_from(inside).unwrap_or(0));
        if let Some(Route::Direct(piece)) = part.chunk.route(offset, copy) {
            if let Some(stripe) = part.chunk.stripe(piece.stripe) {
                stripe.device.count(DevStat::CorruptionErrors, log);
            }
        }
    }
}
