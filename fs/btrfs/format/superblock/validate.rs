// SPDX-License-Identifier: GPL-2.0

//! The rules of a superblock.
