// SPDX-License-Identifier: GPL-2.0

//! Decodes whatever bytes it gets in every way there is. Must not panic, whatever they are.

#![allow(dead_code)] // Each fuzz target uses a part of it.

use btrfs_format::balance::BalanceItem;
use btrfs_format::block_group::{BlockGroupItem, BlockGroupItemV2};
use btrfs_format::csum::CsumItem;
use btrfs_format::device::{parse_dev_stats, DevReplaceItem, DevReplaceState};
use btrfs_format::dir::{name_hash, DirItems};
use btrfs_format::extent::{extent_data_refs, ExtentRecord, ExtentRef};
use btrfs_format::file_extent::FileExtent;
use btrfs_format::inode::{extref_hash, InodeExtrefs, InodeItem, InodeRefs};
use btrfs_format::qgroup::{parse_enable_gen, QgroupId, QgroupStatusItem};
use btrfs_format::root::{RootItem, RootRef};
use btrfs_format::stripe::raid_strides;
use btrfs_format::superblock::validate::{check_features, validate, warnings, Validation};
use btrfs_format::superblock::{CompatRo, Incompat};
use btrfs_format::uuid::{key_uuid, uuid_key, uuid_subvolumes};
use btrfs_format::{ChunkItem, CsumType, Key, Leaf, Logical, Node, Superblock};
use std::hint::black_box;

/// Reads a block as leaf and as node, and every item of it as every kind.
pub fn block(block: &[u8]) {
    let leaf = Leaf::new(block);
    for slot in 0..=leaf.nritems() {
        black_box(leaf.item_range(slot));
        if let Some((key, data)) = leaf.entry(slot) {
            black_box(leaf.search(&key).is_ok());
            item(&key, data);
        }
    }
    let node = Node::new(block);
    for slot in 0..=node.nritems() {
        if let Some(child) = node.child(slot) {
            black_box(node.search(&child.key));
        }
    }
}

/// Reads `data` as every kind of item.
pub fn item(key: &Key, data: &[u8]) {
    names(key, data);
    extents(key, data);
    if let Some(chunk) = ChunkItem::parse(data) {
        black_box((chunk.profile(), chunk.stripes().len()));
        black_box(
            chunk
                .profile()
                .map(|profile| profile.data_stripes(chunk.num_stripes())),
        );
    }
    if let Some(inode) = InodeItem::from_bytes(data) {
        black_box((inode.flags(), inode.is_dir(), inode.atime.seconds()));
    }
    if let Some(root) = RootItem::parse(data) {
        black_box((root.has_v2(), root.flags(), root.is_readonly()));
    }
    if let Some(group) = BlockGroupItem::parse(data) {
        black_box((group.flags().profile(), BlockGroupItemV2::from_bytes(data)));
    }
    if let Some(replace) = DevReplaceItem::parse(data) {
        black_box(DevReplaceState::from_raw(replace.replace_state.get()));
    }
    if let Some((balance, _)) = BalanceItem::from_prefix(data) {
        black_box((balance.data.usage(), balance.meta.limit()));
    }
    black_box(QgroupStatusItem::parse(data).map(QgroupStatusItem::flags));
    black_box((parse_enable_gen(data), parse_dev_stats(data)));
    black_box(QgroupId(key.offset).pretty().to_string());
    black_box((raid_strides(data).len(), uuid_subvolumes(data).count()));
    let uuid = key_uuid(key);
    assert_eq!(uuid_key(uuid, key.item_type), *key);
}

fn names(key: &Key, data: &[u8]) {
    for entry in DirItems::new(data) {
        black_box((entry.kind(), name_hash(entry.name)));
    }
    for name in InodeRefs::new(data) {
        black_box(name_hash(name.name));
    }
    for name in InodeExtrefs::new(data) {
        black_box(extref_hash(name.parent, name.name));
    }
    black_box((RootRef::parse(data), key.to_string()));
}

fn extents(key: &Key, data: &[u8]) {
    if let Some(extent) = FileExtent::parse(data) {
        black_box((
            extent.num_bytes(),
            extent.generation(),
            extent.compression(),
        ));
        if let FileExtent::Regular(disk) = extent {
            black_box((disk.data_start(), disk.is_hole()));
        }
    }
    if let Some(record) = ExtentRecord::parse(key, data) {
        for reference in record.inline_refs() {
            black_box(reference.sequence(btrfs_format::crc32c::crc32c));
        }
    }
    black_box(ExtentRef::parse_keyed(key, data));
    black_box(extent_data_refs(data).len());
    for csum_type in CsumType::ALL {
        let csums = CsumItem::new(Logical(key.offset), data, csum_type, 4096);
        black_box((csums.count(), csums.end()));
        black_box(csums.from(Logical(key.objectid)));
    }
}

/// Reads a superblock in every way.
pub fn superblock(bytes: &[u8]) {
    let Some(superblock) = Superblock::parse(bytes) else {
        return;
    };
    let how = Validation::default();
    if let Err(rule) = validate(superblock, &how) {
        black_box(rule.to_string());
    }
    let features = check_features(superblock, Incompat::STABLE, CompatRo::STABLE, true);
    if let Err(rule) = features {
        black_box(rule.to_string());
    }
    for warning in warnings(superblock) {
        black_box(warning.to_string());
    }
    for entry in superblock.sys_chunks() {
        black_box(entry.map(|(_, chunk)| chunk.profile()).ok());
    }
    black_box((superblock.label().len(), superblock.log_root()));
    black_box(btrfs_format::Geometry::of(superblock));
}
