// SPDX-License-Identifier: GPL-2.0

//! A block group in memory.
//!
//! Free space is read when a group is first needed, from the committed trees. That is sound
//! because nothing changes in a group before: whoever allocates in one, frees or commits a
//! change to it, calls [`BlockGroup::load`] first, so that until then every committed state since
//! the mount has the same.
//!
//! A group whose free space cannot be read is *failed*: nothing is allocated from it, and what is
//! freed in it is counted but not found again before the next mount.

use btrfs_format::profile::{BlockGroupFlags, RaidProfile};
use btrfs_format::types::{Generation, Logical};
use kernel::prelude::*;
use kernel::sync::atomic::{ordering::Relaxed, Atomic};
use kernel::sync::{new_mutex, Mutex};

use super::extent_map::{Extent, ExtentMap};
use super::summary;

/// Whether the free space is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Loaded {
    /// Not yet.
    No,
    /// It is.
    Yes,
    /// It could not be read.
    Failed,
}

/// What changes. Bytes.
pub(super) struct Inner {
    pub(super) map: ExtentMap,
    pub(super) used: u64,
    pub(super) reserved: u64,
    pub(super) pinned: u64,
    /// Free, but not in the map.
    pub(super) lost: u64,
    /// For how many reasons nothing is allocated from it.
    pub(super) read_only: u32,
    /// One of these is that a device it needs cannot be written, or that it lacks mirrors.
    pub(super) retired: bool,
    pub(super) loaded: Loaded,
}

/// A block group.
#[pin_data]
pub(crate) struct BlockGroup {
    start: Logical,
    len: u64,
    flags: BlockGroupFlags,
    /// Where copies of the superblock are.
    excluded: KVec<Extent>,
    /// The transaction that made it, or 0.
    born: Generation,
    /// Serialises loading.
    #[pin]
    pub(super) loading: Mutex<()>,
    #[pin]
    inner: Mutex<Inner>,
    /// The longest free range, to choose groups by without their lock. As long as the group is
    /// not loaded, all that is free. 0 if nothing may be allocated.
    longest: Atomic<u64>,
    /// Free bytes, likewise.
    free: Atomic<u64>,
}

/// What a group is made of.
pub(super) struct Parts {
    pub(super) start: Logical,
    pub(super) len: u64,
    pub(super) used: u64,
    pub(super) flags: BlockGroupFlags,
    pub(super) excluded: KVec<Extent>,
    pub(super) retired: bool,
    pub(super) born: Generation,
}

impl BlockGroup {
    /// A group whose free space is not known yet.
    pub(super) fn new(parts: Parts) -> impl PinInit<Self> {
        let Parts {
            start,
            len,
            used,
            flags,
            excluded,
            retired,
            born,
        } = parts;
        let inner = Inner {
            map: ExtentMap::new(),
            used,
            reserved: 0,
            pinned: 0,
            lost: 0,
            read_only: u32::from(retired),
            retired,
            loaded: Loaded::No,
        };
        let sum = excluded
            .iter()
            .fold(0u64, |sum, e| sum.saturating_add(e.len));
        let free = match inner.read_only {
            0 => len.saturating_sub(used).saturating_sub(sum),
            _ => 0,
        };
        pin_init!(Self {
            start,
            len,
            flags,
            excluded,
            born,
            loading <- new_mutex!((), "btrfs-group-loading"),
            inner <- new_mutex!(inner, "btrfs-group"),
            longest: Atomic::new(free),
            free: Atomic::new(free),
        })
    }

    /// First address.
    pub(crate) fn start(&self) -> Logical {
        self.start
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The address behind it.
    pub(crate) fn end(&self) -> u64 {
        self.start.get().saturating_add(self.len)
    }

    /// Types and profile.
    pub(crate) fn flags(&self) -> BlockGroupFlags {
        self.flags
    }

    /// How it is spread over devices.
    pub(crate) fn profile(&self) -> RaidProfile {
        self.flags.profile().unwrap_or(RaidProfile::Single)
    }

    /// The transaction that made it; 0 if it was there when the file system was opened.
    pub(crate) fn born(&self) -> Generation {
        self.born
    }

    /// Where copies of the superblock are.
    pub(super) fn excluded(&self) -> &[Extent] {
        &self.excluded
    }

    /// Bytes that copies of the superblock take.
    pub(super) fn super_bytes(&self) -> u64 {
        let lens = self.excluded.iter().map(|e| e.len);
        lens.fold(0, u64::saturating_add)
    }

    /// Whether it holds the `len` bytes from `start` on.
    pub(super) fn contains(&self, start: u64, len: u64) -> bool {
        start >= self.start.get() && start.checked_add(len).is_some_and(|end| end <= self.end())
    }

    /// Bytes that the extent tree has of it.
    pub(crate) fn used(&self) -> u64 {
        self.inner.lock().used
    }

    /// The longest range that may be free, by which groups are chosen.
    pub(super) fn longest(&self) -> u64 {
        self.longest.load(Relaxed)
    }

    /// Bytes that may be free, by which groups are chosen.
    pub(super) fn free_hint(&self) -> u64 {
        self.free.load(Relaxed)
    }

    /// The group as sums see it. `unwritable`: a device that it needs cannot be written.
    pub(super) fn facts(&self, unwritable: bool) -> summary::BlockGroup {
        summary::BlockGroup {
            start: self.start,
            length: self.len,
            used: self.used(),
            flags: self.flags,
            reserved: self.super_bytes(),
            unwritable,
        }
    }

    /// Runs `f` on what changes, under the mutex. `f` must not sleep.
    pub(super) fn with<R>(&self, f: impl FnOnce(&mut Inner) -> R) -> R {
        let mut inner = self.inner.lock();
        let result = f(&mut inner);
        self.publish(&inner);
        result
    }

    /// As [`Self::with`], for one change of the map, with memory for it if there is any.
    pub(super) fn with_room<R>(&self, f: impl FnOnce(&mut Inner) -> R) -> R {
        let mut inner = self.inner.lock();
        let mut unused = None;
        if let Some(size) = inner.map.wants_room() {
            drop(inner);
            let room = ExtentMap::room(size);
            inner = self.inner.lock();
            unused = room.ok().map(|room| inner.map.put_room(room));
        }
        let result = f(&mut inner);
        self.publish(&inner);
        drop(inner);
        drop(unused);
        result
    }

    fn publish(&self, inner: &Inner) {
        let (longest, free) = match (inner.read_only, inner.loaded) {
            (0, Loaded::Yes) => (inner.map.longest_len(), inner.map.free()),
            (0, Loaded::No) => {
                let free = self.unused(inner);
                (free, free)
            }
            _ => (0, 0),
        };
        self.longest.store(longest, Relaxed);
        self.free.store(free, Relaxed);
    }

    /// Bytes that are neither allocated nor pinned nor taken by superblocks.
    pub(super) fn unused(&self, inner: &Inner) -> u64 {
        let taken = inner.used.saturating_add(inner.reserved);
        let taken = taken.saturating_add(inner.pinned);
        let taken = taken.saturating_add(inner.lost);
        self.len
            .saturating_sub(taken)
            .saturating_sub(self.super_bytes())
    }
}
