// SPDX-License-Identifier: GPL-2.0

//! Snapshots of the device mapper by its ioctls (linux/dm-ioctl.h): a device that has the data of
//! another one and forgets what was written to it. Starting a program for that would cost more than
//! all else that a test does with the device.

use crate::sys::{self, check};
use std::io::{Error, Result};
use std::os::fd::{AsRawFd, OwnedFd};

/// struct dm_ioctl, and where its fields are.
const HEAD: usize = 312;
const AT_SIZE: usize = 12;
const AT_DATA_START: usize = 16;
const AT_TARGETS: usize = 20;
const AT_DEV: usize = 40;
const AT_NAME: usize = 48;
/// struct dm_target_spec.
const SPEC: usize = 40;
const AT_KIND: usize = 24;

const DEV_CREATE: u64 = 3;
const DEV_REMOVE: u64 = 4;
/// Resumes, with no flag set.
const DEV_SUSPEND: u64 = 6;
const TABLE_LOAD: u64 = 9;

/// Sectors of a chunk: a page.
const CHUNK: u32 = 8;

/// A snapshot that goes when this goes.
pub struct Snapshot {
    control: OwnedFd,
    name: String,
    /// The device node.
    pub path: String,
}

impl Snapshot {
    /// `origin` as it is now, `sectors` long; what is written goes to the device `changes`.
    /// Nobody may write to either of them meanwhile.
    pub fn new(name: &str, origin: &str, changes: &str, sectors: u64) -> Result<Self> {
        let control = sys::open("/dev/mapper/control", libc::O_RDWR)?;
        let created = command(&control, DEV_CREATE, name, &[])?;
        let dev = u64::from_ne_bytes(created[AT_DEV..AT_DEV + 8].try_into().unwrap_or_default());
        let snapshot = Self {
            control,
            name: name.into(),
            // Named by the minor number, whose parts are on both sides of the major one.
            path: format!("/dev/dm-{}", (dev & 0xff) | (dev >> 12 & 0xfff00)),
        };
        let text = format!("{origin} {changes} N {CHUNK}\0");
        let mut spec = vec![0; SPEC];
        spec[8..16].copy_from_slice(&sectors.to_ne_bytes());
        spec[AT_KIND..AT_KIND + 8].copy_from_slice(b"snapshot");
        spec.extend(text.bytes());
        spec.resize(spec.len().next_multiple_of(8), 0);
        command(&snapshot.control, TABLE_LOAD, name, &spec)?;
        command(&snapshot.control, DEV_SUSPEND, name, &[])?;
        Ok(snapshot)
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        if let Err(error) = command(&self.control, DEV_REMOVE, &self.name, &[]) {
            eprintln!("{}: {error}", self.path);
        }
    }
}

/// One ioctl about the device `name`, with at most one target; the answer.
fn command(control: &OwnedFd, nr: u64, name: &str, target: &[u8]) -> Result<Vec<u8>> {
    if name.len() > 100 {
        return Err(Error::from_raw_os_error(libc::ENAMETOOLONG));
    }
    let mut buf = vec![0; HEAD];
    let mut word = |at: usize, value: usize| {
        buf[at..at + 4].copy_from_slice(&(value as u32).to_ne_bytes());
    };
    // The version of the interface.
    word(0, 4);
    word(AT_SIZE, HEAD + target.len());
    word(AT_DATA_START, HEAD);
    word(AT_TARGETS, usize::from(!target.is_empty()));
    buf[AT_NAME..AT_NAME + name.len()].copy_from_slice(name.as_bytes());
    buf.extend_from_slice(target);
    let request = 3 << 30 | (HEAD as u64) << 16 | 0xfd << 8 | nr;
    // SAFETY: `buf` is as long as it says at AT_SIZE, and the kernel writes no more than that.
    check(unsafe { libc::ioctl(control.as_raw_fd(), request, buf.as_mut_ptr()) })?;
    Ok(buf)
}
