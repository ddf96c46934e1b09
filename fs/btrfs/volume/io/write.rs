// SPDX-License-Identifier: GPL-2.0

//! Writing every copy of a range of logical addresses.
//!
//! A write is cut into *spans*, which end where chunks and stripes end: each is contiguous in every
//! copy. All copies of all spans are transfers of one request. A span is good if one of its copies
//! was written; a stripe that missed one is remembered, and the next flush judges whether what is
//! left of the chunk is enough.

use super::super::{
    chunk_map::{Chunk, ChunkStripe},
    log::limited,
    raid::Route,
    Volume,
};
use btrfs_format::{device::DevStat, profile::BlockGroupFlags, Logical};
use core::ops::Range;
use kernel::{prelude::*, sync::Arc};
use kfs::block::{with_plug, Io, IoBuf, IoDone, IoFlags};
use kfs::mem::GFP_NOFAIL;

/// Whoever writes data.
pub(crate) trait DataWriteClient: Send + 'static {
    /// The write is over: gives the buffer back. `Ok` if every byte was written to one device at
    /// least; `EIO` if not, `EROFS` if the volume may not be written, `EOPNOTSUPP` for a profile
    /// that cannot be written, `ENOMEM`.
    ///
    /// Called once, in process context and in a `NoFs` scope, where it may wait for a commit; when
    /// nothing could be submitted, from within [`Volume::write_data`].
    fn done(self, buf: IoBuf, result: Result);
}

/// A request to write data.
pub(crate) struct DataWrite<C> {
    /// Address of the first byte; a multiple of the sector size.
    pub(crate) logical: Logical,
    /// What is written: whole sectors.
    pub(crate) buf: IoBuf,
    /// Somebody waits for it.
    pub(crate) sync: bool,
    /// Whoever writes.
    pub(crate) client: C,
}

/// What a request to write consists of.
pub(super) struct WritePlan {
    spans: KVVec<Span>,
    targets: KVVec<Target>,
}

/// Bytes that are contiguous in every copy.
struct Span {
    range: Range<usize>,
    good: bool,
}

/// One copy of a span.
struct Target {
    span: usize,
    chunk: Arc<Chunk>,
    stripe: u16,
    /// Which transfer; `None` if the device refused it.
    transfer: Option<usize>,
}

impl Target {
    fn stripe(&self) -> Option<&ChunkStripe> {
        self.chunk.stripe(self.stripe)
    }
}

impl Volume {
    /// Writes data. Returns when everything is under way; [`DataWriteClient::done`] tells the
    /// outcome.
    pub(crate) fn write_data<C: DataWriteClient>(self: &Arc<Self>, write: DataWrite<C>) {
        let DataWrite {
            logical,
            buf,
            sync,
            client,
        } = write;
        let _nofs = kfs::mem::NoFs::enter();
        let flags = match sync {
            true => IoFlags::SYNC,
            false => IoFlags::NONE,
        };
        let mut io = Io::write(buf).with_flags(flags).on(&self.lanes).patient();
        let mut plan = WritePlan::new();
        let all = 0..io.buf_len();
        if let Err(error) = self.plan_write(&mut io, logical, all, &mut plan) {
            return client.done(io.into_buf(), Err(error));
        }
        let volume = self.clone();
        with_plug(|| {
            io.submit(move |done| {
                let result = plan.settle(&volume, &done);
                // The last unmount must be able to close the devices.
                drop((plan, volume));
                client.done(done.into_buf(), result);
            })
        });
    }

    /// Adds the transfers that write the bytes `range` of a request's buffer to `logical`.
    ///
    /// What a device does not take is left out: [`WritePlan::settle`] finds out whether enough
    /// is left. `EROFS`, `EIO` (no chunk there), `EOPNOTSUPP` (a profile with parity), `ENOMEM`.
    pub(super) fn plan_write(
        &self,
        io: &mut Io,
        logical: Logical,
        range: Range<usize>,
        plan: &mut WritePlan,
    ) -> Result {
        if !self.is_writable() {
            return Err(EROFS);
        }
        let sectorsize = u64::from(self.geometry.sectorsize);
        let mut start = range.start;
        let mut here = logical;
        while start < range.end {
            let (chunk, offset) = self.locate(here, sectorsize)?;
            let (_, in_chunk) = chunk.offset_of(here).ok_or(EIO)?;
            if chunk.flags().intersects(BlockGroupFlags::RAID56_MASK) {
                return Err(EOPNOTSUPP);
            }
            let available = chunk.route(offset, 0).ok_or(EIO)?.len().min(in_chunk);
            let available = usize::try_from(available).unwrap_or(usize::MAX);
            let end = range.end.min(start.saturating_add(available));
            let span = plan.spans.len();
            let entry = Span {
                range: start..end,
                good: false,
            };
            plan.spans.push(entry, GFP_NOFAIL)?;
            for copy in 0..chunk.copies() {
                let Some(Route::Direct(piece)) = chunk.route(offset, copy) else {
                    return Err(EIO);
                };
                let (stripe, physical) = chunk.place(&piece).ok_or(EIO)?;
                let Some(bdev) = stripe.device.bdev_for_write() else {
                    continue;
                };
                plan.targets.reserve(1, GFP_NOFAIL)?;
                let transfer = match io.add(bdev, physical, start..end) {
                    Ok(()) => io.parts().checked_sub(1),
                    Err(error) if error == ENOMEM => return Err(error),
                    Err(_) => None,
                };
                let target = Target {
                    span,
                    stripe: piece.stripe,
                    transfer,
                    chunk: chunk.clone(),
                };
                plan.targets.push(target, GFP_NOFAIL)?;
            }
            let step = u64::try_from(end.saturating_sub(start))?;
            here = here.checked_add(step).ok_or(EIO)?;
            start = end;
        }
        Ok(())
    }
}

impl WritePlan {
    pub(super) fn new() -> Self {
        Self {
            spans: KVVec::new(),
            targets: KVVec::new(),
        }
    }

    /// Looks at what became of all transfers and counts errors. `EIO` if a span was written
    /// nowhere.
    pub(super) fn settle(&mut self, volume: &Volume, done: &IoDone) -> Result {
        let written = |target: &Target| {
            let transfer = target.transfer;
            transfer.is_some_and(|transfer| done.status(transfer).is_ok())
        };
        for target in self.targets.iter().filter(|target| written(target)) {
            if let Some(span) = self.spans.get_mut(target.span) {
                span.good = true;
            }
        }
        for target in self.targets.iter().filter(|target| !written(target)) {
            let Some(stripe) = target.stripe() else {
                continue;
            };
            let device = &stripe.device;
            limited!(
                volume.log,
                Warning,
                "lost write on device {}",
                device.path()
            );
            device.count(DevStat::WriteErrors, &volume.log);
            // What is nowhere is not referred to either: whoever wrote it is told.
            if self.spans.get(target.span).is_some_and(|span| span.good) {
                stripe.set_missed();
            }
        }
        match self.spans.iter().all(|span| span.good) {
            true => Ok(()),
            false => Err(EIO),
        }
    }

    /// The ranges of the buffer that were written nowhere, after [`WritePlan::settle`].
    pub(super) fn bad(&self) -> impl Iterator<Item = &Range<usize>> {
        self.spans
            .iter()
            .filter(|span| !span.good)
            .map(|span| &span.range)
    }
}
