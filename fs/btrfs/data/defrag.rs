// SPDX-License-Identifier: GPL-2.0

//! Defragmentation: small extents that follow each other in a file become one.
//!
//! They are made dirty in the page cache as they are, and are *moving* ([`FileState`]): writeback gives
//! them a new place, also where it would write in place otherwise. What lies together on disk is
//! joined as well, for the sake of fewer items. A file can be compressed, or not any more, in this way.
//!
//! Space that other files share with the old extents is not freed by that, as with any other write.
//!
//! [`FileState`]: super::state::FileState

use btrfs_format::types::Generation;
use core::ops::Range;
use kernel::prelude::*;
use kfs::fs::ExclusiveLock;
use kfs::task;

use super::compress::Recode;
use super::extent::{Extent, Place, FILE_END, MAX_PACKED};
use super::read::FileData;
use crate::vfs::{Btrfs, BtrfsInode};

/// So much of a file is looked at under its lock, bytes.
const WINDOW: u64 = 256 << 10;

/// Extents of this size are left alone if nobody says otherwise, bytes.
pub(crate) const THRESHOLD: u64 = 256 << 10;

/// What is to be done.
pub(crate) struct Request {
    /// The part of the file, bytes.
    pub(crate) range: Range<u64>,
    /// Extents of this size and larger are left alone, bytes.
    pub(crate) threshold: u64,
    /// And those written before this transaction.
    pub(crate) newer: Generation,
    /// All data is to be compressed in another way; then the size does not matter.
    pub(crate) recode: Option<Recode>,
}

impl Request {
    /// Whether `extent` may be written again, if that is of use.
    fn fits(&self, extent: &Extent) -> bool {
        let len = extent.end.saturating_sub(extent.start);
        let small = self.recode.is_some() || len < self.threshold;
        let fits = match extent.place {
            Place::Hole | Place::Prealloc { .. } => false,
            // There is nothing behind it to be joined with.
            Place::Inline { .. } => self.recode.is_some(),
            Place::Plain { .. } => small,
            // A whole run cannot become larger.
            Place::Packed(_) => self.recode.is_some() || small && len < u64::from(MAX_PACKED),
        };
        fits && extent.generation >= self.newer.get()
    }
}

/// A defragmentation under way.
pub(crate) struct Defrag<'a> {
    inode: &'a BtrfsInode,
    request: &'a Request,
    /// Up to where the file was looked at.
    at: u64,
    /// What is before `at` is written again.
    joins: bool,
}

impl<'a> Defrag<'a> {
    pub(crate) fn new(inode: &'a BtrfsInode, request: &'a Request) -> Self {
        let sector = inode.data().fs().sector_size();
        Self {
            inode,
            request,
            at: request.range.start - request.range.start % sector,
            joins: false,
        }
    }

    /// Does a part; whether there is more. `ETXTBSY` for a swap file.
    pub(crate) fn step(&mut self) -> Result<bool> {
        let (inode, data) = (self.inode, self.inode.data());
        let lock = inode.lock_exclusive();
        // What is moved is read by way of the page cache.
        inode.wait_for_direct_io();
        if inode.is_swapfile() {
            return Err(ETXTBSY);
        }
        let size = u64::try_from(inode.size())?;
        let sector = data.fs().sector_size();
        let end = self.request.range.end.min(size);
        if self.at >= end {
            return Ok(false);
        }
        let end = end.checked_next_multiple_of(sector).ok_or(EFBIG)?;
        let window = (self.at - self.at % WINDOW).saturating_add(WINDOW).min(end);
        let mut target = self.at..self.at;
        let mut here = Some(data.extent_at(self.at)?);
        while let Some(extent) = here {
            let next = match extent.end < FILE_END {
                true => Some(data.extent_at(extent.end)?),
                false => None,
            };
            while self.at < extent.end.min(window) {
                let (wanted, until) = self.is_target(&extent, next.as_ref())?;
                self.joins = wanted;
                if wanted {
                    self.at = until.min(window);
                    target.end = self.at;
                } else {
                    self.rewrite(target, &lock)?;
                    self.at = until;
                    target = until..until;
                }
            }
            here = next.filter(|_| self.at < window);
        }
        self.rewrite(target, &lock)?;
        Ok(true)
    }

    fn rewrite(&self, range: Range<u64>, lock: &ExclusiveLock<'_, Btrfs>) -> Result {
        if range.is_empty() {
            return Ok(());
        }
        self.inode.read_ahead(range.clone());
        self.inode.rewrite::<FileData>(range, lock)
    }

    /// Whether the extent that `self.at` is in is to be written again, and up to where that is so.
    fn is_target(&self, extent: &Extent, next: Option<&Extent>) -> Result<(bool, u64)> {
        if !self.request.fits(extent) {
            return Ok((false, extent.end));
        }
        let pending = self.inode.data().file()?.pending(self.at);
        let until = extent.end.min(pending.until);
        if pending.yes {
            return Ok((false, until));
        }
        let followed = next.is_some_and(|next| {
            let inside = i64::try_from(next.start).is_ok_and(|start| start < self.inode.size());
            next.start == extent.end && inside && self.request.fits(next)
        });
        let wanted = self.request.recode.is_some() || self.joins || followed;
        Ok((wanted, until))
    }
}

/// Defragments a file, as far as `request` says.
///
/// `EINVAL`: it begins behind the end of the file. `EAGAIN`: a signal ended it early.
pub(crate) fn defrag(inode: &BtrfsInode, request: &Request) -> Result {
    let size = u64::try_from(inode.size())?;
    if size == 0 {
        return Ok(());
    }
    if request.range.start >= size {
        return Err(EINVAL);
    }
    let Some(recode) = request.recode else {
        return run(inode, request);
    };
    let file = inode.data().file()?;
    let recoding = file.recode_as(recode)?;
    let done = run(inode, request);
    // It is compressed as it is written: by now, lest it be written later, in the usual way.
    let written = inode.write_and_wait(request.range.clone());
    drop(recoding);
    done.and(written)
}

/// All steps.
fn run(inode: &BtrfsInode, request: &Request) -> Result {
    let mut work = Defrag::new(inode, request);
    loop {
        match work.step() {
            Ok(true) if task::is_interrupted() => return Err(EAGAIN),
            Ok(true) => task::cond_resched(),
            Ok(false) => return Ok(()),
            Err(e) => return Err(e),
        }
    }
}
