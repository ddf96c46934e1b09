// SPDX-License-Identifier: GPL-2.0

//! File handles, as `name_to_handle_at(2)` and NFS see them.
//!
//! A handle is a number of 32-bit words in the machine's byte order, without
//! padding: inode (64 bits), subvolume (64), generation (32); with a parent also
//! the parent's inode (64) and generation (32); and the parent's subvolume (64)
//! where it is another one. The type says which of the three it is. Handles
//! outlive a reboot, so the layout is fixed.

use btrfs_format::types::{Ino, TreeId};

/// Which fields a handle has: `FILEID_BTRFS_*` of `linux/exportfs.h`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Inode only.
    Plain = 0x4d,
    /// With its parent, of the same subvolume.
    WithParent = 0x4e,
    /// With its parent, of another subvolume.
    WithParentRoot = 0x4f,
}

impl Kind {
    /// The kind that `raw` stands for.
    pub(crate) fn from_raw(raw: i32) -> Option<Self> {
        [Kind::Plain, Kind::WithParent, Kind::WithParentRoot]
            .into_iter()
            .find(|kind| kind.raw() == raw)
    }

    /// The number user space sees.
    pub(crate) fn raw(self) -> i32 {
        match self {
            Kind::Plain => 0x4d,
            Kind::WithParent => 0x4e,
            Kind::WithParentRoot => 0x4f,
        }
    }

    /// Number of words of such a handle.
    pub(crate) fn words(self) -> usize {
        match self {
            Kind::Plain => 5,
            Kind::WithParent => 8,
            Kind::WithParentRoot => 10,
        }
    }
}

/// One end of a handle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Reference {
    pub(crate) ino: Ino,
    pub(crate) subvol: TreeId,
    /// Of the inode; 0 where it does not matter.
    pub(crate) generation: u32,
}

/// The kind of handle for `inode` and `parent`.
pub(crate) fn kind(inode: &Reference, parent: Option<&Reference>) -> Kind {
    match parent {
        None => Kind::Plain,
        Some(parent) if parent.subvol == inode.subvol => Kind::WithParent,
        Some(_) => Kind::WithParentRoot,
    }
}

/// Writes the handle; `None` if `words` is too short for it.
pub(crate) fn encode(
    inode: &Reference,
    parent: Option<&Reference>,
    words: &mut [u32],
) -> Option<Kind> {
    let kind = kind(inode, parent);
    let mut fields = [0; 10];
    let [ino_a, ino_b, tree_a, tree_b, generation, p_ino @ .., root_a, root_b] = &mut fields;
    [*ino_a, *ino_b] = split(inode.ino.get());
    [*tree_a, *tree_b] = split(inode.subvol.get());
    *generation = inode.generation;
    if let (Some(parent), [a, b, generation]) = (parent, p_ino) {
        [*a, *b] = split(parent.ino.get());
        *generation = parent.generation;
        [*root_a, *root_b] = split(parent.subvol.get());
    }
    let out = words.get_mut(..kind.words())?;
    out.copy_from_slice(fields.get(..kind.words())?);
    Some(kind)
}

/// A number as two words, in the order of its bytes in memory.
fn split(value: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = value.to_ne_bytes();
    [
        u32::from_ne_bytes([a, b, c, d]),
        u32::from_ne_bytes([e, f, g, h]),
    ]
}

/// The inode of a handle.
pub(crate) fn inode(kind: Kind, words: &[u32]) -> Option<Reference> {
    if words.len() < kind.words() {
        return None;
    }
    Some(Reference {
        ino: Ino(wide_at(words, 0)?),
        subvol: TreeId(wide_at(words, 2)?),
        generation: *words.get(4)?,
    })
}

/// The parent of a handle that has one.
pub(crate) fn parent(kind: Kind, words: &[u32]) -> Option<Reference> {
    if words.len() < kind.words() {
        return None;
    }
    let subvol = match kind {
        Kind::Plain => return None,
        Kind::WithParent => wide_at(words, 2)?,
        Kind::WithParentRoot => wide_at(words, 8)?,
    };
    Some(Reference {
        ino: Ino(wide_at(words, 5)?),
        subvol: TreeId(subvol),
        generation: *words.get(7)?,
    })
}

fn wide_at(words: &[u32], at: usize) -> Option<u64> {
    let [a, b, c, d] = words.get(at)?.to_ne_bytes();
    let [e, f, g, h] = words.get(at + 1)?.to_ne_bytes();
    Some(u64::from_ne_bytes([a, b, c, d, e, f, g, h]))
}
