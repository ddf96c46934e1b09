// SPDX-License-Identifier: GPL-2.0

//! Writes the sums of references to the items of the extent tree.

#![deny(clippy::arithmetic_side_effects)]

use super::item::{change_count, reference, with_count, Inline, ItemBuf};
use super::keyed::{self, Keyed};
use super::log::Entry;
use super::{find_extent, Change, RefDeltas};
use crate::error::{Error, Result};
use crate::items::Items;
use crate::mem::{KVVec, GFP_NOFAIL};
use btrfs_format::crc32c::Crc32c;
use btrfs_format::extent::{ExtentFlags, ExtentItem, ExtentRef, TreeBlockInfo};
use btrfs_format::leaf::Item;
use btrfs_format::{item as item_type, Generation, Geometry, Key, Logical, TreeId};
use zerocopy::little_endian::U64;

/// What holds for all extent items that a commit writes.
#[derive(Clone, Copy, Debug)]
pub struct ExtentRules {
    /// Sizes.
    pub geometry: Geometry,
    /// Whether tree blocks get the smaller `METADATA_ITEM`.
    pub skinny: bool,
    /// The transaction.
    pub transid: Generation,
    /// The routine that orders references.
    pub crc32c: Crc32c,
}

impl ExtentRules {
    /// Items with inline references are shorter than this.
    fn inline_limit(&self) -> usize {
        let share = self.geometry.body_size() / 16;
        share.saturating_sub(Item::SIZE)
    }
}

/// What an extent holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExtentKind {
    /// File data.
    Data,
    /// A tree block.
    TreeBlock {
        /// Its level.
        level: u8,
        /// A tree that had a reference to it; 0 if only blocks had.
        owner: TreeId,
    },
}

/// An extent that came or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Extent {
    /// Its address.
    pub start: Logical,
    /// Its length in bytes.
    pub len: u64,
    /// What it holds.
    pub kind: ExtentKind,
}

/// Extents that came or went, each list ascending per call of [`apply_refs`].
#[derive(Debug, Default)]
pub struct ExtentChanges {
    /// They have an item now. Of data, the checksums are to be written.
    pub added: KVVec<Extent>,
    /// They have no item any more: their space is to be freed, the checksums of data erased.
    ///
    /// Blocks that this commit allocated and wrote an item for may be among them.
    pub removed: KVVec<Extent>,
    /// Allocated since the last commit, but not in use: their space was never taken on disk.
    pub released: KVVec<Extent>,
}

impl ExtentChanges {
    /// No changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets all changes, but keeps the memory.
    pub fn clear(&mut self) {
        self.added.clear();
        self.removed.clear();
        self.released.clear();
    }
}

/// Writes all deltas to the extent tree's items, and says which extents came and went.
///
/// `out` is added to. Afterwards `deltas` is empty.
///
/// # Errors
///
/// `Corrupt` if references and items do not match. The items are then half done.
pub fn apply_refs(
    extents: &mut dyn Items,
    rules: &ExtentRules,
    deltas: &mut RefDeltas,
    out: &mut ExtentChanges,
) -> Result {
    let entries = deltas.log.take()?;
    let mut work = Work {
        extents,
        rules,
        out,
        item: ItemBuf::new(rules.crc32c),
    };
    for group in entries.chunk_by(|a, b| a.extent == b.extent) {
        work.extent(group)?;
    }
    deltas.log.recycle(entries);
    Ok(())
}

/// How a commit came by an extent.
#[derive(Clone, Copy)]
enum Origin {
    /// It is in the tree.
    Committed,
    /// It has no item yet.
    New {
        kind: ExtentKind,
        len: u64,
        first: Key,
    },
}

struct Work<'a> {
    extents: &'a mut dyn Items,
    rules: &'a ExtentRules,
    out: &'a mut ExtentChanges,
    item: ItemBuf,
}

/// The extent item that is being changed, beside its bytes.
struct Current {
    key: Key,
    len: u64,
    refs: u64,
    /// References that have items of their own.
    keyed: u64,
    flags: ExtentFlags,
}

