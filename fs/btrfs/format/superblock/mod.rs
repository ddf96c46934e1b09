// SPDX-License-Identifier: GPL-2.0

//! The superblock: where everything begins.
//!
//! Each device has up to [`MIRRORS`] copies, at [`mirror_offset`]. All but `bytenr`, the checksum
//! and `dev_item` are equal on all devices. [`validate`] holds the rules a superblock must satisfy
//! before its fields are used; the checksum is the caller's business.

mod features;
pub mod validate;

pub use features::{CompatRo, Incompat, SuperFlags};

use crate::chunk::ChunkItem;
use crate::csum::CsumType;
use crate::device::DevItem;
use crate::key::{item, DiskKey, Key};
use crate::types::{Generation, Logical, Uuid, CSUM_AREA};
use zerocopy::little_endian::{U16, U32, U64};

/// Number of copies on a device that is large enough.
pub const MIRRORS: usize = 3;
/// Size of a superblock, in bytes.
pub const SUPER_SIZE: usize = 4096;
/// `_BHRfS_M`.
pub const MAGIC: [u8; 8] = *b"_BHRfS_M";
/// Size of the label with its terminator, in bytes.
pub const LABEL_SIZE: usize = 256;
/// Room for the system chunk array, in bytes.
pub const SYS_CHUNK_ARRAY_SIZE: usize = 2048;
/// Number of backup roots.
pub const BACKUP_ROOTS: usize = 4;
/// The first bytes of every device that are never allocated: room for boot loaders.
pub const RESERVED_BYTES: u64 = 1 << 20;

/// Where copy `mirror` of the superblock is on a device, in bytes: 64 KiB, 64 MiB, 256 GiB.
///
/// `None` if there is no such copy.
pub const fn mirror_offset(mirror: usize) -> Option<u64> {
    match mirror {
        0 => Some(64 << 10),
        1 => Some(64 << 20),
        2 => Some(256 << 30),
        _ => None,
    }
}

on_disk! {
    /// The superblock (`struct btrfs_super_block`).
    Superblock [4096] {
        /// Checksum of everything behind this area.
        pub csum: [u8; CSUM_AREA],
        /// The filesystem's UUID, as users see it.
        pub fsid: Uuid,
        /// Offset of this copy on its device, in bytes.
        pub bytenr: U64,
        /// [`SuperFlags`].
        pub flags: U64,
        /// [`MAGIC`].
        pub magic: [u8; 8],
        /// The transaction that wrote it.
        pub generation: U64,
        /// Logical address of the root tree.
        pub root: U64,
        /// Logical address of the chunk tree.
        pub chunk_root: U64,
        /// Logical address of the log root tree; 0 without a log.
        pub log_root: U64,
        /// Always 0.
        pub unused_log_root_transid: U64,
        /// Sum of the devices' sizes, in bytes.
        pub total_bytes: U64,
        /// Bytes allocated to extents.
        pub bytes_used: U64,
        /// The directory in the root tree: 6.
        pub root_dir_objectid: U64,
        /// Number of devices.
        pub num_devices: U64,
        /// Unit of data, in bytes.
        pub sectorsize: U32,
        /// Size of tree blocks, in bytes.
        pub nodesize: U32,
        /// Equal to `nodesize`.
        pub unused_leafsize: U32,
        /// Not used.
        pub stripesize: U32,
        /// Valid bytes of `sys_chunk_array`.
        pub sys_chunk_array_size: U32,
        /// The transaction that wrote the chunk tree's root.
        pub chunk_root_generation: U64,
        /// Features that may be ignored; there are none.
        pub compat_flags: U64,
        /// [`CompatRo`].
        pub compat_ro_flags: U64,
        /// [`Incompat`].
        pub incompat_flags: U64,
        /// [`CsumType`].
        pub csum_type: U16,
        /// Level of the root tree's root.
        pub root_level: u8,
        /// Level of the chunk tree's root.
        pub chunk_root_level: u8,
        /// Level of the log root tree's root.
        pub log_root_level: u8,
        /// The device that this copy is on.
        pub dev_item: DevItem,
        /// The label, ended by a zero byte; see [`Superblock::label`].
        pub label: [u8; LABEL_SIZE],
        /// The transaction of the version 1 free space cache; all bits set: there is none.
        pub cache_generation: U64,
        /// The transaction that updated the UUID tree last.
        pub uuid_tree_generation: U64,
        /// The UUID in tree blocks, with [`Incompat::METADATA_UUID`]; see
        /// [`Superblock::metadata_uuid`].
        pub metadata_uuid: Uuid,
        /// Number of global roots, with extent tree v2.
        pub nr_global_roots: U64,
        /// Logical address of the remap tree.
        pub remap_root: U64,
        /// The transaction that wrote the remap tree's root.
        pub remap_root_generation: U64,
        /// Level of the remap tree's root.
        pub remap_root_level: u8,
        /// Not used.
        pub reserved: [u8; 199],
        /// The system chunks, without which the chunk tree cannot be read.
        pub sys_chunk_array: [u8; SYS_CHUNK_ARRAY_SIZE],
        /// Roots of the last transactions, in turn.
        pub super_roots: [BackupRoot; BACKUP_ROOTS],
        /// Fills the block.
        pub padding: [u8; 565],
    }
}

