// SPDX-License-Identifier: GPL-2.0

//! Direct I/O whose maker does not wait for it.
//!
//! All that can wait for others, or fail in a way that the page cache would not, is done before the
//! request is detached from its maker: finding extents, checksums, memory. From then on it ends by
//! itself, when the last of its parts lets go of it: with an error if one of them had one.
//!
//! A read arrives in a buffer of ours, is verified there, and copied to memory that was held since it
//! was submitted. It keeps views of the trees, and needs no lock while it is under way.
//!
//! A write is ordered extents, as others; their items are put where the last part of each ends.
//! It is counted as direct I/O of the inode, for which whoever else changes the same bytes waits
//! under the inode lock: bytes of a file are in flight once at a time. What raises the size of the
//! file is waited for, so that nobody sees a size below which there is nothing yet.
//!
//! # Bounds
//!
//! Requests of more than [`MOST`] bytes are waited for. How many there are is up to those who limit
//! their makers.

use btrfs_format::types::Logical;
use core::ops::Range;
use kernel::iov::{IovIterDest, IovIterSource};
use kernel::prelude::*;
use kernel::sync::{
    atomic::{Atomic, Relaxed},
    Arc,
};
use kfs::block::IoBuf;
use kfs::fs::{Detached, Kiocb, Queued, UserPages};
use kfs::mem::GFP_NOFAIL;

use super::direct::{self, Supply};
use super::extent::Place;
use super::located::Views;
use super::ordered::Owner;
use super::read;
use crate::inode::Inode;
use crate::vfs::{Btrfs, BtrfsInode};
use crate::volume::{DataClient, DataRead, FilePosition};

/// Most bytes of a request that is not waited for.
pub(super) const MOST: u64 = 1 << 20;

/// What a request comes to.
struct Progress {
    bytes: Atomic<usize>,
    /// Of the first part that failed, or 0.
    errno: Atomic<i32>,
}

impl Progress {
    fn new(bytes: usize) -> Self {
        Self {
            bytes: Atomic::new(bytes),
            errno: Atomic::new(0),
        }
    }

    fn fail(&self, error: Error) {
        let _ = self.errno.cmpxchg(0, error.to_errno(), Relaxed);
    }

    fn result(&self) -> Result<usize> {
        match self.errno.load(Relaxed) {
            0 => Ok(self.bytes.load(Relaxed)),
            errno => Err(Error::from_errno(errno)),
        }
    }
}

/// A read under way, which ends when it is dropped.
struct Reading {
    request: Option<Detached<Btrfs>>,
    pages: Option<UserPages>,
    progress: Progress,
}

impl Drop for Reading {
    fn drop(&mut self) {
        drop(self.pages.take());
        if let Some(request) = self.request.take() {
            request.end(self.progress.result());
        }
    }
}

/// A part of a read: where in the request, and what is there.
struct Part {
    at: usize,
    len: usize,
    source: Source,
}

enum Source {
    Zeroes,
    Disk {
        address: Logical,
        buf: IoBuf,
        csums: Option<KVVec<u8>>,
        views: Views,
    },
}

/// Reads the bytes `range`, of whole sectors but for the end of the file, unless its maker waits
/// or they are not all to be had that way: then the request is given back. The inode lock is held.
pub(super) fn read<'a>(
    inode: &BtrfsInode,
    iocb: Kiocb<'a, Btrfs>,
    range: Range<u64>,
    to: &mut IovIterDest<'_>,
) -> Result<Queued, Kiocb<'a, Btrfs>> {
    let data = inode.data();
    let len = range.end.saturating_sub(range.start);
    if iocb.is_sync() || len > MOST {
        return Err(iocb);
    }
    // What goes wrong here is told by whoever tries once more.
    let prepared = plan(data, &range).and_then(|parts| {
        let len = usize::try_from(len)?;
        Ok((parts, UserPages::hold(to, len)?, len))
    });
    let Ok((parts, pages, len)) = prepared else {
        return Err(iocb);
    };
    let (request, queued) = iocb.detach()?;
    let reading = Reading {
        request: Some(request),
        pages: Some(pages),
        progress: Progress::new(len),
    };
    if let Ok(reading) = Arc::new(reading, GFP_NOFAIL) {
        for part in parts {
            part.start(data, range.start, &reading);
        }
    }
    Ok(queued)
}

