// SPDX-License-Identifier: GPL-2.0

//! What the new blocks of a run are made of, as ranges of what is there already.
//!
//! Nothing is copied while a batch is merged: a stream names slots of old blocks, and entries of
//! the batch (for leaves) or pointers to new children (for nodes). Data moves once, when the new
//! block is built.

use super::broken;
use crate::build::data_range;
use crate::error::Result;
use crate::mem::{KVVec, GFP_NOFAIL};
use crate::store::Change;
use btrfs_format::leaf::{Item, Leaf};
use btrfs_format::node::{ChildPtr, KeyPtr};
use btrfs_format::{Key, Logical};
use core::ops::Range;

/// A block that a run is made of.
pub(super) struct Source<B> {
    /// The block as it was.
    pub(super) block: B,
    /// Its address.
    pub(super) logical: Logical,
    /// Whether it is a work block, whose address can be kept.
    pub(super) work: bool,
}

/// Where a segment's entries come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Slots of that source.
    Old(usize),
    /// Indexes of the batch, or of [`Stream::fresh`].
    New,
}

/// Consecutive entries of one origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seg {
    pub(super) origin: Origin,
    pub(super) from: usize,
    pub(super) to: usize,
}

impl Seg {
    pub(super) fn len(&self) -> usize {
        self.to.saturating_sub(self.from)
    }
}

/// Where a stream became longer. Positions are weights: bytes of the entries before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Growth {
    /// Nowhere.
    #[default]
    None,
    /// By entries that follow each other.
    One(Place),
    /// At several places.
    Many,
}

/// The one place where a stream became longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) start: usize,
    pub(super) end: usize,
    /// The keys that came first and last.
    pub(super) first: Key,
    pub(super) last: Key,
    /// The keys around them in their old block.
    pub(super) before: Option<Key>,
    pub(super) behind: Option<Key>,
}

impl Growth {
    /// Adds a place behind all others.
    pub(super) fn add(&mut self, place: Place) {
        *self = match *self {
            Self::None => Self::One(place),
            Self::One(one) if one.end == place.start => Self::One(Place {
                start: one.start,
                first: one.first,
                before: one.before,
                ..place
            }),
            Self::One(_) | Self::Many => Self::Many,
        };
    }
}

/// The entries of new blocks, in order.
#[derive(Default)]
pub(super) struct Stream {
    pub(super) segs: KVVec<Seg>,
    /// Pointers to new children.
    pub(super) fresh: KVVec<ChildPtr>,
    /// Bytes of all entries, headers of items included.
    pub(super) weight: usize,
    pub(super) growth: Growth,
}

impl Stream {
    pub(super) fn clear(&mut self) {
        self.segs.clear();
        self.fresh.clear();
        self.weight = 0;
        self.growth = Growth::None;
    }

    /// Appends entries of `weight` bytes.
    pub(super) fn push(&mut self, seg: Seg, weight: usize) -> Result {
        if seg.len() == 0 {
            return Ok(());
        }
        self.weight += weight;
        if let Some(last) = self.segs.last_mut() {
            if last.origin == seg.origin && last.to == seg.from {
                last.to = seg.to;
                return Ok(());
            }
        }
        self.segs.push(seg, GFP_NOFAIL)?;
        Ok(())
    }

    /// Appends pointers of a node.
    pub(super) fn push_ptrs(&mut self, from: usize, to: usize) -> Result {
        let origin = Origin::Old(0);
        let weight = to.saturating_sub(from) * KeyPtr::SIZE;
        self.push(Seg { origin, from, to }, weight)
    }

    /// Appends pointers to new children, in place of `replaced` old ones.
    pub(super) fn push_fresh(&mut self, ptrs: &[ChildPtr], replaced: usize) -> Result {
        let (Some(first), Some(last)) = (ptrs.first(), ptrs.last()) else {
            return Ok(());
        };
        let start = self.weight;
        let from = self.fresh.len();
        self.fresh.extend_from_slice(ptrs, GFP_NOFAIL)?;
        let to = self.fresh.len();
        let origin = Origin::New;
        self.push(Seg { origin, from, to }, ptrs.len() * KeyPtr::SIZE)?;
        if ptrs.len() > replaced {
            self.growth.add(Place {
                start,
                end: self.weight,
                first: first.key,
                last: last.key,
                before: None,
                behind: None,
            });
        }
        Ok(())
    }