impl Work<'_> {
    /// Applies all changes of one extent.
    fn extent(&mut self, group: &[Entry]) -> Result {
        let Some(start) = group.first().map(|entry| entry.extent) else {
            return Ok(());
        };
        let (origin, full, refs) = self.split(group)?;
        if let (Origin::New { kind, len, .. }, []) = (origin, refs) {
            let extent = Extent { start, len, kind };
            return Ok(self.out.released.push(extent, GFP_NOFAIL)?);
        }
        let mut current = self.load(start, origin)?;
        if full {
            if !current.flags.contains(ExtentFlags::TREE_BLOCK) {
                return Err(Error::Corrupt("a data extent cannot hold blocks"));
            }
            current.flags = current.flags | ExtentFlags::FULL_BACKREF;
        }
        for entry in refs {
            self.reference(start, &mut current, entry)?;
        }
        if current.refs == 0 {
            return self.remove(start, origin, &current, refs);
        }
        self.item.set_head(current.refs, current.flags)?;
        self.extents.put(current.key, self.item.bytes())?;
        if let Origin::New { kind, len, .. } = origin {
            let extent = Extent { start, len, kind };
            self.out.added.push(extent, GFP_NOFAIL)?;
        }
        Ok(())
    }

    /// Tells what an extent is from the changes of its references.
    fn split<'e>(&self, group: &'e [Entry]) -> Result<(Origin, bool, &'e [Entry])> {
        let mut origin = Origin::Committed;
        let mut full = false;
        let mut refs = group;
        while let [entry, rest @ ..] = refs {
            let new = match entry.change {
                Change::NewBlock {
                    level,
                    key_type,
                    owner,
                    key_objectid,
                    key_offset,
                } => Origin::New {
                    kind: ExtentKind::TreeBlock { level, owner },
                    len: u64::from(self.rules.geometry.nodesize),
                    first: Key::new(key_objectid, key_type, key_offset),
                },
                Change::Born { len } => Origin::New {
                    kind: ExtentKind::Data,
                    len,
                    first: Key::MIN,
                },
                Change::Full => {
                    full = true;
                    refs = rest;
                    continue;
                }
                _ => break,
            };
            if entry.delta != 1 || matches!(origin, Origin::New { .. }) {
                return Err(Error::Corrupt("an extent was allocated twice"));
            }
            origin = new;
            refs = rest;
        }
        Ok((origin, full, refs))
    }

    /// Loads the item of an extent, or begins it.
    fn load(&mut self, start: Logical, origin: Origin) -> Result<Current> {
        let found = find_extent(self.extents, start)?;
        match (origin, found) {
            (Origin::New { .. }, Some(_)) => {
                Err(Error::Corrupt("an extent was allocated that is in use"))
            }
            (Origin::Committed, None) => Err(Error::Corrupt("an extent in use is not allocated")),
            (Origin::New { kind, len, first }, None) => self.begin(start, kind, len, first),
            (Origin::Committed, Some((key, data))) => {
                let inline = self.item.load(&key, data)?;
                let head = self.item.head()?;
                let refs = head.refs.get();
                let skinny = key.item_type == item_type::METADATA_ITEM;
                let keyed = refs.checked_sub(inline).ok_or(Error::Corrupt(
                    "an extent item has more references than it counts",
                ))?;
                Ok(Current {
                    key,
                    len: if skinny {
                        u64::from(self.rules.geometry.nodesize)
                    } else {
                        key.offset
                    },
                    refs,
                    keyed,
                    flags: head.flags(),
                })
            }
        }
    }

    fn begin(&mut self, start: Logical, kind: ExtentKind, len: u64, first: Key) -> Result<Current> {
        let (key, flags, info) = match kind {
            ExtentKind::Data => {
                let key = Key::new(start.get(), item_type::EXTENT_ITEM, len);
                (key, ExtentFlags::DATA, None)
            }
            ExtentKind::TreeBlock { level, .. } if self.rules.skinny => {
                let key = Key::new(start.get(), item_type::METADATA_ITEM, u64::from(level));
                (key, ExtentFlags::TREE_BLOCK, None)
            }
            ExtentKind::TreeBlock { level, .. } => {
                let key = Key::new(start.get(), item_type::EXTENT_ITEM, len);
                let info = TreeBlockInfo {
                    key: first.into(),
                    level,
                };
                (key, ExtentFlags::TREE_BLOCK, Some(info))
            }
        };
        let item = ExtentItem {
            refs: U64::new(0),
            generation: self.rules.transid.into(),
            flags: U64::new(flags.bits()),
        };
        self.item.start(&item, info.as_ref())?;
        Ok(Current {
            key,
            len,
            refs: 0,
            keyed: 0,
            flags,
        })
    }

    /// Applies the change of one reference.
    fn reference(&mut self, start: Logical, current: &mut Current, entry: &Entry) -> Result {
        // Whatever the entry is about, it is not held yet: the count that is there is added below.
        let wanted = reference(&entry.change, 0)
            .ok_or(Error::Corrupt("changes of an extent are out of order"))?;
        let is_data = matches!(
            wanted,
            ExtentRef::Data { .. } | ExtentRef::SharedData { .. }
        );
        if is_data != current.flags.contains(ExtentFlags::DATA) {
            return Err(Error::Corrupt("data and tree block at one address"));
        }
        let delta = entry.delta;
        current.refs = current
            .refs
            .checked_add_signed(delta)
            .ok_or(Error::Corrupt("an extent has fewer than no references"))?;

        let at = match self.item.find(&wanted)? {
            Inline::At(at, found) => {
                return match change_count(&found, delta)? {
                    0 => self.item.remove(at, &found),
                    count => self.item.write(at, &with_count(found, count)),
                };
            }
            Inline::Absent(at) => at,
        };
        if current.keyed == 0 {
            let new = with_count(wanted, new_count(&wanted, delta)?);
            if self.item.len_with(&new) < self.rules.inline_limit() {
                return self.item.insert(at, &new);
            }
        }
        let crc32c = self.rules.crc32c;
        let (key, count, found) =
            match keyed::find(self.extents, crc32c, start, &wanted, delta < 0)? {
                Keyed::At(key, found) => (key, change_count(&found, delta)?, found),
                Keyed::Absent(key) => (key, new_count(&wanted, delta)?, wanted),
            };
        current.keyed = current
            .keyed
            .checked_add_signed(delta)
            .ok_or(Error::Corrupt("an extent item counts too few references"))?;
        keyed::write(self.extents, key, &with_count(found, count), count != 0)
    }

    /// Removes an extent that has no references left.
    fn remove(
        &mut self,
        start: Logical,
        origin: Origin,
        current: &Current,
        refs: &[Entry],
    ) -> Result {
        if self.item.has_refs() || current.keyed != 0 {
            return Err(Error::Corrupt(
                "an extent has references but does not count them",
            ));
        }
        if let Origin::New { .. } = origin {
            // Sums are not zero one by one, and a new extent had none to take away from.
            return Err(Error::Corrupt("a new extent lost references"));
        }
        let kind = if current.flags.contains(ExtentFlags::DATA) {
            ExtentKind::Data
        } else {
            let level = match self.item.info() {
                Some(info) => info.level,
                None => u8::try_from(current.key.offset).unwrap_or(u8::MAX),
            };
            let owner = refs.iter().find_map(|entry| match entry.change {
                Change::TreeBlock { root } => Some(root),
                _ => None,
            });
            ExtentKind::TreeBlock {
                level,
                owner: owner.unwrap_or(TreeId(0)),
            }
        };
        let extent = Extent {
            start,
            len: current.len,
            kind,
        };
        self.extents.delete(current.key)?;
        Ok(self.out.removed.push(extent, GFP_NOFAIL)?)
    }
}

/// How often a reference is held that was not there before.
fn new_count(wanted: &ExtentRef, delta: i64) -> Result<u32> {
    if delta < 0 {
        return Err(Error::Corrupt("a reference is dropped that is not held"));
    }
    match (wanted, u32::try_from(delta)) {
        (ExtentRef::TreeBlock { .. } | ExtentRef::SharedBlock { .. }, Ok(1)) => Ok(1),
        (ExtentRef::Data { .. } | ExtentRef::SharedData { .. }, Ok(count)) => Ok(count),
        _ => Err(Error::Corrupt("a reference is held too often")),
    }
}
