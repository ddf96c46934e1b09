// SPDX-License-Identifier: GPL-2.0

//! The changes of one objectid.

use btrfs_format::key::Key;
use core::ops::RangeInclusive;
use kernel::prelude::*;
use kernel::rbtree::{RBTree, RBTreeNode, RBTreeNodeReservation};
use kernel::sync::{new_mutex, Arc, Mutex};
use kfs::mem::GFP_NOFAIL;

use super::item::{Edit, ItemBuf};

/// A key without its objectid.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::tree) struct SubKey {
    pub(in crate::tree) item_type: u8,
    pub(in crate::tree) offset: u64,
}

impl SubKey {
    pub(in crate::tree) const MIN: Self = Self {
        item_type: 0,
        offset: 0,
    };
    pub(in crate::tree) const MAX: Self = Self {
        item_type: u8::MAX,
        offset: u64::MAX,
    };

    /// That of `key`.
    pub(in crate::tree) fn of(key: &Key) -> Self {
        Self {
            item_type: key.item_type,
            offset: key.offset,
        }
    }

    /// The key with this objectid.
    pub(in crate::tree) fn with(self, objectid: u64) -> Key {
        Key::new(objectid, self.item_type, self.offset)
    }

    fn next(self) -> Option<Self> {
        match (self.offset.checked_add(1), self.item_type.checked_add(1)) {
            (Some(offset), _) => Some(Self { offset, ..self }),
            (None, Some(item_type)) => Some(Self {
                item_type,
                offset: 0,
            }),
            (None, None) => None,
        }
    }

    fn prev(self) -> Option<Self> {
        match (self.offset.checked_sub(1), self.item_type.checked_sub(1)) {
            (Some(offset), _) => Some(Self { offset, ..self }),
            (None, Some(item_type)) => Some(Self {
                item_type,
                offset: u64::MAX,
            }),
            (None, None) => None,
        }
    }
}

/// What a stage says of a key.
#[derive(Clone)]
pub(in crate::tree) enum What {
    /// There is this item.
    Item(ItemBuf),
    /// There is none.
    Gone,
    /// Whatever the older stages say.
    Unknown,
}

/// What a stage says of a key and of its neighbours on one side.
pub(in crate::tree) struct Probe<K> {
    pub(in crate::tree) what: What,
    /// The last key, in the direction of the search, for which the same holds.
    pub(in crate::tree) edge: K,
}

/// Which way a search goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::tree) enum Direction {
    Up,
    Down,
}

/// All changes of one objectid.
#[pin_data]
pub(in crate::tree) struct Shard {
    #[pin]
    content: Mutex<Content>,
}

/// See the module above for the invariants.
struct Content {
    /// The objectid is new in this transaction: older stages have nothing of it.
    complete: bool,
    edits: RBTree<SubKey, Edit>,
    /// First and last key of ranges in which older stages count for nothing.
    cleared: RBTree<SubKey, SubKey>,
}

/// Memory of an edit, without its data.
const EDIT_SIZE: usize = size_of::<(SubKey, Edit)>() + 3 * size_of::<usize>();

/// Memory for one edit, taken before the shard is locked.
pub(super) type EditNode = RBTreeNode<SubKey, Edit>;

impl Shard {
    pub(super) fn new() -> Result<Arc<Self>> {
        let init = pin_init!(Self {
            content <- new_mutex!(
                Content {
                    complete: false,
                    edits: RBTree::new(),
                    cleared: RBTree::new(),
                },
                "btrfs-overlay-shard"
            ),
        });
        Arc::pin_init(init, GFP_NOFAIL)
    }

    /// What the shard says of a key.
    pub(in crate::tree) fn find(&self, key: SubKey) -> What {
        let content = self.content.lock();
        match content.edits.get(&key) {
            Some(edit) => said(edit),
            None if content.hides(key) => What::Gone,
            None => What::Unknown,
        }
    }

    /// What the shard says of a key, and how far in `direction` it says the same.
    pub(super) fn probe(&self, key: SubKey, direction: Direction) -> Probe<SubKey> {
        let content = self.content.lock();
        match direction {
            Direction::Up => content.probe_up(key),
            Direction::Down => content.probe_down(key),
        }
    }

