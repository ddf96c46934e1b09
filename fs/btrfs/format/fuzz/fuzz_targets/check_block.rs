// SPDX-License-Identifier: GPL-2.0

//! Any bytes as a tree block: neither the checker nor any decoder may panic.
//!
//! What the header says about address, filesystem and size is taken as right, as it is for who
//! makes a hostile image: the fuzzer is to get past these rules.

#![no_main]

#[path = "../../tests/support/exercise.rs"]
mod exercise;

use btrfs_format::superblock::Incompat;
use btrfs_format::{check_block, CheckContext, CsumType, Expected, Generation, Geometry, Header};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    exercise::block(data);
    let Some(header) = Header::of(data) else {
        return;
    };
    let Ok(nodesize) = u32::try_from(data.len()) else {
        return;
    };
    let csum = CsumType::ALL[data.len() % 4];
    let Some(geometry) = Geometry::new(nodesize.min(4096), nodesize, csum) else {
        return;
    };
    let fsids = [header.fsid];
    // The generation chooses features: old filesystems lack some, experimental ones have more.
    let incompat = match header.generation.get() % 3 {
        0 => Incompat::STABLE,
        1 => Incompat::empty(),
        _ => Incompat::new(u64::MAX),
    };
    let mut context = CheckContext::new(geometry, incompat, Generation(u64::MAX), &fsids);
    context.writable = header.generation.get() % 2 == 0;
    if let Err(violation) = check_block(data, &context, &Expected::at(header.bytenr())) {
        assert!(!violation.describe(data).to_string().is_empty());
    }
});
