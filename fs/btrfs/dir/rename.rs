// SPDX-License-Identifier: GPL-2.0

//! Moving and exchanging names.

use btrfs_format::inode::InodeItem;
use btrfs_format::key::{item, Key};
use btrfs_format::types::Generation;
use kernel::prelude::*;
use kfs::fs::{mode, DeviceNumber, IdMap, NewEntry, Rename};

use super::create::{name_demand, touch_dir, New};
use super::edit::{dir_size, next_index, Name};
use super::unlink::{check_empty, drop_link, take_link, take_name, Thing};
use crate::edits::{complete, Edits};
use crate::inode::load;
use crate::inode::store::store;
use crate::txn::{Demand, Handle};
use crate::vfs::{Btrfs, BtrfsInode};

/// Gives a name to a file or subvolume.
fn give_name(
    edits: &mut Edits,
    name: &Name<'_>,
    inode: &BtrfsInode,
    index: u64,
    transid: Generation,
) -> Result {
    let location = match Thing::of(inode) {
        Thing::File => {
            let ino = inode.data().ino();
            name.add_ref(edits, ino, index)?;
            Key::new(ino.get(), item::INODE_ITEM, 0)
        }
        Thing::Subvol(id) => {
            name.add_root_ref(edits, id, index)?;
            let offset = inode.data().tree().key_offset();
            Key::new(id.get(), item::ROOT_ITEM, offset)
        }
        Thing::Stub => return Err(EPERM),
    };
    name.add(edits, location, load::file_type(inode), index, transid)
}

/// Notes that what `inode` is called has changed.
fn touch_moved(handle: &mut Handle<'_>, inode: &BtrfsInode) -> Result {
    inode.inc_version();
    inode.touch_ctime();
    match Thing::of(inode) {
        Thing::File => store(handle, inode),
        // A subvolume does not change by being moved; it may be read-only.
        Thing::Subvol(_) | Thing::Stub => Ok(()),
    }
}

/// Moves or exchanges names.
pub(crate) fn rename(rename: &Rename<'_, Btrfs>, idmap: &IdMap) -> Result {
    let (from, to) = (rename.from.dir.data(), rename.to.dir.data());
    if to.is_stub() || from.is_stub() {
        return Err(EPERM);
    }
    let across = from.subvol().id() != to.subvol().id();
    let is_subvol = |inode: &BtrfsInode| matches!(Thing::of(inode), Thing::Subvol(_));
    let movable = |inode: &BtrfsInode| !across || is_subvol(inode);
    let kept = match is_subvol(rename.inode) || rename.target.is_some_and(is_subvol) {
        true => Some(from.fs().subvols().keep()),
        false => None,
    };
    if kept.is_some() && (from.tree().is_dead() || to.tree().is_dead()) {
        return Err(ENOENT);
    }
    if !movable(rename.inode) {
        return Err(EXDEV);
    }
    if rename.flags.is_exchange() {
        let target = rename.target.ok_or(ENOENT)?;
        if !movable(target) {
            return Err(EXDEV);
        }
        exchange(rename, target)?;
    } else {
        replace(rename, idmap)?;
    }
    drop(kept);
    if across {
        // What was moved is a subvolume. Without memory it keeps the options that it has.
        let _ = from.fs().subvols().settle_options();
    }
    Ok(())
}

