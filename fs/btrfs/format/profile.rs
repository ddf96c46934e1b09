// SPDX-License-Identifier: GPL-2.0

//! What block groups hold and how they are spread over devices.

flags_type! {
    /// Types and profile of a block group or chunk (`BTRFS_BLOCK_GROUP_*`).
    BlockGroupFlags: u64 {
        /// Holds file data.
        DATA = 1 << 0, "data";
        /// Holds the chunk tree.
        SYSTEM = 1 << 1, "system";
        /// Holds tree blocks.
        METADATA = 1 << 2, "metadata";
        /// See [`RaidProfile::Raid0`].
        RAID0 = 1 << 3, "raid0";
        /// See [`RaidProfile::Raid1`].
        RAID1 = 1 << 4, "raid1";
        /// See [`RaidProfile::Dup`].
        DUP = 1 << 5, "dup";
        /// See [`RaidProfile::Raid10`].
        RAID10 = 1 << 6, "raid10";
        /// See [`RaidProfile::Raid5`].
        RAID5 = 1 << 7, "raid5";
        /// See [`RaidProfile::Raid6`].
        RAID6 = 1 << 8, "raid6";
        /// See [`RaidProfile::Raid1c3`].
        RAID1C3 = 1 << 9, "raid1c3";
        /// See [`RaidProfile::Raid1c4`].
        RAID1C4 = 1 << 10, "raid1c4";
        /// Addresses are looked up in the remap tree.
        REMAPPED = 1 << 11, "remapped";
        /// Holds the remap tree.
        METADATA_REMAP = 1 << 12, "metadata-remap";
    }
}

impl BlockGroupFlags {
    /// The bits that say what the block group holds.
    pub const TYPE_MASK: Self = Self::DATA
        .union(Self::SYSTEM)
        .union(Self::METADATA)
        .union(Self::METADATA_REMAP);
    /// The bits that say how it is spread over devices; none is [`RaidProfile::Single`].
    pub const PROFILE_MASK: Self = Self::RAID0
        .union(Self::RAID1_MASK)
        .union(Self::RAID56_MASK)
        .union(Self::DUP)
        .union(Self::RAID10);
    /// The profiles of whole copies on several devices.
    pub const RAID1_MASK: Self = Self::RAID1.union(Self::RAID1C3).union(Self::RAID1C4);
    /// The profiles with parity.
    pub const RAID56_MASK: Self = Self::RAID5.union(Self::RAID6);
    /// Every bit that may be set on disk.
    pub const VALID: Self = Self::TYPE_MASK
        .union(Self::PROFILE_MASK)
        .union(Self::REMAPPED);
    /// Stands for the profile single in balance arguments and ioctls; never on disk.
    pub const AVAIL_SINGLE: Self = Self(1 << 48);
    /// Stands for the global reserve in the SPACE_INFO ioctl; never on disk.
    pub const SPACE_INFO_GLOBAL_RSV: Self = Self(1 << 49);

    /// The bits of what it holds.
    #[inline]
    pub const fn types(self) -> Self {
        self.intersection(Self::TYPE_MASK)
    }

    /// Whether it holds both data and tree blocks.
    #[inline]
    pub const fn is_mixed(self) -> bool {
        self.contains(Self::DATA.union(Self::METADATA))
    }

    /// The profile; `None` if more than one is set, which the checker does not let pass.
    #[inline]
    pub const fn profile(self) -> Option<RaidProfile> {
        Some(match self.intersection(Self::PROFILE_MASK) {
            Self(0) => RaidProfile::Single,
            Self::DUP => RaidProfile::Dup,
            Self::RAID0 => RaidProfile::Raid0,
            Self::RAID1 => RaidProfile::Raid1,
            Self::RAID1C3 => RaidProfile::Raid1c3,
            Self::RAID1C4 => RaidProfile::Raid1c4,
            Self::RAID10 => RaidProfile::Raid10,
            Self::RAID5 => RaidProfile::Raid5,
            Self::RAID6 => RaidProfile::Raid6,
            _ => return None,
        })
    }
}

