// SPDX-License-Identifier: GPL-2.0

//! How the profiles spread a chunk over devices: pure arithmetic, no I/O.
//!
//! A chunk is a range of logical addresses; a *stripe* is the range of one device that a
//! chunk has a share of. Each profile is a [`Layout`], which says for an offset in the
//! chunk in which stripe and where in it the bytes are. Striped profiles change the stripe
//! every [`STRIPE_LEN`] bytes.
//!
//! Bytes can be had in several ways, which are numbered from 0 and here called *copies*,
//! though with parity all but the first are computed. Messages and `btrfs_map_block()`
//! call copy `n` "mirror n + 1".

mod mirror;
mod parity;
mod single;
mod stripe;

pub(crate) use parity::Row;

use btrfs_format::{types::STRIPE_LEN, RaidProfile};

/// What a layout needs to know of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// The profile.
    pub(crate) profile: RaidProfile,
    /// Number of stripes, at least 1; the tree checker has seen that it fits the profile.
    pub(crate) num_stripes: u16,
}

/// Bytes that are contiguous on one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Index of the stripe in the chunk.
    pub(crate) stripe: u16,
    /// Offset within the stripe, in bytes.
    pub(crate) offset: u64,
    /// Bytes from there on that belong together, at least 1.
    pub(crate) len: u64,
}

/// A way to get bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// They stand on a device.
    Direct(Piece),
    /// They are computed from the other stripes of a row.
    Rebuild(Rebuild),
}

impl Route {
    /// The number of contiguous bytes that can be had this way, at least 1.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Route::Direct(piece) => piece.len,
            Route::Rebuild(rebuild) => rebuild.len,
        }
    }
}

/// How bytes are computed from the rest of their row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rebuild {
    /// The row that they belong to.
    pub(crate) row: Row,
    /// Which data stripe of the row is wanted, from 0.
    pub(crate) target: u16,
    /// Where in the row's share of a stripe they begin, in bytes.
    pub(crate) offset: u64,
    /// Bytes up to the end of the row's share, at least 1.
    pub(crate) len: u64,
    /// A further member of the row that is not to be trusted, as [`Row::member`] counts.
    pub(crate) distrust: Option<u16>,
}

/// How a profile maps offsets in a chunk.
pub(crate) trait Layout: Sync {
    /// The number of ways to get any byte, at least 1.
    fn copies(&self, shape: Shape) -> u16;

    /// Way number `copy` to get the bytes at `offset` of the chunk; `None` if there is none.
    fn route(&self, shape: Shape, offset: u64, copy: u16) -> Option<Route>;

    /// Whether one copy is as good as another to begin with, because each is on a device of
    /// its own.
    fn balances(&self) -> bool {
        false
    }

    /// How many bytes a stripe holds, of a chunk of `chunk_len` bytes.
    fn stripe_len(&self, shape: Shape, chunk_len: u64) -> u64;
}

/// The layout of a profile.
pub(crate) fn layout(profile: RaidProfile) -> &'static dyn Layout {
    match profile {
        RaidProfile::Single => &single::Single,
        RaidProfile::Dup => &mirror::Dup,
        RaidProfile::Raid1 | RaidProfile::Raid1c3 | RaidProfile::Raid1c4 => &mirror::Mirror,
        RaidProfile::Raid0 => &stripe::Raid0,
        RaidProfile::Raid10 => &stripe::Raid10,
        RaidProfile::Raid5 => &parity::Parity::<1>,
        RaidProfile::Raid6 => &parity::Parity::<2>,
    }
}

impl Shape {
    /// See [`Layout::copies`].
    pub(crate) fn copies(self) -> u16 {
        layout(self.profile).copies(self)
    }

    /// See [`Layout::route`].
    pub(crate) fn route(self, offset: u64, copy: u16) -> Option<Route> {
        layout(self.profile).route(self, offset, copy)
    }

    /// See [`Layout::balances`].
    pub(crate) fn balances(self) -> bool {
        layout(self.profile).balances()
    }

    /// See [`Layout::stripe_len`].
    pub(crate) fn stripe_len(self, chunk_len: u64) -> u64 {
        layout(self.profile).stripe_len(self, chunk_len)
    }

    /// How many of the devices may be missing without loss of data.
    pub(crate) fn tolerated_failures(self) -> u16 {
        self.profile.attributes().tolerated_failures
    }
}

/// The position of an offset in the sequence of stripe units.
#[derive(Clone, Copy)]
struct Unit {
    /// Which unit of [`STRIPE_LEN`] bytes.
    number: u64,
    /// Offset within it.
    offset: u64,
    /// Bytes to its end, at least 1.
    rest: u64,
}

impl Unit {
    fn of(offset: u64) -> Self {
        // Division and remainder by a constant that is a power of two and not zero.
        let number = offset.checked_div(STRIPE_LEN).unwrap_or(0);
        let within = offset.checked_rem(STRIPE_LEN).unwrap_or(0);
        Self {
            number,
            offset: within,
            rest: STRIPE_LEN.saturating_sub(within),
        }
    }

