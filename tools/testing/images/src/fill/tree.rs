// SPDX-License-Identifier: GPL-2.0

//! Directories, links and special files.

use crate::data::{text, write};
use crate::Plan;
use std::fs;
use std::io::Result;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use testkit::sys;

/// A chain of directories, a file in each, and an empty directory beside it.
pub fn deep(plan: &Plan, dir: &Path) -> Result<()> {
    let mut at = dir.to_path_buf();
    for level in 0..plan.scale(60, 6) {
        at.push(format!("level{level}"));
        fs::create_dir(&at)?;
        write(at.join("file"), format!("depth {level}\n").as_bytes())?;
        if level % 7 == 0 {
            fs::create_dir(at.join("empty"))?;
        }
    }
    // A bushy tree.
    for a in 0..plan.scale(8, 2) {
        for b in 0..plan.scale(8, 2) {
            let leaf = dir.join(format!("a{a}/b{b}/c"));
            fs::create_dir_all(&leaf)?;
            for c in 0..plan.scale(4, 1) {
                write(leaf.join(format!("{c}")), format!("{a}.{b}.{c}").as_bytes())?;
            }
        }
    }
    Ok(())
}

/// One directory with many entries of every kind, created out of name order, some removed again.
pub fn wide(plan: &Plan, dir: &Path) -> Result<()> {
    let mut rng = plan.rng("wide");
    let count = if plan.small { 20 } else { plan.dir_entries };
    let mut names = Vec::new();
    for i in 0..count {
        let name = dir.join(format!("{:08x}-{i}", rng.u64() as u32));
        match rng.below(20) {
            0 => fs::create_dir(&name)?,
            1 => symlink("target", &name)?,
            2 => sys::mknod(&name, libc::S_IFIFO | 0o600, 0)?,
            3 => drop(write(&name, &text(&mut rng, 300))?),
            _ => drop(write(&name, b"")?),
        }
        names.push(name);
    }
    for name in names.iter().step_by(9) {
        if name.symlink_metadata()?.is_dir() {
            fs::remove_dir(name)?;
        } else {
            fs::remove_file(name)?;
        }
    }
    Ok(())
}

/// Device nodes, FIFOs and sockets.
pub fn special(_plan: &Plan, dir: &Path) -> Result<()> {
    let devices = [
        ("null", 1, 3),
        ("large-major", 4095, 1),
        ("large-minor", 1, 0xf_ffff),
        ("both", 511, 260),
    ];
    for (name, major, minor) in devices {
        let dev = libc::makedev(major, minor);
        sys::mknod(dir.join(format!("char-{name}")), libc::S_IFCHR | 0o640, dev)?;
        sys::mknod(
            dir.join(format!("block-{name}")),
            libc::S_IFBLK | 0o606,
            dev,
        )?;
    }
    sys::mknod(dir.join("fifo"), libc::S_IFIFO | 0o622, 0)?;
    // A relative address: socket paths are short, mount points may not be.
    std::env::set_current_dir(dir)?;
    let bound = UnixListener::bind("socket").map(drop);
    std::env::set_current_dir("/")?;
    bound
}

/// Targets of all lengths, dangling and not.
pub fn symlinks(plan: &Plan, dir: &Path) -> Result<()> {
    let lengths: &[usize] = if plan.small {
        &[1, 100]
    } else {
        &[1, 2, 59, 60, 61, 255, 256, 1000, 2000, 3900]
    };
    for &len in lengths {
        // Node size 4096 cannot hold the longest ones; what does not fit is refused cleanly.
        match symlink("t".repeat(len), dir.join(format!("len{len}"))) {
            Err(error) if error.raw_os_error() == Some(libc::ENAMETOOLONG) => {}
            other => other?,
        }
    }
    write(dir.join("file"), b"pointed to\n")?;
    symlink("file", dir.join("to-file"))?;
    symlink(".", dir.join("to-self"))?;
    symlink("loop-b", dir.join("loop-a"))?;
    symlink("loop-a", dir.join("loop-b"))?;
    symlink("../symlinks/file", dir.join("through-parent"))?;
    symlink(
        std::ffi::OsStr::new("odd\u{1}\u{e4} \\name"),
        dir.join("odd-target"),
    )
}

/// Enough links of one file in one directory that its references overflow one item.
pub fn hard_links(plan: &Plan, dir: &Path) -> Result<()> {
    let file = dir.join("file");
    write(&file, b"linked\n")?;
    let count = match (plan.extref, plan.small) {
        (false, _) => 8,
        (true, true) => 30,
        (true, false) => 330,
    };
    for i in 0..count {
        fs::hard_link(&file, dir.join(format!("{}{i}", "link".repeat(55))))?;
    }
    // The same inode from other directories, and links that were removed again.
    for i in 0..plan.scale(20, 3) {
        let sub = dir.join(format!("d{i}"));
        fs::create_dir(&sub)?;
        fs::hard_link(&file, sub.join("link"))?;
    }
    for i in (0..count).step_by(5) {
        fs::remove_file(dir.join(format!("{}{i}", "link".repeat(55))))?;
    }
    sys::mknod(dir.join("fifo"), libc::S_IFIFO | 0o600, 0)?;
    fs::hard_link(dir.join("fifo"), dir.join("fifo-link"))?;
    symlink("x", dir.join("sym"))?;
    fs::hard_link(dir.join("sym"), dir.join("sym-link"))
}

/// Objects that were made, moved and removed: what is left are gaps in inode numbers, directory
/// indexes and key ranges.
pub fn removed(plan: &Plan, dir: &Path) -> Result<()> {
    let mut rng = plan.rng("removed");
    for i in 0..plan.scale(120, 10) {
        let len = rng.below(20_000);
        write(dir.join(format!("f{i}")), &text(&mut rng, len))?;
    }
    fs::File::open(dir)?.sync_all()?;
    for i in 0..plan.scale(120, 10) {
        let name = dir.join(format!("f{i}"));
        match rng.below(3) {
            0 => fs::remove_file(name)?,
            1 => fs::rename(name, dir.join(format!("moved{i}")))?,
            _ => {}
        }
    }
    fs::create_dir(dir.join("emptied"))?;
    for i in 0..20 {
        write(dir.join(format!("emptied/{i}")), b"")?;
    }
    for i in 0..20 {
        fs::remove_file(dir.join(format!("emptied/{i}")))?;
    }
    Ok(())
}
