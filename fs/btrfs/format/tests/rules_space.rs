// SPDX-License-Identifier: GPL-2.0

//! One test per rule of chunks, devices, block groups, free space and the rest.

mod support;

use btrfs_format::block_group::{BlockGroupItem, BlockGroupItemV2};
use btrfs_format::check::{check_chunk, Field};
use btrfs_format::chunk::{ChunkHeader, Stripe};
use btrfs_format::device::{DevExtent, DevItem};
use btrfs_format::free_space::FreeSpaceInfo;
use btrfs_format::superblock::Incompat;
use btrfs_format::types::{objectid, STRIPE_LEN};
use btrfs_format::{item, BlockGroupFlags, ChunkItem, Key, RaidProfile, Rule, TreeId};
use support::block::{check_item, check_items, check_with, unaligned};
use zerocopy::little_endian::{U16, U32, U64};

const EXTENTS: TreeId = TreeId::EXTENT_TREE;
const START: u64 = 1 << 30;

fn chunk(flags: BlockGroupFlags, stripes: u16) -> ChunkHeader {
    let mut header = ChunkHeader::zeroed();
    header.length = U64::new(1 << 20);
    header.stripe_len = U64::new(STRIPE_LEN);
    header.flags = U64::new(flags.bits());
    header.sector_size = U32::new(4096);
    header.num_stripes = U16::new(stripes);
    header.sub_stripes = U16::new(2);
    header
}

fn chunk_bytes(header: &ChunkHeader, offset: u64) -> Vec<u8> {
    let mut stripe = Stripe::zeroed();
    stripe.offset = U64::new(offset);
    let stripes = stripe
        .to_disk()
        .repeat(usize::from(header.num_stripes.get()));
    [header.to_disk(), &stripes].concat()
}

fn check_chunk_of(flags: BlockGroupFlags, change: impl Fn(&mut ChunkHeader)) -> Result<(), Rule> {
    let mut header = chunk(flags, 1);
    change(&mut header);
    let data = chunk_bytes(&header, 1 << 20);
    let key = Key::new(256, item::CHUNK_ITEM, START);
    check_item(TreeId::CHUNK_TREE, key, &data)
}

#[test]
fn chunk_fields() {
    let data = BlockGroupFlags::DATA;
    assert_eq!(check_chunk_of(data, |_| ()), Ok(()));
    let field = Field::ChunkRange;
    let result = check_chunk_of(data, |chunk| chunk.length = U64::new(0));
    assert_eq!(result, Err(Rule::Zero { field }));
    let result = check_chunk_of(data, |chunk| chunk.length = U64::new(1));
    assert_eq!(result, unaligned(field, 1));
    let length = 4096u64.wrapping_neg();
    let result = check_chunk_of(data, |chunk| chunk.length = U64::new(length));
    let start = START;
    let rule = Rule::Overflow {
        field,
        start,
        length,
    };
    assert_eq!(result, Err(rule));
    let limit = 0xffff_ffff << 16;
    let result = check_chunk_of(data, |chunk| chunk.length = U64::new(limit));
    let have = limit;
    assert_eq!(result, Err(Rule::ChunkTooLong { have, limit }));
    let result = check_chunk_of(data, |chunk| chunk.stripe_len = U64::new(4096));
    assert_eq!(result, Err(Rule::ChunkStripeLength { have: 4096 }));
    let (have, want) = (512, 4096);
    let result = check_chunk_of(data, |chunk| chunk.sector_size = U32::new(512));
    assert_eq!(result, Err(Rule::ChunkSectorsize { have, want }));

    let bytes = chunk_bytes(&chunk(data, 1), 0u64.wrapping_sub(4096));
    let key = Key::new(256, item::CHUNK_ITEM, START);
    let check = |key, data: &[u8]| check_item(TreeId::CHUNK_TREE, key, data);
    let rule = Rule::Overflow {
        field: Field::StripeRange,
        start: 0u64.wrapping_sub(4096),
        length: (1 << 20) + STRIPE_LEN,
    };
    assert_eq!(check(key, &bytes), Err(rule));
    let (have, want) = (79, 80);
    assert_eq!(check(key, &bytes[..79]), Err(Rule::ItemSize { have, want }));
    let key = Key::new(5, item::CHUNK_ITEM, START);
    let (have, want) = (5, objectid::FIRST_CHUNK_TREE);
    assert_eq!(check(key, &bytes), Err(Rule::Objectid { have, want }));
}

