// SPDX-License-Identifier: GPL-2.0

//! Searching and walking hand-made trees, whole and damaged ones.

use btrfs_format::crc32c::crc32c;
use btrfs_format::csum::CsumType;
use btrfs_format::geometry::Geometry;
use btrfs_format::header::{Header, HeaderFlags, BACKREF_REV_MIXED};
use btrfs_format::key::{item, Key};
use btrfs_format::leaf::Item;
use btrfs_format::node::{ChildPtr, KeyPtr};
use btrfs_format::superblock::Incompat;
use btrfs_format::types::{Generation, Logical, TreeId, Uuid, CSUM_AREA};
use core::fmt;
use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
};

use kfs::block::IoBuf;
use kfs::mem::Shrink;

use super::batch::Batch;
use super::block::{BlockBuf, Expect};
use super::cache::{BlockSource, Severity, TreeCache};
use super::verify::Verifier;
use super::view::TreeView;
use crate::volume::DataClient;

const NODESIZE: u32 = 4096;
const GENERATION: Generation = Generation(7);
const FSID: Uuid = Uuid([9; 16]);
/// The block at address 0 does not exist; this is the number of the first one.
const BASE: usize = 256;
/// Items per leaf and pointers per node.
const FANOUT: usize = 5;

/// Blocks in memory, and how often they were read.
pub(super) struct Image {
    blocks: KVec<KVVec<u8>>,
    reads: Atomic<usize>,
}

impl BlockSource for Image {
    fn read(&self, at: Logical, verify: &dyn Fn(&[u8], u32) -> Result) -> Result<BlockBuf> {
        self.reads.add(1usize, Relaxed);
        let index = usize::try_from(at.get() / u64::from(NODESIZE)).map_err(|_| EIO)?;
        let bytes = self.blocks.get(index - BASE).ok_or(EIO)?;
        verify(bytes, 1)?;
        BlockBuf::copy_of(bytes, GFP_KERNEL).map_err(Into::into)
    }

    fn read_ahead(&self, at: Logical, mut buf: IoBuf, batch: Batch) {
        let first = usize::try_from(at.get() / u64::from(NODESIZE)).unwrap_or(0);
        let count = buf.len() / 4096;
        self.reads.add(count, Relaxed);
        for n in 0..count {
            if let Some(bytes) = self.blocks.get(first - BASE + n) {
                let _ = buf.copy_from(n * 4096, bytes);
            }
        }
        batch.done(buf, &[]);
    }

    fn is_own(&self, fsid: Uuid) -> bool {
        fsid == FSID
    }

    fn report(&self, _severity: Severity, _message: fmt::Arguments<'_>) {}
}

fn header(at: u64, level: u8, count: u64) -> Header {
    let mut header = Header::zeroed();
    header.fsid = FSID;
    header.bytenr = at.into();
    header.generation = GENERATION.into();
    header.owner = TreeId::FS_TREE.into();
    header.level = level;
    header.nritems = u32::try_from(count).unwrap_or(0).into();
    header.set_flags(HeaderFlags::WRITTEN, BACKREF_REV_MIXED);
    header
}

fn key(n: u64) -> Key {
    Key::new(1000 + n * 2, item::STRING_ITEM, n)
}

fn put(block: &mut [u8], at: usize, bytes: &[u8]) -> Result {
    let range = at..at + bytes.len();
    block.get_mut(range).ok_or(EINVAL)?.copy_from_slice(bytes);
    Ok(())
}

impl Image {
    /// A tree with the items `key(0)` to `key(count - 1)`, each of its own number as data, and
    /// where its root is.
    fn build(count: u64) -> Result<(Self, Expect)> {
        let mut items = KVec::new();
        for n in 0..count {
            items.push((key(n), n), GFP_KERNEL)?;
        }
        Self::of(&items)
    }

    /// A tree with these items, at least one, and where its root is.
    pub(super) fn of(items: &[(Key, u64)]) -> Result<(Self, Expect)> {
        let mut image = Self {
            blocks: KVec::new(),
            reads: Atomic::new(0),
        };
        // First keys and addresses of the blocks of the level below.
        let mut below: KVec<ChildPtr> = KVec::new();
        for some in items.chunks(FANOUT) {
            let child = image.leaf(some)?;
            below.push(child, GFP_KERNEL)?;
        }
        let mut level = 0;
        while below.len() > 1 {
            level += 1;
            let mut nodes = KVec::new();
            for children in below.chunks(FANOUT) {
                nodes.push(image.node(level, children)?, GFP_KERNEL)?;
            }
            below = nodes;
        }
        let root = below.first().ok_or(EINVAL)?;
        let expect = Expect {
            logical: root.logical,
            generation: GENERATION,
            level,
            tree: Some(TreeId::FS_TREE),
            first: None,
        };
        Ok((image, expect))
    }

