// SPDX-License-Identifier: GPL-2.0

//! How space is used: `SPACE_INFO`.

use super::user;
use crate::mount::Fs;
use btrfs_format::profile::{BlockGroupFlags, RaidProfile};
use kernel::{ioctl::_IOWR, prelude::*};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `BTRFS_IOC_SPACE_INFO`.
pub(crate) const SPACE_INFO: u32 = _IOWR::<SpaceArgs>(0x94, 20);

/// `struct btrfs_ioctl_space_args`; as many [`SpaceEntry`] as asked for follow.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct SpaceArgs {
    /// Room for entries; 0 asks how many there are.
    space_slots: u64,
    /// Entries that there are, or have been written.
    total_spaces: u64,
}

/// `struct btrfs_ioctl_space_info`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct SpaceEntry {
    flags: u64,
    total_bytes: u64,
    used_bytes: u64,
}

/// The order in which kinds of block groups are told.
const TYPES: [BlockGroupFlags; 4] = [
    BlockGroupFlags::DATA,
    BlockGroupFlags::SYSTEM,
    BlockGroupFlags::METADATA,
    BlockGroupFlags::DATA.union(BlockGroupFlags::METADATA),
];

/// One entry for each kind and profile of block groups, and one for the global reserve.
fn entries(fs: &Fs) -> Result<KVec<SpaceEntry>> {
    let mut entries = KVec::new();
    let summary = fs.summary()?;
    for types in TYPES {
        let infos = summary.infos.iter();
        for info in infos.filter(|info| info.types == types) {
            for profile in RaidProfile::BY_INDEX {
                let sums = info.profiles.iter().find(|sums| sums.profile == profile);
                let Some(sums) = sums else {
                    continue;
                };
                let entry = SpaceEntry {
                    flags: (types | profile.flag()).bits(),
                    total_bytes: sums.total,
                    used_bytes: sums.used,
                };
                entries.push(entry, GFP_KERNEL)?;
            }
        }
    }
    let (size, left) = fs.space().global_reserve();
    let reserve = SpaceEntry {
        flags: BlockGroupFlags::SPACE_INFO_GLOBAL_RSV.bits(),
        total_bytes: size,
        used_bytes: size.saturating_sub(left),
    };
    entries.push(reserve, GFP_KERNEL)?;
    Ok(entries)
}

/// `SPACE_INFO`: sizes of block groups by kind and profile.
pub(crate) fn space_info(fs: &Fs, arg: usize) -> Result<isize> {
    let mut args: SpaceArgs = user::read(arg)?;
    let entries = entries(fs)?;
    if args.space_slots == 0 {
        args.total_spaces = u64::try_from(entries.len())?;
        user::write(arg, &args)?;
        return Ok(0);
    }
    let room = usize::try_from(args.space_slots).unwrap_or(usize::MAX);
    let count = entries.len().min(room);
    let given = entries.get(..count).ok_or(EINVAL)?;
    let behind = arg.checked_add(size_of::<SpaceArgs>()).ok_or(EFAULT)?;
    user::write(behind, given)?;
    args.total_spaces = u64::try_from(count)?;
    user::write(arg, &args)?;
    Ok(0)
}
