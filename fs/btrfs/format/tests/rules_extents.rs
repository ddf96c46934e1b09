// SPDX-License-Identifier: GPL-2.0

//! One test per rule of extents, their references, and roots.

mod support;

use btrfs_format::check::Field;
use btrfs_format::extent::{ExtentDataRef, ExtentFlags, ExtentItem, TreeBlockInfo};
use btrfs_format::root::{RootItem, RootRefHeader};
use btrfs_format::superblock::Incompat;
use btrfs_format::{item, Key, Rule, TreeId};
use support::block::{check_item, check_items, check_with, unaligned};
use zerocopy::little_endian::{U16, U32, U64};

const EXTENTS: TreeId = TreeId::EXTENT_TREE;
const START: u64 = 1 << 30;

fn extent(refs: u64, flags: ExtentFlags) -> ExtentItem {
    ExtentItem {
        refs: U64::new(refs),
        generation: U64::new(50),
        flags: U64::new(flags.bits()),
    }
}

fn data_ref(root: u64, ino: u64, offset: u64, count: u32) -> Vec<u8> {
    let data_ref = ExtentDataRef {
        root: U64::new(root),
        objectid: U64::new(ino),
        offset: U64::new(offset),
        count: U32::new(count),
    };
    [&[item::EXTENT_DATA_REF], data_ref.to_disk()].concat()
}

fn inline_ref(kind: u8, offset: u64) -> Vec<u8> {
    [&[kind][..], &offset.to_le_bytes()[..]].concat()
}

fn shared_data_ref(parent: u64, count: u32) -> Vec<u8> {
    let head = inline_ref(item::SHARED_DATA_REF, parent);
    [&head[..], &count.to_le_bytes()[..]].concat()
}

fn check_data(refs: u64, inline: &[Vec<u8>]) -> Result<(), Rule> {
    let data = [extent(refs, ExtentFlags::DATA).to_disk(), &inline.concat()].concat();
    check_item(EXTENTS, Key::new(START, item::EXTENT_ITEM, 8192), &data)
}

fn check_metadata(refs: u64, inline: &[Vec<u8>]) -> Result<(), Rule> {
    let flags = ExtentFlags::TREE_BLOCK;
    let data = [extent(refs, flags).to_disk(), &inline.concat()].concat();
    check_item(EXTENTS, Key::new(START, item::METADATA_ITEM, 1), &data)
}

#[test]
fn extent_items() {
    let good = data_ref(5, 257, 0, 2);
    assert_eq!(check_data(2, std::slice::from_ref(&good)), Ok(()));
    let refs = inline_ref(item::TREE_BLOCK_REF, 5);
    assert_eq!(check_metadata(1, std::slice::from_ref(&refs)), Ok(()));

    let check = |key, item: ExtentItem, rest: &[u8]| {
        check_item(EXTENTS, key, &[item.to_disk(), rest].concat())
    };
    let data_key = Key::new(START, item::EXTENT_ITEM, 8192);
    let block_key = Key::new(START, item::METADATA_ITEM, 1);
    let data = extent(2, ExtentFlags::DATA);
    let block = extent(2, ExtentFlags::TREE_BLOCK);
    for flags in [
        ExtentFlags::empty(),
        ExtentFlags::DATA | ExtentFlags::TREE_BLOCK,
    ] {
        let rule = Err(Rule::ExtentFlags { have: flags.bits() });
        assert_eq!(check(block_key, extent(1, flags), &[]), rule);
    }
    let result = check(block_key, data, &good);
    assert_eq!(result, Err(Rule::DataInMetadataItem));
    let full = extent(2, ExtentFlags::DATA | ExtentFlags::FULL_BACKREF);
    assert_eq!(check(data_key, full, &good), Err(Rule::DataFullBackref));
    let mut future = data;
    future.generation = U64::new(102);
    let (field, have, max) = (Field::ExtentGeneration, 102, 101);
    let rule = Rule::Generation { field, have, max };
    assert_eq!(check(data_key, future, &good), Err(rule));
    let rule = Rule::ItemTooShort { have: 23, min: 24 };
    let result = check_item(EXTENTS, data_key, &data.to_disk()[..23]);
    assert_eq!(result, Err(rule));

    let key = Key::new(START, item::METADATA_ITEM, 8);
    let (field, have, max) = (Field::ExtentLevel, 8, 7);
    let rule = Rule::TooLarge { field, have, max };
    assert_eq!(check(key, block, &refs), Err(rule));
    let key = Key::new(START + 1, item::METADATA_ITEM, 1);
    let result = check(key, block, &refs);
    assert_eq!(result, unaligned(Field::KeyObjectid, START + 1));
    let key = Key::new(START, item::EXTENT_ITEM, 0);
    let field = Field::ExtentRange;
    assert_eq!(check(key, data, &good), Err(Rule::Zero { field }));
    let key = Key::new(START, item::EXTENT_ITEM, 513);
    assert_eq!(check(key, data, &good), unaligned(Field::KeyOffset, 513));
    let features = Incompat::STABLE.difference(Incompat::SKINNY_METADATA);
    let data = [block.to_disk(), &refs].concat();
    let result = check_with(features, EXTENTS, block_key, &data);
    assert_eq!(result, Err(Rule::SkinnyDisabled));
}

