// SPDX-License-Identifier: GPL-2.0

//! Devices: their items, allocated ranges, error counters, and the state of a replace.

use crate::types::{DevId, Logical, Uuid};
use zerocopy::little_endian::{U32, U64};
use zerocopy::FromBytes;

on_disk! {
    /// A device (`struct btrfs_dev_item`): in the chunk tree, and in its own superblock.
    ///
    /// The key is (1, `DEV_ITEM`, device id).
    DevItem [98] {
        /// The device's id within the filesystem, from 1.
        pub devid: U64,
        /// Size that the filesystem uses, in bytes.
        pub total_bytes: U64,
        /// Bytes that chunks occupy.
        pub bytes_used: U64,
        /// Optimal alignment of I/O in bytes; not used.
        pub io_align: U32,
        /// Optimal width of I/O in bytes; not used.
        pub io_width: U32,
        /// Sector size in bytes.
        pub sector_size: U32,
        /// Not used.
        pub kind: U64,
        /// Not used.
        pub generation: U64,
        /// Not used.
        pub start_offset: U64,
        /// Not used.
        pub dev_group: U32,
        /// Not used.
        pub seek_speed: u8,
        /// Not used.
        pub bandwidth: u8,
        /// The device's own UUID.
        pub uuid: Uuid,
        /// The metadata UUID of the filesystem that the device belongs to.
        pub fsid: Uuid,
    }
}

impl DevItem {
    /// The device's id.
    #[inline]
    pub fn devid(&self) -> DevId {
        self.devid.into()
    }
}

on_disk! {
    /// An allocated range of a device (`struct btrfs_dev_extent`).
    ///
    /// The key is (device id, `DEV_EXTENT`, offset on the device).
    DevExtent [48] {
        /// The tree of the chunk: the chunk tree.
        pub chunk_tree: U64,
        /// The objectid of the chunk's key: 256.
        pub chunk_objectid: U64,
        /// The logical address of the chunk.
        pub chunk_offset: U64,
        /// Length in bytes.
        pub length: U64,
        /// UUID of the chunk tree.
        pub chunk_tree_uuid: Uuid,
    }
}

impl DevExtent {
    /// The logical address of the chunk that the range belongs to.
    #[inline]
    pub fn chunk(&self) -> Logical {
        self.chunk_offset.into()
    }
}

/// A counter of [`DevStats`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DevStat {
    /// Failed writes.
    WriteErrors = 0,
    /// Failed reads.
    ReadErrors = 1,
    /// Failed flushes.
    FlushErrors = 2,
    /// Blocks whose checksum or content is wrong.
    CorruptionErrors = 3,
    /// Blocks of another generation than expected.
    GenerationErrors = 4,
}

impl DevStat {
    /// All counters, in the order of the item.
    pub const ALL: [Self; 5] = [
        Self::WriteErrors,
        Self::ReadErrors,
        Self::FlushErrors,
        Self::CorruptionErrors,
        Self::GenerationErrors,
    ];

    /// The position in the item.
    #[inline]
    pub const fn index(self) -> usize {
        match self {
            Self::WriteErrors => 0,
            Self::ReadErrors => 1,
            Self::FlushErrors => 2,
            Self::CorruptionErrors => 3,
            Self::GenerationErrors => 4,
        }
    }
}

on_disk! {
    /// Error counters of a device, in the order of [`DevStat::ALL`].
    ///
    /// The key is (0, `PERSISTENT_ITEM`, device id).
    DevStatsItem [40] {
        /// The counters.
        pub values: [U64; 5],
    }
}

/// Decodes the error counters of an item.
///
/// The item may be longer (newer kernels) or shorter (older ones); missing counters are 0.
pub fn parse_dev_stats(data: &[u8]) -> [u64; 5] {
    let mut counters = [0; 5];
    let count = (data.len() / 8).min(counters.len());
    if let Ok((values, _)) = <[U64]>::ref_from_prefix_with_elems(data, count) {
        for (counter, value) in counters.iter_mut().zip(values) {
            *counter = value.get();
        }
    }
    counters
}

on_disk! {
    /// State of a device replace (`struct btrfs_dev_replace_item`).
    ///
    /// The key is (0, `DEV_REPLACE`, 0), in the device tree.
    DevReplaceItem [72] {
        /// The device that is replaced.
        pub src_devid: U64,
        /// Up to where everything is copied, in bytes of the source.
        pub cursor_left: U64,
        /// Up to where copying has begun.
        pub cursor_right: U64,
        /// 0: read from the source; 1: avoid that.
        pub cont_reading_from_srcdev_mode: U64,
        /// [`DevReplaceState`].
        pub replace_state: U64,
        /// Seconds since 1970.
        pub time_started: U64,
        /// Seconds since 1970.
        pub time_stopped: U64,
        /// Failed writes to the target.
        pub num_write_errors: U64,
        /// Reads that no mirror could serve.
        pub num_uncorrectable_read_errors: U64,
    }
}

/// Values of [`DevReplaceItem::replace_state`] (`BTRFS_IOCTL_DEV_REPLACE_STATE_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DevReplaceState {
    /// Never started.
    NeverStarted,
    /// Running when the filesystem was unmounted.
    Started,
    /// Done.
    Finished,
    /// Canceled.
    Canceled,
    /// Interrupted; goes on when the devices are there.
    Suspended,
}

impl DevReplaceState {
    /// Decodes the number on disk.
    pub const fn from_raw(raw: u64) -> Option<Self> {
        Some(match raw {
            0 => Self::NeverStarted,
            1 => Self::Started,
            2 => Self::Finished,
            3 => Self::Canceled,
            4 => Self::Suspended,
            _ => return None,
        })
    }
}

impl DevReplaceItem {
    /// Decodes an item, which may be longer than what this crate knows.
    #[inline]
    pub fn parse(data: &[u8]) -> Option<&Self> {
        Self::from_prefix(data).map(|(item, _)| item)
    }
}
