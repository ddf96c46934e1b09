// SPDX-License-Identifier: GPL-2.0

//! The entries of an item that holds directory entries or extended attributes.
//!
//! Names of equal hash share an item. The order of its entries means nothing, new ones go to
//! the end.

use btrfs_format::dir::{DirItemHeader, DirItems, FileType};
use btrfs_format::geometry::Geometry;
use btrfs_format::key::Key;
use btrfs_format::types::Generation;
use kernel::prelude::*;

/// One entry to be stored.
pub(crate) struct NewEntry<'a> {
    /// What a directory entry leads to; [`Key::MIN`] of an extended attribute.
    pub(crate) location: Key,
    /// Its type.
    pub(crate) kind: FileType,
    /// Its name.
    pub(crate) name: &'a [u8],
    /// The value of an extended attribute.
    pub(crate) value: &'a [u8],
}

/// The most bytes of data that an item can have.
pub(crate) fn most_bytes(geometry: &Geometry) -> usize {
    const HEADER: u32 = 101;
    const ITEM: u32 = 25;
    usize::try_from(geometry.nodesize.saturating_sub(HEADER + ITEM)).unwrap_or(0)
}

/// Appends `entry` to the data of an item. `EINVAL` if its sizes cannot be stored.
pub(crate) fn append(item: &mut KVec<u8>, entry: &NewEntry<'_>, transid: Generation) -> Result {
    let header = DirItemHeader {
        location: entry.location.into(),
        transid: transid.into(),
        data_len: u16::try_from(entry.value.len())?.into(),
        name_len: u16::try_from(entry.name.len())?.into(),
        file_type: entry.kind.raw(),
    };
    let size = DirItemHeader::SIZE + entry.name.len() + entry.value.len();
    item.reserve(size, GFP_KERNEL)?;
    item.extend_from_slice(header.to_disk(), GFP_KERNEL)?;
    item.extend_from_slice(entry.name, GFP_KERNEL)?;
    item.extend_from_slice(entry.value, GFP_KERNEL)?;
    Ok(())
}

/// The data of an item without the entry of that name; `None` if there is none.
pub(crate) fn without(item: &[u8], name: &[u8]) -> Result<Option<KVec<u8>>> {
    let mut entries = DirItems::new(item);
    let mut at = 0;
    while let Some(entry) = entries.next() {
        let end = item.len() - entries.rest().len();
        if entry.name == name {
            let mut rest = KVec::with_capacity(item.len() - (end - at), GFP_KERNEL)?;
            rest.extend_from_slice(item.get(..at).ok_or(EUCLEAN)?, GFP_KERNEL)?;
            rest.extend_from_slice(item.get(end..).ok_or(EUCLEAN)?, GFP_KERNEL)?;
            return Ok(Some(rest));
        }
        at = end;
    }
    Ok(None)
}
