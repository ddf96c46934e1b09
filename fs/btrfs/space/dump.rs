// SPDX-License-Identifier: GPL-2.0

//! `enospc_debug`: what there was when there was not enough.
//!
//! The lines have the form of the C module's, for those who compare. What it keeps apart (promises
//! for chunks, for delayed items and references) is one sum here.

use btrfs_format::profile::BlockGroupFlags;
use kfs::log::RateLimit;

use super::info::Info;
use super::Space;

impl Space {
    /// Logs the sums of a kind for which `bytes` were not to be had, if the option says so; not too
    /// often.
    pub(super) fn dump(&self, info: &Info, bytes: u64) {
        static LIMIT: RateLimit = RateLimit::new();
        if !self.settings.lock().enospc_debug || LIMIT.admit().is_none() {
            return;
        }
        let counters = info.counters();
        let name = match info.types {
            types if types.contains(BlockGroupFlags::SYSTEM) => "SYSTEM",
            types if !types.contains(BlockGroupFlags::DATA) => "METADATA",
            types if !types.contains(BlockGroupFlags::METADATA) => "DATA",
            _ => "DATA+METADATA",
        };
        let free = i128::from(counters.total) - i128::from(counters.taken());
        let full = self.growable(info).is_ok_and(|bytes| bytes == 0);
        let not = if full { "" } else { "not " };
        let log = self.volume.log();
        log.info(format_args!("failing ticket with {bytes} bytes"));
        log.info(format_args!(
            "space_info {name} (sub-group id 0) has {free} free, is {not}full"
        ));
        log.info(format_args!(
            "space_info total={}, used={}, pinned={}, reserved={}, may_use={}, readonly={} \
             zone_unusable=0",
            counters.total,
            counters.used,
            counters.pinned,
            counters.reserved,
            counters.may_use,
            counters.read_only,
        ));
        let (size, reserved) = self.global_reserve();
        log.info(format_args!(
            "global_block_rsv: size {size} reserved {reserved}"
        ));
    }
}
