// SPDX-License-Identifier: GPL-2.0

//! Measures the btrfs that is loaded, in the guest.
//!
//! bench-measure FILES-DISK GROUPS-DISK [WORKLOAD...]
//!
//! Prints lines `WORKLOAD VALUE UNIT`. Before each cold workload the file system is unmounted, all
//! caches are dropped, and it is mounted again, so that nothing of it is in the guest's memory.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{Error, Read, Result};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::Instant;

const MNT: &str = "/mnt";
const BLOCK: usize = 4096;
/// Reads of each run of random reads.
const RANDOM_READS: u64 = 16_384;
/// How often each workload runs; the best counts, for what disturbs makes it slower only.
const TIMES: usize = 2;

fn check(result: libc::c_int) -> Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(Error::last_os_error()),
    }
}

fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(Error::other)
}

fn mount(disk: &str, options: &str) -> Result<()> {
    let options = c_string(options)?;
    let (source, target, kind) = (c_string(disk)?, c_string(MNT)?, c_string("btrfs")?);
    // SAFETY: Strings that end with zero.
    check(unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            libc::MS_RDONLY,
            options.as_ptr().cast(),
        )
    })
}

fn umount() -> Result<()> {
    let target = c_string(MNT)?;
    // SAFETY: A string that ends with zero.
    check(unsafe { libc::umount2(target.as_ptr(), 0) })
}

fn drop_caches() -> Result<()> {
    fs::write("/proc/sys/vm/drop_caches", "3")
}

/// Runs `f` on the freshly mounted file system, with nothing in memory.
fn fresh<T>(disk: &str, f: impl FnOnce() -> Result<T>) -> Result<T> {
    fresh_with(disk, "", f)
}

fn fresh_with<T>(disk: &str, options: &str, f: impl FnOnce() -> Result<T>) -> Result<T> {
    drop_caches()?;
    mount(disk, options)?;
    let result = f();
    umount()?;
    result
}

fn seconds(f: impl FnOnce() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    f()?;
    Ok(start.elapsed().as_secs_f64())
}

fn best(mut f: impl FnMut() -> Result<f64>) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..TIMES {
        best = best.min(f()?);
    }
    Ok(best)
}

fn in_mnt(name: &str) -> String {
    format!("{MNT}/{name}")
}

fn read_all(path: &str) -> Result<()> {
    let mut file = File::open(path)?;
    let mut buf = vec![0; 128 << 10];
    while file.read(&mut buf)? > 0 {}
    Ok(())
}

/// Reads blocks at random positions; the sequence differs with `seed`.
fn read_random(file: &File, seed: u64, count: u64) -> Result<()> {
    let blocks = file.metadata()?.len() / BLOCK as u64;
    let mut memory = vec![0; 2 * BLOCK];
    let skip = memory.as_ptr().align_offset(BLOCK);
    let buf = &mut memory[skip..skip + BLOCK];
    let mut state = seed;
    for _ in 0..count {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        file.read_exact_at(buf, (state >> 33) % blocks * BLOCK as u64)?;
    }
    Ok(())
}

fn random_buffered() -> Result<f64> {
    let file = File::open(in_mnt("plain"))?;
    // SAFETY: The descriptor is open. Without it, reads ahead would be measured.
    unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_RANDOM) };
    seconds(|| read_random(&file, 1, RANDOM_READS))
}

fn random_direct(threads: u64) -> Result<f64> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECT)
        .open(in_mnt("plain"))?;
    // The metadata of the file is in memory when the measurement begins.
    read_random(&file, 2, 256)?;
    seconds(|| {
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..threads)
                .map(|n| {
                    let file = &file;
                    scope.spawn(move || read_random(file, 3 + n, RANDOM_READS / threads))
                })
                .collect();
            readers
                .into_iter()
                .try_for_each(|reader| reader.join().map_err(|_| Error::other("a reader died"))?)
        })
    })
}

/// Runs `f` on all files of all directories in `files`.
fn walk(mut f: impl FnMut(&Path) -> Result<()>) -> Result<()> {
    for dir in fs::read_dir(in_mnt("files"))? {
        for file in fs::read_dir(dir?.path())? {
            f(&file?.path())?;
        }
    }
    Ok(())
}

fn stat_all() -> Result<()> {
    walk(|path| fs::symlink_metadata(path).map(drop))
}

