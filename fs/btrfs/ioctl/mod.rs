// SPDX-License-Identifier: GPL-2.0

//! The ioctls of files and directories.
//!
//! Each family of commands has a file; this one only finds the right one. What is not
//! there yet is `ENOTTY`.

#![forbid(unsafe_code)]

mod device;
pub(crate) mod features;
mod space;
pub(crate) mod user;

use kernel::prelude::*;
use kfs::fs::File;

use crate::vfs::Btrfs;

/// Runs the command `cmd` on `file`. `ENOTTY`: there is no such command.
pub(crate) fn run(file: &File<Btrfs>, cmd: u32, arg: usize) -> Result<isize> {
    let fs = file.inode().super_block().data();
    match cmd {
        device::DEV_INFO => device::dev_info(fs, arg),
        device::FS_INFO => device::fs_info(fs, arg),
        device::GET_DEV_STATS => device::get_dev_stats(fs, arg),
        features::GET_FEATURES => features::get_features(fs, arg),
        features::GET_SUPPORTED_FEATURES => features::get_supported_features(arg),
        features::GET_FSLABEL => features::get_fslabel(fs, arg),
        space::SPACE_INFO => space::space_info(fs, arg),
        _ => Err(ENOTTY),
    }
}
