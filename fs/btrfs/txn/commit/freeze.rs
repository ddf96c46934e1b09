// SPDX-License-Identifier: GPL-2.0

//! Ending a transaction for operations, and beginning the next one.

use btrfs_format::types::Generation;
use core::mem;
use kernel::prelude::*;
use kernel::sync::{atomic::Relaxed, Arc};
use kfs::mem::GFP_NOFAIL;

use super::super::born::BornMap;
use super::super::chunks::Groups;
use super::super::demand::Total;
use super::super::Txn;
use super::free_space::Conversion;
use crate::space::MetaReservation;
use crate::tree::{LiveTree, Overlay};

/// A transaction that takes no more changes.
pub(in super::super) struct Frozen {
    pub(super) transid: Generation,
    /// The trees that it changes.
    pub(super) trees: KVVec<(Arc<LiveTree>, Arc<Overlay>)>,
    /// The data extents that came into being in it.
    pub(super) born: Arc<BornMap>,
    /// The block groups that it makes and removes.
    pub(super) groups: Groups,
    pub(super) conversion: Conversion,
    /// What operations paid for its tree blocks.
    pub(super) paid: MetaReservation,
    /// Bytes of its overlays.
    pub(super) bytes: usize,
}

impl Txn {
    /// Closes the gate for a moment: waits for the handles there are, takes what they left, and
    /// lets the next ones into the next transaction.
    #[inline(never)]
    pub(super) fn freeze(&self) -> Result<KBox<Frozen>> {
        let mut next_paid = self.space.no_metadata();
        let mut born = Arc::new(BornMap::default(), GFP_NOFAIL)?;
        let mut gate = self.gate.write();
        let mut open = self.open.lock();
        let mut trees = KVVec::with_capacity(open.dirty.len(), GFP_NOFAIL)?;
        for tree in open.dirty.iter() {
            if let Some(overlay) = tree.freeze()? {
                trees.push((tree.clone(), overlay), GFP_NOFAIL)?;
            }
        }
        // Nobody else has it yet.
        if let Some(mut fresh) = Arc::into_unique_or_drop(born) {
            mem::swap(fresh.as_mut().get_mut(), &mut open.born);
            born = Arc::from(fresh);
        } else {
            return Err(EIO);
        }
        open.dirty.clear();
        let groups = mem::take(&mut open.groups);
        let conversion = mem::take(&mut open.conversion);
        open.forced = false;
        open.total = Total::default();
        mem::swap(&mut open.paid, &mut next_paid);
        let transid = gate.transid;
        self.space.note_frozen(transid);
        gate.transid = transid.next();
        *self.frozen.lock() = Some(born.clone());
        let frozen = Frozen {
            transid,
            trees,
            born,
            groups,
            conversion,
            paid: next_paid,
            bytes: self.bytes.load(Relaxed),
        };
        Ok(KBox::new(frozen, GFP_NOFAIL)?)
    }
}
