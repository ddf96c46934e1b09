// SPDX-License-Identifier: GPL-2.0

//! Checks that counters, maps and trees agree, for debug builds.
//!
//! A difference is said with an error in the log and nothing else: it is a bug of this layer or
//! of whoever uses it, and what it leads to is found by those who meet it. The runner of the tests
//! takes these lines for a failure. What cannot be read is the disk's fault, and whoever reads it for
//! use says so.

use btrfs_format::block_group::BlockGroupItem;
use btrfs_format::key::{item, Key};
use btrfs_format::types::Generation;
use kernel::prelude::*;

use super::extent_map::ExtentMap;
use super::fill;
use super::group::{BlockGroup, Loaded};
use super::info::{Counters, Info};
use super::Space;

impl Space {
    /// After the commit of `transid` was published, and before the next one begins to change groups:
    /// every group that is loaded is as the committed trees have it, but for those that were made
    /// meanwhile. For the committer.
    pub(crate) fn check_committed(&self, transid: Generation) {
        let Ok(table) = self.table() else {
            return;
        };
        for group in table.iter() {
            let known = group.with(|inner| inner.loaded) == Loaded::Yes;
            if known && group.born() <= transid {
                if let Err(what) = self.check_group(group) {
                    self.volume.log().error(format_args!(
                        "consistency check: block group {} differs from what was committed: {what}",
                        group.start()
                    ));
                }
            }
        }
    }

    fn check_group(&self, group: &BlockGroup) -> Result<(), &'static str> {
        let (used, sum) = group.with(|inner| {
            let sum = inner.used + inner.reserved + inner.pinned + inner.lost;
            (inner.used, sum + inner.map.free())
        });
        if sum + group.super_bytes() != group.len() {
            return Err("the sum of its parts is not its length");
        }
        let key = Key::new(group.start().get(), item::BLOCK_GROUP_ITEM, group.len());
        let groups = self.roots.block_group().ok_or("no tree")?.view();
        let Ok(found) = groups.get(key) else {
            return Ok(());
        };
        let Some(found) = found else {
            // Whoever removed it may not have come to take it out of the table.
            let closed = group.with(|inner| inner.read_only > 0 && inner.used == 0);
            return closed.then_some(()).ok_or("no item");
        };
        let found = BlockGroupItem::parse(&found).ok_or("a bad item")?;
        if found.used.get() != used {
            return Err("other bytes used");
        }
        let Some(tree) = self.roots.free_space() else {
            return Ok(());
        };
        let map = fill::from_free_space(&tree.view(), group, self.sectorsize);
        let Ok(map) = map else {
            return Ok(());
        };
        if map.free() + used + group.super_bytes() != group.len() {
            return Err("the free space tree has other bytes free");
        }
        match group.with(|inner| covers(&map, &inner.map)) {
            true => Ok(()),
            false => Err("space counts as free that the free space tree has not"),
        }
    }

    /// When nothing is going on any more: nothing is reserved or promised, and the sums are those
    /// of the groups.
    pub(crate) fn check_quiet(&self) {
        let Ok(table) = self.table() else {
            return;
        };
        for info in self.infos() {
            let counters = info.counters();
            let mut found = Counters::default();
            for group in table.iter() {
                if group.flags().types() == info.types {
                    group.with(|inner| {
                        found.total += group.len();
                        found.used += inner.used;
                        found.reserved += inner.reserved;
                        found.pinned += inner.pinned;
                        found.read_only += group.super_bytes() + inner.lost;
                        if inner.read_only > 0 {
                            found.read_only += group.unused(inner);
                        }
                    });
                }
            }
            self.compare(info, &counters, &found);
        }
    }

    fn compare(&self, info: &Info, counters: &Counters, found: &Counters) {
        let promised = counters.may_use.saturating_sub(counters.reserve);
        let pairs = [
            ("total", counters.total, found.total),
            ("used", counters.used, found.used),
            ("reserved", counters.reserved, found.reserved),
            ("pinned", counters.pinned, found.pinned),
            ("read-only", counters.read_only, found.read_only),
            ("still reserved", counters.reserved, 0),
            ("still promised", promised, 0),
        ];
        for (what, have, want) in pairs {
            if have != want {
                self.volume.log().error(format_args!(
                    "consistency check: space of type {:#x}: {have} bytes {what}, but should be {want}",
                    info.types
                ));
            }
        }
    }
}

/// Whether all that is free in `part` is free in `all`.
fn covers(all: &ExtentMap, part: &ExtentMap) -> bool {
    let mut at = 0;
    while let Some(extent) = part.next(at) {
        if all.free_at(extent.start) < extent.len {
            return false;
        }
        at = extent.end();
    }
    true
}
