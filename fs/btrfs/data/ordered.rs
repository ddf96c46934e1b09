// SPDX-License-Identifier: GPL-2.0

//! Ordered extents: data on its way to disk, and what happens when it arrived.
//!
//! The items of a file name new data only after it was written, so no durable item names data
//! that is not durable. An ordered extent is one allocation, written by several requests; the
//! last one to end puts the items, and only then lets go of the folios: whoever waited for them
//! finds the file's items as they will be committed.
//!
//! Nothing of the file system is held here but through the folios, or the request: when they are let
//! go, it may be unmounted.

use btrfs_format::file_extent::{Compression, DiskExtent};
use btrfs_format::geometry::Geometry;
use btrfs_format::superblock::Incompat;
use btrfs_format::types::Logical;
use core::ops::Range;
use kernel::prelude::*;
use kernel::sync::{
    atomic::{Atomic, Relaxed},
    new_mutex, Arc, Completion, Mutex,
};
use kfs::block::{IoBuf, Lanes};
use kfs::mem::{until_memory, GFP_NOFAIL};
use kfs::parallel;

use super::queued::Writing;
use super::replace::{self, MOST};
use crate::edits::end;
use crate::inode::store::store;
use crate::inode::Inode;
use crate::vfs::BtrfsInode;
use crate::volume::{Checksum, DataWrite, DataWriteClient};

/// Most bytes of one request: checksums of the next are computed while it is written.
pub(super) const PART: u64 = 1 << 20;

/// Sectors of which one processor computes the checksums, while others do others.
const SHARE: usize = 64;

/// Where data goes.
#[derive(Clone, Copy)]
pub(super) struct Target {
    /// Address.
    pub(super) disk: Logical,
    /// Bytes on disk.
    pub(super) disk_len: u64,
    /// Bytes once unpacked.
    pub(super) ram: u64,
    /// How many of the unpacked ones are before those of the file.
    pub(super) skip: u64,
    /// How it is compressed.
    pub(super) compression: Compression,
    /// In an extent that was allocated before, and has items: which one, and whether it was never
    /// written.
    pub(super) within: Option<(DiskExtent, bool)>,
}

impl Target {
    /// A new extent, for data as it is.
    pub(super) fn fresh(range: crate::space::Range) -> Self {
        Self {
            disk: range.logical,
            disk_len: range.len,
            ram: range.len,
            skip: 0,
            compression: Compression::None,
            within: None,
        }
    }

    /// Gives the space back, if it was allocated for this.
    pub(super) fn give_back(&self, inode: &Inode) {
        if self.within.is_none() {
            inode.fs().space().unalloc(self.disk, self.disk_len);
        }
    }
}

/// Data of a file on its way to disk.
#[pin_data]
pub(super) struct Ordered {
    geometry: Geometry,
    /// What it is of the file.
    range: Range<u64>,
    target: Target,
    #[pin]
    state: Mutex<State>,
    #[pin]
    done: Completion,
    owner: Owner,
}

/// Who puts the items when all is written.
pub(super) enum Owner {
    /// Whoever waits for it.
    Waiter,
    /// The last request, for the folios that are written.
    Folios,
    /// The last request, for a direct write that nobody waits for.
    Request(Arc<Writing>),
}

struct State {
    /// Requests that did not end yet.
    left: usize,
    result: Result,
    /// Buffers of requests that ended, and whatever else holds folios.
    bufs: KVec<IoBuf>,
    /// The checksums; empty if there are none.
    csums: KVVec<u8>,
}

/// A request of an ordered extent.
struct Part(Arc<Ordered>);

impl DataWriteClient for Part {
    fn done(self, buf: IoBuf, result: Result) {
        self.0.part_done(buf, result);
    }
}

