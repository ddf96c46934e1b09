// SPDX-License-Identifier: GPL-2.0

//! Extended attributes.
//!
//! They are stored as directory entries are, see [`dir::entries`](crate::dir::entries). ACLs and
//! properties are attributes too; the VFS asks for the first, the file system obeys the second
//! ([`property`]). Changes are made under the inode lock.

#![forbid(unsafe_code)]

pub(crate) mod edit;
pub(crate) mod property;
pub(crate) mod read;
