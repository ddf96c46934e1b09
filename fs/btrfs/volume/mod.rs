// SPDX-License-Identifier: GPL-2.0

//! Volumes: file systems as sets of devices, and reading logical addresses from them.
//!
//! * [`registry`] knows which devices belong together, from scans.
//! * [`Volume`] is an open file system: its devices, its superblock, its chunks.
//! * [`chunk_map`] maps logical addresses to chunks, [`raid`] offsets in a chunk to devices.
//! * [`io`] reads, tries the other copies where one is bad, and repairs it; it writes all copies.
//! * [`alloc`] finds places for new chunks.
//! * [`supers`] ends a commit: flushes the devices, then writes [`new_super`] to all of them.
//! * [`zoned`] finds the superblocks of zoned devices.
//! * [`writable`] decides whether a volume may be written, and whether enough devices are left.
//!
//! # Life of a volume
//!
//! A mount calls [`registry::find`] and, if the file system is not mounted yet,
//! [`Volume::open`], which opens the devices, checks the superblock and learns the system chunks
//! from it. Now the chunk tree can be read; whoever reads it hands all devices and
//! chunks to the volume ([`Volume::add_device`], [`Volume::add_chunk`]) and ends with
//! [`Volume::seal`]. Dropping the volume closes the devices.
//!
//! # Invariants
//!
//! * A device that is missing stays so while the volume is open; one that is there may go
//!   ([`Volume::device_gone`]).
//! * Nothing is written unless the volume is writable, and never to a seed.
//! * A write counts as done if one copy of every byte was written. A stripe that missed one is
//!   *stale* for the commit that flushes next, a device whose flush or superblock failed is *failed*
//!   until those of another commit succeed. A commit fails when a chunk has more failed and missing
//!   devices than its profile tolerates, or may have no good copy of something.
//! * Data is handed out only if a checksum says it is right, where there is one.
//!
//! # Locks
//!
//! The registry's mutex, then the list of devices, then [`alloc`]'s and [`chunk_map`]'s; all are for mount and control paths, and for
//! commits. Reading and writing takes no lock. The superblock's spinlock is held to copy a
//! reference.
//!
//! # Bounds
//!
//! Recovering a damaged read takes buffers for [`io`]'s `RUN_SECTORS` sectors and, with parity, as
//! much for each device of the row; it works on one such run after the other.

#![forbid(unsafe_code)]
#![deny(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]
// Parts that the next layers are about to use.

pub(crate) mod alloc;
pub(crate) mod chunk_map;
pub(crate) mod csum;
pub(crate) mod device;
mod io;
mod load;
pub(crate) mod log;
pub(crate) mod new_super;
mod open;
pub(crate) mod raid;
pub(crate) mod registry;
pub(crate) mod stats;
pub(crate) mod superblock;
mod supers;
mod writable;
mod zoned;

pub(crate) use alloc::{NewChunk, OldChunk};
pub(crate) use chunk_map::{Chunk, ChunkMap};
pub(crate) use csum::Checksum;
pub(crate) use device::Device;
pub(crate) use io::{DataClient, DataRead, DataWrite, DataWriteClient, FilePosition};
pub(crate) use log::Log;
pub(crate) use new_super::{BackupRoots, NewSuper, RootPlace};

use alloc::Allocation;
use btrfs_format::{Geometry, Logical, Uuid};
use kernel::{
    prelude::*,
    sync::{
        atomic::{ordering::Relaxed, Atomic},
        Arc, Mutex, SpinLock,
    },
};
use kfs::block::Lanes;
use kfs::mem::GFP_NOFAIL;
use registry::{EntryId, Identity, Lease};
use superblock::SuperBuf;

/// How a volume is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OpenOptions {
    /// The file system may be written: not a read-only mount.
    pub(crate) writable: bool,
    /// Devices may be missing (`degraded`).
    pub(crate) degraded: bool,
    /// Unknown flags in the superblock are passed over (`rescue=ignoresuperflags`).
    pub(crate) ignore_super_flags: bool,
    /// Whoever reads metadata will not look at checksums (`rescue=ignoremetacsums`); only for the
    /// log.
    pub(crate) ignore_meta_csums: bool,
}

