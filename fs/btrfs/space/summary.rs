// SPDX-License-Identifier: GPL-2.0

//! Sums over block groups, as `statfs`, ioctls and sysfs want them.

use btrfs_format::profile::{BlockGroupFlags, RaidProfile};
use btrfs_format::types::Logical;
use kernel::prelude::*;

use super::info::{is_bare, next_profile, Counters};

/// One block group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BlockGroup {
    /// Where it begins.
    pub(crate) start: Logical,
    /// Its length, bytes.
    pub(crate) length: u64,
    /// Bytes allocated in it.
    pub(crate) used: u64,
    /// What it holds and how.
    pub(crate) flags: BlockGroupFlags,
    /// Bytes that copies of the superblock take.
    pub(crate) reserved: u64,
    /// A device it needs cannot be written.
    pub(crate) unwritable: bool,
}

impl BlockGroup {
    /// How it is spread over devices.
    pub(crate) fn profile(&self) -> RaidProfile {
        self.flags.profile().unwrap_or(RaidProfile::Single)
    }

    /// Whether nothing is allocated from it when new chunks are of the profile `next`: where
    /// these get mirrors or parity, groups without are left alone.
    pub(crate) fn is_retired(&self, next: RaidProfile) -> bool {
        self.unwritable || (is_bare(self.profile()) && !is_bare(next))
    }
}

/// Bytes on devices for each byte stored. Parity is not counted: how much it costs
/// depends on the number of devices.
pub(crate) fn factor(profile: RaidProfile) -> u64 {
    u64::from(profile.attributes().ncopies)
}

/// Sums over the block groups of one profile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ProfileInfo {
    /// The profile.
    pub(crate) profile: RaidProfile,
    /// Sum of lengths, bytes.
    pub(crate) total: u64,
    /// Bytes allocated.
    pub(crate) used: u64,
}

/// Sums over the block groups that hold the same kinds of things.
pub(crate) struct SpaceInfo {
    /// What they hold: data, metadata, system, or data and metadata.
    pub(crate) types: BlockGroupFlags,
    /// Sum of lengths, bytes.
    pub(crate) total: u64,
    /// Bytes allocated.
    pub(crate) used: u64,
    /// Bytes allocated for what is not committed yet.
    pub(crate) reserved: u64,
    /// Bytes freed that must not be written yet.
    pub(crate) pinned: u64,
    /// Bytes promised.
    pub(crate) may_use: u64,
    /// Like `total`, with all copies.
    pub(crate) disk_total: u64,
    /// Like `used`, with all copies.
    pub(crate) disk_used: u64,
    /// Like `reserved`, with all copies.
    pub(crate) disk_reserved: u64,
    /// Free bytes that cannot be allocated.
    pub(crate) readonly: u64,
    /// Free bytes with all copies in block groups nothing is allocated from.
    pub(crate) disk_readonly_free: u64,
    /// The sums again, by profile, in the order of [`RaidProfile::BY_INDEX`].
    pub(crate) profiles: KVec<ProfileInfo>,
}

impl SpaceInfo {
    /// The sums of `counters`.
    pub(crate) fn of(types: BlockGroupFlags, counters: &Counters) -> Result<Self> {
        let mut info = Self {
            types,
            total: counters.total,
            used: counters.used,
            reserved: counters.reserved,
            pinned: counters.pinned,
            may_use: counters.may_use,
            disk_total: 0,
            disk_used: 0,
            disk_reserved: 0,
            readonly: counters.read_only,
            disk_readonly_free: counters.disk_readonly_free,
            profiles: KVec::new(),
        };
        for profile in RaidProfile::BY_INDEX {
            let sums = counters.profile(profile);
            if sums.groups == 0 {
                continue;
            }
            let disk = |bytes: u64| bytes.saturating_mul(factor(profile));
            info.disk_total = info.disk_total.saturating_add(disk(sums.total));
            info.disk_used = info.disk_used.saturating_add(disk(sums.used));
            info.disk_reserved = info.disk_reserved.saturating_add(disk(sums.reserved));
            let of_profile = ProfileInfo {
                profile,
                total: sums.total,
                used: sums.used,
            };
            info.profiles.push(of_profile, GFP_KERNEL)?;
        }
        Ok(info)
    }

    /// Whether there are block groups of `profile`.
    pub(crate) fn has(&self, profile: RaidProfile) -> bool {
        self.profiles.iter().any(|info| info.profile == profile)
    }

    /// See [`Counters::next_profile`].
    pub(crate) fn next_profile(&self, devices: u64) -> RaidProfile {
        next_profile(|profile| self.has(profile), devices)
    }
}

/// All sums of a file system.
#[derive(Default)]
pub(crate) struct Summary {
    /// One per kind of block group, in the order system, metadata, data (or mixed).
    pub(crate) infos: KVec<SpaceInfo>,
}

impl Summary {
    /// The sums of block groups that hold `types`.
    pub(crate) fn find(&self, types: BlockGroupFlags) -> Option<&SpaceInfo> {
        self.infos.iter().find(|info| info.types == types)
    }
}

/// The kinds of block groups that there are. `mixed`: data and metadata share them.
pub(crate) fn kinds(mixed: bool) -> &'static [BlockGroupFlags] {
    const MIXED: BlockGroupFlags = BlockGroupFlags::DATA.union(BlockGroupFlags::METADATA);
    if mixed {
        &[BlockGroupFlags::SYSTEM, MIXED]
    } else {
        &[
            BlockGroupFlags::SYSTEM,
            BlockGroupFlags::METADATA,
            BlockGroupFlags::DATA,
        ]
    }
}

/// Adds those of `groups` up that hold `types`; `devices` can be written.
pub(crate) fn tally(groups: &[BlockGroup], types: BlockGroupFlags, devices: u64) -> Counters {
    let mut counters = Counters::default();
    let own = || groups.iter().filter(|group| group.flags.types() == types);
    for group in own() {
        counters.add_group(group);
    }
    let next = counters.next_profile(devices);
    for group in own().filter(|group| group.is_retired(next)) {
        let unused = group.length.saturating_sub(group.used);
        let free = unused.saturating_sub(group.reserved);
        counters.retire(group.profile(), free, unused);
    }
    counters
}
