// SPDX-License-Identifier: GPL-2.0

//! ioctls of btrfs and of file systems in general (numbers: linux/fs.h, linux/fiemap.h,
//! linux/btrfs.h).

use crate::sys::check;
use std::io::Result;
use std::os::fd::AsRawFd;

const fn ioc(dir: u64, kind: u64, nr: u64, size: u64) -> u64 {
    dir << 30 | size << 16 | kind << 8 | nr
}

const WRITE: u64 = 1;
const READ: u64 = 2;
const BTRFS: u64 = 0x94;

/// ioctl with a byte buffer as its argument.
///
/// The buffer must be as long as the ioctl wants it; all callers below build it from the size in
/// the ioctl number.
fn ioctl(fd: &impl AsRawFd, request: u64, arg: &mut [u8]) -> Result<i32> {
    // SAFETY: `arg` is at least as long as the size in `request` (every caller of this private
    // function sees to it), variable tails are described by fields of the argument.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), request, arg.as_mut_ptr()) })
}

/// Any read-only ioctl by number, for tests that compare raw answers.
pub fn raw(fd: &impl AsRawFd, nr: u64, dir: u64, size: usize, arg: &mut [u8]) -> Result<i32> {
    assert!(arg.len() >= size, "argument shorter than the ioctl");
    ioctl(fd, ioc(dir, BTRFS, nr, size as u64), arg)
}

fn u64_at(buf: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(buf[at..at + 8].try_into().unwrap_or_default())
}

fn u32_at(buf: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(buf[at..at + 4].try_into().unwrap_or_default())
}

/// One extent of FIEMAP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub logical: u64,
    pub physical: u64,
    pub length: u64,
    pub flags: u32,
}

/// All extents of a file (FS_IOC_FIEMAP, without FIEMAP_FLAG_SYNC), asking for `batch` at a time.
pub fn fiemap(fd: &impl AsRawFd, batch: u32) -> Result<Vec<Extent>> {
    const LAST: u32 = 1;
    let mut extents: Vec<Extent> = Vec::new();
    let mut start = 0u64;
    loop {
        // struct fiemap: start, length, flags, mapped, count, reserved; then 56 bytes per extent.
        let mut buf = vec![0u8; 32 + 56 * batch as usize];
        buf[..8].copy_from_slice(&start.to_ne_bytes());
        buf[8..16].copy_from_slice(&(u64::MAX - start).to_ne_bytes());
        buf[24..28].copy_from_slice(&batch.to_ne_bytes());
        ioctl(fd, ioc(READ | WRITE, b'f' as u64, 11, 32), &mut buf)?;
        let mapped = u32_at(&buf, 20);
        for i in 0..mapped as usize {
            let at = 32 + 56 * i;
            extents.push(Extent {
                logical: u64_at(&buf, at),
                physical: u64_at(&buf, at + 8),
                length: u64_at(&buf, at + 16),
                flags: u32_at(&buf, at + 40),
            });
        }
        let Some(last) = extents.last() else { break };
        let next = last.logical.saturating_add(last.length);
        if mapped == 0 || last.flags & LAST != 0 || next <= start {
            break;
        }
        start = next;
    }
    Ok(extents)
}

/// FS_IOC_GETFLAGS.
pub fn get_flags(fd: &impl AsRawFd) -> Result<u32> {
    let mut buf = [0u8; 8];
    ioctl(fd, ioc(READ, b'f' as u64, 1, 8), &mut buf)?;
    Ok(u32_at(&buf, 0))
}

/// FS_IOC_SETFLAGS.
pub fn set_flags(fd: &impl AsRawFd, flags: u32) -> Result<()> {
    let mut buf = [0u8; 8];
    buf[..4].copy_from_slice(&flags.to_ne_bytes());
    ioctl(fd, ioc(WRITE, b'f' as u64, 2, 8), &mut buf)?;
    Ok(())
}

/// FS_IOC_GETVERSION: the inode's generation number.
pub fn get_version(fd: &impl AsRawFd) -> Result<u32> {
    let mut buf = [0u8; 8];
    ioctl(fd, ioc(READ, b'v' as u64, 1, 8), &mut buf)?;
    Ok(u32_at(&buf, 0))
}

/// FS_IOC_FSGETXATTR: the 28 bytes of struct fsxattr.
pub fn fs_get_xattr(fd: &impl AsRawFd) -> Result<[u8; 28]> {
    let mut buf = [0u8; 28];
    ioctl(fd, ioc(READ, b'X' as u64, 31, 28), &mut buf)?;
    Ok(buf)
}

/// FICLONERANGE.
pub fn clone_range(
    src: &impl AsRawFd,
    from: u64,
    len: u64,
    dest: &impl AsRawFd,
    to: u64,
) -> Result<()> {
    let mut buf = [0u8; 32];
    buf[..8].copy_from_slice(&i64::from(src.as_raw_fd()).to_ne_bytes());
    buf[8..16].copy_from_slice(&from.to_ne_bytes());
    buf[16..24].copy_from_slice(&len.to_ne_bytes());
    buf[24..].copy_from_slice(&to.to_ne_bytes());
    ioctl(dest, ioc(WRITE, BTRFS, 13, 32), &mut buf)?;
    Ok(())
}

