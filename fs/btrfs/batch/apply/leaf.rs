// SPDX-License-Identifier: GPL-2.0

//! Compares a leaf with its share of the batch.

use super::stream::{leaf_weight, Origin, Place, Seg, Stream};
use super::{broken, Apply};
use crate::error::Result;
use crate::store::{BlockPtr, Edit, Store};
use btrfs_format::leaf::{Item, Leaf};
use btrfs_format::Key;
use core::ops::Range;

/// A leaf while it is compared.
struct Merge<'a> {
    leaf: Leaf<'a>,
    bytes: &'a [u8],
    work: bool,
    /// Whether a change was met for which the leaf is copied; it is announced then.
    changed: bool,
    /// The first cleared range that does not end before the items at hand.
    clear: usize,
    /// What is left of the leaf and comes to it.
    stream: Stream,
}

impl<S: Store> Apply<'_, S> {
    /// Applies the batch to the leaf at `slot` of the frame at level 1: if something changes, the
    /// leaf joins the frame's run.
    pub(super) fn leaf(&mut self, slot: usize, ptr: &BlockPtr, upper: Option<Key>) -> Result {
        let source = self.read(ptr)?;
        let mut stream = core::mem::take(&mut self.scratch);
        stream.clear();
        let mut merge = Merge {
            leaf: Leaf::new(&source.block),
            bytes: &source.block,
            work: source.work,
            changed: false,
            clear: self.clear,
            stream,
        };
        self.merge(&mut merge, upper)?;
        let (changed, stream) = (merge.changed, merge.stream);
        if changed {
            self.join(1, slot, Some((source, &stream)))?;
        }
        self.scratch = stream;
        Ok(())
    }

    /// Merges all changes below `upper` into a leaf.
    fn merge(&mut self, merge: &mut Merge<'_>, upper: Option<Key>) -> Result {
        let mut slot = 0;
        while let Some(change) = self.changes.get(self.change).copied() {
            if upper.is_some_and(|upper| change.key >= upper) {
                break;
            }
            let at = gallop(merge.leaf.items(), slot, &change.key);
            self.keep(merge, slot..at)?;
            slot = at;
            let index = self.change;
            self.change += 1;

            let old = match merge.leaf.key(at) {
                Some(key) if key == change.key => {
                    slot += 1;
                    Some(merge.leaf.item(at).ok_or(broken())?)
                }
                _ => None,
            };
            let new = change.edit.data();
            if old == new {
                if old.is_some() {
                    if matches!(change.edit, Edit::Renew(_)) {
                        self.touch(merge)?;
                    }
                    merge.keep(at..slot)?;
                }
                continue;
            }
            self.report(merge, &change.key, old, new)?;
            if let Some(new) = new {
                merge.take(index, &change.key, old, new, at)?;
            }
        }
        let count = merge.leaf.nritems();
        self.keep(merge, slot..count)
    }

    /// Keeps the items of `slots`, those aside that are cleared.
    fn keep(&mut self, merge: &mut Merge<'_>, slots: Range<usize>) -> Result {
        let Range { mut start, end } = slots;
        while start < end {
            let Some(clear) = self.clears.get(merge.clear) else {
                break;
            };
            let first = lower_bound(merge.leaf.items(), start..end, clear.start());
            let last = match clear.end().next() {
                Some(next) => lower_bound(merge.leaf.items(), first..end, &next),
                None => end,
            };
            merge.keep(start..first)?;
            for slot in first..last {
                let (key, data) = merge.leaf.entry(slot).ok_or(broken())?;
                self.report(merge, &key, Some(data), None)?;
            }
            start = last;
            if last == end {
                // The range may go on behind.
                break;
            }
            merge.clear += 1;
        }
        merge.keep(start..end)
    }

    /// Announces a leaf and its ancestors, before the first thing in it that changes.
    fn touch(&mut self, merge: &mut Merge<'_>) -> Result {
        if merge.changed {
            return Ok(());
        }
        merge.changed = true;
        self.announce(1)?;
        if !merge.work {
            self.store.copied(self.tree, merge.bytes, self.top == 1)?;
        }
        Ok(())
    }

    /// Reports an item that changes, after the leaf has been announced.
    fn report(
        &mut self,
        merge: &mut Merge<'_>,
        key: &Key,
        old: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> Result {
        self.touch(merge)?;
        self.store.item(self.tree, key, old, new)
    }
}

impl Merge<'_> {
    /// Keeps items as they are.
    fn keep(&mut self, slots: Range<usize>) -> Result {
        let weight = leaf_weight(&self.leaf, &slots)?;
        let seg = Seg {
            origin: Origin::Old(0),
            from: slots.start,
            to: slots.end,
        };
        self.stream.push(seg, weight)
    }

    /// Takes an entry of the batch, instead of the item at `slot` or before it.
    fn take(
        &mut self,
        index: usize,
        key: &Key,
        old: Option<&[u8]>,
        new: &[u8],
        slot: usize,
    ) -> Result {
        let start = self.stream.weight;
        let seg = Seg {
            origin: Origin::New,
            from: index,
            to: index + 1,
        };
        self.stream.push(seg, Item::SIZE + new.len())?;
        if old.is_none_or(|old| old.len() < new.len()) {
            let behind = slot + usize::from(old.is_some());
            self.stream.growth.add(Place {
                start,
                end: self.stream.weight,
                first: *key,
                last: *key,
                before: slot.checked_sub(1).and_then(|slot| self.leaf.key(slot)),
                behind: self.leaf.key(behind),
            });
        }
        Ok(())
    }
}

/// The first slot from `from` on whose key is not below `key`; near ones are found faster.
fn gallop(items: &[Item], from: usize, key: &Key) -> usize {
    let mut step = 1;
    let mut low = from;
    loop {
        let probe = low + step - 1;
        match items.get(probe) {
            Some(item) if item.key.get() < *key => {
                low = probe + 1;
                step *= 2;
            }
            _ => return lower_bound(items, low..probe.min(items.len()), key),
        }
    }
}

/// The first of `slots` whose key is not below `key`, or their end.
fn lower_bound(items: &[Item], slots: Range<usize>, key: &Key) -> usize {
    let start = slots.start;
    let items = items.get(slots).unwrap_or(&[]);
    start + items.partition_point(|item| item.key.get() < *key)
}
