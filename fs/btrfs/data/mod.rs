// SPDX-License-Identifier: GPL-2.0

//! File data: where it is, and reading it.
//!
//! # Bounds
//!
//! | resource | limit | beyond it |
//! | --- | --- | --- |
//! | cached extents per inode | 64 | the cache starts anew |
//! | one compressed run | 128 KiB on disk and unpacked | refused as corrupt |

#![forbid(unsafe_code)]
#![allow(dead_code)]

pub(crate) mod cache;
mod compress;
pub(crate) mod decode;
pub(crate) mod direct;
pub(crate) mod extent;
pub(crate) mod fallocate;
pub(crate) mod fiemap;
mod inline;
mod inplace;
pub(crate) mod located;
mod ordered;
mod ranges;
pub(crate) mod read;
mod replace;
pub(crate) mod seek;
pub(crate) mod shared;
pub(crate) mod state;
pub(crate) mod truncate;
pub(crate) mod write;
mod writeback;