    /// Appends `other`, whose old entries are those of `source`.
    pub(super) fn append(&mut self, other: &Stream, source: usize) -> Result {
        let base = self.fresh.len();
        let start = self.weight;
        self.fresh.extend_from_slice(&other.fresh, GFP_NOFAIL)?;
        for seg in &other.segs {
            // Indexes of the batch are the same everywhere; only nodes have `fresh`.
            let moved = if seg.origin == Origin::New { base } else { 0 };
            let origin = match seg.origin {
                Origin::Old(_) => Origin::Old(source),
                Origin::New => Origin::New,
            };
            let (from, to) = (seg.from + moved, seg.to + moved);
            self.push(Seg { origin, from, to }, 0)?;
        }
        self.weight = start + other.weight;
        match other.growth {
            Growth::None => {}
            Growth::One(place) => self.growth.add(Place {
                start: start + place.start,
                end: start + place.end,
                ..place
            }),
            Growth::Many => self.growth = Growth::Many,
        }
        Ok(())
    }

    /// Puts `slots` of `source` before all others.
    pub(super) fn prepend(&mut self, source: usize, slots: Range<usize>, weight: usize) -> Result {
        self.segs.push(
            Seg {
                origin: Origin::Old(source),
                from: slots.start,
                to: slots.end,
            },
            GFP_NOFAIL,
        )?;
        self.segs.rotate_right(1);
        self.weight += weight;
        // Used where one block is left: where it grew does not matter any more.
        self.growth = Growth::None;
        Ok(())
    }
}

/// Bytes of some entries of a leaf: headers and data.
pub(super) fn leaf_weight(leaf: &Leaf<'_>, slots: &Range<usize>) -> Result<usize> {
    let count = slots.end.saturating_sub(slots.start);
    let data = match data_range(leaf, slots) {
        Some(range) => range.len(),
        None if count == 0 => 0,
        None => return Err(broken()),
    };
    Ok(count * Item::SIZE + data)
}

/// Knows how heavy the entries of a stream are.
pub(super) trait Weigh {
    /// Bytes of the entry at `index` of a segment's origin.
    fn one(&self, origin: Origin, index: usize) -> Result<usize>;

    /// How many of the entries from `seg.from` on weigh at most `room` together, and their weight.
    fn fit(&self, seg: &Seg, room: usize) -> Result<(usize, usize)>;
}

/// Entries of leaves.
pub(super) struct Items<'a, B> {
    pub(super) sources: &'a [Source<B>],
    pub(super) changes: &'a [Change<'a>],
}

impl<B: core::ops::Deref<Target = [u8]>> Items<'_, B> {
    pub(super) fn leaf(&self, source: usize) -> Result<Leaf<'_>> {
        let source = self.sources.get(source).ok_or(broken())?;
        Ok(Leaf::new(&source.block))
    }

    /// Key and data of an entry of the batch.
    pub(super) fn change(&self, index: usize) -> Result<(Key, &[u8])> {
        let change = self.changes.get(index).ok_or(broken())?;
        Ok((change.key, change.edit.data().ok_or(broken())?))
    }
}

impl<B: core::ops::Deref<Target = [u8]>> Weigh for Items<'_, B> {
    fn one(&self, origin: Origin, index: usize) -> Result<usize> {
        match origin {
            Origin::Old(source) => leaf_weight(&self.leaf(source)?, &(index..index + 1)),
            Origin::New => Ok(self.change(index)?.1.len() + Item::SIZE),
        }
    }

    fn fit(&self, seg: &Seg, room: usize) -> Result<(usize, usize)> {
        match seg.origin {
            Origin::Old(source) => {
                let leaf = self.leaf(source)?;
                let whole = leaf_weight(&leaf, &(seg.from..seg.to))?;
                if whole <= room {
                    return Ok((seg.len(), whole));
                }
                // The most that fit are `low`; `high` do not.
                let (mut low, mut high) = (0, seg.len());
                while high - low > 1 {
                    let middle = low + (high - low) / 2;
                    if leaf_weight(&leaf, &(seg.from..seg.from + middle))? <= room {
                        low = middle;
                    } else {
                        high = middle;
                    }
                }
                Ok((low, leaf_weight(&leaf, &(seg.from..seg.from + low))?))
            }
            Origin::New => {
                let (mut count, mut weight) = (0, 0);
                while count < seg.len() {
                    let one = self.one(Origin::New, seg.from + count)?;
                    if weight + one > room {
                        break;
                    }
                    weight += one;
                    count += 1;
                }
                Ok((count, weight))
            }
        }
    }
}

/// Entries of nodes.
pub(super) struct Pointers;

impl Weigh for Pointers {
    fn one(&self, _: Origin, _: usize) -> Result<usize> {
        Ok(KeyPtr::SIZE)
    }

    fn fit(&self, seg: &Seg, room: usize) -> Result<(usize, usize)> {
        let count = seg.len().min(room / KeyPtr::SIZE);
        Ok((count, count * KeyPtr::SIZE))
    }
}
