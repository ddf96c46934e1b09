// SPDX-License-Identifier: GPL-2.0

//! Finds the tree blocks of a sound image on one device.

use btrfs_format::csum::CsumType;
use btrfs_format::key::item;
use btrfs_format::superblock::Superblock;
use btrfs_format::{ChunkItem, Geometry, Header, Leaf, Node};
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{Error, Result};
use std::os::unix::fs::FileExt;

/// Where the first superblock is.
pub const SUPER_OFFSET: u64 = 65_536;

/// A tree block and where its copies lie on the device.
#[derive(Clone)]
pub struct Block {
    pub logical: u64,
    pub copies: Vec<u64>,
    pub tree: u64,
    pub bytes: Vec<u8>,
}

impl Block {
    /// Level in its tree; 0 is a leaf.
    pub fn level(&self) -> u8 {
        Header::of(&self.bytes).map_or(0, |h| h.level)
    }
}

/// A compressed extent on disk.
#[derive(Clone, Copy, Debug)]
pub struct Compressed {
    pub logical: u64,
    pub len: u64,
}

/// A chunk: logical start and length, device offsets of its copies.
struct Chunk {
    len: u64,
    copies: Vec<u64>,
}

/// What a mutator must know of an image.
pub struct Image {
    pub geometry: Geometry,
    pub superblock: Vec<u8>,
    pub blocks: Vec<Block>,
    pub compressed: Vec<Compressed>,
    /// For each checksummed sector: the block and the position of its checksum.
    pub csums: BTreeMap<u64, (usize, usize)>,
    chunks: BTreeMap<u64, Chunk>,
}

fn broken(what: &str) -> Error {
    Error::other(format!("not a sound image: {what}"))
}

impl Image {
    /// Reads the image on `file` (an image or a block device).
    pub fn read(file: &File) -> Result<Self> {
        let mut superblock = vec![0u8; 4096];
        file.read_exact_at(&mut superblock, SUPER_OFFSET)?;
        let sb = Superblock::parse(&superblock).ok_or_else(|| broken("superblock"))?;
        if !sb.has_magic() {
            return Err(broken("magic"));
        }
        let geometry = Geometry::of(sb).ok_or_else(|| broken("geometry"))?;
        let mut image = Image {
            geometry,
            superblock: Vec::new(),
            blocks: Vec::new(),
            compressed: Vec::new(),
            csums: BTreeMap::new(),
            chunks: BTreeMap::new(),
        };
        for entry in sb.sys_chunks() {
            let (key, chunk) = entry.map_err(|_| broken("system chunk array"))?;
            image.add_chunk(key.offset, &chunk);
        }
        let (chunk_root, root) = (sb.chunk_root().get(), sb.root().get());
        image.superblock = superblock;
        let mut seen = HashSet::new();
        image.walk(file, chunk_root, 3, &mut seen)?;
        image.walk(file, root, 1, &mut seen)?;
        let roots: Vec<(u64, u64)> = image
            .items(1)
            .filter(|(key, data)| key.item_type == item::ROOT_ITEM && data.len() >= 184)
            .map(|(key, data)| (key.objectid, u64_at(data, 176)))
            .collect();
        for (tree, bytenr) in roots {
            image.walk(file, bytenr, tree, &mut seen)?;
        }
        image.index();
        Ok(image)
    }

    /// All items of the blocks that belong to `tree`.
    fn items(&self, tree: u64) -> impl Iterator<Item = (btrfs_format::Key, &[u8])> {
        let blocks = self
            .blocks
            .iter()
            .filter(move |b| b.tree == tree && b.level() == 0);
        blocks.flat_map(|b| Leaf::new(&b.bytes).iter())
    }

    fn add_chunk(&mut self, logical: u64, chunk: &ChunkItem<'_>) {
        // One device: every stripe of single and dup is a whole copy.
        let copies = chunk.stripes().iter().map(|s| s.physical().get()).collect();
        self.chunks.insert(
            logical,
            Chunk {
                len: chunk.length(),
                copies,
            },
        );
    }

    /// Where the bytes at a logical address lie.
    pub fn map(&self, logical: u64) -> Option<Vec<u64>> {
        let (start, chunk) = self.chunks.range(..=logical).next_back()?;
        let skip = logical - start;
        (skip < chunk.len).then(|| chunk.copies.iter().map(|c| c + skip).collect())
    }

    fn walk(
        &mut self,
        file: &File,
        logical: u64,
        tree: u64,
        seen: &mut HashSet<u64>,
    ) -> Result<()> {
        if !seen.insert(logical) {
            return Ok(());
        }
        let copies = self.map(logical).ok_or_else(|| broken("unmapped block"))?;
        let mut bytes = vec![0u8; self.geometry.nodesize as usize];
        file.read_exact_at(&mut bytes, copies[0])?;
        let block = Block {
            logical,
            copies,
            tree,
            bytes,
        };
        if block.level() > 0 {
            let children: Vec<u64> = Node::new(&block.bytes)
                .ptrs()
                .iter()
                .map(|p| p.blockptr.get())
                .collect();
            self.blocks.push(block);
            for child in children {
                self.walk(file, child, tree, seen)?;
            }
        } else {
            let bytes = block.bytes.clone();
            for (key, data) in Leaf::new(&bytes).iter() {
                if key.item_type == item::CHUNK_ITEM {
                    if let Some(chunk) = ChunkItem::parse(data) {
                        self.add_chunk(key.offset, &chunk);
                    }
                }
            }
            self.blocks.push(block);
        }
        Ok(())
    }

    /// Collects compressed extents and where the checksums of sectors are.
    fn index(&mut self) {
        let size = self.geometry.csum_type.size();
        let mut found = BTreeMap::new();
        for (n, block) in self
            .blocks
            .iter()
            .enumerate()
            .filter(|(_, b)| b.level() == 0)
        {
            let leaf = Leaf::new(&block.bytes);
            for slot in 0..leaf.nritems() {
                let (Some((key, data)), Some(range)) = (leaf.entry(slot), leaf.item_range(slot))
                else {
                    continue;
                };
                if key.item_type == item::EXTENT_CSUM {
                    for i in 0..data.len() / size {
                        self.csums
                            .insert(key.offset + i as u64 * 4096, (n, range.start + i * size));
                    }
                } else if key.item_type == item::EXTENT_DATA && data.len() >= 53 && data[16] != 0 {
                    found.insert(u64_at(data, 21), u64_at(data, 29));
                }
            }
        }
        let found = found.into_iter().filter(|(logical, _)| *logical != 0);
        self.compressed = found
            .map(|(logical, len)| Compressed { logical, len })
            .collect();
    }

    /// The checksum type.
    pub fn csum_type(&self) -> CsumType {
        self.geometry.csum_type
    }
}

/// The little-endian number at a position; 0 beyond the end.
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..at + 8)
        .map_or(0, |b| u64::from_le_bytes(b.try_into().unwrap_or_default()))
}
