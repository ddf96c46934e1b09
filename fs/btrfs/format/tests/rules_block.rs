// SPDX-License-Identifier: GPL-2.0

//! One test per rule of blocks as a whole, keys, item bounds, nodes and the superblock.

mod support;

use btrfs_format::header::{Header, HeaderFlags, BACKREF_REV_MIXED};
use btrfs_format::leaf::Item;
use btrfs_format::node::KeyPtr;
use btrfs_format::superblock::validate::{
    check_features, validate, warnings, SuperRule, SuperWarning, Validation,
};
use btrfs_format::superblock::{CompatRo, Incompat, SuperFlags};
use btrfs_format::{check_block, item, ChildPtr, Expected, Generation, Key, Leaf, Logical};
use btrfs_format::{Rule, Superblock, TreeId, Uuid, Violation};
use support::block::{check, context, header, leaf, GENERATION, LOGICAL, NODESIZE};
use support::mkfs::make;
use zerocopy::little_endian::{U16, U32, U64};

const UNKNOWN: u8 = 254;

/// A leaf of three items of a type without rules, of 8 bytes each.
fn plain_leaf() -> Vec<u8> {
    let data = [1; 8];
    let items: Vec<_> = (1..=3)
        .map(|objectid| (Key::new(objectid, UNKNOWN, 0), &data[..]))
        .collect();
    leaf(TreeId::UUID_TREE, &items)
}

/// A node of level 1 with three pointers.
fn plain_node() -> Vec<u8> {
    let mut block = vec![0; NODESIZE];
    block[..Header::SIZE].copy_from_slice(header(TreeId::FS_TREE, 3, 1).to_disk());
    for slot in 0..3u64 {
        set_ptr(&mut block, slot as usize, slot + 1, (slot + 10) * 4096);
    }
    block
}

fn set_ptr(block: &mut [u8], slot: usize, objectid: u64, logical: u64) {
    let ptr = KeyPtr::from(ChildPtr {
        key: Key::new(objectid, 1, 0),
        logical: Logical(logical),
        generation: GENERATION,
    });
    let at = Header::SIZE + slot * KeyPtr::SIZE;
    block[at..at + KeyPtr::SIZE].copy_from_slice(ptr.to_disk());
}

fn with_header(mut block: Vec<u8>, change: impl Fn(&mut Header)) -> Vec<u8> {
    let mut header = *Header::of(&block).unwrap();
    change(&mut header);
    block[..Header::SIZE].copy_from_slice(header.to_disk());
    block
}

fn with_item(mut block: Vec<u8>, slot: usize, change: impl Fn(&mut Item)) -> Vec<u8> {
    let at = Header::SIZE + slot * Item::SIZE;
    let mut item = *Item::from_bytes(&block[at..at + Item::SIZE]).unwrap();
    change(&mut item);
    block[at..at + Item::SIZE].copy_from_slice(item.to_disk());
    block
}

fn rule(block: &[u8]) -> Rule {
    check(block).unwrap_err().rule
}

fn expect(change: impl Fn(&mut Expected)) -> Result<(), Rule> {
    let mut expected = Expected::at(LOGICAL);
    change(&mut expected);
    check_block(&plain_leaf(), &context(), &expected).map_err(|violation| violation.rule)
}

#[test]
fn header_rules() {
    assert_eq!(check(&plain_leaf()), Ok(()));
    assert_eq!(
        rule(&plain_leaf()[..100]),
        Rule::BlockSize {
            have: 100,
            want: 4096
        }
    );
    let block = with_header(plain_leaf(), |header| header.bytenr = U64::new(4096));
    let have = Logical(4096);
    assert_eq!(
        rule(&block),
        Rule::Bytenr {
            have,
            want: LOGICAL
        }
    );
    let block = with_header(plain_leaf(), |header| header.fsid = Uuid::NIL);
    assert_eq!(rule(&block), Rule::Fsid { have: Uuid::NIL });
    let block = with_header(plain_leaf(), |header| header.level = 8);
    assert_eq!(rule(&block), Rule::Level { have: 8 });
    let block = with_header(plain_leaf(), |header| {
        header.set_flags(HeaderFlags::RELOC, BACKREF_REV_MIXED);
    });
    assert_eq!(rule(&block), Rule::NotWritten);
}

