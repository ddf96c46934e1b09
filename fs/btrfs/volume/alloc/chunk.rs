// SPDX-License-Identifier: GPL-2.0

//! A chunk that is about to be, or to go: its items in the trees.

use super::super::{chunk_map::ChunkStripe, device::Device, Chunk, Volume};
use btrfs_format::{
    chunk::{ChunkHeader, Stripe},
    device::{DevExtent, DevItem},
    key::{item, Key},
    profile::BlockGroupFlags,
    superblock::Incompat,
    types::{objectid, STRIPE_LEN},
    Logical, RaidProfile, TreeId, Uuid,
};
use kernel::{prelude::*, sync::Arc};
use kfs::mem::GFP_NOFAIL;

/// A chunk that has a place on the devices, but is not usable yet.
///
/// Gives the place back if it is dropped before [`Volume::add_new_chunk`].
pub(crate) struct NewChunk {
    volume: Arc<Volume>,
    chunk: Chunk,
    item: KVec<u8>,
    added: bool,
}

impl NewChunk {
    /// A chunk whose place has just been taken.
    pub(super) fn new(volume: Arc<Volume>, chunk: Chunk, item: KVec<u8>) -> Self {
        change_bytes_used(&chunk, true);
        Self {
            volume,
            chunk,
            item,
            added: false,
        }
    }

    /// The chunk for the chunk map.
    pub(super) fn copy(&self) -> Result<Chunk> {
        let chunk = &self.chunk;
        let mut stripes = KVec::with_capacity(chunk.stripes().len(), GFP_NOFAIL)?;
        for stripe in chunk.stripes() {
            let stripe = ChunkStripe::new(stripe.device.clone(), stripe.physical);
            stripes.push(stripe, GFP_NOFAIL)?;
        }
        let (start, len, flags) = (chunk.start(), chunk.len(), chunk.flags());
        Chunk::new(start, len, flags, chunk.shape(), stripes)
    }

    pub(super) fn set_added(&mut self) {
        self.added = true;
    }

    /// First logical address.
    pub(crate) fn start(&self) -> Logical {
        self.chunk.start()
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.chunk.len()
    }

    /// Types and profile.
    pub(crate) fn flags(&self) -> BlockGroupFlags {
        self.chunk.flags()
    }

    /// The features that a file system with such a chunk has.
    pub(crate) fn features(&self) -> Incompat {
        match self.chunk.shape().profile {
            RaidProfile::Raid1c3 | RaidProfile::Raid1c4 => Incompat::RAID1C34,
            RaidProfile::Raid5 | RaidProfile::Raid6 => Incompat::RAID56,
            _ => Incompat::empty(),
        }
    }

    /// Key of the item in the chunk tree.
    pub(crate) fn key(&self) -> Key {
        super::chunk_key(self.start())
    }

    /// The item in the chunk tree. (For a system chunk,
    /// [`NewSuper::chunk_tree_change`](super::super::NewSuper::chunk_tree_change) puts it into the
    /// superblock as well.)
    pub(crate) fn item(&self) -> &[u8] {
        &self.item
    }

    /// The items in the device tree.
    pub(crate) fn dev_extents(&self) -> impl Iterator<Item = (Key, DevExtent)> + '_ {
        let extent = DevExtent {
            chunk_tree: TreeId::CHUNK_TREE.into(),
            chunk_objectid: objectid::FIRST_CHUNK_TREE.into(),
            chunk_offset: self.start().into(),
            length: self.chunk.stripe_len().into(),
            chunk_tree_uuid: Uuid::NIL,
        };
        dev_extent_keys(&self.chunk).map(move |key| (key, extent))
    }

    /// The device items, which the chunk changes, in the chunk tree: as they are now.
    pub(crate) fn dev_items(&self) -> impl Iterator<Item = (Key, DevItem)> + '_ {
        dev_items(&self.chunk)
    }
}

