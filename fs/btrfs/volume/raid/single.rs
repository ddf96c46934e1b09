// SPDX-License-Identifier: GPL-2.0

//! One copy on one device.

use super::{Layout, Piece, Route, Shape};

/// Profile single: the chunk is its only stripe.
pub(super) struct Single;

impl Layout for Single {
    fn copies(&self, _shape: Shape) -> u16 {
        1
    }

    fn route(&self, _shape: Shape, offset: u64, copy: u16) -> Option<Route> {
        (copy == 0).then_some(Route::Direct(Piece {
            stripe: 0,
            offset,
            len: u64::MAX,
        }))
    }

    fn stripe_len(&self, _shape: Shape, chunk_len: u64) -> u64 {
        chunk_len
    }
}
