// SPDX-License-Identifier: GPL-2.0

//! Deleting subvolumes.
//!
//! A deleted subvolume has no name and no user any more, but its tree is there until the cleaner
//! has dropped it: an orphan item in the tree of roots says that this has to be done.

use btrfs_format::key::{item, DiskKey, Key};
use btrfs_format::root::{RootFlags, RootItem};
use btrfs_format::types::{objectid, TreeId};
use kernel::prelude::*;

use super::uuids;
use crate::dir::create::{name_demand, touch_dir};
use crate::dir::edit::{dir_size, Name};
use crate::dir::unlink::take_name;
use crate::edits::{complete, copy, Edits};
use crate::mount::Fs;
use crate::txn::Demand;
use crate::vfs::BtrfsInode;

/// `EPERM`: the subvolume is mounted by default; `ENOTEMPTY`: there are subvolumes in it.
fn may_delete(fs: &Fs, id: TreeId) -> Result {
    if !id.is_fstree() || id == TreeId::FS_TREE {
        return Err(EPERM);
    }
    if fs.roots().default_subvol()? == id {
        fs.log().error(format_args!(
            "deleting default subvolume {id} is not allowed"
        ));
        return Err(EPERM);
    }
    let end = Key::new(id.get(), item::ROOT_REF, u64::MAX);
    let last = fs.roots().tree().seek_at_or_before(end)?.key();
    let nested = last.is_some_and(|k| k.objectid == id.get() && k.item_type == item::ROOT_REF);
    match nested {
        true => Err(ENOTEMPTY),
        false => Ok(()),
    }
}

/// Deletes the subvolume whose root directory `root` has the name `name` in `dir`. The inode locks
/// of both are held.
pub(crate) fn delete(dir: &BtrfsInode, name: &[u8], root: &BtrfsInode) -> Result {
    let (data, subvol) = (dir.data(), root.data().subvol());
    let fs = data.fs();
    let id = subvol.id();
    let _changing = fs.subvols().change();
    may_delete(fs, id)?;
    let (count, bytes) = name_demand(name.len());
    let demand = Demand::items(count + 6, bytes + RootItem::SIZE as u64 + 256);
    let handle = fs.txn().start(demand.deleting())?;
    let mut edits = Edits::new();
    take_name(&mut edits, &Name { dir: data, name }, root)?;
    let roots = fs.roots().tree();
    let key = Key::new(id.get(), item::ROOT_ITEM, subvol.tree().key_offset());
    let stored = edits.get(roots, key)?.ok_or(EUCLEAN)?;
    let mut stored = RootItem::parse(&stored).ok_or(EUCLEAN)?;
    stored.refs = 0.into();
    stored.drop_progress = DiskKey::from(Key::MIN);
    stored.drop_level = 0;
    stored.flags = (stored.flags.get() | RootFlags::DEAD.0).into();
    edits.put(roots, key, copy(stored.to_disk())?)?;
    let orphan = Key::new(objectid::ORPHAN, item::ORPHAN_ITEM, id.get());
    edits.put(roots, orphan, KVec::new())?;
    uuids::remove(fs, &mut edits, item::UUID_SUBVOL, stored.uuid, id)?;
    uuids::remove(
        fs,
        &mut edits,
        item::UUID_RECEIVED_SUBVOL,
        stored.received_uuid,
        id,
    )?;
    complete(fs, handle, "subvolume deletion", |handle| {
        edits.apply(handle)?;
        // From here on nothing more is changed in it.
        subvol.tree().set_dead();
        touch_dir(handle, dir, -dir_size(name.len()))
    })?;
    root.set_dead();
    fs.subvols().forget(id);
    Ok(())
}

/// Goes on with dropping the subvolumes that were deleted before the file system was mounted.
///
/// Errors are logged; what they are about waits for the next mount.
///
/// Only the first call does anything: later there may be others, which are in use.
pub(crate) fn resume(fs: &Fs) {
    if !fs.subvols().begin_resume() {
        return;
    }
    if let Err(e) = resume_all(fs) {
        fs.log().error(format_args!(
            "could not look for deleted subvolumes ({})",
            e.to_errno()
        ));
    }
}

fn resume_all(fs: &Fs) -> Result {
    let roots = fs.roots().tree();
    let first = Key::new(objectid::ORPHAN, item::ORPHAN_ITEM, 0);
    let mut cursor = roots.seek(first)?;
    while let Some((key, _)) = cursor.item() {
        if key.objectid != first.objectid || key.item_type != first.item_type {
            break;
        }
        let id = TreeId(key.offset);
        match fs.roots().get_even_dead(id) {
            Ok(tree) if tree.item().refs.get() != 0 => {}
            Ok(tree) => {
                if let Err(e) = fs.txn().drop_tree(tree) {
                    fs.log().warn(format_args!(
                        "could not drop the deleted subvolume {id} ({}), it stays",
                        e.to_errno()
                    ));
                }
            }
            Err(e) => fs.log().warn(format_args!(
                "could not open the deleted subvolume {id} ({})",
                e.to_errno()
            )),
        }
        cursor.next()?;
    }
    Ok(())
}
