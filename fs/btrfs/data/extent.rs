// SPDX-License-Identifier: GPL-2.0

//! What lies where in a file, decoded from its `EXTENT_DATA` items.
//!
//! A file is a sequence of [`Extent`]s without gaps: what no item covers is a hole,
//! with and without the no-holes feature. The last one reaches up to
//! [`FILE_END`].

use btrfs_format::file_extent::{Compression, DiskExtent, FileExtent};
use btrfs_format::key::{item, Key};
use btrfs_format::types::{Ino, Logical};
use kernel::prelude::*;
use kernel::sync::Arc;

use crate::tree::{LiveCursor, LiveTree};

/// Where the last extent of a file ends at most. The last byte of a file is at `i64::MAX - 1`, but its
/// sector is whole.
pub(crate) const FILE_END: u64 = 1 << 63;

/// Where the bytes of an extent are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// Nowhere: they are zeroes.
    Hole,
    /// Nowhere yet: zeroes, but space is allocated at `address`.
    Prealloc {
        /// Of the extent's first byte.
        address: Logical,
        /// Of the whole allocation this is a part of.
        allocation: Logical,
    },
    /// As they are, from `address` on.
    Plain {
        /// Of the extent's first byte.
        address: Logical,
        /// Of the whole allocation this is a part of.
        allocation: Logical,
    },
    /// In a compressed run.
    Packed(Packed),
    /// In the item itself, plain or compressed; `size` bytes once unpacked.
    Inline {
        /// Of the item.
        key: Key,
        /// Bytes the item holds, unpacked.
        size: u64,
        /// How it is compressed.
        compression: Compression,
    },
}

/// A compressed run and which part of it an extent shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Packed {
    /// Of the compressed bytes.
    pub(crate) address: Logical,
    /// Number of compressed bytes on disk.
    pub(crate) size: u32,
    /// Number of bytes they unpack to.
    pub(crate) unpacked: u32,
    /// Offset of the extent's first byte in the unpacked ones.
    pub(crate) skip: u32,
    /// How it is compressed.
    pub(crate) compression: Compression,
}

/// Largest number of bytes that one compressed run unpacks to, or takes.
pub(crate) const MAX_PACKED: u32 = 128 << 10;

/// A range of a file whose bytes lie together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Extent {
    /// Offset of the first byte in the file.
    pub(crate) start: u64,
    /// Offset behind the last byte in the file.
    pub(crate) end: u64,
    /// Where the bytes are.
    pub(crate) place: Place,
    /// Transaction that wrote the item; 0 for a hole without an item.
    pub(crate) generation: u64,
}

impl Extent {
    /// Whether `pos` lies in it.
    pub(crate) fn covers(&self, pos: u64) -> bool {
        self.start <= pos && pos < self.end
    }

    /// A hole that no item stands for.
    fn gap(start: u64, end: u64) -> Self {
        Self {
            start,
            end,
            place: Place::Hole,
            generation: 0,
        }
    }

    /// Decodes the item under `key`; `block` is the sector size, to which inline
    /// extents are rounded up.
    ///
    /// Fails with `EUCLEAN` where the item says what cannot be.
    fn decode(key: Key, data: &[u8], block: u64) -> Result<Self> {
        let parsed = FileExtent::parse(data).ok_or(EUCLEAN)?;
        let (length, place) = match parsed {
            FileExtent::Inline {
                ram_bytes,
                compression,
                ..
            } => {
                let place = Place::Inline {
                    key,
                    size: ram_bytes,
                    compression,
                };
                let length = ram_bytes.checked_next_multiple_of(block);
                (length.ok_or(EUCLEAN)?.max(block), place)
            }
            FileExtent::Regular(disk) => (disk.num_bytes, Self::regular(&disk)?),
            FileExtent::Prealloc(disk) if disk.is_hole() => (disk.num_bytes, Place::Hole),
            FileExtent::Prealloc(disk) => {
                let address = disk.disk_bytenr.checked_add(disk.offset);
                let place = Place::Prealloc {
                    address: address.ok_or(EUCLEAN)?,
                    allocation: disk.disk_bytenr,
                };
                (disk.num_bytes, place)
            }
        };
        let end = key.offset.checked_add(length).ok_or(EUCLEAN)?;
        if length == 0 || end > FILE_END {
            return Err(EUCLEAN);
        }
        Ok(Self {
            start: key.offset,
            end,
            place,
            generation: parsed.generation().get(),
        })
    }

