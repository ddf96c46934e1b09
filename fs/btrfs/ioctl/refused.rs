// SPDX-License-Identifier: GPL-2.0

//! Commands that change a file system, or that are not there yet.
//!
//! A file system that is read only answers `EROFS` to those that change it, behind the checks of
//! what the caller may do. Those that are not there yet are `EOPNOTSUPP`; Documentation/status.md
//! lists them.

use crate::vfs::Btrfs;
use kernel::{
    ioctl::{_IOR, _IOW, _IOWR},
    prelude::*,
};
use kfs::fs::{capable, Capability, File};

/// Who may use a command, before it is refused.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    /// `CAP_SYS_ADMIN`, else `EPERM`.
    Admin,
    /// Whoever has a directory open; `ENOTDIR` for other files.
    InDirectory,
    Anybody,
}

/// `struct btrfs_ioctl_vol_args` and its second version.
type VolArgs = [u8; 4096];

/// Number, who may use it, and the answer.
type Refusal = (u32, Who, Error);

const REFUSED: &[Refusal] = &[
    // FS_IOC_ENABLE_VERITY
    (_IOW::<[u8; 128]>(0x66, 133), Who::Anybody, EROFS),
    // SNAP_CREATE, SNAP_CREATE_V2
    (_IOW::<VolArgs>(0x94, 1), Who::InDirectory, EROFS),
    (_IOW::<VolArgs>(0x94, 23), Who::InDirectory, EROFS),
    // RESIZE, ADD_DEV, RM_DEV, RM_DEV_V2
    (_IOW::<VolArgs>(0x94, 3), Who::Admin, EROFS),
    (_IOW::<VolArgs>(0x94, 10), Who::Admin, EROFS),
    (_IOW::<VolArgs>(0x94, 11), Who::Admin, EROFS),
    (_IOW::<VolArgs>(0x94, 58), Who::Admin, EROFS),
    // BALANCE_V2
    (_IOWR::<[u8; 1024]>(0x94, 32), Who::Admin, EROFS),
    // QUOTA_CTL, QGROUP_ASSIGN, QGROUP_CREATE, QGROUP_LIMIT, QUOTA_RESCAN
    (_IOWR::<[u8; 16]>(0x94, 40), Who::Admin, EROFS),
    (_IOW::<[u8; 24]>(0x94, 41), Who::Admin, EROFS),
    (_IOW::<[u8; 16]>(0x94, 42), Who::Admin, EROFS),
    (_IOR::<[u8; 48]>(0x94, 43), Who::Admin, EROFS),
    (_IOW::<[u8; 64]>(0x94, 44), Who::Admin, EROFS),
    // SET_FEATURES
    (_IOW::<[u8; 48]>(0x94, 57), Who::Admin, EROFS),
    // SCRUB, SEND, SUBVOL_SYNC_WAIT
    (_IOWR::<[u8; 1024]>(0x94, 27), Who::Admin, EOPNOTSUPP),
    (_IOW::<[u8; 72]>(0x94, 38), Who::Admin, EOPNOTSUPP),
    (_IOW::<[u8; 16]>(0x94, 65), Who::Anybody, EOPNOTSUPP),
];

/// Why `cmd` is refused; `ENOTTY` if there is no such command.
pub(crate) fn refuse(file: &File<Btrfs>, cmd: u32) -> Error {
    let Some((_, who, answer)) = REFUSED.iter().find(|(number, ..)| *number == cmd) else {
        return ENOTTY;
    };
    let inode = file.inode();
    match who {
        Who::Admin if !capable(Capability::SysAdmin) => EPERM,
        Who::InDirectory if !inode.is_dir() => ENOTDIR,
        _ if *answer == EROFS && !inode.super_block().is_rdonly() => EOPNOTSUPP,
        _ => *answer,
    }
}
