// SPDX-License-Identifier: GPL-2.0

//! Changing file data in the page cache.
//!
//! Before bytes become dirty, space for the whole sectors they lie in is reserved, and the range
//! is *delayed*: what it becomes on disk is decided at writeback, where
//! much is known of what there is to write ([`writeback`](super::writeback)).
//!
//! A write that begins behind the end of the file zeroes the rest of the last sector first: what
//! lies there on disk is nobody's business.

use core::ops::Range;
use kernel::iov::IovIterSource;
use kernel::prelude::*;
use kernel::time::{delay::fsleep, Delta};
use kfs::block::IoBuf;
use kfs::fs::{Kiocb, Outcome};
use kfs::iomap::{
    IomapWriteOps, Mapping, MappingFlags, MappingKind, Purpose, SwapFile, WriteHint, WritebackRange,
};
use kfs::mem::KBuf;

use super::direct::{self, Written};
use super::extent::Place;
use super::located::Located;
use super::read::{self, FileData};
use super::state::Under;
use super::truncate;
use super::writeback::Collected;
use super::{decode, inplace, swap};
use crate::space::Urgency;
use crate::vfs::{Btrfs, BtrfsInode};

/// Most bytes reserved at once, unless a folio has more.
const RESERVE: u64 = 1 << 20;

impl IomapWriteOps for FileData {
    type WriteContext = Collected;

    fn reserve(
        inode: &BtrfsInode,
        pos: u64,
        len: u64,
        purpose: Purpose,
    ) -> Result<Mapping<Located>> {
        let data = inode.data();
        let file = data.file()?;
        let sector = data.fs().sector_size();
        let start = pos.checked_div(sector).ok_or(EIO)?.saturating_mul(sector);
        let end = pos.checked_add(len).ok_or(EFBIG)?;
        let end = end.checked_next_multiple_of(sector).ok_or(EFBIG)?;
        let mut end = match purpose.is_fault() {
            true => end,
            false => end.min(start.saturating_add(RESERVE)),
        };
        if purpose.is_fault() {
            // The folio becomes dirty as a whole, whatever extents are under it.
            delay(inode, start..end, Urgency::Nowait, false)?;
        }
        let mut delayed = false;
        loop {
            let cookie = file.version();
            let extent = match purpose.is_nowait() {
                true => data.locate_known(start).ok_or(EAGAIN)?,
                false => data.locate(start)?,
            };
            end = end.min(extent.end);
            let empty = matches!(extent.place, Place::Hole | Place::Prealloc { .. });
            let rewrite = purpose.is_rewrite();
            if rewrite || (empty && purpose.is_zero()) {
                let pending = file.pending(start);
                end = end.min(pending.until);
                let skip = match rewrite {
                    // What was pending gets a new place anyhow.
                    true => empty || (pending.yes && !delayed),
                    false => !pending.yes,
                };
                if skip {
                    return Ok(mapping(extent, start..end, cookie, MappingKind::Hole));
                }
            }
            let kind = match empty {
                true => MappingKind::Delalloc,
                false => MappingKind::Mapped,
            };
            match delay(inode, start..end, Urgency::Nowait, rewrite) {
                Ok(()) => return Ok(mapping(extent, start..end, cookie, kind)),
                Err(e) if e != EAGAIN || purpose.is_fault() || purpose.is_nowait() => {
                    return Err(e);
                }
                // Not with the views that keep the extent where it is: what they see cannot become
                // free, and that is what may have to be waited for.
                Err(_) => drop(extent),
            }
            match delay(inode, start..end, Urgency::Normal, rewrite) {
                // To be looked up anew.
                Ok(()) => delayed = true,
                Err(e) if e == ENOSPC && end.saturating_sub(start) > sector => {
                    let half = (end.saturating_sub(start) / 2).next_multiple_of(sector);
                    end = start.saturating_add(half);
                }
                Err(e) => return Err(e),
            }
        }
    }

