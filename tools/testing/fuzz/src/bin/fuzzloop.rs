// SPDX-License-Identifier: GPL-2.0

//! In the guest: mutates, mounts, uses and unmounts one image after the other.
//!
//! `fuzzloop --device DEV --changes DEV --base IMAGE --seeds FROM..TO [--seconds N]
//! [--options MOUNT-OPTIONS] [--write N]`
//!
//! The first device holds the base image, the second one what differs from it at the moment: most of
//! the time would go into copying the image again otherwise. One in N images (default: 3, 0 for none)
//! is mounted for writing, and written to. A child does the work and names every seed in the kernel
//! log before it mounts it; the parent ends the run when one seed takes longer than two minutes. Exit status 1 for a hang, a child that
//! died, or an image that could not be unmounted. What else must not happen (an oops, a warning)
//! the vm sees in the kernel's log.

use fuzz::exercise::exercise;
use fuzz::image::Image;
use fuzz::mutate::{mutate, Patch};
use fuzz::scribble::scribble;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Result, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use testkit::{btrfs, dm::Snapshot, rng::Rng, sys};

const MOUNT_POINT: &str = "/mnt/fuzz";
const PATIENCE: Duration = Duration::from_secs(120);

/// The arguments.
#[derive(Clone, Default)]
struct Args {
    device: String,
    changes: String,
    base: String,
    from: u64,
    to: u64,
    seconds: u64,
    options: Option<String>,
    write: u64,
    child: bool,
}

fn usage() -> ! {
    eprintln!(
        "usage: fuzzloop --device DEV --changes DEV --base IMAGE --seeds FROM..TO [--seconds N] \
         [--options O] [--write N]"
    );
    std::process::exit(2);
}

fn parse() -> Args {
    let mut parsed = Args {
        seconds: u64::MAX,
        write: 3,
        ..Args::default()
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        if arg == "--child" {
            parsed.child = true;
            continue;
        }
        let value = args.next().unwrap_or_else(|| usage());
        match arg.as_str() {
            "--device" => parsed.device = value,
            "--changes" => parsed.changes = value,
            "--base" => parsed.base = value,
            "--options" => parsed.options = Some(value),
            "--write" => parsed.write = value.parse().unwrap_or_else(|_| usage()),
            "--seconds" => parsed.seconds = value.parse().unwrap_or_else(|_| usage()),
            "--seeds" => {
                let Some((from, to)) = value.split_once("..") else {
                    usage()
                };
                parsed.from = from.parse().unwrap_or_else(|_| usage());
                parsed.to = to.parse().unwrap_or_else(|_| usage());
            }
            _ => usage(),
        }
    }
    if [&parsed.device, &parsed.changes, &parsed.base]
        .iter()
        .any(|name| name.is_empty())
    {
        usage();
    }
    parsed
}

/// Copies the data of the base image to the device.
fn load(base: &File, device: &File) -> Result<()> {
    let size = base.metadata()?.len() as i64;
    let mut at = 0;
    let mut buffer = sys::AlignedBuf::new(1 << 20);
    while at < size {
        let Ok(data) = sys::lseek(base, at, libc::SEEK_DATA) else {
            break;
        };
        let data = data / 4096 * 4096;
        let hole = sys::lseek(base, data, libc::SEEK_HOLE)?;
        let mut pos = data;
        while pos < hole {
            let len = ((hole - pos).min(1 << 20) as usize).div_ceil(4096) * 4096;
            let n = base.read_at(&mut buffer.bytes()[..len], pos as u64)?;
            if n == 0 {
                break;
            }
            device.write_all_at(&buffer.bytes()[..n.div_ceil(4096) * 4096], pos as u64)?;
            pos += n as i64;
        }
        at = hole;
    }
    Ok(())
}

/// The device that is mounted: the base image with changes.
struct Disk {
    file: File,
    /// Goes after the file is closed.
    snapshot: Snapshot,
}

impl Disk {
    /// The base image as it is.
    fn new(args: &Args, size: u64) -> Result<Self> {
        let snapshot = Snapshot::new("fuzz", &args.device, &args.changes, size / 512)?;
        let file = open_direct(&snapshot.path)?;
        Ok(Self { file, snapshot })
    }
}

fn open_direct(path: &str) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_DIRECT);
    options.open(path)
}

/// Writes a patch with aligned direct I/O.
fn apply(device: &File, patches: &[Patch]) -> Result<()> {
    for patch in patches {
        let mut buffer = sys::AlignedBuf::new(patch.bytes.len());
        buffer.bytes().copy_from_slice(&patch.bytes);
        device.write_all_at(buffer.bytes(), patch.offset)?;
    }
    Ok(())
}

/// Whether the image of `seed` is written to.
fn is_written(args: &Args, seed: u64) -> bool {
    args.write != 0 && Rng::new(seed ^ 0x7277).one_in(args.write)
}

