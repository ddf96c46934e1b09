// SPDX-License-Identifier: GPL-2.0

//! The changes of a frozen overlay, in order, for the commit.

use btrfs_batch::Change;
use btrfs_format::key::Key;
use core::ops::RangeInclusive;
use kernel::prelude::*;
use kfs::mem::GFP_NOFAIL;

use super::item::Edit;
use super::list::Overlay;
use super::shard::Direction;

/// All changes of an overlay. Shares the items with it.
pub(crate) struct Collected {
    /// What becomes of single keys, with rising keys. What is put is put after the clearing.
    pub(crate) edits: KVVec<(Key, Edit)>,
    /// Ranges of which nothing stays that older transactions put there: rising and disjoint.
    pub(crate) clears: KVVec<RangeInclusive<Key>>,
}

impl Collected {
    /// The edits in the form that a batch takes. Fails with `ENOMEM`.
    pub(crate) fn changes(&self) -> Result<KVVec<Change<'_>>> {
        let mut changes = KVVec::with_capacity(self.edits.len(), GFP_NOFAIL)?;
        for (key, edit) in &self.edits {
            let edit = match edit {
                Edit::Put(item) => btrfs_batch::Edit::Put(item),
                Edit::Renew(item) => btrfs_batch::Edit::Renew(item),
                Edit::Delete => btrfs_batch::Edit::Delete,
            };
            changes.push(Change { key: *key, edit }, GFP_NOFAIL)?;
        }
        Ok(changes)
    }
}

impl Overlay {
    /// All changes. Only for an overlay that nobody changes any more. Fails with `ENOMEM`.
    #[inline(never)]
    pub(crate) fn collect(&self) -> Result<Collected> {
        let mut all = Collected {
            edits: KVVec::new(),
            clears: KVVec::new(),
        };
        let mut next = Some(0);
        while let Some((objectid, shard)) = next.and_then(|at| self.beside(at, Direction::Up)) {
            let (edits, clears) = shard.count();
            all.edits.reserve(edits, GFP_NOFAIL)?;
            all.clears.reserve(clears, GFP_NOFAIL)?;
            shard.for_each(
                |key, edit| {
                    let entry = (key.with(objectid), edit.clone());
                    Ok(all.edits.push(entry, GFP_NOFAIL)?)
                },
                |first, last| {
                    let range = first.with(objectid)..=last.with(objectid);
                    Ok(all.clears.push(range, GFP_NOFAIL)?)
                },
            )?;
            next = objectid.checked_add(1);
            kfs::task::cond_resched();
        }
        Ok(all)
    }
}
