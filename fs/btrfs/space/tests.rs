// SPDX-License-Identifier: GPL-2.0

//! Sums and the estimate of `statfs`.

use btrfs_format::profile::{BlockGroupFlags, RaidProfile};
use btrfs_format::types::{Logical, TreeId, Uuid};
use kernel::prelude::*;

use super::statfs::{self, Counts, DeviceSpace};
use super::summary::{tally, BlockGroup, SpaceInfo, Summary};

const GIB: u64 = 1 << 30;

fn group(types: BlockGroupFlags, profile: RaidProfile, used: u64) -> BlockGroup {
    BlockGroup {
        start: Logical(GIB),
        length: GIB,
        used,
        flags: types | profile.flag(),
        reserved: 0,
        unwritable: false,
    }
}

fn devices(sizes: &[u64]) -> Result<KVec<DeviceSpace>> {
    let mut list = KVec::new();
    for size in sizes {
        let space = DeviceSpace {
            total: size * GIB,
            allocated: 0,
        };
        list.push(space, GFP_KERNEL)?;
    }
    Ok(list)
}

/// Counts of a file system with one half full data block group of `profile`.
fn counts(profile: RaidProfile, sizes: &[u64]) -> Result<Counts> {
    let data = group(BlockGroupFlags::DATA, profile, GIB / 2);
    let writable = u64::try_from(sizes.len())?;
    let mut summary = Summary::default();
    let counters = tally(&[data], BlockGroupFlags::DATA, writable);
    let info = SpaceInfo::of(BlockGroupFlags::DATA, &counters)?;
    summary.infos.push(info, GFP_KERNEL)?;
    let total = sizes.iter().sum::<u64>() * GIB;
    let mut list = devices(sizes)?;
    Ok(statfs::counts(
        &summary, &mut list, writable, total, 0, 4096,
    ))
}

#[kernel::macros::kunit_tests(btrfs_space)]
mod tests {
    use super::*;

    /// Sectors per GiB, and in what a device never gives away.
    const BLOCKS: u64 = GIB / 4096;
    const RESERVED: u64 = (1 << 20) / 4096;

    #[test]
    fn single_uses_everything() -> Result {
        let counts = counts(RaidProfile::Single, &[4, 2])?;
        assert_eq!(counts.blocks, 6 * BLOCKS);
        assert_eq!(counts.free, 6 * BLOCKS - BLOCKS / 2);
        assert_eq!(counts.available, 6 * BLOCKS + BLOCKS / 2 - 2 * RESERVED);
        Ok(())
    }

    #[test]
    fn mirrors_need_two_devices() -> Result {
        let counts = counts(RaidProfile::Raid1, &[4, 2])?;
        assert_eq!(counts.blocks, 3 * BLOCKS);
        assert_eq!(counts.available, 2 * BLOCKS + BLOCKS / 2 - RESERVED);
        Ok(())
    }

    #[test]
    fn parity_costs_a_device() -> Result {
        let counts = counts(RaidProfile::Raid5, &[2, 2, 2])?;
        assert_eq!(counts.available, 4 * BLOCKS + BLOCKS / 2 - 2 * RESERVED);
        Ok(())
    }

    #[test]
    fn unmirrored_groups_retire() -> Result {
        let types = BlockGroupFlags::DATA;
        let groups = [
            group(types, RaidProfile::Single, 0),
            group(types, RaidProfile::Raid1, 0),
        ];
        let data = SpaceInfo::of(types, &tally(&groups, types, 2))?;
        assert_eq!(data.readonly, GIB);
        assert_eq!(data.disk_total, 3 * GIB);
        assert!(data.next_profile(2) == RaidProfile::Raid1);
        assert!(data.next_profile(1) == RaidProfile::Single);
        Ok(())
    }

