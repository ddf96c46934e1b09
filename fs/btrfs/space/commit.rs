// SPDX-License-Identifier: GPL-2.0

//! What a commit does to block groups, and what follows it.

use btrfs_format::profile::BlockGroupFlags;
use btrfs_format::types::Logical;
use kernel::prelude::*;
use kernel::sync::{atomic::ordering::Relaxed, Arc};
use kfs::mem::GFP_NOFAIL;

use super::extent_map::Refused;
use super::group::{BlockGroup, Inner, Loaded};
use super::info::{Info, Kind};
use super::reserve::MetaReservation;
use super::Space;

/// What the item of a block group should say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct GroupUse {
    /// First address.
    pub(crate) start: Logical,
    /// Length in bytes.
    pub(crate) len: u64,
    /// Types and profile.
    pub(crate) flags: BlockGroupFlags,
    /// Bytes in use.
    pub(crate) used: u64,
}

impl Space {
    /// The commit of the frozen transaction begins to allocate tree blocks, and pays for them with
    /// `reservation`, and then with the global reserve.
    pub(crate) fn begin_commit(&self, reservation: MetaReservation) {
        let bytes = reservation.into_bytes();
        if let Ok(info) = self.info(Kind::Metadata) {
            info.with(|counters| counters.commit = counters.commit.saturating_add(bytes));
        }
    }

    /// It has allocated all that it needs. What it did not need is free for others.
    pub(crate) fn end_commit(&self) {
        self.committing.store(0, Relaxed);
        if let Ok(info) = self.info(Kind::Metadata) {
            info.with(|counters| {
                let left = core::mem::take(&mut counters.commit);
                counters.give_back(left);
                counters.refill();
            });
            info.wake();
        }
    }

    /// Takes over what the extent tree gained and lost, start and length of each extent. May be
    /// called several times in a commit.
    ///
    /// What was added is used from now on; what was removed is pinned until [`Self::unpin`].
    /// Returns the block groups whose use changed. `EUCLEAN` if more is removed from a group than
    /// is used, which only a damaged extent tree can cause.
    pub(crate) fn commit_changes(
        &self,
        added: impl Iterator<Item = (Logical, u64)>,
        removed: impl Iterator<Item = (Logical, u64)>,
    ) -> Result<KVVec<GroupUse>> {
        let mut changed: KVVec<Arc<BlockGroup>> = KVVec::new();
        let mut note = |group: Arc<BlockGroup>| -> Result {
            let at = changed.binary_search_by_key(&group.start(), |group| group.start());
            if let Err(at) = at {
                changed.reserve(1, GFP_NOFAIL)?;
                let _ = changed.insert_within_capacity(at, group);
            }
            Ok(())
        };
        for (start, len) in added {
            let (info, group) = self.group_of(start, len).ok_or(EUCLEAN)?;
            self.load_group(&group)?;
            group.with(|inner| add_used(&info, &group, inner, len))?;
            note(group)?;
        }
        for (start, len) in removed {
            let (info, group) = self.group_of(start, len).ok_or(EUCLEAN)?;
            self.load_group(&group)?;
            group.with(|inner| pin_used(&info, &group, inner, len))?;
            note(group)?;
        }
        let mut uses = KVVec::with_capacity(changed.len(), GFP_NOFAIL)?;
        for group in changed.iter() {
            uses.push(use_of(group), GFP_NOFAIL)?;
        }
        Ok(uses)
    }

    /// What was allocated and written, and then not referred to by the commit that could have:
    /// is pinned, because there may be readers.
    pub(crate) fn pin_reserved(&self, start: Logical, len: u64) {
        let Some((info, group)) = self.group_of(start, len) else {
            return;
        };
        group.with(|inner| {
            inner.reserved = inner.reserved.saturating_sub(len);
            inner.pinned = inner.pinned.saturating_add(len);
            info.with(|counters| {
                counters.change_reserved(group.profile(), 0, len);
                counters.pinned = counters.pinned.saturating_add(len);
            });
        });
    }

