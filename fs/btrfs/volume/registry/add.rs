// SPDX-License-Identifier: GPL-2.0

//! Registering a device: to which file system it belongs, and whose place it takes.

use super::*;
use kfs::task::{current_tid, Comm};

/// A device that has been registered.
pub(super) struct Added {
    /// Its file system.
    pub(super) entry: EntryId,
    /// The device.
    pub(super) member: Arc<Member>,
    /// Whether it was not known before.
    pub(super) new: bool,
}

/// What is known of a device that is being registered.
struct Candidate<'a> {
    path: &'a CStr,
    dev: DevNum,
    sb: &'a Superblock,
}

impl Candidate<'_> {
    fn devid(&self) -> DevId {
        self.sb.dev_item.devid()
    }

    fn seen(&self) -> Seen {
        Seen {
            dev: self.dev,
            generation: self.sb.generation(),
        }
    }

    fn shown_path(&self) -> Bytes<'_> {
        Bytes(self.path.to_bytes())
    }
}

/// Displays who scans.
struct Scanner;

impl core::fmt::Display for Scanner {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} ({})", Comm::current(), current_tid())
    }
}

/// The entry that a device belongs to.
enum Home {
    /// That at this index.
    At(usize),
    /// A new one; with a made-up UUID if another device has the real one.
    New { temp_fsid: bool },
}

impl Entries {
    /// Registers the device at `path`.
    pub(super) fn add(&mut self, path: &CStr, dev: DevNum, sb: &Superblock) -> Result<Added> {
        let device = Candidate { path, dev, sb };
        if sb.flags().contains(SuperFlags::CHANGING_FSID_V2) {
            print_general(
                Level::Error,
                format_args!(
                    "device {} has incomplete metadata_uuid change, please use btrfstune to complete",
                    device.shown_path()
                ),
            );
            return Err(EAGAIN);
        }
        let at = match self.home_of(&device) {
            Home::At(at) => at,
            Home::New { temp_fsid } => self.new_entry(&device, temp_fsid)?,
        };
        let entry = self.list.get_mut(at).ok_or(EINVAL)?;
        let added = entry.add_member(&device);
        if added.is_err() && entry.members.is_empty() && !entry.in_use() {
            let id = entry.id;
            self.list.retain(|entry| entry.id != id);
        }
        added
    }

    fn new_entry(&mut self, device: &Candidate<'_>, temp_fsid: bool) -> Result<usize> {
        let id = EntryId(self.next_id);
        self.next_id = self.next_id.saturating_add(1);
        let fsid = if temp_fsid {
            Uuid(kfs::random::uuid())
        } else {
            device.sb.fsid
        };
        if temp_fsid {
            print_general(
                Level::Info,
                format_args!(
                    "device {} ({}) using temp-fsid {fsid}",
                    device.shown_path(),
                    device.dev
                ),
            );
        }
        let at = self.list.len();
        self.list.push(
            Entry {
                id,
                fsid,
                metadata_uuid: device.sb.metadata_uuid(),
                temp_fsid,
                latest: Generation(0),
                total_devices: device.sb.num_devices.get(),
                members: KVec::new(),
                opened: 0,
                holding: 0,
            },
            GFP_KERNEL,
        )?;
        Ok(at)
    }

    /// Finds the entry that a device belongs to.
    ///
    /// By the UUIDs; but a device that is a whole file system may be a copy of another one, and
    /// then it is known by its number instead.
    fn home_of(&self, device: &Candidate<'_>) -> Home {
        let sb = device.sb;
        let by_uuid = self.find_fsid(sb);
        if sb.num_devices.get() != 1 || sb.flags().contains(SuperFlags::SEEDING) {
            return by_uuid.map_or(Home::New { temp_fsid: false }, Home::At);
        }
        let by_dev = self
            .list
            .iter()
            .position(|entry| entry.member_by_dev(device.dev).is_some());
        match (by_dev, by_uuid) {
            (Some(at), Some(_)) => Home::At(at),
            (Some(at), None) => {
                // Either it is mounted under a made-up UUID, or another file system was there
                // before.
                if self.list.get(at).is_some_and(|entry| entry.opened > 0) {
                    Home::At(at)
                } else {
                    Home::New { temp_fsid: false }
                }
            }
            (None, Some(_)) => Home::New { temp_fsid: true },
            (None, None) => Home::New { temp_fsid: false },
        }
    }

