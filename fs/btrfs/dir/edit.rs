// SPDX-License-Identifier: GPL-2.0

//! Putting names into directories, and taking them out.
//!
//! A name of a file is stored three times: in the directory under its hash (`DIR_ITEM`) and under
//! its index (`DIR_INDEX`), and with the file (`INODE_REF`, or `INODE_EXTREF` when the names
//! of one directory do not fit an item). That of a subvolume has `ROOT_REF` and `ROOT_BACKREF`
//! in the tree of roots instead of the last. Callers hold the inode lock of the directory, and
//! change both halves under one handle.

use btrfs_format::dir::{name_hash, DirItems, FileType, DIR_START_INDEX};
use btrfs_format::inode::{
    extref_hash, InodeExtrefHeader, InodeExtrefs, InodeRefHeader, InodeRefs,
};
use btrfs_format::key::{item, Key};
use btrfs_format::root::{RootRef, RootRefHeader};
use btrfs_format::superblock::Incompat;
use btrfs_format::types::{Generation, Ino, TreeId, NAME_MAX};
use kernel::prelude::*;
use kernel::sync::Arc;

use super::entries::{self, NewEntry};
use super::iterate;
use crate::edits::Edits;
use crate::inode::Inode;
use crate::tree::LiveTree;

/// A name in a directory.
#[derive(Clone, Copy)]
pub(crate) struct Name<'a> {
    pub(crate) dir: &'a Inode,
    pub(crate) name: &'a [u8],
}

/// The bytes that a name of `len` bytes adds to the size of its directory.
pub(crate) fn dir_size(len: usize) -> i64 {
    i64::try_from(len).map_or(0, |len| 2 * len)
}

/// A new index in `dir`. The inode lock of the directory is held.
pub(crate) fn next_index(dir: &Inode) -> Result<u64> {
    dir.next_index(|| {
        let last = iterate::last_position(dir.tree(), dir.ino())?;
        Ok(last.saturating_add(1).max(DIR_START_INDEX))
    })
}

