// SPDX-License-Identifier: GPL-2.0

//! Giving a file another name.

use btrfs_format::inode::InodeItem;
use btrfs_format::key::{item, Key};
use btrfs_format::types::LINK_MAX;
use kernel::prelude::*;

use super::create::{name_demand, orphan_key, touch_dir};
use super::edit::{dir_size, next_index, Name};
use crate::edits::{complete, Edits};
use crate::inode::load;
use crate::inode::store::store;
use crate::txn::Demand;
use crate::vfs::BtrfsInode;

/// Gives `inode` the name `name` in `dir`.
///
/// `EXDEV`: it is in another subvolume; `EMLINK`: it has too many names.
pub(crate) fn link(dir: &BtrfsInode, name: &[u8], inode: &BtrfsInode) -> Result {
    let (data, child) = (dir.data(), inode.data());
    if data.subvol().id() != child.subvol().id() || child.is_stub() {
        return Err(EXDEV);
    }
    if inode.nlink() >= LINK_MAX {
        return Err(EMLINK);
    }
    let fs = data.fs();
    let (count, bytes) = name_demand(name.len());
    let demand = Demand::items(count + 2, bytes + InodeItem::SIZE as u64);
    let handle = fs.txn().start(demand)?;
    let mut edits = Edits::new();
    let place = Name { dir: data, name };
    let index = next_index(data)?;
    let location = Key::new(child.ino().get(), item::INODE_ITEM, 0);
    let kind = load::file_type(inode);
    place.add(&mut edits, location, kind, index, handle.transid())?;
    place.add_ref(&mut edits, child.ino(), index)?;
    if inode.nlink() == 0 {
        edits.delete(data.tree(), orphan_key(child.ino()))?;
    }
    complete(fs, handle, "link", |handle| {
        edits.apply(handle)?;
        inode.inc_nlink();
        inode.inc_version();
        inode.touch_ctime();
        store(handle, inode)?;
        touch_dir(handle, dir, dir_size(name.len()))
    })
}
