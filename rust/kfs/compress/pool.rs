// SPDX-License-Identifier: GPL-2.0

//! Work memory of decompressors, kept for the next user.
//!
//! A few slots per kind: more decompressions at the same time than there are slots allocate
//! memory of their own and free it. Bound: slots times the size of a workspace for memory
//! that is kept, one workspace for every CPU that decompresses for memory in use.

use core::{ffi::c_void, ops::Deref, ptr};
use kernel::{
    prelude::*,
    sync::atomic::{ordering, Atomic},
};

const SLOTS: usize = 8;

type Memory = KVVec<u64>;

/// The workspaces of one kind that nobody uses at the moment.
///
/// # Invariants
///
/// Every slot is null or a pointer from `KBox::into_raw` that the slot owns.
pub(super) struct Pool {
    slots: [Atomic<*mut Memory>; SLOTS],
    size: fn() -> usize,
}

impl Pool {
    /// A pool of workspaces of `size()` bytes each; without any yet.
    pub(super) const fn new(size: fn() -> usize) -> Self {
        // INVARIANT: All slots are null.
        Self {
            slots: [const { Atomic::new(ptr::null_mut()) }; SLOTS],
            size,
        }
    }

    /// Takes a workspace, or allocates one.
    pub(super) fn take(&'static self) -> Result<Workspace> {
        let memory = match self.slots.iter().find_map(Self::empty) {
            Some(memory) => memory,
            None => {
                let words = (self.size)().div_ceil(size_of::<u64>());
                KBox::new(Memory::with_capacity(words, GFP_KERNEL)?, GFP_KERNEL)?
            }
        };
        Ok(Workspace {
            pool: self,
            memory: Some(memory),
        })
    }

    fn empty(slot: &Atomic<*mut Memory>) -> Option<KBox<Memory>> {
        // INVARIANT: The slot becomes null.
        let memory = slot.xchg(ptr::null_mut(), ordering::Acquire);
        // SAFETY: By the type invariant a pointer that is not null is from `into_raw`; the
        // exchange has taken it out of the slot, so it is owned here and nowhere else.
        (!memory.is_null()).then(|| unsafe { KBox::from_raw(memory) })
    }

    fn put(&self, memory: KBox<Memory>) {
        let raw = KBox::into_raw(memory);
        // INVARIANT: The slot owns what `into_raw` returned if the exchange succeeds.
        let kept = self.slots.iter().any(|slot| {
            slot.cmpxchg(ptr::null_mut(), raw, ordering::Release)
                .is_ok()
        });
        if !kept {
            // SAFETY: From `into_raw` above, and no slot has taken it.
            drop(unsafe { KBox::from_raw(raw) });
        }
    }

    /// Frees what is kept.
    pub(super) fn drain(&self) {
        self.slots
            .iter()
            .filter_map(Self::empty)
            .for_each(drop::<KBox<Memory>>);
    }
}

/// A workspace in use; dropping it gives it back to its pool.
pub(super) struct Workspace {
    pool: &'static Pool,
    memory: Option<KBox<Memory>>,
}

impl Workspace {
    /// Start of the memory, aligned to 8 bytes and as long as the pool's size says.
    pub(super) fn as_mut_ptr(&mut self) -> *mut c_void {
        match &mut self.memory {
            Some(memory) => memory.as_mut_ptr().cast(),
            None => ptr::null_mut(),
        }
    }

    /// Its length in bytes.
    pub(super) fn len(&self) -> usize {
        self.memory
            .as_ref()
            .map_or(0, |memory| memory.deref().capacity() * size_of::<u64>())
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if let Some(memory) = self.memory.take() {
            self.pool.put(memory);
        }
    }
}
