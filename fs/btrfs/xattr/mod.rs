// SPDX-License-Identifier: GPL-2.0

//! Extended attributes.

#![allow(dead_code)]

pub(crate) mod read;
