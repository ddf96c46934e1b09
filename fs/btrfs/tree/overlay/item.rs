// SPDX-License-Identifier: GPL-2.0

//! Items in memory.

use core::ops::Deref;
use kernel::alloc::Flags;
use kernel::prelude::*;
use kernel::sync::{Arc, UniqueArc};
use kfs::mem::GFP_NOFAIL;

/// The data of an item. Cheap to clone, never changes.
#[derive(Clone)]
pub(crate) struct ItemBuf {
    bytes: Bytes,
    len: u32,
}

#[derive(Clone)]
enum Bytes {
    /// No data, as orphans have it.
    Empty,
    /// One allocation: a slab object, of which the reference count takes four bytes.
    Small(Arc<[u8]>),
    /// Larger than all of them, which is rare.
    Large(Arc<KVVec<u8>>),
}

impl ItemBuf {
    /// A copy of `data`. Fails with `ENOMEM`.
    pub(crate) fn new(data: &[u8]) -> Result<Self> {
        let len = u32::try_from(data.len()).map_err(|_| EINVAL)?;
        let bytes = match data.len() {
            0 => Bytes::Empty,
            1..=28 => Bytes::Small(small::<28>(data, GFP_NOFAIL)?),
            29..=60 => Bytes::Small(small::<60>(data, GFP_NOFAIL)?),
            61..=92 => Bytes::Small(small::<92>(data, GFP_NOFAIL)?),
            93..=124 => Bytes::Small(small::<124>(data, GFP_NOFAIL)?),
            125..=188 => Bytes::Small(small::<188>(data, GFP_NOFAIL)?),
            189..=252 => Bytes::Small(small::<252>(data, GFP_NOFAIL)?),
            253..=508 => Bytes::Small(small::<508>(data, GFP_NOFAIL)?),
            509..=1020 => Bytes::Small(small::<1020>(data, GFP_NOFAIL)?),
            1021..=2044 => Bytes::Small(small::<2044>(data, GFP_NOFAIL)?),
            2045..=4092 => Bytes::Small(small::<4092>(data, GFP_NOFAIL)?),
            _ => {
                let mut bytes = KVVec::with_capacity(data.len(), GFP_NOFAIL)?;
                bytes.extend_from_slice(data, GFP_NOFAIL)?;
                Bytes::Large(Arc::new(bytes, GFP_NOFAIL)?)
            }
        };
        Ok(Self { bytes, len })
    }

    /// Bytes of memory it takes.
    pub(super) fn size(&self) -> usize {
        match &self.bytes {
            Bytes::Empty => 0,
            Bytes::Small(bytes) => bytes.len().saturating_add(4),
            Bytes::Large(bytes) => bytes.capacity().saturating_add(64),
        }
    }
}

/// `data` with zeroes behind it, and the count that shares them, in one allocation.
fn small<const SIZE: usize>(data: &[u8], flags: Flags) -> Result<Arc<[u8]>> {
    let fresh = UniqueArc::<[u8; SIZE]>::new_uninit(flags)?;
    let mut bytes = fresh.init_with(pin_init::init_zeroed())?;
    bytes
        .get_mut(..data.len())
        .ok_or(EINVAL)?
        .copy_from_slice(data);
    let bytes: Arc<[u8; SIZE]> = bytes.into();
    Ok(bytes)
}

impl Deref for ItemBuf {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let len = usize::try_from(self.len).unwrap_or(0);
        let bytes = match &self.bytes {
            Bytes::Empty => &[],
            Bytes::Small(bytes) => &**bytes,
            Bytes::Large(bytes) => bytes.as_slice(),
        };
        bytes.get(..len).unwrap_or(&[])
    }
}

/// What becomes of a key.
#[derive(Clone)]
pub(crate) enum Edit {
    /// It has this item.
    Put(ItemBuf),
    /// It has this item, as it had before, and its leaf is written anew.
    Renew(ItemBuf),
    /// It has none.
    Delete,
}

impl Edit {
    /// The item that the key has.
    pub(crate) fn item(&self) -> Option<&ItemBuf> {
        match self {
            Edit::Put(item) | Edit::Renew(item) => Some(item),
            Edit::Delete => None,
        }
    }

    /// Bytes of memory that the data takes.
    pub(super) fn size(&self) -> usize {
        self.item().map_or(0, ItemBuf::size)
    }
}
