// SPDX-License-Identifier: GPL-2.0

//! Making subvolumes.
//!
//! A new subvolume is a tree without blocks, of which all items are in an overlay until the next
//! commit, and a root item that says nothing of its root block until then.

use btrfs_format::dir::{FileType, DIR_START_INDEX};
use btrfs_format::inode::{mode, InodeFlags, InodeItem, InodeRefHeader};
use btrfs_format::key::{item, Key};
use btrfs_format::root::RootItem;
use btrfs_format::types::{Generation, Ino, TreeId, Uuid};
use kernel::prelude::*;
use kernel::sync::Arc;
use kfs::fs::{Created, Draft, IdMap, NewAttributes, XattrSet};

use super::{uuids, Subvol};
use crate::dir::create::{name_demand, touch_dir};
use crate::dir::edit::{dir_size, next_index, Name};
use crate::dir::entries::most_bytes;
use crate::edits::{complete, copy, Edits};
use crate::inode::store::{on_disk, store};
use crate::inode::{load, Inode, InodeKey, Parts};
use crate::mount::Fs;
use crate::txn::Demand;
use crate::vfs::{Btrfs, BtrfsInode};
use crate::xattr::edit::{self, Attribute};
use crate::xattr::property;

/// The root item of a new subvolume.
fn root_item(transid: Generation, nodesize: u32, now: btrfs_format::inode::Timespec) -> RootItem {
    let mut new = RootItem::zeroed();
    new.inode.generation = 1.into();
    new.inode.size = 3.into();
    new.inode.nlink = 1.into();
    new.inode.nbytes = u64::from(nodesize).into();
    new.inode.mode = (mode::DIR | 0o755).into();
    new.inode.flags = InodeFlags::ROOT_ITEM_INIT.0.into();
    new.generation = transid.into();
    new.generation_v2 = transid.into();
    new.root_dirid = Ino::ROOT_DIR.get().into();
    new.refs = 1.into();
    new.uuid = Uuid::new(kfs::random::uuid());
    new.ctransid = transid.into();
    new.otransid = transid.into();
    new.ctime = now;
    new.otime = now;
    new
}

/// The item that says that the root directory is in itself.
fn root_ref() -> Result<KVec<u8>> {
    const NAME: &[u8] = b"..";
    let header = InodeRefHeader {
        index: 0.into(),
        name_len: u16::try_from(NAME.len())?.into(),
    };
    let mut item = copy(header.to_disk())?;
    item.extend_from_slice(NAME, GFP_KERNEL)?;
    Ok(item)
}

/// Makes an empty subvolume with the name `name` in `dir`, of which the inode lock is held.
/// Returns its root directory.
pub(crate) fn create(dir: &BtrfsInode, name: &[u8], idmap: &IdMap) -> Result<Created<Btrfs>> {
    let data = dir.data();
    let fs = data.fs();
    let _kept = fs.subvols().keep();
    if data.is_stub() || data.tree().is_dead() {
        return Err(ENOENT);
    }
    let draft = Draft::new_root(dir, idmap)?;
    let id = fs.subvols().alloc_id()?;
    let algorithm = inherited_property(data)?;
    let (count, bytes) = name_demand(name.len());
    let demand = Demand::items(
        count + 8,
        bytes + RootItem::SIZE as u64 + InodeItem::SIZE as u64 + 1024,
    );
    let handle = fs.txn().start(demand)?;
    let transid = handle.transid();
    let nodesize = fs.volume().geometry().nodesize;
    let item = root_item(transid, nodesize, on_disk(draft.now().into()));
    fs.roots().create(id, item, 0)?;
    // Whatever fails from here on before the changes are made, nobody is to find the tree.
    let made = New { fs, id, item }.build(dir, name, draft, algorithm, handle);
    if made.is_err() {
        fs.subvols().forget(id);
    }
    made
}