#[test]
fn extent_items_of_tree_blocks() {
    let block = extent(1, ExtentFlags::TREE_BLOCK);
    let info = |level| TreeBlockInfo {
        key: Key::MIN.into(),
        level,
    };
    let refs = inline_ref(item::TREE_BLOCK_REF, 5);
    let check = |length, level| {
        let data = [block.to_disk(), info(level).to_disk(), &refs].concat();
        check_item(EXTENTS, Key::new(START, item::EXTENT_ITEM, length), &data)
    };
    assert_eq!(check(4096, 7), Ok(()));
    let (field, have, max) = (Field::ExtentLevel, 8, 7);
    assert_eq!(check(4096, 8), Err(Rule::TooLarge { field, have, max }));
    let (have, want) = (8192, 4096);
    assert_eq!(check(8192, 1), Err(Rule::TreeBlockLength { have, want }));
    let key = Key::new(START, item::EXTENT_ITEM, 4096);
    let rule = Rule::ItemTooShort { have: 24, min: 42 };
    assert_eq!(check_item(EXTENTS, key, block.to_disk()), Err(rule));
}

#[test]
fn inline_references() {
    let file = data_ref(5, 257, 0, 1);
    let shared = shared_data_ref(4096, 1);
    assert_eq!(check_data(2, &[file.clone(), shared.clone()]), Ok(()));
    let owner = inline_ref(item::EXTENT_OWNER_REF, 5);
    assert_eq!(check_data(1, &[owner, file.clone()]), Ok(()));
    let result = check_data(2, &[shared.clone(), file.clone()]);
    let (kind, prev) = (item::EXTENT_DATA_REF, item::SHARED_DATA_REF);
    assert_eq!(result, Err(Rule::InlineRefOrder { kind, prev }));
    let lower = shared_data_ref(4096, 1);
    let higher = shared_data_ref(8192, 1);
    assert_eq!(check_data(2, &[higher.clone(), lower.clone()]), Ok(()));
    let kind = prev;
    let result = check_data(2, &[lower, higher]);
    assert_eq!(result, Err(Rule::InlineRefOrder { kind, prev }));

    let (refs, inline) = (1, 2);
    let result = check_data(1, &[file.clone(), shared.clone()]);
    assert_eq!(result, Err(Rule::InlineRefCount { refs, inline }));
    let result = check_data(1, &[inline_ref(1, 0)]);
    assert_eq!(result, Err(Rule::InlineRefType { have: 1 }));
    let (kind, rest) = (item::EXTENT_DATA_REF, 28);
    let result = check_data(1, &[file[..28].to_vec()]);
    assert_eq!(result, Err(Rule::InlineRefOverflow { kind, rest }));
    let kind = item::TREE_BLOCK_REF;
    let result = check_data(1, &[inline_ref(kind, 5)]);
    assert_eq!(result, Err(Rule::InlineRefKind { kind }));
    let kind = item::EXTENT_DATA_REF;
    let result = check_metadata(1, &[file]);
    assert_eq!(result, Err(Rule::InlineRefKind { kind }));
    let result = check_metadata(1, &[inline_ref(item::SHARED_BLOCK_REF, 5)]);
    assert_eq!(result, unaligned(Field::RefParent, 5));
}

