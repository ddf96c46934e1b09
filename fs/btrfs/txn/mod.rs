// SPDX-License-Identifier: GPL-2.0

//! Transactions: operations change trees in memory, a commit makes all of it durable at once.

#![forbid(unsafe_code)]
#![allow(dead_code, unused_imports)]

mod handle;

pub(crate) use handle::Handle;
