// SPDX-License-Identifier: GPL-2.0

//! Accounting of the block groups that hold the same kind of things.
//!
//! Every byte of a block group is in one state, and moves on through them:
//!
//! ```text
//!  free --allocate--> reserved --commit--> used --commit without it--> pinned --unpin--> free
//! ```
//!
//! `may_use` are promises: bytes that may be allocated later. They are no bytes of any group, so
//! the rule that makes promises good is one of sums,
//!
//! ```text
//!  used + reserved + pinned + read_only + may_use <= total (+ overcommit)
//! ```
//!
//! which [`Counters::promise`] keeps. Only tree blocks are overcommitted, by space that no chunk
//! has yet. Of the promises some are the global reserve, which those draw from that give space
//! back, and some are for the commit that is running.

use btrfs_format::profile::{BlockGroupFlags, RaidProfile};
use btrfs_format::types::Generation;
use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel::sync::{new_condvar, new_spinlock, CondVar, SpinLock};
use kfs::new_rwsem;
use kfs::sync::{RwSemaphore, WriteGuard};

use super::extent_map::Extent;
use super::summary::{factor, BlockGroup};

/// What is allocated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// The chunk tree.
    System,
    /// All other trees.
    Metadata,
    /// File data.
    Data,
}

/// Sums over the block groups of one profile.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Sums {
    /// Number of block groups.
    pub(crate) groups: u64,
    /// Sum of lengths, bytes.
    pub(crate) total: u64,
    /// Bytes that the extent tree has, or will have after the commit that is running.
    pub(crate) used: u64,
    /// Bytes allocated for later commits.
    pub(crate) reserved: u64,
}

/// Number of profiles.
const PROFILES: usize = RaidProfile::BY_INDEX.len();

/// The sums of one kind, bytes.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Counters {
    /// By profile, in the order of [`RaidProfile::BY_INDEX`].
    profiles: [Sums; PROFILES],
    /// Sum of lengths.
    pub(crate) total: u64,
    /// Allocated, and known to the extent tree.
    pub(crate) used: u64,
    /// Allocated, and not in the extent tree yet.
    pub(crate) reserved: u64,
    /// Not in the extent tree any more, but not to be written over yet.
    pub(crate) pinned: u64,
    /// Promised, the reserve included.
    pub(crate) may_use: u64,
    /// Free but not to be allocated: in read-only groups, or where superblocks are.
    pub(crate) read_only: u64,
    /// Bytes on devices that are not used, in groups that nothing is allocated from.
    pub(crate) disk_readonly_free: u64,
    /// What the global reserve should have.
    pub(crate) reserve_size: u64,
    /// What it has; part of `may_use`.
    pub(crate) reserve: u64,
    /// What the commit that is running may still take; part of `may_use`.
    pub(crate) commit: u64,
}

/// Position of a profile in [`RaidProfile::BY_INDEX`].
fn index(profile: RaidProfile) -> usize {
    let mut profiles = RaidProfile::BY_INDEX.iter();
    profiles.position(|p| *p == profile).unwrap_or(0)
}

impl Counters {
    /// Adds a block group.
    pub(crate) fn add_group(&mut self, group: &BlockGroup) {
        if let Some(sums) = self.profiles.get_mut(index(group.profile())) {
            sums.groups = sums.groups.saturating_add(1);
            sums.total = sums.total.saturating_add(group.length);
            sums.used = sums.used.saturating_add(group.used);
        }
        self.total = self.total.saturating_add(group.length);
        self.used = self.used.saturating_add(group.used);
        self.read_only = self.read_only.saturating_add(group.reserved);
    }

    /// Takes a block group out, in which nothing is used, reserved or pinned, and which is
    /// read-only.
    pub(crate) fn remove_group(&mut self, group: &BlockGroup) {
        if let Some(sums) = self.profiles.get_mut(index(group.profile())) {
            sums.groups = sums.groups.saturating_sub(1);
            sums.total = sums.total.saturating_sub(group.length);
            sums.used = sums.used.saturating_sub(group.used);
        }
        self.total = self.total.saturating_sub(group.length);
        self.used = self.used.saturating_sub(group.used);
        self.read_only = self.read_only.saturating_sub(group.length);
        let disk = group.length.saturating_mul(factor(group.profile()));
        self.disk_readonly_free = self.disk_readonly_free.saturating_sub(disk);
    }

    /// `free` bytes of a group of `profile` are not allocated from now on; `unused` are not used.
    pub(crate) fn retire(&mut self, profile: RaidProfile, free: u64, unused: u64) {
        self.read_only = self.read_only.saturating_add(free);
        let disk = unused.saturating_mul(factor(profile));
        self.disk_readonly_free = self.disk_readonly_free.saturating_add(disk);
    }

