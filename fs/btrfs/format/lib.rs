// SPDX-License-Identifier: GPL-2.0

//! The on-disk format of btrfs: structures, keys, items, the superblock, and the tree checker.
//!
//! This crate is pure. It borrows bytes and returns views and small values; it does no I/O, takes
//! no locks and allocates nothing. It builds in the kernel and as an ordinary crate on the host,
//! where it is tested and fuzzed.
//!
//! Two kinds of types:
//!
//! * *On-disk structures* ([`inode::InodeItem`], [`header::Header`] ...) have alignment 1 and
//!   little-endian fields. They are views of bytes in a block (`from_bytes`, `from_prefix`), or
//!   values that are filled in and written (`zeroed`, `to_disk`).
//! * *Decoded values* ([`key::Key`], [`file_extent::FileExtent`], [`extent::ExtentRef`] ...).
//!
//! Invariant of the layers above: a block is given to them only after [`check::check_block`] passed
//! it. Accessors stay checked nevertheless: on bytes that were not verified they return `None` or
//! end early; nothing in this crate panics, whatever the bytes are.
//!
//! The source of all facts of the format is `include/uapi/linux/btrfs_tree.h` of the kernel.

// The kernel's build passes this itself.
#![cfg_attr(not(CONFIG_RUST), no_std)]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![deny(clippy::unwrap_used)]
#![deny(clippy::expect_used)]
#![deny(clippy::panic)]
#![deny(clippy::indexing_slicing)]
#![deny(clippy::arithmetic_side_effects)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

#[cfg(test)]
extern crate std;

#[macro_use]
mod macros;

pub mod balance;
pub mod block_group;
pub mod check;
pub mod chunk;
pub mod crc32c;
pub mod csum;
pub mod device;
pub mod dir;
pub mod extent;
pub mod file_extent;
pub mod free_space;
pub mod geometry;
pub mod header;
pub mod inode;
pub mod key;
pub mod leaf;
pub mod node;
pub mod profile;
pub mod qgroup;
pub mod root;
pub mod stripe;
pub mod superblock;
pub mod types;
pub mod uuid;
pub mod verity;

pub use check::{check_block, CheckContext, Expected, Rule, Violation};
pub use chunk::ChunkItem;
pub use csum::CsumType;
pub use geometry::Geometry;
pub use header::Header;
pub use key::{item, Key};
pub use leaf::Leaf;
pub use node::{ChildPtr, Node};
pub use profile::{BlockGroupFlags, RaidProfile};
pub use superblock::Superblock;
pub use types::{DevId, Generation, Ino, Logical, Physical, TreeId, Uuid};