    /// Puts an item; returns by how much the shard grew, in bytes.
    pub(super) fn put(&self, key: SubKey, data: &[u8]) -> Result<isize> {
        let edit = Edit::Put(ItemBuf::new(data)?);
        let size = edit.size();
        let node = RBTreeNode::new(key, edit, GFP_NOFAIL)?;
        let old = self.content.lock().edits.insert(node);
        Ok(grown(size, old))
    }

    /// Renews an item, which older stages have with this data, if the shard says nothing of the key;
    /// returns by how much the shard grew.
    pub(super) fn renew(&self, key: SubKey, data: &[u8]) -> Result<isize> {
        let edit = Edit::Renew(ItemBuf::new(data)?);
        let size = edit.size();
        let node = RBTreeNode::new(key, edit, GFP_NOFAIL)?;
        let mut content = self.content.lock();
        if content.hides(key) || content.edits.get(&key).is_some() {
            return Ok(0);
        }
        let old = content.edits.insert(node);
        Ok(grown(size, old))
    }

    /// Deletes an item, if there is one; returns by how much the shard grew.
    pub(super) fn delete(&self, key: SubKey) -> Result<isize> {
        let node = RBTreeNode::new(key, Edit::Delete, GFP_NOFAIL)?;
        let mut content = self.content.lock();
        if content.hides(key) {
            let old = content.edits.remove_node(&key);
            drop(content);
            return Ok(old.map_or(0, |old| grown(0, Some(old)) - signed(EDIT_SIZE)));
        }
        let old = content.edits.insert(node);
        drop(content);
        Ok(grown(0, old))
    }

    /// Deletes all items of a range; returns by how much the shard grew.
    pub(super) fn clear(&self, range: RangeInclusive<SubKey>) -> Result<isize> {
        let room = RBTreeNodeReservation::new(GFP_NOFAIL)?;
        let mut content = self.content.lock();
        let freed = content.drop_edits(*range.start(), *range.end());
        if !content.complete {
            content.add_cleared(*range.start(), *range.end(), room);
        }
        Ok(-signed(freed))
    }

    /// Notes that older stages have nothing of this objectid. Must be the first change.
    pub(super) fn set_complete(&self) {
        self.content.lock().complete = true;
    }

    /// Gives all changes to `edit` and `clear`, each in the order of the keys.
    pub(super) fn for_each(
        &self,
        mut edit: impl FnMut(SubKey, &Edit) -> Result,
        mut clear: impl FnMut(SubKey, SubKey) -> Result,
    ) -> Result {
        let content = self.content.lock();
        for (first, last) in &content.cleared {
            clear(*first, *last)?;
        }
        for (key, what) in &content.edits {
            edit(*key, what)?;
        }
        Ok(())
    }

    /// Number of edits and of cleared ranges.
    pub(super) fn count(&self) -> (usize, usize) {
        let content = self.content.lock();
        (content.edits.iter().count(), content.cleared.iter().count())
    }
}

impl Content {
    /// Whether older stages count for nothing at `key`.
    fn hides(&self, key: SubKey) -> bool {
        self.complete || self.cleared_around(key).is_some()
    }

    /// The cleared range that `key` is in.
    fn cleared_around(&self, key: SubKey) -> Option<(SubKey, SubKey)> {
        if self.cleared.is_empty() {
            return None;
        }
        at_or_before(&self.cleared, key).filter(|(_, last)| key <= *last)
    }

    fn probe_up(&self, key: SubKey) -> Probe<SubKey> {
        // The edit at `key`, or where the next one is.
        let mut edge = SubKey::MAX;
        if let Some(cursor) = self.edits.cursor_lower_bound(&key) {
            let (at, edit) = cursor.current();
            if *at == key {
                return exactly(key, edit);
            }
            edge = at.prev().unwrap_or(SubKey::MIN);
        }
        self.around(key, |cleared| match cleared {
            Some((_, last)) => edge.min(last),
            None => match self.cleared.cursor_lower_bound(&key) {
                Some(next) => edge.min(next.current().0.prev().unwrap_or(SubKey::MIN)),
                None => edge,
            },
        })
    }

