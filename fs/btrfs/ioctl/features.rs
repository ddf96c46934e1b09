// SPDX-License-Identifier: GPL-2.0

//! Features and the label: `GET_FEATURES`, `GET_SUPPORTED_FEATURES`, `FS_IOC_GETFSLABEL`.

use super::user;
use crate::{mount::Fs, volume::superblock};
use btrfs_format::superblock::LABEL_SIZE;
use kernel::{ioctl::_IOR, prelude::*};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `BTRFS_IOC_GET_FEATURES`.
pub(crate) const GET_FEATURES: u32 = _IOR::<Features>(0x94, 57);
/// `BTRFS_IOC_GET_SUPPORTED_FEATURES`.
pub(crate) const GET_SUPPORTED_FEATURES: u32 = _IOR::<[Features; 3]>(0x94, 57);
/// `FS_IOC_GETFSLABEL`.
pub(crate) const GET_FSLABEL: u32 = _IOR::<[u8; LABEL_SIZE]>(0x94, 49);

/// `struct btrfs_ioctl_feature_flags`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Features {
    compat: u64,
    compat_ro: u64,
    incompat: u64,
}

/// `GET_FEATURES`: what the file system has.
pub(crate) fn get_features(fs: &Fs, arg: usize) -> Result<isize> {
    let superblock = fs.volume().superblock();
    let features = Features {
        compat: superblock.compat_flags.get(),
        compat_ro: superblock.compat_ro().bits(),
        incompat: superblock.incompat().bits(),
    };
    user::write(arg, &features)?;
    Ok(0)
}

/// `GET_SUPPORTED_FEATURES`: what any file system may have, what may be turned on while it is
/// mounted, and what may be turned off.
pub(crate) fn get_supported_features(arg: usize) -> Result<isize> {
    let supported = Features {
        compat: 0,
        compat_ro: superblock::SUPPORTED_RO.bits(),
        incompat: superblock::SUPPORTED.bits(),
    };
    let safe_set = Features {
        compat: 0,
        compat_ro: 0,
        incompat: superblock::SAFE_SET.bits(),
    };
    let safe_clear = Features {
        compat: 0,
        compat_ro: 0,
        incompat: 0,
    };
    user::write(arg, &[supported, safe_set, safe_clear])?;
    Ok(0)
}

/// `FS_IOC_GETFSLABEL`: the label, with zeroes behind it.
pub(crate) fn get_fslabel(fs: &Fs, arg: usize) -> Result<isize> {
    let mut label = [0; LABEL_SIZE];
    for (to, from) in label.iter_mut().zip(fs.volume().superblock().label()) {
        *to = *from;
    }
    user::write(arg, &label)?;
    Ok(0)
}
