// SPDX-License-Identifier: GPL-2.0

//! Reading extended attributes from the tree.
//!
//! An attribute is stored like a directory entry: under the hash of its full name
//! (`user.x`), with the value as data; names of one hash share an item.

use btrfs_format::dir::{name_hash, DirItems};
use btrfs_format::key::{item, Key};
use btrfs_format::types::{Ino, XATTR_NAME_MAX};
use kernel::prelude::*;

use crate::tree::TreeView;

/// Copies the value of attribute `name` of inode `ino` to `out` and returns its
/// length; an empty `out` asks for the length only.
///
/// `ENODATA`: there is no such attribute; `ERANGE`: `out` is too short.
pub(crate) fn get(tree: &TreeView, ino: Ino, name: &[u8], out: &mut [u8]) -> Result<usize> {
    if name.len() > XATTR_NAME_MAX {
        return Err(ENODATA);
    }
    let key = Key::new(ino.get(), item::XATTR_ITEM, name_hash(name));
    let item = tree.get(key)?.ok_or(ENODATA)?;
    let value = DirItems::new(&item).find_name(name).ok_or(ENODATA)?.data;
    if !out.is_empty() {
        out.get_mut(..value.len())
            .ok_or(ERANGE)?
            .copy_from_slice(value);
    }
    Ok(value.len())
}

/// Writes the names of all attributes of `ino` to `out`, each with a zero byte
/// behind it, and returns their length; an empty `out` asks for the length only.
///
/// `ERANGE`: `out` is too short.
pub(crate) fn list(tree: &TreeView, ino: Ino, out: &mut [u8]) -> Result<usize> {
    let mut total = 0usize;
    for_each(tree, ino, |name, _| {
        let end = total + name.len();
        if !out.is_empty() {
            let place = out.get_mut(total..=end).ok_or(ERANGE)?;
            let (zero, place) = place.split_last_mut().ok_or(ERANGE)?;
            place.copy_from_slice(name);
            *zero = 0;
        }
        total = end + 1;
        Ok(())
    })?;
    Ok(total)
}

/// Calls `f(name, value)` for every attribute of `ino`, in the order of the tree.
pub(crate) fn for_each(
    tree: &TreeView,
    ino: Ino,
    mut f: impl FnMut(&[u8], &[u8]) -> Result,
) -> Result {
    let mut cursor = tree.seek(Key::new(ino.get(), item::XATTR_ITEM, 0))?;
    while let Some((key, data)) = cursor.item() {
        if key.objectid != ino.get() || key.item_type != item::XATTR_ITEM {
            break;
        }
        for attribute in DirItems::new(data) {
            f(attribute.name, attribute.data)?;
        }
        cursor.next()?;
    }
    Ok(())
}