    /// The contrary of [`Self::retire`].
    pub(crate) fn revive(&mut self, profile: RaidProfile, free: u64, unused: u64) {
        self.read_only = self.read_only.saturating_sub(free);
        let disk = unused.saturating_mul(factor(profile));
        self.disk_readonly_free = self.disk_readonly_free.saturating_sub(disk);
    }

    /// The use of groups of `profile` changes, that of read-only ones too.
    pub(crate) fn change_used(&mut self, profile: RaidProfile, more: u64, less: u64, ro: bool) {
        let changed = |used: u64| used.saturating_add(more).saturating_sub(less);
        if let Some(sums) = self.profiles.get_mut(index(profile)) {
            sums.used = changed(sums.used);
        }
        self.used = changed(self.used);
        if ro {
            let disk = |bytes: u64| bytes.saturating_mul(factor(profile));
            let free = self.disk_readonly_free.saturating_add(disk(less));
            self.disk_readonly_free = free.saturating_sub(disk(more));
        }
    }

    /// What is allocated in groups of `profile` and not in the extent tree changes.
    pub(crate) fn change_reserved(&mut self, profile: RaidProfile, more: u64, less: u64) {
        let changed = |reserved: u64| reserved.saturating_add(more).saturating_sub(less);
        if let Some(sums) = self.profiles.get_mut(index(profile)) {
            sums.reserved = changed(sums.reserved);
        }
        self.reserved = changed(self.reserved);
    }

    /// The sums of a profile.
    pub(crate) fn profile(&self, profile: RaidProfile) -> Sums {
        self.profiles
            .get(index(profile))
            .copied()
            .unwrap_or_default()
    }

    /// Whether there are block groups of `profile`.
    pub(crate) fn has(&self, profile: RaidProfile) -> bool {
        self.profile(profile).groups > 0
    }

    /// Bytes that are not free, promised ones included.
    pub(crate) fn taken(&self) -> u64 {
        self.allocated().saturating_add(self.may_use)
    }

    /// Bytes that are not free.
    pub(crate) fn allocated(&self) -> u64 {
        let sum = self.used.saturating_add(self.reserved);
        let sum = sum.saturating_add(self.pinned);
        sum.saturating_add(self.read_only)
    }

    /// Free bytes, promised or not.
    pub(crate) fn free(&self) -> u64 {
        self.total.saturating_sub(self.allocated())
    }

    /// Promises `bytes`, unless with `more` bytes of room that would be too much.
    pub(crate) fn promise(&mut self, bytes: u64, more: u64) -> bool {
        let fits = self.taken().saturating_add(bytes) <= self.total.saturating_add(more);
        if fits {
            self.may_use = self.may_use.saturating_add(bytes);
        }
        fits
    }

    /// Hands `bytes` of the global reserve over, which stay promised; `keep` bytes are left, for
    /// what a commit takes that no operation has paid for.
    pub(crate) fn draw(&mut self, bytes: u64, keep: u64) -> bool {
        let left = self.reserve.checked_sub(bytes).filter(|left| *left >= keep);
        self.reserve = left.unwrap_or(self.reserve);
        left.is_some()
    }

    /// Takes a promise back; the global reserve is filled first.
    pub(crate) fn give_back(&mut self, bytes: u64) {
        let missing = self.reserve_size.saturating_sub(self.reserve);
        let filled = missing.min(bytes);
        self.reserve = self.reserve.saturating_add(filled);
        let rest = bytes.saturating_sub(filled);
        self.may_use = self.may_use.saturating_sub(rest);
    }

    /// Fills the global reserve from what is free and not promised.
    pub(crate) fn refill(&mut self) {
        let missing = self.reserve_size.saturating_sub(self.reserve);
        let room = self.total.saturating_sub(self.taken());
        let filled = missing.min(room);
        self.reserve = self.reserve.saturating_add(filled);
        self.may_use = self.may_use.saturating_add(filled);
    }

    /// Sets how large the global reserve should be.
    ///
    /// When the file system is opened (`force`), it is filled even where that is more than there
    /// is.
    pub(crate) fn set_reserve(&mut self, size: u64, force: bool) {
        self.reserve_size = size;
        if let Some(more) = self.reserve.checked_sub(size) {
            self.reserve = size;
            self.may_use = self.may_use.saturating_sub(more);
        } else if force {
            let missing = size.saturating_sub(self.reserve);
            self.reserve = size;
            self.may_use = self.may_use.saturating_add(missing);
        } else {
            self.refill();
        }
    }

    /// `bytes` of tree blocks were allocated by the commit, which its share of the promises pays
    /// for, or else the global reserve.
    pub(crate) fn pay_for_trees(&mut self, bytes: u64) {
        let own = bytes.min(self.commit);
        self.commit = self.commit.saturating_sub(own);
        let reserve = bytes.saturating_sub(own).min(self.reserve);
        self.reserve = self.reserve.saturating_sub(reserve);
        let paid = own.saturating_add(reserve);
        self.may_use = self.may_use.saturating_sub(paid);
    }