impl Ordered {
    /// For the bytes `range` of a file, that go to `target` in `parts` requests. The range is
    /// in flight.
    pub(super) fn new(
        geometry: &Geometry,
        range: Range<u64>,
        target: Target,
        parts: usize,
        with_csums: bool,
        owner: Owner,
    ) -> Result<Arc<Self>> {
        let mut csums = KVVec::new();
        if with_csums {
            let sectors = usize::try_from(target.disk_len / u64::from(geometry.sectorsize))?;
            let bytes = sectors.checked_mul(geometry.csum_type.size());
            csums.reserve(bytes.ok_or(EINVAL)?, GFP_NOFAIL)?;
        }
        // The requests' buffers, and one that the folios of compressed data are in.
        let bufs = KVec::with_capacity(parts.saturating_add(1), GFP_NOFAIL)?;
        let state = State {
            left: parts,
            result: Ok(()),
            bufs,
            csums,
        };
        Arc::pin_init(
            pin_init!(Self {
                geometry: *geometry,
                range,
                target,
                state <- new_mutex!(state, "btrfs-ordered"),
                done <- Completion::new(),
                owner,
            }),
            GFP_NOFAIL,
        )
    }

    /// Keeps folios until the end, whose bytes are in no request as they are.
    pub(super) fn keep(&self, folios: IoBuf) {
        self.put_buf(folios);
    }

    fn put_buf(&self, buf: IoBuf) {
        // Room was made in the beginning.
        drop(self.state.lock().bufs.push_within_capacity(buf));
    }

    /// Writes the next bytes, which begin `at` bytes behind the address of the extent.
    pub(super) fn write(
        self: &Arc<Self>,
        inode: &Inode,
        at: u64,
        buf: IoBuf,
        sync: bool,
        with_csums: bool,
    ) {
        let added = match with_csums {
            true => self.add_csums(inode.fs().volume().lanes(), &buf),
            false => Ok(()),
        };
        let logical = self.target.disk.checked_add(at).ok_or(EINVAL);
        match added.and(logical) {
            Ok(logical) => inode.fs().volume().write_data(DataWrite {
                logical,
                buf,
                sync,
                client: Part(self.clone()),
            }),
            Err(e) => self.part_done(buf, Err(e)),
        }
    }

    /// Ends a request that could not be made.
    pub(super) fn fail(self: &Arc<Self>, error: Error) {
        self.part_done(IoBuf::new(), Err(error));
    }

    /// Computes the checksums of the next bytes. Parts are written in order, by one task.
    fn add_csums(&self, lanes: &Lanes, buf: &IoBuf) -> Result {
        let geometry = &self.geometry;
        let sector = usize::try_from(geometry.sectorsize)?;
        let size = geometry.csum_type.size();
        let sectors = buf.len().checked_div(sector).ok_or(EINVAL)?;
        let bytes = sectors.checked_mul(size).ok_or(EINVAL)?;
        // Not under the lock: parts that end meanwhile would wait for it.
        let mut csums = KVVec::from_elem(0u8, bytes, GFP_NOFAIL)?;
        let failed = Atomic::<bool>::new(false);
        parallel::chunks_mut(lanes, &mut csums, size.saturating_mul(SHARE), |at, out| {
            let first = at.checked_div(size).unwrap_or(0).saturating_mul(sector);
            for (index, out) in out.chunks_mut(size).enumerate() {
                let start = first.saturating_add(index.saturating_mul(sector));
                let range = start..start.saturating_add(sector);
                match Checksum::of_buf(geometry.csum_type, buf, range) {
                    Ok(csum) => out.copy_from_slice(csum.as_slice()),
                    Err(_) => failed.store(true, Relaxed),
                }
            }
        });
        if failed.load(Relaxed) {
            return Err(EINVAL);
        }
        let mut state = self.state.lock();
        Ok(state.csums.extend_from_slice(&csums, GFP_NOFAIL)?)
    }

