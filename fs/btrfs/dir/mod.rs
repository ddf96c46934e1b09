// SPDX-License-Identifier: GPL-2.0

//! Directories.
//!
//! An entry is stored twice: as `DIR_ITEM` under the hash of its name, for look-ups,
//! and as `DIR_INDEX` under its number in the directory, for listing. An inode knows its names
//! too: as `INODE_REF` or `INODE_EXTREF`.
//!
//! What changes names collects its changes as [`Edits`](crate::edits::Edits) first: all reading,
//! and all that can fail, is done before the first item changes. The VFS holds the inode locks of
//! the directories meanwhile, so nobody else changes the same names.

#![forbid(unsafe_code)]

pub(crate) mod create;
pub(crate) mod edit;
pub(crate) mod entries;
pub(crate) mod iterate;
pub(crate) mod link;
pub(crate) mod lookup;
pub(crate) mod rename;
pub(crate) mod unlink;
