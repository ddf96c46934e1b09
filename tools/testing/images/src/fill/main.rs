// SPDX-License-Identifier: GPL-2.0

//! Fills a mounted, writable btrfs with everything the read side can meet.
//!
//! `fill DIR [--seed N] [--set NAME] [--no-extref] [--dir-entries N]`
//!
//! The same seed gives the same tree. Sets: `full` (default), `small` (a few objects of each kind,
//! for the hostile images), `nodatasum` (what must be written under that mount option). A step that
//! fails ends the program: an image that lacks something would be a silent hole in the tests.

mod attrs;
mod data;
mod names;
mod subvol;
mod tree;

use std::io::Result;
use std::path::{Path, PathBuf};
use testkit::rng::Rng;

/// What to fill and how much.
pub struct Plan {
    pub root: PathBuf,
    pub seed: u64,
    /// A few objects of each kind only.
    pub small: bool,
    /// The extended inode reference feature is on.
    pub extref: bool,
    /// Entries of the wide directory.
    pub dir_entries: u64,
}

impl Plan {
    /// The generator of a step.
    pub fn rng(&self, step: &str) -> Rng {
        Rng::part(self.seed, step)
    }

    /// Creates the directory of a step and returns it.
    pub fn dir(&self, name: &str) -> Result<PathBuf> {
        let dir = self.root.join(name);
        std::fs::create_dir(&dir)?;
        Ok(dir)
    }

    /// `full`, or `small` when the plan says so.
    pub fn scale(&self, full: u64, small: u64) -> u64 {
        if self.small {
            small
        } else {
            full
        }
    }
}

/// A named step.
type Step = (&'static str, fn(&Plan, &Path) -> Result<()>);

/// Steps of the full and the small set, each in a directory of its name.
const STEPS: &[Step] = &[
    ("small", data::small_files),
    ("inline", data::inline_files),
    ("sizes", data::odd_sizes),
    ("sparse", data::sparse),
    ("fragments", data::fragmented),
    ("prealloc", data::preallocated),
    ("compressible", data::compressible),
    ("huge", data::huge_offsets),
    ("reflink", data::reflinks),
    ("nocow", data::nodatacow),
    ("deep", tree::deep),
    ("wide", tree::wide),
    ("special", tree::special),
    ("symlinks", tree::symlinks),
    ("hardlinks", tree::hard_links),
    ("removed", tree::removed),
    ("names", names::names),
    ("collisions", names::collisions),
    ("xattrs", attrs::xattrs),
    ("acl", attrs::acls),
    ("owners", attrs::owners_and_times),
    ("subvols", subvol::subvolumes),
    ("flags", attrs::flags),
];

fn usage() -> ! {
    eprintln!(
        "usage: fill DIR [--seed N] [--set full|small|nodatasum] [--no-extref] [--dir-entries N]"
    );
    std::process::exit(2);
}

fn main() {
    let mut args = std::env::args().skip(1);
    let Some(root) = args.next() else { usage() };
    let mut plan = Plan {
        root: root.into(),
        seed: 1,
        small: false,
        extref: true,
        dir_entries: 500,
    };
    let mut nodatasum = false;
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_else(|| usage());
        match arg.as_str() {
            "--seed" => plan.seed = value().parse().unwrap_or_else(|_| usage()),
            "--dir-entries" => plan.dir_entries = value().parse().unwrap_or_else(|_| usage()),
            "--no-extref" => plan.extref = false,
            "--set" => match value().as_str() {
                "full" => {}
                "small" => plan.small = true,
                "nodatasum" => nodatasum = true,
                _ => usage(),
            },
            _ => usage(),
        }
    }
    let steps: &[Step] = if nodatasum {
        &[("nodatasum", data::nodatasum)]
    } else {
        STEPS
    };
    for (name, step) in steps {
        if let Err(error) = plan.dir(name).and_then(|dir| step(&plan, &dir)) {
            eprintln!("fill: {name}: {error}");
            std::process::exit(1);
        }
    }
}
