// SPDX-License-Identifier: GPL-2.0

//! Device numbers without a device.

use super::types::DeviceNumber;
use crate::bindings;
use kernel::{error::to_result, prelude::*};

/// A device number that no device has, for what looks like a file system of its own to
/// `stat`.
///
/// # Invariants
///
/// The number was allocated by `get_anon_bdev` and belongs to this value.
pub struct AnonDev(bindings::dev_t);

impl AnonDev {
    /// Takes a number that is free.
    ///
    /// # Errors
    ///
    /// `EMFILE` when there is none, `ENOMEM`.
    pub fn new() -> Result<Self> {
        let mut dev = 0;
        // SAFETY: The pointer is valid.
        to_result(unsafe { bindings::get_anon_bdev(&mut dev) })?;
        // INVARIANT: Just allocated.
        Ok(Self(dev))
    }

    /// The number.
    pub fn number(&self) -> DeviceNumber {
        DeviceNumber::from_raw(self.0)
    }
}

impl Drop for AnonDev {
    fn drop(&mut self) {
        // SAFETY: Allocated and ours, by the type invariant.
        unsafe { bindings::free_anon_bdev(self.0) };
    }
}
