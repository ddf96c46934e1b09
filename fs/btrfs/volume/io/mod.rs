// SPDX-License-Identifier: GPL-2.0

//! Reading logical addresses, whatever it takes, and writing them.
//!
//! Tree blocks are read by [`Volume::read_block`], data by [`Volume::read_data`]. Both ask one copy
//! first, chosen so that readers spread over the devices. What cannot be read or does not verify is
//! asked of all other copies in turn, in process context, and written back to those that failed
//! ([`repair`](self::copy)) when the volume is writable. With parity the further copies are
//! computed ([`rebuild`]).
//!
//! [`Volume::write_tree_blocks`] and [`Volume::write_data`] write every copy at once ([`write`]).
//!
//! Every failed transfer counts as a read or write error of its device, and every sector or tree block that
//! does not verify as a corruption.

mod block;
mod copy;
mod data;
mod discard;
mod rebuild;
mod recover;
mod tree_write;
mod write;

pub(crate) use data::{DataClient, DataRead, FilePosition};
pub(crate) use write::{DataWrite, DataWriteClient};

use super::{
    chunk_map::{Chunk, ChunkStripe},
    raid::{Piece, Route},
    Volume,
};

impl Chunk {
    /// The stripe of a piece, and where on its device the piece is, in bytes.
    pub(crate) fn place(&self, piece: &Piece) -> Option<(&ChunkStripe, u64)> {
        let stripe = self.stripe(piece.stripe)?;
        let physical = stripe.physical.checked_add(piece.offset)?;
        Some((stripe, physical.get()))
    }

    /// Whether copy number `copy` of the byte at `offset` is on a device that is there, and that
    /// has missed no write lately.
    fn has_copy(&self, offset: u64, copy: u16) -> bool {
        match self.route(offset, copy) {
            Some(Route::Direct(piece)) => self
                .stripe(piece.stripe)
                .is_some_and(|stripe| !stripe.is_stale()),
            Some(Route::Rebuild(_)) => true,
            None => false,
        }
    }
}

/// The copies of something, beginning with `first`.
fn copies_from(chunk: &Chunk, first: u16) -> impl Iterator<Item = u16> {
    let copies = chunk.copies().max(1);
    Iterator::chain(first..copies, 0..first.min(copies))
}

/// The number of a copy in messages.
fn mirror(copy: u16) -> u32 {
    u32::from(copy).saturating_add(1)
}

impl Volume {
    /// The copy to read first.
    ///
    /// Where all are equally good, threads choose by their number: so one reader keeps to one
    /// device, which serves it sequentially, and several readers use several devices.
    fn first_copy(&self, chunk: &Chunk, offset: u64) -> u16 {
        if !chunk.shape().balances() {
            return 0;
        }
        let copies = u32::from(chunk.copies()).max(1);
        let turn = kfs::task::current_tid().checked_rem(copies).unwrap_or(0);
        let preferred = u16::try_from(turn).unwrap_or(0);
        copies_from(chunk, preferred)
            .find(|copy| chunk.has_copy(offset, *copy))
            .unwrap_or(preferred)
    }
}
