// SPDX-License-Identifier: GPL-2.0

//! Discarding free space: what commits freed, with `discard=sync`, and all of it, when asked to
//! (`FITRIM`).
//!
//! A range is discarded while it is not free for anybody: before it is put among the free ones, or
//! while it is taken out of them. The latter may be promised: whoever finds nothing else waits until
//! it is back. For `discard=async` see [`discard_async`](super::discard_async).

use btrfs_format::types::Logical;
use kernel::prelude::*;
use kfs::mem::NoFs;

use super::extent_map::Extent;
use super::group::{BlockGroup, Loaded};
use super::Space;

/// Bytes that are discarded, and not free meanwhile, at a time.
const LARGEST: u64 = 256 << 20;

/// How much was discarded.
#[derive(Clone, Copy, Default)]
pub(super) struct Trimmed {
    /// Bytes of logical addresses.
    pub(super) logical: u64,
    /// Bytes on devices.
    pub(super) bytes: u64,
}

impl Space {
    /// Discards what a commit freed, if the mount options say so. For `unpin`: the ranges are still
    /// pinned. That a device cannot is no error.
    pub(super) fn discard_freed(&self, start: Logical, len: u64) {
        if !self.settings.lock().discard_sync {
            return;
        }
        if let Err(error) = self.volume.discard(start, len) {
            if error != EOPNOTSUPP {
                self.volume.log().warn_limited(format_args!(
                    "discard failed for extent [{start}, {len}]: errno={}",
                    error.to_errno()
                ));
            }
        }
    }

    /// Discards free ranges of at least `least` bytes that lie between `start` and `end`, and all
    /// that no chunk has. Returns the number of bytes discarded on the devices.
    ///
    /// `EINTR` when killed; the first error of a device, after all groups were seen to.
    pub(crate) fn trim(&self, start: u64, end: u64, least: u64) -> Result<u64> {
        let table = self.table()?;
        let mut done = Trimmed::default();
        let mut result = Ok(());
        for group in table.iter() {
            let from = group.start().get().max(start);
            let to = group.end().min(end);
            if from >= to || to - from < least {
                continue;
            }
            self.load_group(group)?;
            if let Err(error) = self.trim_group(group, from, to, least.max(1), &mut done) {
                if error == EINTR {
                    return Err(error);
                }
                result = result.and(Err(error));
            }
        }
        let rest = self.volume.discard_unallocated(kfs::task::is_killed);
        result.and(rest).map(|rest| done.bytes.saturating_add(rest))
    }

    /// Discards free ranges of a group of at least `least` bytes, as far as they are in a range.
    pub(super) fn trim_group(
        &self,
        group: &BlockGroup,
        from: u64,
        to: u64,
        least: u64,
        done: &mut Trimmed,
    ) -> Result {
        let types = group.flags().types();
        let info = self.infos.iter().find(|info| info.types == types);
        let info = info.ok_or(EINVAL)?;
        let mut at = from;
        while at < to {
            if kfs::task::is_killed() {
                return Err(EINTR);
            }
            let _nofs = NoFs::enter();
            let discarding = self.discarding.lock();
            // Out of the map, and pinned for the sums.
            let taken = group.with_room(|inner| {
                if inner.loaded != Loaded::Yes || inner.read_only > 0 {
                    return None;
                }
                let found = loop {
                    let found = inner.map.next(at).filter(|e| e.start < to)?;
                    let len = found.end().min(to).saturating_sub(found.start);
                    if len >= least {
                        let len = len.min(LARGEST);
                        break Extent { len, ..found };
                    }
                    at = found.end();
                };
                inner.map.remove(found.start, found.len).ok()?;
                inner.pinned = inner.pinned.saturating_add(found.len);
                info.with(|c| c.pinned = c.pinned.saturating_add(found.len));
                Some(found)
            });
            let Some(range) = taken else {
                return Ok(());
            };
            let result = self.volume.discard(Logical(range.start), range.len);
            self.unpin_range(Logical(range.start), range.len);
            drop(discarding);
            done.bytes = done.bytes.saturating_add(result?);
            done.logical = done.logical.saturating_add(range.len);
            at = range.end();
            kfs::task::cond_resched();
        }
        Ok(())
    }
}
