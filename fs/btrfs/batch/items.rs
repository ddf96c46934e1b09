// SPDX-License-Identifier: GPL-2.0

//! Items of one tree as the books see them: the tree, with the edits of the running commit on top.

use crate::error::Result;
use btrfs_format::Key;

/// The items of a tree, ordered by key.
///
/// What was put is found again at once, before any block is written. Data that is returned is
/// borrowed from the implementation until its next call.
pub trait Items {
    /// The item of exactly that key.
    fn get(&mut self, key: &Key) -> Result<Option<&[u8]>>;

    /// The first item whose key is `key` or above.
    fn at_or_after(&mut self, key: &Key) -> Result<Option<(Key, &[u8])>>;

    /// The last item whose key is `key` or below.
    fn at_or_before(&mut self, key: &Key) -> Result<Option<(Key, &[u8])>>;

    /// Adds an item, or replaces the data of the one that is there.
    fn put(&mut self, key: Key, data: &[u8]) -> Result;

    /// Removes an item. Nothing happens if there is none.
    fn delete(&mut self, key: Key) -> Result;
}

/// A tree without blocks, for tests on the host.
#[cfg(not(CONFIG_RUST))]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ItemMap(pub std::collections::BTreeMap<Key, std::vec::Vec<u8>>);

#[cfg(not(CONFIG_RUST))]
impl Items for ItemMap {
    fn get(&mut self, key: &Key) -> Result<Option<&[u8]>> {
        Ok(self.0.get(key).map(|data| data.as_slice()))
    }

    fn at_or_after(&mut self, key: &Key) -> Result<Option<(Key, &[u8])>> {
        let found = self.0.range(key..).next();
        Ok(found.map(|(key, data)| (*key, data.as_slice())))
    }

    fn at_or_before(&mut self, key: &Key) -> Result<Option<(Key, &[u8])>> {
        let found = self.0.range(..=key).next_back();
        Ok(found.map(|(key, data)| (*key, data.as_slice())))
    }

    fn put(&mut self, key: Key, data: &[u8]) -> Result {
        self.0.insert(key, data.to_vec());
        Ok(())
    }

    fn delete(&mut self, key: Key) -> Result {
        self.0.remove(&key);
        Ok(())
    }
}
