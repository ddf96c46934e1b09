// SPDX-License-Identifier: GPL-2.0

//! Changing extended attributes.

use btrfs_format::dir::{name_hash, DirItemHeader, DirItems, FileType};
use btrfs_format::key::{item, Key};
use btrfs_format::types::{Generation, Ino, XATTR_NAME_MAX};
use kernel::prelude::*;
use kernel::sync::Arc;
use kfs::fs::XattrSet;

use crate::dir::entries::{self, NewEntry};
use crate::edits::{complete, Edits};
use crate::inode::store::store;
use crate::tree::LiveTree;
use crate::txn::Demand;
use crate::vfs::BtrfsInode;

/// An attribute to set or, without a value, to remove.
#[derive(Clone, Copy)]
pub(crate) struct Attribute<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) how: XattrSet,
}

/// Sets or removes an attribute of the inode `ino`. `most` is what an item can hold.
///
/// `EEXIST` and `ENODATA` as [`XattrSet`] says, `ENOSPC`: it does not fit.
pub(crate) fn set(
    edits: &mut Edits,
    tree: &Arc<LiveTree>,
    ino: Ino,
    most: usize,
    attribute: &Attribute<'_>,
    transid: Generation,
) -> Result {
    let name = attribute.name;
    let size = attribute.value.map_or(0, <[u8]>::len);
    if name.len() > XATTR_NAME_MAX || DirItemHeader::SIZE + name.len() + size > most {
        return Err(ENOSPC);
    }
    let key = Key::new(ino.get(), item::XATTR_ITEM, name_hash(name));
    let old = edits.get(tree, key)?.unwrap_or_default();
    let exists = DirItems::new(&old).find_name(name).is_some();
    match attribute.how {
        XattrSet::Create if exists => return Err(EEXIST),
        XattrSet::Replace if !exists => return Err(ENODATA),
        _ => {}
    }
    let mut new = match exists {
        true => entries::without(&old, name)?.ok_or(EUCLEAN)?,
        false if attribute.value.is_none() => return Ok(()),
        false => old,
    };
    if let Some(value) = attribute.value {
        let entry = NewEntry {
            location: Key::MIN,
            kind: FileType::Xattr,
            name,
            value,
        };
        entries::append(&mut new, &entry, transid)?;
    }
    if new.len() > most {
        return Err(ENOSPC);
    }
    edits.put_or_delete(tree, key, new)
}

/// Sets or removes an attribute of an inode in an operation of its own, in which `also` may change
/// attributes of the inode in memory. The inode lock is held.
pub(crate) fn change(inode: &BtrfsInode, attribute: &Attribute<'_>, also: impl FnOnce()) -> Result {
    let data = inode.data();
    let fs = data.fs();
    let bytes = attribute.name.len() + attribute.value.map_or(0, <[u8]>::len) + 256;
    let handle = fs.txn().start(Demand::items(2, u64::try_from(bytes)?))?;
    let mut edits = Edits::new();
    let most = entries::most_bytes(fs.volume().geometry());
    let transid = handle.transid();
    set(
        &mut edits,
        data.tree(),
        data.ino(),
        most,
        attribute,
        transid,
    )?;
    complete(fs, handle, "setxattr", |handle| {
        edits.apply(handle)?;
        if attribute.value.is_some() {
            data.note_xattrs();
        }
        also();
        inode.inc_version();
        inode.touch_ctime();
        store(handle, inode)
    })
}
