// SPDX-License-Identifier: GPL-2.0

//! All block groups, by address.

use kernel::prelude::*;
use kernel::sync::Arc;
use kfs::mem::GFP_NOFAIL;

use super::group::BlockGroup;

/// Block groups in order of addresses; replaced as a whole when there is one more or less.
pub(crate) struct GroupTable {
    groups: KVVec<Arc<BlockGroup>>,
}

impl GroupTable {
    /// A table of `groups`, which are disjoint.
    pub(super) fn new(mut groups: KVVec<Arc<BlockGroup>>) -> Result<Arc<Self>> {
        groups.sort_unstable_by_key(|group| group.start());
        Ok(Arc::new(Self { groups }, GFP_NOFAIL)?)
    }

    /// The same with one group more.
    pub(super) fn with(&self, group: &Arc<BlockGroup>) -> Result<Arc<Self>> {
        let mut groups = KVVec::with_capacity(self.groups.len() + 1, GFP_NOFAIL)?;
        for old in self.groups.iter() {
            groups.push(old.clone(), GFP_NOFAIL)?;
        }
        groups.push(group.clone(), GFP_NOFAIL)?;
        Self::new(groups)
    }

    /// The same without the group at `start`.
    pub(super) fn without(&self, start: u64) -> Result<Arc<Self>> {
        let mut groups = KVVec::with_capacity(self.groups.len(), GFP_NOFAIL)?;
        let rest = self.groups.iter().filter(|g| g.start().get() != start);
        for old in rest {
            groups.push(old.clone(), GFP_NOFAIL)?;
        }
        Self::new(groups)
    }

    /// The group that holds an address.
    pub(crate) fn get(&self, at: u64) -> Option<&Arc<BlockGroup>> {
        let behind = self.groups.partition_point(|g| g.start().get() <= at);
        let group = self.groups.get(behind.checked_sub(1)?)?;
        (at < group.end()).then_some(group)
    }

    /// All groups.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<BlockGroup>> {
        self.groups.iter()
    }
}
