// SPDX-License-Identifier: GPL-2.0

//! Directories.
//!
//! An entry is stored twice: as `DIR_ITEM` under the hash of its name, for look-ups,
//! and as `DIR_INDEX` under its number in the directory, for listing.

#![forbid(unsafe_code)]
#![allow(dead_code)]

pub(crate) mod iterate;
pub(crate) mod lookup;
