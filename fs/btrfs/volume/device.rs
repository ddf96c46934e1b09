// SPDX-License-Identifier: GPL-2.0

//! A device of an open file system.

use super::{
    log::{limited, Log},
    registry::Member,
    stats::{DevStatValues, DevStats},
};
use btrfs_format::{
    device::{DevItem, DevStat},
    DevId, Generation, Uuid,
};
use core::fmt;
use kernel::{
    new_spinlock,
    prelude::*,
    sync::{
        atomic::{ordering::Relaxed, Atomic},
        Arc, SpinLock,
    },
};
use kfs::block::{BlockDevice, DevNum, OpenMode};

/// A device of an open file system: one that is there, or one that is missing.
///
/// One that is there can fail, see [`Device::is_failed`], or go, and then is missing until the file
/// system is opened anew.
#[pin_data]
pub(crate) struct Device {
    devid: DevId,
    uuid: Uuid,
    /// The device node; none of a device that was missing from the beginning.
    open: Option<OpenDevice>,
    /// The kernel took the device away.
    gone: Atomic<bool>,
    /// Error counters.
    stats: DevStats,
    /// A device item or a chunk names it.
    in_metadata: Atomic<bool>,
    /// Its last flush or superblock failed.
    failed: Atomic<bool>,
    #[pin]
    state: SpinLock<DeviceState>,
    /// The device item of the last commit.
    #[pin]
    committed: SpinLock<DevItem>,
}

/// What a device has that is there.
pub(super) struct OpenDevice {
    pub(super) bdev: Arc<BlockDevice>,
    /// Knows the path, which scans may change.
    pub(super) member: Arc<Member>,
    /// The generation of its superblock when it was opened.
    pub(super) generation: Generation,
    /// It may be written: opened for that, and not part of a seed.
    pub(super) writable: bool,
}

/// What the device item says.
#[derive(Clone, Copy)]
pub(crate) struct DeviceState {
    /// The metadata UUID of the file system that the device belongs to: a seed's differs from
    /// that of the file system that is open.
    pub(crate) fsid: Uuid,
    /// Size that the file system uses, in bytes.
    pub(crate) total_bytes: u64,
    /// Bytes that chunks occupy.
    pub(crate) bytes_used: u64,
    /// Whether there is a device item for it.
    pub(crate) item_found: bool,
}

