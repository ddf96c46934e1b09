// SPDX-License-Identifier: GPL-2.0

//! Allocated extents and their references.

use super::{Field, Rule, Subject};
use crate::extent::{
    extent_data_refs, ExtentDataRef, ExtentFlags, ExtentItem, ExtentRecord, ExtentRef,
    SharedDataRef, TreeBlockInfo,
};
use crate::key::{item, Key};
use crate::superblock::Incompat;
use crate::types::{Ino, TreeId, MAX_LEVEL};

/// Verifies an `EXTENT_ITEM` or `METADATA_ITEM`.
pub(super) fn check_extent_item(subject: &Subject<'_>) -> Result<(), Rule> {
    check_extent_key(subject)?;
    subject.size_at_least(ExtentItem::SIZE)?;
    let Some(record) = ExtentRecord::parse(&subject.key, subject.data) else {
        return Err(Rule::ItemTooShort {
            have: subject.data.len(),
            min: ExtentItem::SIZE.saturating_add(TreeBlockInfo::SIZE),
        });
    };
    subject.generation(Field::ExtentGeneration, record.item.generation.get())?;
    check_extent_flags(subject, record.item.flags())?;
    if let Some(info) = record.tree_block {
        check_level(u64::from(info.level))?;
    }
    check_inline_refs(subject, &record)?;
    check_prev_extent(subject)
}

/// A small item, whose key has the block's level instead of its length.
fn is_skinny(key: &Key) -> bool {
    key.item_type == item::METADATA_ITEM
}

fn check_level(have: u64) -> Result<(), Rule> {
    if have < u64::from(MAX_LEVEL) {
        return Ok(());
    }
    Err(Rule::TooLarge {
        field: Field::ExtentLevel,
        have,
        max: u64::from(MAX_LEVEL.saturating_sub(1)),
    })
}

/// The length of the extent in bytes.
fn extent_length(subject: &Subject<'_>, key: &Key) -> u64 {
    if is_skinny(key) {
        u64::from(subject.context.geometry.nodesize)
    } else {
        key.offset
    }
}

fn check_extent_key(subject: &Subject<'_>) -> Result<(), Rule> {
    let key = &subject.key;
    if is_skinny(key) {
        if !subject.context.incompat.contains(Incompat::SKINNY_METADATA) {
            return Err(Rule::SkinnyDisabled);
        }
        check_level(key.offset)?;
    }
    subject.aligned(Field::KeyObjectid, key.objectid)?;
    let length = extent_length(subject, key);
    subject.range_end(Field::ExtentRange, key.objectid, length)?;
    Ok(())
}

fn check_extent_flags(subject: &Subject<'_>, flags: ExtentFlags) -> Result<(), Rule> {
    let key = &subject.key;
    let is_data = flags.contains(ExtentFlags::DATA);
    if is_data == flags.contains(ExtentFlags::TREE_BLOCK) {
        return Err(Rule::ExtentFlags { have: flags.bits() });
    }
    if is_data {
        if is_skinny(key) {
            return Err(Rule::DataInMetadataItem);
        }
        if flags.contains(ExtentFlags::FULL_BACKREF) {
            return Err(Rule::DataFullBackref);
        }
        return subject.aligned(Field::KeyOffset, key.offset);
    }
    let nodesize = subject.context.geometry.nodesize;
    if !is_skinny(key) && key.offset != u64::from(nodesize) {
        return Err(Rule::TreeBlockLength {
            have: key.offset,
            want: nodesize,
        });
    }
    Ok(())
}

/// Verifies each inline reference, their order, and that there are not more than counted.
fn check_inline_refs(subject: &Subject<'_>, record: &ExtentRecord<'_>) -> Result<(), Rule> {
    let is_data = record.item.flags().contains(ExtentFlags::DATA);
    let mut refs = record.inline_refs();
    let mut count = 0u64;
    let mut prev: Option<(u8, u64)> = None;
    for reference in &mut refs {
        check_ref(subject, &reference)?;
        let kind = reference.kind();
        let fits = match reference {
            ExtentRef::TreeBlock { .. } | ExtentRef::SharedBlock { .. } => !is_data,
            ExtentRef::Data { .. } | ExtentRef::SharedData { .. } => is_data,
            ExtentRef::Owner { .. } => true,
        };
        if !fits {
            return Err(Rule::InlineRefKind { kind });
        }
        let sequence = reference.sequence(subject.context.crc32c);
        if let Some((prev_kind, prev_sequence)) = prev {
            if kind < prev_kind || (kind == prev_kind && sequence > prev_sequence) {
                return Err(Rule::InlineRefOrder {
                    kind,
                    prev: prev_kind,
                });
            }
        }
        prev = Some((kind, sequence));
        count = count.saturating_add(u64::from(reference.count()));
    }
    check_refs_end(refs.rest())?;
    let refs = record.item.refs.get();
    if count > refs {
        return Err(Rule::InlineRefCount {
            refs,
            inline: count,
        });
    }
    Ok(())
}