    fn prepare(inode: &BtrfsInode, range: Range<u64>) -> Result {
        let sector = inode.data().fs().sector_size();
        let start = range.start - range.start % sector;
        let end = range.end.checked_next_multiple_of(sector).ok_or(EFBIG)?;
        if inode.data().file()?.is_claimed(&(start..end)) {
            // The task comes back. What it holds meanwhile others may need: not for long.
            fsleep(Delta::from_millis(1));
            return Err(EAGAIN);
        }
        delay(inode, start..end, Urgency::Normal, false)
    }

    fn release(inode: &BtrfsInode, range: Range<u64>) {
        let sector = inode.data().fs().sector_size();
        // It may begin at the end of the file, in a sector that is dirty.
        let Some(start) = range.start.checked_next_multiple_of(sector) else {
            return;
        };
        if start >= range.end {
            return;
        }
        if let Ok(file) = inode.data().file() {
            drop(file.undelay(start..range.end));
        }
    }

    fn is_valid(inode: &BtrfsInode, range: Range<u64>, cookie: u64) -> bool {
        inode
            .data()
            .file()
            .is_ok_and(|file| file.is_unchanged(&range, cookie))
    }

    fn read_for_write(
        inode: &BtrfsInode,
        mapping: &Mapping<Located>,
        pos: u64,
        len: usize,
    ) -> Result<IoBuf> {
        let data = inode.data();
        let extent = &mapping.private;
        let skip = pos.checked_sub(extent.start).ok_or(EIO)?;
        let mut read = match extent.place {
            Place::Plain { address, .. } => {
                let address = address.checked_add(skip).ok_or(EUCLEAN)?;
                read::wait(data, pos, address, extent.views(), IoBuf::alloc(len)?)?
            }
            Place::Packed(packed) => {
                let mut out = KBuf::new(len, GFP_KERNEL)?;
                let size = usize::try_from(packed.size)?;
                let input = IoBuf::from_buf(KBuf::new(size, GFP_KERNEL)?)?;
                let input = read::wait(data, pos, packed.address, extent.views(), input)?;
                let sector = usize::try_from(data.fs().sector_size())?;
                let unpacked = usize::try_from(packed.unpacked)?;
                let mut whole = KBuf::new(unpacked.next_multiple_of(sector), GFP_KERNEL)?;
                let input = input.as_slice().ok_or(EIO)?;
                decode::unpack(packed.compression, sector, input, &mut whole)?;
                let from = usize::try_from(skip.saturating_add(u64::from(packed.skip)))?;
                let source = whole.get(from..from.saturating_add(len)).ok_or(EUCLEAN)?;
                out.copy_from_slice(source);
                IoBuf::from_buf(out)?
            }
            Place::Inline { .. } => {
                let mut out = KBuf::new(len, GFP_KERNEL)?;
                data.copy_inline(extent, skip, &mut out)?;
                IoBuf::from_buf(out)?
            }
            Place::Hole | Place::Prealloc { .. } => {
                return IoBuf::from_buf(KBuf::zeroed(len, GFP_KERNEL)?)
            }
        };
        read.zero(read::within(inode, pos, len)..len)?;
        Ok(read)
    }

    fn writeback(
        inode: &BtrfsInode,
        ctx: &mut Collected,
        hint: WriteHint,
        pos: u64,
        range: WritebackRange,
    ) {
        ctx.add(inode, hint.wait, pos, range);
    }

    fn swap_file(inode: &BtrfsInode) -> Result<SwapFile> {
        swap::find(inode)
    }

    fn submit_writeback(inode: &BtrfsInode, ctx: Collected, hint: WriteHint) -> Result {
        ctx.end(inode, hint.wait);
        Ok(())
    }
}

fn mapping(extent: Located, range: Range<u64>, cookie: u64, kind: MappingKind) -> Mapping<Located> {
    Mapping {
        kind,
        offset: range.start,
        length: range.end.saturating_sub(range.start),
        addr: None,
        flags: MappingFlags::NONE,
        cookie,
        private: extent,
    }
}

