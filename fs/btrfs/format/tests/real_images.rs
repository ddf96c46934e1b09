// SPDX-License-Identifier: GPL-2.0

//! The checker must pass every block that the real mkfs.btrfs writes.

mod support;

use btrfs_format::{item, Leaf};
use std::collections::BTreeMap;
use support::exercise;
use support::image::Image;
use support::mkfs::make;

/// Walks all trees; returns how many items of each type there are.
fn walk(image: &Image) -> BTreeMap<u8, usize> {
    let mut types = BTreeMap::new();
    for (_, block) in image.blocks() {
        exercise::block(&block);
        let leaf = Leaf::new(&block);
        if leaf.header().unwrap().is_leaf() {
            for (slot, (key, _)) in leaf.iter().enumerate() {
                assert_eq!(leaf.search(&key), Ok(slot));
                *types.entry(key.item_type).or_default() += 1;
            }
        }
    }
    types
}

fn check_types(types: &BTreeMap<u8, usize>, wanted: &[u8]) {
    for wanted in wanted {
        assert!(types.contains_key(wanted), "no items of type {wanted}");
    }
}

const ALWAYS: &[u8] = &[
    item::INODE_ITEM,
    item::INODE_REF,
    item::DIR_ITEM,
    item::ROOT_ITEM,
    item::METADATA_ITEM,
    item::BLOCK_GROUP_ITEM,
    item::CHUNK_ITEM,
    item::DEV_ITEM,
    item::DEV_EXTENT,
];

const FILES: &[u8] = &[
    item::DIR_INDEX,
    item::EXTENT_DATA,
    item::EXTENT_CSUM,
    item::EXTENT_ITEM,
    item::XATTR_ITEM,
];

#[test]
fn files_in_all_node_sizes() {
    for nodesize in ["4096", "16384", "65536"] {
        let name = format!("nodesize-{nodesize}");
        let args = ["--nodesize", nodesize];
        let types = walk(&make(&name, 1, 256 << 20, Some(3000), &args));
        check_types(&types, ALWAYS);
        check_types(&types, FILES);
        check_types(&types, &[item::FREE_SPACE_INFO, item::FREE_SPACE_EXTENT]);
        // All names of the file with hard links fit one item of the largest leaves.
        assert_eq!(types.contains_key(&item::INODE_EXTREF), nodesize != "65536");
    }
}

#[test]
fn subvolumes_and_compression() {
    for compress in ["zlib", "lzo", "zstd"] {
        let args = [
            "--compress",
            compress,
            "--subvol",
            "ro:dir1",
            "--subvol",
            "default:dir2",
        ];
        let name = format!("compress-{compress}");
        let types = walk(&make(&name, 1, 256 << 20, Some(500), &args));
        check_types(&types, ALWAYS);
        check_types(&types, FILES);
        check_types(&types, &[item::ROOT_REF, item::ROOT_BACKREF]);
    }
}

#[test]
fn features() {
    for features in [
        "^extref",
        "^skinny-metadata",
        "^no-holes",
        "^free-space-tree",
        "block-group-tree",
        "quota",
        "squota",
        "mixed-bg",
    ] {
        let name = format!("feature-{features}");
        let nodesize = if features == "mixed-bg" {
            "4096"
        } else {
            "16384"
        };
        let args = ["-O", features, "--nodesize", nodesize];
        // Without extended references a file cannot have that many links in one directory.
        let files = (features != "^extref").then_some(300);
        let types = walk(&make(&name, 1, 256 << 20, files, &args));
        match features {
            "^skinny-metadata" => assert!(!types.contains_key(&item::METADATA_ITEM)),
            "quota" | "squota" => check_types(
                &types,
                &[item::QGROUP_STATUS, item::QGROUP_INFO, item::QGROUP_LIMIT],
            ),
            _ => check_types(&types, ALWAYS),
        }
    }
}

#[test]
fn checksum_types() {
    for csum in ["crc32c", "xxhash", "sha256", "blake2"] {
        let name = format!("csum-{csum}");
        let types = walk(&make(&name, 1, 128 << 20, Some(100), &["--csum", csum]));
        check_types(&types, ALWAYS);
    }
}

#[test]
fn profiles() {
    for (profile, devices) in [
        ("single", 1),
        ("dup", 1),
        ("raid0", 3),
        ("raid1", 2),
        ("raid1c3", 3),
        ("raid1c4", 4),
        ("raid10", 4),
        ("raid5", 3),
        ("raid6", 4),
    ] {
        let name = format!("profile-{profile}");
        let args = ["-m", profile, "-d", profile];
        let types = walk(&make(&name, devices, 256 << 20, None, &args));
        check_types(&types, ALWAYS);
    }
}
