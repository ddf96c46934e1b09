// SPDX-License-Identifier: GPL-2.0

//! Reading tree blocks.

use super::{
    super::{
        chunk_map::Chunk,
        log::limited,
        raid::{Piece, Route},
        Volume,
    },
    copies_from,
    copy::sector,
    mirror,
};
use btrfs_format::{device::DevStat, Logical};
use kernel::prelude::*;
use kfs::{
    block::{IoBuf, KBuf},
    mem::NoFs,
};

impl Volume {
    /// Reads the tree block at `logical`. Sleeps.
    ///
    /// Copies are read until `verify` accepts one; it gets the bytes and the number of the mirror
    /// (from 1), says itself what is wrong, and checks everything, the checksum included. Copies
    /// that failed are repaired.
    ///
    /// Fails with what `verify` said of the last copy, `EIO` if that could not be read or the
    /// block is in no chunk, or `ENOMEM`.
    pub(crate) fn read_block(
        &self,
        logical: Logical,
        verify: impl Fn(&[u8], u32) -> Result,
    ) -> Result<KBuf> {
        let _nofs = NoFs::enter();
        let nodesize = self.geometry.nodesize;
        let len = usize::try_from(nodesize)?;
        let (chunk, offset) = self.locate(logical, u64::from(nodesize))?;
        let first = self.first_copy(&chunk, offset);
        let mut failed = KVec::new();
        let mut error = EIO;
        let mut buf = KBuf::new(len, GFP_KERNEL)?;
        for copy in copies_from(&chunk, first) {
            let result;
            (buf, result) = self.read_block_copy(&chunk, offset, copy, buf)?;
            let verified = match result {
                Ok(()) => verify(&buf, mirror(copy)).inspect_err(|_| {
                    self.count_corrupt_block(&chunk, offset, copy);
                }),
                Err(error) => Err(error),
            };
            match verified {
                Ok(()) => {
                    if !failed.is_empty() {
                        self.repair_block(&chunk, logical, offset, &failed, &buf);
                    }
                    return Ok(buf);
                }
                Err(reason) => error = reason,
            }
            failed.push(copy, GFP_KERNEL)?;
        }
        Err(error)
    }

    /// Reads one copy of a block into `buf`. Fails only for memory; the inner result is that of
    /// reading.
    fn read_block_copy(
        &self,
        chunk: &Chunk,
        offset: u64,
        copy: u16,
        mut buf: KBuf,
    ) -> Result<(KBuf, Result)> {
        if let Some(Route::Direct(piece)) = chunk.route(offset, copy) {
            if usize::try_from(piece.len).unwrap_or(usize::MAX) >= buf.len() {
                let result = self.read_piece(chunk, &piece, &mut buf);
                return Ok((buf, result));
            }
        }
        let len = buf.len();
        let (buf, result) = self.read_copy(chunk, offset, copy, IoBuf::from_buf(buf)?, 0..len);
        Ok((buf.into_buf().ok_or(EIO)?, result))
    }

    /// Fills `buf` from one place on one device.
    fn read_piece(&self, chunk: &Chunk, piece: &Piece, buf: &mut KBuf) -> Result {
        let (stripe, physical) = chunk.place(piece).ok_or(EIO)?;
        let bdev = stripe.device.bdev().ok_or(EIO)?;
        bdev.read_sync(physical, buf).map_err(|_| {
            stripe.device.count(DevStat::ReadErrors, &self.log);
            EIO
        })
    }

    fn count_corrupt_block(&self, chunk: &Chunk, offset: u64, copy: u16) {
        if let Some(Route::Direct(piece)) = chunk.route(offset, copy) {
            if let Some(stripe) = chunk.stripe(piece.stripe) {
                stripe.device.count(DevStat::CorruptionErrors, &self.log);
            }
        }
    }

    /// Writes a good block over the copies that failed. What cannot be repaired stays bad.
    fn repair_block(
        &self,
        chunk: &Chunk,
        logical: Logical,
        offset: u64,
        failed: &[u16],
        block: &KBuf,
    ) {
        if !self.is_writable() {
            return;
        }
        let copied = KBuf::copy_of(block, GFP_KERNEL).map_err(Error::from);
        let Ok(mut buf) = copied.and_then(IoBuf::from_buf) else {
            return;
        };
        let len = buf.len();
        for copy in failed {
            let result;
            (buf, result) = self.write_copy(chunk, offset, *copy, buf, 0..len);
            if let Ok((device, physical)) = result {
                limited!(
                    self.log,
                    Info,
                    "read error corrected: ino 0 off {logical} (dev {} sector {})",
                    device.path(),
                    sector(physical)
                );
            }
        }
    }
}
