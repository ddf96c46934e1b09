// SPDX-License-Identifier: GPL-2.0

//! Checks every tree block of a filesystem: `check_image [--dump DIR] DEVICE...`, files or block
//! devices. With `--dump`, writes each block to a file in DIR: seeds for the fuzzer.
//!
//! Ends with a panic that names the block, slot, key and rule if one is broken.

#[path = "../tests/support/image.rs"]
mod image;

use btrfs_format::Leaf;
use std::collections::BTreeMap;
use std::path::PathBuf;

fn main() {
    let mut args: Vec<PathBuf> = std::env::args_os().skip(1).map(Into::into).collect();
    let mut dump = None;
    if args.len() > 2 && args[0].as_os_str() == "--dump" {
        dump = Some(args.remove(1));
        args.remove(0);
    }
    assert!(
        !args.is_empty(),
        "usage: check_image [--dump DIR] DEVICE..."
    );
    let image = image::Image::open(&args);
    let mut types = BTreeMap::<u8, usize>::new();
    let blocks = image.blocks();
    for (expected, block) in &blocks {
        if let Some(dir) = &dump {
            std::fs::write(dir.join(expected.logical.to_string()), block).unwrap();
        }
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