    #[test]
    fn subvolumes_have_ids_of_their_own() {
        let uuid = Uuid([1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(statfs::fsid(uuid, TreeId(0)), [0x0102_0304, 0x0506_0708]);
        assert_eq!(statfs::fsid(uuid, TreeId(5)), [0x0102_0304, 0x0506_070d]);
    }
}

#[kernel::macros::kunit_tests(btrfs_space_counters)]
mod counters {
    use super::*;
    use crate::space::chunk::is_scarce;
    use crate::space::info::Counters;

    const MIB: u64 = 1 << 20;

    /// Metadata of 100 MiB, of which 40 are used.
    fn metadata() -> Counters {
        let mut group = group(BlockGroupFlags::METADATA, RaidProfile::Dup, 40 * MIB);
        group.length = 100 * MIB;
        tally(&[group], BlockGroupFlags::METADATA, 1)
    }

    #[test]
    fn promises_end_with_the_space() {
        let mut c = metadata();
        assert!(c.promise(60 * MIB, 0));
        assert!(!c.promise(1, 0));
        assert!(c.promise(MIB, MIB));
        c.give_back(61 * MIB);
        assert_eq!(c.may_use, 0);
        assert_eq!(c.free(), 60 * MIB);
    }

    #[test]
    fn the_reserve_is_filled_first() {
        let mut c = metadata();
        c.set_reserve(10 * MIB, true);
        assert_eq!((c.reserve, c.may_use), (10 * MIB, 10 * MIB));
        assert!(!c.promise(51 * MIB, 0));
        assert!(c.draw(4 * MIB, 5 * MIB));
        assert!(!c.draw(7 * MIB, 0));
        assert!(!c.draw(2 * MIB, 5 * MIB));
        assert_eq!((c.reserve, c.may_use), (6 * MIB, 10 * MIB));
        assert!(c.promise(2 * MIB, 0));
        // Six are given back: four to the reserve, two to all.
        c.give_back(6 * MIB);
        assert_eq!((c.reserve, c.may_use), (10 * MIB, 10 * MIB));
        c.set_reserve(4 * MIB, false);
        assert_eq!((c.reserve, c.may_use), (4 * MIB, 4 * MIB));
        // There is not so much.
        c.set_reserve(80 * MIB, false);
        assert_eq!((c.reserve, c.may_use), (60 * MIB, 60 * MIB));
        c.set_reserve(80 * MIB, true);
        assert_eq!(c.may_use, 80 * MIB);
        assert!(!c.promise(1, 0));
    }

    #[test]
    fn commits_pay_with_their_own_first() {
        let mut c = metadata();
        c.set_reserve(10 * MIB, true);
        assert!(c.promise(2 * MIB, 0));
        c.commit = 2 * MIB;
        c.pay_for_trees(MIB);
        assert_eq!((c.commit, c.reserve, c.may_use), (MIB, 10 * MIB, 11 * MIB));
        c.pay_for_trees(3 * MIB);
        assert_eq!((c.commit, c.reserve, c.may_use), (0, 8 * MIB, 8 * MIB));
        c.refill();
        assert_eq!((c.reserve, c.may_use), (10 * MIB, 10 * MIB));
    }

    /// What is made ahead is not what is removed because it is empty.
    #[test]
    fn scarce_with_and_without_a_group() {
        let half = |used| {
            let mut group = group(BlockGroupFlags::METADATA, RaidProfile::Dup, used);
            group.length = 100 * MIB;
            group
        };
        let alone = |used| tally(&[half(used)], BlockGroupFlags::METADATA, 1);
        let both = |used| tally(&[half(used), half(0)], BlockGroupFlags::METADATA, 1);
        assert!(!is_scarce(&alone(77 * MIB), 0));
        assert!(is_scarce(&alone(78 * MIB), 0));
        assert!(!is_scarce(&both(78 * MIB), 0));
        assert!(is_scarce(&both(78 * MIB), 100 * MIB));
        assert!(!is_scarce(&both(77 * MIB), 100 * MIB));
    }

    #[test]
    fn read_only_groups_come_and_go() {
        let types = BlockGroupFlags::DATA;
        let facts = group(types, RaidProfile::Raid1, 0);
        let mut c = tally(
            &[facts, group(types, RaidProfile::Raid1, GIB / 2)],
            types,
            2,
        );
        let before = c;
        c.retire(RaidProfile::Raid1, GIB, GIB);
        assert_eq!((c.read_only, c.disk_readonly_free), (GIB, 2 * GIB));
        c.revive(RaidProfile::Raid1, GIB, GIB);
        assert_eq!(c, before);
        c.retire(RaidProfile::Raid1, GIB, GIB);
        c.remove_group(&facts);
        assert_eq!(
            c,
            tally(&[group(types, RaidProfile::Raid1, GIB / 2)], types, 2)
        );
    }
}
