// SPDX-License-Identifier: GPL-2.0

//! Whether the data of an extent is shared, for FIEMAP.
//!
//! There are two ways to share: several files, or places of a file, refer to the
//! data (reflink); or a tree block on the way to the file's item belongs to several
//! trees (snapshot), and with it all that it refers to. The reference counts of the
//! extent tree tell both.
//!
//! A block that is younger than the subvolume's last snapshot cannot be shared with
//! one, nor can those above it: copying a block copies its parents.

use btrfs_format::extent::{ExtentRecord, ExtentRef};
use btrfs_format::key::{item, Key};
use btrfs_format::types::{Generation, Ino, Logical, TreeId};
use kernel::prelude::*;

use crate::tree::{BlockRef, TreeView};

/// Answers the question for the extents of one file, in the order of the file.
pub(crate) struct Sharing {
    extents: TreeView,
    tree: TreeView,
    ino: Ino,
    last_snapshot: Generation,
    /// The leaf that was last looked at, and whether the way to it is shared.
    leaf: Option<(Logical, bool)>,
}

impl Sharing {
    /// `extents` is the extent tree, `tree` the subvolume, whose last snapshot was
    /// taken in transaction `last_snapshot`.
    pub(crate) fn new(
        extents: TreeView,
        tree: TreeView,
        ino: Ino,
        last_snapshot: Generation,
    ) -> Self {
        Self {
            extents,
            tree,
            ino,
            last_snapshot,
            leaf: None,
        }
    }

    /// Whether the allocation at `address` is shared, which the item of the file at
    /// `offset` refers to.
    pub(crate) fn is_shared(&mut self, address: Logical, offset: u64) -> Result<bool> {
        let leaf = self.way_is_shared(offset)?;
        if leaf.1 {
            return Ok(true);
        }
        self.data_is_shared(address, leaf.0)
    }

    /// Walks from the root to the item's leaf and looks at the references of each block.
    fn way_is_shared(&mut self, offset: u64) -> Result<(Logical, bool)> {
        let key = Key::new(self.ino.get(), item::EXTENT_DATA, offset);
        let mut block: BlockRef = self.tree.root().clone();
        let mut shared = false;
        loop {
            let is_root = block.logical() == self.tree.root().logical();
            if block.level() == 0 {
                if let Some((leaf, answer)) = self.leaf {
                    if leaf == block.logical() {
                        return Ok((leaf, answer));
                    }
                }
            }
            // A snapshot copies the root; what is shared begins below it.
            if !shared && !is_root && block.generation() <= self.last_snapshot {
                shared = self.block_references(&block)? > 1;
            }
            if block.level() == 0 {
                self.leaf = Some((block.logical(), shared));
                return Ok((block.logical(), shared));
            }
            let slot = block.node().search(&key);
            let expect = block.expect(slot, Some(self.tree.id())).ok_or(EUCLEAN)?;
            block = self.tree.cache().get(&expect)?;
        }
    }

    /// The number of references to a tree block; 1 where the extent tree does not say.
    fn block_references(&self, block: &BlockRef) -> Result<u64> {
        let address = block.logical().get();
        let level = u64::from(block.level());
        let skinny = Key::new(address, item::METADATA_ITEM, level);
        let found = match self.extents.get(skinny)? {
            Some(found) => found,
            None => {
                let size = u64::try_from(block.data().len()).unwrap_or(0);
                match self
                    .extents
                    .get(Key::new(address, item::EXTENT_ITEM, size))?
                {
                    Some(found) => found,
                    None => return Ok(1),
                }
            }
        };
        let record = ExtentRecord::parse(&found.key(), &found).ok_or(EUCLEAN)?;
        Ok(record.item.refs.get())
    }

    /// Whether anything but one place of this file refers to the data.
    fn data_is_shared(&self, address: Logical, leaf: Logical) -> Result<bool> {
        let from = Key::new(address.get(), item::EXTENT_ITEM, 0);
        let mut cursor = self.extents.seek(from)?;
        let Some((key, data)) = cursor.item() else {
            return Ok(false);
        };
        if key.objectid != address.get() || key.item_type != item::EXTENT_ITEM {
            return Ok(false);
        }
        let record = ExtentRecord::parse(&key, data).ok_or(EUCLEAN)?;
        if record.item.refs.get() <= 1 {
            return Ok(false);
        }
        let mut seen = Seen {
            tree: self.tree.id(),
            ino: self.ino,
            leaf,
            places: 0,
        };
        for reference in record.inline_refs() {
            if seen.is_other(reference) {
                return Ok(true);
            }
        }
        loop {
            cursor.next()?;
            let Some((key, data)) = cursor.item() else {
                break;
            };
            if key.objectid != address.get() || key.item_type > item::SHARED_DATA_REF {
                break;
            }
            if let Some(reference) = ExtentRef::parse_keyed(&key, data) {
                if seen.is_other(reference) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// The references met so far.
struct Seen {
    tree: TreeId,
    ino: Ino,
    leaf: Logical,
    places: u32,
}

impl Seen {
    /// Whether `reference` is not the one place of the file that may refer to the data.
    fn is_other(&mut self, reference: ExtentRef) -> bool {
        match reference {
            ExtentRef::Data { root, ino, .. } => {
                if root != self.tree || ino != self.ino {
                    return true;
                }
                self.places += 1;
            }
            ExtentRef::SharedData { parent, .. } => {
                if parent != self.leaf {
                    return true;
                }
                self.places += 1;
            }
            ExtentRef::Owner { .. } => {}
            ExtentRef::TreeBlock { .. } | ExtentRef::SharedBlock { .. } => return true,
        }
        self.places > 1
    }
}
