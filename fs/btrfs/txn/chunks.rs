// SPDX-License-Identifier: GPL-2.0

//! Putting chunks into the trees, and taking them out.
//!
//! The items of chunks and device extents are ordinary changes under a handle. Those of the block
//! group and its free space are left to the commit, which keeps their trees.

use btrfs_batch::Span;
use btrfs_format::profile::BlockGroupFlags;
use btrfs_format::types::{Generation, Logical};
use kernel::prelude::*;
use kfs::mem::GFP_NOFAIL;

use super::{Demand, Handle, Txn};
use crate::space::{BlockGroup, ChunkSink};
use crate::volume::{NewChunk, OldChunk};

/// Bytes of the largest item that goes into a tree for each stripe: a device item.
const STRIPE_BYTES: u64 = 160;

/// Block groups that a transaction makes and removes.
#[derive(Default)]
pub(super) struct Groups {
    pub(super) new: KVVec<(Span, BlockGroupFlags)>,
    pub(super) gone: KVVec<(Span, OldChunk)>,
}

impl Groups {
    pub(super) fn is_empty(&self) -> bool {
        self.new.is_empty() && self.gone.is_empty()
    }
}

impl ChunkSink for Txn {
    fn make(&self, flags: BlockGroupFlags) -> Result<(Logical, Generation)> {
        let mut new = self.volume.plan_chunk(flags)?;
        let stripes = u64::try_from(new.dev_extents().count())?;
        let bytes = u64::try_from(new.item().len())?;
        let demand = Demand::items(
            stripes.saturating_mul(2).saturating_add(1),
            stripes.saturating_mul(STRIPE_BYTES).saturating_add(bytes),
        );
        let mut handle = self.start(demand.completion())?;
        let group = Span {
            start: new.start(),
            len: new.len(),
        };
        self.volume.add_new_chunk(&mut new)?;
        // The chunk is in use now: without its items, nothing that follows could be committed.
        let put = self.put_chunk(&mut handle, &new).and_then(|()| {
            let mut open = self.open.lock();
            Ok(open.groups.new.push((group, new.flags()), GFP_NOFAIL)?)
        });
        let transid = handle.transid();
        if let Err(error) = put {
            drop(handle);
            self.abort("making a chunk", error);
            return Err(error);
        }
        Ok((group.start, transid))
    }

    fn remove(&self, group: &BlockGroup) -> Result {
        let old = self.volume.retire_chunk(group.start())?;
        let stripes = u64::try_from(old.dev_extent_keys().count())?;
        let demand = Demand::items(
            stripes.saturating_mul(2).saturating_add(1),
            stripes.saturating_mul(STRIPE_BYTES),
        );
        let mut handle = self.start(demand.completion())?;
        let span = Span {
            start: group.start(),
            len: group.len(),
        };
        self.open.lock().groups.gone.reserve(1, GFP_NOFAIL)?;
        if let Err(error) = self.delete_chunk(&mut handle, &old) {
            drop(handle);
            self.abort("removing a chunk", error);
            return Err(error);
        }
        let mut open = self.open.lock();
        Ok(open.groups.gone.push((span, old), GFP_NOFAIL)?)
    }
}

impl Txn {
    fn put_chunk(&self, handle: &mut Handle<'_>, new: &NewChunk) -> Result {
        let chunks = self.roots.chunk();
        let devices = self.roots.standard().device.as_ref().ok_or(EIO)?;
        chunks.put(handle, new.key(), new.item())?;
        for (key, item) in new.dev_items() {
            chunks.put(handle, key, item.to_disk())?;
        }
        for (key, extent) in new.dev_extents() {
            devices.put(handle, key, extent.to_disk())?;
        }
        Ok(())
    }

    fn delete_chunk(&self, handle: &mut Handle<'_>, old: &OldChunk) -> Result {
        let chunks = self.roots.chunk();
        let devices = self.roots.standard().device.as_ref().ok_or(EIO)?;
        chunks.delete(handle, old.key())?;
        for (key, item) in old.dev_items() {
            chunks.put(handle, key, item.to_disk())?;
        }
        for key in old.dev_extent_keys() {
            devices.delete(handle, key)?;
        }
        Ok(())
    }
}
