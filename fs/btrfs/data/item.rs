// SPDX-License-Identifier: GPL-2.0

//! The inode item of a regular file, as changes of its data leave it.

use btrfs_format::inode::{InodeFlags, Timespec};
use btrfs_format::key::{item, Key};
use kernel::prelude::*;

use crate::txn::Handle;
use crate::vfs::BtrfsInode;

/// Puts the inode item.
pub(super) fn put(inode: &BtrfsInode, handle: &mut Handle<'_>) -> Result {
    let data = inode.data();
    let file = data.file()?;
    let mut item = data.facts().ok_or(EINVAL)?.item;
    if file.has_prealloc() {
        let flags = item.flags().union(InodeFlags::PREALLOC);
        item.flags = flags.0.into();
    }
    let (atime, mtime, ctime) = inode.times();
    item.size = file.disk_size().into();
    item.nbytes = file.bytes().into();
    item.transid = handle.transid().into();
    item.nlink = inode.nlink().into();
    item.uid = inode.uid().into();
    item.gid = inode.gid().into();
    item.mode = u32::from(inode.mode()).into();
    item.atime = Timespec::new(atime.sec, atime.nsec);
    item.mtime = Timespec::new(mtime.sec, mtime.nsec);
    item.ctime = Timespec::new(ctime.sec, ctime.nsec);
    let key = Key::new(data.ino().get(), item::INODE_ITEM, 0);
    data.tree().put(handle, key, item.to_disk())
}
