// SPDX-License-Identifier: GPL-2.0

//! Images made by mkfs.btrfs: that of the environment variable `MKFS_BTRFS`, else that of the test
//! set-up (`tools/setup`), else that of the path.

use super::image::Image;
use std::fs::{self, File};
use std::os::unix::fs::{symlink, FileExt};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The mkfs.btrfs to use.
fn mkfs() -> PathBuf {
    if let Some(path) = std::env::var_os("MKFS_BTRFS") {
        return path.into();
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    cache
        .or(home)
        .map(|cache| cache.join("btrfs-rs/progs/sbin/mkfs.btrfs"))
        .filter(|path| path.exists())
        .unwrap_or_else(|| "mkfs.btrfs".into())
}

/// A place for files of the test `name`, empty.
fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if dir.exists() {
        fs::remove_dir_all(&dir).unwrap();
    }
    fs::create_dir_all(&dir).unwrap();
    dir
}

/// Fills `dir` with every kind of file that can be made without privileges.
pub fn populate(dir: &Path, files: usize) {
    let long = "n".repeat(255);
    fs::write(dir.join(&long), b"long name").unwrap();
    fs::write(dir.join("empty"), b"").unwrap();
    fs::write(dir.join("inline"), vec![b'i'; 1000]).unwrap();
    let mut regular = vec![0u8; 700_000];
    for (i, byte) in regular.iter_mut().enumerate() {
        *byte = (i / 13 % 251) as u8;
    }
    fs::write(dir.join("regular"), &regular).unwrap();
    let sparse = File::create(dir.join("sparse")).unwrap();
    sparse.write_all_at(b"begin", 0).unwrap();
    sparse.write_all_at(b"end", 3 << 20).unwrap();
    symlink("regular", dir.join("link")).unwrap();
    symlink("x".repeat(1000), dir.join("long link")).unwrap();
    xattr::set(dir.join("regular"), "user.short", b"value").unwrap();
    xattr::set(dir.join("regular"), "user.long", &[7; 2000]).unwrap();
    for i in 0..300 {
        let name = format!("hard link {i:03} {}", "h".repeat(i % 100));
        fs::hard_link(dir.join("inline"), dir.join(name)).unwrap();
    }
    for d in 0..10 {
        let sub = dir.join(format!("dir{d}"));
        fs::create_dir_all(sub.join("a/b/c")).unwrap();
        for f in 0..files / 10 {
            let name = format!("file {f} {}", "f".repeat(f % 60));
            fs::write(sub.join(name), vec![b'd'; f % 5000]).unwrap();
        }
    }
}

/// Runs mkfs.btrfs with `args` on `count` sparse files of `size` bytes, and opens the result.
pub fn make(name: &str, count: usize, size: u64, files: Option<usize>, args: &[&str]) -> Image {
    let dir = scratch(name);
    let mut command = Command::new(mkfs());
    command.args(["-q", "-f"]).args(args);
    if let Some(files) = files {
        let root = dir.join("root");
        fs::create_dir(&root).unwrap();
        populate(&root, files);
        command.arg("--rootdir").arg(root);
    }
    let paths: Vec<_> = (0..count).map(|i| dir.join(format!("dev{i}"))).collect();
    for path in &paths {
        File::create(path).unwrap().set_len(size).unwrap();
    }
    let output = command.args(&paths).output().unwrap_or_else(|error| {
        panic!("mkfs.btrfs is needed: install btrfs-progs or set MKFS_BTRFS ({error})")
    });
    assert!(
        output.status.success(),
        "mkfs.btrfs {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let image = Image::open(&paths);
    fs::remove_dir_all(&dir).unwrap();
    image
}