#[test]
fn expectations() {
    assert_eq!(expect(|expected| expected.level = Some(0)), Ok(()));
    assert_eq!(
        expect(|expected| expected.level = Some(2)),
        Err(Rule::UnexpectedLevel { have: 0, want: 2 })
    );
    let want = Generation(99);
    assert_eq!(
        expect(|expected| expected.generation = Some(want)),
        Err(Rule::BlockGeneration {
            have: GENERATION,
            want
        })
    );
    assert_eq!(
        expect(|expected| expected.first_key = Some(Key::new(1, UNKNOWN, 0))),
        Ok(())
    );
    let want = Key::new(1, UNKNOWN, 1);
    assert_eq!(
        expect(|expected| expected.first_key = Some(want)),
        Err(Rule::FirstKey { want })
    );
    let mut expected = Expected::at(LOGICAL);
    expected.first_key = Some(want);
    assert_eq!(
        check_block(&leaf(TreeId::UUID_TREE, &[]), &context(), &expected),
        Err(Violation {
            slot: None,
            key: None,
            rule: Rule::EmptyChild { want }
        })
    );
}

#[test]
fn owners() {
    for (tree, fits) in [
        (TreeId::UUID_TREE, true),
        (TreeId::TREE_LOG, true),
        (TreeId::TREE_RELOC, true),
        (TreeId(0), true),
        (TreeId::FS_TREE, false),
        (TreeId(300), false),
        (TreeId::CSUM_TREE, false),
    ] {
        let result = expect(|expected| expected.owner = Some(tree));
        let owner = Rule::Owner {
            have: TreeId::UUID_TREE,
            tree,
        };
        assert_eq!(result, if fits { Ok(()) } else { Err(owner) });
    }
    // A snapshot shares blocks of other subvolumes.
    let block = leaf(TreeId(257), &[(Key::new(1, UNKNOWN, 0), &[])]);
    let mut expected = Expected::at(LOGICAL);
    expected.owner = Some(TreeId::FS_TREE);
    assert_eq!(check_block(&block, &context(), &expected), Ok(()));
}

#[test]
fn empty_leaves() {
    for owner in [
        TreeId::ROOT_TREE,
        TreeId::CHUNK_TREE,
        TreeId::DEV_TREE,
        TreeId::FS_TREE,
        TreeId::DATA_RELOC,
        TreeId::EXTENT_TREE,
    ] {
        assert_eq!(rule(&leaf(owner, &[])), Rule::EmptyRoot { owner });
    }
    assert_eq!(rule(&leaf(TreeId(0), &[])), Rule::OwnerZero);
    for owner in [TreeId::CSUM_TREE, TreeId::UUID_TREE, TreeId(257)] {
        assert_eq!(check(&leaf(owner, &[])), Ok(()));
    }
    let block = with_header(leaf(TreeId::FS_TREE, &[]), |header| {
        header.set_flags(HeaderFlags::WRITTEN | HeaderFlags::RELOC, BACKREF_REV_MIXED);
    });
    assert_eq!(check(&block), Ok(()));
}

#[test]
fn item_bounds() {
    let max = (NODESIZE - Header::SIZE) / Item::SIZE;
    let have = max as u32 + 1;
    let block = with_header(plain_leaf(), |header| header.nritems = U32::new(have));
    assert_eq!(rule(&block), Rule::Nritems { have, max });

    let block = with_item(plain_leaf(), 1, |item| item.key = Key::new(1, 1, 1).into());
    let prev = Key::new(1, UNKNOWN, 0);
    assert_eq!(
        check(&block),
        Err(Violation {
            slot: Some(1),
            key: Some(Key::new(1, 1, 1)),
            rule: Rule::KeyOrder { prev }
        })
    );
    let block = with_item(plain_leaf(), 1, |item| item.key = prev.into());
    assert_eq!(rule(&block), Rule::KeyOrder { prev });

    let body = (NODESIZE - Header::SIZE) as u64;
    let block = with_item(plain_leaf(), 0, |item| item.size = U32::new(9));
    assert_eq!(
        rule(&block),
        Rule::ItemEnd {
            have: body + 1,
            want: body
        }
    );
    let block = with_item(plain_leaf(), 2, |item| item.size = U32::new(7));
    assert_eq!(
        rule(&block),
        Rule::ItemEnd {
            have: body - 17,
            want: body - 16
        }
    );
    let block = with_item(plain_leaf(), 2, |item| {
        item.offset = U32::new(70);
        item.size = U32::new(body as u32 - 16 - 70);
    });
    assert_eq!(rule(&block), Rule::ItemOverlap { start: 70, min: 75 });
}

