// SPDX-License-Identifier: GPL-2.0

//! The item of an extent while its references change.

#![deny(clippy::arithmetic_side_effects)]

use super::Change;
use crate::error::{Error, Result};
use crate::mem::{KVVec, GFP_NOFAIL};
use btrfs_format::crc32c::Crc32c;
use btrfs_format::extent::{
    ExtentDataRef, ExtentFlags, ExtentItem, ExtentRef, InlineRefHeader, SharedDataRef,
    TreeBlockInfo,
};
use btrfs_format::{item as item_type, Key};
use zerocopy::little_endian::{U32, U64};

const BAD_ITEM: Error = Error::Corrupt("an extent item is malformed");

/// The reference that a change is about, held `count` times; `None` if it is about something else.
pub(super) fn reference(change: &Change, count: u32) -> Option<ExtentRef> {
    Some(match *change {
        Change::TreeBlock { root } => ExtentRef::TreeBlock { root },
        Change::SharedBlock { parent } => ExtentRef::SharedBlock { parent },
        Change::Data { root, ino, offset } => ExtentRef::Data {
            root,
            ino,
            offset,
            count,
        },
        Change::SharedData { parent } => ExtentRef::SharedData { parent, count },
        Change::NewBlock { .. } | Change::Born { .. } | Change::Full => return None,
    })
}

/// Whether two references differ in nothing but how often they are held.
pub(super) fn same(a: &ExtentRef, b: &ExtentRef) -> bool {
    with_count(*a, 0) == with_count(*b, 0)
}

/// The reference, held `count` times.
pub(super) fn with_count(mut reference: ExtentRef, new: u32) -> ExtentRef {
    match &mut reference {
        ExtentRef::Data { count, .. } | ExtentRef::SharedData { count, .. } => *count = new,
        _ => {}
    }
    reference
}

/// Adds `delta` to how often a reference is held; 0 if it is gone then.
pub(super) fn change_count(reference: &ExtentRef, delta: i64) -> Result<u32> {
    let count = i64::from(reference.count()).saturating_add(delta);
    let many = matches!(
        reference,
        ExtentRef::Data { .. } | ExtentRef::SharedData { .. }
    );
    match u32::try_from(count) {
        Ok(count) if many || count <= 1 => Ok(count),
        Ok(_) => Err(Error::Corrupt("a tree block is referenced twice")),
        Err(_) if count < 0 => Err(Error::Corrupt("a reference is dropped too often")),
        Err(_) => Err(Error::Corrupt("a reference is held too often")),
    }
}

/// The data of a reference's own item.
pub(super) fn keyed_data<'a>(reference: &ExtentRef, into: &'a mut [u8; 28]) -> &'a [u8] {
    match *reference {
        ExtentRef::Data {
            root,
            ino,
            offset,
            count,
        } => {
            let data = ExtentDataRef {
                root: root.into(),
                objectid: ino.into(),
                offset: U64::new(offset),
                count: U32::new(count),
            };
            into.copy_from_slice(data.to_disk());
            into
        }
        ExtentRef::SharedData { count, .. } => {
            let head = into.first_chunk_mut::<4>();
            if let Some(head) = head {
                *head = count.to_le_bytes();
            }
            into.get(..SharedDataRef::SIZE).unwrap_or(&[])
        }
        _ => &[],
    }
}

/// Where a reference is among the inline ones.
pub(super) enum Inline {
    /// There, at a position in bytes.
    At(usize, ExtentRef),
    /// Nowhere; this is where it would have to be.
    Absent(usize),
}

/// An extent item in memory.
///
/// Invariants: `bytes` begins with an [`ExtentItem`], `refs_at` is at most its length and what
/// follows there are well-formed inline references.
pub(super) struct ItemBuf {
    bytes: KVVec<u8>,
    refs_at: usize,
    crc32c: Crc32c,
}

