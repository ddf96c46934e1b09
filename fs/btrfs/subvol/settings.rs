// SPDX-License-Identifier: GPL-2.0

//! Settings of subvolumes: whether one is read-only, what it was received from, and which one is
//! mounted by default.

use btrfs_format::dir::{name_hash, DirItems, FileType};
use btrfs_format::inode::Timespec;
use btrfs_format::key::{item, Key};
use btrfs_format::root::{RootFlags, RootItem};
use btrfs_format::superblock::Incompat;
use btrfs_format::types::{Generation, TreeId, Uuid};
use kernel::prelude::*;
use kernel::sync::Arc;

use super::{uuids, Subvol};
use crate::dir::entries::{self, NewEntry};
use crate::edits::{complete, copy, Edits};
use crate::mount::Fs;
use crate::txn::Demand;

/// Makes a subvolume read-only or writable, and that durable.
pub(crate) fn set_readonly(fs: &Fs, subvol: &Arc<Subvol>, readonly: bool) -> Result {
    let changing = fs.subvols().change();
    if subvol.is_readonly() == readonly {
        return Ok(());
    }
    let roots = fs.roots().tree();
    let key = Key::new(
        subvol.id().get(),
        item::ROOT_ITEM,
        subvol.tree().key_offset(),
    );
    let handle = fs.txn().start(Demand::items(1, RootItem::SIZE as u64))?;
    let mut edits = Edits::new();
    let stored = edits.get(roots, key)?.ok_or(EUCLEAN)?;
    let mut stored = RootItem::parse(&stored).ok_or(EUCLEAN)?;
    let flags = stored.flags.get();
    stored.flags = match readonly {
        true => flags | RootFlags::RDONLY.0,
        false => flags & !RootFlags::RDONLY.0,
    }
    .into();
    edits.put(roots, key, copy(stored.to_disk())?)?;
    complete(fs, handle, "subvolume flags", |handle| edits.apply(handle))?;
    subvol.tree().set_readonly(readonly);
    drop(changing);
    fs.txn().commit()
}

/// What a subvolume was received from.
pub(crate) struct Received {
    pub(crate) uuid: Uuid,
    /// The transaction of the source when it was sent, and its time.
    pub(crate) stransid: u64,
    pub(crate) stime: Timespec,
}

/// Notes what a subvolume was received from, and makes that durable; returns in which transaction and
/// when. The inode lock of its root directory is held.
///
/// `EROFS`: the subvolume is read-only. `EOVERFLOW`: too many came from the same.
pub(crate) fn set_received(
    fs: &Fs,
    subvol: &Arc<Subvol>,
    from: &Received,
) -> Result<(Generation, Timespec)> {
    let changing = fs.subvols().change();
    if subvol.is_readonly() {
        return Err(EROFS);
    }
    let roots = fs.roots().tree();
    let id = subvol.id();
    let key = Key::new(id.get(), item::ROOT_ITEM, subvol.tree().key_offset());
    let body = u64::try_from(fs.volume().geometry().body_size())?;
    let handle = fs.txn().start(Demand::items(3, body.saturating_mul(2)))?;
    let transid = handle.transid();
    let now = kfs::fs::current_time();
    let now = Timespec::new(now.sec, now.nsec);
    let mut edits = Edits::new();
    let stored = edits.get(roots, key)?.ok_or(EUCLEAN)?;
    let mut stored = RootItem::parse(&stored).ok_or(EUCLEAN)?;
    if stored.received_uuid != from.uuid {
        let kind = item::UUID_RECEIVED_SUBVOL;
        uuids::remove(fs, &mut edits, kind, stored.received_uuid, id)?;
        if !from.uuid.is_nil() {
            uuids::add(fs, &mut edits, kind, from.uuid, id)?;
        }
    }
    stored.received_uuid = from.uuid;
    stored.stransid = from.stransid.into();
    stored.rtransid = transid.into();
    stored.stime = from.stime;
    stored.rtime = now;
    edits.put(roots, key, copy(stored.to_disk())?)?;
    complete(fs, handle, "received subvolume", |handle| {
        edits.apply(handle)
    })?;
    drop(changing);
    fs.txn().commit()?;
    Ok((transid, now))
}

/// Makes the subvolume `id` the one that is mounted when none is named.
///
/// `ENOENT`: there is no such subvolume.
pub(crate) fn set_default(fs: &Fs, id: TreeId) -> Result {
    const NAME: &[u8] = b"default";
    if !id.is_fstree() {
        return Err(ENOENT);
    }
    let _changing = fs.subvols().change();
    let subvol = fs.subvols().get(id)?;
    let roots = fs.roots().tree();
    let dir = fs.volume().superblock().root_dir_objectid.get();
    let key = Key::new(dir, item::DIR_ITEM, name_hash(NAME));
    let mut handle = fs.txn().start(Demand::items(1, 256))?;
    let mut edits = Edits::new();
    let old = edits.get(roots, key)?.ok_or(ENOENT)?;
    if DirItems::new(&old).find_name(NAME).is_none() {
        return Err(ENOENT);
    }
    let mut new = entries::without(&old, NAME)?.ok_or(ENOENT)?;
    let entry = NewEntry {
        location: Key::new(id.get(), item::ROOT_ITEM, subvol.tree().key_offset()),
        kind: FileType::Dir,
        name: NAME,
        value: &[],
    };
    entries::append(&mut new, &entry, handle.transid())?;
    edits.put(roots, key, new)?;
    fs.volume().add_incompat(Incompat::DEFAULT_SUBVOL)?;
    handle.touch_superblock();
    complete(fs, handle, "default subvolume", |handle| {
        edits.apply(handle)
    })
}
