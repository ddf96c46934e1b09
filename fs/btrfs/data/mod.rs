// SPDX-License-Identifier: GPL-2.0

//! File data: where it is, reading it, and changing it.
//!
//! # How data gets to disk
//!
//! [`write`] reserves space before bytes change in the page cache; the range is *delayed*
//! ([`state`]). [`writeback`] collects what lies together, decides what becomes of it (an item
//! ([`inline`]), compressed runs ([`compress`]), an old place ([`inplace`]) or a new one), and
//! writes it: an *ordered* extent ([`ordered`]). When all of that has arrived, items are put in
//! place of the old ones ([`replace`]), and only then the folios are let go. Direct writes
//! ([`direct`], [`queued`]), and what comes compressed ([`encoded`]), are ordered extents as well.
//!
//! What lies in many pieces is written again as if it had been changed ([`defrag`]), if asked for or
//! by itself ([`autodefrag`]).
//!
//! # Invariants
//!
//! * A dirty folio has space reserved for each of its sectors, and tree blocks for its items
//!   ([`promise`]).
//! * An item names new data only after that was written.
//! * The size in the inode item is that of the file only as far as nothing is pending below.
//! * Under writeback folios do not change.
//! * What a direct or encoded write has claimed does not become dirty ([`claims`]).
//!
//! # Locks
//!
//! Direct I/O that nobody waits for ([`queued`]) goes on when the inode lock is let go: whoever changes
//! the same bytes, or moves the file, waits for it under the lock.
//!
//! Inode lock -> invalidate lock -> folio -> (reservation, gate) -> [`state::FileState::edit`] ->
//! state (mutex, a leaf). A handle is never begun under a folio lock: a commit could be waited for.
//! Completions wait for a commit only where there is no room for tree blocks otherwise.
//!
//! # Bounds
//!
//! | resource | limit | beyond it |
//! | --- | --- | --- |
//! | cached extents per inode | 64 | the cache starts anew |
//! | one compressed run | 128 KiB on disk and unpacked | refused as corrupt |
//! | one extent that is written | 128 MiB | several |
//! | items changed under one handle | 256 and two | several handles |
//! | direct I/O nobody waits for | 1 MiB a request | it is waited for |
//! | delayed ranges per inode | dirty memory | the VM throttles writers |

#![forbid(unsafe_code)]

pub(crate) mod autodefrag;
pub(crate) mod cache;
mod claims;
pub(crate) mod compress;
pub(crate) mod decode;
pub(crate) mod defrag;
pub(crate) mod direct;
pub(crate) mod encoded;
pub(crate) mod extent;
pub(crate) mod fallocate;
pub(crate) mod fiemap;
mod inline;
mod inplace;
pub(crate) mod located;
mod nowait;
mod ordered;
pub(crate) mod promise;
mod queued;
mod ranges;
pub(crate) mod read;
mod replace;
pub(crate) mod seek;
pub(crate) mod shared;
pub(crate) mod state;
mod swap;
pub(crate) mod truncate;
mod work;
pub(crate) mod write;
mod writeback;
