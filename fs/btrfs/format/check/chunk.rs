// SPDX-License-Identifier: GPL-2.0

//! Chunks, devices, and the allocated ranges of devices.

use super::{Field, Rule, Subject};
use crate::chunk::{ChunkHeader, ChunkItem};
use crate::device::{DevExtent, DevItem};
use crate::key::item;
use crate::profile::{BlockGroupFlags, RaidProfile};
use crate::superblock::Incompat;
use crate::types::{objectid, TreeId, STRIPE_LEN};

/// Chunks are shorter than this, so that their stripes can be counted in 32 bits: 256 TiB.
const LENGTH_LIMIT: u64 = 0xffff_ffff << 16;

/// Verifies a `CHUNK_ITEM`.
pub(super) fn check_chunk_item(subject: &Subject<'_>) -> Result<(), Rule> {
    subject.objectid(objectid::FIRST_CHUNK_TREE)?;
    subject.size_at_least(ChunkHeader::SIZE)?;
    let Some((chunk, rest)) = ChunkItem::parse_prefix(subject.data) else {
        let stripes = ChunkHeader::from_prefix(subject.data)
            .map_or(0, |(header, _)| header.num_stripes.get());
        return Err(subject.bad_size(ChunkHeader::item_size(stripes)));
    };
    if !rest.is_empty() {
        return Err(subject.bad_size(ChunkHeader::item_size(chunk.num_stripes())));
    }
    let geometry = &subject.context.geometry;
    check_chunk(
        subject.key.offset,
        &chunk,
        geometry.sectorsize,
        subject.context.incompat,
    )
}

/// Verifies a chunk, of the chunk tree or the superblock. `logical` is the offset of its key.
///
/// # Errors
///
/// The first rule that the chunk breaks.
pub fn check_chunk(
    logical: u64,
    chunk: &ChunkItem<'_>,
    sectorsize: u32,
    incompat: Incompat,
) -> Result<(), Rule> {
    let flags = chunk.flags();
    if chunk.num_stripes() == 0 && !flags.contains(BlockGroupFlags::REMAPPED) {
        return Err(Rule::ChunkNoStripes);
    }
    check_chunk_range(logical, chunk, sectorsize)?;
    check_chunk_flags(flags, incompat)?;
    let Some(profile) = flags.profile() else {
        return Err(Rule::ChunkProfile {
            have: flags.intersection(BlockGroupFlags::PROFILE_MASK).bits(),
        });
    };
    check_stripes(chunk, profile)
}

fn check_chunk_range(logical: u64, chunk: &ChunkItem<'_>, sectorsize: u32) -> Result<(), Rule> {
    let mask = u64::from(sectorsize).wrapping_sub(1);
    let aligned = |have: u64| {
        if have & mask == 0 {
            return Ok(());
        }
        Err(Rule::Unaligned {
            field: Field::ChunkRange,
            have,
            align: sectorsize,
        })
    };
    let header = chunk.header;
    aligned(logical)?;
    if header.sector_size.get() != sectorsize {
        return Err(Rule::ChunkSectorsize {
            have: header.sector_size.get(),
            want: sectorsize,
        });
    }
    let length = chunk.length();
    let field = Field::ChunkRange;
    if length == 0 {
        return Err(Rule::Zero { field });
    }
    aligned(length)?;
    if logical.checked_add(length).is_none() {
        return Err(Rule::Overflow {
            field,
            start: logical,
            length,
        });
    }
    if header.stripe_len.get() != STRIPE_LEN {
        return Err(Rule::ChunkStripeLength {
            have: header.stripe_len.get(),
        });
    }
    if length >= LENGTH_LIMIT {
        return Err(Rule::ChunkTooLong {
            have: length,
            limit: LENGTH_LIMIT,
        });
    }
    Ok(())
}

fn check_chunk_flags(flags: BlockGroupFlags, incompat: Incompat) -> Result<(), Rule> {
    let unknown = flags.difference(BlockGroupFlags::VALID);
    if !unknown.is_empty() {
        return Err(Rule::ChunkType {
            have: unknown.bits(),
        });
    }
    let have = flags.bits();
    if flags.types().is_empty() {
        return Err(Rule::ChunkNoType { have });
    }
    let other = BlockGroupFlags::DATA | BlockGroupFlags::METADATA;
    if flags.contains(BlockGroupFlags::SYSTEM) && flags.intersects(other) {
        return Err(Rule::ChunkSystemMixed { have });
    }
    if flags.is_mixed() && !incompat.contains(Incompat::MIXED_GROUPS) {
        return Err(Rule::ChunkMixed { have });
    }
    check_remap_flags(flags, incompat)
}