/// A kernel once crashed in `read_extent_buffer` because a quota rescan followed the length of an
/// item of the extent tree beyond the block.
#[test]
fn qgroup_rescan_crash_on_bad_item_length() {
    let data = [0; 33];
    let key = Key::new(1 << 20, item::EXTENT_ITEM, 4096);
    for length in [34, 0x7fff_ffff, u32::MAX] {
        let block = with_item(leaf(TreeId::EXTENT_TREE, &[(key, &data)]), 0, |item| {
            item.size = U32::new(length);
        });
        let violation = check(&block).unwrap_err();
        assert!(matches!(violation.rule, Rule::ItemEnd { .. }));
        // Nor can anybody who did not ask the checker get at bytes outside.
        assert_eq!(Leaf::new(&block).item(0), None);
        assert_eq!(Leaf::new(&block).iter().count(), 0);
    }
}

#[test]
fn nodes() {
    assert_eq!(check(&plain_node()), Ok(()));
    let max = (NODESIZE - Header::SIZE) / KeyPtr::SIZE;
    for have in [0, max as u32 + 1] {
        let block = with_header(plain_node(), |header| header.nritems = U32::new(have));
        assert_eq!(rule(&block), Rule::Nritems { have, max });
    }
    for slot in 0..3 {
        let field = btrfs_format::check::Field::BlockPtr;
        let mut block = plain_node();
        set_ptr(&mut block, slot, slot as u64 + 1, 0);
        assert_eq!(rule(&block), Rule::Zero { field });
        set_ptr(&mut block, slot, slot as u64 + 1, 4097);
        let (have, align) = (4097, 4096);
        assert_eq!(rule(&block), Rule::Unaligned { field, have, align });
    }
    let mut block = plain_node();
    set_ptr(&mut block, 2, 2, 4096);
    let prev = Key::new(2, 1, 0);
    assert_eq!(rule(&block), Rule::KeyOrder { prev });
}

#[test]
fn messages() {
    let block = with_item(plain_leaf(), 1, |item| item.key = Key::new(1, 1, 1).into());
    let violation = check(&block).unwrap_err();
    assert_eq!(
        violation.describe(&block).to_string(),
        "corrupt leaf: root=9 block=1048576 slot=1 key=(1 1 1), bad key order, previous (1 254 0)"
    );
    let block = with_header(plain_leaf(), |header| header.level = 9);
    assert_eq!(
        check(&block).unwrap_err().describe(&block).to_string(),
        "corrupt node: root=9 block=1048576, invalid level 9"
    );
}

/// Changes a good superblock and returns the rule that breaks.
fn super_rule(good: &Superblock, change: impl Fn(&mut Superblock)) -> Option<SuperRule> {
    let mut superblock = *good;
    change(&mut superblock);
    let how = Validation {
        mirror: Some(0),
        ignore_flags: false,
    };
    validate(&superblock, &how).err()
}

