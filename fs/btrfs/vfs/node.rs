// SPDX-License-Identifier: GPL-2.0

//! What inodes of all kinds can do, and symbolic links.

use btrfs_format::inode::InodeFlags;
use kernel::prelude::*;
use kfs::fs::{
    AclType, FileAttr, IdMap, InodeOperations, KStat, LinkOperations, PosixAcl, SetAttr, StatQuery,
    XattrList, XattrSet,
};

use super::{Btrfs, BtrfsInode, Node};
use crate::inode::store::store_alone;
use crate::inode::{attributes, facts, load};
use crate::xattr::edit::{self, Attribute};
use crate::xattr::read;

/// Size of the blocks in which `stat` counts space, bytes.
const STAT_BLOCK: u64 = 512;

/// Longest target of a symbolic link, with the zero byte that C code wants behind it.
const PATH_MAX: usize = 4096;

#[vtable]
impl InodeOperations for Node {
    type Fs = Btrfs;

    fn getattr(inode: &BtrfsInode, stat: &mut KStat, _query: StatQuery) -> Result {
        let data = inode.data();
        let flags = data.flags();
        let table = [
            (InodeFlags::APPEND, KStat::ATTR_APPEND),
            (InodeFlags::COMPRESS, KStat::ATTR_COMPRESSED),
            (InodeFlags::IMMUTABLE, KStat::ATTR_IMMUTABLE),
            (InodeFlags::NODUMP, KStat::ATTR_NODUMP),
        ];
        let (mut known, mut set) = (0, 0);
        for (flag, attribute) in table {
            known |= attribute;
            if flags.contains(flag) {
                set |= attribute;
            }
        }
        stat.add_attributes(set, known);
        stat.set_btime(load::time(&data.otime()));
        stat.set_dev(data.subvol().dev());
        stat.set_subvol(data.subvol().id().get());
        if !data.is_stub() {
            let bytes = match data.file() {
                Ok(file) => file.stat_bytes(),
                Err(_) => inode.bytes(),
            };
            let sector = data.fs().sector_size();
            let bytes = bytes.checked_next_multiple_of(sector).unwrap_or(bytes);
            stat.set_blocks(bytes / STAT_BLOCK);
        }
        Ok(())
    }

    fn may_write(inode: &BtrfsInode) -> Result {
        if inode.data().subvol().is_readonly() {
            return Err(EROFS);
        }
        Ok(())
    }

    fn listxattr(inode: &BtrfsInode, list: &mut XattrList<'_>) -> Result {
        let data = inode.data();
        if !data.may_have_xattrs() {
            return Ok(());
        }
        read::for_each(data.tree(), data.ino(), |name, _| list.push(name))
    }

    fn get_acl(inode: &BtrfsInode, kind: AclType) -> Result<Option<PosixAcl>> {
        let data = inode.data();
        let name = kind.xattr_name().to_bytes();
        match read::find(data.tree(), data.ino(), name, PosixAcl::from_xattr) {
            Ok(acl) => Ok(acl),
            Err(ENODATA) => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn fileattr_get(inode: &BtrfsInode, attr: &mut FileAttr) -> Result {
        attr.set_flags(facts::fsflags(inode.data().flags()));
        Ok(())
    }

    fn setattr(inode: &BtrfsInode, attr: &SetAttr<'_, Btrfs>) -> Result {
        attributes::set(inode, attr)
    }

    fn update_time(inode: &BtrfsInode) -> Result {
        store_alone(inode)
    }

    fn set_acl(inode: &BtrfsInode, kind: AclType, value: Option<&[u8]>) -> Result {
        let attribute = Attribute {
            name: kind.xattr_name().to_bytes(),
            value,
            how: XattrSet::Any,
        };
        edit::change(inode, &attribute, || {})
    }

    fn fileattr_set(inode: &BtrfsInode, attr: &FileAttr, _idmap: &IdMap) -> Result {
        attributes::set_flags(inode, attr)
    }
}

#[vtable]
impl LinkOperations for Node {
    fn read_link(inode: &BtrfsInode) -> Result<KVec<u8>> {
        let data = inode.data();
        let size = usize::try_from(inode.size())?;
        if size >= PATH_MAX {
            return Err(EUCLEAN);
        }
        let mut target = KVec::from_elem(0, size, GFP_KERNEL)?;
        data.read_symlink(&mut target)?;
        Ok(target)
    }
}
