// SPDX-License-Identifier: GPL-2.0

//! Subvolumes.

#![allow(dead_code)]

pub(crate) mod path;
