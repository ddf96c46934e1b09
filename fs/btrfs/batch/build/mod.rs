// SPDX-License-Identifier: GPL-2.0

//! Makes tree blocks.
//!
//! A builder fills a buffer that may hold anything: entries grow from the front, the data of items
//! from the back, and `finish` writes the header and zeroes what is left between. A block that a
//! builder finished has the shape that `format/check` wants, if the keys were pushed in order.

mod leaf;
mod node;

pub(crate) use leaf::data_range;
pub use leaf::LeafBuilder;
pub use node::NodeBuilder;

use crate::store::Env;
use btrfs_format::header::{Header, HeaderFlags, BACKREF_REV_MIXED};
use btrfs_format::{Logical, TreeId};
use zerocopy::little_endian::U32;

/// What was pushed does not fit the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// The header of a block that this transaction writes, without checksum and number of entries.
pub fn new_header(env: &Env, tree: TreeId, at: Logical, level: u8) -> Header {
    let mut header = Header::zeroed();
    header.fsid = env.fsid;
    header.bytenr = at.into();
    header.set_flags(HeaderFlags::WRITTEN, BACKREF_REV_MIXED);
    header.chunk_tree_uuid = env.chunk_tree_uuid;
    header.generation = env.transid.into();
    header.owner = tree.into();
    header.level = level;
    header
}

/// Writes the header, and zeroes from the end of the entries to `gap_end`.
fn finish(block: &mut [u8], mut header: Header, count: usize, entries_end: usize, gap_end: usize) {
    header.nritems = U32::new(u32::try_from(count).unwrap_or(u32::MAX));
    if let Some(place) = block.get_mut(..Header::SIZE) {
        place.copy_from_slice(header.to_disk());
    }
    if let Some(gap) = block.get_mut(entries_end..gap_end) {
        gap.fill(0);
    }
}