#[test]
fn superblock_rules() {
    let image = make("super-rules", 1, 128 << 20, None, &["-L", "the label"]);
    let good = *image.superblock();
    assert_eq!(good.label(), b"the label");
    assert_eq!(super_rule(&good, |_| ()), None);
    type Change = fn(&mut Superblock);
    let cases: &[(&str, Change)] = &[
        ("no valid FS", |sb| sb.magic[0] = 0),
        ("super offset", |sb| sb.bytenr = U64::new(64 << 20)),
        ("super flag", |sb| sb.flags = U64::new(1 << 35)),
        ("checksum algorithm 4", |sb| sb.csum_type = U16::new(4)),
        ("tree_root level", |sb| sb.root_level = 8),
        ("chunk_root level", |sb| sb.chunk_root_level = 8),
        ("log_root level", |sb| sb.log_root_level = 8),
        ("sectorsize 2048", |sb| sb.sectorsize = U32::new(2048)),
        ("sectorsize 5000", |sb| sb.sectorsize = U32::new(5000)),
        ("nodesize 2048", |sb| sb.nodesize = U32::new(2048)),
        ("nodesize 131072", |sb| sb.nodesize = U32::new(131072)),
        ("leafsize", |sb| sb.unused_leafsize = U32::new(4096)),
        ("tree_root block", |sb| sb.root = U64::new(512)),
        ("chunk_root block", |sb| sb.chunk_root = U64::new(512)),
        ("log_root block", |sb| sb.log_root = U64::new(512)),
        ("dev_item UUID", |sb| sb.dev_item.fsid = Uuid::NIL),
        ("bytes_used", |sb| sb.bytes_used = U64::new(6 * 16384 - 1)),
        ("stripesize 0", |sb| sb.stripesize = U32::new(0)),
        ("devices is 0", |sb| sb.num_devices = U64::new(0)),
        ("too big", |sb| sb.sys_chunk_array_size = U32::new(2049)),
        ("too small", |sb| sb.sys_chunk_array_size = U32::new(96)),
        ("short read", |sb| {
            sb.sys_chunk_array_size = U32::new(sb.sys_chunk_array_size.get() - 1);
        }),
        ("item type 1 in sys_array", |sb| sb.sys_chunk_array[8] = 1),
        ("invalid chunk length 0|chunk range 0", |sb| {
            sb.sys_chunk_array[17..25].fill(0);
        }),
        ("in system chunk array", |sb| {
            sb.sys_chunk_array[17 + 24] = 4;
        }),
        ("block-group-tree feature requires", |sb| {
            sb.compat_ro_flags = U64::new(CompatRo::BLOCK_GROUP_TREE.bits());
        }),
        ("remap-tree feature requires", |sb| {
            sb.incompat_flags = U64::new(sb.incompat_flags.get() | 1 << 17);
        }),
    ];
    for (text, change) in cases {
        let rule = super_rule(&good, change).unwrap_or_else(|| panic!("{text}"));
        let message = rule.to_string();
        assert!(
            text.split('|').any(|text| message.contains(text)),
            "{text}: {message}"
        );
    }
    // rescue=ignoresuperflags
    let mut odd = good;
    odd.flags = U64::new(SuperFlags::CHANGING_FSID.bits());
    let how = Validation {
        mirror: None,
        ignore_flags: true,
    };
    assert_eq!(validate(&odd, &how), Ok(()));
}

#[test]
fn superblock_features_and_warnings() {
    let image = make("super-features", 1, 128 << 20, None, &[]);
    let mut sb = *image.superblock();
    let check =
        |sb: &Superblock, rw| check_features(sb, Incompat::STABLE, CompatRo::STABLE, rw).err();
    assert_eq!(check(&sb, true), None);
    sb.compat_ro_flags = U64::new(1 << 40);
    assert_eq!(check(&sb, false), None);
    assert!(matches!(
        check(&sb, true),
        Some(SuperRule::UnknownCompatRo { .. })
    ));
    sb.incompat_flags = U64::new(1 << 14 | 1 << 50 | 1);
    assert_eq!(
        check(&sb, false).unwrap().to_string(),
        "cannot mount because of unknown incompat features (0x4000000004000): \
         raid_stripe_tree|0x4000000000000"
    );
    sb.incompat_flags = U64::new(Incompat::MIXED_GROUPS.bits());
    assert!(matches!(
        check(&sb, false),
        Some(SuperRule::MixedSizes { .. })
    ));

    assert_eq!(warnings(&sb).count(), 0);
    sb.generation = U64::new(0);
    sb.cache_generation = U64::new(u64::MAX);
    assert!(matches!(
        warnings(&sb).next(),
        Some(SuperWarning::ChunkRootGeneration { .. })
    ));
    sb.cache_generation = U64::new(5);
    sb.num_devices = U64::new(u64::MAX);
    assert_eq!(warnings(&sb).count(), 3);
}