/// struct btrfs_ioctl_vol_args_v2 (4096 bytes) with `fd`, `flags` and `name`.
fn vol_args_v2(fd: i64, flags: u64, name: &str) -> Vec<u8> {
    let mut buf = vec![0u8; 4096];
    buf[..8].copy_from_slice(&fd.to_ne_bytes());
    buf[16..24].copy_from_slice(&flags.to_ne_bytes());
    buf[56..56 + name.len()].copy_from_slice(name.as_bytes());
    buf
}

/// Creates a subvolume `name` in the directory `parent` (SUBVOL_CREATE_V2).
pub fn subvol_create(parent: &impl AsRawFd, name: &str) -> Result<()> {
    ioctl(
        parent,
        ioc(WRITE, BTRFS, 24, 4096),
        &mut vol_args_v2(0, 0, name),
    )?;
    Ok(())
}

/// Snapshots the subvolume `source` as `name` in `parent` (SNAP_CREATE_V2).
pub fn snapshot(
    source: &impl AsRawFd,
    parent: &impl AsRawFd,
    name: &str,
    read_only: bool,
) -> Result<()> {
    let flags = if read_only { 2 } else { 0 };
    let mut args = vol_args_v2(i64::from(source.as_raw_fd()), flags, name);
    ioctl(parent, ioc(WRITE, BTRFS, 23, 4096), &mut args)?;
    Ok(())
}

/// Deletes the subvolume `name` of the directory `parent` (SNAP_DESTROY_V2).
pub fn subvol_delete(parent: &impl AsRawFd, name: &str) -> Result<()> {
    ioctl(
        parent,
        ioc(WRITE, BTRFS, 63, 4096),
        &mut vol_args_v2(0, 0, name),
    )?;
    Ok(())
}

/// Forgets all scanned devices that are not mounted (FORGET_DEV of the control device).
pub fn forget_devices() -> Result<()> {
    let control = crate::sys::open("/dev/btrfs-control", libc::O_RDWR)?;
    ioctl(&control, ioc(WRITE, BTRFS, 5, 4096), &mut [0u8; 4096])?;
    Ok(())
}

/// Makes the subvolume `id` the default one.
pub fn set_default(fd: &impl AsRawFd, id: u64) -> Result<()> {
    ioctl(fd, ioc(WRITE, BTRFS, 19, 8), &mut id.to_ne_bytes())?;
    Ok(())
}

/// The tree id of the subvolume a descriptor is in (INO_LOOKUP of its root directory).
pub fn tree_id(fd: &impl AsRawFd) -> Result<u64> {
    let mut buf = vec![0u8; 4096];
    buf[8..16].copy_from_slice(&256u64.to_ne_bytes());
    ioctl(fd, ioc(READ | WRITE, BTRFS, 18, 4096), &mut buf)?;
    Ok(u64_at(&buf, 0))
}

/// An item as TREE_SEARCH_V2 gives it.
#[derive(Clone, Debug)]
pub struct Item {
    pub transid: u64,
    pub objectid: u64,
    pub kind: u32,
    pub offset: u64,
    pub data: Vec<u8>,
}

/// Walks all items of a tree in key order (TREE_SEARCH_V2 with a buffer of `size` bytes).
pub fn search_tree(
    fd: &impl AsRawFd,
    tree: u64,
    size: usize,
    mut each: impl FnMut(&Item),
) -> Result<()> {
    let mut key = (0u64, 0u32, 0u64);
    loop {
        // struct btrfs_ioctl_search_key: 104 bytes, then buf_size, then the buffer.
        let mut buf = vec![0u8; 112 + size];
        for (i, v) in [tree, key.0, u64::MAX, key.2, u64::MAX, 0, u64::MAX]
            .iter()
            .enumerate()
        {
            buf[i * 8..i * 8 + 8].copy_from_slice(&v.to_ne_bytes());
        }
        for (i, v) in [key.1, 255, u32::MAX].iter().enumerate() {
            buf[56 + i * 4..60 + i * 4].copy_from_slice(&v.to_ne_bytes());
        }
        buf[104..112].copy_from_slice(&(size as u64).to_ne_bytes());
        ioctl(fd, ioc(READ | WRITE, BTRFS, 17, 112), &mut buf)?;
        let count = u32_at(&buf, 64);
        if count == 0 {
            return Ok(());
        }
        let mut at = 112;
        for _ in 0..count {
            let len = u32_at(&buf, at + 28) as usize;
            let item = Item {
                transid: u64_at(&buf, at),
                objectid: u64_at(&buf, at + 8),
                offset: u64_at(&buf, at + 16),
                kind: u32_at(&buf, at + 24),
                data: buf[at + 32..at + 32 + len].to_vec(),
            };
            key = (item.objectid, item.kind, item.offset);
            at += 32 + len;
            each(&item);
        }
        key = match key {
            (o, k, off) if off < u64::MAX => (o, k, off + 1),
            (o, k, _) if k < 255 => (o, k + 1, 0),
            (o, _, _) if o < u64::MAX => (o + 1, 0, 0),
            _ => return Ok(()),
        };
    }
}
