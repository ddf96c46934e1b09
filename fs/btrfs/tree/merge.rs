// SPDX-License-Identifier: GPL-2.0

//! Walking a tree as it is now.
//!
//! A cursor asks each overlay what it says of a key and how far in the direction of the search it
//! says the same. Where both know nothing, the committed tree is asked. So each step of a search
//! skips a range in which nothing changes, and ends where there is an item.
//!
//! A cursor holds no lock between steps: what it learned of an overlay carries the overlay's
//! version, and what it has of the committed tree is thrown away when the stages are replaced. A
//! step leads to the next item that there is when the step is made.

use btrfs_format::key::Key;
use btrfs_format::types::Generation;
use kernel::prelude::*;
use kernel::sync::Arc;

use super::cursor::Cursor;
use super::live::{LiveTree, TreeState};
use super::overlay::{Direction, ItemBuf, Overlay, Probe, What};

/// A position in a live tree: on an item, before the first one, or behind the last one.
pub(crate) struct LiveCursor {
    tree: Arc<LiveTree>,
    state: Arc<TreeState>,
    sequence: u64,
    open: Known,
    frozen: Known,
    committed: Option<Committed>,
    at: At,
}

/// Where a cursor is.
enum At {
    /// On the item under the committed cursor.
    Committed,
    /// On an item of an overlay.
    Edit(Key, ItemBuf),
    /// Between items: in front of this key, or behind everything.
    Gap(Option<Key>),
}

impl LiveCursor {
    fn new(tree: Arc<LiveTree>) -> Self {
        let sequence = tree.sequence();
        let state = tree.state();
        Self {
            tree,
            state,
            sequence,
            open: Known::default(),
            frozen: Known::default(),
            committed: None,
            at: At::Gap(None),
        }
    }

    /// A cursor on the first item at or behind `key`.
    pub(super) fn at_or_after(tree: Arc<LiveTree>, key: Key) -> Result<Self> {
        let mut cursor = Self::new(tree);
        cursor.search(Some(key), Direction::Up)?;
        Ok(cursor)
    }

    /// A cursor on the last item at or before `key`.
    pub(super) fn at_or_before(tree: Arc<LiveTree>, key: Key) -> Result<Self> {
        let mut cursor = Self::new(tree);
        cursor.search(Some(key), Direction::Down)?;
        Ok(cursor)
    }

    /// Key and data of the item under the cursor.
    #[inline]
    pub(crate) fn item(&self) -> Option<(Key, &[u8])> {
        match &self.at {
            At::Committed => self.committed.as_ref()?.cursor.item(),
            At::Edit(key, item) => Some((*key, item)),
            At::Gap(_) => None,
        }
    }

    /// The key of the item under the cursor.
    #[inline]
    pub(crate) fn key(&self) -> Option<Key> {
        match &self.at {
            At::Committed => self.committed.as_ref()?.cursor.key(),
            At::Edit(key, _) => Some(*key),
            At::Gap(_) => None,
        }
    }

    /// The transaction that wrote the leaf the item is in, or will write it.
    pub(crate) fn generation(&self) -> Option<Generation> {
        match &self.at {
            At::Committed => Some(self.committed.as_ref()?.cursor.leaf().generation()),
            At::Edit(key, _) => {
                let newest = self.state.open.as_ref().filter(|open| {
                    let found = open.find(key);
                    matches!(found, What::Item(_))
                });
                let overlay = newest.or(self.state.frozen.as_ref())?;
                Some(overlay.transid())
            }
            At::Gap(_) => None,
        }
    }

    /// Whether [`Self::next`] is likely to end on another item without reading a block.
    pub(crate) fn has_next_in_leaf(&self) -> bool {
        match (&self.at, &self.committed) {
            (At::Edit(..), _) => true,
            (_, Some(committed)) => committed.cursor.has_next_in_leaf(),
            (_, None) => false,
        }
    }

    /// Moves to the next item; behind the last one there is none.
    ///
    /// May read. After an error the cursor is on no item, and the next call tries again.
    #[inline]
    pub(crate) fn next(&mut self) -> Result {
        if self.is_plain() {
            if let (At::Committed, Some(committed)) = (&self.at, &mut self.committed) {
                committed.alone = None;
                if committed.cursor.has_next_in_leaf() {
                    return committed.cursor.next();
                }
            }
        }
        let from = match &self.at {
            At::Gap(from) => *from,
            _ => self.key().and_then(Key::next),
        };
        self.search(from, Direction::Up)
    }

    /// Moves to the previous item; before the first one there is none.
    ///
    /// May read. After an error the cursor is on no item, and the next call tries again.
    pub(crate) fn prev(&mut self) -> Result {
        let from = match &self.at {
            At::Gap(None) => Some(Key::MAX),
            At::Gap(Some(behind)) => behind.prev(),
            _ => self.key().and_then(Key::prev),
        };
        self.search(from, Direction::Down)
    }

    /// Whether the cursor's stages are current and there is only the committed tree.
    #[inline]
    fn is_plain(&self) -> bool {
        self.state.is_plain() && self.sequence == self.tree.sequence()
    }

    /// Takes the stages as they are now, if they are others.
    fn refresh(&mut self) {
        let sequence = self.tree.sequence();
        if sequence != self.sequence {
            self.sequence = sequence;
            self.state = self.tree.state();
            self.open = Known::default();
            self.frozen = Known::default();
            self.committed = None;
        }
    }

