// SPDX-License-Identifier: GPL-2.0

//! What the trees tell a volume while it is being mounted: devices, chunks, statistics.

use super::{
    chunk_map::{Chunk, ChunkStripe, Inserted},
    device::Device,
    open::{open_all, Opened},
    raid::Shape,
    Volume,
};
use btrfs_format::{chunk::ChunkItem, device::DevItem, device::DevStat, DevId, Logical, Uuid};
use kernel::{prelude::*, sync::Arc};
use kfs::{
    block::{Holder, OpenMode},
    log::Level,
};

impl Volume {
    /// Takes note of a device item. All of them come before the chunks of the chunk tree. Devices of
    /// seeds are opened, in the name of `holder`.
    ///
    /// `ENOENT` if the device, or the seed it belongs to, is not there and may not be missing;
    /// `EINVAL` if the item does not fit the device.
    pub(crate) fn add_device(&self, item: &DevItem, holder: Holder<'_>) -> Result {
        let seed = item.fsid != self.identity.metadata_uuid;
        if seed {
            self.open_seed(item.fsid, holder)?;
        }
        let (devid, uuid) = (item.devid(), item.uuid);
        let device = match self.find_device(devid, Some(uuid)) {
            Some(device) => device,
            None => self.add_missing(devid, uuid, item.fsid)?,
        };
        if let Some(bdev) = device.bdev() {
            if seed && device.generation().get() != item.generation.get() {
                self.log.error(format_args!(
                    "seed device {} has generation {}, but {} was sprouted",
                    device.path(),
                    device.generation(),
                    item.generation.get()
                ));
                return Err(EINVAL);
            }
            let (size, total) = (bdev.size(), item.total_bytes.get());
            if total > size {
                self.log.error(format_args!(
                    "device total_bytes should be at most {size} but found {total}"
                ));
                return Err(EINVAL);
            }
        }
        device.set_item(item);
        Ok(())
    }

    /// Takes note of a chunk item, which is not used before [`Volume::seal`]. One that is known
    /// already is passed over.
    ///
    /// `ENOENT` if a device is not there and may not be missing; `EEXIST` or `EUCLEAN` if the
    /// chunk is impossible.
    pub(crate) fn add_chunk(&self, start: Logical, item: &ChunkItem<'_>) -> Result {
        let shape = Shape {
            profile: item.profile().ok_or(EUCLEAN)?,
            num_stripes: item.num_stripes(),
        };
        let mut stripes = KVec::with_capacity(item.stripes().len(), GFP_KERNEL)?;
        for stripe in item.stripes() {
            let (devid, uuid) = (stripe.devid(), stripe.dev_uuid);
            let device = match self.find_device(devid, Some(uuid)) {
                Some(device) => device,
                None => self.add_missing(devid, uuid, self.identity.metadata_uuid)?,
            };
            device.set_in_metadata();
            let physical = stripe.physical();
            stripes.push(ChunkStripe::new(device, physical), GFP_KERNEL)?;
        }
        let chunk = Chunk::new(start, item.length(), item.flags(), shape, stripes)?;
        let inserted = self.chunks.insert(chunk).inspect_err(|error| {
            self.log.error(format_args!(
                "failed to add chunk map, start={start} len={}: {}",
                item.length(),
                error.to_errno()
            ));
        })?;
        match inserted {
            Inserted::New | Inserted::Known => Ok(()),
        }
    }

    /// Ends loading: all devices and chunks have been added, and can be used from now on.
    ///
    /// `EINVAL` if the volume is writable, but too many devices are missing for that, or if the
    /// devices are larger than the superblock says.
    pub(crate) fn seal(&self) -> Result {
        let mut items: u64 = 0;
        let mut writable_bytes: u64 = 0;
        let mut devices = self.devices.lock();
        // What scans found, but the file system does not know, is closed.
        devices.list.retain(|device| device.in_metadata());
        devices
            .list
            .sort_unstable_by_key(|d| (d.state().fsid != self.identity.metadata_uuid, d.devid()));
        for device in devices.list.iter() {
            let state = device.state();
            items = items.saturating_add(u64::from(state.item_found));
            if device.is_writable() {
                writable_bytes = writable_bytes.saturating_add(state.total_bytes);
            }
        }
        drop(devices);
        self.chunks.publish()?;
        let expected = self.superblock().num_devices.get();
        if items != expected {
            self.log.warn(format_args!(
                "super block num_devices {expected} mismatch with DEV_ITEM count {items}, will be \
                 repaired on next transaction commit"
            ));
            // No commit is under way yet.
            self.change_superblock(|fields| fields.num_devices = items.into())?;
        }
        let total = self.superblock().total_bytes.get();
        if total < writable_bytes {
            self.log.error(format_args!(
                "super_total_bytes {total} mismatch with fs_devices total_rw_bytes {writable_bytes}"
            ));
            return Err(EINVAL);
        }
        if self.is_writable() {
            self.check_writable()?;
        }
        Ok(())
    }

    /// Begins the devices' error counters with what `stored` says of each: what the device tree
    /// has, or `None`.
    pub(crate) fn load_stats(
        &self,
        mut stored: impl FnMut(DevId) -> Result<Option<[u64; DevStat::ALL.len()]>>,
    ) -> Result {
        for device in self.devices()?.iter() {
            let values = stored(device.devid())?.unwrap_or_default();
            device.load_stats(values, &self.log);
        }
        Ok(())
    }

    /// Adds a device that is not there. `ENOENT` unless devices may be missing.
    fn add_missing(&self, devid: DevId, uuid: Uuid, fsid: Uuid) -> Result<Arc<Device>> {
        let (level, result) = match self.degraded {
            true => (Level::Warning, Ok(())),
            false => (Level::Error, Err(ENOENT)),
        };
        self.log
            .print_limited(level, format_args!("devid {devid} uuid {uuid} is missing"));
        result?;
        let device = Device::new(devid, uuid, fsid, None)?;
        self.devices.lock().list.push(device.clone(), GFP_KERNEL)?;
        if fsid == self.identity.metadata_uuid {
            self.lease.add_missing(devid, uuid)?;
        }
        Ok(device)
    }

    /// Opens the devices of the seed with the UUID `fsid`, unless that has been done.
    fn open_seed(&self, fsid: Uuid, holder: Holder<'_>) -> Result {
        if self.is_own_uuid(fsid) {
            return Ok(());
        }
        let opened = self.lease.open_seed(fsid, |members| {
            open_all(members, fsid, OpenMode::Read, holder)
        });
        let opened = match opened {
            Ok(opened) if opened.iter().all(|opened| opened.seeding) => opened,
            Ok(_) => return Err(EINVAL),
            Err(error) if error == ENOENT => {
                if !self.degraded {
                    self.log.error(format_args!(
                        "failed to find fsid {fsid} when attempting to open seed devices"
                    ));
                    return Err(ENOENT);
                }
                KVec::new()
            }
            Err(error) => return Err(error),
        };
        let mut devices = self.devices.lock();
        devices.seeds.push(fsid, GFP_KERNEL)?;
        for Opened { device, .. } in opened {
            devices.list.push(device, GFP_KERNEL)?;
        }
        Ok(())
    }
}