    fn part_done(self: &Arc<Self>, buf: IoBuf, result: Result) {
        let last = {
            let mut state = self.state.lock();
            drop(state.bufs.push_within_capacity(buf));
            if state.result.is_ok() {
                state.result = result;
            }
            state.left = state.left.saturating_sub(1);
            state.left == 0
        };
        if !last {
            return;
        }
        match &self.owner {
            Owner::Waiter => self.done.complete_all(),
            Owner::Folios => {
                let bufs = core::mem::take(&mut self.state.lock().bufs);
                let inode = bufs
                    .iter()
                    .find_map(|buf| buf.written_inode::<BtrfsInode>());
                let result = inode.ok_or(EIO).and_then(|inode| self.settle(inode));
                for buf in bufs {
                    buf.finish(result);
                }
            }
            Owner::Request(writing) => {
                let inode = writing.inode().ok_or(EIO);
                writing.part_ended(inode.and_then(|inode| self.settle(inode)));
            }
        }
    }

    /// Waits until all is written, raises the size of the file to the end of what was, and
    /// puts the items. The inode lock is held for writing.
    pub(super) fn wait(&self, inode: &BtrfsInode, end: i64) -> Result {
        self.done.wait_for_completion();
        if self.state.lock().result.is_ok() && end > inode.size() {
            inode.set_size(end);
        }
        self.settle(inode)
    }

    /// All requests ended: puts the items, or gives the space back.
    fn settle(&self, inode: &BtrfsInode) -> Result {
        let (written, csums) = {
            let mut state = self.state.lock();
            (state.result, core::mem::take(&mut state.csums))
        };
        let mut born = self.target.within.is_some();
        let result = written.and_then(|()| self.put_items(inode, csums, &mut born));
        let result = result.map_err(|e| inode.data().fs().txn().blame(e));
        if let Err(e) = result {
            if !born {
                let space = inode.data().fs().space();
                space.unalloc(self.target.disk, self.target.disk_len);
            }
            let data = inode.data();
            fail(inode, self.range.clone());
            data.fs().log().warn_limited(format_args!(
                "failed to write [{}, {}) of inode {} in tree {} (error {})",
                self.range.start,
                self.range.end,
                data.ino(),
                data.subvol().id(),
                e.to_errno()
            ));
        }
        result
    }

    /// Puts the items of the file. `born` becomes true when the extent is the transaction's.
    fn put_items(&self, inode: &BtrfsInode, csums: KVVec<u8>, born: &mut bool) -> Result {
        let data = inode.data();
        let (fs, file) = (data.fs(), data.file()?);
        let mut csums = (!csums.is_empty()).then_some(csums);
        if let Some((_, false)) = self.target.within {
            // Its items stay as they are.
            let paid = file.take_trees(&self.range);
            let mut handle = fs.txn().start_writeback(replace::demand(0, 1), paid)?;
            file.land(self.range.clone());
            file.raise_disk_size(u64::try_from(inode.size())?);
            return store(&mut handle, inode);
        }
        let mut at = self.range.start;
        while at < self.range.end {
            let rest = at..self.range.end;
            let count = until_memory(|| replace::find(data, &rest, MOST))?
                .items
                .len();
            let demand = replace::demand(count, 4);
            let paid = file.take_trees(&rest);
            let mut handle = fs.txn().start_writeback(demand, paid)?;
            let edit = file.edit();
            // What a neighbour cut meanwhile can be no more than two.
            let olds = until_memory(|| replace::find(data, &rest, count.saturating_add(2)))?;
            if self.target.within.is_some() {
                self.add_csums_of(&mut handle, &olds.range, &mut csums)?;
            } else if !*born {
                let csums = csums.take();
                handle.born(self.target.disk, self.target.disk_len, csums)?;
                *born = true;
            }
            at = olds.range.end;
            let mut change = || -> Result {
                let freed = replace::cut(data.tree(), data.ino(), &mut handle, &olds)?;
                self.put_extent(inode, &mut handle, &olds.range)?;
                let part = olds.range.end.saturating_sub(olds.range.start);
                file.arrived(olds.range.clone(), part, freed);
                if self.target.within.is_none() {
                    fs.space().note_freed(freed);
                }
                if at >= self.range.end {
                    file.land(self.range.clone());
                    file.raise_disk_size(u64::try_from(inode.size())?);
                } else {
                    file.changed(olds.range.clone());
                }
                store(&mut handle, inode)
            };
            let changed = change();
            end(fs, handle, edit, "ordered extent", changed)?;
        }
        Ok(())
    }