impl Name<'_> {
    fn item_key(&self) -> Key {
        Key::new(self.dir.ino().get(), item::DIR_ITEM, name_hash(self.name))
    }

    fn index_key(&self, index: u64) -> Key {
        Key::new(self.dir.ino().get(), item::DIR_INDEX, index)
    }

    fn most_bytes(&self) -> usize {
        entries::most_bytes(self.dir.fs().volume().geometry())
    }

    /// Puts the name into the directory.
    ///
    /// `EEXIST`: it is there; `EOVERFLOW`: too many names have its hash.
    pub(crate) fn add(
        &self,
        edits: &mut Edits,
        location: Key,
        kind: FileType,
        index: u64,
        transid: Generation,
    ) -> Result {
        if self.name.len() > NAME_MAX {
            return Err(ENAMETOOLONG);
        }
        let tree = self.dir.tree();
        let entry = NewEntry {
            location,
            kind,
            name: self.name,
            value: &[],
        };
        let mut item = edits.get(tree, self.item_key())?.unwrap_or_default();
        if DirItems::new(&item).find_name(self.name).is_some() {
            return Err(EEXIST);
        }
        entries::append(&mut item, &entry, transid)?;
        if item.len() > self.most_bytes() {
            return Err(EOVERFLOW);
        }
        edits.put(tree, self.item_key(), item)?;
        let mut item = KVec::new();
        entries::append(&mut item, &entry, transid)?;
        edits.put(tree, self.index_key(index), item)
    }

    /// Takes the name with this index out of the directory. `ENOENT`: it is not there.
    pub(crate) fn remove(&self, edits: &mut Edits, index: u64) -> Result {
        let tree = self.dir.tree();
        let item = edits.get(tree, self.item_key())?.ok_or(ENOENT)?;
        let rest = entries::without(&item, self.name)?.ok_or(ENOENT)?;
        edits.put_or_delete(tree, self.item_key(), rest)?;
        edits.delete(tree, self.index_key(index))
    }

    /// Finds the index of the name by looking at all entries, for names without a reference.
    pub(crate) fn search_index(&self) -> Result<u64> {
        let mut found = None;
        let range = DIR_START_INDEX..=u64::MAX;
        iterate::list(self.dir.tree(), self.dir.ino(), range, |name, _, _, at| {
            if name == self.name {
                found = Some(at);
            }
            found.is_none()
        })?;
        found.ok_or(ENOENT)
    }

    /// Adds the name to those that the file `child` has.
    ///
    /// `EMLINK`: they do not fit; `EEXIST`: it has it.
    pub(crate) fn add_ref(&self, edits: &mut Edits, child: Ino, index: u64) -> Result {
        let tree = self.dir.tree();
        let key = Key::new(child.get(), item::INODE_REF, self.dir.ino().get());
        let mut item = edits.get(tree, key)?.unwrap_or_default();
        if InodeRefs::new(&item).any(|entry| entry.name == self.name) {
            return Err(EEXIST);
        }
        if item.len() + InodeRefHeader::SIZE + self.name.len() <= self.most_bytes() {
            let header = InodeRefHeader {
                index: index.into(),
                name_len: u16::try_from(self.name.len())?.into(),
            };
            item.extend_from_slice(header.to_disk(), GFP_KERNEL)?;
            item.extend_from_slice(self.name, GFP_KERNEL)?;
            return edits.put(tree, key, item);
        }
        if !self.dir.fs().has_incompat(Incompat::EXTENDED_IREF) {
            return Err(EMLINK);
        }
        let key = self.extref_key(child);
        let mut item = edits.get(tree, key)?.unwrap_or_default();
        let header = InodeExtrefHeader {
            parent: self.dir.ino().get().into(),
            index: index.into(),
            name_len: u16::try_from(self.name.len())?.into(),
        };
        item.extend_from_slice(header.to_disk(), GFP_KERNEL)?;
        item.extend_from_slice(self.name, GFP_KERNEL)?;
        if item.len() > self.most_bytes() {
            return Err(EMLINK);
        }
        edits.put(tree, key, item)
    }

    fn extref_key(&self, child: Ino) -> Key {
        let hash = extref_hash(self.dir.ino(), self.name);
        Key::new(child.get(), item::INODE_EXTREF, hash)
    }

    /// Takes the name from those that the file `child` has; returns its index.
    ///
    /// `ENOENT`: it does not have it.
    pub(crate) fn remove_ref(&self, edits: &mut Edits, child: Ino) -> Result<u64> {
        let tree = self.dir.tree();
        let key = Key::new(child.get(), item::INODE_REF, self.dir.ino().get());
        if let Some(item) = edits.get(tree, key)? {
            let mut index = None;
            let rest = keep(&item, InodeRefs::new(&item), InodeRefs::rest, |entry| {
                let own = entry.name == self.name;
                if own {
                    index = Some(entry.index);
                }
                !own
            })?;
            if let Some(index) = index {
                edits.put_or_delete(tree, key, rest)?;
                return Ok(index);
            }
        }
        let key = self.extref_key(child);
        let item = edits.get(tree, key)?.ok_or(ENOENT)?;
        let mut index = None;
        let rest = keep(
            &item,
            InodeExtrefs::new(&item),
            InodeExtrefs::rest,
            |entry| {
                let own = entry.parent == self.dir.ino() && entry.name == self.name;
                if own {
                    index = Some(entry.index);
                }
                !own
            },
        )?;
        edits.put_or_delete(tree, key, rest)?;
        index.ok_or(ENOENT)
    }

    /// Notes in the tree of roots that the subvolume `child` has the name.
    pub(crate) fn add_root_ref(&self, edits: &mut Edits, child: TreeId, index: u64) -> Result {
        let roots = self.dir.fs().roots().tree();
        let header = RootRefHeader {
            dirid: self.dir.ino().get().into(),
            sequence: index.into(),
            name_len: u16::try_from(self.name.len())?.into(),
        };
        let parent = self.dir.subvol().id();
        for key in root_ref_keys(parent, child) {
            let mut item = KVec::new();
            item.extend_from_slice(header.to_disk(), GFP_KERNEL)?;
            item.extend_from_slice(self.name, GFP_KERNEL)?;
            edits.put(roots, key, item)?;
        }
        Ok(())
    }

    /// Forgets in the tree of roots that the subvolume `child` has the name; returns its index.
    ///
    /// `ENOENT`: it does not have it.
    pub(crate) fn remove_root_ref(&self, edits: &mut Edits, child: TreeId) -> Result<u64> {
        let roots = self.dir.fs().roots().tree();
        let [key, back] = root_ref_keys(self.dir.subvol().id(), child);
        let item = edits.get(roots, key)?.ok_or(ENOENT)?;
        let link = RootRef::parse(&item).ok_or(EUCLEAN)?;
        if link.dirid != self.dir.ino() || link.name != self.name {
            return Err(ENOENT);
        }
        let index = link.sequence;
        edits.delete(roots, key)?;
        edits.delete(roots, back)?;
        Ok(index)
    }
}

/// The keys under which the tree of roots has the name of subvolume `child` in `parent`.
fn root_ref_keys(parent: TreeId, child: TreeId) -> [Key; 2] {
    [
        Key::new(parent.get(), item::ROOT_REF, child.get()),
        Key::new(child.get(), item::ROOT_BACKREF, parent.get()),
    ]
}

/// The data of an item with only those entries that `wanted` wants. `rest` says what of the item
/// is behind the last entry that the iterator gave.
fn keep<'a, I: Iterator>(
    item: &'a [u8],
    entries: I,
    rest: impl Fn(&I) -> &'a [u8],
    mut wanted: impl FnMut(&I::Item) -> bool,
) -> Result<KVec<u8>> {
    let mut entries = entries;
    let mut kept = KVec::with_capacity(item.len(), GFP_KERNEL)?;
    let mut at = 0;
    while let Some(entry) = entries.next() {
        let end = item.len() - rest(&entries).len();
        if wanted(&entry) {
            kept.extend_from_slice(item.get(at..end).ok_or(EUCLEAN)?, GFP_KERNEL)?;
        }
        at = end;
    }
    Ok(kept)
}

/// Whether the directory `dir` has no entries.
pub(crate) fn is_empty(tree: &Arc<LiveTree>, dir: Ino) -> Result<bool> {
    Ok(iterate::last_position(tree, dir)? < DIR_START_INDEX)
}
