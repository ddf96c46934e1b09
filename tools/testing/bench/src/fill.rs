// SPDX-License-Identifier: GPL-2.0

//! Fills the images that are measured on.
//!
//! bench-fill data FILE SIZE-MIB KIND   one file of random bytes ("plain") or of text ("text")
//! bench-fill files DIR                 100,000 small files in 100 directories
//! bench-fill large DIR                 50,000 empty files in one directory
//! bench-fill groups FILE SIZE-GIB      space allocated piece by piece, so that there are many extents

use std::fs::{self, File};
use std::io::{BufWriter, Error, Result, Write};
use std::os::fd::AsRawFd;
use std::path::Path;

/// xorshift64*: fast, and the same every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

fn data(path: &Path, mib: u64, text: bool) -> Result<()> {
    let mut random = Random(0x1234_5678_9abc_def1);
    // Words that repeat with a skew give a ratio like that of source code.
    let words: Vec<String> = (0..4096)
        .map(|_| format!("{:x}", random.next() >> (64 - 8 - random.next() % 40)))
        .collect();
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut left = mib << 20;
    while left > 0 {
        let mut piece = Vec::new();
        if text {
            let a = (random.next() >> 52) as usize;
            let b = (random.next() >> 52) as usize;
            piece.extend_from_slice(words[a & b].as_bytes());
            piece.push(if random.next() % 12 == 0 { b'\n' } else { b' ' });
        } else {
            piece.extend_from_slice(&random.next().to_le_bytes());
        }
        piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        left -= piece.len() as u64;
        out.write_all(&piece)?;
    }
    out.into_inner()?.sync_all()
}

fn files(dir: &Path) -> Result<()> {
    let mut random = Random(0x0bad_cafe_dead_beef);
    let content: Vec<u8> = (0..65536).map(|i| (i * 7 % 251) as u8).collect();
    for sub in 0..100 {
        let sub = dir.join(format!("directory-{sub:02}"));
        fs::create_dir_all(&sub)?;
        for file in 0..1000 {
            // Most small enough to be inline, some of a few blocks.
            let size = match random.next() % 10 {
                0..=6 => random.next() % 1200,
                _ => 4096 + random.next() % 12288,
            };
            let name = format!("file-{file:04}-{:x}", random.next() >> 40);
            fs::write(sub.join(name), &content[..size as usize])?;
        }
    }
    Ok(())
}

fn large(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir)?;
    for file in 0..50_000 {
        File::create(dir.join(format!("entry-{file:05}-of-a-large-directory")))?;
    }
    Ok(())
}

fn groups(path: &Path, gib: u64) -> Result<()> {
    const PIECE: u64 = 4 << 20;
    let file = File::create(path)?;
    for at in 0..(gib << 30) / PIECE {
        // Not in a row, lest neighbours become one extent.
        let offset = at * 2 * PIECE;
        // SAFETY: The descriptor is open.
        let result = unsafe { libc::fallocate(file.as_raw_fd(), 0, offset as i64, PIECE as i64) };
        if result != 0 {
            return Err(Error::last_os_error());
        }
    }
    file.sync_all()
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let word = |i: usize| args.get(i).map_or("", String::as_str);
    let path = Path::new(word(2));
    match word(1) {
        "data" => data(path, word(3).parse().unwrap_or(1), word(4) == "text"),
        "files" => files(path),
        "large" => large(path),
        "groups" => groups(path, word(3).parse().unwrap_or(1)),
        _ => Err(Error::other("usage: see the head of the source")),
    }
}
