// SPDX-License-Identifier: GPL-2.0

//! Applies sorted batches of changes to B+trees, and the books that follow from it.
//!
//! The write engine collects changes in memory and merges them into the committed trees once per
//! transaction (`Documentation/design/write-engine.md`). This crate is the part of it that is a
//! pure function: (old tree, sorted changes, source of addresses, transid) -> new tree. It does no
//! I/O and takes no locks: where blocks come from and go to is behind [`Store`]. It builds in
//! the kernel and as an ordinary crate on the host, where it is tested against models.
//!
//! Everything allocates through [`mem`] and reports failure; nothing panics, whatever the blocks
//! and batches are.

// The kernel's build passes this itself.
#![cfg_attr(not(CONFIG_RUST), no_std)]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![deny(clippy::unwrap_used)]
#![deny(clippy::expect_used)]
#![deny(clippy::panic)]
#![deny(clippy::indexing_slicing)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

#[cfg(not(CONFIG_RUST))]
extern crate std;

pub mod apply;
pub mod build;
pub mod cost;
pub mod csums;
pub mod error;
pub mod free_space;
pub mod groups;
pub mod items;
pub mod mem;
pub mod refs;
pub mod sort;
pub mod store;

pub use apply::{apply, empty_root, renew_root};
pub use build::{LeafBuilder, NodeBuilder};
pub use cost::{cost, Load};
pub use csums::{erase_csums, insert_csums, CsumWriter, Span};
pub use error::{Error, Result};
pub use items::Items;
pub use refs::{apply_refs, Extent, ExtentChanges, ExtentKind, ExtentRules, RefDeltas};
pub use store::{BlockPtr, Change, Edit, Env, RootPtr, Store};
