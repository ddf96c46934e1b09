// SPDX-License-Identifier: GPL-2.0

//! Looking up checksums of data.

use btrfs_format::csum::CsumItem;
use btrfs_format::geometry::Geometry;
use btrfs_format::key::{item, Key};
use btrfs_format::types::{objectid, Logical};
use core::ops::Range;
use kernel::prelude::*;

use super::view::TreeView;

/// The checksums of a range of sectors.
pub(crate) struct Csums {
    /// One checksum after the other; zeroes where there is none.
    pub(crate) data: KVVec<u8>,
    /// The addresses that have no checksums, in order.
    pub(crate) holes: KVVec<Range<u64>>,
}

impl TreeView {
    /// The checksums of the `len` bytes from `logical`, both multiples of the sector size. For
    /// the checksum tree only.
    ///
    /// Sleeps. Fails with `EINVAL` on wrong arguments, or as [`TreeView::get`] does.
    pub(crate) fn csums_for(
        &self,
        geometry: &Geometry,
        logical: Logical,
        len: u64,
    ) -> Result<Csums> {
        let end = logical.checked_add(len).ok_or(EINVAL)?;
        let size = geometry.csum_type.size();
        let sector = u64::from(geometry.sectorsize);
        let bytes_of = |bytes: u64| -> Result<usize> {
            let count = usize::try_from(bytes / sector).map_err(|_| EINVAL)?;
            count.checked_mul(size).ok_or(EINVAL)
        };
        let mut data = KVVec::with_capacity(bytes_of(len)?, GFP_KERNEL)?;
        let mut holes = KVVec::new();
        let mut at = logical;
        let start = Key::new(objectid::EXTENT_CSUM, item::EXTENT_CSUM, logical.get());
        let mut cursor = self.seek_at_or_before(start)?;
        if cursor.item().is_none() {
            cursor = self.seek(start)?;
        }
        while at < end {
            let Some((key, bytes)) = cursor.item().filter(|(key, _)| {
                key.objectid < objectid::EXTENT_CSUM
                    || (key.objectid == objectid::EXTENT_CSUM && key.offset < end.get())
            }) else {
                break;
            };
            if key.item_type == item::EXTENT_CSUM && key.objectid == objectid::EXTENT_CSUM {
                let first = Logical(key.offset);
                let csums = CsumItem::new(first, bytes, geometry.csum_type, geometry.sectorsize);
                let next = csums.end().ok_or(EUCLEAN)?.min(end);
                if first > at {
                    let gap = bytes_of(first.get() - at.get())?;
                    data.extend_with(gap, 0, GFP_KERNEL)?;
                    holes.push(at.get()..first.get(), GFP_KERNEL)?;
                    at = first;
                }
                if next > at {
                    let found = csums.from(at);
                    let wanted = bytes_of(next.get() - at.get())?;
                    data.extend_from_slice(found.get(..wanted).ok_or(EUCLEAN)?, GFP_KERNEL)?;
                    at = next;
                }
            }
            cursor.next()?;
        }
        if at < end {
            data.extend_with(bytes_of(end.get() - at.get())?, 0, GFP_KERNEL)?;
            holes.push(at.get()..end.get(), GFP_KERNEL)?;
        }
        Ok(Csums { data, holes })
    }
}
