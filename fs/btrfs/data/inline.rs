// SPDX-License-Identifier: GPL-2.0

//! Data that is in the tree itself: inline extents, and the targets of symbolic links,
//! which are inline extents too.

use btrfs_format::file_extent::{Compression, FileExtent};
use kernel::prelude::*;
use kfs::iomap::FolioRange;
use kfs::mem::KBuf;

use super::decode;
use super::extent::{Extent, Place, MAX_PACKED};
use crate::inode::Inode;

impl Inode {
    /// Gives the unpacked bytes of the inline extent `extent` to `f`.
    fn with_inline<R>(&self, extent: &Extent, f: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
        let Place::Inline { key, .. } = extent.place else {
            return Err(EINVAL);
        };
        let item = self.tree().get(key)?.ok_or(EUCLEAN)?;
        let Some(FileExtent::Inline {
            ram_bytes,
            compression,
            data,
            ..
        }) = FileExtent::parse(&item)
        else {
            return Err(EUCLEAN);
        };
        let size = u32::try_from(ram_bytes).map_err(|_| EUCLEAN)?;
        if size > MAX_PACKED {
            return Err(EUCLEAN);
        }
        let size = usize::try_from(size)?;
        if compression == Compression::None {
            return f(data.get(..size.min(data.len())).ok_or(EUCLEAN)?);
        }
        let sector = usize::try_from(self.fs().sector_size())?;
        let mut unpacked = KBuf::new(size.next_multiple_of(sector).max(sector), GFP_KERNEL)?;
        decode::unpack(compression, sector, data, &mut unpacked)?;
        f(unpacked.get(..size).ok_or(EUCLEAN)?)
    }

    /// Fills `range` with the bytes of an inline extent from `skip` on, and zeroes what is
    /// behind them.
    pub(crate) fn fill_inline(&self, extent: &Extent, skip: u64, range: &mut FolioRange) -> Result {
        let skip = usize::try_from(skip)?;
        self.with_inline(extent, |data| {
            let rest = data.get(skip..).unwrap_or_default();
            let len = rest.len().min(range.len());
            range.write_at(0, rest.get(..len).unwrap_or_default())?;
            range.zero(len, range.len() - len)
        })
    }

    /// Reads the target of a symbolic link, which is as long as `out`.
    ///
    /// `EUCLEAN` if what the tree has is shorter.
    pub(crate) fn read_symlink(&self, out: &mut [u8]) -> Result {
        let extent = self.extents_from(0)?.next()?.ok_or(EUCLEAN)?;
        self.with_inline(&extent, |data| {
            let target = data.get(..out.len()).ok_or(EUCLEAN)?;
            out.copy_from_slice(target);
            Ok(())
        })
    }
}
