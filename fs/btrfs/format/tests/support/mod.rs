// SPDX-License-Identifier: GPL-2.0

//! What the tests share: images made by the real mkfs.btrfs, and a reader for them.

#![allow(dead_code)] // Each test crate uses a part of it.

pub mod block;
pub mod exercise;
pub mod image;
pub mod mkfs;
