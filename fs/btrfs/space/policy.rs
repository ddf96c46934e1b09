// SPDX-License-Identifier: GPL-2.0

//! Where to allocate: which group, and how large a piece must be worth it.
//!
//! Pure. Groups that are well filled come first, so that others become empty and can go.

/// Data below this size is put one behind the other, whatever file it is of, bytes.
pub(crate) const SMALL: u64 = 1 << 20;
/// A place behind the last extent of a file is taken if it has this much, bytes.
pub(crate) const WORTH: u64 = 256 << 10;
/// How many groups one allocation reads the free space of, once there is a place at all.
pub(crate) const LOADS: u32 = 8;

/// Where a row of small pieces may begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Cluster {
    /// Free space that there should be, bytes.
    pub(crate) len: u64,
    /// What its address is a multiple of.
    pub(crate) align: u64,
}

impl Cluster {
    /// As the options `ssd` and `ssd_spread` want it: with the second, pieces that are large and
    /// aligned enough for a simple drive to write them without moving what is around.
    pub(crate) const fn of(ssd: bool, ssd_spread: bool) -> Self {
        let (len, align) = match (ssd, ssd_spread) {
            (_, true) => (4 * SMALL, 2 * SMALL),
            (true, false) => (2 * SMALL, 1),
            (false, false) => (SMALL, 1),
        };
        Self { len, align }
    }
}

/// A group that could be allocated from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Candidate {
    /// Its length, bytes.
    pub(crate) len: u64,
    /// Free bytes.
    pub(crate) free: u64,
    /// The longest free range, or more if that is not known.
    pub(crate) longest: u64,
}

/// The order in which groups are tried; the least first. Groups are full by 50 to 95 percent, or
/// more, or less, in this order; in each case the fullest is first.
pub(crate) fn rank(group: &Candidate) -> (u8, u64) {
    let share = |percent: u64| group.len / 100 * percent;
    let class = if group.free > share(50) {
        2
    } else if group.free < share(5) {
        1
    } else {
        0
    };
    (class, group.free)
}

/// The best of `groups` that has a piece of `len` bytes.
pub(crate) fn choose<T>(
    groups: impl Iterator<Item = (T, Candidate)>,
    len: u64,
) -> Option<(T, Candidate)> {
    groups
        .filter(|(_, group)| group.longest >= len && len > 0)
        .min_by_key(|(_, group)| rank(group))
}

/// The one of `groups` with the longest piece.
pub(crate) fn roomiest<T>(groups: impl Iterator<Item = (T, Candidate)>) -> Option<(T, Candidate)> {
    groups
        .filter(|(_, group)| group.longest > 0)
        .max_by_key(|(_, group)| group.longest)
}

#[cfg(CONFIG_KUNIT = "y")]
#[kernel::macros::kunit_tests(btrfs_space_policy)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn group(free: u64, longest: u64) -> Candidate {
        Candidate {
            len: GIB,
            free,
            longest,
        }
    }

    #[test]
    fn fuller_groups_first() {
        let groups = [
            group(GIB, GIB),
            group(GIB / 100, GIB / 100),
            group(GIB / 4, GIB / 8),
            group(GIB / 3, GIB / 3),
        ];
        let best = |len| choose((0..).zip(groups), len).map(|(n, _)| n);
        assert_eq!(best(4096), Some(2));
        assert_eq!(best(GIB / 4), Some(3));
        assert_eq!(best(GIB / 2), Some(0));
        assert_eq!(best(2 * GIB), None);
        let none: [Candidate; 0] = [];
        assert_eq!(choose((0..).zip(none), 1).map(|(n, _): (i32, _)| n), None);
    }

    #[test]
    fn the_longest_piece() {
        let groups = [group(GIB / 2, 4096), group(GIB / 4, 8192), group(0, 0)];
        assert_eq!(roomiest((0..).zip(groups)).map(|(n, _)| n), Some(1));
    }
}
