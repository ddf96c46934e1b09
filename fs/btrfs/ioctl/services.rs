// SPDX-License-Identifier: GPL-2.0

//! How the services stand that work on a file system: `SYNC` and its kin, `BALANCE_PROGRESS`,
//! `SCRUB_PROGRESS`, `DEV_REPLACE`, `QUOTA_RESCAN_STATUS`.
//!
//! None of them runs on a file system that is read only; what an earlier mount left behind is in
//! the trees and is told from there.

use super::{require_admin, user};
use crate::mount::Fs;
use crate::vfs::BtrfsSuper;
use btrfs_format::{
    balance::{BalanceArgs, BalanceItem},
    device::{DevReplaceItem, DevReplaceState},
    key::{item, Key},
    qgroup::QgroupStatusItem,
    types::{objectid, DevId, Generation},
};
use kernel::{
    ioctl::{_IO, _IOR, _IOW, _IOWR},
    prelude::*,
};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `BTRFS_IOC_SYNC`.
pub(crate) const SYNC: u32 = _IO(0x94, 8);
/// `FS_IOC_SHUTDOWN`.
pub(crate) const SHUTDOWN: u32 = _IOR::<u32>(0x58, 125);
/// `BTRFS_IOC_WAIT_SYNC`.
pub(crate) const WAIT_SYNC: u32 = _IOW::<u64>(0x94, 22);
/// `BTRFS_IOC_START_SYNC`.
pub(crate) const START_SYNC: u32 = _IOR::<u64>(0x94, 24);
/// `BTRFS_IOC_SCRUB_CANCEL`.
pub(crate) const SCRUB_CANCEL: u32 = _IO(0x94, 28);
/// `BTRFS_IOC_SCRUB_PROGRESS`.
pub(crate) const SCRUB_PROGRESS: u32 = _IOWR::<[u8; 1024]>(0x94, 29);
/// `BTRFS_IOC_BALANCE_CTL`.
pub(crate) const BALANCE_CTL: u32 = _IOW::<i32>(0x94, 33);
/// `BTRFS_IOC_BALANCE_PROGRESS`.
pub(crate) const BALANCE_PROGRESS: u32 = _IOR::<Balance>(0x94, 34);
/// `BTRFS_IOC_QUOTA_RESCAN_STATUS`.
pub(crate) const QUOTA_RESCAN_STATUS: u32 = _IOR::<RescanStatus>(0x94, 45);
/// `BTRFS_IOC_QUOTA_RESCAN_WAIT`.
pub(crate) const QUOTA_RESCAN_WAIT: u32 = _IO(0x94, 46);
/// `BTRFS_IOC_DEV_REPLACE`.
pub(crate) const DEV_REPLACE: u32 = _IOWR::<[u8; 2600]>(0x94, 53);

/// `SYNC`: what was changed is on the disks. Nothing was.
pub(crate) fn sync(sb: &BtrfsSuper) -> Result<isize> {
    if !sb.is_rdonly() {
        sb.sync_inodes();
        sb.data().txn().commit()?;
    }
    Ok(0)
}

/// `FS_IOC_SHUTDOWN`: cuts the file system off, by default with all that was written on disk. Where
/// a log would be flushed, the transaction is committed.
pub(crate) fn shutdown(sb: &BtrfsSuper, arg: usize) -> Result<isize> {
    const DEFAULT: u32 = 0;
    const LOG_FLUSH: u32 = 1;
    const NO_LOG_FLUSH: u32 = 2;
    require_admin()?;
    let how: u32 = user::read(arg)?;
    let fs = sb.data();
    if how <= NO_LOG_FLUSH && fs.check_usable().is_err() {
        return Ok(0);
    }
    match how {
        DEFAULT | LOG_FLUSH if !sb.is_rdonly() => {
            if how == DEFAULT {
                sb.sync_inodes();
            }
            fs.txn().commit()?;
        }
        DEFAULT | LOG_FLUSH | NO_LOG_FLUSH => {}
        _ => return Err(EINVAL),
    }
    fs.shut_down();
    Ok(0)
}

