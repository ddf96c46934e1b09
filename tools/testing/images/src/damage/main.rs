// SPDX-License-Identifier: GPL-2.0

//! Overwrites what is stored on a device with noise, the superblocks aside, and tells what a
//! mount repaired of it.
//!
//! `damage FILE SEED PERCENT` overwrites PERCENT of the 64 KiB units that hold data.
//! `damage repaired SOUND DAMAGED FILE` compares FILE, once a copy of DAMAGED, in sectors: each must
//! be the damaged one still or that of the sound device; it prints how many are sound again.

use std::fs::{File, OpenOptions};
use std::io::{Error, Result};
use std::os::unix::fs::FileExt;
use testkit::{rng::Rng, sys};

const UNIT: u64 = 64 << 10;
const SECTOR: usize = 4096;
/// Superblocks; the first megabyte holds nothing else.
const RESERVED: [(u64, u64); 2] = [(0, 1 << 20), (64 << 20, (64 << 20) + UNIT)];

fn is_reserved(at: u64) -> bool {
    RESERVED
        .iter()
        .any(|(start, end)| at >= *start && at < *end)
}

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
        if !is_reserved(at) && rng.below(100) < percent {
            rng.fill(&mut noise);
            let len = UNIT.min(size - at) as usize;
            file.write_all_at(&noise[..len], at)?;
            done += 1;
        }
        at += UNIT;
    }
    Ok(done)
}

/// Counts the sectors of `now` that were repaired; `Err` for the first one that is neither what it
/// was nor what it should be.
fn repaired(sound: &str, damaged: &str, now: &str) -> Result<u64> {
    let files = [File::open(sound)?, File::open(damaged)?, File::open(now)?];
    let size = files[2].metadata()?.len();
    let mut units = [0; 3].map(|_: u8| vec![0u8; UNIT as usize]);
    let mut count = 0;
    for at in (0..size / UNIT)
        .map(|n| n * UNIT)
        .filter(|at| !is_reserved(*at))
    {
        for (file, unit) in files.iter().zip(&mut units) {
            file.read_exact_at(unit, at)?;
        }
        let [sound, damaged, now] = units.each_ref().map(|unit| unit.chunks(SECTOR));
        for (n, ((sound, damaged), now)) in sound.zip(damaged).zip(now).enumerate() {
            if now == damaged {
                continue;
            }
            if now != sound {
                let at = at + (n * SECTOR) as u64;
                return Err(Error::other(format!(
                    "byte {at}: neither damaged nor sound"
                )));
            }
            count += 1;
        }
    }
    Ok(count)
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match &args[..] {
        ["repaired", sound, damaged, now] => {
            repaired(sound, damaged, now).map(|n| println!("{n} sectors were repaired"))
        }
        [path, seed, percent] => match (seed.parse(), percent.parse()) {
            (Ok(seed), Ok(percent)) => {
                damage(path, seed, percent).map(|n| println!("{n} units of 64 KiB"))
            }
            _ => usage(),
        },
        _ => usage(),
    };
    if let Err(error) = result {
        eprintln!("damage: {}: {error}", args.join(" "));
        std::process::exit(1);
    }
}

fn usage() -> ! {
    eprintln!("usage: damage FILE SEED PERCENT | damage repaired SOUND DAMAGED FILE");
    std::process::exit(2);
}
