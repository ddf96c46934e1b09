// SPDX-License-Identifier: GPL-2.0

//! Devices of the device mapper, and the disk that crashes are rebuilt on.

use crate::log::{Entry, Log, What};
use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::process::{Command, Stdio};
use testkit::rng::Rng;
use testkit::sys::AlignedBuf;

/// What a disk writes whole or not at all.
const ATOMIC: usize = 4096;

/// Runs a command that must succeed.
pub fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program)
        .args(arguments)
        .env("DM_DISABLE_UDEV", "1")
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("{program}: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    match output.status.success() {
        true => Ok(text.into_owned()),
        false => Err(format!("{program} {}:\n{text}", arguments.join(" "))),
    }
}

/// A mapped device; it goes when this goes.
pub struct Mapped(String);

impl Mapped {
    pub fn new(name: &str, table: &str) -> Result<Self, String> {
        run(
            "dmsetup",
            &["create", name, "--noudevsync", "--table", table],
        )?;
        Ok(Self(name.into()))
    }

    pub fn path(&self) -> String {
        format!("/dev/mapper/{}", self.0)
    }

    pub fn message(&self, text: &str) -> Result<(), String> {
        run("dmsetup", &["message", &self.0, "0", text]).map(drop)
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        if let Err(error) = run("dmsetup", &["remove", "--noudevsync", &self.0]) {
            eprintln!("{error}");
        }
    }
}

/// Size in sectors.
pub fn sectors(device: &str) -> Result<u64, String> {
    let text = run("blockdev", &["--getsz", device])?;
    text.trim().parse().map_err(|e| format!("{device}: {e}"))
}

/// The disk that has what was durable at a place in the log.
pub struct Disk<'a> {
    file: File,
    log: &'a Log,
    /// Entries before this one are on the disk.
    pub durable: usize,
    /// Up to where the log was looked at.
    pub position: usize,
}

impl<'a> Disk<'a> {
    pub fn new(device: &str, log: &'a Log) -> Result<Self, String> {
        let mut options = File::options();
        options.read(true).write(true).custom_flags(libc::O_DIRECT);
        let file = options.open(device).map_err(|e| format!("{device}: {e}"))?;
        Ok(Self {
            file,
            log,
            durable: 0,
            position: 0,
        })
    }

    fn write(&self, at: u64, bytes: &[u8]) -> Result<(), String> {
        let mut buf = AlignedBuf::new(bytes.len());
        buf.bytes().copy_from_slice(bytes);
        let done = self.file.write_all_at(buf.bytes(), at);
        done.map_err(|e| format!("write to the rebuilt disk: {e}"))
    }

    fn read(&self, at: u64, len: usize) -> Result<Vec<u8>, String> {
        let mut buf = AlignedBuf::new(len);
        let done = self.file.read_exact_at(buf.bytes(), at);
        done.map_err(|e| format!("read of the rebuilt disk: {e}"))?;
        Ok(buf.bytes().to_vec())
    }

    fn data(&self, entry: &Entry) -> Result<Option<(u64, Vec<u8>)>, String> {
        let What::Write { at, len, data } = entry.what else {
            return Ok(None);
        };
        let bytes = self.log.data(data, len);
        bytes
            .map(|b| Some((at, b)))
            .map_err(|e| format!("log: {e}"))
    }

    /// The next entry has completed. A flush makes all before it durable, FUA the write itself.
    pub fn step(&mut self) -> Result<(), String> {
        let entry = &self.log.entries[self.position];
        if entry.flush {
            for earlier in &self.log.entries[self.durable..self.position] {
                if let Some((at, bytes)) = self.data(earlier)? {
                    self.write(at, &bytes)?;
                }
            }
            self.durable = self.position;
        }
        if entry.fua {
            if let Some((at, bytes)) = self.data(entry)? {
                self.write(at, &bytes)?;
            }
        }
        self.position += 1;
        Ok(())
    }

    /// Adds some of what is not durable yet, as a disk may; the result undoes it.
    pub fn add_some(&self, rng: &mut Rng) -> Result<Vec<(u64, Vec<u8>)>, String> {
        let mut undo = Vec::new();
        let chance = 1 + rng.below(8);
        for entry in &self.log.entries[self.durable..self.position] {
            let Some((at, mut bytes)) = self.data(entry)? else {
                continue;
            };
            if entry.fua || rng.below(9) < chance {
                continue;
            }
            if rng.one_in(4) && bytes.len() > ATOMIC {
                let blocks = bytes.len() / ATOMIC;
                bytes.truncate((1 + rng.index(blocks)) * ATOMIC);
            }
            undo.push((at, self.read(at, bytes.len())?));
            self.write(at, &bytes)?;
        }
        Ok(undo)
    }

    pub fn undo(&self, undo: Vec<(u64, Vec<u8>)>) -> Result<(), String> {
        undo.iter()
            .rev()
            .try_for_each(|(at, old)| self.write(*at, old))
    }
}
