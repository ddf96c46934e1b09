// SPDX-License-Identifier: GPL-2.0

//! Answers of the read-only btrfs ioctls.

use crate::{escape, fingerprint, Listing};
use std::io::Result;
use std::os::fd::OwnedFd;
use std::path::Path;
use testkit::btrfs::{self, Extent};

const R: u64 = 2;
const RW: u64 = 3;

/// Bytes as hexadecimal digits without the zeros at the end, or a fingerprint when they are many.
fn show(bytes: &[u8]) -> String {
    let len = bytes.iter().rposition(|b| *b != 0).map_or(0, |i| i + 1);
    if len > 256 {
        return fingerprint(&bytes[..len]);
    }
    bytes[..len].iter().map(|b| format!("{b:02x}")).collect()
}

/// Runs an ioctl whose argument is a plain structure and shows what comes back.
fn plain(fd: &OwnedFd, nr: u64, dir: u64, size: usize, fill: &[(usize, u64)]) -> Result<String> {
    let mut arg = vec![0u8; size];
    for (at, value) in fill {
        arg[*at..*at + 8].copy_from_slice(&value.to_ne_bytes());
    }
    btrfs::raw(fd, nr, dir, size, &mut arg)?;
    Ok(show(&arg))
}

fn u64_at(buf: &[u8], at: usize) -> u64 {
    buf.get(at..at + 8)
        .map_or(0, |b| u64::from_ne_bytes(b.try_into().unwrap_or_default()))
}

/// SPACE_INFO: the number of slots, then the slots.
fn space_info(fd: &OwnedFd) -> Result<String> {
    let mut arg = vec![0u8; 16];
    btrfs::raw(fd, 20, RW, 16, &mut arg)?;
    let slots = u64_at(&arg, 8);
    let mut arg = vec![0u8; 16 + 24 * slots as usize];
    arg[..8].copy_from_slice(&slots.to_ne_bytes());
    btrfs::raw(fd, 20, RW, 16, &mut arg)?;
    let mut slots: Vec<String> = arg[16..]
        .chunks(24)
        .map(|s| format!("{:x}:{}/{}", u64_at(s, 0), u64_at(s, 16), u64_at(s, 8)))
        .collect();
    slots.sort();
    Ok(slots.join(" "))
}

/// An ioctl that fills a data container: LOGICAL_INO and INO_PATHS (56 bytes of arguments).
fn container(fd: &OwnedFd, nr: u64, what: u64, flags: u64) -> Result<Vec<u8>> {
    let mut out = vec![0u8; 65_536];
    let mut arg = vec![0u8; 56];
    arg[..8].copy_from_slice(&what.to_ne_bytes());
    arg[8..16].copy_from_slice(&(out.len() as u64).to_ne_bytes());
    arg[40..48].copy_from_slice(&flags.to_ne_bytes());
    arg[48..56].copy_from_slice(&(out.as_mut_ptr() as u64).to_ne_bytes());
    btrfs::raw(fd, nr, RW, 56, &mut arg)?;
    Ok(out)
}

/// LOGICAL_INO: (inode, offset, root) triples, sorted.
fn logical_ino(fd: &OwnedFd, nr: u64, logical: u64, flags: u64) -> Result<String> {
    let out = container(fd, nr, logical, flags)?;
    let (count, missed) = (u64_at(&out, 8) as u32 as usize, u64_at(&out, 8) >> 32);
    if missed != 0 {
        // Which of them have room is up to the file system.
        return Ok(format!("{} refs, room lacks for {}", count / 3, missed / 3));
    }
    let mut refs: Vec<_> = (0..count / 3)
        .map(|i| {
            (
                u64_at(&out, 16 + i * 24 + 16),
                u64_at(&out, 16 + i * 24),
                u64_at(&out, 16 + i * 24 + 8),
            )
        })
        .collect();
    refs.sort_unstable();
    let text: Vec<String> = refs
        .iter()
        .map(|(root, ino, off)| format!("{root}/{ino}+{off}"))
        .collect();
    let text = text.join(" ");
    Ok(if text.len() > 300 {
        format!("{} refs {}", refs.len(), fingerprint(text.as_bytes()))
    } else {
        text
    })
}

/// INO_PATHS: all paths of an inode within its subvolume.
fn ino_paths(fd: &OwnedFd, ino: u64) -> Result<String> {
    let out = container(fd, 35, ino, 0)?;
    let count = u64_at(&out, 8) as u32 as usize;
    let mut paths = Vec::new();
    for i in 0..count {
        let at = 16 + u64_at(&out, 16 + i * 8) as usize;
        let path = out
            .get(at..)
            .and_then(|p| p.split(|b| *b == 0).next())
            .unwrap_or_default();
        paths.push(escape(path));
    }
    paths.sort();
    let text = paths.join(" ");
    Ok(if text.len() > 300 {
        format!("{count} paths {}", fingerprint(text.as_bytes()))
    } else {
        text
    })
}

/// ENCODED_READ at an offset: metadata and a fingerprint of the encoded bytes.
fn encoded_read(fd: &OwnedFd, offset: u64) -> Result<String> {
    let mut data = vec![0u8; 256 << 10];
    let iov = [data.as_mut_ptr() as u64, data.len() as u64];
    let mut arg = vec![0u8; 128];
    arg[..8].copy_from_slice(&(iov.as_ptr() as u64).to_ne_bytes());
    arg[8..16].copy_from_slice(&1u64.to_ne_bytes());
    arg[16..24].copy_from_slice(&offset.to_ne_bytes());
    let n = btrfs::raw(fd, 64, R, 128, &mut arg)?;
    let (len, unencoded, skip) = (u64_at(&arg, 32), u64_at(&arg, 40), u64_at(&arg, 48));
    let kinds = u64_at(&arg, 56);
    let bytes = data.get(..n as usize).unwrap_or_default();
    Ok(format!(
        "{n} len={len} unencoded={unencoded}+{skip} kinds={kinds:x} {}",
        fingerprint(bytes)
    ))
}

