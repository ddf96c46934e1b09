// SPDX-License-Identifier: GPL-2.0

//! Where a file has data, for `SEEK_DATA` and `SEEK_HOLE`.
//!
//! What is pending has no items yet, and is data all the same. Space that was allocated and never
//! written is a hole, whatever the page cache has of it: so the answer does not depend on who
//! read what before.

use kernel::prelude::*;
use kfs::iomap::{FolioRange, IomapOps, Mapping, MappingFlags, MappingKind, Purpose, ReadHint};

use super::extent::Place;
use crate::vfs::BtrfsInode;

/// Maps of data and holes; nothing is read through them.
pub(crate) struct DataOrHole;

impl IomapOps for DataOrHole {
    type Inode = BtrfsInode;
    type Private = ();
    type ReadContext = ();

    fn map(inode: &BtrfsInode, pos: u64, _len: u64, _purpose: Purpose) -> Result<Mapping<()>> {
        let data = inode.data();
        // In this order: what arrives in between has its items then.
        let pending = data.file()?.pending(pos);
        let (kind, start, end) = if pending.yes {
            (MappingKind::Mapped, pos, pending.until)
        } else {
            let extent = data.extent_at(pos)?;
            let kind = match extent.place {
                Place::Hole | Place::Prealloc { .. } => MappingKind::Hole,
                _ => MappingKind::Mapped,
            };
            (kind, extent.start.max(pos), extent.end.min(pending.until))
        };
        Ok(Mapping {
            kind,
            offset: start,
            length: end.saturating_sub(start),
            addr: None,
            flags: MappingFlags::NONE,
            cookie: 0,
            private: (),
        })
    }

    fn read(
        _inode: &BtrfsInode,
        _ctx: &mut (),
        _hint: ReadHint,
        _mapping: &Mapping<()>,
        _pos: u64,
        range: FolioRange,
    ) {
        range.finish(Err(EIO));
    }

    fn submit(_inode: &BtrfsInode, _ctx: (), _hint: ReadHint) {}
}
