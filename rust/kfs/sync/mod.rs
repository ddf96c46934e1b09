// SPDX-License-Identifier: GPL-2.0

//! Locks that the `kernel` crate lacks.

mod rwsem;

pub use rwsem::{ReadGuard, RwSemaphore, WriteGuard};