#[test]
fn chunk_types() {
    type Flags = BlockGroupFlags;
    let check = |flags: Flags| check_chunk_of(flags, |_| ());
    let have = 1 << 20;
    let result = check(Flags::DATA | Flags::new(1 << 20));
    assert_eq!(result, Err(Rule::ChunkType { have }));
    assert_eq!(check(Flags::empty()), Err(Rule::ChunkNoType { have: 0 }));
    let flags = Flags::SYSTEM | Flags::DATA;
    let have = flags.bits();
    assert_eq!(check(flags), Err(Rule::ChunkSystemMixed { have }));
    let flags = Flags::METADATA | Flags::DATA;
    let have = flags.bits();
    assert_eq!(check(flags), Err(Rule::ChunkMixed { have }));
    let flags = Flags::METADATA | Flags::REMAPPED;
    let have = flags.bits();
    assert_eq!(check(flags), Err(Rule::RemapDisabled { have }));
    let two = Flags::RAID0 | Flags::RAID1;
    let have = two.bits();
    assert_eq!(check(Flags::DATA | two), Err(Rule::ChunkProfile { have }));
    assert_eq!(
        check_chunk_of(Flags::DATA, |chunk| chunk.num_stripes = U16::new(0)),
        Err(Rule::ChunkNoStripes)
    );
}

#[test]
fn chunk_stripes() {
    for (profile, good, bad) in [
        (RaidProfile::Single, &[1][..], &[2, 3][..]),
        (RaidProfile::Dup, &[2], &[1, 3]),
        (RaidProfile::Raid0, &[1, 2, 7], &[]),
        (RaidProfile::Raid1, &[2], &[1, 3]),
        (RaidProfile::Raid1c3, &[3], &[2, 4]),
        (RaidProfile::Raid1c4, &[4], &[3, 5]),
        (RaidProfile::Raid10, &[2, 4, 6], &[1, 3]),
        (RaidProfile::Raid5, &[2, 3, 9], &[1]),
        (RaidProfile::Raid6, &[3, 4, 9], &[1, 2]),
    ] {
        let check = |stripes| {
            let header = chunk(BlockGroupFlags::DATA | profile.flag(), stripes);
            let bytes = chunk_bytes(&header, 1 << 20);
            let chunk = ChunkItem::parse(&bytes).unwrap();
            check_chunk(START, &chunk, 4096, Incompat::STABLE)
        };
        for stripes in good {
            assert_eq!(check(*stripes), Ok(()), "{profile:?} {stripes}");
        }
        for &stripes in bad {
            let rule = Rule::ChunkStripes {
                stripes,
                sub_stripes: 2,
                profile: profile.name(),
            };
            assert_eq!(check(stripes), Err(rule));
        }
    }
    let raid10 = BlockGroupFlags::DATA | BlockGroupFlags::RAID10;
    let result = check_chunk_of(raid10, |chunk| {
        chunk.num_stripes = U16::new(4);
        chunk.sub_stripes = U16::new(1);
    });
    assert!(matches!(result, Err(Rule::ChunkStripes { .. })));
}

#[test]
fn devices() {
    let mut device = DevItem::zeroed();
    device.devid = U64::new(1);
    device.total_bytes = U64::new(100);
    let check = |objectid, devid, device: &DevItem| {
        let key = Key::new(objectid, item::DEV_ITEM, devid);
        check_item(TreeId::CHUNK_TREE, key, device.to_disk())
    };
    assert_eq!(check(1, 1, &device), Ok(()));
    let (have, want) = (2, 1);
    assert_eq!(check(2, 1, &device), Err(Rule::Objectid { have, want }));
    let (key, have) = (2, 1);
    assert_eq!(check(1, 2, &device), Err(Rule::DevItemId { key, have }));
    device.bytes_used = U64::new(101);
    let (used, total) = (101, 100);
    assert_eq!(
        check(1, 1, &device),
        Err(Rule::DevBytesUsed { used, total })
    );
    let (have, want) = (97, 98);
    let key = Key::new(1, item::DEV_ITEM, 1);
    let result = check_item(TreeId::CHUNK_TREE, key, &device.to_disk()[..97]);
    assert_eq!(result, Err(Rule::ItemSize { have, want }));
}

