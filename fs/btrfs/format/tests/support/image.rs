// SPDX-License-Identifier: GPL-2.0

//! Reads filesystems on one or more devices: from logical addresses to bytes, and all their trees.

#![allow(dead_code)] // The example uses a part of it.

use btrfs_format::chunk::ChunkItem;
use btrfs_format::root::RootItem;
use btrfs_format::superblock::validate::{check_features, validate, warnings, Validation};
use btrfs_format::superblock::{CompatRo, Incompat, SUPER_SIZE};
use btrfs_format::types::STRIPE_LEN;
use btrfs_format::{check_block, item, CheckContext, CsumType, Expected, Generation, Geometry};
use btrfs_format::{Key, Leaf, Logical, Node, RaidProfile, Superblock, TreeId, Uuid};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// Devices of a filesystem.
pub struct Image {
    devices: HashMap<u64, File>,
    super_bytes: Vec<u8>,
    chunks: BTreeMap<u64, (u64, Vec<u8>)>,
}

impl Image {
    /// Opens the devices and reads their superblocks.
    pub fn open(paths: &[PathBuf]) -> Self {
        let mut devices = HashMap::new();
        let mut super_bytes = Vec::new();
        for path in paths {
            let file = File::open(path).unwrap();
            super_bytes = vec![0; SUPER_SIZE];
            file.read_exact_at(&mut super_bytes, 65536).unwrap();
            let superblock = Superblock::parse(&super_bytes).unwrap();
            devices.insert(superblock.dev_item.devid.get(), file);
        }
        let mut image = Self {
            devices,
            super_bytes,
            chunks: BTreeMap::new(),
        };
        image.check_superblock();
        image.load_chunks();
        image
    }

    pub fn superblock(&self) -> &Superblock {
        Superblock::parse(&self.super_bytes).unwrap()
    }

    pub fn superblock_bytes(&self) -> &[u8] {
        &self.super_bytes
    }

    fn check_superblock(&self) {
        let superblock = self.superblock();
        let how = Validation {
            mirror: Some(0),
            ignore_flags: false,
        };
        assert_eq!(validate(superblock, &how), Ok(()));
        let (incompat, compat_ro) = (Incompat::STABLE, CompatRo::STABLE);
        assert_eq!(
            check_features(superblock, incompat, compat_ro, true),
            Ok(())
        );
        assert_eq!(warnings(superblock).count(), 0);
        if superblock.csum_type() == Some(CsumType::Crc32c) {
            let want = crc32c::crc32c(superblock.checksummed()).to_le_bytes();
            assert_eq!(superblock.csum[..4], want);
        }
    }

    pub fn geometry(&self) -> Geometry {
        Geometry::of(self.superblock()).unwrap()
    }

    pub fn fsids(&self) -> Vec<Uuid> {
        vec![self.superblock().metadata_uuid()]
    }

