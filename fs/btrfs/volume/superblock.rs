// SPDX-License-Identifier: GPL-2.0

//! Reading superblocks and deciding whether a file system may be mounted with one.

use super::{csum::Checksum, log::Log, zoned, OpenOptions};
use btrfs_format::{
    superblock::{
        mirror_offset,
        validate::{self, Validation},
        CompatRo, Incompat, Superblock, SUPER_SIZE,
    },
    types::CSUM_AREA,
};
use core::ops::Deref;
use kernel::{page::PAGE_SIZE, prelude::*};
use kfs::block::{BlockDevice, KBuf};
use kfs::mem::GFP_NOFAIL;

/// The features that file systems may have here; with others they are refused.
pub(crate) const SUPPORTED: Incompat = Incompat::STABLE;

/// The features that can be turned on while a file system is mounted.
pub(crate) const SAFE_SET: Incompat = Incompat::EXTENDED_IREF;

/// The features that do not keep file systems from being mounted writable.
pub(crate) const SUPPORTED_RO: CompatRo = CompatRo::STABLE;

/// A superblock in memory.
pub(crate) struct SuperBuf(KBox<[u8; SUPER_SIZE]>);

impl SuperBuf {
    /// A copy of the first bytes of `block`. `EINVAL` if they are not enough.
    pub(super) fn copy_of(block: &[u8]) -> Result<Self> {
        let mut copy = KBox::init(::pin_init::init_zeroed::<[u8; SUPER_SIZE]>(), GFP_NOFAIL)?;
        copy.copy_from_slice(block.get(..SUPER_SIZE).ok_or(EINVAL)?);
        Ok(Self(copy))
    }

    /// Another copy.
    pub(super) fn try_clone(&self) -> Result<Self> {
        Self::copy_of(&*self.0)
    }

    /// The fields, to change them.
    pub(super) fn fields(&mut self) -> &mut Superblock {
        Superblock::of_mut(&mut self.0)
    }
}

impl Deref for SuperBuf {
    type Target = Superblock;

    fn deref(&self) -> &Superblock {
        Superblock::of(&self.0)
    }
}

/// Reads copy `mirror` of a device's superblock.
///
/// `EINVAL` if there is none: the device is too small, or has something else there. Checks no more
/// than magic and position, which is enough to ask for UUIDs.
pub(super) fn read(bdev: &BlockDevice, mirror: usize) -> Result<SuperBuf> {
    // What the superblock says of its place, also where it is in a log.
    let offset = mirror_offset(mirror).ok_or(EINVAL)?;
    let place = match bdev.is_zoned() {
        false => offset,
        true if mirror == 0 => {
            zoned::newest_superblock(bdev, |at| Ok(read_at(bdev, at, offset)?.generation()))?
        }
        true => return Err(EINVAL),
    };
    read_at(bdev, place, offset)
}

/// Reads the superblock at `place`, of which the one that is meant says that it is at `offset`.
fn read_at(bdev: &BlockDevice, place: u64, offset: u64) -> Result<SuperBuf> {
    let mut buf = KBuf::new(SUPER_SIZE, GFP_NOFAIL)?;
    match place.checked_add(u64::try_from(SUPER_SIZE)?) {
        Some(end) if end < bdev.size() => {}
        _ => return Err(EINVAL),
    }
    bdev.read_sync(place, &mut buf)?;
    let sb = SuperBuf::copy_of(&buf)?;
    if !sb.has_magic() || sb.bytenr.get() != offset {
        return Err(EINVAL);
    }
    Ok(sb)
}

/// Checks the superblock that a file system is mounted with; logs what is wrong and returns
/// `EINVAL`.
pub(super) fn check(sb: &Superblock, options: &OpenOptions, log: &Log) -> Result {
    check_sum(sb, log)?;
    let how = Validation {
        mirror: Some(0),
        ignore_flags: options.ignore_super_flags,
    };
    validate::validate(sb, &how).map_err(|rule| {
        log.error(format_args!("{rule}"));
        log.error(format_args!("superblock contains fatal errors"));
        EINVAL
    })?;
    for warning in validate::warnings(sb) {
        log.warn(format_args!("{warning}"));
    }
    if sb.root.get() == 0 {
        log.error(format_args!("invalid superblock tree root bytenr"));
        return Err(EINVAL);
    }
    check_page_size(sb, log)?;
    check_features(sb, options.writable, log)
}

/// Checks that the file system has no feature that is in the way, as on mount or remount.
pub(crate) fn check_features(sb: &Superblock, writable: bool, log: &Log) -> Result {
    validate::check_features(sb, SUPPORTED, SUPPORTED_RO, writable).map_err(|rule| {
        log.error(format_args!("{rule}"));
        EINVAL
    })
}

fn check_sum(sb: &Superblock, log: &Log) -> Result {
    let Some(kind) = sb.csum_type() else {
        log.error(format_args!(
            "unsupported checksum algorithm: {}",
            sb.csum_type.get()
        ));
        return Err(EINVAL);
    };
    let found = Checksum::of(kind, sb.checksummed());
    let wanted: &[u8; CSUM_AREA] = &sb.csum;
    if wanted.get(..kind.size()) != Some(found.as_slice()) {
        log.error(format_args!("superblock checksum mismatch"));
        return Err(EINVAL);
    }
    Ok(())
}

/// The page cache holds whole sectors in whole pages.
fn check_page_size(sb: &Superblock, log: &Log) -> Result {
    let sectorsize = sb.sectorsize.get();
    if usize::try_from(sectorsize).unwrap_or(usize::MAX) > PAGE_SIZE {
        log.error(format_args!(
            "sectorsize {sectorsize} not yet supported for page size {PAGE_SIZE}"
        ));
        return Err(EINVAL);
    }
    Ok(())
}
