// SPDX-License-Identifier: GPL-2.0

//! Committing a transaction.
//!
//! | stage | does | afterwards |
//! | --- | --- | --- |
//! | [freeze](Txn::freeze) | waits for handles, takes what they changed, opens the next transaction | every operation is in exactly one transaction, whole |
//! | [apply](Frozen::apply) | makes the new trees in work blocks, bookkeeping trees included ([`close`]) | all references are in the new extent tree, all space outside in the free space tree |
//! | [write](Applied::write) | work blocks to disk, then flushes | whatever the new superblock reaches is durable |
//! | [supers](Written::supers) | superblocks | the new state is what a mount finds |
//! | [publish](Durable::publish) | readers move to the new trees | what only older states used is pinned until its readers are gone |
//!
//! A failure in any stage but the last, which has none, ends in [`Txn::abort`]: what is on disk is the
//! state before, and so is what readers see, with the changes in the overlays on top. Lack of memory
//! is no failure: a commit waits for it ([`GFP_NOFAIL`](kfs::mem::GFP_NOFAIL), and
//! [`until_memory`] around what reads).
//!
//! [`free_space`] makes and gives up the tree of that name.
//!
//! # Bounds
//!
//! Memory for the work blocks, one buffer each, and for the changes of the bookkeeping trees: a few
//! hundred bytes for each extent that came or went. [`close`] does at most as many rounds as the
//! bookkeeping trees have blocks, and [`close::MAX_IDLE_ROUNDS`].

mod apply;
mod blocks;
mod close;
mod drop;
pub(super) mod free_space;
mod freeze;
mod look;
mod pending;
mod publish;
mod remains;
mod store;
mod write;

use kernel::prelude::*;
use kfs::mem::until_memory;

use self::apply::Applied;
use super::{Demand, Txn};
use btrfs_format::device::DevStatsItem;
use btrfs_format::key::Key;

impl Txn {
    /// Puts the error counters of devices into the device tree, of those where they moved.
    fn note_device_stats(&self) -> Result {
        let changed = self.volume.take_changed_stats()?;
        self.put_device_stats(&changed).inspect_err(|_| {
            // The next commit tries again.
            let _ = self.volume.keep_stats();
        })
    }

    fn put_device_stats(&self, changed: &[(Key, DevStatsItem)]) -> Result {
        let Some(tree) = self.roots.standard().device.as_ref() else {
            return Ok(());
        };
        for (key, item) in changed.iter() {
            let data = item.to_disk();
            let demand = Demand::items(1, u64::try_from(data.len())?);
            let mut handle = self.start(demand.completion())?;
            tree.put(&mut handle, *key, data)?;
        }
        Ok(())
    }

    /// Sees to it that there is room for the tree blocks that operations paid for, and for what the
    /// bookkeeping takes.
    #[inline(never)]
    fn prepare(&self) -> Result {
        // The counters stay in memory, and the next commit tries again.
        let _ = self.note_device_stats();
        let (reserve, _) = self.space.global_reserve();
        let bytes = self.open.lock().paid.bytes().saturating_add(reserve);
        match self.space.make_tree_room(bytes) {
            // What was promised is there all the same; only the reserve may lack. A chunk may also
            // find no room in the superblock, or come after changes have ended.
            Err(error) if [ENOSPC, EFBIG, EROFS].contains(&error) => Ok(()),
            result => result,
        }
    }

    /// What is left once the new state is in memory: apart, because making it goes deep and needs
    /// the room that this has on the stack.
    #[inline(never)]
    fn make_durable(&self, applied: KBox<Applied>) -> Result {
        let written = Applied::write(applied, self)?;
        let durable = written.supers(self)?;
        durable.publish(self);
        Ok(())
    }

    /// Commits the open transaction. For the committing thread only.
    #[inline(never)]
    pub(super) fn commit_now(&self) -> Result {
        self.reap();
        until_memory(|| self.prepare())?;
        self.reserve_pin()?;
        let frozen = self.freeze()?;
        let transid = frozen.transid;
        let applied = frozen.apply(self)?;
        self.make_durable(applied)?;
        if cfg!(debug_assertions) {
            self.space.check_committed(transid);
        }
        self.note_durable(transid);
        self.reap();
        Ok(())
    }
}
