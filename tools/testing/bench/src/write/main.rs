// SPDX-License-Identifier: GPL-2.0

//! Measures how a file system writes, in the guest.
//!
//! bench-write FS DISK TAR [WORKLOAD...]
//!
//! FS is btrfs, ext4, xfs or tmpfs. DISK is made anew for each group of workloads, TAR is a device that has an
//! archive. Prints lines `WORKLOAD VALUE UNIT CPU`: CPU are the seconds of processor time that the
//! guest's kernel took, of which other work on the machine takes none away.

mod data;
mod guest;
mod names;

use guest::{Guest, Measured};
use std::io::{Error, Result};

/// How often each group runs, unless BENCH_TIMES says so; the best counts, for what disturbs makes it
/// slower only.
const TIMES: usize = 2;

/// Workloads that need each other, in order, on one new file system.
struct Group {
    names: &'static [&'static str],
    options: &'static str,
    /// Other file systems have something like it.
    all: bool,
    run: fn(&Guest, &mut Vec<Measured>) -> Result<()>,
}

const GROUPS: [Group; 14] = [
    Group {
        names: &["create-40k", "rename-40k", "unlink-40k"],
        options: "",
        all: true,
        run: names::empty_files,
    },
    Group {
        names: &["create-40k-1k", "unlink-40k-1k"],
        options: "",
        all: true,
        run: names::small_files,
    },
    Group {
        names: &["create-40k-x4"],
        options: "",
        all: true,
        run: names::by_threads,
    },
    Group {
        names: &["mkdir-10k", "rmdir-10k"],
        options: "",
        all: true,
        run: names::directories,
    },
    Group {
        names: &["untar-10k", "rm-rf-10k"],
        options: "",
        all: true,
        run: names::archive,
    },
    Group {
        names: &["create-400k", "mount-400k", "create-p999"],
        options: "",
        all: false,
        run: names::many_files,
    },
    Group {
        names: &["write-plain", "overwrite-plain"],
        options: "",
        all: true,
        run: data::sequential,
    },
    Group {
        names: &["write-zstd"],
        options: "compress=zstd",
        all: false,
        run: data::text,
    },
    Group {
        names: &["write-lzo"],
        options: "compress=lzo",
        all: false,
        run: data::text,
    },
    Group {
        names: &["write-nodatacow", "overwrite-nodatacow"],
        options: "nodatacow",
        all: false,
        run: data::sequential,
    },
    Group {
        names: &["random-4k-buffered", "random-4k-direct"],
        options: "",
        all: true,
        run: data::random,
    },
    Group {
        names: &["random-4k-aio32"],
        options: "",
        all: true,
        run: data::queued,
    },
    Group {
        names: &["fsync-4k"],
        options: "",
        all: true,
        run: data::fsyncs,
    },
    Group {
        names: &["sync-1-file"],
        options: "",
        all: true,
        run: data::syncs,
    },
];

/// Keeps of each workload the best values.
fn merge(best: &mut Vec<Measured>, new: Vec<Measured>) {
    if best.is_empty() {
        *best = new;
        return;
    }
    for (best, new) in best.iter_mut().zip(new) {
        best.seconds = best.seconds.min(new.seconds);
        best.cpu = best.cpu.min(new.cpu);
    }
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [fs, disk, tar, wanted @ ..] = args.as_slice() else {
        return Err(Error::other("usage: bench-write FS DISK TAR [WORKLOAD...]"));
    };
    let guest = Guest::new(fs, disk, tar)?;
    let times = std::env::var("BENCH_TIMES")
        .ok()
        .and_then(|text| text.parse().ok());
    for group in &GROUPS {
        let named = |name: &&str| wanted.iter().any(|word| word == name);
        if !(wanted.is_empty() || group.names.iter().any(named)) || !(group.all || fs == "btrfs") {
            continue;
        }
        let mut best = Vec::new();
        for _ in 0..times.unwrap_or(TIMES) {
            guest.fresh(group.options)?;
            let mut new = Vec::new();
            (group.run)(&guest, &mut new)?;
            guest.umount()?;
            merge(&mut best, new);
        }
        for (name, one) in group.names.iter().zip(&best) {
            let value = match one.unit {
                "ms" => one.seconds * 1000.0,
                _ => one.amount / one.seconds,
            };
            println!("{name} {value:.2} {} {:.3}", one.unit, one.cpu);
        }
    }
    Ok(())
}