    /// What the checker has to know, with `fsids` of [`Self::fsids`].
    pub fn context<'a>(&self, fsids: &'a [Uuid]) -> CheckContext<'a> {
        let superblock = self.superblock();
        CheckContext::new(
            self.geometry(),
            superblock.incompat(),
            superblock.generation(),
            fsids,
        )
    }

    fn add_chunk(&mut self, key: Key, data: &[u8]) {
        let length = ChunkItem::parse(data).unwrap().length();
        self.chunks.insert(key.offset, (length, data.to_vec()));
    }

    fn load_chunks(&mut self) {
        let superblock = *self.superblock();
        for entry in superblock.sys_chunks() {
            let (key, chunk) = entry.unwrap();
            let mut data = chunk.header.to_disk().to_vec();
            for stripe in chunk.stripes() {
                data.extend_from_slice(stripe.to_disk());
            }
            self.add_chunk(key, &data);
        }
        let mut found = Vec::new();
        let root = Root::of_chunk_tree(&superblock);
        self.walk(&root, &mut |_, block| {
            for (key, data) in Leaf::new(block).iter() {
                if key.item_type == item::CHUNK_ITEM {
                    found.push((key, data.to_vec()));
                }
            }
        });
        for (key, data) in found {
            self.add_chunk(key, &data);
        }
    }

    /// Reads the tree block at `logical`, its first copy, a sector at a time.
    pub fn read_block(&self, logical: Logical) -> Vec<u8> {
        let mut block = vec![0; self.geometry().nodesize as usize];
        for (i, sector) in block.chunks_mut(4096).enumerate() {
            let logical = logical.get() + i as u64 * 4096;
            let (devid, physical) = self.map(logical);
            self.devices[&devid]
                .read_exact_at(sector, physical)
                .unwrap();
        }
        block
    }

    /// Device and offset of the first copy of `logical`.
    fn map(&self, logical: u64) -> (u64, u64) {
        let (&start, (length, data)) = self.chunks.range(..=logical).next_back().unwrap();
        let offset = logical - start;
        assert!(offset < *length, "{logical} is not mapped");
        let chunk = ChunkItem::parse(data).unwrap();
        let stripes = chunk.stripes().len() as u64;
        let (unit, rest) = (offset / STRIPE_LEN, offset % STRIPE_LEN);
        let profile = chunk.profile().unwrap();
        let data_stripes = u64::from(profile.data_stripes(chunk.num_stripes()));
        let (row, column) = (unit / data_stripes, unit % data_stripes);
        let (index, offset) = match profile {
            RaidProfile::Raid0 => (column, row * STRIPE_LEN + rest),
            RaidProfile::Raid10 => (column * 2, row * STRIPE_LEN + rest),
            RaidProfile::Raid5 | RaidProfile::Raid6 => {
                ((row + column) % stripes, row * STRIPE_LEN + rest)
            }
            _ => (0, offset),
        };
        let stripe = &chunk.stripes()[index as usize];
        (stripe.devid.get(), stripe.offset.get() + offset)
    }

    /// Calls `visit` with every block of a tree, after the checker has passed it.
    pub fn walk(&self, root: &Root, visit: &mut dyn FnMut(&Expected, &[u8])) {
        let fsids = self.fsids();
        let context = self.context(&fsids);
        let mut pending = vec![Expected {
            logical: root.logical,
            level: Some(root.level),
            generation: Some(root.generation),
            owner: Some(root.id),
            first_key: None,
        }];
        while let Some(expected) = pending.pop() {
            let block = self.read_block(expected.logical);
            self.check_csum(&block);
            if let Err(violation) = check_block(&block, &context, &expected) {
                panic!("{}", violation.describe(&block));
            }
            visit(&expected, &block);
            let node = Node::new(&block);
            if node.level() == 0 {
                continue;
            }
            for slot in 0..node.nritems() {
                let child = node.child(slot).unwrap();
                pending.push(Expected {
                    logical: child.logical,
                    level: Some(node.level() - 1),
                    generation: Some(child.generation),
                    owner: Some(root.id),
                    first_key: Some(child.key),
                });
            }
        }
    }

    fn check_csum(&self, block: &[u8]) {
        if self.geometry().csum_type == CsumType::Crc32c {
            let want = crc32c::crc32c(&block[32..]).to_le_bytes();
            assert_eq!(block[..4], want);
        }
    }

    /// All trees.
    pub fn roots(&self) -> Vec<Root> {
        let superblock = self.superblock();
        let root_tree = Root {
            id: TreeId::ROOT_TREE,
            logical: superblock.root(),
            level: superblock.root_level,
            generation: superblock.generation(),
        };
        let mut roots = vec![Root::of_chunk_tree(superblock), root_tree];
        self.collect_roots(&root_tree, &mut roots);
        if let Some(logical) = superblock.log_root() {
            let log_root = Root {
                id: TreeId::TREE_LOG,
                logical,
                level: superblock.log_root_level,
                generation: superblock.generation().next(),
            };
            roots.push(log_root);
            self.collect_roots(&log_root, &mut roots);
        }
        roots
    }

    /// Adds the trees that a tree of roots names.
    fn collect_roots(&self, tree: &Root, roots: &mut Vec<Root>) {
        self.walk(tree, &mut |_, block| {
            for (key, data) in Leaf::new(block).iter() {
                if key.item_type != item::ROOT_ITEM {
                    continue;
                }
                let root = RootItem::parse(data).unwrap();
                roots.push(Root {
                    id: TreeId(key.objectid),
                    logical: root.bytenr(),
                    level: root.level,
                    generation: root.generation(),
                });
            }
        });
    }

    /// Every block of every tree, checked, with what was known about it.
    pub fn blocks(&self) -> Vec<(Expected, Vec<u8>)> {
        let mut blocks = Vec::new();
        for root in self.roots() {
            self.walk(&root, &mut |expected, block| {
                blocks.push((*expected, block.to_vec()));
            });
        }
        blocks
    }
}

/// The root of a tree.
#[derive(Clone, Copy)]
pub struct Root {
    id: TreeId,
    logical: Logical,
    level: u8,
    generation: Generation,
}

impl Root {
    fn of_chunk_tree(superblock: &Superblock) -> Self {
        Self {
            id: TreeId::CHUNK_TREE,
            logical: superblock.chunk_root(),
            level: superblock.chunk_root_level,
            generation: superblock.chunk_root_generation(),
        }
    }
}
