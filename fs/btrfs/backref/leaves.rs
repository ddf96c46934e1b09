// SPDX-License-Identifier: GPL-2.0

//! The leaves whose file extent items refer to an extent.

use btrfs_format::extent::ExtentRef;
use btrfs_format::file_extent::{Compression, DiskExtent, FileExtent};
use btrfs_format::key::{item, Key};
use btrfs_format::types::{Ino, TreeId};
use kernel::prelude::*;

use super::extent::DataExtent;
use super::{pause, Backrefs, Place};
use crate::tree::BlockRef;

/// A leaf, and the places in files that its items give an extent.
pub(super) struct LeafPlaces {
    pub(super) block: BlockRef,
    pub(super) places: KVVec<Place>,
}

/// A reference by a file: where its items are.
struct FileRef {
    root: TreeId,
    ino: Ino,
    offset: u64,
    count: u32,
}

/// Leaves that have been found.
struct Found<'a> {
    extent: &'a DataExtent,
    /// The byte of the extent that must be shown; `None`: any.
    wanted: Option<u64>,
    leaves: KVVec<LeafPlaces>,
}

impl Backrefs<'_> {
    /// The leaves that refer to `extent`, with the places that show its byte `wanted`.
    pub(super) fn leaves(
        &self,
        extent: &DataExtent,
        wanted: Option<u64>,
    ) -> Result<KVVec<LeafPlaces>> {
        let mut found = Found {
            extent,
            wanted,
            leaves: KVVec::new(),
        };
        for reference in &extent.refs {
            pause()?;
            match *reference {
                ExtentRef::Data {
                    root,
                    ino,
                    offset,
                    count,
                } => self.by_file(
                    FileRef {
                        root,
                        ino,
                        offset,
                        count,
                    },
                    &mut found,
                )?,
                ExtentRef::SharedData { parent, .. } => {
                    let leaf = self.block(parent)?;
                    if leaf.level() != 0 {
                        return Err(EUCLEAN);
                    }
                    found.add_all(leaf)?;
                }
                _ => {}
            }
        }
        Ok(found.leaves)
    }

    /// Finds the items of a file that a reference is about.
    fn by_file(&self, file: FileRef, found: &mut Found<'_>) -> Result {
        let root = match self.roots.get_even_dead(file.root) {
            Err(error) if error == ENOENT => return Ok(()),
            root => root?,
        };
        // Old cloning could begin an extent before the file: then the offset is negative.
        let first = match i64::try_from(file.offset) {
            Ok(_) => file.offset,
            Err(_) => 0,
        };
        let key = Key::new(file.ino.get(), item::EXTENT_DATA, first);
        let mut cursor = root.view().seek(key)?;
        let mut count = 0;
        while let Some((key, data)) = cursor.item() {
            let same_file = key.objectid == file.ino.get() && key.item_type == item::EXTENT_DATA;
            if !same_file || count >= file.count {
                break;
            }
            if let Some((disk, _)) = on_disk(data) {
                if disk.disk_bytenr == found.extent.start
                    && key.offset.wrapping_sub(disk.offset) == file.offset
                {
                    count += 1;
                    found.add(cursor.leaf(), key, data)?;
                }
            }
            cursor.next()?;
        }
        Ok(())
    }
}

/// What an item says of data on disk, and whether it is stored as it is.
fn on_disk(data: &[u8]) -> Option<(DiskExtent, bool)> {
    match FileExtent::parse(data)? {
        FileExtent::Regular(disk) | FileExtent::Prealloc(disk) => {
            Some((disk, disk.compression == Compression::None))
        }
        _ => None,
    }
}

impl Found<'_> {
    /// Adds all items of a leaf that refer to the extent.
    fn add_all(&mut self, leaf: BlockRef) -> Result {
        for (key, data) in leaf.leaf().iter() {
            if key.item_type == item::EXTENT_DATA
                && on_disk(data).is_some_and(|(disk, _)| disk.disk_bytenr == self.extent.start)
            {
                self.add(&leaf, key, data)?;
            }
        }
        Ok(())
    }

    /// Adds an item, if it shows the wanted byte.
    fn add(&mut self, leaf: &BlockRef, key: Key, data: &[u8]) -> Result {
        let Some((disk, plain)) = on_disk(data) else {
            return Ok(());
        };
        let mut offset = key.offset;
        // Which byte of compressed data is which nobody can say without unpacking it.
        if let (Some(wanted), true) = (self.wanted, plain) {
            let inside = wanted.wrapping_sub(disk.offset);
            if inside >= disk.num_bytes {
                return Ok(());
            }
            offset = offset.wrapping_add(inside);
        }
        let place = Place {
            ino: Ino(key.objectid),
            offset,
        };
        let known = self
            .leaves
            .iter_mut()
            .rev()
            .find(|known| known.block.logical() == leaf.logical());
        if let Some(known) = known {
            // An item may be found by several references.
            if !known.places.contains(&place) {
                known.places.push(place, GFP_KERNEL)?;
            }
            return Ok(());
        }
        let mut places = KVVec::new();
        places.push(place, GFP_KERNEL)?;
        let block = leaf.clone();
        self.leaves.push(LeafPlaces { block, places }, GFP_KERNEL)?;
        Ok(())
    }
}
