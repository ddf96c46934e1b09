// SPDX-License-Identifier: GPL-2.0

//! Uses a mounted file system in every way that reads, within bounds, and counts errors.

use std::ffi::OsString;
use std::io::{Error, Result};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use testkit::{btrfs, sys};

/// Most objects that are looked at in one file system.
const OBJECTS: usize = 1200;
/// Most directory levels.
const DEPTH: usize = 80;

/// What happened. Errors are those that say that something is damaged.
#[derive(Default, Debug)]
pub struct Outcome {
    pub objects: usize,
    pub errors: usize,
    pub bytes: u64,
}

impl Outcome {
    /// Adds what happened later.
    pub fn add(&mut self, other: Outcome) {
        self.objects += other.objects;
        self.errors += other.errors;
        self.bytes += other.bytes;
    }

    fn note<T>(&mut self, result: Result<T>) -> Option<T> {
        let damaged = |e: &Error| matches!(e.raw_os_error(), Some(libc::EIO | libc::EUCLEAN));
        self.errors += usize::from(result.as_ref().err().is_some_and(damaged));
        result.ok()
    }
}

/// Walks the tree below `root` and asks everything of every object.
pub fn exercise(root: &Path) -> Outcome {
    let mut out = Outcome::default();
    let _ = out.note(sys::statfs(root));
    if let Some(fd) = out.note(sys::open(root, libc::O_RDONLY | libc::O_DIRECTORY)) {
        file_system(&mut out, &fd);
    }
    let mut todo = vec![(root.to_path_buf(), 0)];
    while let Some((path, depth)) = todo.pop() {
        out.objects += 1;
        if out.objects > OBJECTS {
            break;
        }
        let Some(st) = out.note(sys::statx(sys::cwd(), path.as_os_str())) else {
            continue;
        };
        let kind = u32::from(st.stx_mode) & libc::S_IFMT;
        attributes(&mut out, &path, root);
        match kind {
            libc::S_IFREG => regular(&mut out, &path, st.stx_size),
            libc::S_IFLNK => drop(out.note(std::fs::read_link(&path))),
            libc::S_IFDIR if depth < DEPTH => {
                todo.extend(
                    children(&mut out, &path)
                        .into_iter()
                        .map(|p| (p, depth + 1)),
                );
            }
            _ => {}
        }
    }
    out
}

fn attributes(out: &mut Outcome, path: &Path, root: &Path) {
    let Ok(name) = sys::cstr(path) else { return };
    if let Some(list) = out.note(sys::llistxattr(&name)) {
        for attr in list.split(|b| *b == 0).filter(|n| !n.is_empty()).take(30) {
            if let Ok(attr) = sys::cstr(OsString::from_vec(attr.to_vec())) {
                let _ = out.note(sys::lgetxattr(&name, &attr));
            }
        }
    }
    if let (Ok((kind, handle)), Ok(mount)) = (
        sys::file_handle(sys::cwd(), path.as_os_str()),
        sys::open(root, libc::O_RDONLY),
    ) {
        let _ = out.note(sys::open_by_handle(
            mount.as_fd(),
            kind,
            &handle,
            libc::O_PATH,
        ));
    }
}

/// The objects in the directory `path`.
pub fn children(out: &mut Outcome, path: &Path) -> Vec<PathBuf> {
    let mut names = Vec::new();
    let Some(fd) = out.note(sys::open(path, libc::O_RDONLY | libc::O_DIRECTORY)) else {
        return names;
    };
    for _ in 0..200 {
        match out.note(sys::getdents(&fd, 4096)) {
            Some(batch) if !batch.is_empty() => {
                for entry in batch {
                    if entry.name != b"." && entry.name != b".." {
                        names.push(path.join(OsString::from_vec(entry.name)));
                    }
                }
            }
            _ => break,
        }
    }
    let _ = btrfs::get_flags(&fd);
    // A name that is not there.
    let _ = sys::statx(sys::cwd(), path.join("no such name").as_os_str());
    names
}

