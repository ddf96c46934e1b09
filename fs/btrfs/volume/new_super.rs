// SPDX-License-Identifier: GPL-2.0

//! The superblock that a commit makes: what it changes, before it is written.

use super::{superblock::SuperBuf, Volume};
use btrfs_format::{
    chunk::ChunkItem,
    device::DevItem,
    key::{item, DiskKey, Key},
    profile::BlockGroupFlags,
    superblock::{BackupRoot, Superblock, BACKUP_ROOTS, SYS_CHUNK_ARRAY_SIZE},
    types::objectid,
    Generation, Logical,
};
use core::ops::Deref;
use kernel::{prelude::*, sync::Arc};
use kfs::mem::GFP_NOFAIL;

/// Where the root of a tree is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RootPlace {
    /// Address of the root block.
    pub(crate) logical: Logical,
    /// The transaction that wrote it.
    pub(crate) generation: Generation,
    /// Its level.
    pub(crate) level: u8,
}

/// The roots that a backup slot of the superblock has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BackupRoots {
    /// The root tree.
    pub(crate) root: RootPlace,
    /// The chunk tree.
    pub(crate) chunk: RootPlace,
    /// The extent tree.
    pub(crate) extent: RootPlace,
    /// The top-level subvolume.
    pub(crate) top_level: RootPlace,
    /// The device tree.
    pub(crate) device: RootPlace,
    /// The checksum tree; zeroes if there is none.
    pub(crate) csum: RootPlace,
}

/// A superblock in the making: a copy of the current one and the changes of a commit.
///
/// [`Volume::write_supers`] consumes it. What is the same for no two devices is not in it:
/// `bytenr`, `dev_item` and the checksum are filled in for each copy.
pub(crate) struct NewSuper {
    buf: SuperBuf,
    /// What it began with.
    pub(super) base: Arc<SuperBuf>,
    /// Device items that the commit changes.
    pub(super) devices: KVec<DevItem>,
}

impl Deref for NewSuper {
    type Target = Superblock;

    fn deref(&self) -> &Superblock {
        &self.buf
    }
}

impl Volume {
    /// Begins the superblock of a commit with a copy of the current one.
    pub(crate) fn new_super(&self) -> Result<NewSuper> {
        NewSuper::of(self.superblock())
    }
}

impl NewSuper {
    pub(super) fn of(base: Arc<SuperBuf>) -> Result<Self> {
        Ok(Self {
            buf: base.try_clone()?,
            base,
            devices: KVec::new(),
        })
    }

    /// The fields, for changes that have no function of their own.
    pub(crate) fn fields(&mut self) -> &mut Superblock {
        self.buf.fields()
    }

    pub(super) fn into_parts(self) -> (SuperBuf, Arc<SuperBuf>, KVec<DevItem>) {
        (self.buf, self.base, self.devices)
    }

    /// The transaction.
    pub(crate) fn set_generation(&mut self, generation: Generation) {
        self.fields().generation = generation.into();
    }

    /// The root of the root tree.
    pub(crate) fn set_root(&mut self, root: RootPlace) {
        let fields = self.fields();
        fields.root = root.logical.into();
        fields.root_level = root.level;
    }

    /// The root of the chunk tree.
    pub(crate) fn set_chunk_root(&mut self, root: RootPlace) {
        let fields = self.fields();
        fields.chunk_root = root.logical.into();
        fields.chunk_root_level = root.level;
        fields.chunk_root_generation = root.generation.into();
    }

    /// The root of the log root tree, with its level; `None` if there is no log.
    pub(crate) fn set_log_root(&mut self, root: Option<(Logical, u8)>) {
        let (logical, level) = root.unwrap_or_default();
        let fields = self.fields();
        fields.log_root = logical.into();
        fields.log_root_level = level;
    }

    /// Bytes of all extents.
    pub(crate) fn set_bytes_used(&mut self, bytes: u64) {
        self.fields().bytes_used = bytes.into();
    }

    /// The transaction up to which the UUID tree is complete.
    pub(crate) fn set_uuid_tree_generation(&mut self, generation: Generation) {
        self.fields().uuid_tree_generation = generation.into();
    }