on_disk! {
    /// The roots of an earlier transaction (`struct btrfs_root_backup`).
    BackupRoot [168] {
        /// Logical address of the root tree.
        pub tree_root: U64,
        /// The transaction that wrote it.
        pub tree_root_gen: U64,
        /// Logical address of the chunk tree.
        pub chunk_root: U64,
        /// The transaction that wrote it.
        pub chunk_root_gen: U64,
        /// Logical address of the extent tree.
        pub extent_root: U64,
        /// The transaction that wrote it.
        pub extent_root_gen: U64,
        /// Logical address of the top-level subvolume.
        pub fs_root: U64,
        /// The transaction that wrote it.
        pub fs_root_gen: U64,
        /// Logical address of the device tree.
        pub dev_root: U64,
        /// The transaction that wrote it.
        pub dev_root_gen: U64,
        /// Logical address of the checksum tree.
        pub csum_root: U64,
        /// The transaction that wrote it.
        pub csum_root_gen: U64,
        /// Sum of the devices' sizes, in bytes.
        pub total_bytes: U64,
        /// Bytes allocated to extents.
        pub bytes_used: U64,
        /// Number of devices.
        pub num_devices: U64,
        /// Not used.
        pub unused_64: [U64; 4],
        /// Level of the root tree's root.
        pub tree_root_level: u8,
        /// Level of the chunk tree's root.
        pub chunk_root_level: u8,
        /// Level of the extent tree's root.
        pub extent_root_level: u8,
        /// Level of the top-level subvolume's root.
        pub fs_root_level: u8,
        /// Level of the device tree's root.
        pub dev_root_level: u8,
        /// Level of the checksum tree's root.
        pub csum_root_level: u8,
        /// Not used.
        pub unused_8: [u8; 10],
    }
}

impl Superblock {
    /// Views a block. Checks nothing.
    #[inline]
    pub fn of(block: &[u8; SUPER_SIZE]) -> &Self {
        zerocopy::transmute_ref!(block)
    }

    /// Views a block in order to change it. Checks nothing.
    #[inline]
    pub fn of_mut(block: &mut [u8; SUPER_SIZE]) -> &mut Self {
        zerocopy::transmute_mut!(block)
    }