    fn next_address(&self) -> Result<u64> {
        let index = u64::try_from(BASE + self.blocks.len())?;
        Ok(index * u64::from(NODESIZE))
    }

    fn push(&mut self, block: KVVec<u8>, first: Key) -> Result<ChildPtr> {
        let child = ChildPtr {
            key: first,
            logical: Logical(self.next_address()?),
            generation: GENERATION,
        };
        self.blocks.push(block, GFP_KERNEL)?;
        Ok(child)
    }

    fn leaf(&mut self, items: &[(Key, u64)]) -> Result<ChildPtr> {
        let count = u64::try_from(items.len()).map_err(|_| EINVAL)?;
        let mut block = KVVec::from_elem(0, 4096, GFP_KERNEL)?;
        put(
            &mut block,
            0,
            header(self.next_address()?, 0, count).to_disk(),
        )?;
        let mut end = block.len();
        for (slot, (key, n)) in items.iter().enumerate() {
            end -= 8;
            let mut item = Item::from_bytes(&[0; Item::SIZE]).copied().ok_or(EINVAL)?;
            item.key = (*key).into();
            item.offset = u32::try_from(end - Header::SIZE)
                .map_err(|_| EINVAL)?
                .into();
            item.size = 8.into();
            put(&mut block, end, &n.to_le_bytes())?;
            put(&mut block, Header::SIZE + slot * Item::SIZE, item.to_disk())?;
        }
        self.push(block, items.first().ok_or(EINVAL)?.0)
    }

    fn node(&mut self, level: u8, children: &[ChildPtr]) -> Result<ChildPtr> {
        let mut block = KVVec::from_elem(0, 4096, GFP_KERNEL)?;
        let count = u64::try_from(children.len()).map_err(|_| EINVAL)?;
        put(
            &mut block,
            0,
            header(self.next_address()?, level, count).to_disk(),
        )?;
        for (slot, child) in children.iter().enumerate() {
            let at = Header::SIZE + slot * KeyPtr::SIZE;
            put(&mut block, at, KeyPtr::from(*child).to_disk())?;
        }
        let first = children.first().ok_or(EINVAL)?.key;
        self.push(block, first)
    }
}

pub(super) fn open(image: Image, root: &Expect, limit: usize) -> Result<(TreeView, Arc<Image>)> {
    let verifier = Verifier {
        geometry: Geometry::new(4096, NODESIZE, CsumType::Crc32c).ok_or(EINVAL)?,
        incompat: Incompat::empty(),
        generation: Atomic::new(GENERATION.get()),
        fsid: FSID,
        writable: Atomic::new(false),
        crc32c,
        checksum: |_, _| [0; CSUM_AREA],
        ignore_checksums: false,
    };
    let image = Arc::new(image, GFP_KERNEL)?;
    let cache = TreeCache::new(image.clone(), verifier, limit)?;
    let block = cache.get(root)?;
    Ok((TreeView::new(cache, block, TreeId::FS_TREE)?, image))
}

fn whole(count: u64, limit: usize) -> Result<(TreeView, Arc<Image>)> {
    let (image, root) = Image::build(count)?;
    open(image, &root, limit)
}

/// Changes the block at `index` of a tree of 60 items, whose blocks 0 to 11 are the leaves.
fn damaged(index: usize, at: usize, bytes: &[u8]) -> Result<(TreeView, Arc<Image>)> {
    let (mut image, root) = Image::build(60)?;
    put(image.blocks.get_mut(index).ok_or(EINVAL)?, at, bytes)?;
    open(image, &root, usize::MAX)
}

fn walk(view: &TreeView) -> Result<u64> {
    let mut cursor = view.seek(Key::MIN)?;
    let mut n = 0;
    while let Some((found, data)) = cursor.item() {
        if found != key(n) || data != n.to_le_bytes() {
            return Err(EINVAL);
        }
        n += 1;
        cursor.next()?;
    }
    Ok(n)
}

fn walk_back(view: &TreeView) -> Result<u64> {
    let mut cursor = view.seek_at_or_before(Key::MAX)?;
    let mut n = 0;
    while let Some((found, _)) = cursor.item() {
        n += 1;
        if found.offset != 299 - (n - 1) {
            return Err(EINVAL);
        }
        cursor.prev()?;
    }
    Ok(n)
}

#[kernel::macros::kunit_tests(btrfs_tree)]
mod suite {
    use super::*;

