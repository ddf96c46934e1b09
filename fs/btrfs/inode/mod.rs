// SPDX-License-Identifier: GPL-2.0

//! Inodes: what the trees say about a file.

#![allow(dead_code)]

pub(crate) mod facts;