#[test]
fn device_extents() {
    let mut extent = DevExtent::zeroed();
    extent.chunk_tree = U64::new(3);
    extent.chunk_objectid = U64::new(256);
    extent.chunk_offset = U64::new(START);
    extent.length = U64::new(8192);
    let good = extent;
    let check = |start, extent: &DevExtent| {
        let key = Key::new(1, item::DEV_EXTENT, start);
        check_item(TreeId::DEV_TREE, key, extent.to_disk())
    };
    assert_eq!(check(4096, &good), Ok(()));
    extent.chunk_tree = U64::new(4);
    let result = check(4096, &extent);
    assert_eq!(result, Err(Rule::DevExtentTree { have: 4 }));
    extent = good;
    extent.chunk_objectid = U64::new(4);
    let result = check(4096, &extent);
    assert_eq!(result, Err(Rule::DevExtentObjectid { have: 4 }));
    extent = good;
    extent.chunk_offset = U64::new(4);
    let result = check(4096, &extent);
    assert_eq!(result, unaligned(Field::DevExtentChunk, 4));
    extent = good;
    extent.length = U64::new(4);
    let result = check(4096, &extent);
    assert_eq!(result, unaligned(Field::DevExtentRange, 4));
    extent.length = U64::new(0);
    let field = Field::DevExtentRange;
    assert_eq!(check(4096, &extent), Err(Rule::Zero { field }));
    assert_eq!(check(1, &good), unaligned(Field::KeyOffset, 1));

    let two = |device, start| {
        let key = Key::new(1, item::DEV_EXTENT, 4096);
        let next = Key::new(device, item::DEV_EXTENT, start);
        let data = good.to_disk();
        check_items(TreeId::DEV_TREE, &[(key, data), (next, data)])
    };
    assert_eq!(two(1, 12288), Ok(()));
    assert_eq!(two(2, 8192), Ok(()));
    let (prev_end, start) = (12288, 8192);
    let rule = Rule::Overlap {
        field,
        prev_end,
        start,
    };
    assert_eq!(two(1, 8192), Err(rule));
}

#[test]
fn block_groups() {
    let group = |used, objectid, flags: BlockGroupFlags| BlockGroupItem {
        used: U64::new(used),
        chunk_objectid: U64::new(objectid),
        flags: U64::new(flags.bits()),
    };
    let key = Key::new(START, item::BLOCK_GROUP_ITEM, 1 << 20);
    let check = |group: BlockGroupItem| check_item(EXTENTS, key, group.to_disk());
    type Flags = BlockGroupFlags;
    let data = Flags::DATA;
    assert_eq!(check(group(1 << 20, 256, data)), Ok(()));
    assert_eq!(check(group(0, 256, data | Flags::METADATA)), Ok(()));
    let (used, length) = ((1 << 20) + 1, 1 << 20);
    let result = check(group(used, 256, data));
    assert_eq!(result, Err(Rule::BlockGroupUsed { used, length }));
    let result = check(group(0, 1, data));
    assert_eq!(result, Err(Rule::BlockGroupObjectid { have: 1 }));
    for types in [Flags::empty(), data | Flags::SYSTEM] {
        let have = types.bits();
        let result = check(group(0, 256, types));
        assert_eq!(result, Err(Rule::BlockGroupType { have }));
    }
    let two = Flags::RAID0 | Flags::DUP;
    let have = two.bits();
    let result = check(group(0, 256, data | two));
    assert_eq!(result, Err(Rule::ChunkProfile { have }));
    let have = Flags::METADATA_REMAP.bits();
    let result = check(group(0, 256, Flags::METADATA_REMAP));
    assert_eq!(result, Err(Rule::RemapDisabled { have }));
    let field = Field::BlockGroupRange;
    let empty = Key::new(START, item::BLOCK_GROUP_ITEM, 0);
    let result = check_item(EXTENTS, empty, group(0, 256, data).to_disk());
    assert_eq!(result, Err(Rule::Zero { field }));

    let mut remapped = BlockGroupItemV2::zeroed();
    remapped.base = group(0, 256, data | Flags::REMAPPED);
    let (have, want) = (36, 24);
    let result = check_item(EXTENTS, key, remapped.to_disk());
    assert_eq!(result, Err(Rule::ItemSize { have, want }));
    let check =
        |group: &BlockGroupItemV2| check_with(Incompat::REMAP_TREE, EXTENTS, key, group.to_disk());
    assert_eq!(check(&remapped), Ok(()));
    remapped.identity_remap_count = U32::new(257);
    let (have, max) = (257, 256);
    let rule = Rule::BlockGroupRemapCount { have, max };
    assert_eq!(check(&remapped), Err(rule));
    remapped.remap_bytes = U64::new(1 << 21);
    let (have, max) = (1 << 21, 1 << 20);
    let rule = Rule::BlockGroupRemap { have, max };
    assert_eq!(check(&remapped), Err(rule));
}

