// SPDX-License-Identifier: GPL-2.0

//! The registry: which devices belong to which file system, as far as scans have told.
//!
//! Scans come from mounts and from user space (udev, `btrfs device scan`). An entry is a
//! file system by its UUIDs, with its devices by their ids and UUIDs; where a device is
//! found again under another path or number, the entry follows. Devices whose number has
//! been reused by another file system are dropped as stale.
//!
//! An entry that a mount *holds* or has *opened* does not go away and gets no new devices.
//!
//! Locks: one mutex for everything. Under it a scan reads superblocks and a mount opens
//! devices, so that neither sees half of what the other does; no other lock of the file
//! system is taken under it.

use super::{
    log::{print_general, print_plain, Bytes},
    superblock,
};
use btrfs_format::{
    superblock::{Incompat, SuperFlags, Superblock},
    DevId, Generation, Uuid,
};
use kernel::{
    new_mutex,
    prelude::*,
    str::{CStr, CString},
    sync::{
        atomic::{Atomic, Relaxed},
        Arc, Mutex,
    },
};
use kfs::{
    arc_cell::ArcCell,
    block::{BlockDevice, Claim, DevNum, OpenMode},
    log::Level,
};

mod add;

/// The registry, while the module is loaded.
static REGISTRY: ArcCell<Registry> = ArcCell::new();

/// The registry's content.
#[pin_data]
struct Registry {
    #[pin]
    entries: Mutex<Entries>,
}

/// The file systems that are known.
struct Entries {
    list: KVec<Entry>,
    next_id: u64,
}

/// The identity of an entry, never reused while the module is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntryId(u64);

/// A file system that scans have found devices of.
struct Entry {
    id: EntryId,
    fsid: Uuid,
    metadata_uuid: Uuid,
    /// `fsid` was made up, because another device has the real one.
    temp_fsid: bool,
    /// The highest generation of all superblocks seen.
    latest: Generation,
    /// How many devices the superblock scanned last says there are.
    total_devices: u64,
    members: KVec<Arc<Member>>,
    /// Mounts that use the devices.
    opened: u32,
    /// Mounts that are about to.
    holding: u32,
}

/// A device as it was seen by a scan.
#[pin_data]
pub(crate) struct Member {
    devid: DevId,
    uuid: Uuid,
    path: ArcCell<CString>,
    #[pin]
    seen: Mutex<Seen>,
}

/// What may be another at the next scan. Only changed under the registry's lock.
#[derive(Clone, Copy)]
struct Seen {
    dev: DevNum,
    generation: Generation,
}

impl Member {
    /// A device without a path: one that is missing.
    fn new(devid: DevId, uuid: Uuid, seen: Seen) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                devid,
                uuid,
                path: ArcCell::new(),
                seen <- new_mutex!(seen),
            }),
            GFP_KERNEL,
        )
    }

    /// Its id within the file system.
    pub(super) fn devid(&self) -> DevId {
        self.devid
    }

    /// Its own UUID.
    pub(super) fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// Runs `f` on the path, without terminator.
    pub(super) fn with_path<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        let path = self.path.load();
        match &path {
            Some(path) => f(path.to_bytes()),
            None => f(b""),
        }
    }

    /// The path, to open the device.
    pub(super) fn path(&self) -> Result<Arc<CString>> {
        self.path.load().ok_or(EINVAL)
    }

    fn set_path(&self, path: &CStr) -> Result {
        let copy = Arc::new(path.to_cstring()?, GFP_KERNEL)?;
        self.path.replace(Some(copy));
        Ok(())
    }

    fn seen(&self) -> Seen {
        *self.seen.lock()
    }

    /// Takes over what was found when the device was opened.
    pub(super) fn opened_as(&self, dev: DevNum, generation: Generation) {
        *self.seen.lock() = Seen { dev, generation };
    }
}

/// Keeps the registry; there is none after it is dropped.
pub(crate) struct Lifetime(());

/// Creates the registry, when the module is loaded.
pub(crate) fn init() -> Result<Lifetime> {
    let registry = Arc::pin_init(
        pin_init!(Registry {
            entries <- new_mutex!(Entries {
                list: KVec::new(),
                next_id: 1,
            }),
        }),
        GFP_KERNEL,
    )?;
    REGISTRY.replace(Some(registry));
    Ok(Lifetime(()))
}

impl Drop for Lifetime {
    fn drop(&mut self) {
        REGISTRY.replace(None);
    }
}

fn registry() -> Result<Arc<Registry>> {
    REGISTRY.load().ok_or(ENODEV)
}

