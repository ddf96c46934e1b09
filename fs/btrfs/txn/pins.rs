// SPDX-License-Identifier: GPL-2.0

//! Space that commits freed, until nobody reads it any more.
//!
//! What a transaction freed belongs to the states before it. It may be written again when the
//! transaction is durable, and the views of those states are gone: their epochs are over. Views
//! may be older than the last commit, so the records end in the order in which they were made.

use btrfs_format::types::Logical;
use kernel::prelude::*;
use kernel::sync::Arc;
use kfs::mem::GFP_NOFAIL;

use super::Txn;
use crate::tree::Epoch;

/// What one commit freed.
pub(super) struct Record {
    /// Address and length of each range.
    pub(super) ranges: KVVec<(Logical, u64)>,
    /// Those of the trees that the commit replaced.
    pub(super) epochs: KVVec<Arc<Epoch>>,
}

/// What the last commits freed, oldest first.
#[derive(Default)]
pub(super) struct Pins {
    records: KVVec<Record>,
}

impl Pins {
    /// Takes the oldest record out if nobody reads what it freed.
    fn pop(&mut self) -> Option<Record> {
        let first = self.records.first()?;
        if !first.epochs.iter().all(|epoch| epoch.is_over()) {
            return None;
        }
        self.records.remove(0).ok()
    }
}

impl Txn {
    /// Makes room for one more record, so that adding it cannot fail.
    pub(super) fn reserve_pin(&self) -> Result {
        let mut pins = self.pins.lock();
        Ok(pins.records.reserve(1, GFP_NOFAIL)?)
    }

    /// Adds what a durable transaction freed. There is room: [`Self::reserve_pin`].
    pub(super) fn pin(&self, record: Record) {
        let _ = self.pins.lock().records.push_within_capacity(record);
    }

    /// Frees what nobody reads any more.
    pub(crate) fn reap(&self) {
        loop {
            let record = self.pins.lock().pop();
            let Some(record) = record else {
                return;
            };
            self.space.unpin(record.ranges.iter().copied());
        }
    }
}
