// SPDX-License-Identifier: GPL-2.0

//! Makes tree blocks in memory.

use btrfs_format::check::Field;
use btrfs_format::header::{Header, HeaderFlags, BACKREF_REV_MIXED};
use btrfs_format::leaf::Item;
use btrfs_format::superblock::Incompat;
use btrfs_format::{check_block, CheckContext, CsumType, Expected, Generation, Geometry};
use btrfs_format::{Key, Logical, Rule, TreeId, Uuid, Violation};
use zerocopy::little_endian::U32;

/// The UUID of the filesystem that blocks made here belong to.
pub const FSIDS: [Uuid; 1] = [Uuid([0x5a; 16])];
/// Their size, in bytes.
pub const NODESIZE: usize = 4096;
/// Their address.
pub const LOGICAL: Logical = Logical(1 << 20);
/// The generation of the superblock.
pub const GENERATION: Generation = Generation(100);

/// The context of such a filesystem, with the features of today's mkfs.
pub fn context() -> CheckContext<'static> {
    let geometry = Geometry::new(4096, 4096, CsumType::Crc32c).unwrap();
    let incompat = Incompat::STABLE.difference(Incompat::MIXED_GROUPS);
    CheckContext::new(geometry, incompat, GENERATION, &FSIDS)
}

/// A header for a block of `owner`.
pub fn header(owner: TreeId, nritems: usize, level: u8) -> Header {
    let mut header = Header::zeroed();
    header.fsid = FSIDS[0];
    header.bytenr = LOGICAL.into();
    header.set_flags(HeaderFlags::WRITTEN, BACKREF_REV_MIXED);
    header.generation = GENERATION.into();
    header.owner = owner.into();
    header.nritems = U32::new(nritems as u32);
    header.level = level;
    header
}

/// A leaf of `owner` with those items.
pub fn leaf(owner: TreeId, items: &[(Key, &[u8])]) -> Vec<u8> {
    let mut block = vec![0; NODESIZE];
    block[..Header::SIZE].copy_from_slice(header(owner, items.len(), 0).to_disk());
    let mut end = NODESIZE;
    for (slot, (key, data)) in items.iter().enumerate() {
        end -= data.len();
        block[end..end + data.len()].copy_from_slice(data);
        let item = Item {
            key: (*key).into(),
            offset: U32::new((end - Header::SIZE) as u32),
            size: U32::new(data.len() as u32),
        };
        let at = Header::SIZE + slot * Item::SIZE;
        block[at..at + Item::SIZE].copy_from_slice(item.to_disk());
    }
    block
}

/// Checks a block as one of that address of which nothing else is known.
pub fn check(block: &[u8]) -> Result<(), Violation> {
    check_block(block, &context(), &Expected::at(LOGICAL))
}

/// Checks a leaf of `owner` with those items.
pub fn check_items(owner: TreeId, items: &[(Key, &[u8])]) -> Result<(), Rule> {
    check(&leaf(owner, items)).map_err(|violation| violation.rule)
}

/// Checks a leaf of `owner` with one item.
pub fn check_item(owner: TreeId, key: Key, data: &[u8]) -> Result<(), Rule> {
    check_items(owner, &[(key, data)])
}

/// The rule of a number that is not a multiple of the sector size.
pub fn unaligned(field: Field, have: u64) -> Result<(), Rule> {
    Err(Rule::Unaligned {
        field,
        have,
        align: 4096,
    })
}

/// Checks one item in a filesystem with other features than the usual ones.
pub fn check_with(incompat: Incompat, owner: TreeId, key: Key, data: &[u8]) -> Result<(), Rule> {
    let mut context = context();
    context.incompat = incompat;
    let block = leaf(owner, &[(key, data)]);
    check_block(&block, &context, &Expected::at(LOGICAL)).map_err(|violation| violation.rule)
}
