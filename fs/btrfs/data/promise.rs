// SPDX-License-Identifier: GPL-2.0

//! Tree blocks for data that is not written yet.
//!
//! Putting the items of what was written must not fail: the data would be lost. So when data becomes
//! dirty, tree blocks are promised for its items, and stay promised until these are put. Pending data
//! of a file is so many *runs* of bytes that lie together. Each costs an operation, which changes the
//! leaf where the items go and that of the inode; and for its length there are checksums, and more
//! items where it is compressed.
//!
//! What the nodes above the leaves cost, once in a transaction, is not in here, nor what it costs
//! when a run is given space in many pieces: where that leaves too little, an operation that ends the
//! writing of data has the global reserve, and last it waits for a commit
//! ([`start_writeback`](crate::txn::Txn::start_writeback)).

use btrfs_format::geometry::Geometry;

use super::compress::RUN;
use super::replace;

/// Bytes of a file extent's item, with its entry in the leaf.
const EXTENT: u64 = 78;

/// What pending data of a file system's files may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates {
    /// For each run, bytes.
    run: u64,
    sector: u64,
    /// Bytes for each sector.
    csum: u64,
}

impl Rates {
    /// Those of a file system.
    pub(crate) fn of(geometry: &Geometry) -> Self {
        Self {
            run: replace::demand(0, 4).share(u64::from(geometry.nodesize)),
            sector: u64::from(geometry.sectorsize).max(1),
            csum: geometry.csum_type.size() as u64,
        }
    }

    /// Bytes of tree blocks for `runs` runs that have `bytes` bytes together.
    pub(crate) fn cost(&self, runs: u64, bytes: u64) -> u64 {
        if runs == 0 {
            return 0;
        }
        let sectors = bytes.checked_div(self.sector).unwrap_or(0);
        let items = sectors
            .saturating_mul(self.csum)
            .saturating_add(bytes.div_ceil(RUN).saturating_mul(EXTENT));
        // Leaves may be half full.
        self.run
            .saturating_mul(runs)
            .saturating_add(items.saturating_mul(2))
    }
}
