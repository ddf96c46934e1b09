// SPDX-License-Identifier: GPL-2.0

//! A bookkeeping tree as those who change it see it.

use btrfs_batch::items::Items;
use btrfs_format::key::Key;

use super::blocks::Blocks;
use super::pending::Pending;

/// A tree with the blocks to look it up in.
pub(super) struct Look<'a> {
    pub(super) blocks: &'a Blocks,
    pub(super) tree: &'a mut Pending,
}

impl Items for Look<'_> {
    fn get(&mut self, key: &Key) -> btrfs_batch::Result<Option<&[u8]>> {
        Ok(self.tree.get(self.blocks, key)?)
    }

    fn at_or_after(&mut self, key: &Key) -> btrfs_batch::Result<Option<(Key, &[u8])>> {
        Ok(self.tree.at_or_after(self.blocks, key)?)
    }

    fn at_or_before(&mut self, key: &Key) -> btrfs_batch::Result<Option<(Key, &[u8])>> {
        Ok(self.tree.at_or_before(self.blocks, key)?)
    }

    fn put(&mut self, key: Key, data: &[u8]) -> btrfs_batch::Result {
        Ok(self.tree.put(key, data)?)
    }

    fn delete(&mut self, key: Key) -> btrfs_batch::Result {
        Ok(self.tree.delete(key)?)
    }
}