/// GET_CSUMS of the whole file: all answers until the range is used up.
fn get_csums(fd: &OwnedFd, size: u64) -> Result<String> {
    const SPACE: usize = 64 << 10;
    let (mut offset, end) = (0u64, size.div_ceil(4096) * 4096);
    let mut all = Vec::new();
    while offset < end {
        let mut arg = vec![0u8; 32 + SPACE];
        arg[..8].copy_from_slice(&offset.to_ne_bytes());
        arg[8..16].copy_from_slice(&(end - offset).to_ne_bytes());
        arg[16..24].copy_from_slice(&(SPACE as u64).to_ne_bytes());
        btrfs::raw(fd, 66, RW, 32, &mut arg)?;
        let written = (u64_at(&arg, 16) as usize).min(SPACE);
        all.extend_from_slice(&arg[32..32 + written]);
        let next = u64_at(&arg, 0);
        if next <= offset {
            break;
        }
        offset = next;
    }
    Ok(format!("{} bytes {}", all.len(), fingerprint(&all)))
}

/// Everything that concerns the whole file system.
pub fn filesystem(list: &mut Listing, fd: &OwnedFd) {
    let root = Path::new(".");
    // CSUM_INFO, GENERATION, METADATA_UUID asked for.
    list.result(root, "ioctl FS_INFO", plain(fd, 31, R, 1024, &[(48, 7)]));
    for devid in 0..=5u64 {
        let field = format!("ioctl DEV_INFO {devid}");
        list.result(root, &field, plain(fd, 30, RW, 4096, &[(0, devid)]));
        let field = format!("ioctl GET_DEV_STATS {devid}");
        list.result(root, &field, plain(fd, 52, RW, 1032, &[(0, devid), (8, 5)]));
    }
    list.result(root, "ioctl SPACE_INFO", space_info(fd));
    list.result(root, "ioctl GET_FEATURES", plain(fd, 57, R, 24, &[]));
    let mut label = vec![0u8; 256];
    let answer = btrfs::raw(fd, 49, R, 256, &mut label).map(|_| show(&label));
    list.result(root, "ioctl GETFSLABEL", answer);
    trees(list, fd);
    subvolume(list, root, fd);
}

/// Fingerprints of all items of all trees, found through the root tree.
fn trees(list: &mut Listing, fd: &OwnedFd) {
    let root = Path::new(".");
    let mut ids = vec![1, 3];
    let found = btrfs::search_tree(fd, 1, 65_536, |item| {
        if item.kind == 132 && !ids.contains(&item.objectid) {
            ids.push(item.objectid);
        }
    });
    if let Err(error) = found {
        return list.result::<&str>(root, "ioctl TREE_SEARCH_V2", Err(error));
    }
    for id in ids {
        let (mut count, mut hash) = (0u64, xxhash_rust::xxh3::Xxh3::new());
        let searched = btrfs::search_tree(fd, id, 16_384, |item| {
            count += 1;
            for word in [
                item.objectid,
                u64::from(item.kind),
                item.offset,
                item.transid,
            ] {
                hash.update(&word.to_le_bytes());
            }
            hash.update(&item.data);
        });
        let field = format!("ioctl TREE_SEARCH_V2 tree {id}");
        list.result(
            root,
            &field,
            searched.map(|()| format!("{count} items {:032x}", hash.digest128())),
        );
    }
}

/// What concerns the subvolume of a descriptor.
pub fn subvolume(list: &mut Listing, shown: &Path, fd: &OwnedFd) {
    list.result(shown, "ioctl GET_SUBVOL_INFO", plain(fd, 60, R, 504, &[]));
    list.result(shown, "ioctl SUBVOL_GETFLAGS", plain(fd, 25, R, 8, &[]));
    list.result(
        shown,
        "ioctl GET_SUBVOL_ROOTREF",
        plain(fd, 61, RW, 4096, &[]),
    );
    list.result(
        shown,
        "ioctl INO_LOOKUP 256",
        plain(fd, 18, RW, 4096, &[(8, 256)]),
    );
}

/// What concerns one file.
pub fn file(list: &mut Listing, shown: &Path, fd: &OwnedFd, size: u64, extents: &[Extent]) {
    use std::os::fd::AsFd;
    let Ok(st) = testkit::sys::statx(fd.as_fd(), std::ffi::OsStr::new("")) else {
        return;
    };
    list.result(shown, "ioctl INO_PATHS", ino_paths(fd, st.stx_ino));
    list.result(
        shown,
        "ioctl INO_LOOKUP",
        plain(fd, 18, RW, 4096, &[(8, st.stx_ino)]),
    );
    if size > 0 && size <= 64 << 20 {
        list.result(shown, "ioctl GET_CSUMS", get_csums(fd, size));
        for offset in [0, (size - 1) / 2 / 4096 * 4096] {
            list.result(
                shown,
                &format!("ioctl ENCODED_READ {offset}"),
                encoded_read(fd, offset),
            );
        }
    }
    // Bit 0x200: inline, without an address.
    for e in extents
        .iter()
        .filter(|e| e.flags & 0x200 == 0 && e.physical != 0)
        .take(3)
    {
        let at = e.physical;
        list.result(
            shown,
            &format!("ioctl LOGICAL_INO {at}"),
            logical_ino(fd, 36, at, 0),
        );
        list.result(
            shown,
            &format!("ioctl LOGICAL_INO_V2 {at}"),
            logical_ino(fd, 59, at, 1),
        );
    }
}
