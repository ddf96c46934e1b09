// SPDX-License-Identifier: GPL-2.0

//! Where a stream is cut into blocks.
//!
//! Filling blocks in order gives the least number of them. It is right where growth is at one
//! place that will grow on: no leaf behind it stays half empty. Elsewhere full blocks would be
//! split again by the next batch, so the entries are spread evenly; a run whose blocks are nearly
//! full keeps their number.

use super::broken;
use super::stream::{Growth, Seg, Weigh};
use crate::error::{Error, Result};
use crate::mem::{KVVec, GFP_NOFAIL};

/// A position in a stream: so many entries of a segment lie before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pos {
    pub(super) seg: usize,
    pub(super) entry: usize,
}

impl Pos {
    pub(super) const START: Self = Self { seg: 0, entry: 0 };
}

/// What a stream is cut for.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    /// Bytes of all entries.
    pub(super) weight: usize,
    /// Bytes of entries that a block holds.
    pub(super) capacity: usize,
    /// How many blocks held them before.
    pub(super) before: usize,
    /// Whether the stream ends where the tree does.
    pub(super) tail: bool,
}

/// Cuts a stream: returns the end of each block. None for an empty stream.
pub(super) fn cut<W: Weigh>(
    weigh: &W,
    segs: &[Seg],
    growth: &Growth,
    shape: Shape,
) -> Result<KVVec<Pos>> {
    if segs.is_empty() {
        return Ok(KVVec::new());
    }
    if shape.weight <= shape.capacity {
        let mut one = KVVec::new();
        one.push(end_of(segs), GFP_NOFAIL)?;
        return Ok(one);
    }
    let full = in_order(weigh, segs, shape.capacity)?;
    if goes_on(growth, shape) {
        return Ok(full);
    }
    let least = full.len();
    let wanted = shape.weight.div_ceil(roomy(shape.capacity).max(1));
    let count = wanted.clamp(least, least.max(shape.before));
    match evenly(weigh, segs, shape, count)? {
        Some(cuts) => Ok(cuts),
        None => Ok(full),
    }
}

/// Bytes a block that is not split soon should have at most.
fn roomy(capacity: usize) -> usize {
    capacity - capacity / 8
}

/// Whether growth was at one place and is likely to go on there.
fn goes_on(growth: &Growth, shape: Shape) -> bool {
    let Growth::One(place) = growth else {
        return false;
    };
    let behind = shape.weight.saturating_sub(place.end);
    if behind == 0 && shape.tail {
        return true;
    }
    // The end of a sequence: of a file's extents, a directory's entries.
    let kind = |key: &btrfs_format::Key| (key.objectid, key.item_type);
    let sequence = place
        .before
        .is_some_and(|key| kind(&key) == kind(&place.first))
        && place
            .behind
            .is_none_or(|key| kind(&key) != kind(&place.last));
    let large = place.end - place.start >= shape.capacity;
    behind <= shape.capacity / 2 && (sequence || large)
}

fn end_of(segs: &[Seg]) -> Pos {
    Pos {
        seg: segs.len(),
        entry: 0,
    }
}

/// Fills one block after the other.
fn in_order<W: Weigh>(weigh: &W, segs: &[Seg], capacity: usize) -> Result<KVVec<Pos>> {
    let mut cuts = KVVec::new();
    let mut room = capacity;
    for (index, seg) in segs.iter().enumerate() {
        let mut entry = 0;
        while entry < seg.len() {
            let rest = Seg {
                from: seg.from + entry,
                ..*seg
            };
            let (count, weight) = weigh.fit(&rest, room)?;
            if count == 0 {
                if room == capacity {
                    return Err(Error::Corrupt("an item does not fit a leaf"));
                }
                cuts.push(Pos { seg: index, entry }, GFP_NOFAIL)?;
                room = capacity;
            }
            entry += count;
            room = room.checked_sub(weight).ok_or(broken())?;
        }
    }
    cuts.push(end_of(segs), GFP_NOFAIL)?;
    Ok(cuts)
}

