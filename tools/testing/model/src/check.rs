// SPDX-License-Identifier: GPL-2.0

//! Compares the file system with the model, and with what it was before a remount.

use crate::oracle::{Id, Kind, Oracle, ROOT};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use testkit::sys;

pub type Outcome = Result<(), String>;

/// Describes an error with what it is about.
fn at<T>(what: &str, path: &Path, result: std::io::Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("{what} {}: {}", path.display(), sys::errno_name(&error)))
}

/// What statx says of an object, in a form that must survive a remount.
pub fn facts(st: &libc::statx, times: bool) -> String {
    let time = |t: &libc::statx_timestamp| format!("{}.{:09}", t.tv_sec, t.tv_nsec);
    let mut text = format!(
        "mode={:o} nlink={} uid={} gid={} size={} ino={} blocks={} attributes={:x}",
        st.stx_mode,
        st.stx_nlink,
        st.stx_uid,
        st.stx_gid,
        st.stx_size,
        st.stx_ino,
        st.stx_blocks,
        st.stx_attributes
    );
    if times {
        text.push_str(&format!(
            " atime={} mtime={} ctime={} btime={}",
            time(&st.stx_atime),
            time(&st.stx_mtime),
            time(&st.stx_ctime),
            time(&st.stx_btime)
        ));
    }
    text
}

/// The facts of every object of the tree by path.
pub fn remember(root: &Path, oracle: &Oracle) -> Result<BTreeMap<PathBuf, String>, String> {
    let mut all = BTreeMap::new();
    for (dir, name) in oracle.names() {
        let path = root.join(oracle.path(dir)).join(OsStr::from_bytes(&name));
        let st = at("statx", &path, sys::statx(sys::cwd(), path.as_os_str()))?;
        // The root directory of a mount has one bit more; the model never looks at that.
        all.insert(path, facts(&st, true));
    }
    Ok(all)
}

/// Compares what a remount must not change.
pub fn unchanged(root: &Path, oracle: &Oracle, before: &BTreeMap<PathBuf, String>) -> Outcome {
    let after = remember(root, oracle)?;
    for (path, old) in before {
        match after.get(path) {
            Some(new) if new == old => {}
            new => {
                return Err(format!(
                    "{} changed by the remount:\n  before {old}\n  after  {}",
                    path.display(),
                    new.map_or("(nothing)", |s| s)
                ))
            }
        }
    }
    Ok(())
}

/// Compares the whole tree; no name more and none less.
pub fn tree(root: &Path, oracle: &Oracle) -> Outcome {
    let mut numbers = BTreeMap::new();
    walk(root, oracle, ROOT, &mut numbers)
}

fn walk(path: &Path, oracle: &Oracle, id: Id, numbers: &mut BTreeMap<u64, Id>) -> Outcome {
    let inode = object(path, oracle, id)?;
    // One object, one inode number.
    if *numbers.entry(inode).or_insert(id) != id {
        return Err(format!("{}: inode {inode} is two objects", path.display()));
    }
    let Kind::Dir(entries) = &oracle.at(id).kind else {
        return Ok(());
    };
    directory(path, entries.keys())?;
    for (name, child) in entries {
        walk(&path.join(OsStr::from_bytes(name)), oracle, *child, numbers)?;
    }
    Ok(())
}

/// The names of a directory, each once.
pub fn directory<'a>(path: &Path, names: impl Iterator<Item = &'a Vec<u8>>) -> Outcome {
    let fd = at(
        "open",
        path,
        sys::open(path, libc::O_RDONLY | libc::O_DIRECTORY),
    )?;
    let mut found = Vec::new();
    loop {
        let batch = at("getdents", path, sys::getdents(&fd, 4096))?;
        if batch.is_empty() {
            break;
        }
        found.extend(batch.into_iter().map(|entry| entry.name));
        if found.len() > 1_000_000 {
            return Err(format!("{}: readdir does not end", path.display()));
        }
    }
    found.retain(|name| name != b"." && name != b"..");
    found.sort();
    let expected: Vec<_> = names.cloned().collect();
    if found != expected {
        let show = |list: &[Vec<u8>], other: &[Vec<u8>]| {
            let only = list.iter().filter(|name| !other.contains(name));
            let only = only.map(|name| String::from_utf8_lossy(name).into_owned());
            only.take(5).collect::<Vec<_>>().join(" ")
        };
        return Err(format!(
            "{}: readdir gives {} names, not {}; missing: {}; too many: {}",
            path.display(),
            found.len(),
            expected.len(),
            show(&expected, &found),
            show(&found, &expected)
        ));
    }
    Ok(())
}

/// Attributes and contents of one object; returns its inode number.
fn object(path: &Path, oracle: &Oracle, id: Id) -> Result<u64, String> {
    let st = at("statx", path, sys::statx(sys::cwd(), path.as_os_str()))?;
    attributes(path, oracle, id, &st)?;
    match &oracle.at(id).kind {
        Kind::File(data) => {
            let fd = at("open", path, sys::open(path, libc::O_RDONLY))?;
            content(path, &fd, data)?;
            holes(path, &fd, data)?;
        }
        Kind::Link(target) => {
            let found = at("readlink", path, std::fs::read_link(path))?;
            if found.as_os_str().as_bytes() != target {
                return Err(format!("{}: another target", path.display()));
            }
        }
        _ => {}
    }
    if matches!(oracle.at(id).kind, Kind::File(_) | Kind::Dir(_)) {
        xattrs(path, oracle, id)?;
    }
    Ok(st.stx_ino)
}

