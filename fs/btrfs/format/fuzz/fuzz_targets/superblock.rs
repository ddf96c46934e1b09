// SPDX-License-Identifier: GPL-2.0

//! Any bytes as a superblock.

#![no_main]

#[path = "../../tests/support/exercise.rs"]
mod exercise;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| exercise::superblock(data));