/// Moves a name, maybe in place of another.
fn replace(rename: &Rename<'_, Btrfs>, idmap: &IdMap) -> Result {
    if Thing::of(rename.inode) == Thing::Stub {
        return Err(ENOTEMPTY);
    }
    if let Some(target) = rename.target {
        if matches!(Thing::of(target), Thing::Subvol(_)) {
            return Err(ENOTEMPTY);
        }
        if target.is_dir() {
            check_empty(target)?;
        }
    }
    let (from_dir, to_dir) = (rename.from.dir, rename.to.dir);
    let from = Name {
        dir: from_dir.data(),
        name: rename.from.name,
    };
    let to = Name {
        dir: to_dir.data(),
        name: rename.to.name,
    };
    let whiteout_entry = NewEntry {
        mode: mode::S_IFCHR,
        dev: DeviceNumber::default(),
        target: None,
    };
    let whiteout = match rename.flags.is_whiteout() {
        true => Some(New::prepare(
            from_dir,
            Some(from.name),
            &whiteout_entry,
            idmap,
        )?),
        false => None,
    };
    let fs = from.dir.fs();
    let mut handle = fs.txn().start(demand(rename, whiteout.as_ref()))?;
    let transid = handle.transid();
    let mut edits = Edits::new();
    let index = next_index(to.dir)?;
    if let Some(target) = rename.target {
        take_link(&mut edits, &to, target)?;
    }
    take_name(&mut edits, &from, rename.inode)?;
    give_name(&mut edits, &to, rename.inode, index, transid)?;
    let whiteout = match whiteout {
        None => None,
        Some(new) => {
            let tree = from.dir.tree();
            tree.set_complete(&mut handle, new.ino().get())?;
            let index = next_index(from.dir)?;
            from.add(&mut edits, new.location(), new.kind(), index, transid)?;
            from.add_ref(&mut edits, new.ino(), index)?;
            Some(new.build(from.dir, &mut edits, transid, 1)?)
        }
    };
    let (out, into) = (dir_size(from.name.len()), dir_size(to.name.len()));
    let whiteout = complete(fs, handle, "rename", |handle| {
        edits.apply(handle)?;
        if let Some(target) = rename.target {
            drop_link(handle, target)?;
        }
        touch_moved(handle, rename.inode)?;
        let lost = if whiteout.is_some() { 0 } else { out };
        touch_dir(handle, from_dir, -lost)?;
        let gained = if rename.target.is_some() { 0 } else { into };
        touch_dir(handle, to_dir, gained)?;
        if let Some(whiteout) = &whiteout {
            store(handle, whiteout)?;
        }
        Ok(whiteout)
    })?;
    if let Some(target) = rename.target.filter(|target| target.is_dir()) {
        target.set_size(0);
    }
    drop(whiteout.map(|whiteout| whiteout.publish()));
    Ok(())
}

/// Exchanges what two names lead to.
fn exchange(rename: &Rename<'_, Btrfs>, target: &BtrfsInode) -> Result {
    let (from_dir, to_dir) = (rename.from.dir, rename.to.dir);
    let from = Name {
        dir: from_dir.data(),
        name: rename.from.name,
    };
    let to = Name {
        dir: to_dir.data(),
        name: rename.to.name,
    };
    let fs = from.dir.fs();
    let handle = fs.txn().start(demand(rename, None))?;
    let transid = handle.transid();
    let mut edits = Edits::new();
    let (to_index, from_index) = (next_index(to.dir)?, next_index(from.dir)?);
    take_name(&mut edits, &from, rename.inode)?;
    take_name(&mut edits, &to, target)?;
    give_name(&mut edits, &to, rename.inode, to_index, transid)?;
    give_name(&mut edits, &from, target, from_index, transid)?;
    complete(fs, handle, "rename", |handle| {
        edits.apply(handle)?;
        touch_moved(handle, rename.inode)?;
        touch_moved(handle, target)?;
        touch_dir(handle, from_dir, 0)?;
        touch_dir(handle, to_dir, 0)
    })
}

fn demand(rename: &Rename<'_, Btrfs>, whiteout: Option<&New<'_>>) -> Demand {
    let (from, to) = (
        name_demand(rename.from.name.len()),
        name_demand(rename.to.name.len()),
    );
    let inode = InodeItem::SIZE as u64;
    let (mut edits, mut bytes) = (2 * (from.0 + to.0) + 6, 2 * (from.1 + to.1) + 4 * inode);
    if let Some(new) = whiteout {
        let (more, size) = new.demand();
        edits += more;
        bytes += size;
    }
    Demand::items(edits, bytes)
}
