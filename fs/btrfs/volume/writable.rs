// SPDX-License-Identifier: GPL-2.0

//! Whether a volume may be written, and whether what is left of its devices is enough for that.

use super::{device::Device, log::Log, Volume};
use btrfs_format::{
    profile::BlockGroupFlags,
    superblock::{Incompat, LABEL_SIZE},
};
use kernel::{
    prelude::*,
    sync::{atomic::ordering::Relaxed, Arc},
};
use kfs::{block::DevNum, log::Level};

/// `EACCES`, with a message, if none of a file system's devices can be written: they are
/// read-only, or it is a seed.
pub(super) fn check_any_writable<'a>(
    mut devices: impl Iterator<Item = &'a Arc<Device>>,
    log: &Log,
) -> Result {
    if devices.any(|device| device.is_writable()) {
        return Ok(());
    }
    log.error(format_args!(
        "no device can be written: read-only devices, or a seed, to which a device must be added"
    ));
    Err(EACCES)
}

impl Volume {
    /// Makes it read-only: from now on nothing is written, and nothing repaired. Writes that are
    /// under way are the caller's business.
    pub(crate) fn set_read_only(&self) {
        self.writable.store(false, Relaxed);
    }

    /// Makes it writable, as a remount does: devices that were opened for reading are written from
    /// now on.
    ///
    /// Errors, with a message: as for a writable mount. The features are the caller's business
    /// ([`super::superblock::check_features`]).
    pub(crate) fn set_writable(&self) -> Result {
        if self.is_writable() {
            return Ok(());
        }
        self.check_writable()?;
        for device in self.devices()?.iter() {
            device.allow_writes().inspect_err(|_| {
                self.log
                    .error(format_args!("device {} cannot be written", device.path()));
            })?;
        }
        self.writable.store(true, Relaxed);
        Ok(())
    }

    /// Checks, when all chunks are known, that the file system is one that can be written, and gets
    /// ready to allocate.
    ///
    /// Errors, with a message: `EACCES` if no device can be written, `EINVAL` if too many are
    /// missing, `EOPNOTSUPP` for what cannot be written yet, `EUCLEAN` if chunks overlap on a device.
    pub(super) fn check_writable(&self) -> Result {
        check_any_writable(self.devices()?.iter(), &self.log)?;
        if self.superblock().incompat().contains(Incompat::ZONED) {
            self.log
                .error(format_args!("writing zoned file systems is not supported"));
            return Err(EOPNOTSUPP);
        }
        let table = self.chunks.table().ok_or(EINVAL)?;
        let parity = BlockGroupFlags::RAID56_MASK;
        if table.iter().any(|chunk| chunk.flags().intersects(parity)) {
            self.log.error(format_args!(
                "writing file systems with RAID5/6 chunks is not supported yet, mount with -o ro"
            ));
            return Err(EOPNOTSUPP);
        }
        if !self.can_write_degraded() {
            self.log.warn(format_args!(
                "writable mount is not allowed due to too many missing devices"
            ));
            return Err(EINVAL);
        }
        self.load_allocation()
    }

    /// Whether no chunk lacks more devices, missing or failed, than its profile tolerates, and each
    /// has a copy left of all that was written. Logs the first that does not.
    pub(crate) fn can_write_degraded(&self) -> bool {
        let Some(table) = self.chunks.table() else {
            return false;
        };
        let mut any = false;
        for chunk in table.iter() {
            any = true;
            let missing = chunk.lost();
            let tolerated = usize::from(chunk.shape().tolerated_failures());
            if missing > tolerated {
                self.log.warn_limited(format_args!(
                    "chunk {} missing {missing} devices, max tolerance is {tolerated} for writable \
                     mount",
                    chunk.start()
                ));
                return false;
            }
            if !chunk.is_complete() {
                self.log.warn_limited(format_args!(
                    "chunk {} has writes that reached no device that is left",
                    chunk.start()
                ));
                return false;
            }
        }
        any
    }

    /// The kernel took the device with the number `dev` away: from now on it is missing. `EIO`, with
    /// a message, if the volume cannot do without it; `Ok` too if it is none of ours.
    pub(crate) fn device_gone(&self, dev: DevNum) -> Result {
        let devices = self.devices()?;
        let Some(device) = devices.iter().find(|device| device.node() == Some(dev)) else {
            self.log
                .warn(format_args!("block device {dev} went away, it is not used"));
            return Ok(());
        };
        let devid = device.devid();
        if !device.set_gone() {
            self.log
                .warn(format_args!("device id {devid} is missing already"));
            return Ok(());
        }
        match self.can_write_degraded() {
            true => {
                self.log.warn(format_args!(
                    "btrfs device id {devid} has gone missing, continue as degraded"
                ));
                Ok(())
            }
            false => {
                self.log.print(
                    Level::Critical,
                    format_args!(
                        "btrfs device id {devid} has gone missing, can not maintain read-write"
                    ),
                );
                Err(EIO)
            }
        }
    }

    /// Whether devices are told to make durable what is written; not with `nobarrier`.
    pub(crate) fn set_barriers(&self, on: bool) {
        self.barriers.store(on, Relaxed);
    }

    /// Changes the label: in memory at once, on the devices with the next commit.
    ///
    /// `EINVAL` if it is too long or has a zero byte.
    pub(crate) fn set_label(&self, label: &[u8]) -> Result {
        let mut bytes = [0; LABEL_SIZE];
        if label.len() >= LABEL_SIZE || label.contains(&0) {
            return Err(EINVAL);
        }
        for (to, from) in bytes.iter_mut().zip(label) {
            *to = *from;
        }
        self.change_superblock(|fields| fields.label = bytes)
    }

    /// Adds features: in memory at once, on the devices with the next commit.
    pub(crate) fn add_incompat(&self, features: Incompat) -> Result {
        if self.superblock().incompat().contains(features) {
            return Ok(());
        }
        self.change_superblock(|fields| {
            fields.incompat_flags = fields.incompat().union(features).bits().into();
        })
    }
}
