// SPDX-License-Identifier: GPL-2.0

//! Results of `statx` and `statfs`.

use super::types::{DeviceNumber, Timespec};
use crate::bindings;
use kernel::prelude::*;

/// What `statx` reports. Filled from the inode before the file system changes it.
#[repr(transparent)]
pub struct KStat(bindings::kstat);

/// What a caller of `statx` asked for.
#[derive(Clone, Copy, Debug)]
pub struct StatQuery {
    pub(super) mask: u32,
}

impl StatQuery {
    /// The wanted fields: bits `STATX_*` of the UAPI.
    pub fn mask(&self) -> u32 {
        self.mask
    }
}

impl KStat {
    /// # Safety
    ///
    /// `stat` must be valid, and used by the caller alone, for `'a`.
    pub(super) unsafe fn from_raw<'a>(stat: *mut bindings::kstat) -> &'a mut Self {
        // SAFETY: The type is transparent; the rest is the caller's duty.
        unsafe { &mut *stat.cast() }
    }

    /// `STATX_ATTR_COMPRESSED`.
    pub const ATTR_COMPRESSED: u64 = bindings::STATX_ATTR_COMPRESSED as u64;
    /// `STATX_ATTR_IMMUTABLE`.
    pub const ATTR_IMMUTABLE: u64 = bindings::STATX_ATTR_IMMUTABLE as u64;
    /// `STATX_ATTR_APPEND`.
    pub const ATTR_APPEND: u64 = bindings::STATX_ATTR_APPEND as u64;
    /// `STATX_ATTR_NODUMP`.
    pub const ATTR_NODUMP: u64 = bindings::STATX_ATTR_NODUMP as u64;
    /// `STATX_ATTR_VERITY`.
    pub const ATTR_VERITY: u64 = bindings::STATX_ATTR_VERITY as u64;

    /// Sets the device that the file seems to be on.
    pub fn set_dev(&mut self, dev: DeviceNumber) {
        self.0.dev = dev.into_raw();
    }

    /// Sets the inode number.
    pub fn set_ino(&mut self, ino: u64) {
        self.0.ino = ino;
    }

    /// Sets the creation time.
    pub fn set_btime(&mut self, t: Timespec) {
        self.0.btime = t.to_c();
        self.0.result_mask |= bindings::STATX_BTIME;
    }

    /// Sets the subvolume.
    pub fn set_subvol(&mut self, id: u64) {
        self.0.subvol = id;
        self.0.result_mask |= bindings::STATX_SUBVOL;
    }

    /// Adds attributes `attrs` of those that the file system knows, `known`.
    pub fn add_attributes(&mut self, attrs: u64, known: u64) {
        self.0.attributes |= attrs & known;
        self.0.attributes_mask |= known;
    }

    /// Sets the preferred I/O size in bytes.
    pub fn set_blksize(&mut self, bytes: u32) {
        self.0.blksize = bytes;
    }

    /// Sets the space in use, in units of 512 bytes.
    pub fn set_blocks(&mut self, blocks: u64) {
        self.0.blocks = blocks;
    }

    /// The space in use, in units of 512 bytes.
    pub fn blocks(&self) -> u64 {
        self.0.blocks
    }

    /// Sets the alignment that direct I/O needs, in bytes of memory and of the file.
    pub fn set_dio_align(&mut self, mem: u32, offset: u32) {
        self.0.dio_mem_align = mem;
        self.0.dio_offset_align = offset;
        self.0.result_mask |= bindings::STATX_DIOALIGN;
    }
}

/// What `statfs` reports. Counts are in units of `frsize`.
#[derive(Clone, Copy, Debug, Default)]
pub struct StatFs {
    /// Magic number of the type.
    pub magic: u32,
    /// Preferred I/O size in bytes.
    pub bsize: u32,
    /// Unit of the counts in bytes; 0 means `bsize`.
    pub frsize: u32,
    /// Blocks of the file system.
    pub blocks: u64,
    /// Free blocks.
    pub bfree: u64,
    /// Free blocks for users without privileges.
    pub bavail: u64,
    /// Number of inodes; 0 when there is no limit.
    pub files: u64,
    /// Free inodes.
    pub ffree: u64,
    /// Identifies the file system.
    pub fsid: [u32; 2],
    /// The longest name in bytes.
    pub namelen: u32,
}

impl StatFs {
    pub(super) fn write_to(&self, buf: &mut bindings::kstatfs) {
        buf.f_type = self.magic as c_long;
        buf.f_bsize = self.bsize as c_long;
        buf.f_frsize = self.frsize as c_long;
        buf.f_blocks = self.blocks;
        buf.f_bfree = self.bfree;
        buf.f_bavail = self.bavail;
        buf.f_files = self.files;
        buf.f_ffree = self.ffree;
        buf.f_namelen = self.namelen as c_long;
        for (to, from) in buf.f_fsid.val.iter_mut().zip(self.fsid) {
            *to = c_int::from_ne_bytes(from.to_ne_bytes());
        }
    }
}
