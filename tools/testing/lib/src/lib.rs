// SPDX-License-Identifier: GPL-2.0

//! What the test programs share.
//!
//! All `unsafe` of the test programs is in [`sys`], [`files`], [`btrfs`] and [`dm`]: thin wrappers of system
//! calls and ioctls that return `std::io::Error`. Everything takes paths or file descriptors, nothing
//! is kept.

pub mod btrfs;
pub mod dm;
pub mod files;
pub mod rng;
pub mod sys;
