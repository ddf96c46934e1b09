// SPDX-License-Identifier: GPL-2.0

//! Root items and the references between subvolumes.

use crate::inode::{InodeItem, Timespec};
use crate::key::DiskKey;
use crate::types::{Generation, Ino, Logical, Uuid};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::IntoBytes;

on_disk! {
    /// The root of a tree (`struct btrfs_root_item`).
    ///
    /// Filesystems older than Linux 3.6 have only the first [`RootItem::LEGACY_SIZE`] bytes, up to
    /// `generation_v2`. What follows is valid only while both generations are equal: a kernel that
    /// does not know the later fields updates the first one only.
    RootItem [439] {
        /// The inode of the tree's directory, of little use (see [`InodeItem::flags`] of it).
        pub inode: InodeItem,
        /// The transaction that wrote the root block.
        pub generation: U64,
        /// The number of the root directory: 256 in a subvolume, else 0.
        pub root_dirid: U64,
        /// The logical address of the root block.
        pub bytenr: U64,
        /// Not used.
        pub byte_limit: U64,
        /// Not used.
        pub bytes_used: U64,
        /// The transaction of the last snapshot taken of this subvolume.
        pub last_snapshot: U64,
        /// [`RootFlags`].
        pub flags: U64,
        /// Number of names; 0 in a deleted subvolume that is being dropped.
        pub refs: U32,
        /// How far dropping the subvolume has got.
        pub drop_progress: DiskKey,
        /// The level that `drop_progress` is about.
        pub drop_level: u8,
        /// The level of the root block.
        pub level: u8,
        /// A copy of `generation`, if what follows is valid.
        pub generation_v2: U64,
        /// The subvolume's UUID.
        pub uuid: Uuid,
        /// UUID of the subvolume this is a snapshot of.
        pub parent_uuid: Uuid,
        /// UUID of the subvolume this was received from.
        pub received_uuid: Uuid,
        /// The transaction that changed an inode of the subvolume last.
        pub ctransid: U64,
        /// The transaction that created the subvolume.
        pub otransid: U64,
        /// The transaction of the source when it was sent.
        pub stransid: U64,
        /// The transaction when it was received.
        pub rtransid: U64,
        /// Time of `ctransid`.
        pub ctime: Timespec,
        /// Time of `otransid`.
        pub otime: Timespec,
        /// Time of `stransid`.
        pub stime: Timespec,
        /// Time of `rtransid`.
        pub rtime: Timespec,
        /// Not used.
        pub reserved: [U64; 8],
    }
}

const _: () = assert!(core::mem::offset_of!(RootItem, generation_v2) == RootItem::LEGACY_SIZE);

impl RootItem {
    /// Size of the item before `generation_v2` was added, in bytes.
    pub const LEGACY_SIZE: usize = 239;

    /// Decodes an item of either size.
    ///
    /// Of an item that is shorter or longer than the structure, as much as there is counts. The
    /// fields from `generation_v2` on are zero unless they are valid. `None` if the data is shorter
    /// than the legacy item.
    pub fn parse(data: &[u8]) -> Option<Self> {
        if data.len() < Self::LEGACY_SIZE {
            return None;
        }
        let mut item = Self::zeroed();
        let len = data.len().min(Self::SIZE);
        item.as_mut_bytes()
            .get_mut(..len)?
            .copy_from_slice(data.get(..len)?);
        if len < Self::SIZE || item.generation_v2 != item.generation {
            item.as_mut_bytes().get_mut(Self::LEGACY_SIZE..)?.fill(0);
        }
        Some(item)
    }

    /// Takes over from `latest` what every commit of the tree changes: where its root is, and since when.
    pub fn follow(&mut self, latest: &Self) {
        self.bytenr = latest.bytenr;
        self.level = latest.level;
        self.generation = latest.generation;
        self.generation_v2 = latest.generation;
        self.bytes_used = latest.bytes_used;
        self.ctransid = latest.ctransid;
        self.ctime = latest.ctime;
    }

    /// Whether UUIDs and times of the subvolume are valid.
    ///
    /// [`Self::parse`] has cleared them if not; a subvolume has no UUID then.
    #[inline]
    pub fn has_v2(&self) -> bool {
        self.generation_v2 == self.generation
    }

    /// The transaction that wrote the root block.
    #[inline]
    pub fn generation(&self) -> Generation {
        self.generation.into()
    }

    /// The logical address of the root block.
    #[inline]
    pub fn bytenr(&self) -> Logical {
        self.bytenr.into()
    }

    /// The flags.
    #[inline]
    pub fn flags(&self) -> RootFlags {
        RootFlags(self.flags.get())
    }

    /// Whether the subvolume is read-only.
    #[inline]
    pub fn is_readonly(&self) -> bool {
        self.flags().contains(RootFlags::RDONLY)
    }
}

flags_type! {
    /// Flags of a subvolume.
    RootFlags: u64 {
        /// Read-only.
        RDONLY = 1 << 0, "RDONLY";
        /// Deleted, and not to be found by id any more; kept on disk until it is dropped.
        DEAD = 1 << 48, "DEAD";
    }
}

on_disk! {
    /// Fixed part of a [`RootRef`] (`struct btrfs_root_ref`).
    RootRefHeader [18] {
        /// The directory that holds the name.
        pub dirid: U64,
        /// The index in the directory.
        pub sequence: U64,
        /// Length of the name that follows, in bytes.
        pub name_len: U16,
    }
}

/// Names a subvolume in a directory of another: `ROOT_REF` and `ROOT_BACKREF` items.
///
/// `ROOT_REF` has the key (parent, `ROOT_REF`, child), `ROOT_BACKREF` (child, `ROOT_BACKREF`,
/// parent).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootRef<'a> {
    /// The directory in the parent subvolume.
    pub dirid: Ino,
    /// The index in the directory.
    pub sequence: u64,
    /// The name, without terminator.
    pub name: &'a [u8],
}

impl<'a> RootRef<'a> {
    /// Decodes an item; `None` unless the name fills the rest of it.
    #[inline]
    pub fn parse(data: &'a [u8]) -> Option<Self> {
        let (header, name) = RootRefHeader::from_prefix(data)?;
        if name.len() != usize::from(header.name_len.get()) {
            return None;
        }
        Some(Self {
            dirid: header.dirid.into(),
            sequence: header.sequence.get(),
            name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_fields_need_equal_generations() {
        let mut item = RootItem::zeroed();
        item.generation = U64::new(7);
        item.generation_v2 = U64::new(7);
        item.uuid = Uuid([3; 16]);
        assert_eq!(RootItem::parse(item.to_disk()), Some(item));

        let legacy = RootItem::parse(&item.to_disk()[..RootItem::LEGACY_SIZE]).unwrap();
        assert!(!legacy.has_v2() && legacy.uuid.is_nil());
        assert_eq!(legacy.generation.get(), 7);

        item.generation = U64::new(8);
        let stale = RootItem::parse(item.to_disk()).unwrap();
        assert!(!stale.has_v2() && stale.uuid.is_nil());
        assert_eq!(RootItem::parse(&item.to_disk()[..238]), None);
    }
}