/// What a scan of a device found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scanned {
    /// A file system of one device, which need not be registered.
    Single,
    /// A device of a file system that has all its devices.
    Complete,
    /// A device of a file system whose other devices have not all been seen.
    Incomplete,
}

/// Looks for a btrfs on the device at `path` and registers it, on behalf of user space.
///
/// `EINVAL` if there is no btrfs; `EBUSY` if its file system is mounted without that device;
/// `EEXIST` if another device is registered in its place.
pub(crate) fn scan(path: &CStr) -> Result<Scanned> {
    let registry = registry()?;
    let mut entries = registry.entries.lock();
    let Some(place) = entries.scan(path, false)? else {
        return Ok(Scanned::Single);
    };
    let entry = entries.list.get(place.entry).ok_or(EINVAL)?;
    let present = u64::try_from(entry.members.len()).unwrap_or(u64::MAX);
    Ok(if present == entry.total_devices {
        Scanned::Complete
    } else {
        Scanned::Incomplete
    })
}

/// Forgets the device with the number `dev`, or all, as far as they are not in use.
///
/// `EBUSY` if that device is in use; one that is not known is forgotten already.
pub(crate) fn forget(dev: Option<DevNum>) -> Result {
    let registry = registry()?;
    let result = registry.entries.lock().drop_stale(dev, None);
    result
}

/// Looks for a btrfs on the device at `path` in order to mount it, and holds its entry.
///
/// Errors as for [`scan`].
pub(crate) fn find(path: &CStr) -> Result<Found> {
    let registry = registry()?;
    let mut entries = registry.entries.lock();
    let place = entries.scan(path, true)?.ok_or(EINVAL)?;
    let entry = entries.list.get_mut(place.entry).ok_or(EINVAL)?;
    entry.holding = entry.holding.saturating_add(1);
    let id = entry.id;
    drop(entries);
    Ok(Found {
        registry,
        id,
        held: Atomic::new(true),
    })
}

/// A file system that is about to be mounted.
pub(crate) struct Found {
    registry: Arc<Registry>,
    id: EntryId,
    /// Whether it holds the entry: not any more once the devices have been opened.
    held: Atomic<bool>,
}

impl Found {
    /// Identifies the file system: equal if it is the same one.
    pub(crate) fn id(&self) -> EntryId {
        self.id
    }

    /// Begins to use the devices: `open` gets all of them, sorted by id.
    ///
    /// No scan interferes before `open` returns.
    pub(super) fn open<T>(
        &self,
        open: impl FnOnce(&Identity, &[Arc<Member>]) -> Result<T>,
    ) -> Result<(Lease, T)> {
        let mut entries = self.registry.entries.lock();
        let entry = entries.find(self.id).ok_or(ENODEV)?;
        self.release(entry);
        entry.members.sort_unstable_by_key(|member| member.devid);
        let opened = open(&entry.identity(), &entry.members)?;
        entry.opened = entry.opened.saturating_add(1);
        let lease = Lease {
            registry: self.registry.clone(),
            id: self.id,
        };
        Ok((lease, opened))
    }
}

impl Found {
    /// Stops holding the entry.
    fn release(&self, entry: &mut Entry) {
        if self.held.xchg(false, Relaxed) {
            entry.holding = entry.holding.saturating_sub(1);
        }
    }
}

impl Drop for Found {
    fn drop(&mut self) {
        if let Some(entry) = self.registry.entries.lock().find(self.id) {
            self.release(entry);
        }
    }
}

/// By which UUIDs a file system is known.
#[derive(Clone, Copy)]
pub(crate) struct Identity {
    /// The UUID that users see.
    pub(crate) fsid: Uuid,
    /// The UUID in tree blocks.
    pub(crate) metadata_uuid: Uuid,
    /// `fsid` was made up, because another device has the real one.
    pub(crate) temp_fsid: bool,
}

/// The use of an entry's devices by a mount.
pub(crate) struct Lease {
    registry: Arc<Registry>,
    id: EntryId,
}

impl Lease {
    /// Identifies the file system.
    pub(crate) fn id(&self) -> EntryId {
        self.id
    }

    /// Notes that a device is missing, so that it is recognised when it comes back.
    pub(super) fn add_missing(&self, devid: DevId, uuid: Uuid) -> Result {
        let mut entries = self.registry.entries.lock();
        let entry = entries.find(self.id).ok_or(ENODEV)?;
        let seen = Seen {
            dev: DevNum::from_raw(0),
            generation: Generation(0),
        };
        entry
            .members
            .push(Member::new(devid, uuid, seen)?, GFP_KERNEL)?;
        Ok(())
    }

