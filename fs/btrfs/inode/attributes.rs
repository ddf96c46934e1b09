// SPDX-License-Identifier: GPL-2.0

//! Changing attributes: `chmod`, `chown`, `utimes`, `truncate`, and the flags of `chattr`.

use btrfs_format::inode::{InodeFlags, InodeItem};
use btrfs_format::superblock::Incompat;
use kernel::prelude::*;
use kfs::fs::{FileAttr, SetAttr, XattrSet};
use kfs::mem::until_memory;

use super::facts::{self, fsflag};
use super::load;
use super::store::{store, DEMAND};
use crate::data::truncate;
use crate::dir::entries::most_bytes;
use crate::edits::{complete, Edits};
use crate::mount::options::{Algorithm, Flags};
use crate::txn::Demand;
use crate::vfs::{Btrfs, BtrfsInode};
use crate::xattr::edit::{self, Attribute};
use crate::xattr::property;

/// Changes what the VFS allowed to be changed.
pub(crate) fn set(inode: &BtrfsInode, attr: &SetAttr<'_, Btrfs>) -> Result {
    if let (Some(size), true) = (attr.size(), inode.is_reg()) {
        if attr.keeps_times() && size != inode.size() {
            // By a path: the VFS leaves the times to the file system, which knows what changes.
            inode.touch();
        }
        truncate::set_size(inode, size)?;
    }
    if attr.is_empty() {
        return Ok(());
    }
    let demand = match attr.size() {
        // Cutting a file must work where nothing is free.
        Some(_) => DEMAND.deleting(),
        None => DEMAND,
    };
    // It may be cut already: no time to give up.
    let mut handle = until_memory(|| inode.data().fs().txn().start(demand))?;
    attr.apply();
    inode.inc_version();
    store(&mut handle, inode)?;
    drop(handle);
    if attr.changes_mode() {
        attr.chmod_acl()?;
    }
    Ok(())
}

const ALL: u32 = fsflag::IMMUTABLE
    | fsflag::APPEND
    | fsflag::NOATIME
    | fsflag::NODUMP
    | fsflag::SYNC
    | fsflag::DIRSYNC
    | fsflag::NOCOMP
    | fsflag::COMPR
    | fsflag::NOCOW;

/// `EOPNOTSUPP` for flags that there are not, `EINVAL` for those that exclude each other.
fn check_flags(old: u32, new: u32) -> Result {
    const COMPRESSION: u32 = fsflag::COMPR | fsflag::NOCOMP;
    if new & !ALL != 0 {
        return Err(EOPNOTSUPP);
    }
    let both = new & COMPRESSION == COMPRESSION;
    let of_nocow = new & fsflag::COMPR != 0 && new & fsflag::NOCOW != 0;
    let was_nocow = old & fsflag::NOCOW != 0 && new & COMPRESSION != 0;
    let was_compressed = new & fsflag::NOCOW != 0 && old & COMPRESSION != 0;
    match both || of_nocow || was_nocow || was_compressed {
        true => Err(EINVAL),
        false => Ok(()),
    }
}

/// The flags of the format that follow from those of `chattr`. `extended`: they came by
/// `FS_IOC_FSSETXATTR`, which knows fewer.
fn wanted(inode: &BtrfsInode, new: u32, extended: bool) -> InodeFlags {
    let data = inode.data();
    let mut flags = data.flags().0;
    let mut put = |bit: u32, flag: InodeFlags| {
        flags = match new & bit != 0 {
            true => flags | flag.0,
            false => flags & !flag.0,
        };
    };
    put(fsflag::SYNC, InodeFlags::SYNC);
    put(fsflag::IMMUTABLE, InodeFlags::IMMUTABLE);
    put(fsflag::APPEND, InodeFlags::APPEND);
    put(fsflag::NODUMP, InodeFlags::NODUMP);
    put(fsflag::NOATIME, InodeFlags::NOATIME);
    if extended {
        return InodeFlags(flags);
    }
    put(fsflag::DIRSYNC, InodeFlags::DIRSYNC);
    // How data is written changes only where there is none.
    if !inode.is_reg() {
        put(fsflag::NOCOW, InodeFlags::NODATACOW);
    } else if inode.size() == 0 {
        put(fsflag::NOCOW, InodeFlags::NODATACOW);
        if new & fsflag::NOCOW != 0 {
            flags |= InodeFlags::NODATASUM.0;
        } else if !data.subvol().data_options().has(Flags::NODATASUM) {
            flags &= !InodeFlags::NODATASUM.0;
        }
    }
    flags &= !(InodeFlags::COMPRESS.0 | InodeFlags::NOCOMPRESS.0);
    if new & fsflag::NOCOMP != 0 {
        flags |= InodeFlags::NOCOMPRESS.0;
    } else if new & fsflag::COMPR != 0 {
        flags |= InodeFlags::COMPRESS.0;
    }
    InodeFlags(flags)
}

/// Changes the flags of `chattr`, and with `+c` and `-c` the compression property.
pub(crate) fn set_flags(inode: &BtrfsInode, attr: &FileAttr) -> Result {
    let data = inode.data();
    let fs = data.fs();
    if attr.has_extended() {
        return Err(EOPNOTSUPP);
    }
    let known = if inode.is_dir() {
        u32::MAX
    } else if inode.is_reg() {
        !fsflag::DIRSYNC
    } else {
        fsflag::NODUMP | fsflag::NOATIME
    };
    let new = attr.flags() & known;
    check_flags(facts::fsflags(data.flags()), new)?;
    if new & fsflag::NOCOW != 0 && fs.has_incompat(Incompat::ZONED) {
        return Err(EPERM);
    }
    let extended = !attr.has_flags();
    let flags = wanted(inode, new, extended);
    let algorithm = match new & fsflag::COMPR != 0 && !extended {
        false => None,
        true => Some(match property::algorithm(data)? {
            Some(algorithm) => algorithm,
            None => match data.subvol().data_options() {
                options if options.has(Flags::COMPRESS) => options.algorithm(),
                _ => Algorithm::Zlib,
            },
        }),
    };
    let demand = Demand::items(2, InodeItem::SIZE as u64 + 512);
    let handle = fs.txn().start(demand)?;
    let mut edits = Edits::new();
    if !extended {
        let property = Attribute {
            name: property::COMPRESSION,
            value: algorithm.map(|algorithm| algorithm.name().as_bytes()),
            how: XattrSet::Any,
        };
        let most = most_bytes(fs.volume().geometry());
        let transid = handle.transid();
        edit::set(
            &mut edits,
            data.tree(),
            data.ino(),
            most,
            &property,
            transid,
        )?;
    }
    complete(fs, handle, "chattr", |handle| {
        edits.apply(handle)?;
        if algorithm.is_some() {
            data.note_xattrs();
        }
        let gone = InodeFlags(data.flags().0 & !flags.0);
        data.change_flags(flags, gone);
        inode.set_vfs_flags(load::vfs_flags(flags));
        inode.inc_version();
        inode.touch_ctime();
        store(handle, inode)
    })
}