fn free_space_info(flags: u32, count: u32) -> FreeSpaceInfo {
    FreeSpaceInfo {
        extent_count: U32::new(count),
        flags: U32::new(flags),
    }
}

#[test]
fn free_space_items() {
    let tree = TreeId::FREE_SPACE_TREE;
    let check =
        |kind, start, length, data: &[u8]| check_item(tree, Key::new(start, kind, length), data);
    let info = |flags, count| {
        let info = free_space_info(flags, count);
        check(item::FREE_SPACE_INFO, START, 1 << 20, info.to_disk())
    };
    assert_eq!(info(1, 256), Ok(()));
    assert_eq!(info(2, 0), Err(Rule::FreeSpaceFlags { have: 2 }));
    let (have, max) = (257, 256);
    assert_eq!(info(0, 257), Err(Rule::FreeSpaceCount { have, max }));

    for kind in [item::FREE_SPACE_EXTENT, item::FREE_SPACE_BITMAP] {
        let field = Field::FreeSpaceRange;
        let result = check(kind, START, 0, &[]);
        assert_eq!(result, Err(Rule::Zero { field }));
        let result = check(kind, START, 1, &[]);
        assert_eq!(result, unaligned(Field::KeyOffset, 1));
        let result = check(kind, 1, 4096, &[]);
        assert_eq!(result, unaligned(Field::KeyObjectid, 1));
        let start = 4096u64.wrapping_neg();
        let length = 4096;
        let rule = Rule::Overflow {
            field,
            start,
            length,
        };
        assert_eq!(check(kind, start, length, &[]), Err(rule));
    }
    let (have, want) = (1, 0);
    let result = check(item::FREE_SPACE_EXTENT, START, 4096, &[0]);
    assert_eq!(result, Err(Rule::ItemSize { have, want }));
    let kind = item::FREE_SPACE_BITMAP;
    assert_eq!(check(kind, START, 9 * 4096, &[0; 2]), Ok(()));
    let (have, want) = (1, 2);
    let result = check(kind, START, 9 * 4096, &[0]);
    assert_eq!(result, Err(Rule::ItemSize { have, want }));
}

#[test]
fn free_space_neighbours() {
    let tree = TreeId::FREE_SPACE_TREE;
    let group = Key::new(START, item::FREE_SPACE_INFO, 8192);
    let extent = |start, length| Key::new(start, item::FREE_SPACE_EXTENT, length);
    let extents = free_space_info(0, 1);
    let bitmaps = free_space_info(1, 1);
    let after =
        |info: FreeSpaceInfo, key| check_items(tree, &[(group, info.to_disk()), (key, &[])]);
    assert_eq!(after(extents, extent(START, 8192)), Ok(()));
    let prev = group;
    let result = after(extents, extent(START + 4096, 8192));
    assert_eq!(result, Err(Rule::FreeSpaceOutside { prev }));
    let result = after(bitmaps, extent(START, 8192));
    assert_eq!(result, Err(Rule::FreeSpaceKind { prev }));
    let bitmap = Key::new(START, item::FREE_SPACE_BITMAP, 8192);
    assert_eq!(after(extents, bitmap), Err(Rule::FreeSpaceKind { prev }));

    let prev = extent(START, 8192);
    let then = |key, data: &[u8]| check_items(tree, &[(prev, &[]), (key, data)]);
    assert_eq!(then(extent(START + 12288, 4096), &[]), Ok(()));
    let rule = Rule::Overlap {
        field: Field::FreeSpaceRange,
        prev_end: START + 8192,
        start: START + 4096,
    };
    assert_eq!(then(extent(START + 4096, 4096), &[]), Err(rule));
    let bitmap = Key::new(START + 12288, item::FREE_SPACE_BITMAP, 4096);
    assert_eq!(then(bitmap, &[1]), Err(Rule::FreeSpaceKind { prev }));
}

