// SPDX-License-Identifier: GPL-2.0

//! Changes a mounted file system in every way that there is, within bounds, and counts errors.

use crate::exercise::{children, Outcome};
use std::ffi::OsStr;
use std::fs;
use std::io::{Error, Result};
use std::os::unix::fs::{symlink, PermissionsExt};
use std::path::{Path, PathBuf};
use testkit::{btrfs, files, rng::Rng, sys};

/// Most old objects that are changed.
const OLD: usize = 40;
/// New files.
const NEW: u64 = 24;

/// Changes what is there and adds to it; `seed` chooses what and how.
pub fn scribble(root: &Path, seed: u64) -> Outcome {
    let mut out = Outcome::default();
    let mut rng = Rng::new(seed ^ 0x7772_6974);
    for path in some_of(&mut out, &mut rng, root) {
        out.objects += 1;
        let result = change(&mut rng, root, &path);
        note(&mut out, result);
    }
    sync(&mut out, root);
    let dir = root.join("scribble");
    let result = fs::create_dir(&dir);
    note(&mut out, result);
    for n in 0..NEW {
        out.objects += 1;
        let result = add(&mut rng, &dir, n);
        note(&mut out, result);
    }
    let result = subvolumes(&mut rng, root);
    note(&mut out, result);
    sync(&mut out, root);
    for path in children(&mut out, &dir) {
        if fs::symlink_metadata(&path).is_ok_and(|m| m.is_file()) {
            let result = fs::read(&path).map(drop);
            note(&mut out, result);
        }
        if rng.one_in(3) {
            let result = fs::remove_file(&path);
            note(&mut out, result);
        }
    }
    out
}

/// Counts damage, and the read-only file system that is left after an abort.
fn note(out: &mut Outcome, result: Result<()>) {
    let damaged = |e: &Error| {
        let known = [libc::EIO, libc::EUCLEAN, libc::EROFS];
        e.raw_os_error().is_some_and(|errno| known.contains(&errno))
    };
    out.errors += usize::from(result.is_err_and(|e| damaged(&e)));
}

fn sync(out: &mut Outcome, root: &Path) {
    let result = sys::open(root, libc::O_RDONLY | libc::O_DIRECTORY);
    note(out, result.and_then(|fd| files::syncfs(&fd)));
}

/// Some of what is in the tree below `root`, chosen by chance.
fn some_of(out: &mut Outcome, rng: &mut Rng, root: &Path) -> Vec<PathBuf> {
    let mut known = vec![root.to_path_buf()];
    let mut next = 0;
    while next < known.len().min(60) {
        let path = known[next].clone();
        next += 1;
        if fs::symlink_metadata(&path).is_ok_and(|m| m.is_dir()) {
            known.extend(children(out, &path));
        }
    }
    let mut chosen = Vec::new();
    while chosen.len() < OLD && known.len() > 1 {
        let n = 1 + rng.index(known.len() - 1);
        chosen.push(known.swap_remove(n));
    }
    chosen
}

/// One change of an object that was there.
fn change(rng: &mut Rng, root: &Path, path: &Path) -> Result<()> {
    let meta = fs::symlink_metadata(path)?;
    match rng.below(8) {
        0 if !meta.is_dir() => return fs::remove_file(path),
        0 => return fs::remove_dir(path),
        1 => return fs::rename(path, root.join(format!("moved{}", rng.below(30)))),
        2 => return fs::hard_link(path, root.join(format!("link{}", rng.u64()))),
        3 => return files::set_xattr(path, b"user.scribble", &vec![7; rng.index(3000)], 0),
        4 => return fs::set_permissions(path, fs::Permissions::from_mode(0o640)),
        5 => return sys::lchown(path, 1, rng.below(9) as u32),
        _ => {}
    }
    if !meta.is_file() {
        return sys::utimens(path, (5, 6), (7, 8));
    }
    let fd = sys::open(path, libc::O_RDWR | libc::O_NONBLOCK)?;
    let size = meta.len().min(1 << 30);
    let at = rng.below(size + 1);
    let mut bytes = vec![0; 1 + rng.index(70_000)];
    rng.fill_text(&mut bytes);
    match rng.below(6) {
        0 => files::truncate(&fd, at),
        1 => sys::fallocate(
            &fd,
            libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE,
            at as i64,
            1 + rng.below(100_000) as i64,
        ),
        2 => sys::fallocate(&fd, 0, at as i64, 1 + rng.below(200_000) as i64),
        3 => files::pwrite(&fd, &bytes, Some(size)).and_then(|_| files::fsync(&fd, false)),
        _ => files::pwrite(&fd, &bytes, Some(at)).map(drop),
    }
}

/// One new object in `dir`.
fn add(rng: &mut Rng, dir: &Path, n: u64) -> Result<()> {
    let path = dir.join(format!("new{n}"));
    match rng.below(6) {
        0 => return fs::create_dir(path),
        1 => return symlink(OsStr::new("scribble"), path),
        2 => return sys::mknod(path, libc::S_IFIFO | 0o600, 0),
        _ => {}
    }
    let mut bytes = vec![0; rng.index(200_000)];
    match rng.one_in(2) {
        true => rng.fill(&mut bytes),
        false => rng.fill_text(&mut bytes),
    }
    fs::write(&path, &bytes)?;
    if rng.one_in(3) {
        let fd = sys::open(&path, libc::O_RDWR)?;
        return files::fsync(&fd, true);
    }
    Ok(())
}

/// Makes a subvolume, and deletes one that may have been there.
fn subvolumes(rng: &mut Rng, root: &Path) -> Result<()> {
    let fd = sys::open(root, libc::O_RDONLY | libc::O_DIRECTORY)?;
    btrfs::subvol_create(&fd, "scribbled")?;
    fs::write(root.join("scribbled/file"), b"some text")?;
    let victims: Vec<PathBuf> = fs::read_dir(root)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| fs::metadata(path).is_ok_and(|m| m.is_dir()))
        .collect();
    if let Some(name) = victims
        .get(rng.index(victims.len().max(1)))
        .and_then(|path| path.file_name()?.to_str())
    {
        // Most are no subvolumes.
        let _ = btrfs::subvol_delete(&fd, name);
    }
    Ok(())
}
