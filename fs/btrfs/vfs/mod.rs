// SPDX-License-Identifier: GPL-2.0

//! The VFS side: what the kernel calls, translated to the layers below.

#![allow(dead_code)]

pub(crate) mod handle;
