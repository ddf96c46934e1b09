// SPDX-License-Identifier: GPL-2.0

//! Chunks: where a range of logical addresses is stored.

use crate::profile::{BlockGroupFlags, RaidProfile};
use crate::types::{DevId, Physical, Uuid};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::FromBytes;

on_disk! {
    /// A stripe: a range of one device (`struct btrfs_stripe`).
    Stripe [32] {
        /// The device.
        pub devid: U64,
        /// Where the stripe begins on the device, in bytes.
        pub offset: U64,
        /// The device's UUID.
        pub dev_uuid: Uuid,
    }
}

impl Stripe {
    /// The device.
    #[inline]
    pub fn devid(&self) -> DevId {
        self.devid.into()
    }

    /// Where the stripe begins on the device.
    #[inline]
    pub fn physical(&self) -> Physical {
        self.offset.into()
    }
}

on_disk! {
    /// Fixed part of a chunk item (`struct btrfs_chunk` without its stripes).
    ///
    /// The key is (256, `CHUNK_ITEM`, logical address).
    ChunkHeader [48] {
        /// Length of the range of logical addresses, in bytes.
        pub length: U64,
        /// The tree that references the chunk: the extent tree.
        pub owner: U64,
        /// The unit of striping, always [`STRIPE_LEN`](crate::types::STRIPE_LEN).
        pub stripe_len: U64,
        /// [`BlockGroupFlags`].
        pub flags: U64,
        /// Optimal alignment of I/O in bytes; not used.
        pub io_align: U32,
        /// Optimal width of I/O in bytes; not used.
        pub io_width: U32,
        /// Sector size in bytes.
        pub sector_size: U32,
        /// Number of stripes that follow.
        pub num_stripes: U16,
        /// Copies of each stripe in RAID10; of no meaning elsewhere.
        pub sub_stripes: U16,
    }
}

impl ChunkHeader {
    /// Types and profile.
    #[inline]
    pub fn flags(&self) -> BlockGroupFlags {
        BlockGroupFlags(self.flags.get())
    }

    /// The size of an item of that many stripes, in bytes.
    #[inline]
    pub fn item_size(num_stripes: u16) -> usize {
        usize::from(num_stripes)
            .saturating_mul(Stripe::SIZE)
            .saturating_add(Self::SIZE)
    }
}

/// A chunk item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkItem<'a> {
    /// The fixed part.
    pub header: &'a ChunkHeader,
    stripes: &'a [Stripe],
}

impl<'a> ChunkItem<'a> {
    /// Decodes an item; `None` unless the stripes fill the rest of it.
    #[inline]
    pub fn parse(data: &'a [u8]) -> Option<Self> {
        let (chunk, rest) = Self::parse_prefix(data)?;
        rest.is_empty().then_some(chunk)
    }

    /// Decodes a chunk at the beginning of `data` and returns what follows it.
    pub fn parse_prefix(data: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (header, rest) = ChunkHeader::from_prefix(data)?;
        let count = usize::from(header.num_stripes.get());
        let (stripes, rest) = <[Stripe]>::ref_from_prefix_with_elems(rest, count).ok()?;
        Some((Self { header, stripes }, rest))
    }

    /// Length of the range of logical addresses, in bytes.
    #[inline]
    pub fn length(&self) -> u64 {
        self.header.length.get()
    }

    /// Types and profile.
    #[inline]
    pub fn flags(&self) -> BlockGroupFlags {
        self.header.flags()
    }

    /// The profile; `None` if several are set, which the checker does not let pass.
    #[inline]
    pub fn profile(&self) -> Option<RaidProfile> {
        self.flags().profile()
    }

    /// Number of stripes.
    #[inline]
    pub fn num_stripes(&self) -> u16 {
        self.header.num_stripes.get()
    }

    /// Copies of each stripe in RAID10.
    #[inline]
    pub fn sub_stripes(&self) -> u16 {
        self.header.sub_stripes.get()
    }

    /// The stripes, in the order that addresses run over them.
    #[inline]
    pub fn stripes(&self) -> &'a [Stripe] {
        self.stripes
    }
}
