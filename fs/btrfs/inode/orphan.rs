// SPDX-License-Identifier: GPL-2.0

//! Files without names: removing them, now or after a crash.
//!
//! A file that lost its last name, or never had one, has an orphan item in its tree. When nobody
//! uses it any more it leaves memory, and then its items go: [`remove`]. If that did not happen,
//! because the machine crashed or there was an error, the orphan item is found when the subvolume
//! is looked at the next time, and the file is brought into memory to leave it again.

use btrfs_format::key::{item, Key};
use btrfs_format::types::{objectid, Ino};
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::types::ScopeGuard;

use super::load;
use crate::data::truncate;
use crate::dir::create::orphan_key;
use crate::subvol::Subvol;
use crate::txn::Demand;
use crate::vfs::{BtrfsInode, BtrfsSuper};

/// Whether a file leaves its tree with the memory, and gives space back that somebody may wait for.
fn has_space(inode: &BtrfsInode) -> bool {
    let data = inode.data();
    inode.nlink() == 0 && !data.is_stub() && data.file().is_ok()
}

/// An inode is about to leave memory: what its data is promised is free, and who makes room should
/// wait for what it has.
pub(crate) fn leave(inode: &BtrfsInode) {
    if !has_space(inode) {
        return;
    }
    let data = inode.data();
    data.fs().space().note_leaving();
    if let Ok(file) = data.file() {
        drop(file.undelay(0..u64::MAX));
    }
}

/// The end of [`leave`], when this is dropped: all that could be done was done.
pub(crate) fn gone(inode: &BtrfsInode) -> impl Drop + '_ {
    ScopeGuard::new(move || {
        if has_space(inode) {
            inode.data().fs().space().note_gone();
        }
    })
}

/// Removes a file without names from its tree. Nobody uses it any more.
pub(crate) fn remove(inode: &BtrfsInode) -> Result {
    let this = inode.data();
    let fs = this.fs();
    let few = match this.file() {
        Ok(_) => truncate::drop_many(inode)?,
        Err(_) => 0,
    };
    let demand = Demand::items(few.saturating_add(2), 0);
    let mut handle = fs.txn().start(demand.deleting())?;
    let first = Key::new(this.ino().get(), 0, 0);
    let last = Key::new(this.ino().get(), u8::MAX, u64::MAX);
    this.tree().clear(&mut handle, first..=last)?;
    if let Ok(file) = this.file() {
        fs.space().note_freed(file.bytes());
    }
    this.tree().delete(&mut handle, orphan_key(this.ino()))
}

/// Removes what orphans an earlier mount left in a subvolume. Called when it is looked at the
/// first time for writing; errors are logged, what they are about stays for the next mount.
pub(crate) fn clean_up(sb: &BtrfsSuper, subvol: &Arc<Subvol>) {
    if !subvol.begin_cleanup() {
        return;
    }
    let log = sb.data().log();
    match clean_up_all(sb, subvol) {
        Ok(0) => {}
        Ok(count) => log.info(format_args!(
            "unlinked {count} orphans in subvolume {}",
            subvol.id()
        )),
        Err(e) => log.error(format_args!(
            "could not do orphan cleanup {} in subvolume {}",
            e.to_errno(),
            subvol.id()
        )),
    }
}

fn clean_up_all(sb: &BtrfsSuper, subvol: &Arc<Subvol>) -> Result<u64> {
    let tree = subvol.tree();
    let mut from = Key::new(objectid::ORPHAN, item::ORPHAN_ITEM, 0);
    let mut count: u64 = 0;
    loop {
        let found = tree.seek(from)?.key();
        let Some(key) = found
            .filter(|key| key.objectid == objectid::ORPHAN && key.item_type == item::ORPHAN_ITEM)
        else {
            return Ok(count);
        };
        let keep = match load::get(sb, subvol, Ino(key.offset)) {
            Ok(inode) => inode.nlink() == 0,
            Err(ENOENT) => false,
            Err(e) => return Err(e),
        };
        // An inode without links went with its reference.
        if !keep {
            let mut handle = sb.data().txn().start(Demand::items(1, 0).deleting())?;
            tree.delete(&mut handle, key)?;
        }
        count = count.saturating_add(1);
        let Some(next) = key.next() else {
            return Ok(count);
        };
        from = next;
    }
}
