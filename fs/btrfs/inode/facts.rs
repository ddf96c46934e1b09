// SPDX-License-Identifier: GPL-2.0

//! What an inode item says, in the terms of the VFS.

use btrfs_format::inode::{InodeFlags, InodeItem, Timespec};
use btrfs_format::key::{item, Key};
use btrfs_format::types::Ino;
use kernel::prelude::*;
use kernel::sync::Arc;

use crate::tree::{LiveCursor, LiveTree};

/// Values of `FS_*_FL` (`linux/fs.h`): what `lsattr` shows.
pub(crate) mod fsflag {
    pub(crate) const COMPR: u32 = 0x4;
    pub(crate) const SYNC: u32 = 0x8;
    pub(crate) const IMMUTABLE: u32 = 0x10;
    pub(crate) const APPEND: u32 = 0x20;
    pub(crate) const NODUMP: u32 = 0x40;
    pub(crate) const NOATIME: u32 = 0x80;
    pub(crate) const NOCOMP: u32 = 0x400;
    pub(crate) const DIRSYNC: u32 = 0x0001_0000;
    pub(crate) const VERITY: u32 = 0x0010_0000;
    pub(crate) const NOCOW: u32 = 0x0080_0000;
}

/// A point in time as it is on disk: seconds and nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Time {
    pub(crate) sec: i64,
    pub(crate) nsec: u32,
}

impl From<kfs::fs::Timespec> for Time {
    fn from(time: kfs::fs::Timespec) -> Self {
        Self {
            sec: time.sec,
            nsec: time.nsec,
        }
    }
}

impl From<&Timespec> for Time {
    fn from(time: &Timespec) -> Self {
        Self {
            sec: time.seconds(),
            nsec: time.nanoseconds(),
        }
    }
}

/// What was learned from the items next to the inode item, from the same leaf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Facts {
    /// The inode item.
    pub(crate) item: InodeItem,
    /// There may be POSIX ACLs. False saves a search at every permission check.
    pub(crate) may_have_acl: bool,
    /// There may be extended attributes of any kind.
    pub(crate) may_have_xattrs: bool,
}

impl Facts {
    /// Reads the inode item of `ino`. `ENOENT`: there is none.
    pub(crate) fn read(tree: &Arc<LiveTree>, ino: Ino) -> Result<Self> {
        let key = Key::new(ino.get(), item::INODE_ITEM, 0);
        let mut cursor = tree.seek(key)?;
        let (found, data) = cursor.item().ok_or(ENOENT)?;
        if found != key {
            return Err(ENOENT);
        }
        let item = *InodeItem::from_bytes(data).ok_or(EUCLEAN)?;
        let mut facts = Self {
            item,
            may_have_acl: true,
            may_have_xattrs: true,
        };
        // Attributes follow the item and its names. What the leaf holds is free to
        // look at; a search for more would cost more than it saves.
        let mut steps = 0;
        while cursor.has_next_in_leaf() && steps < 8 {
            cursor.next()?;
            steps += 1;
            match cursor.item() {
                Some((key, _)) if key.objectid == ino.get() => match key.item_type {
                    item::XATTR_ITEM => return facts.note_xattrs(&mut cursor),
                    later if later > item::XATTR_ITEM => break,
                    _ => continue,
                },
                _ => break,
            }
        }
        let known = match cursor.item() {
            Some((key, _)) => key.objectid != ino.get() || key.item_type > item::XATTR_ITEM,
            None => true,
        };
        if known {
            facts.may_have_acl = false;
            facts.may_have_xattrs = false;
        }
        Ok(facts)
    }

    /// The cursor stands on the first attribute: looks whether one is an ACL.
    fn note_xattrs(mut self, cursor: &mut LiveCursor) -> Result<Self> {
        use btrfs_format::dir::DirItems;

        const PREFIX: &[u8] = b"system.posix_acl_";
        let mut first = true;
        while first || cursor.has_next_in_leaf() {
            if !first {
                cursor.next()?;
            }
            first = false;
            let Some((key, data)) = cursor.item() else {
                break;
            };
            if key.item_type != item::XATTR_ITEM {
                self.may_have_acl = false;
                return Ok(self);
            }
            if DirItems::new(data).any(|attribute| attribute.name.starts_with(PREFIX)) {
                return Ok(self);
            }
        }
        Ok(self)
    }

    /// The flags of the format.
    pub(crate) fn flags(&self) -> InodeFlags {
        self.item.flags()
    }
}

/// Flags of the format, and as `lsattr` and `chattr` have them.
const TABLE: [(InodeFlags, u32); 8] = [
    (InodeFlags::SYNC, fsflag::SYNC),
    (InodeFlags::IMMUTABLE, fsflag::IMMUTABLE),
    (InodeFlags::APPEND, fsflag::APPEND),
    (InodeFlags::NODUMP, fsflag::NODUMP),
    (InodeFlags::NOATIME, fsflag::NOATIME),
    (InodeFlags::DIRSYNC, fsflag::DIRSYNC),
    (InodeFlags::NODATACOW, fsflag::NOCOW),
    (InodeFlags::RO_VERITY, fsflag::VERITY),
];

/// The flags as `lsattr` wants them.
pub(crate) fn fsflags(flags: InodeFlags) -> u32 {
    let mut bits = 0;
    for (flag, bit) in TABLE {
        if flags.contains(flag) {
            bits |= bit;
        }
    }
    if flags.contains(InodeFlags::NOCOMPRESS) {
        bits |= fsflag::NOCOMP;
    } else if flags.contains(InodeFlags::COMPRESS) {
        bits |= fsflag::COMPR;
    }
    bits
}
