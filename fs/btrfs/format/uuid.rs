// SPDX-License-Identifier: GPL-2.0

//! The UUID tree: subvolumes by UUID.
//!
//! An item holds the ids of all subvolumes with that UUID, 8 bytes each.

use crate::key::Key;
use crate::types::{TreeId, Uuid};
use zerocopy::little_endian::U64;
use zerocopy::FromBytes;

/// The key of the item for a UUID. `item_type` is [`UUID_SUBVOL`] or [`UUID_RECEIVED_SUBVOL`].
///
/// [`UUID_SUBVOL`]: crate::key::item::UUID_SUBVOL
/// [`UUID_RECEIVED_SUBVOL`]: crate::key::item::UUID_RECEIVED_SUBVOL
pub const fn uuid_key(uuid: Uuid, item_type: u8) -> Key {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = uuid.get();
    Key::new(
        u64::from_le_bytes([a, b, c, d, e, f, g, h]),
        item_type,
        u64::from_le_bytes([i, j, k, l, m, n, o, p]),
    )
}

/// The UUID that a key of the UUID tree stands for.
pub const fn key_uuid(key: &Key) -> Uuid {
    let [a, b, c, d, e, f, g, h] = key.objectid.to_le_bytes();
    let [i, j, k, l, m, n, o, p] = key.offset.to_le_bytes();
    Uuid([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p])
}

/// The subvolumes that an item names.
pub fn uuid_subvolumes(data: &[u8]) -> impl Iterator<Item = TreeId> + '_ {
    let ids = match <[U64]>::ref_from_prefix_with_elems(data, data.len() / 8) {
        Ok((ids, _)) => ids,
        Err(_) => &[],
    };
    ids.iter().map(|id| TreeId::from(*id))
}
