// SPDX-License-Identifier: GPL-2.0

//! What a file system and its devices are: `FS_INFO`, `DEV_INFO`, `GET_DEV_STATS`.

use super::user::Arg;
use crate::{mount::Fs, volume::Device};
use btrfs_format::{device::DevStat, DevId, Uuid};
use kernel::{
    ioctl::{_IOR, _IOWR},
    prelude::*,
    sync::Arc,
};
use kfs::{
    fs::{capable, Capability},
    task::{current_tid, Comm},
};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The letter of btrfs's commands.
const MAGIC: u32 = 0x94;

/// `BTRFS_IOC_DEV_INFO`.
pub(crate) const DEV_INFO: u32 = _IOWR::<DevInfo>(MAGIC, 30);
/// `BTRFS_IOC_FS_INFO`.
pub(crate) const FS_INFO: u32 = _IOR::<FsInfo>(MAGIC, 31);
/// `BTRFS_IOC_GET_DEV_STATS`.
pub(crate) const GET_DEV_STATS: u32 = _IOWR::<DevStats>(MAGIC, 52);

/// `struct btrfs_ioctl_fs_info_args`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct FsInfo {
    max_id: u64,
    num_devices: u64,
    fsid: Uuid,
    nodesize: u32,
    sectorsize: u32,
    clone_alignment: u32,
    csum_type: u16,
    csum_size: u16,
    flags: u64,
    generation: u64,
    metadata_uuid: Uuid,
    reserved: [u8; 944],
}

const _: () = assert!(size_of::<FsInfo>() == 1024);

/// Which members of [`FsInfo`] are wanted, or given.
mod fs_info_flag {
    pub(super) const CSUM_INFO: u64 = 1 << 0;
    pub(super) const GENERATION: u64 = 1 << 1;
    pub(super) const METADATA_UUID: u64 = 1 << 2;
}

/// `struct btrfs_ioctl_dev_info_args`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct DevInfo {
    devid: u64,
    uuid: Uuid,
    bytes_used: u64,
    total_bytes: u64,
    fsid: Uuid,
    unused: [u64; 377],
    path: [u8; 1024],
}

const _: () = assert!(size_of::<DevInfo>() == 4096);

/// `struct btrfs_ioctl_get_dev_stats`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct DevStats {
    devid: u64,
    nr_items: u64,
    flags: u64,
    values: [u64; DevStat::ALL.len()],
    unused: [u64; 121],
}

const _: () = assert!(size_of::<DevStats>() == 1032);

/// The counters become 0.
const DEV_STATS_RESET: u64 = 1 << 0;

/// `FS_INFO`: sizes, UUIDs, number of devices.
pub(crate) fn fs_info(fs: &Fs, arg: usize) -> Result<isize> {
    let volume = fs.volume();
    let identity = volume.identity();
    let geometry = volume.geometry();
    let mut args = Arg::<FsInfo>::read(arg)?;
    let info = args.get_mut()?;
    let wanted = info.flags;
    *info = zerocopy::FromZeros::new_zeroed();
    for device in volume.devices()?.iter() {
        if device.state().fsid == identity.metadata_uuid {
            info.num_devices = info.num_devices.saturating_add(1);
            info.max_id = info.max_id.max(device.devid().get());
        }
    }
    info.fsid = identity.fsid;
    info.nodesize = geometry.nodesize;
    info.sectorsize = geometry.sectorsize;
    info.clone_alignment = geometry.sectorsize;
    if wanted & fs_info_flag::CSUM_INFO != 0 {
        info.csum_type = geometry.csum_type.raw();
        info.csum_size = u16::try_from(geometry.csum_size)?;
        info.flags |= fs_info_flag::CSUM_INFO;
    }
    if wanted & fs_info_flag::GENERATION != 0 {
        info.generation = fs.generation().get();
        info.flags |= fs_info_flag::GENERATION;
    }
    if wanted & fs_info_flag::METADATA_UUID != 0 {
        info.metadata_uuid = identity.metadata_uuid;
        info.flags |= fs_info_flag::METADATA_UUID;
    }
    args.write_back()?;
    Ok(0)
}

/// `DEV_INFO`: a device by its id, and by its UUID where that is given. `ENODEV` if there is
/// none.
pub(crate) fn dev_info(fs: &Fs, arg: usize) -> Result<isize> {
    let mut args = Arg::<DevInfo>::read(arg)?;
    let info = args.get_mut()?;
    let uuid = (!info.uuid.is_nil()).then_some(info.uuid);
    let device = find(fs, info.devid, uuid)?;
    let state = device.state();
    info.devid = device.devid().get();
    info.uuid = device.uuid();
    info.bytes_used = state.bytes_used;
    info.total_bytes = state.total_bytes;
    info.fsid = fs.volume().users_fsid(&device);
    info.path.fill(0);
    // The last byte stays a terminator.
    let last = info.path.len().saturating_sub(1);
    device.with_path(|path| {
        for (to, from) in info.path.iter_mut().take(last).zip(path) {
            *to = *from;
        }
    });
    args.write_back()?;
    Ok(0)
}

fn find(fs: &Fs, devid: u64, uuid: Option<Uuid>) -> Result<Arc<Device>> {
    fs.volume().find_device(DevId(devid), uuid).ok_or(ENODEV)
}

/// `GET_DEV_STATS`: the error counters of a device; to reset them takes `CAP_SYS_ADMIN`.
pub(crate) fn get_dev_stats(fs: &Fs, arg: usize) -> Result<isize> {
    let mut args = Arg::<DevStats>::read(arg)?;
    let stats = args.get_mut()?;
    let reset = stats.flags & DEV_STATS_RESET != 0;
    if reset && !capable(Capability::SysAdmin) {
        return Err(EPERM);
    }
    let device = find(fs, stats.devid, None).inspect_err(|_| {
        fs.log()
            .warn_limited(format_args!("get dev_stats failed, device not found"));
    })?;
    if !device.stats().is_loaded() {
        fs.log()
            .warn_limited(format_args!("get dev_stats failed, not yet valid"));
        return Err(ENODEV);
    }
    let now = if reset {
        fs.log().info(format_args!(
            "device stats zeroed by {} ({})",
            Comm::current(),
            current_tid()
        ));
        device.stats().take()
    } else {
        device.stats().get()
    };
    let wanted = usize::try_from(stats.nr_items).unwrap_or(usize::MAX);
    for (value, counter) in stats.values.iter_mut().zip(now.0).take(wanted) {
        *value = u64::from(counter);
    }
    let known = u64::try_from(stats.values.len())?;
    stats.nr_items = stats.nr_items.min(known);
    args.write_back()?;
    Ok(0)
}
