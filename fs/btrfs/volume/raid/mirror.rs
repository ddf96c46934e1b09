// SPDX-License-Identifier: GPL-2.0

//! Whole copies: every stripe holds the entire chunk.

use super::{Layout, Piece, Route, Shape};

/// Profile dup: two copies on one device, so there is nothing to gain by choosing.
pub(super) struct Dup;

/// Profiles raid1, raid1c3 and raid1c4: each copy on a device of its own.
pub(super) struct Mirror;

fn whole_copy(shape: Shape, offset: u64, copy: u16) -> Option<Route> {
    (copy < shape.num_stripes).then_some(Route::Direct(Piece {
        stripe: copy,
        offset,
        len: u64::MAX,
    }))
}

impl Layout for Dup {
    fn copies(&self, shape: Shape) -> u16 {
        shape.num_stripes
    }

    fn route(&self, shape: Shape, offset: u64, copy: u16) -> Option<Route> {
        whole_copy(shape, offset, copy)
    }

    fn stripe_len(&self, _shape: Shape, chunk_len: u64) -> u64 {
        chunk_len
    }
}

impl Layout for Mirror {
    fn copies(&self, shape: Shape) -> u16 {
        shape.num_stripes
    }

    fn route(&self, shape: Shape, offset: u64, copy: u16) -> Option<Route> {
        whole_copy(shape, offset, copy)
    }

    fn balances(&self) -> bool {
        true
    }

    fn stripe_len(&self, _shape: Shape, chunk_len: u64) -> u64 {
        chunk_len
    }
}
