// SPDX-License-Identifier: GPL-2.0

//! Overwrites what is stored on a device with noise, the superblocks aside.
//!
//! `damage FILE SEED PERCENT` overwrites PERCENT of the 64 KiB units that hold data.

use std::fs::OpenOptions;
use std::io::Result;
use std::os::unix::fs::FileExt;
use testkit::{rng::Rng, sys};

const UNIT: u64 = 64 << 10;
/// Superblocks; the first megabyte holds nothing else.
const RESERVED: [(u64, u64); 2] = [(0, 1 << 20), (64 << 20, (64 << 20) + UNIT)];

fn damage(path: &str, seed: u64, percent: u64) -> Result<u64> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let size = file.metadata()?.len();
    let mut rng = Rng::new(seed);
    let (mut at, mut done) = (0, 0);
    let mut noise = vec![0u8; UNIT as usize];
    while at < size {
        let Ok(data) = sys::lseek(&file, at as i64, libc::SEEK_DATA) else {
            break;
        };
        at = data as u64 / UNIT * UNIT;
        let reserved = RESERVED
            .iter()
            .any(|(start, end)| at >= *start && at < *end);
        if !reserved && rng.below(100) < percent {
            rng.fill(&mut noise);
            let len = UNIT.min(size - at) as usize;
            file.write_all_at(&noise[..len], at)?;
            done += 1;
        }
        at += UNIT;
    }
    Ok(done)
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let parsed = match &args[..] {
        [path, seed, percent] => seed
            .parse()
            .ok()
            .zip(percent.parse().ok())
            .map(|p| (path, p)),
        _ => None,
    };
    let Some((path, (seed, percent))) = parsed else {
        eprintln!("usage: damage FILE SEED PERCENT");
        std::process::exit(2);
    };
    match damage(path, seed, percent) {
        Ok(units) => println!("{units} units of 64 KiB"),
        Err(error) => {
            eprintln!("damage: {path}: {error}");
            std::process::exit(1);
        }
    }
}
