// SPDX-License-Identifier: GPL-2.0

//! Files that the kernel swaps to.
//!
//! It writes where the file is, without the file system: so nothing of it may be copied when it is
//! written, checked, packed, mirrored or spread, and nobody else may have it. What would move it
//! (a snapshot, balance, taking a device away) has to look for such files.

use btrfs_format::inode::InodeFlags;
use btrfs_format::RaidProfile;
use kernel::prelude::*;
use kernel::sync::Arc;
use kfs::block::BlockDevice;
use kfs::iomap::{SwapExtent, SwapFile};

use super::extent::Place;
use super::inplace;
use crate::inode::Inode;
use crate::vfs::BtrfsInode;
use crate::volume::raid::Route;

/// Where the file is. `EINVAL`, with a message, if it cannot be swapped to.
pub(super) fn find(inode: &BtrfsInode) -> Result<SwapFile> {
    inode.wait_for_direct_io();
    inode.write_and_wait(0..i64::MAX as u64)?;
    let data = inode.data();
    let refuse = |why: &str| {
        data.fs().log().warn(format_args!("swapfile must {why}"));
        EINVAL
    };
    let flags = data.flags();
    for (right, why) in [
        (!flags.contains(InodeFlags::COMPRESS), "not be compressed"),
        (
            flags.contains(InodeFlags::NODATACOW),
            "not be copy-on-write",
        ),
        (flags.contains(InodeFlags::NODATASUM), "not be checksummed"),
    ] {
        if !right {
            return Err(refuse(why));
        }
    }
    let sector = data.fs().sector_size();
    let size = u64::try_from(inode.size())?;
    let size = size - size % sector;
    let mut found = Found::default();
    let mut at = 0;
    while at < size {
        let extent = data.extent_at(at)?;
        let end = extent.end.min(size);
        let address = match extent.place {
            Place::Plain { address, .. } | Place::Prealloc { address, .. } => address,
            Place::Hole => return Err(refuse("not have holes")),
            Place::Inline { .. } => return Err(refuse("not be inline")),
            Place::Packed(_) => return Err(refuse("not be compressed")),
        };
        let (alone, until) = inplace::find(data, &(at..end))?;
        if alone.is_none() {
            return Err(refuse("not be copy-on-write"));
        }
        let address = address.checked_add(at.saturating_sub(extent.start));
        let address = address.ok_or(EUCLEAN)?;
        at = at.saturating_add(found.add(data, address, until.saturating_sub(at), &refuse)?);
    }
    let device = found.device.ok_or(EINVAL)?;
    Ok(SwapFile {
        device,
        extents: found.extents,
    })
}

/// What was found of a file.
#[derive(Default)]
struct Found {
    device: Option<Arc<BlockDevice>>,
    extents: KVec<SwapExtent>,
}

impl Found {
    /// Adds the next `len` bytes, as far as they are in one chunk; returns how many.
    fn add(
        &mut self,
        data: &Inode,
        address: btrfs_format::types::Logical,
        len: u64,
        refuse: &impl Fn(&str) -> Error,
    ) -> Result<u64> {
        let chunk = data.fs().volume().chunks().get(address).ok_or(EUCLEAN)?;
        if chunk.shape().profile != RaidProfile::Single {
            return Err(refuse("have single data profile"));
        }
        let (offset, rest) = chunk.offset_of(address).ok_or(EUCLEAN)?;
        let Some(Route::Direct(piece)) = chunk.route(offset, 0) else {
            return Err(EUCLEAN);
        };
        let (stripe, physical) = chunk.place(&piece).ok_or(EUCLEAN)?;
        let bdev = stripe.device.bdev().ok_or(EIO)?;
        match &self.device {
            Some(device) if !Arc::ptr_eq(device, bdev) => {
                return Err(refuse("be on one device"));
            }
            _ => self.device = Some(bdev.clone()),
        }
        let len = len.min(rest).min(piece.len);
        match self.extents.last_mut() {
            Some(last) if last.physical.checked_add(last.len) == Some(physical) => {
                last.len = last.len.saturating_add(len);
            }
            _ => self
                .extents
                .push(SwapExtent { physical, len }, GFP_KERNEL)?,
        }
        Ok(len)
    }
}
