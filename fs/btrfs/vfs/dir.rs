// SPDX-License-Identifier: GPL-2.0

//! Operations on directories.

use btrfs_format::dir::FileType;
use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::atomic::{Atomic, Relaxed};
use kfs::fs::{Created, DType, DirEmitter, DirOperations, File, IdMap, NewEntry, Rename};
use kfs::log::Level;

use super::{Btrfs, BtrfsInode, Node};
use crate::dir::lookup::{self, Entry, Target};
use crate::dir::{create, iterate, link, rename, unlink};
use crate::inode::load;
use crate::ioctl;

#[vtable]
impl DirOperations for Node {
    /// The position at which the scan ends; 0 before it began.
    type Open = Atomic<u64>;

    fn lookup(dir: &BtrfsInode, name: &[u8]) -> Result<Option<ARef<BtrfsInode>>> {
        let data = dir.data();
        match lookup::find(data.tree(), data.ino(), name)? {
            None => Ok(None),
            Some(entry) => follow(dir, name, &entry).map(Some),
        }
    }

    fn open(_dir: &BtrfsInode) -> Result<Self::Open> {
        Ok(Atomic::new(0))
    }

    fn iterate(dir: &BtrfsInode, open: &Self::Open, out: &mut DirEmitter<'_>) -> Result {
        let data = dir.data();
        let mut end = open.load(Relaxed);
        if out.pos() == 0 || end == 0 {
            end = iterate::last_position(data.tree(), data.ino())?.max(1);
            open.store(end, Relaxed);
        }
        if !out.emit_dots() {
            return Ok(());
        }
        let range = u64::try_from(out.pos())?..=end;
        let stopped = iterate::list(data.tree(), data.ino(), range, |name, ino, kind, pos| {
            let Ok(pos) = i64::try_from(pos) else {
                return false;
            };
            out.set_pos(pos);
            out.emit(name, ino, dtype(kind), pos.saturating_add(1))
        })?;
        if stopped.is_none() {
            let end = iterate::end_position(u64::try_from(out.pos())?);
            out.set_pos(i64::try_from(end)?);
        }
        Ok(())
    }

    fn ioctl(file: &File<Btrfs>, cmd: u32, arg: usize) -> Result<isize> {
        ioctl::run(file, cmd, arg)
    }

    fn fsync(file: &File<Btrfs>, _datasync: bool) -> Result {
        file.inode().data().fs().txn().commit()
    }

    fn create(
        dir: &BtrfsInode,
        name: &[u8],
        entry: &NewEntry<'_>,
        idmap: &IdMap,
    ) -> Result<Created<Btrfs>> {
        create::create(dir, name, entry, idmap)
    }

    fn tmpfile(dir: &BtrfsInode, entry: &NewEntry<'_>, idmap: &IdMap) -> Result<Created<Btrfs>> {
        create::tmpfile(dir, entry, idmap)
    }

    fn link(dir: &BtrfsInode, name: &[u8], inode: &BtrfsInode) -> Result {
        link::link(dir, name, inode)
    }

    fn unlink(dir: &BtrfsInode, name: &[u8], inode: &BtrfsInode) -> Result {
        unlink::unlink(dir, name, inode)
    }

    fn rmdir(dir: &BtrfsInode, name: &[u8], inode: &BtrfsInode) -> Result {
        unlink::rmdir(dir, name, inode)
    }

    fn rename(rename: &Rename<'_, Btrfs>, idmap: &IdMap) -> Result {
        rename::rename(rename, idmap)
    }
}

/// The inode that an entry leads to.
fn follow(dir: &BtrfsInode, name: &[u8], entry: &Entry) -> Result<ARef<BtrfsInode>> {
    let data = dir.data();
    let sb = dir.super_block();
    let child = match entry.target {
        Target::File(ino) => {
            let inode = load::get(sb, data.subvol(), ino)?;
            if load::file_type(&inode) != entry.kind {
                data.fs().log().print_limited(
                    Level::Critical,
                    format_args!(
                        "inode mode mismatch with dir: inode mode=0{:o} btrfs type={} dir type={}",
                        inode.mode(),
                        load::file_type(&inode).raw(),
                        entry.kind.raw(),
                    ),
                );
                return Err(EUCLEAN);
            }
            return Ok(inode);
        }
        Target::Subvol(child) => child,
    };
    let fs = data.fs();
    let roots = fs.roots().tree();
    let parent = data.subvol().id();
    if !lookup::is_mounted_at(roots, parent, data.ino(), name, child)? {
        return load::get_stub(sb, dir, child);
    }
    match load::get_root(sb, child) {
        Err(ENOENT) => load::get_stub(sb, dir, child),
        found => found,
    }
}

/// The type for `getdents`.
pub(super) fn dtype(kind: FileType) -> DType {
    match kind {
        FileType::Regular => DType::Reg,
        FileType::Dir => DType::Dir,
        FileType::CharDev => DType::Chr,
        FileType::BlockDev => DType::Blk,
        FileType::Fifo => DType::Fifo,
        FileType::Socket => DType::Sock,
        FileType::Symlink => DType::Lnk,
        FileType::Unknown | FileType::Xattr => DType::Unknown,
    }
}
