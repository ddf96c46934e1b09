// SPDX-License-Identifier: GPL-2.0

//! Extended attributes.

#![forbid(unsafe_code)]
#![allow(dead_code)]

pub(crate) mod edit;
pub(crate) mod property;
pub(crate) mod read;