fn list_large() -> Result<()> {
    let count = fs::read_dir(in_mnt("large"))?.count();
    match count {
        50_000 => Ok(()),
        _ => Err(Error::other("entries are missing")),
    }
}

/// A line of /proc/meminfo, in KiB.
fn meminfo(name: &str) -> Result<f64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    value.ok_or_else(|| Error::other("no such line in meminfo"))
}

/// Memory that is taken after a walk over all files and has not been before, MiB.
fn memory(disk: &str) -> Result<f64> {
    stat_all().ok();
    fresh(disk, || {
        drop_caches()?;
        let before = meminfo("MemFree:")?;
        stat_all()?;
        Ok((before - meminfo("MemFree:")?) / 1024.0)
    })
}

/// What is measured, and its unit. A unit `x/s` is the better the more, others the less.
fn measure(name: &str, disk: &str, groups: &str) -> Result<(f64, &'static str)> {
    let rate =
        |amount: f64, f: &mut dyn FnMut() -> Result<f64>| -> Result<f64> { Ok(amount / best(f)?) };
    let mib = |name: &str| -> Result<f64> {
        fresh(disk, || {
            Ok(fs::metadata(in_mnt(name))?.len() as f64 / f64::from(1 << 20))
        })
    };
    let cold = |f: &dyn Fn() -> Result<()>| fresh(disk, || seconds(f));
    let value = match name {
        "read-cold-plain" | "read-cold-zstd" | "read-cold-lzo" => {
            let file = name.trim_start_matches("read-cold-");
            rate(mib(file)?, &mut || cold(&|| read_all(&in_mnt(file))))?
        }
        "read-cold-no-sums" => rate(mib("plain")?, &mut || {
            fresh_with(disk, "rescue=ignoredatacsums", || {
                seconds(|| read_all(&in_mnt("plain")))
            })
        })?,
        "read-warm-plain" => rate(mib("plain")?, &mut || {
            fresh(disk, || {
                read_all(&in_mnt("plain"))?;
                best(|| seconds(|| read_all(&in_mnt("plain"))))
            })
        })?,
        "random-4k-buffered" => rate(RANDOM_READS as f64, &mut || fresh(disk, random_buffered))?,
        "random-4k-direct" => rate(RANDOM_READS as f64, &mut || {
            fresh(disk, || random_direct(1))
        })?,
        "random-4k-direct-x4" => rate(RANDOM_READS as f64, &mut || {
            fresh(disk, || random_direct(4))
        })?,
        "stat-100k-cold" => rate(100_000.0, &mut || cold(&stat_all))?,
        "read-100k-small" => rate(100_000.0, &mut || {
            cold(&|| walk(|path| fs::read(path).map(drop)))
        })?,
        "readdir-50k-cold" => rate(50_000.0, &mut || cold(&list_large))?,
        "readdir-50k-warm" => rate(50_000.0, &mut || {
            fresh(disk, || {
                list_large()?;
                best(|| seconds(list_large))
            })
        })?,
        "mount-500-groups" => {
            let time = best(|| {
                drop_caches()?;
                let time = seconds(|| mount(groups, ""))?;
                umount()?;
                Ok(time)
            })?;
            return Ok((time * 1000.0, "ms"));
        }
        "memory-100k-stat" => return Ok((memory(disk)?, "MiB")),
        _ => return Err(Error::other("no such workload")),
    };
    let unit = if name.starts_with("read-cold") || name.starts_with("read-warm") {
        "MiB/s"
    } else if name.starts_with("random") {
        "reads/s"
    } else {
        "files/s"
    };
    Ok((value, unit))
}

const WORKLOADS: [&str; 14] = [
    "read-cold-plain",
    "read-cold-no-sums",
    "read-cold-zstd",
    "read-cold-lzo",
    "read-warm-plain",
    "random-4k-buffered",
    "random-4k-direct",
    "random-4k-direct-x4",
    "stat-100k-cold",
    "read-100k-small",
    "readdir-50k-cold",
    "readdir-50k-warm",
    "mount-500-groups",
    "memory-100k-stat",
];

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [disk, groups, wanted @ ..] = args.as_slice() else {
        return Err(Error::other("usage: bench-measure DISK DISK [WORKLOAD...]"));
    };
    for name in WORKLOADS {
        if wanted.is_empty() || wanted.iter().any(|word| word == name) {
            let (value, unit) = measure(name, disk, groups)?;
            println!("{name} {value:.2} {unit}");
        }
    }
    Ok(())
}
