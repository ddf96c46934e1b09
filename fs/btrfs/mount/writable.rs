// SPDX-License-Identifier: GPL-2.0

//! What keeps a file system from being written, besides its devices and features.
//!
//! Some things that an earlier mount began have to be ended before anybody writes. What cannot
//! end them refuses to write; a read-only mount does not mind.

use btrfs_format::device::{DevReplaceItem, DevReplaceState};
use btrfs_format::key::{item, Key};
use btrfs_format::qgroup::{QgroupStatusFlags, QgroupStatusItem};
use btrfs_format::superblock::Incompat;
use btrfs_format::types::TreeId;
use kernel::prelude::*;

use super::fs::{is_rescue, Fs};
use super::options::Options;
use crate::txn::Demand;

/// Fails, with a message, where something forbids writing.
pub(super) fn check(fs: &Fs, options: &Options) -> Result {
    let refuse = |error: Error, why: &str| {
        fs.log().error(format_args!("{why}, mount with -o ro"));
        Err(error)
    };
    if is_rescue(options) {
        return refuse(EINVAL, "rescue options are set");
    }
    if fs.volume().superblock().log_root().is_some() {
        return refuse(
            EOPNOTSUPP,
            "the log tree has changes that cannot be replayed yet",
        );
    }
    if fs.has_incompat(Incompat::SIMPLE_QUOTA) {
        return refuse(EOPNOTSUPP, "simple quotas cannot be kept yet");
    }
    if is_relocating(fs)? {
        return refuse(EOPNOTSUPP, "an interrupted balance cannot be ended yet");
    }
    if is_replacing(fs)? {
        return refuse(
            EOPNOTSUPP,
            "an interrupted device replacement cannot be ended yet",
        );
    }
    Ok(())
}

/// Whether a balance was interrupted so that trees are still relocated.
fn is_relocating(fs: &Fs) -> Result<bool> {
    let first = Key::new(TreeId::TREE_RELOC.get(), item::ROOT_ITEM, 0);
    let found = fs.roots().tree().seek(first)?;
    let key = found.key();
    Ok(key.is_some_and(|key| (key.objectid, key.item_type) == (first.objectid, first.item_type)))
}

/// Whether a device is being replaced.
fn is_replacing(fs: &Fs) -> Result<bool> {
    let Some(tree) = fs.roots().standard().device.as_ref() else {
        return Ok(false);
    };
    let Some(data) = tree.get(Key::new(0, item::DEV_REPLACE, 0))? else {
        return Ok(false);
    };
    let replace = DevReplaceItem::from_bytes(&data).ok_or(EUCLEAN)?;
    let state = DevReplaceState::from_raw(replace.replace_state.get());
    Ok(matches!(
        state,
        Some(DevReplaceState::Started | DevReplaceState::Suspended)
    ))
}

/// Notes in the quota tree that its numbers are not kept, if there are quotas.
pub(super) fn spoil_quotas(fs: &Fs) -> Result {
    let Some(tree) = fs.roots().standard().quota.as_ref() else {
        return Ok(());
    };
    let key = Key::new(0, item::QGROUP_STATUS, 0);
    let Some(data) = tree.get(key)? else {
        return Ok(());
    };
    let status = QgroupStatusItem::parse(&data).ok_or(EUCLEAN)?;
    let flags = status.flags();
    if !flags.contains(QgroupStatusFlags::ON) || flags.contains(QgroupStatusFlags::INCONSISTENT) {
        return Ok(());
    }
    fs.log().warn(format_args!(
        "quotas are not kept yet: from now on they are inconsistent, a rescan is needed"
    ));
    let mut status = *status;
    status.flags = (flags | QgroupStatusFlags::INCONSISTENT).bits().into();
    let mut copy = KVec::with_capacity(data.len(), GFP_KERNEL)?;
    copy.extend_from_slice(&data, GFP_KERNEL)?;
    let head = copy.get_mut(..QgroupStatusItem::SIZE).ok_or(EUCLEAN)?;
    head.copy_from_slice(status.to_disk());
    let demand = Demand::items(1, u64::try_from(copy.len())?);
    let mut handle = fs.txn().start(demand.deleting())?;
    tree.put(&mut handle, key, &copy)
}