#[test]
fn data_references() {
    let check = |root, ino, offset, count| check_data(9, &[data_ref(root, ino, offset, count)]);
    for root in [5, 256, TreeId::DATA_RELOC.get(), TreeId::ROOT_TREE.get()] {
        assert_eq!(check(root, 257, 0, 1), Ok(()));
    }
    assert_eq!(check(7, 257, 0, 1), Err(Rule::DataRefRoot { have: 7 }));
    assert_eq!(check(5, 2, 0, 1), Err(Rule::DataRefInode { have: 2 }));
    assert_eq!(check(5, 257, 1, 1), unaligned(Field::RefOffset, 1));
    // Positions before the extent's beginning wrap around.
    assert_eq!(check(5, 257, 4096u64.wrapping_neg(), 1), Ok(()));
    let field = Field::RefCount;
    assert_eq!(check(5, 257, 0, 0), Err(Rule::Zero { field }));
    let result = check_data(1, &[shared_data_ref(4096, 0)]);
    assert_eq!(result, Err(Rule::Zero { field }));
    let result = check_data(1, &[shared_data_ref(1, 1)]);
    assert_eq!(result, unaligned(Field::RefParent, 1));
}

#[test]
fn keyed_references() {
    let check =
        |kind, start, offset, data: &[u8]| check_item(EXTENTS, Key::new(start, kind, offset), data);
    assert_eq!(check(item::TREE_BLOCK_REF, START, 5, &[]), Ok(()));
    assert_eq!(check(item::SHARED_BLOCK_REF, START, 4096, &[]), Ok(()));
    assert_eq!(
        check(item::SHARED_DATA_REF, START, 4096, &[1, 0, 0, 0]),
        Ok(())
    );
    let result = check(item::SHARED_BLOCK_REF, START, 5, &[]);
    assert_eq!(result, unaligned(Field::RefParent, 5));
    let result = check(item::TREE_BLOCK_REF, 1, 5, &[]);
    assert_eq!(result, unaligned(Field::KeyObjectid, 1));
    let (have, want) = (1, 0);
    let result = check(item::TREE_BLOCK_REF, START, 5, &[0]);
    assert_eq!(result, Err(Rule::ItemSize { have, want }));
    let (have, want) = (0, 4);
    let result = check(item::SHARED_DATA_REF, START, 4096, &[]);
    assert_eq!(result, Err(Rule::ItemSize { have, want }));
    let field = Field::RefCount;
    let result = check(item::SHARED_DATA_REF, START, 4096, &[0; 4]);
    assert_eq!(result, Err(Rule::Zero { field }));

    let kind = item::EXTENT_DATA_REF;
    let good = data_ref(5, 257, 0, 1);
    assert_eq!(check(kind, START, 99, &good[1..]), Ok(()));
    let (have, unit) = (29, 28);
    let result = check(kind, START, 99, &good);
    assert_eq!(result, Err(Rule::ItemSizeMultiple { have, unit }));
    let result = check(kind, START, 99, &data_ref(7, 257, 0, 1)[1..]);
    assert_eq!(result, Err(Rule::DataRefRoot { have: 7 }));
}

