// SPDX-License-Identifier: GPL-2.0

//! Opening a volume: from a registry entry to devices, superblock and system chunks.

use super::{
    alloc::Allocation,
    chunk_map::ChunkMap,
    device::{Device, OpenDevice},
    log::{print_general, Bytes, ErrorName, Log, State},
    registry::{Found, Identity, Member},
    superblock,
    writable::check_any_writable,
    Devices, OpenOptions, Volume,
};
use btrfs_format::{
    superblock::{Incompat, SuperFlags, Superblock},
    Generation, Geometry, Logical, Uuid,
};
use kernel::{
    new_mutex, new_spinlock,
    prelude::*,
    sync::{atomic::Atomic, Arc},
};
use kfs::{
    block::{BlockDevice, Claim, Holder, Lanes, OpenMode},
    log::Level,
};

/// A device that has been opened, and whether its superblock says that it is a seed.
pub(super) struct Opened {
    pub(super) device: Arc<Device>,
    pub(super) seeding: bool,
}

/// Opens a device and checks that it is the one that the registry means.
fn open_one(
    member: &Arc<Member>,
    fsid: Uuid,
    mode: OpenMode,
    holder: Holder<'_>,
) -> Result<Opened> {
    let path = member.path()?;
    let bdev =
        BlockDevice::open_path(&path, mode, Claim::Exclusive(holder)).inspect_err(|error| {
            print_general(
                Level::Error,
                format_args!(
                    "failed to open device for path {}: {}",
                    Bytes(path.to_bytes()),
                    error.to_errno()
                ),
            );
        })?;
    // The superblock may have been written through the special file.
    bdev.sync_cache()?;
    let sb = superblock::read(&bdev, 0)?;
    if sb.dev_item.devid() != member.devid() || sb.dev_item.uuid != member.uuid() {
        return Err(EINVAL);
    }
    let seeding = sb.flags().contains(SuperFlags::SEEDING);
    if seeding && sb.incompat().contains(Incompat::METADATA_UUID) {
        print_general(
            Level::Error,
            format_args!("invalid seeding and uuid-changed device detected"),
        );
        return Err(EINVAL);
    }
    let generation = sb.generation();
    member.opened_as(bdev.dev(), generation);
    let open = OpenDevice {
        writable: !seeding && !bdev.is_read_only(),
        bdev,
        member: member.clone(),
        generation,
    };
    let device = Device::new(member.devid(), member.uuid(), fsid, Some(open))?;
    Ok(Opened { device, seeding })
}

/// Opens those of `members` that can be opened. Fails with the first error if none can.
pub(super) fn open_all(
    members: &[Arc<Member>],
    fsid: Uuid,
    mode: OpenMode,
    holder: Holder<'_>,
) -> Result<KVec<Opened>> {
    let mut opened = KVec::with_capacity(members.len(), GFP_KERNEL)?;
    let mut first_error = EINVAL;
    let mut failed = false;
    for member in members {
        match open_one(member, fsid, mode, holder) {
            Ok(device) => opened.push(device, GFP_KERNEL)?,
            Err(error) if !failed => {
                first_error = error;
                failed = true;
            }
            Err(_) => {}
        }
    }
    if opened.is_empty() {
        return Err(first_error);
    }
    Ok(opened)
}

/// The device whose superblock is the youngest.
fn latest(opened: &[Opened]) -> Option<&Arc<Device>> {
    let mut latest: Option<&Arc<Device>> = None;
    for Opened { device, .. } in opened {
        let newest = latest.map_or(Generation(0), |latest| latest.generation());
        if latest.is_none() || device.generation() > newest {
            latest = Some(device);
        }
    }
    latest
}

