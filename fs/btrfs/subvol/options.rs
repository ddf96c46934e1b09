// SPDX-License-Identifier: GPL-2.0

//! The mount options of subvolumes.
//!
//! A mount states those of the subvolume it shows. A subvolume of which no mount stated any has those
//! of the subvolume that it hangs in, and so on upwards. What a subvolume has is kept in its
//! [`Subvol`], so that writeback need not look for it; whoever changes what follows from it ([`state`],
//! or moving a subvolume) calls [`settle`].
//!
//! [`state`]: SubvolTable::state_options
//! [`settle`]: SubvolTable::settle_options

use btrfs_format::key::{item, Key};
use btrfs_format::types::TreeId;
use kernel::prelude::*;
use kernel::sync::Arc;

use super::path::MAX_STEPS;
use super::{Subvol, SubvolTable};
use crate::mount::data_options::DataOptions;

/// The options of a subvolume.
#[derive(Clone, Copy)]
pub(super) struct Stated {
    options: DataOptions,
    /// A mount stated them; else they are those of another subvolume.
    own: bool,
}

impl Stated {
    /// Nothing was stated.
    pub(super) const NOTHING: Self = Self {
        options: DataOptions::PLAIN,
        own: false,
    };
}

impl Subvol {
    /// How what is new in its files is written.
    pub(crate) fn data_options(&self) -> DataOptions {
        self.stated.lock().options
    }

    /// Those that a mount stated, if one did.
    pub(crate) fn own_options(&self) -> Option<DataOptions> {
        let stated = *self.stated.lock();
        stated.own.then_some(stated.options)
    }

    fn set_own(&self, options: DataOptions) {
        *self.stated.lock() = Stated { options, own: true };
    }

    /// Takes over the options of another subvolume, unless a mount stated any.
    pub(super) fn inherit(&self, options: DataOptions) {
        let mut stated = self.stated.lock();
        if !stated.own {
            stated.options = options;
        }
    }
}

impl SubvolTable {
    /// A mount states the options of `subvol`.
    pub(crate) fn state_options(&self, subvol: &Subvol, options: DataOptions) -> Result {
        subvol.set_own(options);
        self.settle_options()
    }

    /// Passes the options of subvolumes on to those that have none of their own, after the
    /// options of one, or its place, changed.
    pub(crate) fn settle_options(&self) -> Result {
        // What is found out later wins.
        let _order = self.settling.lock();
        let mut inheriting = KVec::new();
        for subvol in self.open.lock().values() {
            if subvol.own_options().is_none() {
                inheriting.push(subvol.clone(), GFP_KERNEL)?;
            }
        }
        for subvol in inheriting.iter() {
            subvol.inherit(self.options_above(subvol.id()));
        }
        Ok(())
    }

    /// The options of the nearest subvolume above `id` that has any of its own. Where the way up is
    /// not known, there are none.
    pub(super) fn options_above(&self, mut id: TreeId) -> DataOptions {
        for _ in 0..MAX_STEPS {
            let Ok(Some(parent)) = self.parent(id) else {
                break;
            };
            let known: Option<Arc<Subvol>> = self.open.lock().get(&parent.get()).cloned();
            if let Some(options) = known.and_then(|subvol| subvol.own_options()) {
                return options;
            }
            id = parent;
        }
        DataOptions::PLAIN
    }

    /// The subvolume that `id` hangs in; `None` if there is none.
    fn parent(&self, id: TreeId) -> Result<Option<TreeId>> {
        let end = Key::new(id.get(), item::ROOT_BACKREF, u64::MAX);
        let key = self.roots.tree().seek_at_or_before(end)?.key();
        let found = key.filter(|key| key.objectid == id.get() && key.item_type == end.item_type);
        Ok(found.map(|key| TreeId(key.offset)))
    }
}
