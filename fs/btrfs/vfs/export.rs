// SPDX-License-Identifier: GPL-2.0

//! Operations on file handles.

use btrfs_format::inode::InodeRefs;
use btrfs_format::key::{item, Key};
use btrfs_format::root::RootRef;
use btrfs_format::types::{Ino, TreeId};
use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kfs::fs::{EncodedHandle, ExportOperations, NameBuf};

use super::handle::{self, Kind, Reference};
use super::{Btrfs, BtrfsInode, BtrfsSuper};
use crate::inode::load;

/// Makes and reads file handles.
pub(super) struct Handles;

fn reference(inode: &BtrfsInode) -> Reference {
    let data = inode.data();
    Reference {
        ino: data.ino(),
        subvol: data.subvol().id(),
        generation: inode.generation(),
    }
}

/// The inode that one end of a handle means; `ESTALE` when it is another one by now.
fn resolve(sb: &BtrfsSuper, reference: Reference) -> Result<ARef<BtrfsInode>> {
    if reference.ino < Ino::FIRST_FREE {
        return Err(ESTALE);
    }
    let subvol = sb.data().subvols().get(reference.subvol)?;
    let inode = load::get(sb, &subvol, reference.ino)?;
    if reference.generation != 0 && reference.generation != inode.generation() {
        return Err(ESTALE);
    }
    Ok(inode)
}

/// Where the directory `dir` hangs: the directory above it.
fn above(dir: &BtrfsInode) -> Result<(TreeId, Ino)> {
    let data = dir.data();
    let is_root = data.ino() == Ino::ROOT_DIR;
    let fs = data.fs();
    let (tree, key) = if is_root {
        let key = Key::new(data.subvol().id().get(), item::ROOT_BACKREF, u64::MAX);
        (fs.roots().tree(), key)
    } else {
        let key = Key::new(data.ino().get(), item::INODE_REF, u64::MAX);
        (data.tree(), key)
    };
    let cursor = tree.seek_at_or_before(key)?;
    let (found, value) = cursor.item().ok_or(ENOENT)?;
    if found.objectid != key.objectid || found.item_type != key.item_type {
        return Err(ENOENT);
    }
    if is_root {
        let link = RootRef::parse(value).ok_or(EUCLEAN)?;
        return Ok((TreeId(found.offset), link.dirid));
    }
    Ok((data.subvol().id(), Ino(found.offset)))
}

#[vtable]
impl ExportOperations for Handles {
    type Fs = Btrfs;

    fn encode(inode: &BtrfsInode, parent: Option<&BtrfsInode>, buf: &mut [u8]) -> EncodedHandle {
        let inode = reference(inode);
        let parent = parent.map(reference);
        let len = Kind::of(&inode, parent.as_ref()).size();
        match handle::encode(&inode, parent.as_ref(), buf) {
            Some(kind) => EncodedHandle::Done {
                kind: kind.raw(),
                len,
            },
            None => EncodedHandle::TooSmall { len },
        }
    }

    fn decode(sb: &BtrfsSuper, kind: u8, handle: &[u8]) -> Result<Option<ARef<BtrfsInode>>> {
        let found = Kind::from_raw(kind).and_then(|kind| handle::inode(kind, handle));
        found.map(|reference| resolve(sb, reference)).transpose()
    }

    fn decode_parent(sb: &BtrfsSuper, kind: u8, handle: &[u8]) -> Result<Option<ARef<BtrfsInode>>> {
        let found = Kind::from_raw(kind).and_then(|kind| handle::parent(kind, handle));
        found.map(|reference| resolve(sb, reference)).transpose()
    }

    fn get_parent(child: &BtrfsInode) -> Result<ARef<BtrfsInode>> {
        let (subvol, ino) = above(child)?;
        let reference = Reference {
            ino,
            subvol,
            generation: 0,
        };
        resolve(child.super_block(), reference)
    }

    fn get_name(parent: &BtrfsInode, child: &BtrfsInode, name: &mut NameBuf<'_>) -> Result {
        if !parent.is_dir() {
            return Err(EINVAL);
        }
        let (dir, data) = (parent.data(), child.data());
        if data.ino() == Ino::ROOT_DIR {
            let roots = data.fs().roots().tree();
            let key = Key::new(data.subvol().id().get(), item::ROOT_BACKREF, u64::MAX);
            let cursor = roots.seek_at_or_before(key)?;
            let (found, value) = cursor.item().ok_or(ENOENT)?;
            if found.objectid != key.objectid || found.item_type != key.item_type {
                return Err(ENOENT);
            }
            return name.set(RootRef::parse(value).ok_or(EUCLEAN)?.name);
        }
        let key = Key::new(data.ino().get(), item::INODE_REF, dir.ino().get());
        let found = data.tree().get(key)?.ok_or(ENOENT)?;
        name.set(InodeRefs::new(&found).next().ok_or(EUCLEAN)?.name)
    }
}