    /// Looks for the seed with the UUID `fsid`: `open` gets its devices, sorted by id.
    ///
    /// `ENOENT` if no scan has seen one.
    pub(super) fn open_seed<T>(
        &self,
        fsid: Uuid,
        open: impl FnOnce(&[Arc<Member>]) -> Result<T>,
    ) -> Result<T> {
        let mut entries = self.registry.entries.lock();
        let entry = entries
            .list
            .iter_mut()
            .find(|entry| entry.fsid == fsid)
            .ok_or(ENOENT)?;
        entry.members.sort_unstable_by_key(|member| member.devid);
        open(&entry.members)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut entries = self.registry.entries.lock();
        let Some(entry) = entries.find(self.id) else {
            return;
        };
        entry.opened = entry.opened.saturating_sub(1);
        if !entry.in_use() {
            entry.members.retain(|member| member.path.load().is_some());
        }
        // One device alone is found again by the next mount.
        if !entry.in_use() && entry.members.len() == 1 {
            let id = self.id;
            entries.list.retain(|entry| entry.id != id);
        }
    }
}

impl Entry {
    fn in_use(&self) -> bool {
        self.opened > 0 || self.holding > 0
    }

    fn identity(&self) -> Identity {
        Identity {
            fsid: self.fsid,
            metadata_uuid: self.metadata_uuid,
            temp_fsid: self.temp_fsid,
        }
    }

    fn member_by_dev(&self, dev: DevNum) -> Option<&Arc<Member>> {
        self.members.iter().find(|member| member.seen().dev == dev)
    }
}

/// Where a scan has put a device.
#[derive(Clone, Copy)]
struct Place {
    /// Index of the entry.
    entry: usize,
}

impl Entries {
    fn find(&mut self, id: EntryId) -> Option<&mut Entry> {
        self.list.iter_mut().find(|entry| entry.id == id)
    }

    /// Reads the superblock of the device at `path` and registers the device. `None` if there
    /// is no need to: a mount registers every device, others only those that are not a file
    /// system of their own.
    fn scan(&mut self, path: &CStr, for_mount: bool) -> Result<Option<Place>> {
        // Not claimed: mkfs or a mount may be at work on the device, and only looks matter here.
        let bdev = BlockDevice::open_path(path, OpenMode::Read, Claim::Shared)?;
        let sb = superblock::read(&bdev, 0)?;
        let dev = bdev.dev();
        drop(bdev);
        if self.needs_no_registration(&sb, path, dev, for_mount) {
            // Whatever was there before is gone. In use or unknown are both fine.
            let _ = self.drop_stale(Some(dev), None);
            return Ok(None);
        }
        let added = self.add(path, dev, &sb)?;
        if added.new {
            let _ = self.drop_stale(Some(dev), Some(&added.member));
        }
        // Dropping may have moved entries.
        let entry = self
            .list
            .iter()
            .position(|entry| entry.id == added.entry)
            .ok_or(EINVAL)?;
        Ok(Some(Place { entry }))
    }

    fn needs_no_registration(
        &self,
        sb: &Superblock,
        path: &CStr,
        dev: DevNum,
        for_mount: bool,
    ) -> bool {
        // A mounted device that is seen under another path gets that one: the root file system
        // is mounted as /dev/root before there is any other name for it.
        let renamed = self
            .list
            .iter()
            .filter(|entry| entry.opened > 0)
            .filter_map(|entry| entry.member_by_dev(dev))
            .any(|member| member.with_path(|known| known != path.to_bytes()));
        !renamed
            && !for_mount
            && sb.num_devices.get() == 1
            && !sb.flags().contains(SuperFlags::SEEDING)
    }

    /// Drops the devices with the number `dev`, or all, that are not in use, except `keep`.
    fn drop_stale(&mut self, dev: Option<DevNum>, keep: Option<&Arc<Member>>) -> Result {
        let mut freed = false;
        let mut busy = false;
        for entry in self.list.iter_mut() {
            let in_use = entry.in_use();
            entry.members.retain(|member| {
                if keep.is_some_and(|keep| Arc::ptr_eq(keep, member))
                    || dev.is_some_and(|dev| member.seen().dev != dev)
                {
                    return true;
                }
                if in_use {
                    busy |= dev.is_some();
                    return true;
                }
                freed = true;
                false
            });
        }
        self.list
            .retain(|entry| entry.in_use() || !entry.members.is_empty());
        if busy && !freed {
            return Err(EBUSY);
        }
        Ok(())
    }
}
