// SPDX-License-Identifier: GPL-2.0

//! Safe abstractions of the kernel APIs that a file system needs.
//!
//! This crate stands between a file system that forbids `unsafe` and the parts of
//! the kernel's C API that the [`kernel`] crate does not wrap yet. All `unsafe`
//! code of the module is here, and in the macros that this crate exports.
//!
//! Raw pointers never leave the crate: what is `pub` is safe to use as its types
//! allow.

#![deny(clippy::undocumented_unsafe_blocks, unsafe_op_in_unsafe_fn)]

#[allow(unused_imports)]
pub(crate) use btrfs_bindings as bindings;

pub mod arc_cell;
pub mod block;
pub mod compress;
pub mod csum;
pub mod fs;
pub mod iomap;
pub mod kthread;
pub mod log;
pub mod mem;
pub mod misc;
pub mod pagecache;
pub mod parallel;
pub mod raid;
pub mod random;
pub mod rcu;
pub mod sync;
pub mod sysfs;
pub mod task;