/// What the root directory of a new subvolume takes over from that of the one it is made in.
fn inherited_property(dir: &Inode) -> Result<Option<&'static str>> {
    let subvol = dir.subvol();
    let key = Key::new(subvol.root_dir().get(), item::XATTR_ITEM, 0);
    let first = subvol.tree().seek(key)?.key();
    // Most root directories have no attributes.
    if !first.is_some_and(|k| k.objectid == key.objectid && k.item_type == key.item_type) {
        return Ok(None);
    }
    let found = property::algorithm_of(subvol.tree(), subvol.root_dir())?;
    Ok(found.map(|algorithm| algorithm.name()))
}

struct New<'a> {
    fs: &'a Fs,
    id: TreeId,
    item: RootItem,
}

impl New<'_> {
    fn build(
        &self,
        dir: &BtrfsInode,
        name: &[u8],
        draft: Draft<Btrfs>,
        algorithm: Option<&str>,
        handle: crate::txn::Handle<'_>,
    ) -> Result<Created<Btrfs>> {
        let (fs, id, data) = (self.fs, self.id, dir.data());
        let mut handle = handle;
        let transid = handle.transid();
        let subvol = fs.subvols().get(id)?;
        subvol.set_cleaned();
        subvol.inherit(data.subvol().data_options());
        let (tree, roots) = (subvol.tree(), fs.roots().tree());
        tree.set_complete(&mut handle, Ino::ROOT_DIR.get())?;
        let mut edits = Edits::new();
        let place = Name { dir: data, name };
        let index = next_index(data)?;
        let key = Key::new(id.get(), item::ROOT_ITEM, 0);
        place.add(&mut edits, key, FileType::Dir, index, transid)?;
        place.add_root_ref(&mut edits, id, index)?;
        edits.put(roots, key, copy(self.item.to_disk())?)?;
        uuids::add(fs, &mut edits, item::UUID_SUBVOL, self.item.uuid, id)?;
        let root = Ino::ROOT_DIR.get();
        edits.put(tree, Key::new(root, item::INODE_REF, root), root_ref()?)?;
        if let Some(algorithm) = algorithm {
            let attribute = Attribute {
                name: property::COMPRESSION,
                value: Some(algorithm.as_bytes()),
                how: XattrSet::Any,
            };
            let most = most_bytes(fs.volume().geometry());
            edit::set(&mut edits, tree, Ino::ROOT_DIR, most, &attribute, transid)?;
        }
        let created = root_dir(data, &subvol, draft, transid, algorithm.is_some())?;
        complete(fs, handle, "subvolume creation", |handle| {
            edits.apply(handle)?;
            store(handle, &created)?;
            touch_dir(handle, dir, dir_size(name.len()))
        })?;
        Ok(created)
    }
}

/// The inode of the root directory.
fn root_dir(
    parent: &Inode,
    subvol: &Arc<Subvol>,
    draft: Draft<Btrfs>,
    transid: Generation,
    compressed: bool,
) -> Result<Created<Btrfs>> {
    let flags = match compressed {
        true => InodeFlags::COMPRESS,
        false => InodeFlags(0),
    };
    let attributes = NewAttributes {
        kind: load::kind_of(u32::from(draft.mode()), 0)?,
        nlink: 1,
        size: 0,
        bytes: 0,
        generation: load::low(transid.get()),
        flags: load::vfs_flags(flags),
        large_folios: false,
    };
    let parts = Parts {
        fs: parent.fs().clone(),
        subvol: subvol.clone(),
        ino: Ino::ROOT_DIR,
        stub: false,
        generation: transid,
        otime: draft.now().into(),
        flags,
        has_xattrs: compressed,
        next_index: DIR_START_INDEX,
        file: None,
    };
    let key = InodeKey::File {
        tree: subvol.id(),
        ino: Ino::ROOT_DIR,
    };
    draft.finish(key, attributes, Inode::new(parts))
}