/// `START_SYNC`: tells the transaction to wait for, which is the last one.
pub(crate) fn start_sync(fs: &Fs, arg: usize) -> Result<isize> {
    let transid = match fs.volume().is_writable() {
        true => fs.txn().request(),
        false => fs.generation(),
    };
    if arg != 0 {
        user::write(arg, &transid.get())?;
    }
    Ok(0)
}

/// `WAIT_SYNC`: waits for a transaction; 0 stands for the running one. `EINVAL` for one that is
/// yet to come.
pub(crate) fn wait_sync(fs: &Fs, arg: usize) -> Result<isize> {
    let transid: u64 = match arg {
        0 => 0,
        _ => user::read(arg)?,
    };
    if transid <= fs.generation().get() && (transid != 0 || !fs.volume().is_writable()) {
        return Ok(0);
    }
    if transid > fs.txn().newest().get() || !fs.volume().is_writable() {
        return Err(EINVAL);
    }
    match transid {
        0 => fs.txn().wait_for_wanted()?,
        transid => fs.txn().wait(Generation(transid))?,
    }
    Ok(0)
}

/// `SCRUB_PROGRESS` and `SCRUB_CANCEL`: `ENOTCONN`, no scrub is running.
pub(crate) fn no_scrub() -> Result<isize> {
    require_admin()?;
    Err(ENOTCONN)
}

/// `struct btrfs_balance_args`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Filters {
    profiles: u64,
    usage_min: u32,
    usage_max: u32,
    devid: u64,
    pstart: u64,
    pend: u64,
    vstart: u64,
    vend: u64,
    target: u64,
    flags: u64,
    limit_min: u32,
    limit_max: u32,
    stripes_min: u32,
    stripes_max: u32,
    unused: [u64; 6],
}

impl From<&BalanceArgs> for Filters {
    fn from(args: &BalanceArgs) -> Self {
        Self {
            profiles: args.profiles.get(),
            usage_min: args.usage_min.get(),
            usage_max: args.usage_max.get(),
            devid: args.devid.get(),
            pstart: args.pstart.get(),
            pend: args.pend.get(),
            vstart: args.vstart.get(),
            vend: args.vend.get(),
            target: args.target.get(),
            flags: args.flags.get(),
            limit_min: args.limit_min.get(),
            limit_max: args.limit_max.get(),
            stripes_min: args.stripes_min.get(),
            stripes_max: args.stripes_max.get(),
            unused: [0; 6],
        }
    }
}

/// `struct btrfs_ioctl_balance_args`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Balance {
    flags: u64,
    state: u64,
    data: Filters,
    meta: Filters,
    sys: Filters,
    /// Chunks expected, looked at, moved: known while a balance runs.
    progress: [u64; 3],
    unused: [u64; 72],
}

const _: () = assert!(size_of::<Balance>() == 1024);

/// The balance that an earlier mount did not finish, if there is one.
fn balance(fs: &Fs) -> Result<Option<BalanceItem>> {
    let key = Key {
        objectid: objectid::BALANCE,
        item_type: item::TEMPORARY_ITEM,
        offset: 0,
    };
    let found = fs.roots().tree().get(key)?;
    Ok(found.and_then(|data| BalanceItem::from_bytes(&data).cloned()))
}

/// `BALANCE_PROGRESS`: a balance that is paused. `ENOTCONN` if there is none.
pub(crate) fn balance_progress(fs: &Fs, arg: usize) -> Result<isize> {
    require_admin()?;
    let item = balance(fs)?.ok_or(ENOTCONN)?;
    let told = KBox::new(
        Balance {
            flags: item.flags.get(),
            state: 0,
            data: (&item.data).into(),
            meta: (&item.meta).into(),
            sys: (&item.sys).into(),
            progress: [0; 3],
            unused: [0; 72],
        },
        GFP_KERNEL,
    )?;
    user::write(arg, &*told)?;
    Ok(0)
}

