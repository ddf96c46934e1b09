// SPDX-License-Identifier: GPL-2.0

//! How many blocks a batch can write at most.

use btrfs_format::leaf::Item;
use btrfs_format::types::MAX_LEVEL;
use btrfs_format::Geometry;

/// What a batch is, as far as its cost goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Number of changes. A cleared range counts as two.
    pub edits: u64,
    /// Bytes of data that its puts bring.
    pub bytes: u64,
    /// Number of puts.
    pub puts: u64,
}

/// An upper bound of the blocks that [`apply`](crate::apply()) writes, those rewritten included.
///
/// `height` is the number of levels of the tree, 0 if it has no block; `blocks` an upper bound of
/// its blocks (`u64::MAX` if none is known).
///
/// Concave in `load`: of several batches, the sum costs at least as much as one of all their
/// changes.
pub fn cost(geometry: &Geometry, height: u8, blocks: u64, load: Load) -> u64 {
    let body = u64::try_from(geometry.body_size().max(1)).unwrap_or(u64::MAX);
    let fan_out = u64::try_from(geometry.max_node_ptrs().max(1)).unwrap_or(u64::MAX);
    let header = u64::try_from(Item::SIZE).unwrap_or(0);
    let height = height.clamp(1, MAX_LEVEL);

    // Blocks of the level at hand, at most; from the root down.
    let count = |level: u8| {
        let mut count = 1u64;
        for _ in level.saturating_add(1)..height {
            count = count.saturating_mul(fan_out).min(blocks.max(1));
        }
        count
    };
    let touched = |level: u8| load.edits.min(count(level));

    // Leaves. What is packed in order takes the fewest blocks: no more than if each leaf stayed by
    // itself. An item in the middle of a leaf makes three of one; of two neighbours that were
    // filled in order, the sum exceeds a body.
    let mut written = touched(0);
    if load.puts > 0 {
        let bytes = load.bytes.saturating_add(load.puts.saturating_mul(header));
        let split = load.puts.min(count(0)).saturating_mul(2);
        let grown = bytes.saturating_mul(2).div_ceil(body);
        written = written.saturating_add(split).saturating_add(grown);
    }
    let mut total = written;
    let mut new = written.saturating_sub(touched(0));
    for level in 1..height {
        let here = touched(level);
        written = here.saturating_mul(2).saturating_add(new.div_ceil(fan_out));
        total = total.saturating_add(written);
        new = written.saturating_sub(here);
    }
    // New roots, until one block holds all.
    let mut top = written;
    for _ in height..MAX_LEVEL {
        if top <= 1 || load.puts == 0 {
            break;
        }
        top = top.div_ceil(fan_out);
        total = total.saturating_add(top);
    }
    total
}
