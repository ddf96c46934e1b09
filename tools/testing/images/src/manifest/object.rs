// SPDX-License-Identifier: GPL-2.0

//! What every object has: attributes, extended attributes, a handle.

use crate::{escape, fingerprint, Listing};
use std::ffi::OsStr;
use std::io::Result;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use testkit::{btrfs, sys};

/// The inode number of the empty directory that stands for a subvolume not in the snapshot.
const STUB_INO: u64 = 2;

/// Lists an object's own facts and returns its file type bits (none when it cannot be looked at).
pub fn list(list: &mut Listing, full: &Path, shown: &Path) -> Option<u32> {
    let cwd = sys::cwd();
    let st = match sys::statx(cwd, full.as_os_str()) {
        Ok(st) => st,
        Err(error) => {
            list.result::<&str>(shown, "stat", Err(error));
            return None;
        }
    };
    let kind = u32::from(st.stx_mode) & libc::S_IFMT;
    if list.options.content_only {
        list.line(
            shown,
            "stat",
            format_args!("mode={:o} size={}", st.stx_mode, st.stx_size),
        );
    } else {
        attributes(list, shown, &st);
        xattrs(list, full, shown);
        handle(list, full, shown, &st);
    }
    if kind == libc::S_IFLNK {
        let target = std::fs::read_link(full).map(|t| escape(t.as_os_str().as_bytes()));
        list.result(shown, "target", target);
    }
    if !list.options.content_only && (kind == libc::S_IFREG || kind == libc::S_IFDIR) {
        flags(list, full, shown);
    }
    Some(kind)
}

/// One line with everything statx knows.
fn attributes(list: &mut Listing, shown: &Path, st: &libc::statx) {
    let dev = list.device(st.stx_dev_major, st.stx_dev_minor);
    let time = |t: &libc::statx_timestamp| format!("{}.{:09}", t.tv_sec, t.tv_nsec);
    list.line(
        shown,
        "stat",
        format_args!(
            "mode={:o} ino={} dev={dev} nlink={} uid={} gid={} size={} blocks={} blksize={} rdev={}:{}",
            st.stx_mode,
            st.stx_ino,
            st.stx_nlink,
            st.stx_uid,
            st.stx_gid,
            st.stx_size,
            st.stx_blocks,
            st.stx_blksize,
            st.stx_rdev_major,
            st.stx_rdev_minor
        ),
    );
    // The stub of a nested subvolume in a snapshot has no inode item: its times are invented.
    if st.stx_ino != STUB_INO {
        list.line(
            shown,
            "times",
            format_args!(
                "atime={} mtime={} ctime={} btime={}",
                time(&st.stx_atime),
                time(&st.stx_mtime),
                time(&st.stx_ctime),
                time(&st.stx_btime)
            ),
        );
    }
    // Bit 13 (mount root) depends on what is mounted where.
    let mount_root = 0x2000;
    list.line(
        shown,
        "statx",
        format_args!(
            "mask={:x} attributes={:x}/{:x} subvol={:?}",
            st.stx_mask & (libc::STATX_BASIC_STATS | libc::STATX_BTIME | sys::STATX_SUBVOL),
            st.stx_attributes & !mount_root,
            st.stx_attributes_mask & !mount_root,
            sys::statx_subvol(st)
        ),
    );
}

/// Names and values, sorted by name; the order of the list itself as a fingerprint.
fn xattrs(list: &mut Listing, full: &Path, shown: &Path) {
    let read = || -> Result<Vec<(Vec<u8>, Result<Vec<u8>>)>> {
        let path = sys::cstr(full)?;
        let names = sys::llistxattr(&path)?;
        let mut all = Vec::new();
        for name in names.split(|b| *b == 0).filter(|n| !n.is_empty()) {
            let value = sys::lgetxattr(&path, &sys::cstr(OsStr::from_bytes(name))?);
            all.push((name.to_vec(), value));
        }
        Ok(all)
    };
    match read() {
        Err(error) => list.result::<&str>(shown, "xattrs", Err(error)),
        Ok(all) => {
            let order: Vec<u8> = all
                .iter()
                .flat_map(|(name, _)| name.iter().copied().chain([0]))
                .collect();
            if all.len() > 1 {
                list.line(
                    shown,
                    "xattr-order",
                    format_args!("{}", fingerprint(&order)),
                );
            }
            let mut all = all;
            all.sort_by(|a, b| a.0.cmp(&b.0));
            for (name, value) in all {
                let field = format!("xattr {}", escape(&name));
                let value = value.map(|v| {
                    if v.len() <= 64 {
                        format!("[{}] {}", v.len(), escape(&v))
                    } else {
                        format!("[{}] {}", v.len(), fingerprint(&v))
                    }
                });
                list.result(shown, &field, value);
            }
        }
    }
    // A name that is not there.
    if let Ok(path) = sys::cstr(full) {
        let missing = sys::lgetxattr(&path, c"trusted.no-such-attribute").map(|v| v.len());
        list.result(shown, "xattr-missing", missing);
    }
}

/// The export handle, and whether it leads back to the object.
fn handle(list: &mut Listing, full: &Path, shown: &Path, st: &libc::statx) {
    let handle = sys::file_handle(sys::cwd(), full.as_os_str());
    let (kind, bytes) = match handle {
        Ok(handle) => handle,
        Err(error) => return list.result::<&str>(shown, "handle", Err(error)),
    };
    let opened = sys::open_by_handle(list.root.as_fd(), kind, &bytes, libc::O_PATH)
        .and_then(|fd| sys::statx(fd.as_fd(), OsStr::new("")))
        .map(|back| {
            let same = back.stx_ino == st.stx_ino
                && back.stx_dev_minor == st.stx_dev_minor
                && back.stx_mode == st.stx_mode;
            if same {
                "same"
            } else {
                "OTHER OBJECT"
            }
        });
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    match opened {
        Ok(back) => list.line(shown, "handle", format_args!("{kind}:{hex} {back}")),
        Err(error) => list.line(
            shown,
            "handle",
            format_args!("{kind}:{hex} ERROR {}", sys::errno_name(&error)),
        ),
    }
}

/// chattr flags, the extended form of them, and the generation number.
fn flags(list: &mut Listing, full: &Path, shown: &Path) {
    let fd = match sys::open(full, libc::O_RDONLY | libc::O_NOATIME) {
        Ok(fd) => fd,
        Err(error) => return list.result::<&str>(shown, "open", Err(error)),
    };
    list.result(
        shown,
        "flags",
        btrfs::get_flags(&fd).map(|f| format!("{f:x}")),
    );
    list.result(
        shown,
        "fsxattr",
        btrfs::fs_get_xattr(&fd).map(|x| fingerprint(&x)),
    );
    list.result(shown, "version", btrfs::get_version(&fd));
}
