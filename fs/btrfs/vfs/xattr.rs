// SPDX-License-Identifier: GPL-2.0

//! The handlers of extended attributes.
//!
//! ACLs are not here: the VFS reads them through the inode operations.

use kernel::prelude::*;
use kfs::fs::{XattrBuf, XattrHandler, XattrHandlers, XattrOperations, XattrSet};

use super::{Btrfs, BtrfsInode};
use crate::xattr::edit::{self, Attribute};
use crate::xattr::{property, read as attributes};

/// All attributes are stored alike, whatever their prefix is.
struct Stored;

#[vtable]
impl XattrOperations for Stored {
    type Fs = Btrfs;

    fn get(inode: &BtrfsInode, name: &CStr, value: &mut XattrBuf<'_>) -> Result<usize> {
        let data = inode.data();
        if data.is_stub() {
            return Err(EOPNOTSUPP);
        }
        if !data.may_have_xattrs() {
            return Err(ENODATA);
        }
        attributes::find(data.tree(), data.ino(), name.to_bytes(), |found| {
            value.put(found)
        })
    }

    fn set(inode: &BtrfsInode, name: &CStr, value: Option<&[u8]>, how: XattrSet) -> Result {
        let data = inode.data();
        if data.is_stub() {
            return Err(EOPNOTSUPP);
        }
        if data.subvol().is_readonly() {
            return Err(EROFS);
        }
        let name = name.to_bytes();
        if name.starts_with(b"btrfs.") {
            return property::change(inode, name, value, how);
        }
        edit::change(inode, &Attribute { name, value, how }, || {})
    }
}

static SECURITY: XattrHandler<Btrfs> = XattrHandler::prefix::<Stored>(c"security.");
static TRUSTED: XattrHandler<Btrfs> = XattrHandler::prefix::<Stored>(c"trusted.");
static USER: XattrHandler<Btrfs> = XattrHandler::prefix::<Stored>(c"user.");
static BTRFS: XattrHandler<Btrfs> = XattrHandler::prefix::<Stored>(c"btrfs.");

static LIST: [Option<&XattrHandler<Btrfs>>; 5] = [
    Some(&SECURITY),
    Some(&TRUSTED),
    Some(&USER),
    Some(&BTRFS),
    None,
];

/// All handlers.
pub(super) fn handlers() -> XattrHandlers<Btrfs> {
    XattrHandlers::new(&LIST)
}
