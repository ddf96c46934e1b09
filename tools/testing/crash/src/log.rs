// SPDX-License-Identifier: GPL-2.0

//! Reads what dm-log-writes recorded. The layout is that of the kernel's
//! Documentation/admin-guide/device-mapper/log-writes.rst and drivers/md/dm-log-writes.c:
//! a superblock in the first sector, then each entry in a sector of its own, its data behind it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use testkit::sys;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
const MARK: u64 = 8;

/// What the log has about one write, or about the lack of one.
pub enum What {
    /// `len` bytes go to `at`; they are at `data` in the log.
    Write {
        at: u64,
        len: usize,
        data: u64,
    },
    Discard,
    Mark(String),
    /// Only a flush.
    Nothing,
}

pub struct Entry {
    pub what: What,
    /// All that completed before is durable.
    pub flush: bool,
    /// This write itself is durable.
    pub fua: bool,
}

pub struct Log {
    file: File,
    pub entries: Vec<Entry>,
}

fn number(bytes: &[u8], at: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(value)
}

impl Log {
    pub fn read(device: &str) -> Result<Self, String> {
        let file = File::open(device).map_err(|e| format!("{device}: {e}"))?;
        // What went to the device by other ways is not in this cache.
        sys::drop_pages(&file);
        let fail = |e: std::io::Error| format!("{device}: {e}");
        let mut head = [0; 512];
        file.read_exact_at(&mut head, 0).map_err(fail)?;
        if number(&head, 0) != MAGIC || number(&head, 8) != 1 {
            return Err(format!("{device} is no log"));
        }
        let count = number(&head, 16);
        let sector = number(&head, 24) & 0xffff_ffff;
        let mut pos = sector;
        let mut entries = Vec::new();
        for _ in 0..count {
            let mut head = vec![0; sector as usize];
            file.read_exact_at(&mut head, pos).map_err(fail)?;
            pos += sector;
            let (at, sectors) = (number(&head, 0) * 512, number(&head, 8));
            let (flags, data_len) = (number(&head, 16), number(&head, 24));
            let what = if flags & MARK != 0 {
                let text = &head[32..32 + data_len as usize];
                What::Mark(String::from_utf8_lossy(text).trim_end_matches('\0').into())
            } else if flags & DISCARD != 0 {
                What::Discard
            } else if sectors == 0 {
                What::Nothing
            } else {
                let len = (sectors * 512) as usize;
                let data = pos;
                pos += (len as u64).next_multiple_of(sector);
                What::Write { at, len, data }
            };
            entries.push(Entry {
                what,
                flush: flags & FLUSH != 0,
                fua: flags & FUA != 0,
            });
        }
        Ok(Self { file, entries })
    }

    /// The bytes of a write.
    pub fn data(&self, from: u64, len: usize) -> std::io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, from)?;
        Ok(bytes)
    }
}