    /// Follows a change that the commit makes to the chunk tree: the item `key` becomes `data`
    /// or, with `None`, goes. To be told of all changes; most do not matter.
    ///
    /// So the system chunks and device items in the superblock are those of the chunk tree of the
    /// same transaction. `EFBIG` if there is no room for a system chunk, `EUCLEAN` if an item
    /// cannot be decoded.
    pub(crate) fn chunk_tree_change(&mut self, key: &Key, data: Option<&[u8]>) -> Result {
        match (key.objectid, key.item_type) {
            (objectid::DEV_ITEMS, item::DEV_ITEM) => {
                self.devices.retain(|item| item.devid().get() != key.offset);
                if let Some(data) = data {
                    let item = DevItem::from_bytes(data).ok_or(EUCLEAN)?;
                    self.devices.push(*item, GFP_NOFAIL)?;
                }
                Ok(())
            }
            (objectid::FIRST_CHUNK_TREE, item::CHUNK_ITEM) => {
                let chunk = match data {
                    Some(data) => Some(ChunkItem::parse(data).ok_or(EUCLEAN)?),
                    None => None,
                };
                let system = chunk.is_some_and(|c| c.flags().contains(BlockGroupFlags::SYSTEM));
                let data = data.filter(|_| system);
                if data.is_none() && !self.has_sys_chunk(key.offset) {
                    return Ok(());
                }
                self.put_sys_chunk(key, data)
            }
            _ => Ok(()),
        }
    }

    fn has_sys_chunk(&self, start: u64) -> bool {
        self.sys_chunks()
            .any(|entry| entry.is_ok_and(|(key, _)| key.offset == start))
    }

    /// Replaces (or adds, or removes) the entry of one chunk.
    fn put_sys_chunk(&mut self, key: &Key, data: Option<&[u8]>) -> Result {
        let mut array = KVec::with_capacity(SYS_CHUNK_ARRAY_SIZE, GFP_NOFAIL)?;
        for entry in self.sys_chunks() {
            let (old, chunk) = entry.map_err(|_| EUCLEAN)?;
            if old.offset == key.offset {
                continue;
            }
            array.extend_from_slice(DiskKey::from(old).to_disk(), GFP_NOFAIL)?;
            array.extend_from_slice(chunk.header.to_disk(), GFP_NOFAIL)?;
            for stripe in chunk.stripes() {
                array.extend_from_slice(stripe.to_disk(), GFP_NOFAIL)?;
            }
        }
        if let Some(data) = data {
            array.extend_from_slice(DiskKey::from(*key).to_disk(), GFP_NOFAIL)?;
            array.extend_from_slice(data, GFP_NOFAIL)?;
        }
        let fields = self.fields();
        let room = fields.sys_chunk_array.get_mut(..array.len()).ok_or(EFBIG)?;
        room.copy_from_slice(&array);
        if let Some(rest) = fields.sys_chunk_array.get_mut(array.len()..) {
            rest.fill(0);
        }
        fields.sys_chunk_array_size = u32::try_from(array.len())?.into();
        Ok(())
    }

    /// Fills the backup slot behind the newest one. After all other fields are set.
    pub(crate) fn set_backup(&mut self, roots: &BackupRoots) {
        let mut newest = None;
        for (index, slot) in self.super_roots.iter().enumerate() {
            let generation = slot.tree_root_gen.get();
            if generation > newest.map_or(0, |(_, newest)| newest) {
                newest = Some((index, generation));
            }
        }
        let next = newest
            .and_then(|(index, _)| index.checked_add(1)?.checked_rem(BACKUP_ROOTS))
            .unwrap_or(0);
        let backup = BackupRoot {
            tree_root: roots.root.logical.into(),
            tree_root_gen: roots.root.generation.into(),
            tree_root_level: roots.root.level,
            chunk_root: roots.chunk.logical.into(),
            chunk_root_gen: roots.chunk.generation.into(),
            chunk_root_level: roots.chunk.level,
            extent_root: roots.extent.logical.into(),
            extent_root_gen: roots.extent.generation.into(),
            extent_root_level: roots.extent.level,
            fs_root: roots.top_level.logical.into(),
            fs_root_gen: roots.top_level.generation.into(),
            fs_root_level: roots.top_level.level,
            dev_root: roots.device.logical.into(),
            dev_root_gen: roots.device.generation.into(),
            dev_root_level: roots.device.level,
            csum_root: roots.csum.logical.into(),
            csum_root_gen: roots.csum.generation.into(),
            csum_root_level: roots.csum.level,
            total_bytes: self.total_bytes,
            bytes_used: self.bytes_used,
            num_devices: self.num_devices,
            ..BackupRoot::zeroed()
        };
        if let Some(slot) = self.fields().super_roots.get_mut(next) {
            *slot = backup;
        }
    }
}