    /// Goes to the first item from `from` on in a direction; behind everything, or before it, if that
    /// is `None`.
    fn search(&mut self, from: Option<Key>, direction: Direction) -> Result {
        self.at = At::Gap(match direction {
            Direction::Up => from,
            Direction::Down => from.map_or(Some(Key::MIN), Key::next),
        });
        let mut from = from;
        self.refresh();
        while let Some(key) = from {
            let (what, edge) = self.probe(&key, direction);
            match what {
                What::Item(item) => {
                    self.at = At::Edit(key, item);
                    return Ok(());
                }
                What::Gone => {}
                What::Unknown => {
                    let found = self.search_committed(key, direction)?;
                    if found.is_some_and(|found| direction.nearer(found, edge) == found) {
                        self.at = At::Committed;
                        return Ok(());
                    }
                }
            }
            from = direction.step(edge);
            kfs::task::cond_resched();
        }
        self.at = At::Gap(match direction {
            Direction::Up => None,
            Direction::Down => Some(Key::MIN),
        });
        Ok(())
    }

    /// What both overlays together say of a key, and how far they say the same.
    fn probe(&mut self, key: &Key, direction: Direction) -> (What, Key) {
        let (open, edge) = match &self.state.open {
            Some(overlay) => self.open.probe(overlay, key, direction),
            None => (What::Unknown, direction.end()),
        };
        if !matches!(open, What::Unknown) {
            return (open, edge);
        }
        let Some(overlay) = &self.state.frozen else {
            return (open, edge);
        };
        let (what, other) = self.frozen.probe(overlay, key, direction);
        (what, direction.nearer(edge, other))
    }

    /// Puts the committed cursor on the first item from `key` on in a direction; returns that item's
    /// key.
    fn search_committed(&mut self, key: Key, direction: Direction) -> Result<Option<Key>> {
        let committed = match (self.committed.take(), direction) {
            (Some(mut committed), Direction::Up) => {
                committed.up(key)?;
                committed
            }
            (Some(mut committed), Direction::Down) => {
                committed.down(key)?;
                committed
            }
            (None, Direction::Up) => Committed::new(self.state.view.seek(key)?),
            (None, Direction::Down) => Committed::new(self.state.view.seek_at_or_before(key)?),
        };
        let found = committed.cursor.key();
        let other = found.unwrap_or(direction.end());
        self.committed = Some(committed.alone_in(key.min(other), key.max(other)));
        Ok(found)
    }
}

impl Direction {
    /// The last key this way.
    fn end(self) -> Key {
        match self {
            Direction::Up => Key::MAX,
            Direction::Down => Key::MIN,
        }
    }

    /// The key behind `key` this way.
    fn step(self, key: Key) -> Option<Key> {
        match self {
            Direction::Up => key.next(),
            Direction::Down => key.prev(),
        }
    }

    /// The one that a search this way comes to first.
    fn nearer(self, a: Key, b: Key) -> Key {
        match self {
            Direction::Up => a.min(b),
            Direction::Down => a.max(b),
        }
    }
}

/// What is known of an overlay: that it says the same of all keys of a range.
struct Known {
    /// The overlay's version when that was found out.
    version: u64,
    low: Key,
    high: Key,
    what: What,
}

impl Default for Known {
    /// Nothing.
    fn default() -> Self {
        Self {
            version: 0,
            low: Key::MAX,
            high: Key::MIN,
            what: What::Unknown,
        }
    }
}

impl Known {
    fn probe(&mut self, overlay: &Overlay, key: &Key, direction: Direction) -> (What, Key) {
        let version = overlay.version();
        if version != self.version || *key < self.low || *key > self.high {
            let Probe { what, edge } = overlay.probe(key, direction);
            *self = Self {
                version,
                low: edge.min(*key),
                high: edge.max(*key),
                what,
            };
        }
        let edge = match direction {
            Direction::Up => self.high,
            Direction::Down => self.low,
        };
        (self.what.clone(), edge)
    }
}

/// A position in the committed tree.
struct Committed {
    cursor: Cursor,
    /// A range of keys that has no item but the one under the cursor. Reaches to the end of the
    /// keys if the cursor is on none.
    alone: Option<(Key, Key)>,
}

impl Committed {
    fn new(cursor: Cursor) -> Self {
        Self {
            cursor,
            alone: None,
        }
    }

    fn alone_in(self, low: Key, high: Key) -> Self {
        Self {
            alone: Some((low, high)),
            ..self
        }
    }

    fn alone(&self) -> Option<(Key, Key)> {
        self.alone.or(self.cursor.key().map(|key| (key, key)))
    }

    /// Moves to the first item at or behind `key`.
    fn up(&mut self, key: Key) -> Result {
        let Some((low, high)) = self.alone() else {
            return self.cursor.seek(key);
        };
        let inside = low <= key && key <= high;
        match self.cursor.key() {
            Some(at) if inside && key <= at => Ok(()),
            None if inside && high == Key::MAX => Ok(()),
            Some(at) if at < key && (inside || high.next() == Some(key)) => self.cursor.next(),
            _ => self.cursor.seek(key),
        }
    }

    /// Moves to the last item at or before `key`.
    fn down(&mut self, key: Key) -> Result {
        if let Some((low, high)) = self.alone() {
            let inside = low <= key && key <= high;
            let next_to = inside || low.prev() == Some(key);
            match self.cursor.key() {
                Some(at) if inside && at <= key => return Ok(()),
                None if inside && low == Key::MIN => return Ok(()),
                Some(at) if key < at && next_to => return self.cursor.prev(),
                None if high == Key::MAX && next_to => return self.cursor.prev(),
                _ => {}
            }
        }
        self.cursor = self.cursor.view().seek_at_or_before(key)?;
        Ok(())
    }
}