pub fn attributes(path: &Path, oracle: &Oracle, id: Id, st: &libc::statx) -> Outcome {
    let object = oracle.at(id);
    let (kind, size) = match &object.kind {
        Kind::File(data) => (libc::S_IFREG, Some(data.len())),
        Kind::Dir(_) => (libc::S_IFDIR, None),
        Kind::Link(target) => (libc::S_IFLNK, Some(target.len())),
        Kind::Special(kind, _) => (*kind, Some(0)),
    };
    let expected = (kind | object.mode, oracle.nlink(id), object.uid, object.gid);
    let found = (u32::from(st.stx_mode), st.stx_nlink, st.stx_uid, st.stx_gid);
    if found != expected {
        return Err(format!(
            "{}: (mode, links, uid, gid) are {found:?}, not {expected:?}",
            path.display()
        ));
    }
    if let Kind::Special(_, dev) = object.kind {
        let found = libc::makedev(st.stx_rdev_major, st.stx_rdev_minor);
        if found != dev {
            return Err(format!("{}: device {found:x}, not {dev:x}", path.display()));
        }
    }
    if let Some(size) = size {
        if st.stx_size != size as u64 {
            return Err(format!(
                "{}: size {}, not {size}",
                path.display(),
                st.stx_size
            ));
        }
    }
    Ok(())
}

/// The bytes of a file, read through the page cache.
pub fn content(path: &Path, fd: &impl std::os::fd::AsRawFd, data: &[u8]) -> Outcome {
    let mut buf = vec![0u8; data.len() + 1];
    let mut len = 0;
    while len < buf.len() {
        let n = at("read", path, sys::pread(fd, &mut buf[len..], len as i64))?;
        if n == 0 {
            break;
        }
        len += n;
    }
    if len != data.len() {
        return Err(format!(
            "{}: {len} bytes, not {}",
            path.display(),
            data.len()
        ));
    }
    same(path, 0, data, &buf[..len])
}

/// Reports the first and the number of differing bytes.
pub fn same(path: &Path, from: usize, expected: &[u8], found: &[u8]) -> Outcome {
    let Some(first) = expected.iter().zip(found).position(|(a, b)| a != b) else {
        return Ok(());
    };
    let wrong = expected.iter().zip(found).filter(|(a, b)| a != b);
    let last = expected.iter().zip(found).rposition(|(a, b)| a != b);
    Err(format!(
        "{}: {} bytes differ, {} to {}: {:02x} instead of {:02x} at the first",
        path.display(),
        wrong.count(),
        from + first,
        from + last.unwrap_or(first),
        found[first],
        expected[first]
    ))
}

/// What SEEK_HOLE calls a hole must be zero.
fn holes(path: &Path, fd: &impl std::os::fd::AsRawFd, data: &[u8]) -> Outcome {
    let mut pos = 0usize;
    while pos < data.len() {
        let hole = at(
            "SEEK_HOLE",
            path,
            sys::lseek(fd, pos as i64, libc::SEEK_HOLE),
        )? as usize;
        if hole >= data.len() {
            break;
        }
        let end = match sys::lseek(fd, hole as i64, libc::SEEK_DATA) {
            Ok(end) => (end as usize).min(data.len()),
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => data.len(),
            Err(error) => return at("SEEK_DATA", path, Err(error)),
        };
        if hole < pos || end <= hole {
            return Err(format!(
                "{}: a hole {hole}..{end} after {pos}",
                path.display()
            ));
        }
        if data[hole..end].iter().any(|b| *b != 0) {
            return Err(format!(
                "{}: data in the hole {hole}..{end}",
                path.display()
            ));
        }
        pos = end;
    }
    Ok(())
}

pub fn xattrs(path: &Path, oracle: &Oracle, id: Id) -> Outcome {
    let expected = &oracle.at(id).xattrs;
    let name = at("xattr", path, sys::cstr(path))?;
    let list = at("listxattr", path, sys::llistxattr(&name))?;
    let mut found = BTreeMap::new();
    for xattr in list.split(|b| *b == 0).filter(|n| !n.is_empty()) {
        let key = at("xattr", path, sys::cstr(OsStr::from_bytes(xattr)))?;
        let value = at("getxattr", path, sys::lgetxattr(&name, &key))?;
        if found.insert(xattr.to_vec(), value).is_some() {
            return Err(format!("{}: an attribute is listed twice", path.display()));
        }
    }
    if &found != expected {
        return Err(format!(
            "{}: attributes {:?}, not {:?}",
            path.display(),
            found
                .iter()
                .map(|(k, v)| (String::from_utf8_lossy(k), v.len()))
                .collect::<Vec<_>>(),
            expected
                .iter()
                .map(|(k, v)| (String::from_utf8_lossy(k), v.len()))
                .collect::<Vec<_>>()
        ));
    }
    Ok(())
}

/// A file that may have no name, by descriptor.
pub fn descriptor(what: &Path, fd: &impl AsFd, oracle: &Oracle, id: Id) -> Outcome {
    let st = at("fstat", what, sys::statx(fd.as_fd(), OsStr::new("")))?;
    attributes(what, oracle, id, &st)
}