#[test]
fn items_of_fixed_size() {
    let exact = |owner, key: Key, want: usize| {
        let check = |have: usize| check_item(owner, key, &vec![0; have]);
        assert_eq!(check(want), Ok(()), "{key}");
        let have = want + 1;
        assert_eq!(check(have), Err(Rule::ItemSize { have, want }), "{key}");
    };
    let at_least = |owner, key: Key, min: usize| {
        let check = |have: usize| check_item(owner, key, &vec![0; have]);
        assert_eq!(check(min), Ok(()), "{key}");
        assert_eq!(check(min + 8), Ok(()), "{key}");
        let have = min - 1;
        assert_eq!(check(have), Err(Rule::ItemTooShort { have, min }), "{key}");
    };
    let quota = TreeId::QUOTA_TREE;
    at_least(quota, Key::new(0, item::QGROUP_STATUS, 0), 32);
    exact(quota, Key::new(0, item::QGROUP_INFO, 5), 40);
    exact(quota, Key::new(0, item::QGROUP_LIMIT, 5), 40);
    exact(quota, Key::new(5, item::QGROUP_RELATION, 1 << 48), 0);
    for kind in [item::QGROUP_STATUS, item::QGROUP_INFO, item::QGROUP_LIMIT] {
        let (have, want) = (1, 0);
        let result = check_item(quota, Key::new(1, kind, 0), &[0; 40]);
        assert_eq!(result, Err(Rule::Objectid { have, want }));
    }
    exact(
        TreeId::FS_TREE,
        Key::new(objectid::ORPHAN, item::ORPHAN_ITEM, 9),
        0,
    );
    exact(TreeId::TREE_LOG, Key::new(256, item::DIR_LOG_ITEM, 9), 8);
    exact(TreeId::TREE_LOG, Key::new(256, item::DIR_LOG_INDEX, 9), 8);
    exact(TreeId::FS_TREE, Key::new(257, item::VERITY_DESC, 0), 25);
    at_least(TreeId::DEV_TREE, Key::new(0, item::DEV_REPLACE, 0), 72);
    let root = TreeId::ROOT_TREE;
    at_least(
        root,
        Key::new(objectid::BALANCE, item::TEMPORARY_ITEM, 0),
        448,
    );
    at_least(root, Key::new(objectid::FREE_SPACE, 0, START), 41);
}

#[test]
fn items_of_arrays() {
    for (owner, key) in [
        (TreeId::DEV_TREE, Key::new(0, item::PERSISTENT_ITEM, 1)),
        (TreeId::UUID_TREE, Key::new(1, item::UUID_SUBVOL, 2)),
        (
            TreeId::UUID_TREE,
            Key::new(1, item::UUID_RECEIVED_SUBVOL, 2),
        ),
    ] {
        assert_eq!(check_item(owner, key, &[0; 16]), Ok(()));
        assert_eq!(check_item(owner, key, &[]), Err(Rule::ItemEmpty));
        let (have, unit) = (9, 8);
        let rule = Rule::ItemSizeMultiple { have, unit };
        assert_eq!(check_item(owner, key, &[0; 9]), Err(rule));
    }
    for key in [
        Key::new(257, item::VERITY_DESC, 1),
        Key::new(257, item::VERITY_MERKLE, 0),
    ] {
        assert_eq!(check_item(TreeId::FS_TREE, key, &[0; 9]), Ok(()));
        let result = check_item(TreeId::FS_TREE, key, &[]);
        assert_eq!(result, Err(Rule::ItemEmpty));
    }
}

#[test]
fn experimental_trees() {
    let tree = TreeId::RAID_STRIPE_TREE;
    let key = Key::new(START, item::RAID_STRIPE, 8192);
    let result = check_item(tree, key, &[0; 16]);
    assert_eq!(result, Err(Rule::RaidStripeDisabled));
    let check = |key, data: &[u8]| check_with(Incompat::RAID_STRIPE_TREE, tree, key, data);
    assert_eq!(check(key, &[0; 32]), Ok(()));
    let (have, unit) = (17, 16);
    let rule = Rule::ItemSizeMultiple { have, unit };
    assert_eq!(check(key, &[0; 17]), Err(rule));
    let field = Field::RaidStripeRange;
    let key = Key::new(START, item::RAID_STRIPE, 0);
    assert_eq!(check(key, &[0; 16]), Err(Rule::Zero { field }));

    let tree = TreeId::REMAP_TREE;
    for (kind, size) in [
        (item::IDENTITY_REMAP, 0),
        (item::REMAP, 8),
        (item::REMAP_BACKREF, 8),
    ] {
        let data = vec![0; size];
        let key = Key::new(START, kind, 8192);
        let result = check_item(tree, key, &data);
        assert_eq!(result, Err(Rule::RemapItemDisabled));
        let check = |key, data: &[u8]| check_with(Incompat::REMAP_TREE, tree, key, data);
        assert_eq!(check(key, &data), Ok(()));
        let (have, want) = (size + 1, size);
        let result = check(key, &vec![0; size + 1]);
        assert_eq!(result, Err(Rule::ItemSize { have, want }));
        let result = check(Key::new(START, kind, 1), &data);
        assert_eq!(result, unaligned(Field::KeyOffset, 1));
    }
}