impl Device {
    /// Makes a device that is there (`open`) or missing.
    pub(super) fn new(
        devid: DevId,
        uuid: Uuid,
        fsid: Uuid,
        open: Option<OpenDevice>,
    ) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                devid,
                uuid,
                open,
                gone: Atomic::new(false),
                stats: DevStats::new(),
                in_metadata: Atomic::new(false),
                failed: Atomic::new(false),
                committed <- new_spinlock!(DevItem::zeroed()),
                state <- new_spinlock!(DeviceState {
                    fsid,
                    total_bytes: 0,
                    bytes_used: 0,
                    item_found: false,
                }),
            }),
            GFP_KERNEL,
        )
    }

    /// Its id within the file system.
    pub(crate) fn devid(&self) -> DevId {
        self.devid
    }

    /// Its own UUID.
    pub(crate) fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// What it has if it is there.
    fn open(&self) -> Option<&OpenDevice> {
        self.open.as_ref().filter(|_| !self.gone.load(Relaxed))
    }

    /// The block device; `None` if it is missing.
    pub(crate) fn bdev(&self) -> Option<&Arc<BlockDevice>> {
        self.open().map(|open| &open.bdev)
    }

    /// Whether it is not there.
    pub(crate) fn is_missing(&self) -> bool {
        self.open().is_none()
    }

    /// Notes that the kernel took the device away. Whether it was there before.
    pub(super) fn set_gone(&self) -> bool {
        let before = self.gone.xchg(true, Relaxed);
        self.open.is_some() && !before
    }

    /// The number of the device node, also when the device is gone.
    pub(super) fn node(&self) -> Option<DevNum> {
        self.open.as_ref().map(|open| open.bdev.dev())
    }

    /// Whether it may be written.
    pub(crate) fn is_writable(&self) -> bool {
        self.open().is_some_and(|open| open.writable)
    }

    /// The block device to write to; `None` if it is missing, not to be written, or not opened
    /// for that.
    pub(super) fn bdev_for_write(&self) -> Option<&Arc<BlockDevice>> {
        let open = self.open().filter(|open| open.writable)?;
        (open.bdev.mode() == OpenMode::ReadWrite).then_some(&open.bdev)
    }

    /// Gets ready to be written, where that is possible at all.
    pub(super) fn allow_writes(&self) -> Result {
        match self.open() {
            Some(open) if open.writable => open.bdev.allow_writes(),
            _ => Ok(()),
        }
    }

    /// Whether it may lack anything of what the last commit (or the one that is under way) wrote:
    /// its last flush or superblock failed.
    pub(crate) fn is_failed(&self) -> bool {
        self.failed.load(Relaxed)
    }

    pub(super) fn set_failed(&self, failed: bool) {
        self.failed.store(failed, Relaxed);
    }

    /// Whether its copies do not count: it is missing or failed.
    pub(crate) fn is_lost(&self) -> bool {
        self.is_missing() || self.is_failed()
    }

    /// The device item of the last commit.
    pub(super) fn committed_item(&self) -> DevItem {
        *self.committed.lock()
    }

    pub(super) fn set_committed_item(&self, item: &DevItem) {
        *self.committed.lock() = *item;
    }

    /// The device item as it should be now.
    pub(crate) fn current_item(&self) -> DevItem {
        let state = self.state();
        DevItem {
            total_bytes: state.total_bytes.into(),
            bytes_used: state.bytes_used.into(),
            ..self.committed_item()
        }
    }

    /// Adds to (or takes from) the bytes that chunks occupy.
    pub(super) fn change_bytes_used(&self, bytes: i64) {
        let mut state = self.state.lock();
        state.bytes_used = state.bytes_used.saturating_add_signed(bytes);
    }

    /// The generation of its superblock when it was opened; 0 of a missing one.
    pub(crate) fn generation(&self) -> Generation {
        self.open
            .as_ref()
            .map_or(Generation(0), |open| open.generation)
    }

    /// Error counters.
    pub(crate) fn stats(&self) -> &DevStats {
        &self.stats
    }

    /// What its device item says.
    pub(crate) fn state(&self) -> DeviceState {
        *self.state.lock()
    }

    /// Whether the file system uses it: a device item or a chunk names it.
    pub(crate) fn in_metadata(&self) -> bool {
        self.in_metadata.load(Relaxed)
    }

    pub(super) fn set_in_metadata(&self) {
        self.in_metadata.store(true, Relaxed);
    }

    /// Takes over what a device item says.
    pub(super) fn set_item(&self, item: &DevItem) {
        let mut state = self.state.lock();
        state.fsid = item.fsid;
        state.total_bytes = item.total_bytes.get();
        state.bytes_used = item.bytes_used.get();
        state.item_found = true;
        drop(state);
        self.set_committed_item(item);
        self.set_in_metadata();
    }

    /// The path in messages and ioctls.
    pub(crate) fn path(&self) -> DevicePath<'_> {
        DevicePath(self)
    }

    /// Runs `f` on the path of the device node, without terminator; empty if missing.
    pub(crate) fn with_path<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        match self.open() {
            Some(open) => open.member.with_path(f),
            None => f(b""),
        }
    }

    /// Counts an error and reports it.
    pub(crate) fn count(&self, stat: DevStat, log: &Log) {
        if let Some(values) = self.stats.count(stat) {
            limited!(log, Error, "bdev {} errs: {values}", self.path());
        }
    }

    /// Begins with the counters of the device tree, and says so if any is not 0.
    pub(super) fn load_stats(&self, stored: [u64; DevStat::ALL.len()], log: &Log) {
        self.stats.load(stored);
        let values: DevStatValues = self.stats.get();
        if !values.is_clean() {
            log.info(format_args!("bdev {} errs: {values}", self.path()));
        }
    }
}

/// Displays the path of a device.
pub(crate) struct DevicePath<'a>(&'a Device);

impl fmt::Display for DevicePath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.with_path(|path| {
            if path.is_empty() {
                f.write_str("<missing disk>")
            } else {
                super::log::write_bytes(f, path)
            }
        })
    }
}
