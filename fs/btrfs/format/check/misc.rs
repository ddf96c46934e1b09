// SPDX-License-Identifier: GPL-2.0

//! Items whose length is all there is to verify, and experimental trees.

use super::{Field, Rule, Subject};
use crate::balance::BalanceItem;
use crate::device::DevReplaceItem;
use crate::free_space::FreeSpaceHeader;
use crate::inode::DirLogItem;
use crate::key::item;
use crate::qgroup::{QgroupInfoItem, QgroupLimitItem, QgroupStatusItem};
use crate::stripe::{RaidStride, RemapItem};
use crate::superblock::Incompat;
use crate::types::{objectid, TreeId};
use crate::verity::VerityDescriptorItem;

/// Verifies an item of a type that has no file of its own; unknown types pass.
pub(super) fn check(subject: &Subject<'_>) -> Result<(), Rule> {
    match subject.key.item_type {
        // The header of a free space cache has no type.
        0 if subject.owner == TreeId::ROOT_TREE && subject.key.objectid == objectid::FREE_SPACE => {
            subject.size_at_least(FreeSpaceHeader::SIZE)
        }
        item::VERITY_DESC if subject.key.offset == 0 => subject.size(VerityDescriptorItem::SIZE),
        item::VERITY_DESC | item::VERITY_MERKLE => check_verity_piece(subject),
        item::ORPHAN_ITEM => subject.size(0),
        item::DIR_LOG_ITEM | item::DIR_LOG_INDEX => subject.size(DirLogItem::SIZE),
        item::QGROUP_STATUS => {
            subject.objectid(0)?;
            subject.size_at_least(QgroupStatusItem::SIZE)
        }
        item::QGROUP_INFO => {
            subject.objectid(0)?;
            subject.size(QgroupInfoItem::SIZE)
        }
        item::QGROUP_LIMIT => {
            subject.objectid(0)?;
            subject.size(QgroupLimitItem::SIZE)
        }
        item::QGROUP_RELATION => subject.size(0),
        item::TEMPORARY_ITEM if subject.key.objectid == objectid::BALANCE => {
            subject.size_at_least(BalanceItem::SIZE)
        }
        item::PERSISTENT_ITEM if subject.key.objectid == objectid::DEV_STATS => {
            check_array(subject, 8)
        }
        item::DEV_REPLACE => subject.size_at_least(DevReplaceItem::SIZE),
        item::UUID_SUBVOL | item::UUID_RECEIVED_SUBVOL => check_array(subject, 8),
        item::RAID_STRIPE => check_raid_stripe(subject),
        item::IDENTITY_REMAP => check_remap(subject, 0),
        item::REMAP | item::REMAP_BACKREF => check_remap(subject, RemapItem::SIZE),
        _ => Ok(()),
    }
}

/// Requires one or more elements of `unit` bytes.
fn check_array(subject: &Subject<'_>, unit: usize) -> Result<(), Rule> {
    let have = subject.data.len();
    if have == 0 {
        return Err(Rule::ItemEmpty);
    }
    if have.checked_rem(unit) != Some(0) {
        return Err(Rule::ItemSizeMultiple { have, unit });
    }
    Ok(())
}

/// A piece of a verity descriptor or Merkle tree continues at its end: it must not be empty.
fn check_verity_piece(subject: &Subject<'_>) -> Result<(), Rule> {
    if subject.data.is_empty() {
        return Err(Rule::ItemEmpty);
    }
    let length = u64::try_from(subject.data.len()).unwrap_or(u64::MAX);
    subject.range_end(Field::KeyOffset, subject.key.offset, length)?;
    Ok(())
}

fn check_raid_stripe(subject: &Subject<'_>) -> Result<(), Rule> {
    let key = &subject.key;
    if !subject
        .context
        .incompat
        .contains(Incompat::RAID_STRIPE_TREE)
    {
        return Err(Rule::RaidStripeDisabled);
    }
    subject.aligned(Field::KeyObjectid, key.objectid)?;
    subject.aligned(Field::KeyOffset, key.offset)?;
    subject.range_end(Field::RaidStripeRange, key.objectid, key.offset)?;
    check_array(subject, RaidStride::SIZE)
}

fn check_remap(subject: &Subject<'_>, size: usize) -> Result<(), Rule> {
    let key = &subject.key;
    if !subject.context.incompat.contains(Incompat::REMAP_TREE) {
        return Err(Rule::RemapItemDisabled);
    }
    subject.size(size)?;
    subject.aligned(Field::KeyObjectid, key.objectid)?;
    subject.aligned(Field::KeyOffset, key.offset)?;
    subject.range_end(Field::RemapRange, key.objectid, key.offset)?;
    Ok(())
}