/// What there is to do for `range`. `EAGAIN` if some of it cannot be read sector by sector.
fn plan(data: &Inode, range: &Range<u64>) -> Result<KVec<Part>> {
    let sector = data.fs().sector_size();
    let mut parts = KVec::new();
    let mut at = range.start;
    while at < range.end {
        let extent = data.locate(at)?;
        let end = extent.end.min(range.end);
        let len = end.saturating_sub(at);
        let source = match extent.place {
            Place::Hole | Place::Prealloc { .. } => Source::Zeroes,
            Place::Plain { address, .. } => {
                let skip = at.checked_sub(extent.start).ok_or(EUCLEAN)?;
                let address = address.checked_add(skip).ok_or(EUCLEAN)?;
                let whole = usize::try_from(len.next_multiple_of(sector))?;
                let views = extent.views().clone();
                Source::Disk {
                    address,
                    buf: IoBuf::alloc(whole)?,
                    csums: read::checksums(data, address, whole, &views)?,
                    views,
                }
            }
            Place::Packed(_) | Place::Inline { .. } => return Err(EAGAIN),
        };
        let part = Part {
            at: usize::try_from(at.saturating_sub(range.start))?,
            len: usize::try_from(len)?,
            source,
        };
        parts.push(part, GFP_KERNEL)?;
        at = end;
    }
    Ok(parts)
}

impl Part {
    /// Starts it for a request that begins at `start` in the file.
    fn start(self, data: &Inode, start: u64, reading: &Arc<Reading>) {
        let Part { at, len, source } = self;
        match source {
            Source::Zeroes => {
                let zeroed = reading.pages.as_ref().ok_or(EIO);
                if let Err(e) = zeroed.and_then(|pages| pages.zero(at, len)) {
                    reading.progress.fail(e);
                }
            }
            Source::Disk {
                address,
                buf,
                csums,
                views,
            } => data.fs().volume().read_data(DataRead {
                logical: address,
                buf,
                csums,
                client: Arriving {
                    position: read::position(data, start.saturating_add(at as u64)),
                    reading: reading.clone(),
                    at,
                    len,
                    _views: views,
                },
            }),
        }
    }
}

/// A part of a read that is under way.
struct Arriving {
    position: FilePosition,
    reading: Arc<Reading>,
    at: usize,
    len: usize,
    _views: Views,
}

impl Arriving {
    fn copy(&self, buf: &IoBuf) -> Result {
        let pages = self.reading.pages.as_ref().ok_or(EIO)?;
        let mut at = self.at;
        buf.for_each_slice(0..self.len, |piece| {
            pages.write(at, piece)?;
            at = at.saturating_add(piece.len());
            Ok(())
        })
    }
}

impl DataClient for Arriving {
    type Output = ();

    fn position(&self, offset: usize) -> FilePosition {
        read::advance(self.position, offset)
    }

    fn done(self, buf: IoBuf, bad: &[Range<usize>]) {
        let copied = match bad {
            [] => self.copy(&buf),
            _ => Err(EIO),
        };
        if let Err(e) = copied {
            self.reading.progress.fail(e);
        }
    }
}

/// A write under way, which ends when it is dropped.
pub(super) struct Writing {
    request: Option<Detached<Btrfs>>,
    start: u64,
    progress: Progress,
}

impl Writing {
    /// The file that is written to.
    pub(super) fn inode(&self) -> Option<&BtrfsInode> {
        Some(self.request.as_ref()?.file().inode())
    }

    /// A part of it ended.
    pub(super) fn part_ended(&self, result: Result) {
        if let Err(e) = result {
            self.progress.fail(e);
        }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        let Some(request) = self.request.take() else {
            return;
        };
        let result = self.progress.result();
        if let Ok(bytes) = result {
            // What a mapping brought into the page cache meanwhile is old.
            let end = self.start.saturating_add(bytes as u64);
            let _ = request.file().inode().invalidate_pages(self.start..end);
        }
        if let Ok(file) = request.file().inode().data().file() {
            file.unclaim(self.start);
        }
        request.end_write(result);
    }
}

/// Writes whole sectors to `range`, which ends before the file does, unless the maker of the request
/// waits: then it is given back. The inode lock is held for writing, and the range is claimed, which
/// ends with the request.
pub(super) fn write<'a>(
    inode: &BtrfsInode,
    iocb: Kiocb<'a, Btrfs>,
    range: Range<u64>,
    supply: &mut Supply,
    from: &mut IovIterSource<'_>,
) -> Result<Queued, Kiocb<'a, Btrfs>> {
    if iocb.is_sync() || range.end.saturating_sub(range.start) > MOST {
        return Err(iocb);
    }
    let (mut request, queued) = iocb.detach()?;
    request.begin_direct_io();
    let writing = Writing {
        request: Some(request),
        start: range.start,
        progress: Progress::new(0),
    };
    if let Ok(writing) = Arc::new(writing, GFP_NOFAIL) {
        let mut at = range.start;
        while at < range.end {
            let owner = Owner::Request(writing.clone());
            match direct::start_next(inode, at..range.end, supply, from, owner) {
                Ok((_, end)) => at = end,
                // What was started is written all the same.
                Err(_) if at > range.start => break,
                Err(e) => {
                    writing.progress.fail(e);
                    break;
                }
            }
        }
        let done = usize::try_from(at.saturating_sub(range.start)).unwrap_or(0);
        writing.progress.bytes.store(done, Relaxed);
    }
    Ok(queued)
}