/// An open file system.
///
/// The order of the fields is that in which they go: devices are closed before the registry
/// hears of it.
#[pin_data]
pub(crate) struct Volume {
    log: Log,
    /// The superblock as it is on the devices, but for changes that the next commit writes.
    #[pin]
    superblock: SpinLock<Arc<SuperBuf>>,
    geometry: Geometry,
    identity: Identity,
    degraded: bool,
    writable: Atomic<bool>,
    /// Devices are told to make durable what is written.
    barriers: Atomic<bool>,
    #[pin]
    chunks: ChunkMap,
    #[pin]
    devices: Mutex<Devices>,
    #[pin]
    allocation: Mutex<Allocation>,
    lease: Lease,
    /// Where completions run.
    lanes: Arc<Lanes>,
}

/// The devices of a volume.
struct Devices {
    /// Present and missing ones, sorted by id; those of seeds come after all others.
    list: KVec<Arc<Device>>,
    /// UUIDs of the seeds.
    seeds: KVec<Uuid>,
}

impl Volume {
    /// The superblock as of now: of the last commit, with what is to be in the next one already
    /// (see [`Volume::set_label`]).
    pub(crate) fn superblock(&self) -> Arc<SuperBuf> {
        self.superblock.lock().clone()
    }

    /// Sizes that the structures depend on.
    pub(crate) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The queues for completions, and for what is computed.
    pub(crate) fn lanes(&self) -> &Arc<Lanes> {
        &self.lanes
    }

    /// Log lines in the file system's name.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// By which UUIDs it is known. That of users may be made up.
    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    /// Identifies the file system in the registry, to find out whether it is mounted.
    pub(crate) fn id(&self) -> EntryId {
        self.lease.id()
    }

    /// Whether it may be written; only then bad copies are repaired.
    pub(crate) fn is_writable(&self) -> bool {
        self.writable.load(Relaxed)
    }

    /// Its chunks.
    pub(crate) fn chunks(&self) -> &ChunkMap {
        &self.chunks
    }

    /// Its devices, present and missing, sorted by id, those of seeds last.
    pub(crate) fn devices(&self) -> Result<KVec<Arc<Device>>> {
        let devices = self.devices.lock();
        let mut list = KVec::with_capacity(devices.list.len(), GFP_NOFAIL)?;
        for device in devices.list.iter() {
            list.push(device.clone(), GFP_NOFAIL)?;
        }
        Ok(list)
    }

    /// Finds a device by its id, and by its UUID if that is given.
    pub(crate) fn find_device(
        &self,
        devid: btrfs_format::DevId,
        uuid: Option<Uuid>,
    ) -> Option<Arc<Device>> {
        self.devices
            .lock()
            .list
            .iter()
            .find(|device| device.devid() == devid && uuid.is_none_or(|uuid| device.uuid() == uuid))
            .cloned()
    }

    /// The UUID by which users know the file system that a device belongs to: this one or a seed.
    pub(crate) fn users_fsid(&self, device: &Device) -> Uuid {
        let own = device.state().fsid;
        if own == self.identity.metadata_uuid {
            self.identity.fsid
        } else {
            own
        }
    }

    /// The number of the first device that is there, as user space has it in 32 bits.
    pub(crate) fn encoded_dev(&self) -> u32 {
        let devices = self.devices.lock();
        let dev = devices.list.iter().find_map(|d| Some(d.bdev()?.dev()));
        let (major, minor) = dev.map_or((0, 0), |dev| (dev.major(), dev.minor()));
        (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
    }

    /// Whether a tree block with this UUID in its header may belong here: the metadata UUID, or
    /// that of a seed.
    pub(crate) fn is_own_uuid(&self, uuid: Uuid) -> bool {
        uuid == self.identity.metadata_uuid || self.devices.lock().seeds.contains(&uuid)
    }

    /// The chunk that holds `len` bytes from `logical` on, and the offset in it. Logs if there
    /// is none: the address comes from a damaged structure.
    ///
    /// `EIO` if the range is in no chunk, or in more than one.
    fn locate(&self, logical: Logical, len: u64) -> Result<(Arc<Chunk>, u64)> {
        let found = self.chunks.get(logical).and_then(|chunk| {
            let (offset, rest) = chunk.offset_of(logical)?;
            (rest >= len).then_some((chunk, offset))
        });
        found.ok_or_else(|| {
            self.log.print_limited(
                kfs::log::Level::Critical,
                format_args!("unable to find chunk map for logical {logical} length {len}"),
            );
            EIO
        })
    }
}