impl ItemBuf {
    pub(super) fn new(crc32c: Crc32c) -> Self {
        Self {
            bytes: KVVec::new(),
            refs_at: 0,
            crc32c,
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Begins an item without references.
    pub(super) fn start(&mut self, item: &ExtentItem, info: Option<&TreeBlockInfo>) -> Result {
        self.bytes.clear();
        self.bytes.extend_from_slice(item.to_disk(), GFP_NOFAIL)?;
        if let Some(info) = info {
            self.bytes.extend_from_slice(info.to_disk(), GFP_NOFAIL)?;
        }
        self.refs_at = self.bytes.len();
        Ok(())
    }

    /// Takes an item that is there. Returns how many references are inline.
    pub(super) fn load(&mut self, key: &Key, data: &[u8]) -> Result<u64> {
        self.bytes.clear();
        self.bytes.extend_from_slice(data, GFP_NOFAIL)?;
        let item = self.head()?;
        let is_block = item.flags().contains(ExtentFlags::TREE_BLOCK);
        if is_block == item.flags().contains(ExtentFlags::DATA) {
            return Err(BAD_ITEM);
        }
        self.refs_at = ExtentItem::SIZE;
        if is_block && key.item_type == item_type::EXTENT_ITEM {
            self.refs_at = self.refs_at.saturating_add(TreeBlockInfo::SIZE);
        }
        let mut rest = data.get(self.refs_at..).ok_or(BAD_ITEM)?;
        let mut count = 0u64;
        while !rest.is_empty() {
            let (reference, behind) = ExtentRef::parse_inline(rest).ok_or(BAD_ITEM)?;
            count = count.saturating_add(u64::from(reference.count()));
            rest = behind;
        }
        Ok(count)
    }

    /// The fixed part.
    pub(super) fn head(&self) -> Result<&ExtentItem> {
        let (item, _) = ExtentItem::from_prefix(&self.bytes).ok_or(BAD_ITEM)?;
        Ok(item)
    }

    /// What the item says of the tree block, where it has an old-style item.
    pub(super) fn info(&self) -> Option<&TreeBlockInfo> {
        let rest = self.bytes.get(ExtentItem::SIZE..self.refs_at)?;
        TreeBlockInfo::from_bytes(rest)
    }

    /// Sets the number of references and the flags.
    pub(super) fn set_head(&mut self, refs: u64, flags: ExtentFlags) -> Result {
        let mut item = *self.head()?;
        item.refs = U64::new(refs);
        item.flags = U64::new(flags.bits());
        let head = self.bytes.get_mut(..ExtentItem::SIZE).ok_or(BAD_ITEM)?;
        head.copy_from_slice(item.to_disk());
        Ok(())
    }

    /// Whether a reference is left inline that keeps the extent alive.
    pub(super) fn has_refs(&self) -> bool {
        let mut rest = self.bytes.get(self.refs_at..).unwrap_or(&[]);
        while let Some((reference, behind)) = ExtentRef::parse_inline(rest) {
            if reference.count() != 0 {
                return true;
            }
            rest = behind;
        }
        !rest.is_empty()
    }

    /// Looks for a reference.
    ///
    /// The order is by kind, ascending, then by sequence, descending.
    pub(super) fn find(&self, wanted: &ExtentRef) -> Result<Inline> {
        let kind = wanted.kind();
        let mut sequence = None;
        let mut rest = self.bytes.get(self.refs_at..).ok_or(BAD_ITEM)?;
        while !rest.is_empty() {
            let (reference, behind) = ExtentRef::parse_inline(rest).ok_or(BAD_ITEM)?;
            let at = self.bytes.len().saturating_sub(rest.len());
            if reference.kind() > kind {
                return Ok(Inline::Absent(at));
            }
            if reference.kind() == kind {
                if same(&reference, wanted) {
                    return Ok(Inline::At(at, reference));
                }
                let wanted = *sequence.get_or_insert_with(|| wanted.sequence(self.crc32c));
                if reference.sequence(self.crc32c) < wanted {
                    return Ok(Inline::Absent(at));
                }
            }
            rest = behind;
        }
        Ok(Inline::Absent(self.bytes.len()))
    }

    /// Adds a reference at a position that [`Self::find`] returned.
    pub(super) fn insert(&mut self, at: usize, reference: &ExtentRef) -> Result {
        let size = ExtentRef::inline_size(reference.kind()).ok_or(BAD_ITEM)?;
        let old = self.bytes.len();
        let new = old.checked_add(size).ok_or(BAD_ITEM)?;
        if at > old {
            return Err(BAD_ITEM);
        }
        self.bytes.resize(new, 0, GFP_NOFAIL)?;
        let tail = self.bytes.get_mut(at..).ok_or(BAD_ITEM)?;
        tail.copy_within(..old.saturating_sub(at), size);
        self.write(at, reference)
    }

    /// Writes a reference over the one of the same kind that is there.
    pub(super) fn write(&mut self, at: usize, reference: &ExtentRef) -> Result {
        let mut scratch = [0; 28];
        let data = keyed_data(reference, &mut scratch);
        let out = self.bytes.get_mut(at..).ok_or(BAD_ITEM)?;
        let (kind, mut out) = out.split_first_mut().ok_or(BAD_ITEM)?;
        *kind = reference.kind();
        let parent = match *reference {
            ExtentRef::Data { .. } => None,
            ExtentRef::TreeBlock { root } | ExtentRef::Owner { root } => Some(root.get()),
            ExtentRef::SharedBlock { parent } | ExtentRef::SharedData { parent, .. } => {
                Some(parent.get())
            }
        };
        if let Some(parent) = parent {
            let (field, behind) = out.split_first_chunk_mut::<8>().ok_or(BAD_ITEM)?;
            *field = parent.to_le_bytes();
            out = behind;
        }
        let out = out.get_mut(..data.len()).ok_or(BAD_ITEM)?;
        out.copy_from_slice(data);
        Ok(())
    }

    /// Removes the reference at a position.
    pub(super) fn remove(&mut self, at: usize, reference: &ExtentRef) -> Result {
        let size = ExtentRef::inline_size(reference.kind()).ok_or(BAD_ITEM)?;
        let tail = self.bytes.get_mut(at..).ok_or(BAD_ITEM)?;
        let left = tail.len().checked_sub(size).ok_or(BAD_ITEM)?;
        tail.copy_within(size.., 0);
        self.bytes.truncate(at.saturating_add(left));
        Ok(())
    }

    /// Length of the item with a reference more.
    pub(super) fn len_with(&self, reference: &ExtentRef) -> usize {
        let size = ExtentRef::inline_size(reference.kind()).unwrap_or(InlineRefHeader::SIZE);
        self.bytes.len().saturating_add(size)
    }
}