/// Most seeds mount with nothing else; some with what changes the way of reading.
fn options(args: &Args, seed: u64) -> String {
    if let Some(options) = &args.options {
        return options.clone();
    }
    match Rng::new(seed ^ 0x6f70_7473).below(10) {
        0 if !is_written(args, seed) => "rescue=all",
        0 => "compress-force=zstd",
        1 => "degraded",
        2 if !is_written(args, seed) => "rescue=usebackuproot",
        2 => "discard=sync,max_inline=100",
        3 => "subvolid=5",
        _ => "",
    }
    .into()
}

/// Unmounts; a file system that stays busy is reported as such.
fn unmount() -> Result<()> {
    for _ in 0..50 {
        match sys::umount(MOUNT_POINT, 0) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                std::thread::sleep(Duration::from_millis(20));
            }
            other => return other,
        }
    }
    sys::umount(MOUNT_POINT, 0)
}

/// The child: does the seeds and prints a line for each.
fn work(args: &Args) -> Result<()> {
    let base = File::open(&args.base)?;
    load(&base, &open_direct(&args.device)?)?;
    let size = base.metadata()?.len();
    let mut disk = Disk::new(args, size)?;
    let image = Image::read(&base)?;
    std::fs::create_dir_all(MOUNT_POINT)?;
    let mut log = OpenOptions::new().write(true).open("/dev/kmsg")?;
    let out = std::io::stdout();
    for seed in args.from..args.to {
        let mutation = mutate(&image, &base, seed)?;
        let original: Vec<Patch> = mutation
            .patches
            .iter()
            .map(|p| {
                let mut bytes = vec![0u8; p.bytes.len()];
                base.read_exact_at(&mut bytes, p.offset).map(|()| Patch {
                    offset: p.offset,
                    bytes,
                })
            })
            .collect::<Result<_>>()?;
        apply(&disk.file, &mutation.patches)?;
        // One write is one line of the log.
        let written = is_written(args, seed);
        let how = if written { "rw" } else { "ro" };
        let mut line = format!("fuzz: seed {seed} {how}: {}", mutation.story.join("; "));
        line.truncate(900);
        let _ = log.write_all(line.as_bytes());
        // What an earlier seed left in the list of devices must not decide about this one.
        btrfs::forget_devices()?;
        let mounted = sys::mount(
            &disk.snapshot.path,
            MOUNT_POINT,
            "btrfs",
            libc::MS_NOATIME | if written { 0 } else { libc::MS_RDONLY },
            &options(args, seed),
        );
        let verdict = match mounted {
            Err(error) => format!("{how} refused {}", sys::errno_name(&error)),
            Ok(()) => {
                let root = Path::new(MOUNT_POINT);
                let mut outcome = exercise(root);
                if written {
                    outcome.add(scribble(root, seed));
                }
                unmount()?;
                let class = if outcome.errors > 0 {
                    "errors"
                } else {
                    "clean"
                };
                format!(
                    "{how} {class} objects={} errors={}",
                    outcome.objects, outcome.errors
                )
            }
        };
        if written {
            drop(disk);
            disk = Disk::new(args, size)?;
        } else {
            apply(&disk.file, &original)?;
        }
        writeln!(out.lock(), "{seed} {verdict}")?;
    }
    Ok(())
}

/// The parent: starts the child and watches it.
fn watch(args: &Args) -> Result<bool> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(std::env::args().skip(1))
        .arg("--child")
        .stdout(Stdio::piped())
        .spawn()?;
    let (send, receive) = mpsc::channel();
    let pipe = child
        .stdout
        .take()
        .ok_or_else(|| std::io::Error::other("no pipe"))?;
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let _ = send.send(line);
        }
    });
    let start = Instant::now();
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut next = args.from;
    let sound = loop {
        match receive.recv_timeout(PATIENCE) {
            Ok(line) => {
                let mut words = line.split(' ');
                next = words
                    .next()
                    .and_then(|s| s.parse::<u64>().ok())
                    .map_or(next, |s| s + 1);
                let class: Vec<&str> = words.take_while(|w| !w.contains('=')).collect();
                *counts.entry(class.join(" ")).or_default() += 1;
                if start.elapsed().as_secs() >= args.seconds {
                    let _ = child.kill();
                    break true;
                }
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                println!(
                    "HANG: seed {next} took longer than {} s",
                    PATIENCE.as_secs()
                );
                let stack = std::fs::read_to_string(format!("/proc/{}/stack", child.id()));
                println!("{}", stack.unwrap_or_default());
                break false;
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let status = child.wait()?;
                if !status.success() {
                    println!("the child ended with {status} at seed {next}");
                }
                break status.success();
            }
        }
    };
    for (class, count) in &counts {
        println!("{count:8} {class}");
    }
    let done = next - args.from;
    println!(
        "{done} images, {:.1} per second",
        done as f64 / start.elapsed().as_secs_f64()
    );
    Ok(sound && done > 0)
}

fn main() {
    let args = parse();
    let result = if args.child {
        work(&args).map(|()| true)
    } else {
        watch(&args)
    };
    match result {
        Ok(true) => {}
        Ok(false) => std::process::exit(1),
        Err(error) => {
            eprintln!("fuzzloop: {error}");
            std::process::exit(1);
        }
    }
}