    /// Deals the units out to `n` stripes in turn: the stripe, and the unit's number there.
    fn deal(&self, n: u16) -> Option<(u16, u64)> {
        let n = u64::from(n);
        let stripe = u16::try_from(self.number.checked_rem(n)?).ok()?;
        Some((stripe, self.number.checked_div(n)?))
    }

    /// The byte offset in a stripe of this place in the stripe's unit number `row`.
    fn place(&self, row: u64) -> Option<u64> {
        row.checked_mul(STRIPE_LEN)?.checked_add(self.offset)
    }
}

#[cfg(CONFIG_KUNIT)]
#[kernel::prelude::kunit_tests(btrfs_raid)]
mod tests {
    use super::*;

    fn direct(profile: RaidProfile, num_stripes: u16, offset: u64, copy: u16) -> Option<Piece> {
        let shape = Shape {
            profile,
            num_stripes,
        };
        match shape.route(offset, copy)? {
            Route::Direct(piece) => Some(piece),
            Route::Rebuild(_) => None,
        }
    }

    fn piece(stripe: u16, offset: u64, len: u64) -> Option<Piece> {
        Some(Piece {
            stripe,
            offset,
            len,
        })
    }

    #[test]
    fn contiguous() {
        let offset = 5 * STRIPE_LEN + 4096;
        let rest = u64::MAX;
        assert_eq!(
            direct(RaidProfile::Single, 1, offset, 0),
            piece(0, offset, rest)
        );
        assert_eq!(direct(RaidProfile::Single, 1, offset, 1), None);
        for copy in 0..3 {
            assert_eq!(
                direct(RaidProfile::Raid1c3, 3, offset, copy),
                piece(copy, offset, rest)
            );
        }
        assert_eq!(
            direct(RaidProfile::Dup, 2, offset, 1),
            piece(1, offset, rest)
        );
        assert_eq!(direct(RaidProfile::Dup, 2, offset, 2), None);
    }

    #[test]
    fn striped() {
        let offset = 7 * STRIPE_LEN + 4096;
        let rest = STRIPE_LEN - 4096;
        assert_eq!(
            direct(RaidProfile::Raid0, 3, offset, 0),
            piece(1, 2 * STRIPE_LEN + 4096, rest)
        );
        assert_eq!(
            direct(RaidProfile::Raid10, 4, offset, 0),
            piece(2, 3 * STRIPE_LEN + 4096, rest)
        );
        assert_eq!(
            direct(RaidProfile::Raid10, 4, offset, 1),
            piece(3, 3 * STRIPE_LEN + 4096, rest)
        );
        assert_eq!(direct(RaidProfile::Raid10, 4, offset, 2), None);
    }

    #[test]
    fn rotated_parity() {
        // Three stripes, two of data: unit 7 is the second one of row 3.
        let offset = 7 * STRIPE_LEN + 4096;
        let rest = STRIPE_LEN - 4096;
        assert_eq!(
            direct(RaidProfile::Raid5, 3, offset, 0),
            piece((3 + 1) % 3, 3 * STRIPE_LEN + 4096, rest)
        );
        let shape = Shape {
            profile: RaidProfile::Raid6,
            num_stripes: 5,
        };
        assert_eq!(shape.copies(), 5);
        let Some(Route::Rebuild(rebuild)) = shape.route(offset, 1) else {
            panic!("no way to rebuild");
        };
        // Three of data: unit 7 is the second one of row 2.
        assert_eq!((rebuild.target, rebuild.distrust), (1, None));
        assert_eq!(rebuild.row.stripe_of(0), Some(2));
        assert_eq!(rebuild.row.stripe_of(3), Some(0));
        assert_eq!(rebuild.row.stripe_of(4), Some(1));
        assert_eq!(rebuild.row.stripe_of(5), None);
        // Every other member of the row but Q is distrusted in turn.
        for (copy, member) in [(2, 0), (3, 2), (4, 3)] {
            let Some(Route::Rebuild(rebuild)) = shape.route(offset, copy) else {
                panic!("no way to rebuild");
            };
            assert_eq!(rebuild.distrust, Some(member));
        }
        assert_eq!(shape.route(offset, 5), None);
    }

    #[test]
    fn stripe_lengths() {
        let len = 12 * STRIPE_LEN;
        for (profile, num_stripes, expected) in [
            (RaidProfile::Single, 1, 12),
            (RaidProfile::Dup, 2, 12),
            (RaidProfile::Raid1, 2, 12),
            (RaidProfile::Raid0, 4, 3),
            (RaidProfile::Raid10, 4, 6),
            (RaidProfile::Raid5, 4, 4),
            (RaidProfile::Raid6, 4, 6),
        ] {
            let shape = Shape {
                profile,
                num_stripes,
            };
            assert_eq!(shape.stripe_len(len), expected * STRIPE_LEN);
        }
    }
}
