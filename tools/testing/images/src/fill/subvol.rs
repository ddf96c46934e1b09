// SPDX-License-Identifier: GPL-2.0

//! Subvolumes and snapshots.

use crate::data::{content, text, write};
use crate::Plan;
use std::fs::{self, File};
use std::io::Result;
use std::os::unix::fs::FileExt;
use std::path::Path;
use testkit::{btrfs, sys};

/// Nested subvolumes, read-only and writable snapshots that have diverged, deleted ones, stubs of
/// nested ones in snapshots, and a default subvolume.
pub fn subvolumes(plan: &Plan, dir: &Path) -> Result<()> {
    let mut rng = plan.rng("subvols");
    let top = File::open(dir)?;
    btrfs::subvol_create(&top, "one")?;
    let one = dir.join("one");
    for i in 0..plan.scale(60, 6) {
        let len = rng.below(60_000);
        write(one.join(format!("f{i}")), &content(&mut rng, len))?;
    }
    fs::create_dir_all(one.join("d/e"))?;
    // Nested three deep.
    btrfs::subvol_create(&File::open(one.join("d"))?, "nested")?;
    write(one.join("d/nested/file"), b"nested\n")?;
    btrfs::subvol_create(&File::open(one.join("d/nested"))?, "deeper")?;
    write(one.join("d/nested/deeper/file"), &text(&mut rng, 10_000))?;
    sys::lsetxattr(one.join("d/nested"), b"user.on-subvolume", b"root")?;
    let source = File::open(&one)?;
    source.sync_all()?;

    btrfs::snapshot(&source, &top, "read-only", true)?;
    btrfs::snapshot(&source, &top, "writable", false)?;
    let writable = dir.join("writable");
    for i in 0..plan.scale(60, 6) {
        let path = writable.join(format!("f{i}"));
        match rng.below(5) {
            0 => fs::remove_file(path)?,
            1 => {
                let file = fs::OpenOptions::new().write(true).open(path)?;
                let at = rng.below(file.metadata()?.len() + 1);
                let len = rng.range(1..9000);
                file.write_all_at(&content(&mut rng, len), at)?;
            }
            2 => fs::rename(path, writable.join(format!("renamed{i}")))?,
            _ => {}
        }
    }
    write(writable.join("only-here"), b"new\n")?;
    // Snapshot of a snapshot, and the source changing afterwards.
    btrfs::snapshot(&File::open(&writable)?, &top, "second", true)?;
    write(one.join("after-snapshot"), b"later\n")?;
    fs::remove_file(one.join("f1"))?;

    btrfs::subvol_create(&top, "deleted")?;
    write(dir.join("deleted/file"), b"gone\n")?;
    btrfs::subvol_delete(&top, "deleted")?;
    btrfs::subvol_create(&top, "empty")?;
    for i in 0..plan.scale(6, 2) {
        btrfs::snapshot(&source, &top, &format!("snap{i}"), i % 2 == 0)?;
    }
    fs::rename(dir.join("snap1"), one.join("d/e/moved-snapshot"))?;
    btrfs::set_default(&top, btrfs::tree_id(&File::open(&writable)?)?)
}