    fn probe_down(&self, key: SubKey) -> Probe<SubKey> {
        let mut edge = SubKey::MIN;
        let beside = match self.edits.cursor_lower_bound(&key) {
            Some(cursor) => {
                let (at, edit) = cursor.current();
                if *at == key {
                    return exactly(key, edit);
                }
                cursor.peek_prev().map(|(at, _)| *at)
            }
            None => self.edits.cursor_back().map(|last| *last.current().0),
        };
        if let Some(at) = beside {
            edge = at.next().unwrap_or(SubKey::MAX);
        }
        self.around(key, |cleared| match cleared {
            Some((first, _)) => edge.max(first),
            None => match at_or_before(&self.cleared, key) {
                Some((_, last)) => edge.max(last.next().unwrap_or(SubKey::MAX)),
                None => edge,
            },
        })
    }

    /// What holds at `key`, where there is no edit; `edge` says how far, given the cleared range
    /// around it.
    fn around(
        &self,
        key: SubKey,
        edge: impl FnOnce(Option<(SubKey, SubKey)>) -> SubKey,
    ) -> Probe<SubKey> {
        let cleared = match self.complete {
            true => Some((SubKey::MIN, SubKey::MAX)),
            false => self.cleared_around(key),
        };
        Probe {
            what: match cleared {
                Some(_) => What::Gone,
                None => What::Unknown,
            },
            edge: edge(cleared),
        }
    }

    /// Removes the edits of a range; returns the bytes they took.
    fn drop_edits(&mut self, first: SubKey, last: SubKey) -> usize {
        let mut freed = 0usize;
        let mut cursor = self.edits.cursor_lower_bound_mut(&first);
        while let Some(here) = cursor {
            let at = *here.current().0;
            // Behind the last edit of a tree the cursor steps back.
            if at < first || at > last {
                break;
            }
            let (next, node) = here.remove_current();
            let (_, edit) = node.to_key_value();
            freed = freed.saturating_add(EDIT_SIZE).saturating_add(edit.size());
            cursor = next;
        }
        freed
    }

    /// Adds a cleared range, and joins it with those it touches.
    fn add_cleared(
        &mut self,
        mut first: SubKey,
        mut last: SubKey,
        room: RBTreeNodeReservation<SubKey, SubKey>,
    ) {
        let touch = first.prev().unwrap_or(SubKey::MIN);
        if let Some((start, end)) = at_or_before(&self.cleared, first) {
            if end >= touch {
                first = start;
                last = last.max(end);
            }
        }
        let mut cursor = self.cleared.cursor_lower_bound_mut(&first);
        while let Some(here) = cursor {
            let (start, end) = here.current();
            let (start, end) = (*start, *end);
            if start < first || last.next().is_some_and(|behind| start > behind) {
                break;
            }
            last = last.max(end);
            cursor = here.remove_current().0;
        }
        self.cleared.insert(room.into_node(first, last));
    }
}

/// What an edit says of its key.
fn said(edit: &Edit) -> What {
    edit.item().cloned().map_or(What::Gone, What::Item)
}

/// What the edit at `key` says: of this key alone.
fn exactly(key: SubKey, edit: &Edit) -> Probe<SubKey> {
    let what = said(edit);
    Probe { what, edge: key }
}

/// The last entry at or before `key`.
fn at_or_before<V: Copy>(map: &RBTree<SubKey, V>, key: SubKey) -> Option<(SubKey, V)> {
    let copy = |(key, value): (&SubKey, &V)| (*key, *value);
    match map.cursor_lower_bound(&key) {
        Some(cursor) if *cursor.current().0 == key => Some(copy(cursor.current())),
        Some(cursor) => cursor.peek_prev().map(copy),
        None => map.cursor_back().map(|cursor| copy(cursor.current())),
    }
}

/// By how much a shard grows if an edit with `size` bytes of data takes the place of `old`.
fn grown(size: usize, old: Option<EditNode>) -> isize {
    match old {
        Some(old) => signed(size) - signed(old.to_key_value().1.size()),
        None => signed(size) + signed(EDIT_SIZE),
    }
}

/// Sizes of objects in memory fit.
fn signed(size: usize) -> isize {
    isize::try_from(size).unwrap_or(isize::MAX)
}
