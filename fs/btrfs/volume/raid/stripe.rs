// SPDX-License-Identifier: GPL-2.0

//! Striped without parity: units are dealt out to the devices in turn.

use super::{Layout, Piece, Route, Shape, Unit};

/// Profile raid0: to each device in turn.
pub(super) struct Raid0;

/// Profile raid10: to each pair of devices in turn, which hold the same.
pub(super) struct Raid10;

/// Devices of a raid10 chunk that hold the same. Chunk items say it too, but those of old
/// versions of mkfs say 0.
const PAIR: u16 = 2;

impl Layout for Raid0 {
    fn copies(&self, _shape: Shape) -> u16 {
        1
    }

    fn route(&self, shape: Shape, offset: u64, copy: u16) -> Option<Route> {
        if copy != 0 {
            return None;
        }
        let unit = Unit::of(offset);
        let (stripe, row) = unit.deal(shape.num_stripes)?;
        Some(Route::Direct(Piece {
            stripe,
            offset: unit.place(row)?,
            len: unit.rest,
        }))
    }

    fn stripe_len(&self, shape: Shape, chunk_len: u64) -> u64 {
        chunk_len
            .checked_div(u64::from(shape.num_stripes))
            .unwrap_or(chunk_len)
    }
}

impl Raid10 {
    fn pairs(shape: Shape) -> u16 {
        shape.num_stripes.checked_div(PAIR).unwrap_or(1).max(1)
    }
}

impl Layout for Raid10 {
    fn copies(&self, _shape: Shape) -> u16 {
        PAIR
    }

    fn route(&self, shape: Shape, offset: u64, copy: u16) -> Option<Route> {
        if copy >= PAIR {
            return None;
        }
        let unit = Unit::of(offset);
        let (pair, row) = unit.deal(Self::pairs(shape))?;
        let stripe = pair.checked_mul(PAIR)?.checked_add(copy)?;
        (stripe < shape.num_stripes).then_some(Route::Direct(Piece {
            stripe,
            offset: unit.place(row)?,
            len: unit.rest,
        }))
    }

    fn balances(&self) -> bool {
        true
    }

    fn stripe_len(&self, shape: Shape, chunk_len: u64) -> u64 {
        chunk_len
            .checked_div(u64::from(Self::pairs(shape)))
            .unwrap_or(chunk_len)
    }
}
