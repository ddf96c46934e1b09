// SPDX-License-Identifier: GPL-2.0

//! Random operations on a file system, checked against a model of it in memory.
//!
//! `model DIR [--device DEV [--options OPTIONS]] [--seed N] [--steps N] [--names]
//! [--trace]`
//!
//! Every operation is done to the tree below DIR and to the model; result, error number, what is
//! read and, from time to time, the whole tree must agree. With --device, DIR is where DEV is
//! mounted, and it is unmounted and mounted again now and then: nothing may change by that. The
//! same seed does the same operations. A failure shows the last ones and the seed.

mod check;
mod data;
mod names;
mod oracle;
mod world;

use std::path::{Path, PathBuf};
use testkit::{files, sys};
use world::World;

struct Args {
    root: PathBuf,
    device: Option<String>,
    options: String,
    seed: u64,
    steps: u64,
    /// Only operations on names and attributes: files stay empty.
    names: bool,
    trace: bool,
}

const USAGE: &str =
    "usage: model DIR [--device DEV [--options OPTIONS]] [--seed N] [--steps N] [--names] [--trace]";

fn parse() -> Result<Args, String> {
    let mut args = Args {
        root: PathBuf::new(),
        device: None,
        options: String::new(),
        seed: 1,
        steps: 5000,
        names: false,
        trace: false,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(USAGE);
        let number = |text: String| text.parse().map_err(|_| USAGE);
        match word.as_str() {
            "--device" => args.device = Some(value()?),
            "--options" => args.options = value()?,
            "--seed" => args.seed = number(value()?)?,
            "--steps" => args.steps = number(value()?)?,
            "--names" => args.names = true,
            "--trace" => args.trace = true,
            _ if word.starts_with('-') || args.root != Path::new("") => return Err(USAGE.into()),
            _ => args.root = word.into(),
        }
    }
    if args.root == Path::new("") {
        return Err(USAGE.into());
    }
    Ok(args)
}

/// Operations and how often they are done.
type Operation = fn(&mut World) -> Result<(), String>;
const OPERATIONS: [(u64, Operation); 27] = [
    // The first are those of --names.
    (8, World::create),
    (4, World::mkdir),
    (2, World::symlink),
    (1, World::mknod),
    (4, World::link),
    (4, World::unlink),
    (2, World::rmdir),
    (10, World::rename),
    (2, World::tmpfile),
    (2, World::link_open),
    (3, World::chmod),
    (2, World::chown),
    (1, World::utimens),
    (6, World::xattr),
    (4, World::look),
    (2, World::fsync),
    (4, World::open),
    (14, World::write),
    (4, World::append),
    (6, World::direct_write),
    (3, World::direct_read),
    (8, World::read),
    (6, World::truncate),
    (9, World::fallocate),
    (8, World::map_write),
    (4, World::map_read),
    (3, World::copy),
];
const NAMES: usize = 17;

fn step(world: &mut World, operations: &[(u64, Operation)], total: u64) -> Result<(), String> {
    let mut number = world.rng.below(total);
    for &(weight, operation) in operations {
        if number < weight {
            return operation(world);
        }
        number -= weight;
    }
    Ok(())
}

/// What is done more rarely.
fn rare(world: &mut World, args: &Args) -> Result<(), String> {
    world.thin_out()?;
    if world.rng.one_in(300) {
        world.note("syncfs".into());
        sync(world)?;
    }
    if world.rng.one_in(200) {
        world.note("drop caches".into());
        // Not in a guest of one's own: then it is forbidden, and does not matter.
        let _ = std::fs::write("/proc/sys/vm/drop_caches", "3");
    }
    if world.rng.one_in(700) {
        world.note("compare all".into());
        check::tree(&world.root, &world.oracle)?;
    }
    if world.rng.one_in(900) {
        if let Some(device) = &args.device {
            remount(world, device, &args.options)?;
        }
    }
    Ok(())
}

fn sync(world: &World) -> Result<(), String> {
    let root = sys::open(&world.root, libc::O_RDONLY).map_err(|e| format!("open: {e}"))?;
    files::syncfs(&root).map_err(|e| format!("syncfs: {e}"))
}

fn remount(world: &mut World, device: &str, options: &str) -> Result<(), String> {
    world.note("remount".into());
    while !world.handles.is_empty() {
        world.close(0);
    }
    sync(world)?;
    let before = check::remember(&world.root, &world.oracle)?;
    let target = world.root.to_string_lossy().into_owned();
    sys::umount(&target, 0).map_err(|e| format!("umount: {e}"))?;
    sys::mount(device, &target, "btrfs", libc::MS_NOATIME, options)
        .map_err(|e| format!("mount: {e}"))?;
    check::unchanged(&world.root, &world.oracle, &before)?;
    check::tree(&world.root, &world.oracle)
}

fn run(world: &mut World, args: &Args) -> Result<(), String> {
    let count = if args.names { NAMES } else { OPERATIONS.len() };
    let operations = &OPERATIONS[..count];
    let total = operations.iter().map(|(weight, _)| weight).sum();
    while world.step < args.steps {
        step(world, operations, total)?;
        rare(world, args)?;
        world.step += 1;
    }
    world.note("the end".into());
    check::tree(&world.root, &world.oracle)?;
    match &args.device {
        Some(device) => remount(world, device, &args.options),
        None => Ok(()),
    }
}

fn main() {
    let args = parse().unwrap_or_else(|usage| {
        eprintln!("{usage}");
        std::process::exit(2);
    });
    // The modes of the model are exact.
    sys::umask(0);
    let mut world = World::new(&args.root, args.seed, args.trace);
    if let Err(error) = run(&mut world, &args) {
        world.explain(&error);
        println!("model: seed {}, step {}: {error}", args.seed, world.step);
        std::process::exit(1);
    }
    println!(
        "model: seed {}: {} steps, {} objects, {} MiB at the end",
        args.seed,
        args.steps,
        world.oracle.count(),
        world.oracle.volume() >> 20
    );
}
