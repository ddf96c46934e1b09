// SPDX-License-Identifier: GPL-2.0

//! Stubs: empty directories in the place of subvolumes that hang elsewhere.
//!
//! They have no attributes of btrfs, not even the device of the subvolume: `stat` shows
//! that of the super block.

use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kfs::fs::{DirEmitter, DirOperations, File, InodeOperations};

use super::{Btrfs, BtrfsInode, Stub};
use crate::ioctl;

#[vtable]
impl InodeOperations for Stub {
    type Fs = Btrfs;

    fn may_write(_inode: &BtrfsInode) -> Result {
        Err(EACCES)
    }
}

#[vtable]
impl DirOperations for Stub {
    type Open = ();

    fn lookup(_dir: &BtrfsInode, _name: &[u8]) -> Result<Option<ARef<BtrfsInode>>> {
        Ok(None)
    }

    fn open(_dir: &BtrfsInode) -> Result {
        Ok(())
    }

    fn iterate(_dir: &BtrfsInode, _open: &(), out: &mut DirEmitter<'_>) -> Result {
        out.emit_dots();
        Ok(())
    }

    fn ioctl(file: &File<Btrfs>, cmd: u32, arg: usize) -> Result<isize> {
        ioctl::run(file, cmd, arg)
    }
}
