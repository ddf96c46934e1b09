// SPDX-License-Identifier: GPL-2.0

//! FIEMAP: the extents of a file as user space sees them.
//!
//! Physical addresses are logical addresses of the file system. Neighbours that
//! continue each other in the file and in the address space, with the same flags,
//! are reported as one.

use btrfs_format::file_extent::Compression;
use btrfs_format::types::Logical;
use kernel::prelude::*;

use super::extent::{Extent, Extents, Place};

/// Flags of a reported extent: `FIEMAP_EXTENT_*` of `linux/fiemap.h`.
pub(crate) mod flag {
    /// Nothing comes behind it.
    pub(crate) const LAST: u32 = 0x1;
    /// Compressed.
    pub(crate) const ENCODED: u32 = 0x8;
    /// The addresses are not those of blocks.
    pub(crate) const NOT_ALIGNED: u32 = 0x100;
    /// In the metadata.
    pub(crate) const DATA_INLINE: u32 = 0x200;
    /// Allocated, but nothing was written.
    pub(crate) const UNWRITTEN: u32 = 0x800;
    /// Others refer to it too.
    pub(crate) const SHARED: u32 = 0x2000;
}

/// An extent to report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Reported {
    /// Offset in the file.
    pub(crate) offset: u64,
    /// Address.
    pub(crate) address: u64,
    /// Length in bytes.
    pub(crate) length: u64,
    /// Of [`flag`].
    pub(crate) flags: u32,
}

impl Reported {
    fn continues(&self, before: &Reported) -> bool {
        // An address can be anything: the tree checker does not know what chunks there are.
        before.offset.checked_add(before.length) == Some(self.offset)
            && before.address.checked_add(before.length) == Some(self.address)
            && before.flags == self.flags
    }
}

/// Reports the extents of `walk` that begin before `end` to `emit`, which returns false
/// when it wants no more.
///
/// `last_end` is where the last extent of the file ends that is not a hole;
/// `is_shared(allocation, offset)` says whether data is shared.
pub(crate) fn report(
    walk: &mut Extents,
    end: u64,
    last_end: u64,
    mut is_shared: impl FnMut(Logical, u64) -> Result<bool>,
    mut emit: impl FnMut(Reported) -> Result<bool>,
) -> Result {
    let mut pending: Option<Reported> = None;
    while let Some(extent) = walk.next()? {
        if extent.start >= end {
            break;
        }
        let Some((mut next, allocation)) = describe(&extent) else {
            continue;
        };
        if let Some(allocation) = allocation {
            if is_shared(allocation, extent.start)? {
                next.flags |= flag::SHARED;
            }
        }
        match &mut pending {
            Some(before) if next.continues(before) => {
                before.length = before.length.saturating_add(next.length)
            }
            before => {
                if let Some(done) = before.replace(next) {
                    if !emit(done)? {
                        return Ok(());
                    }
                }
            }
        }
    }
    if let Some(mut done) = pending {
        if done.offset.saturating_add(done.length) >= last_end {
            done.flags |= flag::LAST;
        }
        emit(done)?;
    }
    Ok(())
}

/// How an extent is reported, and of which allocation it is a part; `None` for holes.
fn describe(extent: &Extent) -> Option<(Reported, Option<Logical>)> {
    let (address, flags, allocation) = match extent.place {
        Place::Hole => return None,
        Place::Plain {
            address,
            allocation,
        } => (address.get(), 0, Some(allocation)),
        Place::Prealloc {
            address,
            allocation,
        } => (address.get(), flag::UNWRITTEN, Some(allocation)),
        Place::Packed(packed) => (packed.address.get(), flag::ENCODED, Some(packed.address)),
        Place::Inline { compression, .. } => {
            let mut flags = flag::DATA_INLINE | flag::NOT_ALIGNED;
            if compression != Compression::None {
                flags |= flag::ENCODED;
            }
            (0, flags, None)
        }
    };
    let reported = Reported {
        offset: extent.start,
        address,
        length: extent.end - extent.start,
        flags,
    };
    Some((reported, allocation))
}