impl Drop for NewChunk {
    fn drop(&mut self) {
        if !self.added {
            change_bytes_used(&self.chunk, false);
            let stripes = self.chunk.stripes();
            self.volume.allocation.lock().give_back(stripes);
        }
    }
}

/// A chunk whose items are being deleted.
///
/// Dropping it instead of [`Volume::remove_chunk`] says that they stay.
pub(crate) struct OldChunk {
    chunk: Arc<Chunk>,
    gone: bool,
}

impl OldChunk {
    pub(super) fn new(chunk: Arc<Chunk>) -> Self {
        change_bytes_used(&chunk, false);
        Self { chunk, gone: false }
    }

    pub(super) fn into_chunk(mut self) -> Arc<Chunk> {
        self.gone = true;
        self.chunk.clone()
    }

    /// Key of the item in the chunk tree.
    pub(crate) fn key(&self) -> Key {
        super::chunk_key(self.chunk.start())
    }

    /// Keys of the items in the device tree.
    pub(crate) fn dev_extent_keys(&self) -> impl Iterator<Item = Key> + '_ {
        dev_extent_keys(&self.chunk)
    }

    /// The device items without the chunk, for the chunk tree: as they are now.
    pub(crate) fn dev_items(&self) -> impl Iterator<Item = (Key, DevItem)> + '_ {
        dev_items(&self.chunk)
    }
}

impl Drop for OldChunk {
    fn drop(&mut self) {
        if !self.gone {
            change_bytes_used(&self.chunk, true);
        }
    }
}

/// Adds a chunk's stripes to the bytes of its devices, or takes them away.
fn change_bytes_used(chunk: &Chunk, add: bool) {
    let len = i64::try_from(chunk.stripe_len()).unwrap_or(0);
    let bytes = if add { len } else { len.saturating_neg() };
    for stripe in chunk.stripes() {
        stripe.device.change_bytes_used(bytes);
    }
}

fn dev_extent_keys(chunk: &Chunk) -> impl Iterator<Item = Key> + '_ {
    chunk.stripes().iter().map(|stripe| {
        let devid = stripe.device.devid().get();
        Key::new(devid, item::DEV_EXTENT, stripe.physical.get())
    })
}

fn dev_items(chunk: &Chunk) -> impl Iterator<Item = (Key, DevItem)> + '_ {
    let devices = chunk.stripes().iter().map(|stripe| &stripe.device);
    let mut last: Option<&Arc<Device>> = None;
    // Stripes on one device are neighbours.
    devices.filter_map(move |device| {
        if last.is_some_and(|last| Arc::ptr_eq(last, device)) {
            return None;
        }
        last = Some(device);
        let key = Key::new(objectid::DEV_ITEMS, item::DEV_ITEM, device.devid().get());
        Some((key, device.current_item()))
    })
}

/// The item of a chunk, as bytes.
pub(super) fn chunk_item(chunk: &Chunk, sectorsize: u32) -> Result<KVec<u8>> {
    let shape = chunk.shape();
    let unit = u32::try_from(STRIPE_LEN)?;
    let header = ChunkHeader {
        length: chunk.len().into(),
        owner: TreeId::EXTENT_TREE.into(),
        stripe_len: STRIPE_LEN.into(),
        flags: chunk.flags().bits().into(),
        io_align: unit.into(),
        io_width: unit.into(),
        sector_size: sectorsize.into(),
        num_stripes: shape.num_stripes.into(),
        sub_stripes: shape.profile.attributes().sub_stripes.into(),
    };
    let size = ChunkHeader::item_size(shape.num_stripes);
    let mut bytes = KVec::with_capacity(size, GFP_NOFAIL)?;
    bytes.extend_from_slice(header.to_disk(), GFP_NOFAIL)?;
    for stripe in chunk.stripes() {
        let stripe = Stripe {
            devid: stripe.device.devid().into(),
            offset: stripe.physical.into(),
            dev_uuid: stripe.device.uuid(),
        };
        bytes.extend_from_slice(stripe.to_disk(), GFP_NOFAIL)?;
    }
    Ok(bytes)
}