#[test]
fn extents_overlap() {
    let block = extent(0, ExtentFlags::TREE_BLOCK);
    let data = extent(0, ExtentFlags::DATA);
    let check = |start| {
        let key = Key::new(START, item::EXTENT_ITEM, 8192);
        let next = Key::new(start, item::METADATA_ITEM, 0);
        check_items(EXTENTS, &[(key, data.to_disk()), (next, block.to_disk())])
    };
    assert_eq!(check(START + 8192), Ok(()));
    let rule = Rule::Overlap {
        field: Field::ExtentRange,
        prev_end: START + 8192,
        start: START + 4096,
    };
    assert_eq!(check(START + 4096), Err(rule));
}

fn check_root(change: impl Fn(&mut RootItem)) -> Result<(), Rule> {
    let mut root = RootItem::zeroed();
    root.bytenr = U64::new(START);
    change(&mut root);
    let key = Key::new(5, item::ROOT_ITEM, 0);
    check_item(TreeId::ROOT_TREE, key, root.to_disk())
}

#[test]
fn root_items() {
    assert_eq!(check_root(|_| ()), Ok(()));
    let future = |field| {
        let (have, max) = (102, 101);
        Err(Rule::Generation { field, have, max })
    };
    let late = U64::new(102);
    let result = check_root(|root| root.generation = late);
    assert_eq!(result, future(Field::RootGeneration));
    let result = check_root(|root| root.generation_v2 = late);
    assert_eq!(result, future(Field::RootGenerationV2));
    let result = check_root(|root| root.last_snapshot = late);
    assert_eq!(result, future(Field::LastSnapshot));
    let result = check_root(|root| root.bytenr = U64::new(1));
    assert_eq!(result, unaligned(Field::RootBytenr, 1));
    let level = |field| Err(Rule::RootLevel { field, have: 8 });
    let result = check_root(|root| root.level = 8);
    assert_eq!(result, level(Field::RootLevel));
    let result = check_root(|root| root.drop_level = 8);
    assert_eq!(result, level(Field::DropLevel));
    let result = check_root(|root| root.drop_progress = Key::new(300, 1, 0).into());
    assert_eq!(result, Err(Rule::DropProgress { objectid: 300 }));
    let result = check_root(|root| root.flags = U64::new(2));
    assert_eq!(result, Err(Rule::RootFlags { have: 2 }));
    let result = check_root(|root| root.flags = U64::new(1 | 1 << 48));
    assert_eq!(result, Ok(()));
}

#[test]
fn root_keys_and_sizes() {
    let root = RootItem::zeroed();
    let check = |objectid, offset, len| {
        let key = Key::new(objectid, item::ROOT_ITEM, offset);
        check_item(TreeId::ROOT_TREE, key, &root.to_disk()[..len])
    };
    assert_eq!(check(5, 0, 439), Ok(()));
    assert_eq!(check(5, 0, 239), Ok(()));
    let (have, want) = (240, 439);
    assert_eq!(check(5, 0, 240), Err(Rule::ItemSize { have, want }));
    assert_eq!(check(0, 0, 439), Err(Rule::RootZero));
    let reloc = TreeId::TREE_RELOC.get();
    assert_eq!(check(reloc, 300, 439), Ok(()));
    assert_eq!(check(reloc, 2, 439), Err(Rule::RelocRoot { have: 2 }));

    let root_ref = |name_len, name: &[u8]| {
        let header = RootRefHeader {
            dirid: U64::new(256),
            sequence: U64::new(2),
            name_len: U16::new(name_len),
        };
        let data = [header.to_disk(), name].concat();
        let key = Key::new(5, item::ROOT_REF, 256);
        check_item(TreeId::ROOT_TREE, key, &data)
    };
    assert_eq!(root_ref(4, b"name"), Ok(()));
    let (have, want) = (22, 23);
    assert_eq!(root_ref(5, b"name"), Err(Rule::ItemSize { have, want }));
    let (have, max) = (0, 255);
    assert_eq!(root_ref(0, b""), Err(Rule::NameLength { have, max }));
    let have = 256;
    let result = root_ref(256, &[b'x'; 256]);
    assert_eq!(result, Err(Rule::NameLength { have, max }));
}
