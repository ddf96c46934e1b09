// SPDX-License-Identifier: GPL-2.0

//! Directories: order, types, cookies.

use crate::{escape, ioctls, Listing};
use std::ffi::OsString;
use std::io::Result;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use testkit::sys::{self, Dirent};

/// All entries from the current position, read with a buffer of `size` bytes.
fn entries(fd: &OwnedFd, size: usize) -> Result<Vec<Dirent>> {
    let mut all: Vec<Dirent> = Vec::new();
    loop {
        let batch = sys::getdents(fd, size)?;
        if batch.is_empty() {
            return Ok(all);
        }
        all.extend(batch);
        if all.len() > 10_000_000 {
            return Err(std::io::Error::other("endless directory"));
        }
    }
}

/// Checks that seeking to an entry's cookie gives the next entry; returns the cookies that do not.
fn bad_cookies(fd: &OwnedFd, all: &[Dirent]) -> Result<Vec<i64>> {
    let mut bad = Vec::new();
    // All of a small directory, a sample of a large one.
    let step = all.len() / 150 + 1;
    for (i, entry) in all
        .iter()
        .enumerate()
        .step_by(step)
        .chain(all.iter().enumerate().last())
    {
        sys::lseek(fd, entry.off, libc::SEEK_SET)?;
        let next = sys::getdents(fd, 1024)?;
        let same = match (next.first(), all.get(i + 1)) {
            (Some(a), Some(b)) => a.name == b.name && a.ino == b.ino,
            (None, None) => true,
            _ => false,
        };
        if !same {
            bad.push(entry.off);
        }
    }
    Ok(bad)
}

/// Lists the entries in readdir order and returns their names.
pub fn list(list: &mut Listing, full: &Path, shown: &Path) -> Vec<OsString> {
    let read = || -> Result<(OwnedFd, Vec<Dirent>)> {
        let fd = sys::open(full, libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOATIME)?;
        let all = entries(&fd, 32_768)?;
        Ok((fd, all))
    };
    let (fd, all) = match read() {
        Ok(read) => read,
        Err(error) => {
            list.result::<&str>(shown, "readdir", Err(error));
            return Vec::new();
        }
    };
    if !list.options.content_only {
        for (i, entry) in all.iter().enumerate() {
            let name = escape(&entry.name);
            // The parent of the mounted root lies outside the file system.
            let ino = if name == ".." && shown == Path::new(".") {
                0
            } else {
                entry.ino
            };
            list.line(
                shown,
                "entry",
                format_args!("{i} {name} ino={ino} type={}", entry.kind),
            );
        }
        if list.options.ioctls && all.first().is_some_and(|e| e.name == b"." && e.ino == 256) {
            ioctls::subvolume(list, shown, &fd);
        }
        let again = sys::lseek(&fd, 0, libc::SEEK_SET).and_then(|_| entries(&fd, 300));
        let again = again.map(|again| {
            let same = again.len() == all.len()
                && again
                    .iter()
                    .zip(&all)
                    .all(|(a, b)| (&a.name, a.ino, a.kind) == (&b.name, b.ino, b.kind));
            if same {
                "same"
            } else {
                "DIFFERENT"
            }
        });
        list.result(shown, "readdir-small-buffer", again);
        let cookies = bad_cookies(&fd, &all).map(|bad| format!("{bad:?}"));
        list.result(shown, "bad-cookies", cookies);
    }
    all.into_iter()
        .map(|e| OsString::from_vec(e.name))
        .filter(|n| n != "." && n != "..")
        .collect()
}