    #[test]
    fn every_item_is_found() -> Result {
        let (view, _) = whole(300, usize::MAX)?;
        assert_eq!(view.root().level(), 3);
        for n in 0..300 {
            let item = view.get(key(n))?.ok_or(ENOENT)?;
            assert_eq!(&*item, n.to_le_bytes().as_slice());
            let between = Key::new(1001 + n * 2, 0, 0);
            assert!(view.get(between)?.is_none());
            let before = view.seek_at_or_before(between)?;
            assert_eq!(before.key(), Some(key(n)));
            let behind = view.seek(between)?;
            assert_eq!(behind.key(), (n < 299).then(|| key(n + 1)));
        }
        assert!(view.seek_at_or_before(Key::MIN)?.item().is_none());
        assert!(view.seek(Key::MAX)?.item().is_none());
        Ok(())
    }

    #[test]
    fn walking_both_ways() -> Result {
        for count in [1, 5, 6, 25, 26, 300] {
            let (view, _) = whole(count, usize::MAX)?;
            assert_eq!(walk(&view)?, count);
        }
        let (view, _) = whole(300, usize::MAX)?;
        assert_eq!(walk_back(&view)?, 300);
        let mut cursor = view.seek(key(10))?;
        cursor.prev()?;
        assert_eq!(cursor.key(), Some(key(9)));
        cursor.next()?;
        cursor.next()?;
        assert_eq!(cursor.key(), Some(key(11)));
        cursor.seek(key(200))?;
        assert_eq!(cursor.key(), Some(key(200)));
        cursor.seek(key(3))?;
        assert_eq!(cursor.key(), Some(key(3)));
        Ok(())
    }

    #[test]
    fn before_the_first_item() -> Result {
        let (view, _) = whole(12, usize::MAX)?;
        let mut cursor = view.seek(Key::MIN)?;
        cursor.prev()?;
        assert!(cursor.item().is_none());
        cursor.prev()?;
        assert!(cursor.item().is_none());
        cursor.next()?;
        assert_eq!(cursor.key(), Some(key(0)));
        Ok(())
    }

    #[test]
    fn a_block_is_read_once() -> Result {
        let (view, image) = whole(300, usize::MAX)?;
        for _ in 0..3 {
            assert_eq!(walk(&view)?, 300);
        }
        assert_eq!(image.reads.load(Relaxed), image.blocks.len());
        Ok(())
    }

    #[test]
    fn a_small_cache_does() -> Result {
        let (view, image) = whole(300, 16384)?;
        for _ in 0..3 {
            assert_eq!(walk(&view)?, 300);
        }
        assert!(image.reads.load(Relaxed) > image.blocks.len());
        assert!(view.cache().cached_bytes() < 20 * 8192);
        Ok(())
    }

    #[test]
    fn all_but_the_root_can_be_evicted() -> Result {
        let (view, _) = whole(300, usize::MAX)?;
        assert_eq!(walk(&view)?, 300);
        for _ in 0..8 {
            let _ = view.cache().index().scan(10_000, true);
        }
        // Views hold on to the root.
        assert_eq!(view.cache().index().count(), 1);
        assert_eq!(walk(&view)?, 300);
        Ok(())
    }

    #[test]
    fn damage_is_found() -> Result {
        let level = core::mem::offset_of!(Header, level);
        let generation = core::mem::offset_of!(Header, generation);
        let owner = core::mem::offset_of!(Header, owner);
        for (at, bytes) in [
            (0, [1u8].as_slice()),
            (level, &[1]),
            (level, &[8]),
            (generation, &[8]),
            (owner, &[7]),
            (Header::SIZE, &[1]),
            (Header::SIZE + Item::SIZE, &[0]),
        ] {
            let (view, _) = damaged(3, at, bytes)?;
            assert!(view.get(key(16)).is_err());
            assert!(walk(&view).is_err());
            assert!(view.get(key(1))?.is_some());
        }
        Ok(())
    }

    #[test]
    fn keys_beyond_the_next_pointer() -> Result {
        // The last key of leaf 3 becomes larger than the first one of leaf 4.
        let at = Header::SIZE + 4 * Item::SIZE;
        let (view, _) = damaged(3, at, &2000u64.to_le_bytes())?;
        assert_eq!(view.get(key(16)).err(), Some(EUCLEAN));
        Ok(())
    }
}
