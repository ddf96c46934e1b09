// SPDX-License-Identifier: GPL-2.0

//! crash [--seed N] [--steps N] [--points N] [--mkfs "ARGS"] [--options OPTIONS] MAIN LOG REBUILT SCRATCH
//!
//! Runs a random workload on MAIN while dm-log-writes records each write and flush on LOG. Then it
//! rebuilds on REBUILT what a disk had at moments of the log: all that was flushed, and some of what
//! was not. Each is mounted for writing (through a snapshot, which SCRATCH takes the changes of),
//! compared with what the workload had been promised, written to, and checked by `btrfs check`.
//!
//! MAIN and REBUILT have the same size. For guests.

mod device;
mod history;
mod log;
mod workload;

use device::{run, sectors, Disk, Mapped};
use history::History;
use log::{Log, What};
use std::collections::BTreeMap;
use std::fs;
use testkit::rng::Rng;
use testkit::sys;
use workload::Workload;

const MOUNT: &str = "/mnt/crash";

struct Options {
    seed: u64,
    steps: usize,
    points: usize,
    mkfs: String,
    options: String,
    devices: Vec<String>,
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        seed: 1,
        steps: 400,
        points: 60,
        mkfs: String::new(),
        options: "commit=1".into(),
        devices: Vec::new(),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if !argument.starts_with("--") {
            options.devices.push(argument);
            continue;
        }
        let value = arguments
            .next()
            .ok_or(format!("{argument} wants a value"))?;
        let number = || {
            value
                .parse()
                .map_err(|e| format!("{argument} {value}: {e}"))
        };
        match argument.as_str() {
            "--seed" => options.seed = number()?,
            "--steps" => options.steps = number()? as usize,
            "--points" => options.points = number()? as usize,
            "--mkfs" => options.mkfs = value,
            "--options" => options.options = value,
            _ => return Err(format!("no option {argument}")),
        }
    }
    match options.devices.len() {
        4 => Ok(options),
        n => Err(format!("four devices are wanted, not {n}")),
    }
}

/// The files that are there, by name.
fn look() -> Result<BTreeMap<String, Vec<u8>>, String> {
    let mut found = BTreeMap::new();
    let fail = |e: std::io::Error| format!("walk: {e}");
    for dir in fs::read_dir(MOUNT).map_err(fail)? {
        let dir = dir.map_err(fail)?;
        for file in fs::read_dir(dir.path()).map_err(fail)? {
            let path = file.map_err(fail)?.path();
            let name = path.strip_prefix(MOUNT).unwrap_or(&path);
            let content = fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            found.insert(name.to_string_lossy().into_owned(), content);
        }
    }
    Ok(found)
}

/// Records the workload.
fn record(options: &Options) -> Result<History, String> {
    let [main, log, rebuilt, _] = &options.devices[..] else {
        return Err("devices".into());
    };
    let mut mkfs = vec!["-q", "-f"];
    mkfs.extend(options.mkfs.split_whitespace());
    mkfs.push(main);
    run("mkfs.btrfs", &mkfs)?;
    let (from, to) = (format!("if={main}"), format!("of={rebuilt}"));
    run("dd", &[&from, &to, "bs=1M", "oflag=direct", "status=none"])?;
    let table = format!("0 {} log-writes {main} {log}", sectors(main)?);
    let mapped = Mapped::new("recorded", &table)?;
    sys::mount(&mapped.path(), MOUNT, "btrfs", 0, &options.options).map_err(|e| e.to_string())?;
    let mark = |text: &str| mapped.message(&format!("mark {text}"));
    let mut workload = Workload::new(MOUNT, options.seed, &mark);
    let done = workload.run(options.steps);
    sys::umount(MOUNT, 0).map_err(|e| format!("umount: {e}"))?;
    done.map(|()| workload.history)
}

/// Mounts what is left after a crash, and judges it.
fn judge(options: &Options, history: &History, mark: Option<usize>) -> Result<(), String> {
    let (rebuilt, scratch) = (&options.devices[2], &options.devices[3]);
    let (zero, to) = ("if=/dev/zero", format!("of={scratch}"));
    run(
        "dd",
        &[zero, &to, "bs=4k", "count=1", "oflag=direct", "status=none"],
    )?;
    let table = format!("0 {} snapshot {rebuilt} {scratch} N 8", sectors(rebuilt)?);
    let disk = Mapped::new("crashed", &table)?;
    sys::mount(&disk.path(), MOUNT, "btrfs", 0, &options.options)
        .map_err(|e| format!("mount: {e}"))?;
    let result = look()
        .and_then(|found| history.judge(mark, &found))
        .and_then(|()| {
            // It goes on being a file system.
            let file = format!("{MOUNT}/after");
            fs::write(&file, [7; 50_000]).map_err(|e| format!("write after the crash: {e}"))
        });
    sys::umount(MOUNT, 0).map_err(|e| format!("umount: {e}"))?;
    result?;
    run("btrfs", &["check", "--check-data-csum", &disk.path()]).map(drop)
}

/// Goes through the log, and stops at some moments.
fn crash(options: &Options, history: &History) -> Result<usize, String> {
    let log = Log::read(&options.devices[1])?;
    let mut rng = Rng::part(options.seed, "crash");
    let mut disk = Disk::new(&options.devices[2], &log)?;
    let mut mark = None;
    let count = log.entries.len();
    let flushes = log.entries.iter().filter(|e| e.flush).count();
    println!("{count} entries, {flushes} flushes");
    let mut points = 0;
    while disk.position < count {
        let entry = &log.entries[disk.position];
        if let What::Mark(text) = &entry.what {
            mark = text.parse().ok();
        }
        let special = entry.flush || entry.fua;
        disk.step()?;
        // Flushes and superblocks are where states change: half of the moments are there.
        let share = if special { 4 * flushes } else { 2 * count };
        if rng.below(share.max(1) as u64) >= options.points as u64 {
            continue;
        }
        points += 1;
        let undo = match rng.one_in(3) {
            true => Vec::new(),
            false => disk.add_some(&mut rng)?,
        };
        judge(options, history, mark).map_err(|e| {
            let (at, from, some) = (disk.position, disk.durable, undo.len());
            format!("crash after entry {at}, durable up to {from}, {some} more, mark {mark:?}: {e}")
        })?;
        disk.undo(undo)?;
    }
    Ok(points)
}

fn main() {
    let result = options().and_then(|options| {
        fs::create_dir_all(MOUNT).map_err(|e| format!("{MOUNT}: {e}"))?;
        let history = record(&options)?;
        let points = crash(&options, &history)?;
        if points == 0 {
            return Err("no moment was looked at".into());
        }
        println!("crash: {points} moments, all as promised");
        Ok(())
    });
    if let Err(error) = result {
        eprintln!("crash: {error}");
        std::process::exit(1);
    }
}
