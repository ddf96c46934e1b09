// SPDX-License-Identifier: GPL-2.0

//! Whatever is in a block or superblock, nothing panics; and what the checker passes is coherent.

mod support;

use btrfs_format::superblock::SUPER_SIZE;
use btrfs_format::{check_block, CheckContext, Expected, Header, Leaf, Node};
use std::collections::BTreeSet;
use support::block::{header, NODESIZE};
use support::exercise;
use support::image::Image;
use support::mkfs::make;

/// Values that bytes are replaced by, one at a time.
const BYTES: [u8; 6] = [0x00, 0x01, 0x7f, 0x80, 0xfe, 0xff];

/// A generator of numbers that look random: xorshift.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// Checks a block, and if it passes, verifies what the checker promises.
fn check(block: &[u8], context: &CheckContext<'_>, expected: &Expected) -> bool {
    exercise::block(block);
    match check_block(block, context, expected) {
        Err(violation) => {
            let text = violation.describe(block).to_string();
            assert!(!text.is_empty());
            false
        }
        Ok(()) => {
            assert_coherent(block);
            true
        }
    }
}

/// What holds for every block that passed.
fn assert_coherent(block: &[u8]) {
    let header = Header::of(block).unwrap();
    let nritems = header.nritems.get() as usize;
    if !header.is_leaf() {
        let node = Node::new(block);
        assert_eq!(node.nritems(), nritems);
        for slot in 0..nritems {
            assert_eq!(node.search(&node.key(slot).unwrap()), slot);
        }
        return;
    }
    let leaf = Leaf::new(block);
    assert_eq!(leaf.nritems(), nritems);
    let mut end = block.len();
    for slot in 0..nritems {
        let range = leaf.item_range(slot).unwrap();
        assert_eq!(range.end, end);
        assert_eq!(leaf.search(&leaf.key(slot).unwrap()), Ok(slot));
        end = range.start;
    }
    assert!(end >= Header::SIZE + nritems * 25);
}

/// An image with small blocks, of which as many kinds as possible are wanted.
fn image(name: &str) -> Image {
    let args = ["--nodesize", "4096", "-O", "quota", "--compress", "zstd"];
    make(name, 1, 128 << 20, Some(30), &args)
}

#[test]
fn every_byte_of_every_kind_of_block() {
    let image = image("mutate-bytes");
    let fsids = image.fsids();
    let context = image.context(&fsids);
    let mut kinds = BTreeSet::new();
    let mut passed = 0u32;
    let mut refused = 0u32;
    for (expected, block) in image.blocks() {
        // A block whose item types have all been seen in its tree teaches nothing new.
        let leaf = Leaf::new(&block);
        let types: BTreeSet<_> = leaf.items().iter().map(|item| item.key.item_type).collect();
        if !kinds.insert((expected.owner, expected.level, types)) {
            continue;
        }
        let mut mutated = block.clone();
        for at in 0..block.len() {
            for byte in BYTES {
                mutated[at] = byte;
                if check(&mutated, &context, &expected) {
                    passed += 1;
                } else {
                    refused += 1;
                }
            }
            mutated[at] = block[at];
        }
    }
    assert!(passed > 0 && refused > 0, "{passed} {refused}");
}

#[test]
fn many_mutations_at_once() {
    let image = image("mutate-many");
    let fsids = image.fsids();
    let context = image.context(&fsids);
    let blocks = image.blocks();
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for _ in 0..100_000 {
        let (expected, block) = &blocks[random.below(blocks.len())];
        let mut mutated = block.clone();
        for _ in 0..=random.below(8) {
            let at = random.below(mutated.len() - 8);
            let value = match random.below(4) {
                0 => random.next(),
                1 => u64::MAX << random.below(64),
                2 => 1 << random.below(64),
                _ => random.next() & 0xff,
            };
            let len = 1 << random.below(4);
            mutated[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
        }
        check(&mutated, &context, expected);
    }
}

#[test]
fn data_of_one_item_in_another() {
    let image = image("mutate-splice");
    let fsids = image.fsids();
    let context = image.context(&fsids);
    let blocks = image.blocks();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..100_000 {
        let (expected, block) = &blocks[random.below(blocks.len())];
        let (_, donor) = &blocks[random.below(blocks.len())];
        let mut mutated = block.clone();
        let from = random.below(donor.len());
        let to = random.below(mutated.len());
        let len = random
            .below(400)
            .min(donor.len() - from)
            .min(mutated.len() - to);
        mutated[to..to + len].copy_from_slice(&donor[from..from + len]);
        check(&mutated, &context, expected);
    }
}

#[test]
fn noise_behind_a_right_header() {
    let context = support::block::context();
    let expected = Expected::at(support::block::LOGICAL);
    let mut random = Random(88_172_645_463_325_252);
    let mut block = vec![0; NODESIZE];
    for round in 0..20_000 {
        for bytes in block.chunks_exact_mut(8) {
            bytes.copy_from_slice(&random.next().to_le_bytes());
        }
        let header = header(btrfs_format::TreeId(5), random.below(200), round as u8 % 3);
        block[..Header::SIZE].copy_from_slice(header.to_disk());
        check(&block, &context, &expected);
    }
}

#[test]
fn blocks_of_every_length() {
    let image = image("mutate-length");
    let fsids = image.fsids();
    let context = image.context(&fsids);
    let (expected, block) = image.blocks().swap_remove(0);
    for len in 0..block.len() {
        assert!(!check(&block[..len], &context, &expected));
    }
}

#[test]
fn superblocks() {
    let image = image("mutate-super");
    let good = image.superblock_bytes().to_vec();
    let mut mutated = good.clone();
    for at in 0..SUPER_SIZE {
        for byte in BYTES {
            mutated[at] = byte;
            exercise::superblock(&mutated);
        }
        mutated[at] = good[at];
    }
    let mut random = Random(1_442_695_040_888_963_407);
    for _ in 0..100_000 {
        let mut mutated = good.clone();
        for _ in 0..=random.below(8) {
            let at = random.below(SUPER_SIZE - 8);
            mutated[at..at + 8].copy_from_slice(&random.next().to_le_bytes());
        }
        exercise::superblock(&mutated);
    }
    for len in 0..SUPER_SIZE {
        exercise::superblock(&good[..len]);
    }
}