/// Sees to it that there will be space for `range`, whole sectors; for a new place in any case, if
/// it is `moving`. `EAGAIN` while a direct write has it: only who has not the inode lock sees that.
fn delay(inode: &BtrfsInode, range: Range<u64>, how: Urgency, moving: bool) -> Result {
    let data = inode.data();
    let (file, space) = (data.file()?, data.fs().space());
    let mut at = range.start;
    while at < range.end {
        if file.missing(&(at..range.end)) == 0 {
            return Ok(());
        }
        let version = file.version();
        let extent = data.extent_at(at)?;
        let part = at..extent.end.min(range.end);
        if file.is_claimed(&part) {
            return Err(EAGAIN);
        }
        let mut under = Under {
            fresh: extent.place == Place::Hole,
            unpaid: false,
            moving,
            version,
        };
        let missing = file.missing(&part);
        let trees = space.reserve_metadata(file.cost(missing), how)?;
        let mut reserved = None;
        if missing > 0 {
            match space.reserve_data_as(missing, Urgency::Nowait) {
                Ok(easy) => reserved = Some(easy),
                // Where there is little space, what is allocated already is looked at.
                Err(_)
                    if !moving && how != Urgency::Nowait && inplace::is_possible(data, &part)? =>
                {
                    under.unpaid = true;
                }
                Err(_) => reserved = Some(space.reserve_data_as(missing, how)?),
            }
        }
        match file.delay(part.clone(), under, reserved, trees) {
            Ok(_) => at = part.end,
            // Writeback took some of it meanwhile, or put other items.
            Err(e) if e == EAGAIN => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Writes to a file, as `write(2)` does.
///
/// Whoever does not want to wait gets `EAGAIN` where space is not to be had at once, an item of the
/// file would have to be looked for, or the page cache be read into; and for direct I/O that makes the
/// file longer, or of what is in the page cache.
pub(crate) fn write(mut iocb: Kiocb<'_, Btrfs>, from: &mut IovIterSource<'_>) -> Result<Outcome> {
    let inode = iocb.file().inode();
    inode.data().fs().check_usable()?;
    let nowait = iocb.nowait();
    let lock = match nowait {
        true => inode.try_lock_exclusive().ok_or(EAGAIN)?,
        false => inode.lock_exclusive(),
    };
    if iocb.check_write(from)? == 0 {
        return Ok(Outcome::Done(0));
    }
    let (pos, size) = (u64::try_from(iocb.pos())?, u64::try_from(inode.size())?);
    if pos > size {
        if nowait {
            return Err(EAGAIN);
        }
        // The rest of the last sector is changed.
        inode.wait_for_direct_io();
        truncate::expand(inode, size, pos)?;
    }
    iocb.modified()?;
    let mut direct = 0;
    if iocb.is_direct() {
        (iocb, direct) = match direct::write(iocb, from)? {
            Written::Queued(queued) => return Ok(Outcome::Queued(queued)),
            Written::Done(iocb, direct) => (iocb, direct),
        };
        if from.is_empty() {
            return Ok(Outcome::Done(direct));
        }
        // The page cache would have to be written out.
        match (nowait, direct) {
            (true, 0) => return Err(EAGAIN),
            (true, _) => return Ok(Outcome::Done(direct)),
            (false, _) => {}
        }
    }
    wait_in_flight(inode, &iocb, from.len())?;
    let written = iocb.write_buffered::<FileData>(from, &lock);
    let written = match iocb.is_direct() {
        true => iocb.end_direct_write(from, direct, written),
        false => written,
    };
    written.map(Outcome::Done)
}

/// Waits for direct writes to the sectors in which `len` bytes from the position of `iocb` on are.
fn wait_in_flight(inode: &BtrfsInode, iocb: &Kiocb<'_, Btrfs>, len: usize) -> Result {
    if !inode.has_direct_io() {
        return Ok(());
    }
    let data = inode.data();
    let sector = data.fs().sector_size();
    let pos = u64::try_from(iocb.pos())?;
    let end = pos.saturating_add(u64::try_from(len)?);
    let end = end.checked_next_multiple_of(sector).ok_or(EFBIG)?;
    if data.file()?.is_busy(&(pos - pos % sector..end)) {
        if iocb.nowait() {
            return Err(EAGAIN);
        }
        inode.wait_for_direct_io();
    }
    Ok(())
}
