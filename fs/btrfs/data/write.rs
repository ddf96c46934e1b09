// SPDX-License-Identifier: GPL-2.0

//! Changing file data in the page cache.

use core::ops::Range;
use kernel::prelude::*;
use kfs::block::IoBuf;
use kfs::iomap::{IomapWriteOps, Mapping, Purpose, WriteHint, WritebackRange};

use super::extent::Extent;
use super::read::FileData;
use crate::vfs::BtrfsInode;

impl IomapWriteOps for FileData {
    type WriteContext = ();

    fn reserve(
        _inode: &BtrfsInode,
        _pos: u64,
        _len: u64,
        _purpose: Purpose,
    ) -> Result<Mapping<Extent>> {
        Err(EROFS)
    }

    fn release(_inode: &BtrfsInode, _range: Range<u64>) {}

    fn is_valid(_inode: &BtrfsInode, _range: Range<u64>, _cookie: u64) -> bool {
        true
    }

    fn read_for_write(
        _inode: &BtrfsInode,
        _mapping: &Mapping<Extent>,
        _pos: u64,
        _len: usize,
    ) -> Result<IoBuf> {
        Err(EROFS)
    }

    fn writeback(
        _inode: &BtrfsInode,
        _ctx: &mut (),
        _hint: WriteHint,
        _pos: u64,
        range: WritebackRange,
    ) {
        range.finish(Err(EROFS));
    }

    fn submit_writeback(_inode: &BtrfsInode, _ctx: (), _hint: WriteHint) -> Result {
        Ok(())
    }
}
