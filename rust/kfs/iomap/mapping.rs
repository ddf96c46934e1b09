// SPDX-License-Identifier: GPL-2.0

//! What a range of a file is.

use crate::bindings;
use kernel::prelude::*;

/// Where the bytes of a mapping are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MappingKind {
    /// Nowhere; reads as zeroes.
    Hole,
    /// Space is allocated, but it reads as zeroes.
    Unwritten,
    /// Dirty in the page cache, and nowhere else yet.
    Delalloc,
    /// In the file system: what [`IomapOps::read`](super::IomapOps::read) can get.
    Mapped,
    /// In the metadata. Also read through [`IomapOps::read`](super::IomapOps::read), which
    /// writes the bytes to the range and finishes it.
    Inline,
}

/// Properties of a mapping, or-ed together.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct MappingFlags(u16);

impl MappingFlags {
    /// None.
    pub const NONE: Self = Self(0);
    /// The space is shared with other files, or other places of this one.
    pub const SHARED: Self = Self(bindings::IOMAP_F_SHARED as u16);
    /// I/O must not be merged with that of the mapping before.
    pub const BOUNDARY: Self = Self(bindings::IOMAP_F_BOUNDARY as u16);

    pub(super) fn bits(self) -> u16 {
        self.0
    }
}

impl core::ops::BitOr for MappingFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What a range of a file is. `P` is what the file system wants to know when it reads it.
pub struct Mapping<P> {
    /// Where the bytes are.
    pub kind: MappingKind,
    /// Where in the file it begins, in bytes; at or before the position asked for.
    pub offset: u64,
    /// How long it is, in bytes; beyond the position asked for.
    pub length: u64,
    /// Address of the first byte in the file system's address space; only for reports.
    pub addr: Option<u64>,
    /// Its properties.
    pub flags: MappingFlags,
    /// Says of which state of the file this is true; see
    /// [`IomapWriteOps::is_valid`](super::IomapWriteOps::is_valid).
    pub cookie: u64,
    /// The file system's own, handed to [`IomapOps::read`](super::IomapOps::read).
    pub private: P,
}

impl<P> Mapping<P> {
    /// Fills iomap's structure in for position `pos`. `EIO` if the mapping does not contain
    /// it, or is no range of a file.
    pub(super) fn describe(&self, pos: i64, report: bool, iomap: &mut bindings::iomap) -> Result {
        let at = u64::try_from(pos)?;
        let end = self.offset.checked_add(self.length).ok_or(EIO)?;
        // Up to the end of the block in which the last byte is that a file can have.
        if self.offset > at || end <= at || end > 1 << 63 {
            return Err(EIO);
        }
        iomap.type_ = match self.kind {
            MappingKind::Hole => bindings::IOMAP_HOLE,
            MappingKind::Unwritten => bindings::IOMAP_UNWRITTEN,
            MappingKind::Delalloc => bindings::IOMAP_DELALLOC,
            // For a read, iomap would want the bytes at a fixed address until it is done with
            // them, as long as the file says, and at the end of the file. Being asked for them
            // is simpler.
            MappingKind::Inline if report => bindings::IOMAP_INLINE,
            MappingKind::Mapped | MappingKind::Inline => bindings::IOMAP_MAPPED,
        } as u16;
        iomap.flags = self.flags.bits();
        iomap.offset = i64::try_from(self.offset)?;
        iomap.length = self.length;
        iomap.addr = self.addr.unwrap_or(u64::MAX);
        iomap.validity_cookie = self.cookie;
        Ok(())
    }
}

/// What a mapping is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Purpose(u32);

impl Purpose {
    pub(super) fn new(flags: u32) -> Self {
        Self(flags)
    }

    /// Only to tell somebody about it (`SEEK_DATA`, FIEMAP); the bytes are not read.
    pub fn is_report(self) -> bool {
        self.0 & bindings::IOMAP_REPORT != 0
    }

    /// To change the file.
    pub fn is_write(self) -> bool {
        self.0 & bindings::IOMAP_WRITE != 0
    }

    /// To fill with zeroes what is not zero anyway.
    pub fn is_zero(self) -> bool {
        self.0 & bindings::IOMAP_ZERO != 0
    }

    /// To write again what is there, unchanged.
    pub fn is_rewrite(self) -> bool {
        self.0 & bindings::IOMAP_UNSHARE != 0
    }

    /// Somebody writes to a mapping of the page.
    pub fn is_fault(self) -> bool {
        self.0 & bindings::IOMAP_FAULT != 0
    }

    /// The caller would rather get `EAGAIN` than wait.
    pub fn is_nowait(self) -> bool {
        self.0 & bindings::IOMAP_NOWAIT != 0
    }
}
