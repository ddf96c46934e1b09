// SPDX-License-Identifier: GPL-2.0

//! Workloads of names: files are made, renamed and removed, and then all is made durable.

use crate::guest::{in_mnt, sync, Guest, Measured};
use std::fs::{self, File};
use std::io::{Error, Result, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const DIRS: u64 = 40;
const FILES: u64 = 1000;

fn dir(number: u64) -> String {
    in_mnt(&format!("directory-{number:03}"))
}

fn file(dir: &str, number: u64) -> String {
    format!("{dir}/file-{number:05}")
}

/// Does `f` to all names.
fn each(dirs: u64, mut f: impl FnMut(&str, u64) -> Result<()>) -> Result<()> {
    for number in 0..dirs {
        let dir = dir(number);
        for number in 0..FILES {
            f(&dir, number)?;
        }
    }
    Ok(())
}

fn make_dirs(dirs: u64) -> Result<()> {
    (0..dirs).try_for_each(|number| fs::create_dir(dir(number)))
}

fn make(dir: &str, number: u64) -> Result<()> {
    File::create(file(dir, number)).map(drop)
}

pub fn empty_files(guest: &Guest, out: &mut Vec<Measured>) -> Result<()> {
    let count = DIRS * FILES;
    guest.measure(out, count, "files/s", || {
        make_dirs(DIRS)?;
        each(DIRS, make)?;
        sync();
        Ok(())
    })?;
    guest.measure(out, count, "files/s", || {
        each(DIRS, |dir, number| {
            fs::rename(file(dir, number), format!("{dir}/renamed-{number:05}"))
        })?;
        sync();
        Ok(())
    })?;
    guest.measure(out, count, "files/s", || {
        each(DIRS, |dir, number| {
            fs::remove_file(format!("{dir}/renamed-{number:05}"))
        })?;
        sync();
        Ok(())
    })
}

pub fn small_files(guest: &Guest, out: &mut Vec<Measured>) -> Result<()> {
    let content: Vec<u8> = (0..1024).map(|i| (i * 7 % 251) as u8).collect();
    guest.measure(out, DIRS * FILES, "files/s", || {
        make_dirs(DIRS)?;
        each(DIRS, |dir, number| {
            File::create(file(dir, number))?.write_all(&content)
        })?;
        sync();
        Ok(())
    })?;
    guest.measure(out, DIRS * FILES, "files/s", || {
        each(DIRS, |dir, number| fs::remove_file(file(dir, number)))?;
        sync();
        Ok(())
    })
}

pub fn by_threads(guest: &Guest, out: &mut Vec<Measured>) -> Result<()> {
    make_dirs(DIRS)?;
    sync();
    guest.measure(out, DIRS * FILES, "files/s", || {
        std::thread::scope(|scope| {
            let makers: Vec<_> = (0..4)
                .map(|thread| {
                    scope.spawn(move || {
                        let mut own = (thread..DIRS).step_by(4);
                        own.try_for_each(|number| {
                            let dir = dir(number);
                            (0..FILES).try_for_each(|number| make(&dir, number))
                        })
                    })
                })
                .collect();
            makers
                .into_iter()
                .try_for_each(|maker| maker.join().map_err(|_| Error::other("a thread died"))?)
        })?;
        sync();
        Ok(())
    })
}

pub fn directories(guest: &Guest, out: &mut Vec<Measured>) -> Result<()> {
    guest.measure(out, 11_110, "dirs/s", || {
        let mut level = vec![in_mnt("tree")];
        fs::create_dir(&level[0])?;
        for _ in 0..4 {
            let mut next = Vec::new();
            for above in &level {
                for number in 0..10 {
                    let dir = format!("{above}/{number}");
                    fs::create_dir(&dir)?;
                    next.push(dir);
                }
            }
            level = next;
        }
        sync();
        Ok(())
    })?;
    guest.measure(out, 11_110, "dirs/s", || {
        fs::remove_dir_all(in_mnt("tree"))?;
        sync();
        Ok(())
    })
}

pub fn archive(guest: &Guest, out: &mut Vec<Measured>) -> Result<()> {
    // Into memory.
    std::io::copy(&mut File::open(&guest.tar)?, &mut std::io::sink())?;
    guest.measure(out, 1, "ms", || {
        guest.program("tar", &["xf", &guest.tar, "-C", "/mnt", "--no-same-owner"])?;
        sync();
        Ok(())
    })?;
    guest.measure(out, 1, "ms", || {
        for entry in fs::read_dir("/mnt")? {
            let entry = entry?;
            if entry.file_type()?.is_dir() && entry.file_name() != "lost+found" {
                fs::remove_dir_all(entry.path())?;
            }
        }
        sync();
        Ok(())
    })
}

/// Ten times as many files, with a `sync` each second by somebody else.
pub fn many_files(guest: &Guest, out: &mut Vec<Measured>) -> Result<()> {
    let mut waits = Vec::new();
    guest.measure(out, 10 * DIRS * FILES, "files/s", || {
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_secs(1));
                    sync();
                }
            });
            let made = make_dirs(10 * DIRS).and_then(|()| {
                each(10 * DIRS, |dir, number| {
                    let start = Instant::now();
                    make(dir, number)?;
                    waits.push(start.elapsed().as_secs_f64());
                    Ok(())
                })
            });
            ended.store(true, Ordering::Relaxed);
            made
        })?;
        sync();
        Ok(())
    })?;
    guest.umount()?;
    guest.measure(out, 1, "ms", || guest.mount(""))?;
    waits.sort_by(f64::total_cmp);
    out.push(Measured {
        amount: 1.0,
        unit: "ms",
        seconds: waits[waits.len() * 999 / 1000],
        cpu: 0.0,
    });
    Ok(())
}
