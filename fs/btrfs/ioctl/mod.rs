// SPDX-License-Identifier: GPL-2.0

//! The ioctls of files and directories.
//!
//! Each family of commands has a file; this one only finds the right one. What is not
//! there yet, or changes what is read only, is refused (`refused`).

#![forbid(unsafe_code)]

mod change;
mod container;
mod csums;
mod defrag;
mod device;
mod encoded;
pub(crate) mod features;
mod names;
mod owners;
mod refused;
mod search;
mod services;
mod space;
mod subvol;
mod trim;
pub(crate) mod user;

use kernel::{
    ioctl::{_IOR, _IOWR},
    prelude::*,
};
use kfs::fs::{capable, Capability, File};

use crate::vfs::Btrfs;
use encoded::Layout;

/// `FS_IOC_GETVERSION`: the generation of the inode.
const GETVERSION: u32 = _IOR::<usize>(0x76, 1);

/// `FS_IOC_MEASURE_VERITY`: the digest of a file with verity.
const MEASURE_VERITY: u32 = _IOWR::<[u8; 4]>(0x66, 134);
/// `FS_IOC_READ_VERITY_METADATA`.
const READ_VERITY_METADATA: u32 = _IOWR::<[u64; 5]>(0x66, 135);

/// `EPERM` for whoever does not administer the machine (`CAP_SYS_ADMIN`).
fn require_admin() -> Result {
    match capable(Capability::SysAdmin) {
        true => Ok(()),
        false => Err(EPERM),
    }
}

fn small(vectors: bool) -> Layout {
    Layout::Small { vectors }
}

/// Runs the command `cmd` of a 32-bit program on `file`.
pub(crate) fn run_compat(file: &File<Btrfs>, cmd: u32, arg: usize) -> Result<isize> {
    match cmd {
        encoded::ENCODED_READ_32 => encoded::encoded_read(file, arg, small(true)),
        encoded::ENCODED_WRITE_32 => encoded::encoded_write(file, arg, small(true)),
        _ => run(file, cmd, arg),
    }
}

/// Runs the command `cmd` that came by io_uring. `EINVAL`: there is none such.
pub(crate) fn run_uring(file: &File<Btrfs>, cmd: u32, arg: usize, compat: bool) -> Result<isize> {
    // What it looks like is up to the program, whatever it calls the command.
    let layout = match compat {
        true => small(true),
        false => Layout::Native,
    };
    match cmd {
        encoded::ENCODED_READ | encoded::ENCODED_READ_32 => {
            encoded::encoded_read(file, arg, layout)
        }
        encoded::ENCODED_WRITE | encoded::ENCODED_WRITE_32 => {
            encoded::encoded_write(file, arg, layout)
        }
        _ => Err(EINVAL),
    }
}

/// Runs the command `cmd` on `file`. `ENOTTY`: there is no such command.
pub(crate) fn run(file: &File<Btrfs>, cmd: u32, arg: usize) -> Result<isize> {
    let inode = file.inode();
    if inode.data().is_stub() {
        return Err(ENOTTY);
    }
    let fs = inode.super_block().data();
    match cmd {
        change::SUBVOL_CREATE => change::subvol_create(file, arg),
        change::SUBVOL_CREATE_V2 => change::subvol_create_v2(file, arg),
        change::SNAP_DESTROY => change::snap_destroy(file, arg),
        change::SNAP_DESTROY_V2 => change::snap_destroy_v2(file, arg),
        change::SUBVOL_SETFLAGS => change::setflags(file, arg),
        change::DEFAULT_SUBVOL => change::default_subvol(file, arg),
        change::SET_RECEIVED_SUBVOL => change::set_received(file, arg),
        change::SET_FSLABEL => change::set_fslabel(file, fs, arg),
        csums::GET_CSUMS => csums::get_csums(file, arg),
        defrag::DEFRAG => defrag::defrag_file(file),
        defrag::DEFRAG_RANGE => defrag::defrag_range(file, arg),
        device::DEV_INFO => device::dev_info(fs, arg),
        device::FS_INFO => device::fs_info(fs, arg),
        device::GET_DEV_STATS => device::get_dev_stats(fs, arg),
        encoded::ENCODED_READ => encoded::encoded_read(file, arg, Layout::Native),
        encoded::ENCODED_WRITE => encoded::encoded_write(file, arg, Layout::Native),
        encoded::ENCODED_READ_32 => encoded::encoded_read(file, arg, small(false)),
        encoded::ENCODED_WRITE_32 => encoded::encoded_write(file, arg, small(false)),
        features::GET_FEATURES => features::get_features(fs, arg),
        features::GET_SUPPORTED_FEATURES => features::get_supported_features(arg),
        features::GET_FSLABEL => features::get_fslabel(fs, arg),
        names::INO_LOOKUP => names::ino_lookup(fs, inode, arg),
        names::INO_LOOKUP_USER => names::ino_lookup_user(fs, file, arg),
        names::INO_PATHS => names::ino_paths(inode, arg),
        owners::LOGICAL_INO => owners::logical_ino(fs, arg),
        owners::LOGICAL_INO_V2 => owners::logical_ino_v2(fs, arg),
        search::TREE_SEARCH => search::tree_search(fs, inode, arg),
        search::TREE_SEARCH_V2 => search::tree_search_v2(fs, inode, arg),
        space::SPACE_INFO => space::space_info(fs, arg),
        subvol::GET_SUBVOL_INFO => subvol::get_info(fs, inode, arg),
        subvol::GET_SUBVOL_INFO_32 => subvol::get_info_32(fs, inode, arg),
        subvol::GET_SUBVOL_ROOTREF => subvol::get_rootref(fs, inode, arg),
        subvol::SUBVOL_GETFLAGS => subvol::getflags(inode, arg),
        services::BALANCE_CTL => services::balance_ctl(fs, arg),
        services::BALANCE_PROGRESS => services::balance_progress(fs, arg),
        services::DEV_REPLACE => services::dev_replace(fs, arg),
        services::QUOTA_RESCAN_STATUS => services::quota_rescan_status(fs, arg),
        services::QUOTA_RESCAN_WAIT => services::quota_rescan_wait(),
        services::SCRUB_CANCEL | services::SCRUB_PROGRESS => services::no_scrub(),
        services::START_SYNC => services::start_sync(fs, arg),
        services::SYNC => services::sync(inode.super_block()),
        services::SHUTDOWN => services::shutdown(inode.super_block(), arg),
        services::WAIT_SYNC => services::wait_sync(fs, arg),
        MEASURE_VERITY => file.measure_verity(arg),
        READ_VERITY_METADATA => file.read_verity_metadata(arg),
        trim::FITRIM => trim::fitrim(fs, arg),
        GETVERSION => user::write(arg, &inode.generation()).map(|()| 0),
        _ => Err(refused::refuse(file, cmd)),
    }
}