/// How a block group is spread over devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RaidProfile {
    /// One copy on one device.
    Single,
    /// Two copies on one device.
    Dup,
    /// Striped, no redundancy.
    Raid0,
    /// Two copies on two devices.
    Raid1,
    /// Three copies on three devices.
    Raid1c3,
    /// Four copies on four devices.
    Raid1c4,
    /// Striped over pairs of devices with two copies each.
    Raid10,
    /// Striped, with one parity stripe.
    Raid5,
    /// Striped, with two parity stripes.
    Raid6,
}

/// The numbers that describe a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaidAttributes {
    /// The profile's bit; empty for single.
    pub flag: BlockGroupFlags,
    /// The name in `btrfs` tools and mount messages.
    pub name: &'static str,
    /// Devices that hold copies of one another in a striped profile; 1 where there are none.
    pub sub_stripes: u16,
    /// Stripes of a chunk on one device.
    pub dev_stripes: u16,
    /// Most devices of a chunk; `None` if as many as there are.
    pub devs_max: Option<u16>,
    /// Fewest devices of a chunk.
    pub devs_min: u16,
    /// The number of devices is a multiple of this.
    pub devs_increment: u16,
    /// Devices that may be missing without loss.
    pub tolerated_failures: u16,
    /// Copies of each byte.
    pub ncopies: u16,
    /// Parity stripes.
    pub nparity: u16,
}

impl RaidAttributes {
    const SINGLE: Self = Self {
        flag: BlockGroupFlags::empty(),
        name: "single",
        sub_stripes: 1,
        dev_stripes: 1,
        devs_max: Some(1),
        devs_min: 1,
        devs_increment: 1,
        tolerated_failures: 0,
        ncopies: 1,
        nparity: 0,
    };
    const DUP: Self = Self {
        flag: BlockGroupFlags::DUP,
        name: "dup",
        dev_stripes: 2,
        ncopies: 2,
        ..Self::SINGLE
    };
    const RAID0: Self = Self {
        flag: BlockGroupFlags::RAID0,
        name: "raid0",
        devs_max: None,
        ..Self::SINGLE
    };
    const RAID1: Self = Self::mirrored(BlockGroupFlags::RAID1, "raid1", 2, 1);
    const RAID1C3: Self = Self::mirrored(BlockGroupFlags::RAID1C3, "raid1c3", 3, 2);
    const RAID1C4: Self = Self::mirrored(BlockGroupFlags::RAID1C4, "raid1c4", 4, 3);
    const RAID10: Self = Self {
        flag: BlockGroupFlags::RAID10,
        name: "raid10",
        sub_stripes: 2,
        devs_max: None,
        devs_min: 2,
        devs_increment: 2,
        tolerated_failures: 1,
        ncopies: 2,
        ..Self::SINGLE
    };
    const RAID5: Self = Self {
        flag: BlockGroupFlags::RAID5,
        name: "raid5",
        devs_max: None,
        devs_min: 2,
        tolerated_failures: 1,
        nparity: 1,
        ..Self::SINGLE
    };
    const RAID6: Self = Self {
        flag: BlockGroupFlags::RAID6,
        name: "raid6",
        devs_max: None,
        devs_min: 3,
        tolerated_failures: 2,
        nparity: 2,
        ..Self::SINGLE
    };

    const fn mirrored(
        flag: BlockGroupFlags,
        name: &'static str,
        copies: u16,
        tolerated_failures: u16,
    ) -> Self {
        Self {
            flag,
            name,
            devs_max: Some(copies),
            devs_min: copies,
            devs_increment: copies,
            tolerated_failures,
            ncopies: copies,
            ..Self::SINGLE
        }
    }
}

impl RaidProfile {
    /// All profiles.
    pub const ALL: [Self; 9] = [
        Self::Single,
        Self::Dup,
        Self::Raid0,
        Self::Raid1,
        Self::Raid1c3,
        Self::Raid1c4,
        Self::Raid10,
        Self::Raid5,
        Self::Raid6,
    ];

