// SPDX-License-Identifier: GPL-2.0

//! The tree that finds subvolumes by UUID.
//!
//! The UUID is the key's object id and offset; the data lists the ids of the subvolumes.

use btrfs_format::key::Key;
use btrfs_format::types::{TreeId, Uuid};
use kernel::prelude::*;

use crate::edits::Edits;
use crate::mount::Fs;

/// Bytes of an item's entry in a leaf besides its data.
const ENTRY: usize = 25;

/// The key of the item for `uuid`.
pub(super) fn key(kind: u8, uuid: Uuid) -> Key {
    let wide = u128::from_le_bytes(uuid.get());
    let low = |value: u128| {
        let [a, b, c, d, e, f, g, h, ..] = value.to_le_bytes();
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    };
    Key::new(low(wide), kind, low(wide >> 64))
}

/// The UUID that an item is for.
pub(super) fn of_key(key: &Key) -> Uuid {
    let wide = u128::from(key.objectid) | u128::from(key.offset) << 64;
    Uuid::new(wide.to_le_bytes())
}

/// The subvolumes that an item lists.
pub(super) fn ids(data: &[u8]) -> impl Iterator<Item = TreeId> + '_ {
    let id = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_le_bytes).map(TreeId);
    data.chunks_exact(8).filter_map(id)
}

/// Adds subvolume `id` to those that have `uuid`. `EOVERFLOW`: an item cannot name more.
pub(crate) fn add(fs: &Fs, edits: &mut Edits, kind: u8, uuid: Uuid, id: TreeId) -> Result {
    let Some(tree) = fs.roots().uuid() else {
        return Ok(());
    };
    let mut list = edits.get(&tree, key(kind, uuid))?.unwrap_or_default();
    let id = id.get().to_le_bytes();
    if !list.chunks_exact(8).any(|known| known == id) {
        list.extend_from_slice(&id, GFP_KERNEL)?;
    }
    let most = fs.volume().geometry().body_size().saturating_sub(ENTRY);
    if list.len() > most {
        return Err(EOVERFLOW);
    }
    edits.put(&tree, key(kind, uuid), list)
}

/// Takes subvolume `id` from those that have `uuid`, if it is there.
pub(crate) fn remove(fs: &Fs, edits: &mut Edits, kind: u8, uuid: Uuid, id: TreeId) -> Result {
    let Some(tree) = fs.roots().uuid() else {
        return Ok(());
    };
    if uuid.is_nil() {
        return Ok(());
    }
    let Some(list) = edits.get(&tree, key(kind, uuid))? else {
        return Ok(());
    };
    let id = id.get().to_le_bytes();
    let mut rest = KVec::with_capacity(list.len(), GFP_KERNEL)?;
    for known in list.chunks_exact(8).filter(|known| *known != id) {
        rest.extend_from_slice(known, GFP_KERNEL)?;
    }
    edits.put_or_delete(&tree, key(kind, uuid), rest)
}