/// Spreads the entries over `blocks` blocks; `None` if large items make that impossible.
fn evenly<W: Weigh>(
    weigh: &W,
    segs: &[Seg],
    shape: Shape,
    blocks: usize,
) -> Result<Option<KVVec<Pos>>> {
    let mut cuts = KVVec::new();
    let mut left = shape.weight;
    let mut blocks = blocks;
    let mut target = left.div_ceil(blocks.max(1));
    let mut used = 0;
    for (index, seg) in segs.iter().enumerate() {
        let mut entry = 0;
        while entry < seg.len() {
            let rest = Seg {
                from: seg.from + entry,
                ..*seg
            };
            // Blocks that fell short of it raise the target of those that are left.
            let goal = match blocks {
                0 | 1 => shape.capacity,
                _ => target.min(shape.capacity),
            };
            let (count, weight) = weigh.fit(&rest, goal.saturating_sub(used))?;
            entry += count;
            used += weight;
            if entry == seg.len() {
                continue;
            }
            // The goal lies within the next entry: take it if that is nearer.
            let one = weigh.one(seg.origin, seg.from + entry)?;
            let over = (used + one).saturating_sub(goal);
            if used + one <= shape.capacity && (used == 0 || over < goal.saturating_sub(used)) {
                entry += 1;
                used += one;
            } else if used == 0 {
                return Err(Error::Corrupt("an item does not fit a leaf"));
            }
            if blocks <= 1 {
                return Ok(None);
            }
            let border = if entry == seg.len() {
                Pos {
                    seg: index + 1,
                    entry: 0,
                }
            } else {
                Pos { seg: index, entry }
            };
            if border.seg < segs.len() {
                cuts.push(border, GFP_NOFAIL)?;
                left = left.saturating_sub(used);
                blocks -= 1;
                target = left.div_ceil(blocks);
                used = 0;
            }
        }
    }
    cuts.push(end_of(segs), GFP_NOFAIL)?;
    Ok(Some(cuts))
}

#[cfg(test)]
mod tests {
    use super::super::stream::Origin;
    use super::*;
    use std::vec::Vec;

    struct Sizes(Vec<usize>);

    impl Weigh for Sizes {
        fn one(&self, _: Origin, index: usize) -> Result<usize> {
            Ok(self.0[index])
        }

        fn fit(&self, seg: &Seg, room: usize) -> Result<(usize, usize)> {
            let (mut count, mut weight) = (0, 0);
            for size in &self.0[seg.from..seg.to] {
                if weight + size > room {
                    break;
                }
                weight += size;
                count += 1;
            }
            Ok((count, weight))
        }
    }

    /// Whatever the sizes are, no block gets more than it holds, or nothing.
    #[test]
    fn every_block_fits() {
        let mut state = 1u64;
        let mut random = |below: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        for _ in 0..20_000 {
            let capacity = 100;
            let least = 1 + random(20);
            let more = 1 + random(30);
            let count = 1 + random(300);
            let sizes = Sizes((0..count).map(|_| least + random(more)).collect());
            let mut segs = Vec::new();
            let mut from = 0;
            while from < count {
                let to = from + 1 + random(count - from);
                segs.push(Seg {
                    origin: Origin::New,
                    from,
                    to,
                });
                from = to;
            }
            let shape = Shape {
                weight: sizes.0.iter().sum(),
                capacity,
                before: random(8),
                tail: false,
            };
            let cuts = cut(&sizes, &segs, &Growth::Many, shape).unwrap();
            let mut from = 0;
            for cut in &cuts {
                let to = segs.get(cut.seg).map_or(count, |seg| seg.from + cut.entry);
                let weight = sizes.0[from..to].iter().sum::<usize>();
                assert!(0 < weight && weight <= capacity, "{weight}");
                from = to;
            }
            assert_eq!(from, count);
        }
    }
}