    /// Views the first [`SUPER_SIZE`] bytes of `bytes`. Checks nothing but that they are there.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Option<&Self> {
        Self::from_prefix(bytes).map(|(superblock, _)| superblock)
    }

    /// Whether this is a btrfs superblock at all.
    #[inline]
    pub fn has_magic(&self) -> bool {
        self.magic == MAGIC
    }

    /// The bytes that the checksum covers.
    #[inline]
    pub fn checksummed(&self) -> &[u8] {
        self.to_disk().get(CSUM_AREA..).unwrap_or(&[])
    }

    /// The checksum type; `None` if it is unknown.
    #[inline]
    pub fn csum_type(&self) -> Option<CsumType> {
        CsumType::from_raw(self.csum_type.get())
    }

    /// The flags.
    #[inline]
    pub fn flags(&self) -> SuperFlags {
        SuperFlags(self.flags.get())
    }

    /// The features without which the filesystem must not be mounted.
    #[inline]
    pub fn incompat(&self) -> Incompat {
        Incompat(self.incompat_flags.get())
    }

    /// The features without which the filesystem may be read, but not written.
    #[inline]
    pub fn compat_ro(&self) -> CompatRo {
        CompatRo(self.compat_ro_flags.get())
    }

    /// The UUID in tree blocks and device items.
    #[inline]
    pub fn metadata_uuid(&self) -> Uuid {
        if self.incompat().contains(Incompat::METADATA_UUID) {
            self.metadata_uuid
        } else {
            self.fsid
        }
    }

    /// The transaction that wrote it.
    #[inline]
    pub fn generation(&self) -> Generation {
        self.generation.into()
    }

    /// Logical address of the root tree.
    #[inline]
    pub fn root(&self) -> Logical {
        self.root.into()
    }

    /// Logical address of the chunk tree.
    #[inline]
    pub fn chunk_root(&self) -> Logical {
        self.chunk_root.into()
    }

    /// The transaction that wrote the chunk tree's root.
    #[inline]
    pub fn chunk_root_generation(&self) -> Generation {
        self.chunk_root_generation.into()
    }

    /// Logical address of the log root tree; `None` without a log.
    #[inline]
    pub fn log_root(&self) -> Option<Logical> {
        match self.log_root.get() {
            0 => None,
            address => Some(Logical(address)),
        }
    }

    /// The label, without terminator.
    pub fn label(&self) -> &[u8] {
        // The last byte never counts, so that a copy with terminator always fits.
        let label = self.label.get(..LABEL_SIZE - 1).unwrap_or(&[]);
        label.split(|byte| *byte == 0).next().unwrap_or(&[])
    }

    /// The system chunks.
    #[inline]
    pub fn sys_chunks(&self) -> SysChunks<'_> {
        let size = usize::try_from(self.sys_chunk_array_size.get()).unwrap_or(usize::MAX);
        SysChunks {
            rest: self
                .sys_chunk_array
                .get(..size)
                .unwrap_or(&self.sys_chunk_array),
            failed: false,
        }
    }
}

/// Why the system chunk array could not be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SysChunkError {
    /// The array ends within a key or chunk.
    Truncated,
    /// A key is not that of a chunk.
    KeyType(u8),
}

/// The chunks in the system chunk array. Ends after the first error.
#[derive(Clone, Debug)]
pub struct SysChunks<'a> {
    rest: &'a [u8],
    failed: bool,
}

impl<'a> SysChunks<'a> {
    fn parse_next(&mut self) -> Result<(Key, ChunkItem<'a>), SysChunkError> {
        let (key, rest) = DiskKey::from_prefix(self.rest).ok_or(SysChunkError::Truncated)?;
        if key.item_type != item::CHUNK_ITEM {
            return Err(SysChunkError::KeyType(key.item_type));
        }
        let (chunk, rest) = ChunkItem::parse_prefix(rest).ok_or(SysChunkError::Truncated)?;
        self.rest = rest;
        Ok((key.get(), chunk))
    }
}

impl<'a> Iterator for SysChunks<'a> {
    type Item = Result<(Key, ChunkItem<'a>), SysChunkError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.rest.is_empty() {
            return None;
        }
        let result = self.parse_next();
        self.failed = result.is_err();
        Some(result)
    }
}
