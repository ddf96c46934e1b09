// SPDX-License-Identifier: GPL-2.0

//! Sums over block groups.

use btrfs_format::profile::{BlockGroupFlags, RaidProfile};
use btrfs_format::types::Logical;
use kernel::prelude::*;

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
    fn profile(&self) -> RaidProfile {
        self.flags.profile().unwrap_or(RaidProfile::Single)
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
    /// Like `total`, with all copies.
    pub(crate) disk_total: u64,
    /// Like `used`, with all copies.
    pub(crate) disk_used: u64,
    /// Free bytes that cannot be allocated.
    pub(crate) readonly: u64,
    /// Free bytes with all copies in block groups nothing is allocated from.
    pub(crate) disk_readonly_free: u64,
    /// The sums again, by profile, in the order in which profiles were met.
    pub(crate) profiles: KVec<ProfileInfo>,
}

impl SpaceInfo {
    fn new(types: BlockGroupFlags) -> Self {
        Self {
            types,
            total: 0,
            used: 0,
            disk_total: 0,
            disk_used: 0,
            readonly: 0,
            disk_readonly_free: 0,
            profiles: KVec::new(),
        }
    }

    fn add(&mut self, group: &BlockGroup) -> Result {
        let copies = factor(group.profile());
        self.total = self.total.saturating_add(group.length);
        self.used = self.used.saturating_add(group.used);
        let disk = |bytes: u64| bytes.saturating_mul(copies);
        self.disk_total = self.disk_total.saturating_add(disk(group.length));
        self.disk_used = self.disk_used.saturating_add(disk(group.used));
        self.readonly = self.readonly.saturating_add(group.reserved);
        if group.unwritable {
            self.set_readonly(group);
        }
        let profile = group.profile();
        match self.profiles.iter_mut().find(|p| p.profile == profile) {
            Some(info) => {
                info.total = info.total.saturating_add(group.length);
                info.used = info.used.saturating_add(group.used);
            }
            None => self.profiles.push(
                ProfileInfo {
                    profile,
                    total: group.length,
                    used: group.used,
                },
                GFP_KERNEL,
            )?,
        }
        Ok(())
    }

    fn set_readonly(&mut self, group: &BlockGroup) {
        let free = group.length.saturating_sub(group.used);
        self.readonly = self
            .readonly
            .saturating_add(free.saturating_sub(group.reserved));
        let disk = free.saturating_mul(factor(group.profile()));
        self.disk_readonly_free = self.disk_readonly_free.saturating_add(disk);
    }

    /// Whether there are block groups of `profile`.
    pub(crate) fn has(&self, profile: RaidProfile) -> bool {
        self.profiles.iter().any(|info| info.profile == profile)
    }

    /// The profile that the next chunk of this kind gets on `devices` writable
    /// devices: the one with the most redundancy that is in use and possible.
    pub(crate) fn next_profile(&self, devices: u64) -> RaidProfile {
        const ORDER: [RaidProfile; 8] = [
            RaidProfile::Raid1c4,
            RaidProfile::Raid6,
            RaidProfile::Raid1c3,
            RaidProfile::Raid5,
            RaidProfile::Raid10,
            RaidProfile::Raid1,
            RaidProfile::Dup,
            RaidProfile::Raid0,
        ];
        ORDER
            .into_iter()
            .find(|profile| {
                self.has(*profile) && devices >= u64::from(profile.attributes().devs_min)
            })
            .unwrap_or(RaidProfile::Single)
    }
}

/// All sums of a file system.
#[derive(Default)]
pub(crate) struct Summary {
    /// One per kind of block group, in the order system, metadata, data (or mixed).
    pub(crate) infos: KVec<SpaceInfo>,
}

impl Summary {
    /// Adds `groups` up. `mixed`: data and metadata share block groups; `devices`:
    /// number of writable devices.
    pub(crate) fn new(groups: &[BlockGroup], mixed: bool, devices: u64) -> Result<Self> {
        let data = BlockGroupFlags::DATA;
        let metadata = BlockGroupFlags::METADATA;
        let kinds: &[BlockGroupFlags] = if mixed {
            &[BlockGroupFlags::SYSTEM, data.union(metadata)]
        } else {
            &[BlockGroupFlags::SYSTEM, metadata, data]
        };
        let mut infos = KVec::with_capacity(kinds.len(), GFP_KERNEL)?;
        for kind in kinds {
            infos.push(SpaceInfo::new(*kind), GFP_KERNEL)?;
        }
        for group in groups {
            let types = group.flags.types();
            let info: Option<&mut SpaceInfo> = infos.iter_mut().find(|info| info.types == types);
            info.ok_or(EUCLEAN)?.add(group)?;
        }
        for info in infos.iter_mut() {
            Self::retire_unmirrored(info, groups, devices);
        }
        Ok(Self { infos })
    }

    /// Where new chunks get mirrors or parity, nothing more is allocated from the
    /// groups without.
    fn retire_unmirrored(info: &mut SpaceInfo, groups: &[BlockGroup], devices: u64) {
        let bare = |profile| matches!(profile, RaidProfile::Single | RaidProfile::Raid0);
        if bare(info.next_profile(devices)) {
            return;
        }
        for group in groups {
            if group.flags.types() == info.types && bare(group.profile()) && !group.unwritable {
                info.set_readonly(group);
            }
        }
    }
}