    /// All profiles, in the order of the numbers that the C module has for them, which user
    /// space sees wherever profiles are listed.
    pub const BY_INDEX: [Self; 9] = [
        Self::Single,
        Self::Raid0,
        Self::Raid1,
        Self::Dup,
        Self::Raid10,
        Self::Raid5,
        Self::Raid6,
        Self::Raid1c3,
        Self::Raid1c4,
    ];

    /// The profile's numbers.
    #[inline]
    pub const fn attributes(self) -> &'static RaidAttributes {
        match self {
            Self::Single => &RaidAttributes::SINGLE,
            Self::Dup => &RaidAttributes::DUP,
            Self::Raid0 => &RaidAttributes::RAID0,
            Self::Raid1 => &RaidAttributes::RAID1,
            Self::Raid1c3 => &RaidAttributes::RAID1C3,
            Self::Raid1c4 => &RaidAttributes::RAID1C4,
            Self::Raid10 => &RaidAttributes::RAID10,
            Self::Raid5 => &RaidAttributes::RAID5,
            Self::Raid6 => &RaidAttributes::RAID6,
        }
    }

    /// The name in tools and messages.
    #[inline]
    pub const fn name(self) -> &'static str {
        self.attributes().name
    }

    /// The profile's bit; empty for single.
    #[inline]
    pub const fn flag(self) -> BlockGroupFlags {
        self.attributes().flag
    }

    /// Whether one copy is spread over several devices in units of a stripe.
    #[inline]
    pub const fn is_striped(self) -> bool {
        matches!(self, Self::Raid0 | Self::Raid10 | Self::Raid5 | Self::Raid6)
    }

    /// Whether a chunk of this profile may have that many stripes and sub-stripes.
    pub fn allows_stripes(self, num_stripes: u16, sub_stripes: u16) -> bool {
        let attributes = self.attributes();
        match self {
            Self::Raid0 => num_stripes >= 1,
            Self::Raid10 => {
                num_stripes >= attributes.ncopies
                    && sub_stripes == attributes.sub_stripes
                    && num_stripes.checked_rem(sub_stripes) == Some(0)
            }
            Self::Raid5 | Self::Raid6 => num_stripes >= attributes.devs_min,
            Self::Single | Self::Dup => num_stripes == attributes.dev_stripes,
            Self::Raid1 | Self::Raid1c3 | Self::Raid1c4 => num_stripes == attributes.devs_min,
        }
    }

    /// How many of `num_stripes` stripes hold data that is not a copy or parity of another.
    ///
    /// At least 1, whatever `num_stripes` is.
    #[inline]
    pub fn data_stripes(self, num_stripes: u16) -> u16 {
        let attributes = self.attributes();
        let copies = num_stripes.saturating_sub(attributes.nparity);
        copies
            .checked_div(attributes.ncopies)
            .unwrap_or(copies)
            .max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profile_of_flags() {
        for profile in RaidProfile::ALL {
            let flags = profile.flag() | BlockGroupFlags::DATA;
            assert_eq!(flags.profile(), Some(profile));
            assert!(BlockGroupFlags::VALID.contains(flags));
        }
        let two = BlockGroupFlags::RAID0 | BlockGroupFlags::DUP;
        assert_eq!(two.profile(), None);
    }

    #[test]
    fn data_stripes() {
        assert_eq!(RaidProfile::Single.data_stripes(1), 1);
        assert_eq!(RaidProfile::Dup.data_stripes(2), 1);
        assert_eq!(RaidProfile::Raid0.data_stripes(5), 5);
        assert_eq!(RaidProfile::Raid10.data_stripes(6), 3);
        assert_eq!(RaidProfile::Raid1c3.data_stripes(3), 1);
        assert_eq!(RaidProfile::Raid5.data_stripes(3), 2);
        assert_eq!(RaidProfile::Raid6.data_stripes(6), 4);
        assert_eq!(RaidProfile::Raid6.data_stripes(0), 1);
    }
}
