// SPDX-License-Identifier: GPL-2.0

//! The on-disk format.
#![forbid(unsafe_code)]
