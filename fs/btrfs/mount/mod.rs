// SPDX-License-Identifier: GPL-2.0

//! Mounting: from options and devices to a file system that can be used.

#![allow(dead_code)]

pub(crate) mod options;
pub(crate) mod show;
