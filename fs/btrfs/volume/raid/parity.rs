// SPDX-License-Identifier: GPL-2.0

//! Striped with parity.
//!
//! Units are dealt out in *rows*: one to each device but those that hold the row's parity.
//! From row to row everything moves on by one device, so that parity wanders over all of them.

use super::{Layout, Piece, Rebuild, Route, Shape, Unit};
use btrfs_format::types::STRIPE_LEN;

/// Profiles raid5 (`P` = 1) and raid6 (`P` = 2): `P` devices' worth of parity.
pub(super) struct Parity<const P: u16>;

/// One row of a chunk with parity.
///
/// Its members are numbered: first the data in the order of addresses, then P, then Q.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    number: u64,
    num_stripes: u16,
    num_data: u16,
}

impl Row {
    /// How many members hold data, at least 1.
    pub(crate) fn num_data(&self) -> u16 {
        self.num_data
    }

    /// How many members there are.
    pub(crate) fn members(&self) -> u16 {
        self.num_stripes
    }

    /// The number of the member P.
    pub(crate) fn p(&self) -> u16 {
        self.num_data
    }

    /// The number of the member Q, where there is one.
    pub(crate) fn q(&self) -> Option<u16> {
        let q = self.num_data.checked_add(1)?;
        (q < self.num_stripes).then_some(q)
    }

    /// The index of the stripe that holds a member; `None` if there is no such member.
    pub(crate) fn stripe_of(&self, member: u16) -> Option<u16> {
        if member >= self.num_stripes {
            return None;
        }
        let count = u64::from(self.num_stripes);
        // The sum of two numbers below 65536.
        let turn = self.number.checked_rem(count)?;
        let index = turn.checked_add(u64::from(member))?.checked_rem(count)?;
        u16::try_from(index).ok()
    }

    /// Where in each stripe the row's share begins, in bytes.
    pub(crate) fn stripe_offset(&self) -> Option<u64> {
        self.number.checked_mul(STRIPE_LEN)
    }
}

impl<const P: u16> Parity<P> {
    fn num_data(shape: Shape) -> u16 {
        shape.num_stripes.saturating_sub(P).max(1)
    }

    /// The member that a further attempt of raid6 distrusts besides the target: any but the
    /// target and Q, which is needed if there are two.
    fn distrusted(num_data: u16, target: u16, attempt: u16) -> Option<u16> {
        let member = if attempt < target {
            attempt
        } else {
            attempt.checked_add(1)?
        };
        (member <= num_data).then_some(member)
    }
}

impl<const P: u16> Layout for Parity<P> {
    /// Direct, rebuilt by P, and with two parities also rebuilt by Q on the assumption that one
    /// more member is bad.
    fn copies(&self, shape: Shape) -> u16 {
        if P < 2 {
            2
        } else {
            Self::num_data(shape).saturating_add(P)
        }
    }

    fn route(&self, shape: Shape, offset: u64, copy: u16) -> Option<Route> {
        if copy >= self.copies(shape) {
            return None;
        }
        let unit = Unit::of(offset);
        let num_data = Self::num_data(shape);
        let (target, number) = unit.deal(num_data)?;
        let row = Row {
            number,
            num_stripes: shape.num_stripes,
            num_data,
        };
        if copy == 0 {
            return Some(Route::Direct(Piece {
                stripe: row.stripe_of(target)?,
                offset: unit.place(number)?,
                len: unit.rest,
            }));
        }
        let distrust = match copy.checked_sub(2) {
            None => None,
            Some(attempt) => Some(Self::distrusted(num_data, target, attempt)?),
        };
        Some(Route::Rebuild(Rebuild {
            row,
            target,
            offset: unit.offset,
            len: unit.rest,
            distrust,
        }))
    }

    fn stripe_len(&self, shape: Shape, chunk_len: u64) -> u64 {
        chunk_len
            .checked_div(u64::from(Self::num_data(shape)))
            .unwrap_or(chunk_len)
    }
}
