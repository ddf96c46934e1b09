// SPDX-License-Identifier: GPL-2.0

//! Settings of subvolumes: whether one is read-only, and which one is mounted by default.

use btrfs_format::dir::{name_hash, DirItems, FileType};
use btrfs_format::key::{item, Key};
use btrfs_format::root::{RootFlags, RootItem};
use btrfs_format::superblock::Incompat;
use btrfs_format::types::TreeId;
use kernel::prelude::*;
use kernel::sync::Arc;

use super::Subvol;
use crate::dir::entries::{self, NewEntry};
use crate::edits::{complete, copy, Edits};
use crate::mount::Fs;
use crate::txn::Demand;

/// Makes a subvolume read-only or writable, and that durable.
pub(crate) fn set_readonly(fs: &Fs, subvol: &Arc<Subvol>, readonly: bool) -> Result {
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
    fs.txn().commit()
}

/// Makes the subvolume `id` the one that is mounted when none is named.
///
/// `ENOENT`: there is no such subvolume.
pub(crate) fn set_default(fs: &Fs, id: TreeId) -> Result {
    const NAME: &[u8] = b"default";
    if !id.is_fstree() {
        return Err(ENOENT);
    }
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
