// SPDX-License-Identifier: GPL-2.0

//! File handles, as `name_to_handle_at(2)` and NFS see them.
//!
//! A handle is a packed structure in the machine's byte order: inode (8 bytes),
//! subvolume (8), generation (4); with a parent also the parent's inode (8) and
//! generation (4); and the parent's subvolume (8) where it is another one. The type
//! says which of the three it is. Handles outlive a reboot, so the layout is fixed.

use btrfs_format::types::{Ino, TreeId};

/// Which fields a handle has: `FILEID_BTRFS_*` of `linux/exportfs.h`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Inode only.
    Plain,
    /// With its parent, of the same subvolume.
    WithParent,
    /// With its parent, of another subvolume.
    WithParentRoot,
}

impl Kind {
    /// The kind that `raw` stands for.
    pub(crate) fn from_raw(raw: u8) -> Option<Self> {
        [Kind::Plain, Kind::WithParent, Kind::WithParentRoot]
            .into_iter()
            .find(|kind| kind.raw() == raw)
    }

    /// The number user space sees.
    pub(crate) fn raw(self) -> u8 {
        match self {
            Kind::Plain => 0x4d,
            Kind::WithParent => 0x4e,
            Kind::WithParentRoot => 0x4f,
        }
    }

    /// Number of bytes of such a handle.
    pub(crate) fn size(self) -> usize {
        match self {
            Kind::Plain => 20,
            Kind::WithParent => 32,
            Kind::WithParentRoot => 40,
        }
    }

    /// The kind of handle for `inode` and `parent`.
    pub(crate) fn of(inode: &Reference, parent: Option<&Reference>) -> Kind {
        match parent {
            None => Kind::Plain,
            Some(parent) if parent.subvol == inode.subvol => Kind::WithParent,
            Some(_) => Kind::WithParentRoot,
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

/// Writes the handle; `None` if `out` is too short for it.
pub(crate) fn encode(
    inode: &Reference,
    parent: Option<&Reference>,
    out: &mut [u8],
) -> Option<Kind> {
    let kind = Kind::of(inode, parent);
    let mut bytes = [0; 40];
    let mut put = |at: usize, value: &[u8]| {
        for (to, from) in bytes.iter_mut().skip(at).zip(value) {
            *to = *from;
        }
    };
    put(0, &inode.ino.get().to_ne_bytes());
    put(8, &inode.subvol.get().to_ne_bytes());
    put(16, &inode.generation.to_ne_bytes());
    if let Some(parent) = parent {
        put(20, &parent.ino.get().to_ne_bytes());
        put(28, &parent.generation.to_ne_bytes());
        put(32, &parent.subvol.get().to_ne_bytes());
    }
    out.get_mut(..kind.size())?
        .copy_from_slice(bytes.get(..kind.size())?);
    Some(kind)
}

/// The inode of a handle.
pub(crate) fn inode(kind: Kind, handle: &[u8]) -> Option<Reference> {
    let handle = handle.get(..kind.size())?;
    Some(Reference {
        ino: Ino(wide_at(handle, 0)?),
        subvol: TreeId(wide_at(handle, 8)?),
        generation: word_at(handle, 16)?,
    })
}

/// The parent of a handle that has one.
pub(crate) fn parent(kind: Kind, handle: &[u8]) -> Option<Reference> {
    let handle = handle.get(..kind.size())?;
    let subvol = match kind {
        Kind::Plain => return None,
        Kind::WithParent => wide_at(handle, 8)?,
        Kind::WithParentRoot => wide_at(handle, 32)?,
    };
    Some(Reference {
        ino: Ino(wide_at(handle, 20)?),
        subvol: TreeId(subvol),
        generation: word_at(handle, 28)?,
    })
}

fn wide_at(handle: &[u8], at: usize) -> Option<u64> {
    let bytes = handle.get(at..)?.first_chunk()?;
    Some(u64::from_ne_bytes(*bytes))
}

fn word_at(handle: &[u8], at: usize) -> Option<u32> {
    let bytes = handle.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}
