// SPDX-License-Identifier: GPL-2.0

//! Operations on regular files.

use btrfs_format::types::Generation;
use core::ops::Range;
use kernel::iov::{IovIterDest, IovIterSource};
use kernel::prelude::*;
use kfs::fs::{Fallocate, FiemapInfo, File, FileOperations, Kiocb, Outcome, SeekKind};
use kfs::iomap;

use super::{Btrfs, BtrfsInode, Node};
use crate::data::fiemap::{self, Reported};
use crate::data::read::FileData;
use crate::data::seek::DataOrHole;
use crate::data::shared::Sharing;
use crate::data::{direct, extent, fallocate, write};
use crate::ioctl;

#[vtable]
impl FileOperations for Node {
    type Data = FileData;

    fn check(inode: &BtrfsInode) -> Result {
        inode.data().fs().check_usable()
    }

    fn read_direct(iocb: Kiocb<'_, Btrfs>, to: &mut IovIterDest<'_>) -> Result<Outcome> {
        direct::read(iocb, to)
    }

    fn write(iocb: Kiocb<'_, Btrfs>, from: &mut IovIterSource<'_>) -> Result<Outcome> {
        write::write(iocb, from)
    }

    fn fallocate(file: &File<Btrfs>, what: Fallocate, keep: bool, range: Range<u64>) -> Result {
        fallocate::run(file, what, keep, range)
    }

    fn seek(inode: &BtrfsInode, pos: i64, kind: SeekKind) -> Result<i64> {
        match kind {
            SeekKind::Data => iomap::seek_data::<DataOrHole>(inode, pos),
            SeekKind::Hole => iomap::seek_hole::<DataOrHole>(inode, pos),
        }
    }

    fn fiemap(inode: &BtrfsInode, info: &mut FiemapInfo<'_>, start: u64, len: u64) -> Result {
        let data = inode.data();
        let _lock = inode.lock_shared();
        if info.wants_sync() {
            // What was written since this was done without the lock.
            inode.wait_for_direct_io();
            inode.write_and_wait(0..i64::MAX as u64)?;
        }
        let sector = data.fs().sector_size();
        let start = start - start % sector;
        let end = start.saturating_add(len).saturating_add(sector - 1);
        let end = end - end % sector;
        let size = u64::try_from(inode.size())?;
        let last_end = extent::last_end(data.tree(), data.ino(), sector)?;
        let roots = data.fs().roots();
        let extents = roots.standard().extent.as_ref();
        let last_snapshot = data.tree().item().last_snapshot.get();
        let mut sharing = extents.filter(|_| info.wants_extents()).map(|extents| {
            Sharing::new(
                extents.view(),
                data.tree().view(),
                data.ino(),
                Generation(last_snapshot),
            )
        });
        fiemap::report(
            data,
            start..end,
            (last_end, size),
            |allocation, offset| match &mut sharing {
                Some(sharing) => sharing.is_shared(allocation, offset),
                None => Ok(false),
            },
            |found: Reported| {
                info.emit(found.offset, found.address, found.length, found.flags)
                    .map(|full| !full)
            },
        )
    }

    fn ioctl(file: &File<Btrfs>, cmd: u32, arg: usize) -> Result<isize> {
        ioctl::run(file, cmd, arg)
    }

    fn compat_ioctl(file: &File<Btrfs>, cmd: u32, arg: usize) -> Result<isize> {
        ioctl::run_compat(file, cmd, arg)
    }

    fn uring_cmd(file: &File<Btrfs>, cmd: u32, arg: usize, compat: bool) -> Result<isize> {
        ioctl::run_uring(file, cmd, arg, compat)
    }

    fn open(inode: &BtrfsInode, _file: &File<Btrfs>) -> Result {
        // Bytes must not change between their checksum and the device.
        inode.set_stable_writes();
        Ok(())
    }

    fn fsync(file: &File<Btrfs>, start: i64, end: i64, _datasync: bool) -> Result {
        let data = file.inode().data();
        // The size on disk rises only over what is on disk: a range that the file ends before is
        // there only when all before it is.
        let reached = i64::try_from(data.file()?.disk_size()).unwrap_or(i64::MAX);
        file.write_and_wait(start.min(reached), end)?;
        data.fs().txn().commit()
    }
}