fn regular(out: &mut Outcome, path: &Path, size: u64) {
    let Some(fd) = out.note(sys::open(path, libc::O_RDONLY | libc::O_NOATIME)) else {
        return;
    };
    let mut buf = vec![0u8; 256 << 10];
    // Beginning, middle and end.
    for at in [0, size / 2, size.saturating_sub(4096 + 77)] {
        if let Some(n) = out.note(sys::pread(&fd, &mut buf, at.min(i64::MAX as u64) as i64)) {
            out.bytes += n as u64;
        }
    }
    let mut at = 0;
    for _ in 0..40 {
        let Ok(data) = sys::lseek(&fd, at, libc::SEEK_DATA) else {
            break;
        };
        let Ok(hole) = sys::lseek(&fd, data, libc::SEEK_HOLE) else {
            break;
        };
        if let Some(n) = out.note(sys::pread(&fd, &mut buf[..9000], data)) {
            out.bytes += n as u64;
        }
        if hole <= at {
            break;
        }
        at = hole;
    }
    sys::drop_pages(&fd);
    let _ = out.note(sys::read_mapped(&fd, 0, &mut buf[..16_384]));
    if let Ok(direct) = sys::open(path, libc::O_RDONLY | libc::O_DIRECT) {
        let mut aligned = sys::AlignedBuf::new(128 << 10);
        let _ = out.note(sys::pread(&direct, aligned.bytes(), 0));
    }
    let extents = out.note(btrfs::fiemap(&fd, 50)).unwrap_or_default();
    let mut arg = vec![0u8; 32 + 8192];
    arg[8..16].copy_from_slice(&size.to_ne_bytes());
    arg[16..24].copy_from_slice(&8192u64.to_ne_bytes());
    let _ = btrfs::raw(&fd, 66, 3, 32, &mut arg);
    encoded_read(&fd);
    if let Some(extent) = extents.first() {
        container(&fd, 36, extent.physical);
    }
    if let Ok(st) = sys::statx(fd.as_fd(), "".as_ref()) {
        container(&fd, 35, st.stx_ino);
    }
    let _ = btrfs::get_flags(&fd);
}

fn encoded_read(fd: &OwnedFd) {
    let mut data = vec![0u8; 256 << 10];
    let iov = [data.as_mut_ptr() as u64, data.len() as u64];
    let mut arg = vec![0u8; 128];
    arg[..8].copy_from_slice(&(iov.as_ptr() as u64).to_ne_bytes());
    arg[8..16].copy_from_slice(&1u64.to_ne_bytes());
    let _ = btrfs::raw(fd, 64, 2, 128, &mut arg);
}

/// LOGICAL_INO (36) or INO_PATHS (35).
fn container(fd: &OwnedFd, nr: u64, what: u64) {
    let mut data = vec![0u8; 8192];
    let mut arg = vec![0u8; 56];
    arg[..8].copy_from_slice(&what.to_ne_bytes());
    arg[8..16].copy_from_slice(&(data.len() as u64).to_ne_bytes());
    arg[48..56].copy_from_slice(&(data.as_mut_ptr() as u64).to_ne_bytes());
    let _ = btrfs::raw(fd, nr, 3, 56, &mut arg);
}

/// ioctls about the whole file system; refusals are no errors here.
fn file_system(out: &mut Outcome, fd: &OwnedFd) {
    for (nr, dir, size) in [
        (31u64, 2u64, 1024usize),
        (30, 3, 4096),
        (52, 3, 1032),
        (57, 2, 24),
        (60, 2, 504),
        (61, 3, 4096),
        (25, 2, 8),
        (18, 3, 4096),
        (49, 2, 256),
    ] {
        let mut arg = vec![0u8; size];
        if nr == 30 || nr == 52 {
            arg[0] = 1;
        }
        if nr == 18 {
            arg[9] = 1;
        }
        let _ = btrfs::raw(fd, nr, dir, size, &mut arg);
    }
    let mut slots = vec![0u8; 16 + 24 * 32];
    slots[0] = 32;
    let _ = btrfs::raw(fd, 20, 3, 16, &mut slots);
    for tree in [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 256, 257, u64::MAX - 8] {
        let mut left = 5000;
        let _ = btrfs::search_tree(fd, tree, 16_384, |_| left -= 1);
        out.objects += usize::from(left < 0);
    }
}
