// SPDX-License-Identifier: GPL-2.0

//! Checks every tree block of a filesystem: `check_image DEVICE...` (files or block devices).
//!
//! Ends with a panic that names the block, slot, key and rule if one is broken.

#[path = "../tests/support/image.rs"]
mod image;

use btrfs_format::Leaf;
use std::collections::BTreeMap;

fn main() {
    let paths: Vec<_> = std::env::args_os().skip(1).map(Into::into).collect();
    assert!(!paths.is_empty(), "usage: check_image DEVICE...");
    let image = image::Image::open(&paths);
    let mut types = BTreeMap::<u8, usize>::new();
    let blocks = image.blocks();
    for (expected, block) in &blocks {
        if expected.level == Some(0) {
            for (key, _) in Leaf::new(block).iter() {
                *types.entry(key.item_type).or_default() += 1;
            }
        }
    }
    println!("{} blocks", blocks.len());
    for (item_type, count) in types {
        println!("type {item_type}: {count} items");
    }
}