/// Says why decoding inline references ended before the item did.
fn check_refs_end(rest: &[u8]) -> Result<(), Rule> {
    match rest.first() {
        None => Ok(()),
        Some(&kind) if ExtentRef::inline_size(kind).is_some() => Err(Rule::InlineRefOverflow {
            kind,
            rest: rest.len(),
        }),
        Some(&kind) => Err(Rule::InlineRefType { have: kind }),
    }
}

/// Verifies that the previous extent of the leaf ends before this one begins.
fn check_prev_extent(subject: &Subject<'_>) -> Result<(), Rule> {
    let Some((prev, _)) = subject.prev else {
        return Ok(());
    };
    if prev.item_type != item::EXTENT_ITEM && prev.item_type != item::METADATA_ITEM {
        return Ok(());
    }
    let prev_end = prev.objectid.saturating_add(extent_length(subject, &prev));
    if prev_end > subject.key.objectid {
        return Err(Rule::Overlap {
            field: Field::ExtentRange,
            prev_end,
            start: subject.key.objectid,
        });
    }
    Ok(())
}

/// Verifies a reference, inline or of its own.
fn check_ref(subject: &Subject<'_>, reference: &ExtentRef) -> Result<(), Rule> {
    match *reference {
        ExtentRef::TreeBlock { .. } | ExtentRef::Owner { .. } => Ok(()),
        ExtentRef::SharedBlock { parent } => subject.aligned(Field::RefParent, parent.get()),
        ExtentRef::SharedData { parent, count } => {
            subject.aligned(Field::RefParent, parent.get())?;
            check_count(count)
        }
        ExtentRef::Data {
            root,
            ino,
            offset,
            count,
        } => {
            check_data_ref_owner(root, ino)?;
            subject.aligned(Field::RefOffset, offset)?;
            check_count(count)
        }
    }
}

fn check_count(count: u32) -> Result<(), Rule> {
    if count != 0 {
        return Ok(());
    }
    Err(Rule::Zero {
        field: Field::RefCount,
    })
}

/// Data is referenced by subvolumes, by relocation, and by free space caches in the root tree.
fn check_data_ref_owner(root: TreeId, ino: Ino) -> Result<(), Rule> {
    if !root.is_fstree() && root != TreeId::DATA_RELOC && root != TreeId::ROOT_TREE {
        return Err(Rule::DataRefRoot { have: root.get() });
    }
    if !ino.is_file() {
        return Err(Rule::DataRefInode { have: ino.get() });
    }
    Ok(())
}

/// Verifies a `TREE_BLOCK_REF`, `SHARED_BLOCK_REF` or `SHARED_DATA_REF`.
pub(super) fn check_keyed_ref(subject: &Subject<'_>) -> Result<(), Rule> {
    subject.size(match subject.key.item_type {
        item::SHARED_DATA_REF => SharedDataRef::SIZE,
        _ => 0,
    })?;
    subject.aligned(Field::KeyObjectid, subject.key.objectid)?;
    match ExtentRef::parse_keyed(&subject.key, subject.data) {
        Some(reference) => check_ref(subject, &reference),
        None => Err(subject.bad_size(SharedDataRef::SIZE)),
    }
}

/// Verifies an `EXTENT_DATA_REF`.
///
/// The key's offset is a hash, but counts up on collisions: it cannot be verified.
pub(super) fn check_data_ref(subject: &Subject<'_>) -> Result<(), Rule> {
    subject.size_at_least(ExtentDataRef::SIZE)?;
    if subject.data.len() % ExtentDataRef::SIZE != 0 {
        return Err(Rule::ItemSizeMultiple {
            have: subject.data.len(),
            unit: ExtentDataRef::SIZE,
        });
    }
    subject.aligned(Field::KeyObjectid, subject.key.objectid)?;
    for data_ref in extent_data_refs(subject.data) {
        check_ref(subject, &ExtentRef::from(data_ref))?;
    }
    Ok(())
}
