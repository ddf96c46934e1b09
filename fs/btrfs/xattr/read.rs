// SPDX-License-Identifier: GPL-2.0

//! Reading extended attributes from the tree.
//!
//! An attribute is stored like a directory entry: under the hash of its full name
//! (`user.x`), with the value as data; names of one hash share an item.

use btrfs_format::dir::{name_hash, DirItems};
use btrfs_format::key::{item, Key};
use btrfs_format::types::{Ino, XATTR_NAME_MAX};
use kernel::prelude::*;
use kernel::sync::Arc;

use crate::tree::LiveTree;

/// Gives the value of attribute `name` of inode `ino` to `f`.
///
/// `ENODATA`: there is no such attribute.
pub(crate) fn find<R>(
    tree: &Arc<LiveTree>,
    ino: Ino,
    name: &[u8],
    f: impl FnOnce(&[u8]) -> Result<R>,
) -> Result<R> {
    if name.len() > XATTR_NAME_MAX {
        return Err(ENODATA);
    }
    let key = Key::new(ino.get(), item::XATTR_ITEM, name_hash(name));
    let item = tree.get(key)?.ok_or(ENODATA)?;
    f(DirItems::new(&item).find_name(name).ok_or(ENODATA)?.data)
}

/// Calls `f(name, value)` for every attribute of `ino`, in the order of the tree.
pub(crate) fn for_each(
    tree: &Arc<LiveTree>,
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