    /// Frees what commits pinned: their superblocks are durable, and nobody reads the states
    /// before them any more. Neighbours had better be neighbours in `ranges`.
    ///
    /// With `discard=sync`, discards it first; with `discard=async`, notes it.
    pub(crate) fn unpin(&self, ranges: impl Iterator<Item = (Logical, u64)>) {
        let mut run: Option<(Logical, u64)> = None;
        for (start, len) in ranges {
            match &mut run {
                Some((first, sum)) if first.checked_add(*sum) == Some(start) => {
                    *sum = sum.saturating_add(len);
                }
                _ => {
                    if let Some((start, len)) = run.replace((start, len)) {
                        self.unpin_run(start, len);
                    }
                }
            }
        }
        if let Some((start, len)) = run {
            self.unpin_run(start, len);
        }
        for info in self.infos.iter() {
            info.with(|counters| counters.refill());
            info.wake();
        }
    }

    /// Frees a range that may reach over several groups.
    fn unpin_run(&self, start: Logical, len: u64) {
        let (mut at, end) = (start.get(), start.get().saturating_add(len));
        while at < end {
            let found = self.table.with(|table| table.get(at).cloned());
            let Some(group) = found.flatten() else {
                return;
            };
            let len = group.end().min(end).saturating_sub(at);
            self.discard_freed(Logical(at), len);
            self.unpin_range(Logical(at), len);
            self.note_discardable(&group, at, len);
            at = group.end();
        }
    }

    /// Frees a pinned range of one group.
    pub(super) fn unpin_range(&self, start: Logical, len: u64) {
        let Some((info, group)) = self.group_of(start, len) else {
            return;
        };
        group.with_room(|inner| {
            inner.pinned = inner.pinned.saturating_sub(len);
            info.with(|counters| counters.pinned = counters.pinned.saturating_sub(len));
            self.free_in(&info, &group, inner, start.get(), len);
        });
    }

    /// Block groups with what their items should say, in order of addresses.
    pub(crate) fn groups_used(&self) -> Result<KVVec<GroupUse>> {
        let table = self.table()?;
        let mut uses = KVVec::new();
        for group in table.iter() {
            uses.push(use_of(group), GFP_NOFAIL)?;
        }
        Ok(uses)
    }

    /// Puts a range, which is in no other state any more, among the free ones.
    pub(super) fn free_in(
        &self,
        info: &Info,
        group: &BlockGroup,
        inner: &mut Inner,
        start: u64,
        len: u64,
    ) {
        let freed = match inner.loaded {
            Loaded::Yes => inner.map.insert(start, len),
            // Found when it is loaded.
            Loaded::No => Ok(()),
            Loaded::Failed => Err(Refused::State),
        };
        if inner.read_only > 0 {
            info.with(|counters| counters.read_only = counters.read_only.saturating_add(len));
        }
        if freed.is_ok() {
            return;
        }
        inner.lost = inner.lost.saturating_add(len);
        if inner.read_only == 0 {
            info.with(|counters| counters.read_only = counters.read_only.saturating_add(len));
        }
        if freed == Err(Refused::State) && inner.loaded == Loaded::Yes {
            self.volume.log().error_limited(format_args!(
                "space of block group {} freed twice: start={start} len={len}",
                group.start()
            ));
        }
    }
}

fn use_of(group: &BlockGroup) -> GroupUse {
    GroupUse {
        start: group.start(),
        len: group.len(),
        flags: group.flags(),
        used: group.used(),
    }
}

fn add_used(info: &Info, group: &BlockGroup, inner: &mut Inner, len: u64) -> Result {
    inner.reserved = inner.reserved.checked_sub(len).ok_or(EUCLEAN)?;
    inner.used = inner.used.saturating_add(len);
    let read_only = inner.read_only > 0;
    info.with(|counters| {
        counters.change_reserved(group.profile(), 0, len);
        counters.change_used(group.profile(), len, 0, read_only);
    });
    Ok(())
}

fn pin_used(info: &Info, group: &BlockGroup, inner: &mut Inner, len: u64) -> Result {
    inner.used = inner.used.checked_sub(len).ok_or(EUCLEAN)?;
    inner.pinned = inner.pinned.saturating_add(len);
    let read_only = inner.read_only > 0;
    info.with(|counters| {
        counters.change_used(group.profile(), 0, len, read_only);
        counters.pinned = counters.pinned.saturating_add(len);
    });
    Ok(())
}
