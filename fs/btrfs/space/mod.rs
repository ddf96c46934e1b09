// SPDX-License-Identifier: GPL-2.0

//! How the space is used: block groups, summed up by what they hold and how.
//!
//! While nothing is written, this is a snapshot that the mount takes: one pass over
//! the block group items. [`summary`] does the adding up, [`statfs`] turns the sums
//! into what `statfs(2)` reports. Both are pure.

#![forbid(unsafe_code)]
#![allow(dead_code)]

pub(crate) mod load;
pub(crate) mod statfs;
pub(crate) mod summary;
#[cfg(CONFIG_KUNIT = "y")]
mod tests;

pub(crate) use summary::Summary;
