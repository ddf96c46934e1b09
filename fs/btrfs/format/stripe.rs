// SPDX-License-Identifier: GPL-2.0

//! The raid stripe tree and the remap tree: addresses looked up in trees, not computed.

use crate::types::{DevId, Logical, Physical};
use zerocopy::little_endian::U64;
use zerocopy::FromBytes;

on_disk! {
    /// Where one stripe of a range of data is (`struct btrfs_raid_stride`).
    RaidStride [16] {
        /// The device.
        pub devid: U64,
        /// The offset on the device, in bytes.
        pub physical: U64,
    }
}

impl RaidStride {
    /// The device.
    #[inline]
    pub fn devid(&self) -> DevId {
        self.devid.into()
    }

    /// The offset on the device.
    #[inline]
    pub fn physical(&self) -> Physical {
        self.physical.into()
    }
}

/// The strides of a `RAID_STRIPE` item, whose key is (logical address, type, length in bytes).
pub fn raid_strides(data: &[u8]) -> &[RaidStride] {
    let count = data.len() / RaidStride::SIZE;
    match <[RaidStride]>::ref_from_prefix_with_elems(data, count) {
        Ok((strides, _)) => strides,
        Err(_) => &[],
    }
}

on_disk! {
    /// The other address of a moved range (`struct btrfs_remap_item`).
    ///
    /// The key is (logical address, `REMAP` or `REMAP_BACKREF`, length in bytes).
    RemapItem [8] {
        /// The address.
        pub address: U64,
    }
}

impl RemapItem {
    /// The address.
    #[inline]
    pub fn address(&self) -> Logical {
        self.address.into()
    }
}
