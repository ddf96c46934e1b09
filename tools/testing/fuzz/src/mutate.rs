// SPDX-License-Identifier: GPL-2.0

//! Seeds to changes.

use crate::fields::{self, Field};
use crate::image::{u64_at, Image, SUPER_OFFSET};
use crate::{csum, image::Block};
use btrfs_format::{Leaf, Node};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Result;
use std::os::unix::fs::FileExt;
use testkit::rng::Rng;

const HEADER_SIZE: usize = 101;
const ITEM_SIZE: usize = 25;
const POINTER_SIZE: usize = 33;

/// Bytes to write at an offset of the device.
pub struct Patch {
    pub offset: u64,
    pub bytes: Vec<u8>,
}

/// Changes of one seed, and what they are in words.
pub struct Mutation {
    pub patches: Vec<Patch>,
    pub story: Vec<String>,
}

/// Work on one mutation.
struct Work<'a> {
    image: &'a Image,
    rng: Rng,
    blocks: BTreeMap<usize, Vec<u8>>,
    superblock: Option<Vec<u8>>,
    sectors: BTreeMap<u64, Vec<u8>>,
    story: Vec<String>,
}

/// Makes the changes of `seed`. `file` is the unchanged image.
pub fn mutate(image: &Image, file: &File, seed: u64) -> Result<Mutation> {
    let mut work = Work {
        image,
        rng: Rng::new(seed),
        blocks: BTreeMap::new(),
        superblock: None,
        sectors: BTreeMap::new(),
        story: Vec::new(),
    };
    let count = 1 + work.rng.below(3) * work.rng.below(2);
    for _ in 0..count {
        match work.rng.below(100) {
            0..=5 => work.change_super(),
            6..=9 => work.change_system_chunks(),
            10..=17 => work.change_compressed(file)?,
            18..=25 => work.change_header(),
            _ => work.change_block(),
        }
    }
    Ok(work.finish())
}

/// Makes the data of the last item of every leaf of `tree` reach `beyond` bytes past the block's end.
pub fn overlong_items(image: &Image, tree: u64, beyond: u32) -> Mutation {
    let mut work = Work {
        image,
        rng: Rng::new(0),
        blocks: BTreeMap::new(),
        superblock: None,
        sectors: BTreeMap::new(),
        story: Vec::new(),
    };
    for (n, block) in image.blocks.iter().enumerate() {
        let count = Leaf::new(&block.bytes).nritems();
        if block.tree != tree || block.level() != 0 || count == 0 {
            continue;
        }
        let mut bytes = block.bytes.clone();
        // The first item's data ends at the end of the block.
        let at = HEADER_SIZE + 21;
        let size = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap_or_default());
        bytes[at..at + 4].copy_from_slice(&(size + beyond).to_le_bytes());
        work.story.push(format!(
            "tree {tree} block {}: first item {beyond} too long",
            block.logical
        ));
        work.blocks.insert(n, bytes);
    }
    work.finish()
}

