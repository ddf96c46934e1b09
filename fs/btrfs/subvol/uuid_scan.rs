// SPDX-License-Identifier: GPL-2.0

//! Putting the tree of UUIDs right: what it says of subvolumes that are not there, or have other
//! UUIDs, goes; what it does not say is added.
//!
//! Done before a file system is written to, if it is asked for (`rescan_uuid_tree`), there is no such
//! tree, or the superblock shows that somebody wrote who does not keep it. Each entry is a change of
//! its own, so that a crash leaves the tree better than it was. The first one makes the tree: where no
//! subvolume has a UUID, as of file systems of long ago, there is none, and needs to be none.

use btrfs_format::key::{item, Key};
use btrfs_format::root::RootItem;
use btrfs_format::types::{Generation, TreeId, Uuid};
use kernel::prelude::*;
use kfs::task;

use super::uuids;
use crate::edits::{complete, copy, Edits};
use crate::mount::options::Flags;
use crate::mount::Fs;
use crate::txn::Demand;

/// The kinds of items in the tree.
const KINDS: [u8; 2] = [item::UUID_SUBVOL, item::UUID_RECEIVED_SUBVOL];

/// Puts the tree right if it needs that, or `flags` ask for it. Errors are logged: the tree is a help
/// for programs, and the next mount tries again.
pub(crate) fn settle(fs: &Fs, flags: Flags) {
    let superblock = fs.volume().superblock();
    let stale = superblock.uuid_tree_generation.get() != superblock.generation().get();
    let missing = fs.roots().uuid().is_none();
    if !(missing || stale || flags.has(Flags::RESCAN_UUID_TREE)) {
        return;
    }
    let what = if missing { "creating" } else { "checking" };
    fs.log().info(format_args!("{what} UUID tree"));
    match remove_stale(fs).and_then(|()| add_missing(fs)) {
        Ok(()) if fs.roots().uuid().is_none() => {}
        Ok(()) => fs.txn().note_uuid_tree_complete(),
        Err(e) => fs.log().warn(format_args!(
            "{what} the UUID tree failed ({}), it stays as it is",
            e.to_errno()
        )),
    }
}

/// The root item of the subvolume `id`, if there is one that was not deleted.
fn subvolume(fs: &Fs, id: TreeId) -> Result<Option<RootItem>> {
    let end = Key::new(id.get(), item::ROOT_ITEM, u64::MAX);
    let cursor = fs.roots().tree().seek_at_or_before(end)?;
    let found = cursor.item().filter(|(key, _)| key.is_subvolume());
    let item = found.filter(|(key, _)| key.objectid == id.get());
    let item = item.and_then(|(_, data)| RootItem::parse(data));
    Ok(item.filter(|item| item.refs.get() != 0))
}

/// The UUID of one kind.
fn uuid_of(item: &RootItem, kind: u8) -> Uuid {
    match kind {
        item::UUID_SUBVOL => item.uuid,
        _ => item.received_uuid,
    }
}

fn remove_stale(fs: &Fs) -> Result {
    let Some(tree) = fs.roots().uuid() else {
        return Ok(());
    };
    let mut from = Key::MIN;
    loop {
        let mut stale = KVec::new();
        let cursor = tree.seek(from)?;
        let Some((key, data)) = cursor.item() else {
            return Ok(());
        };
        let uuid = uuids::of_key(&key);
        if KINDS.contains(&key.item_type) {
            for id in uuids::ids(data) {
                let right = subvolume(fs, id)?
                    .is_some_and(|item| uuid_of(&item, key.item_type).get() == uuid.get());
                if !right {
                    stale.push(id, GFP_KERNEL)?;
                }
            }
        }
        drop(cursor);
        for id in stale.iter() {
            change(fs, key.item_type, uuid, *id, uuids::remove)?;
        }
        match key.next() {
            Some(next) => from = next,
            None => return Ok(()),
        }
        check_killed()?;
    }
}

fn add_missing(fs: &Fs) -> Result {
    let mut from = Key::MIN;
    loop {
        let cursor = fs.roots().tree().seek(from)?;
        let Some((key, data)) = cursor.item() else {
            return Ok(());
        };
        let item = RootItem::parse(data).filter(|item| key.is_subvolume() && item.refs.get() != 0);
        drop(cursor);
        let id = TreeId(key.objectid);
        for kind in KINDS {
            let uuid = item.as_ref().map_or(Uuid::NIL, |item| uuid_of(item, kind));
            if uuid.is_nil() {
                continue;
            }
            let known = match fs.roots().uuid() {
                Some(tree) => tree.get(uuids::key(kind, uuid))?,
                None => None,
            };
            let known = known.is_some_and(|data| uuids::ids(&data).any(|known| known == id));
            if !known {
                change(fs, kind, uuid, id, uuids::add)?;
            }
        }
        match key.next() {
            Some(next) => from = next,
            None => return Ok(()),
        }
        check_killed()?;
    }
}

type Change = fn(&Fs, &mut Edits, u8, Uuid, TreeId) -> Result;

/// Adds or removes one entry. Nobody else changes anything yet.
fn change(fs: &Fs, kind: u8, uuid: Uuid, id: TreeId, how: Change) -> Result {
    let most = u64::from(fs.volume().geometry().nodesize);
    let most = most.saturating_add(RootItem::SIZE as u64);
    let handle = fs.txn().start(Demand::items(2, most).deleting())?;
    let mut edits = Edits::new();
    let is_first = fs.roots().uuid().is_none();
    if is_first {
        create(fs, &mut edits, handle.transid())?;
    }
    let added = how(fs, &mut edits, kind, uuid, id);
    if added.is_err() && is_first {
        fs.roots().set_uuid(None)?;
    }
    added?;
    complete(fs, handle, "UUID tree", |handle| edits.apply(handle))
}

/// Makes the tree. Something has to be put into it with the same changes.
fn create(fs: &Fs, edits: &mut Edits, transid: Generation) -> Result {
    let key = Key::new(TreeId::UUID_TREE.get(), item::ROOT_ITEM, 0);
    let mut root = RootItem::zeroed();
    root.refs = 1.into();
    root.generation = transid.into();
    root.generation_v2 = root.generation;
    edits.put(fs.roots().tree(), key, copy(root.to_disk())?)?;
    fs.roots().set_uuid(Some(root))
}

fn check_killed() -> Result {
    task::cond_resched();
    match task::is_killed() {
        true => Err(EINTR),
        false => Ok(()),
    }
}