    /// The profile that the next chunk of this kind gets on `devices` writable devices: the one
    /// with the most redundancy that is in use and possible.
    pub(crate) fn next_profile(&self, devices: u64) -> RaidProfile {
        next_profile(|profile| self.has(profile), devices)
    }
}

/// See [`Counters::next_profile`].
pub(crate) fn next_profile(has: impl Fn(RaidProfile) -> bool, devices: u64) -> RaidProfile {
    const ORDER: [RaidProfile; 8] = [
        RaidProfile::Raid1c4,
        RaidProfile::Raid6,
        RaidProfile::Raid1c3,
        RaidProfile::Raid5,
        RaidProfile::Raid10,
        RaidProfile::Raid1,
        RaidProfile::Dup,
        RaidProfile::Raid0,
    ];
    ORDER
        .into_iter()
        .find(|profile| has(*profile) && devices >= u64::from(profile.attributes().devs_min))
        .unwrap_or(RaidProfile::Single)
}

/// Whether a profile has neither mirrors nor parity.
pub(crate) fn is_bare(profile: RaidProfile) -> bool {
    matches!(profile, RaidProfile::Single | RaidProfile::Raid0)
}

/// Where allocations went last, to go on from there.
#[derive(Clone, Copy, Default)]
pub(super) struct Cursors {
    /// The rest of the window that small pieces of data go to. Large ones stay out of it.
    pub(super) window: Extent,
    /// Behind the last large piece of data.
    pub(super) large: u64,
    /// Behind the last tree block.
    pub(super) tree: u64,
}

/// The block groups that hold one kind of things, or data and tree blocks.
#[pin_data]
pub(crate) struct Info {
    /// What they hold.
    pub(crate) types: BlockGroupFlags,
    #[pin]
    counters: SpinLock<Counters>,
    #[pin]
    pub(super) cursors: SpinLock<Cursors>,
    /// Signalled when there may be more room.
    #[pin]
    pub(super) changed: CondVar,
    /// Held by who makes room for a reservation.
    #[pin]
    turn: RwSemaphore<()>,
    /// Those who do, or wait for that.
    climbing: Atomic<u32>,
}

/// The right to make room; see [`ladder`](super::ladder).
pub(super) struct Turn<'a> {
    info: &'a Info,
    _guard: WriteGuard<'a, ()>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let _ = self.info.climbing.fetch_sub(1, Relaxed);
    }
}

impl Info {
    pub(super) fn new(types: BlockGroupFlags, counters: Counters) -> impl PinInit<Self> {
        pin_init!(Self {
            types,
            counters <- new_spinlock!(counters, "btrfs-space-info"),
            cursors <- new_spinlock!(Cursors::default(), "btrfs-space-cursors"),
            changed <- new_condvar!("btrfs-space-changed"),
            turn <- new_rwsem!((), "btrfs-space-turn"),
            climbing: Atomic::new(0),
        })
    }

    /// The counters as they are now.
    pub(crate) fn counters(&self) -> Counters {
        *self.counters.lock()
    }

    /// Runs `f` on the counters, under their spinlock.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut Counters) -> R) -> R {
        f(&mut self.counters.lock())
    }

    /// Waits for the turn to make room. `EINTR` when killed.
    pub(super) fn take_turn(&self) -> Result<Turn<'_>> {
        self.climbing.fetch_add(1, Relaxed);
        let guard = self.turn.write_killable().inspect_err(|_| {
            let _ = self.climbing.fetch_sub(1, Relaxed);
        })?;
        Ok(Turn {
            info: self,
            _guard: guard,
        })
    }

    /// Whether somebody makes room, so that others have to wait.
    pub(super) fn is_climbed(&self) -> bool {
        self.climbing.load(Relaxed) > 0
    }

    /// Wakes those who wait for room.
    pub(super) fn wake(&self) {
        self.changed.notify_all();
    }

    /// Sleeps until something changes, for at most `jiffies`; returns at once if `ready`.
    ///
    /// `EINTR` if a signal is pending that would kill.
    pub(super) fn wait(&self, jiffies: u64, ready: impl Fn(&Counters) -> bool) -> Result {
        let mut counters = self.counters.lock();
        if !ready(&counters) {
            let jiffies = usize::try_from(jiffies).unwrap_or(usize::MAX);
            let _ = self
                .changed
                .wait_interruptible_timeout(&mut counters, jiffies);
        }
        drop(counters);
        if kfs::task::is_killed() {
            return Err(EINTR);
        }
        Ok(())
    }
}

/// A transaction that a group of this number was there before.
pub(super) const FROM_THE_START: Generation = Generation(0);
