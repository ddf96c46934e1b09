// SPDX-License-Identifier: GPL-2.0

//! References that have items of their own: those that the extent's item has no room for.

#![deny(clippy::arithmetic_side_effects)]

use super::item::{keyed_data, same};
use crate::error::{Error, Result};
use crate::items::Items;
use btrfs_format::crc32c::Crc32c;
use btrfs_format::extent::{data_ref_hash_with, ExtentDataRef, ExtentRef};
use btrfs_format::{item as item_type, Key, Logical};

/// How far behind its hash a reference is looked for before it is taken to be new.
///
/// It is written at the first free offset from its hash on, and hashes have 63 bits, so it is
/// further away only if that many have collided.
const REACH: u64 = 64;

/// The place of a reference.
pub(super) enum Keyed {
    /// It is there, and held as often as it says.
    At(Key, ExtentRef),
    /// It is not there; this key is free for it.
    Absent(Key),
}

/// Looks for a reference of an extent. `held`: it must be there.
pub(super) fn find(
    extents: &mut dyn Items,
    crc32c: Crc32c,
    extent: Logical,
    wanted: &ExtentRef,
    held: bool,
) -> Result<Keyed> {
    match *wanted {
        ExtentRef::TreeBlock { root } | ExtentRef::Owner { root } => {
            find_exact(extents, extent, wanted, root.get())
        }
        ExtentRef::SharedBlock { parent } | ExtentRef::SharedData { parent, .. } => {
            find_exact(extents, extent, wanted, parent.get())
        }
        ExtentRef::Data {
            root, ino, offset, ..
        } => {
            let hash = data_ref_hash_with(crc32c, root, ino, offset);
            find_hashed(extents, extent, wanted, hash, held)
        }
    }
}

fn find_exact(
    extents: &mut dyn Items,
    extent: Logical,
    wanted: &ExtentRef,
    offset: u64,
) -> Result<Keyed> {
    let key = Key::new(extent.get(), wanted.kind(), offset);
    let Some(data) = extents.get(&key)? else {
        return Ok(Keyed::Absent(key));
    };
    let found = ExtentRef::parse_keyed(&key, data)
        .ok_or(Error::Corrupt("a reference's item is too short"))?;
    Ok(Keyed::At(key, found))
}

/// A reference by a file. A gap is no end: others that collided may have been removed.
fn find_hashed(
    extents: &mut dyn Items,
    extent: Logical,
    wanted: &ExtentRef,
    hash: u64,
    held: bool,
) -> Result<Keyed> {
    let mut free = hash;
    let mut from = Key::new(extent.get(), item_type::EXTENT_DATA_REF, hash);
    let end = Key::new(extent.get(), item_type::EXTENT_DATA_REF, u64::MAX);
    while let Some((key, data)) = extents.at_or_after(&from)? {
        if key > end || (!held && key.offset.saturating_sub(hash) >= REACH) {
            break;
        }
        if data.len() != ExtentDataRef::SIZE {
            return Err(Error::Corrupt("a reference's item has a wrong size"));
        }
        let found = ExtentRef::parse_keyed(&key, data)
            .ok_or(Error::Corrupt("a reference's item is too short"))?;
        if same(&found, wanted) {
            return Ok(Keyed::At(key, found));
        }
        if key.offset == free {
            free = free
                .checked_add(1)
                .ok_or(Error::Corrupt("reference hashes ran out"))?;
        }
        match key.next() {
            Some(next) => from = next,
            None => break,
        }
    }
    let key = Key::new(extent.get(), item_type::EXTENT_DATA_REF, free);
    Ok(Keyed::Absent(key))
}

/// Writes the item of a reference, or deletes it if it is held no longer.
pub(super) fn write(
    extents: &mut dyn Items,
    key: Key,
    reference: &ExtentRef,
    held: bool,
) -> Result {
    if !held {
        return extents.delete(key);
    }
    let mut scratch = [0; 28];
    extents.put(key, keyed_data(reference, &mut scratch))
}
