// SPDX-License-Identifier: GPL-2.0

//! Telling devices what is not needed any more.

use super::super::{raid::Route, Volume};
use btrfs_format::{Logical, RaidProfile};
use kernel::{prelude::*, sync::Arc};
use kfs::block::BlockDevice;

/// A range of a device that grows as its neighbours are found.
struct Run {
    device: Arc<BlockDevice>,
    start: u64,
    end: u64,
}

impl Volume {
    /// Discards `len` bytes from `logical` on, all copies, where devices can. Returns how many
    /// bytes that was on the devices.
    ///
    /// What is stored with parity is left alone. Fails with the first error of a device after all
    /// were asked.
    pub(crate) fn discard(&self, logical: Logical, len: u64) -> Result<u64> {
        let (chunk, start) = self.locate(logical, len)?;
        let profile = chunk.shape().profile;
        if !self.is_writable() || matches!(profile, RaidProfile::Raid5 | RaidProfile::Raid6) {
            return Ok(0);
        }
        let mut runs: KVec<Run> = KVec::new();
        let end = start.saturating_add(len);
        for copy in 0..chunk.copies() {
            let mut at = start;
            while at < end {
                let Some(Route::Direct(piece)) = chunk.route(at, copy) else {
                    return Err(EIO);
                };
                let bytes = piece.len.min(end.saturating_sub(at)).max(1);
                at = at.saturating_add(bytes);
                if let Some((stripe, pos)) = chunk.place(&piece) {
                    let device = stripe.device.is_writable().then(|| stripe.device.bdev());
                    if let Some(device) = device.flatten().filter(|bdev| bdev.can_discard()) {
                        extend(&mut runs, device, pos, bytes)?;
                    }
                }
            }
        }
        let mut bytes: u64 = 0;
        let mut result = Ok(());
        for run in runs.iter() {
            let len = run.end.saturating_sub(run.start);
            match run.device.discard(run.start, len) {
                Ok(()) => bytes = bytes.saturating_add(len),
                Err(error) => result = result.and(Err(error)),
            }
        }
        result.map(|()| bytes)
    }
}

/// Adds a range to the run that it continues. Stripes of a device follow one another in it, so
/// with striped profiles there are as many runs as devices.
fn extend(runs: &mut KVec<Run>, device: &Arc<BlockDevice>, start: u64, len: u64) -> Result {
    let end = start.saturating_add(len);
    let mut near = runs.iter_mut().rev().take(64);
    let run = near.find(|run| run.end == start && Arc::ptr_eq(&run.device, device));
    if let Some(run) = run {
        run.end = end;
        return Ok(());
    }
    let device = device.clone();
    Ok(runs.push(Run { device, start, end }, GFP_KERNEL)?)
}