/// Checks that the superblock is the one of the file system that the registry means.
fn check_identity(sb: &Superblock, identity: &Identity, log: &Log) -> Result {
    if !identity.temp_fsid && sb.fsid != identity.fsid {
        log.error(format_args!(
            "superblock fsid doesn't match fsid of fs_devices: {} != {}",
            sb.fsid, identity.fsid
        ));
        return Err(EINVAL);
    }
    let uuid = sb.metadata_uuid();
    if uuid != identity.metadata_uuid {
        log.error(format_args!(
            "superblock metadata_uuid doesn't match metadata uuid of fs_devices: {uuid} != {}",
            identity.metadata_uuid
        ));
        return Err(EINVAL);
    }
    Ok(())
}

/// On zoned devices there are only zoned file systems, which are not written here.
fn check_zoned(sb: &Superblock, opened: &[Opened], log: &Log) -> Result {
    let zoned = sb.incompat().contains(Incompat::ZONED);
    for Opened { device, .. } in opened {
        if !zoned && device.bdev().is_some_and(|bdev| bdev.is_zoned()) {
            log.error(format_args!(
                "zoned: mode not enabled but zoned device found: {}",
                device.path()
            ));
            return Err(EINVAL);
        }
    }
    Ok(())
}

impl Volume {
    /// Opens the devices of a file system and reads its superblock.
    ///
    /// Only the system chunks are known afterwards. Errors, with a message in the log where it is
    /// not about opening a device: `EINVAL` if the superblock is not to be mounted with, `EACCES`
    /// if the volume is to be writable and no device is, `ENOENT` if a device is missing, or
    /// what opening or reading devices fails with (`EBUSY`: claimed by somebody else).
    pub(crate) fn open(
        found: &Found,
        holder: Holder<'_>,
        options: OpenOptions,
    ) -> Result<Arc<Self>> {
        let mode = if options.writable {
            OpenMode::ReadWrite
        } else {
            OpenMode::Read
        };
        let lanes = Arc::new(Lanes::new(), GFP_KERNEL)?;
        let (lease, (identity, opened)) = found.open(|identity, members| {
            let opened = open_all(members, identity.metadata_uuid, mode, holder)?;
            Ok((*identity, opened))
        })?;
        let bdev = latest(&opened)
            .and_then(|device| device.bdev())
            .ok_or(EINVAL)?;
        let log = Log::new(bdev.name())?;
        log.set_state(State::SkipMetaCsums, options.ignore_meta_csums);
        let superblock = superblock::read(bdev, 0)?;
        log.info(format_args!(
            "first mount of filesystem {}",
            superblock.fsid
        ));
        superblock::check(&superblock, &options, &log)?;
        check_identity(&superblock, &identity, &log)?;
        check_zoned(&superblock, &opened, &log)?;
        if options.writable {
            check_any_writable(opened.iter().map(|opened| &opened.device), &log)?;
        }
        let superblock = Arc::new(superblock, GFP_KERNEL)?;
        let geometry = Geometry::of(&superblock).ok_or(EINVAL)?;
        let mut list = KVec::with_capacity(opened.len(), GFP_KERNEL)?;
        for Opened { device, .. } in opened {
            list.push(device, GFP_KERNEL)?;
        }
        let volume = Arc::pin_init(
            try_pin_init!(Self {
                log,
                superblock <- new_spinlock!(superblock),
                geometry,
                identity,
                degraded: options.degraded,
                writable: Atomic::new(options.writable),
                barriers: Atomic::new(true),
                chunks <- ChunkMap::new(),
                devices <- new_mutex!(Devices { list, seeds: KVec::new() }),
                allocation <- new_mutex!(Allocation::new()),
                lease,
                lanes,
            }? Error),
            GFP_KERNEL,
        )?;
        volume.load_system_chunks().inspect_err(|error| {
            volume.log.error(format_args!(
                "failed to read the system array: {}",
                ErrorName(*error)
            ));
        })?;
        Ok(volume)
    }

    /// Learns the chunks that the superblock has a copy of.
    fn load_system_chunks(&self) -> Result {
        for entry in self.superblock().sys_chunks() {
            // Validated together with the rest of the superblock.
            let (key, chunk) = entry.map_err(|_| EUCLEAN)?;
            self.add_chunk(Logical(key.offset), &chunk)?;
        }
        self.chunks.publish()
    }
}