/// Verifies that nothing is remapped in a filesystem that cannot be.
pub(super) fn check_remap_flags(flags: BlockGroupFlags, incompat: Incompat) -> Result<(), Rule> {
    let remap = BlockGroupFlags::METADATA_REMAP | BlockGroupFlags::REMAPPED;
    if flags.intersects(remap) && !incompat.contains(Incompat::REMAP_TREE) {
        return Err(Rule::RemapDisabled { have: flags.bits() });
    }
    Ok(())
}

/// Most devices that RAID 5 and RAID 6 can span: the powers of the generator of GF(2^8).
const MAX_PARITY_STRIPES: u16 = 255;

fn check_stripes(chunk: &ChunkItem<'_>, profile: RaidProfile) -> Result<(), Rule> {
    let stripes = chunk.num_stripes();
    // A chunk that has been remapped completely gives its stripes up.
    let remapped = chunk.flags().contains(BlockGroupFlags::REMAPPED);
    if remapped && stripes == 0 {
        return Ok(());
    }
    // The fields that parity is computed in have no more elements.
    let parity = matches!(profile, RaidProfile::Raid5 | RaidProfile::Raid6);
    let too_many = parity && stripes > MAX_PARITY_STRIPES;
    if too_many || !profile.allows_stripes(stripes, chunk.sub_stripes()) {
        return Err(Rule::ChunkStripes {
            stripes,
            sub_stripes: chunk.sub_stripes(),
            profile: profile.name(),
        });
    }
    // How long a stripe is exactly is the volume layer's to know. It is never longer than this.
    let length = chunk
        .length()
        .checked_div(u64::from(profile.data_stripes(stripes)))
        .unwrap_or(0)
        .saturating_add(STRIPE_LEN);
    for stripe in chunk.stripes() {
        let start = stripe.offset.get();
        if start.checked_add(length).is_none() {
            return Err(Rule::Overflow {
                field: Field::StripeRange,
                start,
                length,
            });
        }
    }
    Ok(())
}

/// Verifies a `DEV_ITEM`. A device that is being removed may have the size 0.
pub(super) fn check_dev_item(subject: &Subject<'_>) -> Result<(), Rule> {
    subject.objectid(objectid::DEV_ITEMS)?;
    let Some(device) = DevItem::from_bytes(subject.data) else {
        return Err(subject.bad_size(DevItem::SIZE));
    };
    if device.devid.get() != subject.key.offset {
        return Err(Rule::DevItemId {
            key: subject.key.offset,
            have: device.devid.get(),
        });
    }
    let used = device.bytes_used.get();
    let total = device.total_bytes.get();
    if used > total {
        return Err(Rule::DevBytesUsed { used, total });
    }
    Ok(())
}

/// Verifies a `DEV_EXTENT`.
pub(super) fn check_dev_extent(subject: &Subject<'_>) -> Result<(), Rule> {
    let Some(extent) = DevExtent::from_bytes(subject.data) else {
        return Err(subject.bad_size(DevExtent::SIZE));
    };
    let tree = extent.chunk_tree.get();
    if tree != TreeId::CHUNK_TREE.get() {
        return Err(Rule::DevExtentTree { have: tree });
    }
    let chunk_objectid = extent.chunk_objectid.get();
    if chunk_objectid != objectid::FIRST_CHUNK_TREE {
        return Err(Rule::DevExtentObjectid {
            have: chunk_objectid,
        });
    }
    let start = subject.key.offset;
    let length = extent.length.get();
    subject.aligned(Field::KeyOffset, start)?;
    subject.aligned(Field::DevExtentChunk, extent.chunk_offset.get())?;
    subject.aligned(Field::DevExtentRange, length)?;
    subject.range_end(Field::DevExtentRange, start, length)?;

    let Some((prev, data)) = subject.prev_of_type(item::DEV_EXTENT) else {
        return Ok(());
    };
    let prev_length = DevExtent::from_bytes(data).map_or(0, |prev| prev.length.get());
    let prev_end = prev.offset.saturating_add(prev_length);
    if prev.objectid == subject.key.objectid && prev_end > start {
        return Err(Rule::Overlap {
            field: Field::DevExtentRange,
            prev_end,
            start,
        });
    }
    Ok(())
}