    fn regular(disk: &DiskExtent) -> Result<Place> {
        if disk.is_hole() {
            return Ok(Place::Hole);
        }
        if disk.compression == Compression::None {
            let address = disk.disk_bytenr.checked_add(disk.offset);
            return Ok(Place::Plain {
                address: address.ok_or(EUCLEAN)?,
                allocation: disk.disk_bytenr,
            });
        }
        let small = |value: u64| u32::try_from(value).map_err(|_| EUCLEAN);
        let packed = Packed {
            address: disk.disk_bytenr,
            size: small(disk.disk_num_bytes)?,
            unpacked: small(disk.ram_bytes)?,
            skip: small(disk.offset)?,
            compression: disk.compression,
        };
        if packed.size > MAX_PACKED || packed.unpacked > MAX_PACKED {
            return Err(EUCLEAN);
        }
        Ok(Place::Packed(packed))
    }
}

/// Walks the extents of a file from a position on.
pub(crate) struct Extents {
    cursor: LiveCursor,
    ino: Ino,
    block: u64,
    /// Everything before this offset was returned.
    at: u64,
    /// The item under the cursor is the one that covers `at` or comes behind it.
    done: bool,
}

impl Extents {
    /// Starts at the extent that covers `pos`. `block` is the sector size in bytes.
    pub(crate) fn new(tree: &Arc<LiveTree>, ino: Ino, block: u64, pos: u64) -> Result<Self> {
        let key = Key::new(ino.get(), item::EXTENT_DATA, pos);
        let mut cursor = tree.seek_at_or_before(key)?;
        let mut at = 0;
        match cursor.item() {
            Some((found, data)) if belongs(found, ino) => {
                let extent = Extent::decode(found, data, block)?;
                if extent.covers(pos) {
                    at = extent.start;
                } else {
                    // `pos` lies in the gap behind the item.
                    at = extent.end;
                    cursor.next()?;
                }
            }
            // The item before belongs to something else: the file begins with a gap.
            Some(_) => cursor.next()?,
            None => cursor = tree.seek(key)?,
        }
        Ok(Self {
            cursor,
            ino,
            block,
            at,
            done: false,
        })
    }

    /// The next extent; `None` behind the last one.
    pub(crate) fn next(&mut self) -> Result<Option<Extent>> {
        if self.done {
            return Ok(None);
        }
        let extent = match self.cursor.item() {
            Some((key, data)) if belongs(key, self.ino) => {
                if key.offset > self.at {
                    let gap = Extent::gap(self.at, key.offset);
                    self.at = key.offset;
                    return Ok(Some(gap));
                }
                let extent = Extent::decode(key, data, self.block)?;
                if extent.start < self.at {
                    return Err(EUCLEAN);
                }
                extent
            }
            _ => {
                self.done = true;
                if self.at >= FILE_END {
                    return Ok(None);
                }
                return Ok(Some(Extent::gap(self.at, FILE_END)));
            }
        };
        self.at = extent.end;
        self.cursor.next()?;
        Ok(Some(extent))
    }

    /// Whether the next item can be had without reading another block.
    pub(crate) fn is_cheap(&self) -> bool {
        !self.done && self.cursor.has_next_in_leaf()
    }
}

fn belongs(key: Key, ino: Ino) -> bool {
    key.objectid == ino.get() && key.item_type == item::EXTENT_DATA
}

/// Where the last extent of a file ends that is not a hole; 0 if there is none.
pub(crate) fn last_end(tree: &Arc<LiveTree>, ino: Ino, block: u64) -> Result<u64> {
    let key = Key::new(ino.get(), item::EXTENT_DATA, u64::MAX);
    let mut cursor = tree.seek_at_or_before(key)?;
    while let Some((found, data)) = cursor.item() {
        if !belongs(found, ino) {
            break;
        }
        let extent = Extent::decode(found, data, block)?;
        if extent.place != Place::Hole {
            return Ok(extent.end);
        }
        cursor.prev()?;
    }
    Ok(0)
}
