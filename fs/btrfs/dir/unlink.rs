// SPDX-License-Identifier: GPL-2.0

//! Taking names away, and removing directories.
//!
//! A file without names stays until nobody has it open any more. Until then an orphan item
//! remembers that it is to go, should the machine crash.

use btrfs_format::inode::InodeItem;
use btrfs_format::types::TreeId;
use kernel::prelude::*;

use super::create::{name_demand, orphan_key, touch_dir};
use super::edit::{self, dir_size, Name};
use crate::edits::{complete, Edits};
use crate::inode::store::store;
use crate::subvol;
use crate::txn::{Demand, Handle};
use crate::vfs::BtrfsInode;

/// What a name leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Thing {
    /// A file of the same subvolume.
    File,
    /// The root directory of a subvolume.
    Subvol(TreeId),
    /// A subvolume that hangs elsewhere.
    Stub,
}

impl Thing {
    pub(super) fn of(inode: &BtrfsInode) -> Self {
        let data = inode.data();
        if data.is_stub() {
            Self::Stub
        } else if data.is_subvol_root() {
            Self::Subvol(data.subvol().id())
        } else {
            Self::File
        }
    }
}

/// Takes the name away from what it leads to.
pub(crate) fn take_name(edits: &mut Edits, name: &Name<'_>, inode: &BtrfsInode) -> Result {
    let index = match Thing::of(inode) {
        Thing::File => name.remove_ref(edits, inode.data().ino())?,
        Thing::Subvol(id) => name.remove_root_ref(edits, id)?,
        Thing::Stub => name.search_index()?,
    };
    name.remove(edits, index)
}

/// Takes the name away from a file, which becomes an orphan with its last one.
pub(super) fn take_link(edits: &mut Edits, name: &Name<'_>, inode: &BtrfsInode) -> Result {
    take_name(edits, name, inode)?;
    if Thing::of(inode) == Thing::File && inode.nlink() <= 1 {
        let data = inode.data();
        edits.put(data.tree(), orphan_key(data.ino()), KVec::new())?;
    }
    Ok(())
}

/// Notes in memory, and in the inode item, that a file lost a name.
pub(super) fn drop_link(handle: &mut Handle<'_>, inode: &BtrfsInode) -> Result {
    inode.drop_nlink();
    inode.inc_version();
    inode.touch_ctime();
    if Thing::of(inode) == Thing::File {
        store(handle, inode)?;
    }
    Ok(())
}

/// Takes the name `name` in `dir` away from `inode`.
pub(crate) fn unlink(dir: &BtrfsInode, name: &[u8], inode: &BtrfsInode) -> Result {
    let data = dir.data();
    let fs = data.fs();
    let (count, bytes) = name_demand(name.len());
    let demand = Demand::items(count + 2, bytes + InodeItem::SIZE as u64);
    let handle = fs.txn().start(demand.deleting())?;
    let mut edits = Edits::new();
    take_link(&mut edits, &Name { dir: data, name }, inode)?;
    complete(fs, handle, "unlink", |handle| {
        edits.apply(handle)?;
        drop_link(handle, inode)?;
        touch_dir(handle, dir, -dir_size(name.len()))
    })
}

/// Removes the directory `inode`, which has the name `name` in `dir`.
///
/// `ENOTEMPTY`: there are names in it.
pub(crate) fn rmdir(dir: &BtrfsInode, name: &[u8], inode: &BtrfsInode) -> Result {
    check_empty(inode)?;
    if let Thing::Subvol(_) = Thing::of(inode) {
        return subvol::delete::delete(dir, name, inode);
    }
    unlink(dir, name, inode)?;
    inode.set_size(0);
    Ok(())
}

/// `ENOTEMPTY` if there are names in a directory.
pub(super) fn check_empty(inode: &BtrfsInode) -> Result {
    let data = inode.data();
    if data.is_stub() {
        return Ok(());
    }
    if inode.size() > 0 || !edit::is_empty(data.tree(), data.ino())? {
        return Err(ENOTEMPTY);
    }
    Ok(())
}
