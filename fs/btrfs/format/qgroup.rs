// SPDX-License-Identifier: GPL-2.0

//! Quota groups.

use core::fmt;
use zerocopy::little_endian::U64;

id_type! {
    /// The id of a quota group as one number: level in the top 16 bits, then its id there.
    ///
    /// At level 0 the id is that of a subvolume.
    QgroupId
}

impl QgroupId {
    /// Makes an id of level and number; only the lower 48 bits of the number count.
    #[inline]
    pub const fn from_parts(level: u16, id: u64) -> Self {
        let [a, b, c, d, e, f, _, _] = id.to_le_bytes();
        let [low, high] = level.to_le_bytes();
        Self(u64::from_le_bytes([a, b, c, d, e, f, low, high]))
    }

    /// The level; 0 are subvolumes.
    #[inline]
    pub const fn level(self) -> u16 {
        let [.., low, high] = self.0.to_le_bytes();
        u16::from_le_bytes([low, high])
    }

    /// The number within the level.
    #[inline]
    pub const fn subvolid(self) -> u64 {
        self.0 & ((1 << 48) - 1)
    }

    /// For messages and sysfs: displays as `level/id`.
    #[inline]
    pub const fn pretty(self) -> impl fmt::Display {
        Pretty(self)
    }
}

/// See [`QgroupId::pretty`].
struct Pretty(QgroupId);

impl fmt::Display for Pretty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0.level(), self.0.subvolid())
    }
}

on_disk! {
    /// State of quotas (`struct btrfs_qgroup_status_item`), as far as all kernels have it.
    ///
    /// The key is (0, `QGROUP_STATUS`, 0). With simple quotas [`parse_enable_gen`] follows.
    QgroupStatusItem [32] {
        /// Always 1.
        pub version: U64,
        /// The transaction that wrote quotas last.
        pub generation: U64,
        /// [`QgroupStatusFlags`].
        pub flags: U64,
        /// How far a rescan has got: a logical address.
        pub rescan: U64,
    }
}

/// The version that this crate knows.
pub const QGROUP_STATUS_VERSION: u64 = 1;

impl QgroupStatusItem {
    /// Decodes an item with or without the field that simple quotas added.
    #[inline]
    pub fn parse(data: &[u8]) -> Option<&Self> {
        Self::from_prefix(data).map(|(item, _)| item)
    }

    /// The flags.
    #[inline]
    pub fn flags(&self) -> QgroupStatusFlags {
        QgroupStatusFlags(self.flags.get())
    }
}

/// The transaction that enabled simple quotas; `None` if the item does not say.
pub fn parse_enable_gen(data: &[u8]) -> Option<u64> {
    let (_, rest) = QgroupStatusItem::from_prefix(data)?;
    let (enable_gen, _) = <U64 as zerocopy::FromBytes>::read_from_prefix(rest).ok()?;
    Some(enable_gen.get())
}

flags_type! {
    /// Flags of quotas.
    QgroupStatusFlags: u64 {
        /// Quotas are on.
        ON = 1 << 0, "ON";
        /// A rescan is running.
        RESCAN = 1 << 1, "RESCAN";
        /// Numbers are not right.
        INCONSISTENT = 1 << 2, "INCONSISTENT";
        /// Simple quotas: whoever wrote an extent pays for it.
        SIMPLE_MODE = 1 << 3, "SIMPLE_MODE";
    }
}

on_disk! {
    /// Usage of a quota group in bytes (`struct btrfs_qgroup_info_item`).
    ///
    /// The key is (0, `QGROUP_INFO`, quota group).
    QgroupInfoItem [40] {
        /// The transaction that changed it last.
        pub generation: U64,
        /// Referenced.
        pub rfer: U64,
        /// Referenced, compressed; equal to `rfer`.
        pub rfer_cmpr: U64,
        /// Referenced by nobody else.
        pub excl: U64,
        /// Referenced by nobody else, compressed; equal to `excl`.
        pub excl_cmpr: U64,
    }
}

on_disk! {
    /// Limits of a quota group in bytes (`struct btrfs_qgroup_limit_item`).
    ///
    /// The key is (0, `QGROUP_LIMIT`, quota group).
    QgroupLimitItem [40] {
        /// [`QgroupLimitFlags`]: which limits hold.
        pub flags: U64,
        /// Most bytes referenced.
        pub max_rfer: U64,
        /// Most bytes referenced by nobody else.
        pub max_excl: U64,
        /// Not used.
        pub rsv_rfer: U64,
        /// Not used.
        pub rsv_excl: U64,
    }
}

impl QgroupLimitItem {
    /// Which limits hold.
    #[inline]
    pub fn flags(&self) -> QgroupLimitFlags {
        QgroupLimitFlags(self.flags.get())
    }
}

flags_type! {
    /// Which limits of a quota group hold.
    QgroupLimitFlags: u64 {
        /// `max_rfer`.
        MAX_RFER = 1 << 0, "MAX_RFER";
        /// `max_excl`.
        MAX_EXCL = 1 << 1, "MAX_EXCL";
        /// `rsv_rfer`.
        RSV_RFER = 1 << 2, "RSV_RFER";
        /// `rsv_excl`.
        RSV_EXCL = 1 << 3, "RSV_EXCL";
        /// Not used.
        RFER_CMPR = 1 << 4, "RFER_CMPR";
        /// Not used.
        EXCL_CMPR = 1 << 5, "EXCL_CMPR";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_parts() {
        let id = QgroupId::from_parts(3, 0xffff_0000_0000_0101);
        assert_eq!((id.level(), id.subvolid()), (3, 257));
        assert_eq!(std::format!("{}", id.pretty()), "3/257");
    }
}
