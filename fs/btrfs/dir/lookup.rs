// SPDX-License-Identifier: GPL-2.0

//! Finding a name in a directory.

use btrfs_format::dir::{name_hash, DirItems, FileType};
use btrfs_format::key::{item, Key};
use btrfs_format::root::RootRef;
use btrfs_format::types::{Ino, TreeId, NAME_MAX};
use kernel::prelude::*;

use crate::tree::LiveTree;

/// What a name stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    /// A file of the same subvolume.
    File(Ino),
    /// A subvolume.
    Subvol(TreeId),
}

/// A directory entry without its name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// What it stands for.
    pub(crate) target: Target,
    /// The type the directory remembers of it.
    pub(crate) kind: FileType,
}

impl Entry {
    /// Decodes where an entry leads. `EUCLEAN` for what is neither file nor subvolume.
    pub(crate) fn new(location: Key, kind: Option<FileType>) -> Result<Self> {
        let target = match location.item_type {
            item::INODE_ITEM => Target::File(Ino(location.objectid)),
            item::ROOT_ITEM => Target::Subvol(TreeId(location.objectid)),
            _ => return Err(EUCLEAN),
        };
        let kind = kind.ok_or(EUCLEAN)?;
        Ok(Self { target, kind })
    }
}

/// Looks `name` up in the directory `dir` of `tree`.
///
/// Names whose hashes are equal share an item, so all names of the item are
/// compared. Fails with `ENAMETOOLONG`, or with what reading the tree gives.
pub(crate) fn find(tree: &LiveTree, dir: Ino, name: &[u8]) -> Result<Option<Entry>> {
    if name.len() > NAME_MAX {
        return Err(ENAMETOOLONG);
    }
    let key = Key::new(dir.get(), item::DIR_ITEM, name_hash(name));
    let Some(item) = tree.get(key)? else {
        return Ok(None);
    };
    match DirItems::new(&item).find_name(name) {
        Some(found) => Entry::new(found.location, found.kind()).map(Some),
        None => Ok(None),
    }
}

/// Whether the tree of roots agrees that `name` in `dir` of subvolume `parent` is
/// where subvolume `child` hangs.
///
/// It does not in a snapshot: there the entry was copied with its directory, but
/// the subvolume still hangs in the original only.
pub(crate) fn is_mounted_at(
    roots: &LiveTree,
    parent: TreeId,
    dir: Ino,
    name: &[u8],
    child: TreeId,
) -> Result<bool> {
    let key = Key::new(parent.get(), item::ROOT_REF, child.get());
    let Some(item) = roots.get(key)? else {
        return Ok(false);
    };
    let link = RootRef::parse(&item).ok_or(EUCLEAN)?;
    Ok(link.dirid == dir && link.name == name)
}
