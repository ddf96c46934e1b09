// SPDX-License-Identifier: GPL-2.0

//! Storing the attributes of an inode.

use btrfs_format::inode::{InodeItem, Timespec};
use btrfs_format::key::{item, Key};
use kernel::prelude::*;

use super::facts::Time;
use crate::txn::{Demand, Handle};
use crate::vfs::BtrfsInode;

/// What [`store`] needs.
pub(crate) const DEMAND: Demand = Demand::items(1, InodeItem::SIZE as u64);

/// Puts the inode item: the attributes as they are in memory.
pub(crate) fn store(handle: &mut Handle<'_>, inode: &BtrfsInode) -> Result {
    let data = inode.data();
    if data.is_stub() || data.tree().is_dead() {
        return Ok(());
    }
    let _storing = data.storing.lock();
    let (atime, mtime, ctime) = inode.times();
    // The data knows best: the size must not be ahead of what is on disk.
    let (size, bytes) = match data.file() {
        Ok(file) => (file.disk_size(), file.bytes()),
        Err(_) => (u64::try_from(inode.size()).unwrap_or(0), inode.bytes()),
    };
    let mut stored = InodeItem::zeroed();
    stored.generation = data.generation.into();
    stored.transid = handle.transid().into();
    stored.size = size.into();
    stored.nbytes = bytes.into();
    stored.nlink = inode.nlink().into();
    stored.uid = inode.uid().into();
    stored.gid = inode.gid().into();
    stored.mode = u32::from(inode.mode()).into();
    stored.rdev = u64::from(inode.rdev().into_raw()).into();
    stored.flags = data.flags().0.into();
    stored.sequence = inode.version().into();
    stored.atime = on_disk(atime.into());
    stored.ctime = on_disk(ctime.into());
    stored.mtime = on_disk(mtime.into());
    stored.otime = on_disk(data.otime);
    let key = Key::new(data.ino.get(), item::INODE_ITEM, 0);
    data.tree().put(handle, key, stored.to_disk())
}

/// Stores the attributes in an operation of its own.
pub(crate) fn store_alone(inode: &BtrfsInode) -> Result {
    store_as(inode, DEMAND)
}

/// As [`store_alone`], for what gives space back.
pub(crate) fn store_deleting(inode: &BtrfsInode) -> Result {
    store_as(inode, DEMAND.deleting())
}

fn store_as(inode: &BtrfsInode, demand: Demand) -> Result {
    let mut handle = inode.data().fs().txn().start(demand)?;
    store(&mut handle, inode)
}

/// A time for the disk.
pub(crate) fn on_disk(time: Time) -> Timespec {
    Timespec::new(time.sec, time.nsec)
}