#[cfg(CONFIG_KUNIT)]
#[kernel::prelude::kunit_tests(btrfs_new_super)]
mod tests {
    use super::*;
    use btrfs_format::chunk::{ChunkHeader, Stripe};
    use btrfs_format::superblock::SUPER_SIZE;
    use kfs::block::KBuf;

    fn empty() -> Result<NewSuper> {
        let zeroes = KBuf::zeroed(SUPER_SIZE, GFP_KERNEL)?;
        NewSuper::of(Arc::new(SuperBuf::copy_of(&zeroes)?, GFP_KERNEL)?)
    }

    fn chunk(flags: BlockGroupFlags, stripes: u16) -> Result<KVec<u8>> {
        let header = ChunkHeader {
            flags: flags.bits().into(),
            num_stripes: stripes.into(),
            ..ChunkHeader::zeroed()
        };
        let mut data = KVec::new();
        data.extend_from_slice(header.to_disk(), GFP_KERNEL)?;
        for _ in 0..stripes {
            data.extend_from_slice(Stripe::zeroed().to_disk(), GFP_KERNEL)?;
        }
        Ok(data)
    }

    fn key(start: u64) -> Key {
        Key::new(objectid::FIRST_CHUNK_TREE, item::CHUNK_ITEM, start)
    }

    fn starts(sb: &NewSuper) -> Result<KVec<u64>> {
        let mut starts = KVec::new();
        for entry in sb.sys_chunks() {
            starts.push(entry.map_err(|_| EINVAL)?.0.offset, GFP_KERNEL)?;
        }
        Ok(starts)
    }

    #[test]
    fn system_chunks() -> Result {
        let mut sb = empty()?;
        let one = chunk(BlockGroupFlags::SYSTEM, 1)?;
        let two = chunk(BlockGroupFlags::SYSTEM | BlockGroupFlags::DUP, 2)?;
        let data = chunk(BlockGroupFlags::DATA, 1)?;
        sb.chunk_tree_change(&key(1 << 20), Some(&one))?;
        sb.chunk_tree_change(&key(2 << 20), Some(&data))?;
        sb.chunk_tree_change(&key(3 << 20), Some(&two))?;
        assert_eq!(starts(&sb)?.as_slice(), [1 << 20, 3 << 20]);
        assert_eq!(sb.sys_chunk_array_size.get(), 97 + 129);
        // Put again: replaced. Deleting one that is not there, or no system chunk: nothing.
        sb.chunk_tree_change(&key(1 << 20), Some(&two))?;
        sb.chunk_tree_change(&key(2 << 20), None)?;
        assert_eq!(starts(&sb)?.as_slice(), [3 << 20, 1 << 20]);
        sb.chunk_tree_change(&key(3 << 20), None)?;
        assert_eq!(starts(&sb)?.as_slice(), [1 << 20]);
        assert_eq!(sb.sys_chunk_array_size.get(), 129);
        let large = chunk(BlockGroupFlags::SYSTEM | BlockGroupFlags::RAID0, 60)?;
        assert_eq!(
            sb.chunk_tree_change(&key(9 << 20), Some(&large)),
            Err(EFBIG)
        );
        Ok(())
    }

    #[test]
    fn backups() -> Result {
        let mut sb = empty()?;
        for generation in 1..=6u64 {
            let root = RootPlace {
                logical: Logical(generation << 16),
                generation: Generation(generation),
                level: 1,
            };
            sb.set_backup(&BackupRoots {
                root,
                ..BackupRoots::default()
            });
        }
        let mut found = [0; BACKUP_ROOTS];
        for (to, slot) in found.iter_mut().zip(&sb.super_roots) {
            *to = slot.tree_root_gen.get();
        }
        assert_eq!(found, [5, 6, 3, 4]);
        Ok(())
    }
}
