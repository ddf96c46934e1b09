// SPDX-License-Identifier: GPL-2.0

//! Taking ranges of a file out of its items.
//!
//! What is put in place of them is the caller's matter; all happens under one handle, and under
//! [`FileState::edit`](super::state::FileState::edit), so that nobody sees or cuts items that
//! somebody else is about to cut.

use btrfs_format::file_extent::{DiskExtent, FileExtent};
use btrfs_format::key::{item, Key};
use btrfs_format::types::Ino;
use core::ops::Range;
use kernel::prelude::*;

use crate::inode::Inode;
use crate::tree::LiveTree;
use crate::txn::{Demand, Handle};
use kernel::sync::Arc;

/// Most items that are taken out or cut under one handle.
pub(crate) const MOST: usize = 256;

/// Size of the item of an extent that is not inline, bytes.
pub(super) const ITEM: u64 = 53;

/// An item that has a part in a range.
#[derive(Clone, Copy)]
pub(super) struct Old {
    /// Offset of the first byte in the file.
    pub(super) start: u64,
    /// Offset behind the last byte in the file.
    pub(super) end: u64,
    pub(super) kind: OldKind,
}

#[derive(Clone, Copy)]
pub(super) enum OldKind {
    /// In the item: `bytes` bytes once unpacked.
    Inline { bytes: u64 },
    /// On disk, or a hole.
    Disk {
        extent: DiskExtent,
        /// Allocated, but not written.
        prealloc: bool,
    },
}

impl Old {
    fn decode(key: Key, data: &[u8], sector: u64) -> Result<Self> {
        let parsed = FileExtent::parse(data).ok_or(EUCLEAN)?;
        let (len, kind) = match parsed {
            FileExtent::Inline { ram_bytes, .. } => {
                let len = ram_bytes.checked_next_multiple_of(sector).ok_or(EUCLEAN)?;
                (len.max(sector), OldKind::Inline { bytes: ram_bytes })
            }
            FileExtent::Regular(extent) => (
                extent.num_bytes,
                OldKind::Disk {
                    extent,
                    prealloc: false,
                },
            ),
            FileExtent::Prealloc(extent) => (
                extent.num_bytes,
                OldKind::Disk {
                    extent,
                    prealloc: true,
                },
            ),
        };
        Ok(Self {
            start: key.offset,
            end: key.offset.checked_add(len).ok_or(EUCLEAN)?,
            kind,
        })
    }
}

/// The items that have a part in a range, from its beginning or its end.
pub(super) struct Olds {
    /// In the order they were found.
    pub(super) items: KVec<Old>,
    /// The part of the range in which there are no others.
    pub(super) range: Range<u64>,
}

/// The key of the item at offset `at`.
pub(super) fn key(ino: Ino, at: u64) -> Key {
    Key::new(ino.get(), item::EXTENT_DATA, at)
}

fn belongs(key: Key, ino: Ino) -> bool {
    key.objectid == ino.get() && key.item_type == item::EXTENT_DATA
}

/// Finds the items that have a part in `range`, at most `most`, from its beginning on.
pub(super) fn find(inode: &Inode, range: &Range<u64>, most: usize) -> Result<Olds> {
    let (tree, ino, sector) = (inode.tree(), inode.ino(), inode.fs().sector_size());
    let mut found = Olds {
        items: KVec::new(),
        range: range.clone(),
    };
    let mut cursor = tree.seek_at_or_before(key(ino, range.start))?;
    match cursor.item() {
        Some((at, _)) if belongs(at, ino) => {}
        _ => cursor = tree.seek(key(ino, 0))?,
    }
    while let Some((at, data)) = cursor.item() {
        if !belongs(at, ino) || at.offset >= range.end {
            break;
        }
        let old = Old::decode(at, data, sector)?;
        if old.end > range.start {
            if found.items.len() >= most {
                found.range.end = old.start.max(range.start);
                break;
            }
            found.items.push(old, GFP_KERNEL)?;
        }
        cursor.next()?;
    }
    Ok(found)
}

/// Finds the items that have a part behind `from`, at most `most`, from the end of the file on.
pub(super) fn find_last(inode: &Inode, from: u64, most: usize) -> Result<Olds> {
    let (tree, ino, sector) = (inode.tree(), inode.ino(), inode.fs().sector_size());
    let mut found = Olds {
        items: KVec::new(),
        range: from..u64::MAX,
    };
    let mut cursor = tree.seek_at_or_before(key(ino, u64::MAX))?;
    while let Some((at, data)) = cursor.item() {
        if !belongs(at, ino) {
            break;
        }
        let old = Old::decode(at, data, sector)?;
        if old.end <= from {
            break;
        }
        if found.items.len() >= most {
            found.range.start = old.end;
            break;
        }
        found.items.push(old, GFP_KERNEL)?;
        cursor.prev()?;
    }
    Ok(found)
}

/// An upper bound of what taking `items` items out and putting `more` others changes.
pub(super) fn demand(items: usize, more: u64) -> Demand {
    // An item becomes none, one, or at most two.
    let edits = (items as u64).saturating_mul(2).saturating_add(2);
    let edits = edits.saturating_add(more);
    // Each old item may be in a leaf of its own; the new ones are between them, or next to them, and
    // then there is the inode.
    let leaves = edits.min((items as u64).saturating_add(3));
    Demand::items(edits, edits.saturating_mul(ITEM).saturating_add(160)).within(leaves)
}

/// Takes `olds` out of its range: those inside go, those at its ends are cut. Returns how many
/// bytes are not allocated by items any more.
///
/// Inline extents cannot be cut: they go.
pub(super) fn cut(
    tree: &Arc<LiveTree>,
    ino: Ino,
    handle: &mut Handle<'_>,
    olds: &Olds,
) -> Result<u64> {
    let range = &olds.range;
    let mut freed = 0u64;
    for old in olds.items.iter() {
        let (extent, prealloc) = match old.kind {
            OldKind::Inline { bytes } => {
                tree.delete(handle, key(ino, old.start))?;
                freed = freed.saturating_add(bytes);
                continue;
            }
            OldKind::Disk { extent, prealloc } => (extent, prealloc),
        };
        let mut put = |at: u64, end: u64| -> Result {
            let skipped = at.saturating_sub(old.start);
            let mut part = extent;
            part.num_bytes = end.saturating_sub(at);
            if !extent.is_hole() {
                part.offset = extent.offset.checked_add(skipped).ok_or(EUCLEAN)?;
            }
            put_extent(tree, ino, handle, at, &part, prealloc)
        };
        if old.start < range.start {
            put(old.start, range.start)?;
        }
        if old.end > range.end {
            put(range.end, old.end)?;
        }
        if old.start >= range.start {
            tree.delete(handle, key(ino, old.start))?;
        }
        if !extent.is_hole() {
            let part = old.end.min(range.end);
            freed = freed.saturating_add(part.saturating_sub(old.start.max(range.start)));
        }
    }
    Ok(freed)
}

/// Puts the item of an extent at offset `at`.
pub(super) fn put_extent(
    tree: &Arc<LiveTree>,
    ino: Ino,
    handle: &mut Handle<'_>,
    at: u64,
    extent: &DiskExtent,
    prealloc: bool,
) -> Result {
    let item = match prealloc {
        true => extent.prealloc_item(),
        false => extent.regular_item(),
    };
    tree.put(handle, key(ino, at), item.to_disk())
}