/// `BALANCE_CTL`: pauses (1) or cancels (2) a balance. `ENOTCONN` where none runs; one that is
/// paused can be cancelled only where the file system can be written (`EROFS`).
pub(crate) fn balance_ctl(fs: &Fs, command: usize) -> Result<isize> {
    require_admin()?;
    match (command, balance(fs)?) {
        (1, _) | (2, None) => Err(ENOTCONN),
        (2, Some(_)) => Err(EROFS),
        _ => Err(EINVAL),
    }
}

/// `struct btrfs_ioctl_quota_rescan_args`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct RescanStatus {
    flags: u64,
    progress: u64,
    reserved: [u64; 6],
}

/// The rescan runs (`BTRFS_QGROUP_STATUS_FLAG_RESCAN`).
const RESCAN: u64 = 1 << 1;

/// `QUOTA_RESCAN_STATUS`: whether quotas are being counted anew, and how far that has got.
pub(crate) fn quota_rescan_status(fs: &Fs, arg: usize) -> Result<isize> {
    require_admin()?;
    let key = Key {
        objectid: 0,
        item_type: item::QGROUP_STATUS,
        offset: 0,
    };
    let mut status = RescanStatus {
        flags: 0,
        progress: 0,
        reserved: [0; 6],
    };
    if let Some(quota) = &fs.roots().standard().quota {
        let found = quota.get(key)?;
        let found = found.as_deref().and_then(QgroupStatusItem::from_prefix);
        if let Some((item, _)) = found.filter(|(item, _)| item.flags.get() & RESCAN != 0) {
            status.flags = 1;
            status.progress = item.rescan.get();
        }
    }
    user::write(arg, &status)?;
    Ok(0)
}

/// `QUOTA_RESCAN_WAIT`: returns when no rescan runs.
pub(crate) fn quota_rescan_wait() -> Result<isize> {
    require_admin()?;
    Ok(0)
}

/// The part of `struct btrfs_ioctl_dev_replace_args` that says how a replace stands.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Replace {
    command: u64,
    result: u64,
    state: u64,
    /// In thousandths.
    progress: u64,
    time_started: u64,
    time_stopped: u64,
    write_errors: u64,
    uncorrectable_read_errors: u64,
}

/// `DEV_REPLACE`: starts (0) or cancels (2) a replace, which needs a file system that can be
/// written (`EROFS`), or tells its state (1).
pub(crate) fn dev_replace(fs: &Fs, arg: usize) -> Result<isize> {
    require_admin()?;
    let mut replace: Replace = user::read(arg)?;
    match replace.command {
        0 | 2 => return Err(EROFS),
        1 => {}
        _ => return Err(EINVAL),
    }
    let key = Key {
        objectid: 0,
        item_type: item::DEV_REPLACE,
        offset: 0,
    };
    let found = match &fs.roots().standard().device {
        Some(devices) => devices.get(key)?,
        None => None,
    };
    let item = found.as_deref().and_then(DevReplaceItem::parse);
    let field = |get: fn(&DevReplaceItem) -> u64| item.map_or(0, get);
    replace.result = 0;
    replace.state = field(|item| item.replace_state.get());
    replace.progress = match item {
        Some(item) => progress(fs, item),
        None => 0,
    };
    replace.time_started = field(|item| item.time_started.get());
    replace.time_stopped = field(|item| item.time_stopped.get());
    replace.write_errors = field(|item| item.num_write_errors.get());
    replace.uncorrectable_read_errors = field(|item| item.num_uncorrectable_read_errors.get());
    user::write(arg, &replace)?;
    Ok(0)
}

/// How much of the source has been copied, in thousandths.
fn progress(fs: &Fs, item: &DevReplaceItem) -> u64 {
    match DevReplaceState::from_raw(item.replace_state.get()) {
        Some(DevReplaceState::Finished) => 1000,
        Some(DevReplaceState::Started | DevReplaceState::Suspended) => {
            let source = DevId(item.src_devid.get());
            let size = fs.volume().find_device(source, None);
            let size = size.map_or(0, |device| device.state().total_bytes / 1000);
            let copied = item.cursor_left.get().checked_div(size);
            copied.unwrap_or(0).min(1000)
        }
        _ => 0,
    }
}
