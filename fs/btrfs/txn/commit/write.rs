// SPDX-License-Identifier: GPL-2.0

//! Making the new state durable: its blocks, then the superblocks that lead to it.

use btrfs_batch::RootPtr;
use btrfs_format::types::{Logical, TreeId, CSUM_AREA};
use btrfs_format::Key;
use kernel::prelude::*;
use kernel::sync::atomic::Relaxed;
use kfs::mem::{KBuf, GFP_NOFAIL};
use kfs::parallel;

use super::super::Txn;
use super::apply::{ranges, Applied, Tree};
use super::publish::Next;
use crate::tree::{Expect, Verifier};
use crate::volume::csum::Checksum;
use crate::volume::{BackupRoots, NewSuper, RootPlace};

/// The new state, on disk, but for what leads to it.
pub(super) struct Written {
    applied: KBox<Applied>,
    next: Next,
    superblock: NewSuper,
}

/// The new state is what a mount finds.
pub(super) struct Durable {
    pub(super) applied: KBox<Applied>,
    pub(super) next: Next,
}

impl Applied {
    /// Writes the blocks and flushes; makes all that is needed afterwards.
    #[inline(never)]
    pub(super) fn write(mut applied: KBox<Self>, txn: &Txn) -> Result<Written> {
        let blocks = applied.seal_blocks(txn)?;
        let superblock = applied.superblock(txn)?;
        let blocks = txn.volume.write_tree_blocks(blocks)?;
        let next = applied.next(txn, blocks)?;
        txn.volume.flush()?;
        Ok(Written {
            applied,
            next,
            superblock,
        })
    }

    /// Takes the blocks out, in the order of their addresses, with their checksums, and checked: what
    /// the next mount would refuse must not get to disk.
    fn seal_blocks(&mut self, txn: &Txn) -> Result<KVVec<(Logical, KBuf)>> {
        let mut blocks = KVVec::with_capacity(self.blocks.len(), GFP_NOFAIL)?;
        let mut sealed = KVVec::with_capacity(self.blocks.len(), GFP_NOFAIL)?;
        while let Some((at, work)) = self.blocks.pop() {
            let expect = Expect {
                logical: at,
                generation: self.transid,
                level: work.level,
                tree: Some(work.tree),
                first: None,
            };
            let buf = work.into_buf().ok_or(EBUSY)?;
            sealed.push((expect, buf, Ok(())), GFP_NOFAIL)?;
        }
        let (verifier, source) = (txn.roots.cache().verifier(), txn.roots.cache().source());
        parallel::chunks_mut(txn.volume.lanes(), &mut sealed, SHARE, |_, share| {
            for (expect, buf, result) in share {
                *result =
                    seal(verifier, buf).and_then(|()| verifier.check_new(source, buf, expect));
            }
        });
        for (expect, buf, result) in sealed {
            result?;
            blocks.push((expect.logical, buf), GFP_NOFAIL)?;
        }
        Ok(blocks)
    }

    /// The superblock of the new state.
    fn superblock(&self, txn: &Txn) -> Result<NewSuper> {
        let mut new = txn.volume.new_super()?;
        let old = new.generation();
        new.set_generation(self.transid);
        let roots = self.backup_roots(txn);
        if roots.root.generation != self.transid {
            // No mount would find its root.
            return Err(EUCLEAN);
        }
        new.set_root(roots.root);
        new.set_chunk_root(roots.chunk);
        new.set_log_root(None);
        let sum = |list| ranges(list).map(|(_, len)| len).sum::<u64>();
        let used = new
            .bytes_used
            .get()
            .saturating_add(sum(&self.changes.added));
        new.set_bytes_used(used.saturating_sub(sum(&self.changes.removed)));
        // The UUID tree stays complete as long as nobody else writes to the file system.
        let complete = txn.uuid_tree_complete.load(Relaxed);
        if complete || new.uuid_tree_generation.get() == old.get() {
            new.set_uuid_tree_generation(self.transid);
        }
        if let Some(changes) = &self.chunk_changes {
            for (key, edit) in changes.edits.iter() {
                let key: &Key = key;
                new.chunk_tree_change(key, edit.item().map(|item| &**item))?;
            }
        }
        self.conversion.note(new.fields());
        new.set_backup(&roots);
        Ok(new)
    }

    fn backup_roots(&self, txn: &Txn) -> BackupRoots {
        let standard = txn.roots.standard();
        let committed = |id: TreeId| {
            let live = match id {
                TreeId::ROOT_TREE => Some(txn.roots.tree().clone()),
                TreeId::CHUNK_TREE => Some(txn.roots.chunk().clone()),
                TreeId::EXTENT_TREE => standard.extent.clone(),
                TreeId::DEV_TREE => standard.device.clone(),
                TreeId::CSUM_TREE => standard.csum.clone(),
                id => txn.roots.get(id).ok(),
            };
            live.map_or(RootPlace::default(), |live| {
                let view = live.view();
                RootPlace {
                    logical: view.root().logical(),
                    generation: view.root().generation(),
                    level: view.root().level(),
                }
            })
        };
        let place = |id: TreeId| {
            let tree = self.trees.iter().find(|tree: &&Tree| tree.id() == id);
            match tree.and_then(|tree| tree.root) {
                Some(RootPtr {
                    logical,
                    generation,
                    level,
                }) => RootPlace {
                    logical,
                    generation,
                    level,
                },
                None => committed(id),
            }
        };
        BackupRoots {
            root: place(TreeId::ROOT_TREE),
            chunk: place(TreeId::CHUNK_TREE),
            extent: place(TreeId::EXTENT_TREE),
            top_level: place(TreeId::FS_TREE),
            device: place(TreeId::DEV_TREE),
            csum: place(TreeId::CSUM_TREE),
        }
    }
}

impl Written {
    /// Writes the superblocks.
    #[inline(never)]
    pub(super) fn supers(self, txn: &Txn) -> Result<Durable> {
        let Self {
            applied,
            next,
            superblock,
        } = self;
        txn.volume.write_supers(superblock)?;
        Ok(Durable { applied, next })
    }
}

/// Blocks that one processor seals, while others seal others.
const SHARE: usize = 16;

/// Puts the checksum of a block in.
fn seal(verifier: &Verifier, block: &mut [u8]) -> Result {
    let rest = block.get(CSUM_AREA..).ok_or(EINVAL)?;
    let csum = Checksum::of(verifier.geometry.csum_type, rest);
    let area = block.get_mut(..CSUM_AREA).ok_or(EINVAL)?;
    area.fill(0);
    let csum = csum.as_slice();
    area.get_mut(..csum.len())
        .ok_or(EINVAL)?
        .copy_from_slice(csum);
    Ok(())
}