    /// Tells the transaction the checksums of a part of what was written in place. All sums are
    /// taken if that is all of it.
    fn add_csums_of(
        &self,
        handle: &mut crate::txn::Handle<'_>,
        part: &Range<u64>,
        csums: &mut Option<KVVec<u8>>,
    ) -> Result {
        let Some(all) = csums else {
            return Ok(());
        };
        let len = part.end.saturating_sub(part.start);
        let skipped = part.start.saturating_sub(self.range.start);
        let at = self.target.disk.checked_add(skipped).ok_or(EUCLEAN)?;
        if *part == self.range {
            let all = core::mem::take(all);
            return handle.add_csums(at, len, all);
        }
        let sector = u64::from(self.geometry.sectorsize);
        let index = |bytes: u64| -> Result<usize> {
            let sectors = usize::try_from(bytes.checked_div(sector).ok_or(EIO)?)?;
            sectors
                .checked_mul(self.geometry.csum_type.size())
                .ok_or(EIO)
        };
        let wanted = index(skipped)?..index(skipped.saturating_add(len))?;
        let mut some = KVVec::new();
        some.extend_from_slice(all.get(wanted).ok_or(EIO)?, GFP_NOFAIL)?;
        handle.add_csums(at, len, some)
    }

    /// Puts the item of a part of the extent.
    fn put_extent(
        &self,
        inode: &BtrfsInode,
        handle: &mut crate::txn::Handle<'_>,
        part: &Range<u64>,
    ) -> Result {
        let data = inode.data();
        let skipped = part.start.saturating_sub(self.range.start);
        let num_bytes = part.end.saturating_sub(part.start);
        let extent = match &self.target.within {
            None => DiskExtent {
                generation: handle.transid(),
                ram_bytes: self.target.ram,
                compression: self.target.compression,
                disk_bytenr: self.target.disk,
                disk_num_bytes: self.target.disk_len,
                offset: self.target.skip.saturating_add(skipped),
                num_bytes,
            },
            Some((whole, _)) => {
                let first = self.target.disk.get().checked_sub(whole.disk_bytenr.get());
                DiskExtent {
                    generation: handle.transid(),
                    offset: first.ok_or(EUCLEAN)?.saturating_add(skipped),
                    num_bytes,
                    ..*whole
                }
            }
        };
        replace::put_extent(data.tree(), data.ino(), handle, part.start, &extent, false)
    }
}

/// `range` was on its way to disk, and does not arrive. No folio may be locked.
pub(super) fn fail(inode: &BtrfsInode, range: Range<u64>) {
    if let Ok(true) = abandon(inode, range) {
        // If this fails, whatever is stored next has the size.
        let txn = inode.data().fs().txn();
        let handle = txn.start_writeback(replace::demand(0, 1), None);
        let _ = handle.and_then(|mut handle| store(&mut handle, inode));
    }
}

/// As [`fail`], but the size of the file is not stored; whether there is another one to store.
///
/// What arrived behind `range` waited for it to be in the file. Where holes have items that must
/// wait on: there is none for this one.
pub(super) fn abandon(inode: &BtrfsInode, range: Range<u64>) -> Result<bool> {
    let data = inode.data();
    let file = data.file()?;
    file.land(range);
    if !data.fs().has_incompat(Incompat::NO_HOLES) {
        return Ok(false);
    }
    let before = file.disk_size();
    file.raise_disk_size(u64::try_from(inode.size())?);
    Ok(file.disk_size() > before)
}