    fn find_fsid(&self, sb: &Superblock) -> Option<usize> {
        let check_metadata = sb.incompat().contains(Incompat::METADATA_UUID);
        self.list.iter().position(|entry| {
            entry.fsid == sb.fsid && (!check_metadata || entry.metadata_uuid == sb.metadata_uuid)
        })
    }
}

impl Entry {
    fn add_member(&mut self, device: &Candidate<'_>) -> Result<Added> {
        let sb = device.sb;
        let uuid = sb.dev_item.uuid;
        let known = self
            .members
            .iter()
            .find(|member| member.devid == device.devid() && member.uuid == uuid)
            .cloned();
        if !self.members.is_empty() && sb.generation() > self.latest && !self.temp_fsid {
            self.fsid = sb.fsid;
            self.metadata_uuid = sb.metadata_uuid();
        }
        let (member, new) = match known {
            Some(member) => {
                self.update_member(&member, device)?;
                (member, false)
            }
            None => (self.new_member(device)?, true),
        };
        if self.opened == 0 {
            member.seen.lock().generation = sb.generation();
            self.latest = self.latest.max(sb.generation());
        }
        self.total_devices = sb.num_devices.get();
        Ok(Added {
            entry: self.id,
            member,
            new,
        })
    }

    fn new_member(&mut self, device: &Candidate<'_>) -> Result<Arc<Member>> {
        if self.opened > 0 {
            print_general(
                Level::Error,
                format_args!(
                    "device {} ({}) belongs to fsid {}, and the fs is already mounted, scanned by {Scanner}",
                    device.shown_path(),
                    device.dev,
                    self.fsid
                ),
            );
            return Err(EBUSY);
        }
        let sb = device.sb;
        let member = Member::new(device.devid(), sb.dev_item.uuid, device.seen())?;
        member.set_path(device.path)?;
        self.members.push(member.clone(), GFP_KERNEL)?;
        let label = sb.label();
        let devid = device.devid();
        let generation = sb.generation();
        let (path, dev) = (device.shown_path(), device.dev);
        if label.is_empty() {
            print_plain(
                Level::Info,
                format_args!(
                    "device fsid {} devid {devid} transid {generation} {path} ({dev}) scanned by {Scanner}",
                    sb.fsid
                ),
            );
        } else {
            print_plain(
                Level::Info,
                format_args!(
                    "device label {} devid {devid} transid {generation} {path} ({dev}) scanned by {Scanner}",
                    Bytes(label)
                ),
            );
        }
        Ok(member)
    }

    /// A device that is known was seen again, maybe somewhere else.
    fn update_member(&self, member: &Arc<Member>, device: &Candidate<'_>) -> Result {
        let seen = member.seen();
        let stand_in = member.with_path(|path| path == b"/dev/root");
        if seen.dev == device.dev && !stand_in {
            return Ok(());
        }
        let found = device.sb.generation();
        if self.opened == 0 && found < seen.generation {
            print_general(
                Level::Error,
                format_args!(
                    "device {} already registered with a higher generation, found {found} expect {}",
                    device.shown_path(),
                    seen.generation
                ),
            );
            return Err(EEXIST);
        }
        let missing = member.path.load().is_none();
        if self.opened > 0 && !missing && seen.dev != device.dev {
            print_general(
                Level::Warning,
                format_args!(
                    "duplicate device {} devid {} generation {found} scanned by {Scanner}",
                    device.shown_path(),
                    member.devid
                ),
            );
            return Err(EEXIST);
        }
        match member.path.load() {
            Some(old) if self.opened > 0 => print_general(
                Level::Info,
                format_args!(
                    "devid {} device path {} changed to {} scanned by {Scanner}",
                    member.devid,
                    Bytes(old.to_bytes()),
                    device.shown_path(),
                ),
            ),
            Some(_) => {}
            None => print_general(
                Level::Info,
                format_args!(
                    "missing devid {} re-appeared at {} scanned by {Scanner}",
                    member.devid,
                    device.shown_path(),
                ),
            ),
        }
        member.set_path(device.path)?;
        member.seen.lock().dev = device.dev;
        Ok(())
    }
}
