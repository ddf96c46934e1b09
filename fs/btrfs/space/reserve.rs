// SPDX-License-Identifier: GPL-2.0

//! Reservations: promises that space will be there.
//!
//! They are values. What is left of one goes back when it is dropped. What happens when one does
//! not fit is in [`ladder`](super::ladder).

use btrfs_format::types::Logical;
use core::marker::PhantomData;
use kernel::prelude::*;
use kernel::sync::Arc;

use super::info::{Counters, Kind};
use super::{Range, Space};

/// How a reservation may be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Urgency {
    /// Whatever it takes but the global reserve.
    Normal,
    /// Gives space back: may have the global reserve too.
    Deleting,
    /// Finishes what was begun, maybe for a commit that waits for it: waits for nothing and nobody,
    /// and may have the global reserve.
    Completion,
    /// Waits for nothing; `EAGAIN`.
    Nowait,
}

/// What a reservation is for.
pub(crate) trait Purpose {
    const KIND: Kind;

    /// Takes a promise of `bytes` back.
    fn give_back(counters: &mut Counters, bytes: u64);
}

/// File data.
pub(crate) struct ForData;

/// Tree blocks.
pub(crate) struct ForTrees;

impl Purpose for ForData {
    const KIND: Kind = Kind::Data;

    fn give_back(counters: &mut Counters, bytes: u64) {
        counters.may_use = counters.may_use.saturating_sub(bytes);
    }
}

impl Purpose for ForTrees {
    const KIND: Kind = Kind::Metadata;

    fn give_back(counters: &mut Counters, bytes: u64) {
        counters.give_back(bytes);
    }
}

/// Bytes that may be written.
pub(crate) struct Reservation<P: Purpose> {
    space: Arc<Space>,
    bytes: u64,
    _purpose: PhantomData<P>,
}

/// Data that may be written, bytes.
pub(crate) type DataReservation = Reservation<ForData>;

/// Tree blocks that may be written, bytes.
pub(crate) type MetaReservation = Reservation<ForTrees>;

impl<P: Purpose> Reservation<P> {
    fn new(space: &Arc<Space>, bytes: u64) -> Self {
        Self {
            space: space.clone(),
            bytes,
            _purpose: PhantomData,
        }
    }

    /// What is left of it.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes `bytes` out, or all if that is less.
    pub(crate) fn split(&mut self, bytes: u64) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes = self.bytes.saturating_sub(bytes);
        Self::new(&self.space, bytes)
    }

    /// Takes another one in.
    pub(crate) fn merge(&mut self, other: Self) {
        self.bytes = self.bytes.saturating_add(other.into_bytes());
    }

    /// Ends the guard; somebody else answers for the bytes.
    pub(super) fn into_bytes(mut self) -> u64 {
        core::mem::take(&mut self.bytes)
    }
}

impl DataReservation {
    /// Allocates as [`Space::alloc_data`] does, for bytes of this reservation, which then has so
    /// much less.
    pub(crate) fn allocate(&mut self, want: u64, min: u64, hint: Option<Logical>) -> Result<Range> {
        self.allocate_as(want, min, hint, Urgency::Normal)
    }

    /// As [`Self::allocate`]; with [`Urgency::Nowait`] `EAGAIN` where it would wait for a discard.
    pub(crate) fn allocate_as(
        &mut self,
        want: u64,
        min: u64,
        hint: Option<Logical>,
        how: Urgency,
    ) -> Result<Range> {
        let own = self.bytes;
        let pay = |counters: &mut Counters, len: u64| ForData::give_back(counters, len.min(own));
        let range = self.space.alloc_data(want, min, hint, how, pay)?;
        self.bytes = own.saturating_sub(range.len);
        Ok(range)
    }
}

impl<P: Purpose> Drop for Reservation<P> {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        if let Ok(info) = self.space.info(P::KIND) {
            info.with(|counters| P::give_back(counters, self.bytes));
            info.wake();
        }
    }
}

impl Space {
    /// Promises `bytes` of data, whole sectors.
    ///
    /// May sleep, and commit. `ENOSPC`; `EINTR` when killed.
    pub(crate) fn reserve_data(self: &Arc<Self>, bytes: u64) -> Result<DataReservation> {
        self.reserve_data_as(bytes, Urgency::Normal)
    }

    /// As [`Self::reserve_data`]; with [`Urgency::Nowait`] `EAGAIN` where it would sleep.
    pub(crate) fn reserve_data_as(
        self: &Arc<Self>,
        bytes: u64,
        how: Urgency,
    ) -> Result<DataReservation> {
        self.reserve(Kind::Data, bytes, how)?;
        Ok(Reservation::new(self, bytes))
    }

    /// Promises `bytes` of tree blocks.
    ///
    /// May sleep, and commit, as `how` says. `ENOSPC`; `EAGAIN` for [`Urgency::Nowait`]; `EINTR`
    /// when killed.
    pub(crate) fn reserve_metadata(
        self: &Arc<Self>,
        bytes: u64,
        how: Urgency,
    ) -> Result<MetaReservation> {
        self.reserve(Kind::Metadata, bytes, how)?;
        Ok(Reservation::new(self, bytes))
    }

    /// A reservation of nothing, to merge others into.
    pub(crate) fn no_metadata(self: &Arc<Self>) -> MetaReservation {
        Reservation::new(self, 0)
    }
}