impl Work<'_> {
    fn block(&mut self, n: usize) -> &mut Vec<u8> {
        let original = &self.image.blocks[n].bytes;
        self.blocks.entry(n).or_insert_with(|| original.clone())
    }

    /// A block, trees taking turns so that the small ones are hit as often as the large ones.
    fn pick_block(&mut self) -> usize {
        let mut trees: Vec<u64> = self.image.blocks.iter().map(|b| b.tree).collect();
        trees.sort_unstable();
        trees.dedup();
        let tree = if self.rng.one_in(3) {
            5
        } else {
            trees[self.rng.index(trees.len())]
        };
        let mine: Vec<usize> = (0..self.image.blocks.len())
            .filter(|n| self.image.blocks[*n].tree == tree)
            .collect();
        mine[self.rng.index(mine.len())]
    }

    /// A value that is likely to be wrong in an interesting way, `old` being the one there.
    fn value(&mut self, old: u64, size: usize) -> u64 {
        let bits = size.min(8) * 8;
        let max = if bits == 64 {
            u64::MAX
        } else {
            (1 << bits) - 1
        };
        let value = match self.rng.below(14) {
            0 => 0,
            1 => max,
            2 => 1u64 << self.rng.below(bits as u64),
            3 => old.wrapping_add(1),
            4 => old.wrapping_sub(1),
            5 => old ^ (1 << self.rng.below(bits as u64)),
            6 => old.wrapping_add(4096),
            7 => old.wrapping_mul(2),
            8 => self.rng.u64(),
            9 => self.rng.below(300),
            10 => max >> 1,
            11 => max - self.rng.below(8192).min(max),
            12 => self.image.blocks[self.rng.index(self.image.blocks.len())].logical,
            _ => 4096 * self.rng.below(1 << 20),
        };
        value & max
    }

    /// Gives a field of `bytes` a new value.
    fn change_field(&mut self, bytes: &mut [u8], start: usize, field: Field) -> String {
        let (at, size) = (start + field.0, field.1.min(8));
        if at + size > bytes.len() {
            return "(nothing)".into();
        }
        let mut raw = [0u8; 8];
        raw[..size].copy_from_slice(&bytes[at..at + size]);
        let old = u64::from_le_bytes(raw);
        let new = self.value(old, size);
        bytes[at..at + size].copy_from_slice(&new.to_le_bytes()[..size]);
        format!("byte {at}, {size} long: {old:#x} -> {new:#x}")
    }

    fn change_super(&mut self) {
        let mut bytes = self
            .superblock
            .take()
            .unwrap_or_else(|| self.image.superblock.clone());
        let field = fields::SUPER[self.rng.index(fields::SUPER.len())];
        let what = self.change_field(&mut bytes, 0, field);
        self.story.push(format!("superblock {what}"));
        self.superblock = Some(bytes);
    }

    fn change_system_chunks(&mut self) {
        let mut bytes = self
            .superblock
            .take()
            .unwrap_or_else(|| self.image.superblock.clone());
        let field = fields::SYS_CHUNK[self.rng.index(fields::SYS_CHUNK.len())];
        let what = self.change_field(&mut bytes, fields::SYS_CHUNKS, field);
        self.story.push(format!("system chunk {what}"));
        self.superblock = Some(bytes);
    }

    fn change_header(&mut self) {
        let n = self.pick_block();
        let field = fields::HEADER[self.rng.index(fields::HEADER.len())];
        let mut bytes = self.block(n).clone();
        let what = self.change_field(&mut bytes, 0, field);
        self.tell(n, &format!("header {what}"));
        self.blocks.insert(n, bytes);
    }

    fn tell(&mut self, n: usize, what: &str) {
        let Block { logical, tree, .. } = &self.image.blocks[n];
        let level = self.image.blocks[n].level();
        self.story
            .push(format!("tree {tree} level {level} block {logical}: {what}"));
    }

    fn change_block(&mut self) {
        let n = self.pick_block();
        let mut bytes = self.block(n).clone();
        let what = match self.rng.below(20) {
            0 => {
                for _ in 0..=self.rng.below(20) {
                    let at = 32 + self.rng.index(bytes.len() - 32);
                    bytes[at] ^= 1 << self.rng.below(8);
                }
                "random bits".to_string()
            }
            1 => self.other_block(n, &mut bytes),
            _ if self.image.blocks[n].level() > 0 => self.change_node(&mut bytes),
            _ => self.change_leaf(&mut bytes),
        };
        self.tell(n, &what);
        self.blocks.insert(n, bytes);
    }

    /// Another block's content, with or without the address that belongs here.
    fn other_block(&mut self, n: usize, bytes: &mut Vec<u8>) -> String {
        let other = self.rng.index(self.image.blocks.len());
        bytes.clone_from(&self.image.blocks[other].bytes);
        let logical = self.image.blocks[n].logical.to_le_bytes();
        if !self.rng.one_in(4) {
            bytes[48..56].copy_from_slice(&logical);
        }
        format!("content of block {}", self.image.blocks[other].logical)
    }

    fn change_node(&mut self, bytes: &mut [u8]) -> String {
        let count = Node::new(bytes).nritems().max(1);
        let slot = self.rng.index(count);
        let at = HEADER_SIZE + slot * POINTER_SIZE;
        if self.rng.one_in(3) {
            // Somewhere else in the trees: loops, wrong levels, foreign owners.
            let target = self.rng.index(self.image.blocks.len());
            let to = self.image.blocks[target].logical;
            bytes[at + 17..at + 25].copy_from_slice(&to.to_le_bytes());
            if self.rng.one_in(2) {
                let generation = u64_at(&self.image.blocks[target].bytes, 80);
                bytes[at + 25..at + 33].copy_from_slice(&generation.to_le_bytes());
            }
            return format!("pointer {slot} to {to}");
        }
        let field = fields::POINTER[self.rng.index(fields::POINTER.len())];
        format!("pointer {slot} {}", self.change_field(bytes, at, field))
    }

    fn change_leaf(&mut self, bytes: &mut [u8]) -> String {
        let count = Leaf::new(bytes).nritems();
        if count == 0 {
            return "empty leaf".into();
        }
        let slot = self.rng.index(count);
        let header = HEADER_SIZE + slot * ITEM_SIZE;
        let (key, range) = {
            let leaf = Leaf::new(bytes);
            match (leaf.key(slot), leaf.item_range(slot)) {
                (Some(key), Some(range)) if range.end <= bytes.len() => (key, range),
                _ => return "item already outside".into(),
            }
        };
        let name = format!("item {slot} {key}");
        match self.rng.below(16) {
            0..=2 => {
                let field = fields::ITEM[self.rng.index(fields::ITEM.len())];
                format!("{name} header {}", self.change_field(bytes, header, field))
            }
            3 => {
                // Exchange two item headers.
                let other = HEADER_SIZE + self.rng.index(count) * ITEM_SIZE;
                for i in 0..ITEM_SIZE {
                    bytes.swap(header + i, other + i);
                }
                format!("{name} exchanged with another")
            }
            4 => {
                // Remove the item's header: its neighbours lose what they refer to.
                let end = HEADER_SIZE + count * ITEM_SIZE;
                bytes.copy_within(header + ITEM_SIZE..end, header);
                bytes[96..100].copy_from_slice(&(count as u32 - 1).to_le_bytes());
                format!("{name} removed")
            }
            5 => {
                // Another item's data: same type of place, other meaning.
                let other = self.rng.index(count);
                let data = Leaf::new(bytes)
                    .item(other)
                    .map(<[u8]>::to_vec)
                    .unwrap_or_default();
                let n = data.len().min(range.len());
                bytes[range.start..range.start + n].copy_from_slice(&data[..n]);
                format!("{name} data of item {other}")
            }
            6 if !range.is_empty() => {
                for _ in 0..=self.rng.below(4) {
                    let at = range.start + self.rng.index(range.len());
                    bytes[at] = self.rng.u64() as u8;
                }
                format!("{name} random data")
            }
            _ => {
                let known: Vec<Field> = fields::of(key.item_type)
                    .iter()
                    .copied()
                    .filter(|f| f.0 + f.1.min(8) <= range.len())
                    .collect();
                let field = if known.is_empty() || self.rng.one_in(8) {
                    let size = 1 << self.rng.below(4);
                    (self.rng.index(range.len().saturating_sub(size) + 1), size)
                } else {
                    known[self.rng.index(known.len())]
                };
                format!("{name} {}", self.change_field(bytes, range.start, field))
            }
        }
    }

    /// Changes the bytes a decompressor is given, with a matching data checksum.
    fn change_compressed(&mut self, file: &File) -> Result<()> {
        if self.image.compressed.is_empty() {
            return Ok(());
        }
        let extent = self.image.compressed[self.rng.index(self.image.compressed.len())];
        // The beginning holds the headers.
        let sector = if self.rng.one_in(2) {
            0
        } else {
            self.rng.below(extent.len / 4096)
        };
        let logical = extent.logical + sector * 4096;
        let (Some(copies), Some(&(leaf, at))) =
            (self.image.map(logical), self.image.csums.get(&logical))
        else {
            return Ok(());
        };
        let mut bytes = match self.sectors.get(&copies[0]) {
            Some(bytes) => bytes.clone(),
            None => {
                let mut bytes = vec![0u8; 4096];
                file.read_exact_at(&mut bytes, copies[0])?;
                bytes
            }
        };
        for _ in 0..=self.rng.below(6) {
            let near = if self.rng.one_in(2) { 16 } else { 4096 };
            let at = self.rng.index(near);
            let size = (1 << self.rng.below(3)).min(4096 - at);
            self.change_field(&mut bytes, 0, (at, size));
        }
        let size = self.image.csum_type().size();
        let sum = csum::checksum(self.image.csum_type(), &bytes);
        self.block(leaf)[at..at + size].copy_from_slice(&sum[..size]);
        self.story.push(format!("compressed data at {logical}"));
        for copy in copies {
            self.sectors.insert(copy, bytes.clone());
        }
        Ok(())
    }

    /// Seals the changed blocks and lists what to write.
    fn finish(mut self) -> Mutation {
        let mut patches = Vec::new();
        let kind = self.image.csum_type();
        for (n, mut bytes) in self.blocks {
            if !self.rng.one_in(40) {
                csum::seal(kind, &mut bytes);
            }
            let copies = &self.image.blocks[n].copies;
            // Sometimes one copy stays good: then the content must still be right.
            let count = if self.rng.one_in(6) { 1 } else { copies.len() };
            for &offset in &copies[..count] {
                patches.push(Patch {
                    offset,
                    bytes: bytes.clone(),
                });
            }
        }
        for (offset, bytes) in self.sectors {
            patches.push(Patch { offset, bytes });
        }
        if let Some(mut bytes) = self.superblock {
            if !self.rng.one_in(40) {
                csum::seal(kind, &mut bytes);
            }
            patches.push(Patch {
                offset: SUPER_OFFSET,
                bytes,
            });
        }
        Mutation {
            patches,
            story: self.story,
        }
    }
}
