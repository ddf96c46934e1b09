// SPDX-License-Identifier: GPL-2.0

//! Regular files: every kind of extent.

use crate::Plan;
use std::fs::{File, OpenOptions};
use std::io::{Result, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use testkit::rng::Rng;
use testkit::{btrfs, sys};

const KIB: u64 = 1024;
const BLOCK: u64 = 4 * KIB;

/// `len` bytes: random, words, or zeros with a little in them.
pub fn content(rng: &mut Rng, len: u64) -> Vec<u8> {
    let mut buf = vec![0u8; len as usize];
    match rng.below(3) {
        0 => rng.fill(&mut buf),
        1 => rng.fill_text(&mut buf),
        _ => {
            for _ in 0..=len / 3000 {
                if len > 0 {
                    let at = rng.index(buf.len());
                    buf[at] = rng.u64() as u8;
                }
            }
        }
    }
    buf
}

/// `len` bytes of words.
pub fn text(rng: &mut Rng, len: u64) -> Vec<u8> {
    let mut buf = vec![0u8; len as usize];
    rng.fill_text(&mut buf);
    buf
}

/// `len` bytes that no compressor shrinks.
pub fn noise(rng: &mut Rng, len: u64) -> Vec<u8> {
    let mut buf = vec![0u8; len as usize];
    rng.fill(&mut buf);
    buf
}

/// Creates a file with `bytes`.
pub fn write(path: impl AsRef<Path>, bytes: &[u8]) -> Result<File> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)?;
    file.write_all(bytes)?;
    Ok(file)
}

/// Many small files of mixed content.
pub fn small_files(plan: &Plan, dir: &Path) -> Result<()> {
    let mut rng = plan.rng("small");
    for i in 0..plan.scale(300, 12) {
        let len = rng.below(9000);
        write(dir.join(format!("f{i}")), &content(&mut rng, len))?;
    }
    Ok(())
}

/// Inline extents around every limit, compressible and not; some are fsynced one by one so that
/// they do not share a transaction's delayed work.
pub fn inline_files(plan: &Plan, dir: &Path) -> Result<()> {
    let mut rng = plan.rng("inline");
    let sizes: &[u64] = if plan.small {
        &[0, 1, 200, 2048, 3000]
    } else {
        &[
            0, 1, 2, 3, 21, 63, 100, 500, 1000, 1023, 2047, 2048, 2049, 3000, 3500, 3900, 4000,
            4094, 4095, 4096,
        ]
    };
    for &len in sizes {
        let file = write(dir.join(format!("noise{len}")), &noise(&mut rng, len))?;
        if len % 2 == 1 {
            file.sync_all()?;
        }
        write(dir.join(format!("text{len}")), &text(&mut rng, len))?;
        write(dir.join(format!("zero{len}")), &vec![0u8; len as usize])?;
    }
    // An inline extent that was extended by truncation: the tail is a hole.
    write(dir.join("extended"), &text(&mut rng, 100))?.set_len(3 * BLOCK + 5)?;
    // One that was cut.
    let file = write(dir.join("cut"), &text(&mut rng, 2000))?;
    file.sync_all()?;
    file.set_len(77)?;
    Ok(())
}

/// Sizes around block, compression unit and stripe limits.
pub fn odd_sizes(plan: &Plan, dir: &Path) -> Result<()> {
    let mut rng = plan.rng("sizes");
    let limits: &[u64] = if plan.small {
        &[BLOCK, 64 * KIB]
    } else {
        &[
            BLOCK,
            2 * BLOCK,
            16 * KIB,
            64 * KIB,
            128 * KIB,
            256 * KIB,
            1024 * KIB,
            4096 * KIB,
        ]
    };
    for &limit in limits {
        for len in [limit - 1, limit, limit + 1] {
            let bytes = if rng.one_in(2) {
                noise(&mut rng, len)
            } else {
                content(&mut rng, len)
            };
            write(dir.join(format!("s{len}")), &bytes)?;
        }
    }
    // Long enough to cross many stripes of every profile.
    if !plan.small {
        write(dir.join("long"), &noise(&mut rng, 9 * 1024 * KIB + 123))?;
    }
    Ok(())
}

/// Holes before, between and after data.
pub fn sparse(plan: &Plan, dir: &Path) -> Result<()> {
    let mut rng = plan.rng("sparse");
    File::create(dir.join("only-hole"))?.set_len(1 << 20)?;
    for i in 0..plan.scale(12, 3) {
        let file = File::create(dir.join(format!("f{i}")))?;
        let mut at = rng.below(50 * BLOCK);
        for _ in 0..rng.range(1..12) {
            let len = rng.range(1..40_000);
            file.write_all_at(&content(&mut rng, len), at)?;
            at += len + rng.below(64) * BLOCK + rng.below(2) * rng.below(BLOCK);
        }
        if rng.one_in(2) {
            file.set_len(at + rng.below(1 << 20))?;
        }
    }
    // Punched into written data.
    let file = write(dir.join("punched"), &noise(&mut rng, 1 << 18))?;
    file.sync_all()?;
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    sys::fallocate(&file, mode, 5000, 30_000)?;
    sys::fallocate(&file, mode, 1 << 17, 1 << 15)?;
    sys::fallocate(&file, mode, (1 << 18) - 100, 1 << 15)?;
    Ok(())
}

/// Blocks written out of order and synced, and blocks overwritten in the middle of larger extents.
pub fn fragmented(plan: &Plan, dir: &Path) -> Result<()> {
    let mut rng = plan.rng("fragments");
    let blocks = plan.scale(400, 24);
    let file = File::create(dir.join("scattered"))?;
    let mut order: Vec<u64> = (0..blocks).collect();
    for i in (1..order.len()).rev() {
        order.swap(i, rng.index(i + 1));
    }
    for (n, block) in order.iter().enumerate() {
        file.write_all_at(&noise(&mut rng, BLOCK), block * BLOCK)?;
        if n % 8 == 0 {
            file.sync_data()?;
        }
    }
    let file = write(dir.join("overwritten"), &noise(&mut rng, blocks * BLOCK))?;
    file.sync_all()?;
    for _ in 0..blocks / 4 {
        let len = rng.range(1..3 * BLOCK);
        let at = rng.below((blocks - 3) * BLOCK);
        file.write_all_at(&content(&mut rng, len), at)?;
        if rng.one_in(4) {
            file.sync_data()?;
        }
    }
    Ok(())
}

/// Preallocated extents: untouched, partly written, beyond the end, zeroed ranges.
pub fn preallocated(plan: &Plan, dir: &Path) -> Result<()> {
    let mut rng = plan.rng("prealloc");
    let file = File::create(dir.join("untouched"))?;
    sys::fallocate(&file, 0, 0, 300_000)?;
    let file = File::create(dir.join("beyond-end"))?;
    sys::fallocate(&file, libc::FALLOC_FL_KEEP_SIZE, 0, 1 << 20)?;
    file.write_all_at(&noise(&mut rng, 6000), 0)?;
    let file = File::create(dir.join("partly"))?;
    sys::fallocate(&file, 0, 0, 1 << 20)?;
    for _ in 0..plan.scale(10, 3) {
        let len = rng.range(1..20_000);
        let at = rng.below(1_000_000);
        file.write_all_at(&noise(&mut rng, len), at)?;
        file.sync_data()?;
    }
    let file = write(dir.join("zeroed"), &noise(&mut rng, 200_000))?;
    file.sync_all()?;
    sys::fallocate(&file, libc::FALLOC_FL_ZERO_RANGE, 10_000, 90_000)?;
    Ok(())
}

/// What compression makes extents of: long runs, mixed runs, overwritten and cut ones.
pub fn compressible(plan: &Plan, dir: &Path) -> Result<()> {
    let mut rng = plan.rng("compressible");
    let long = plan.scale(3 << 20, 200_000);
    write(dir.join("words"), &text(&mut rng, long))?.sync_all()?;
    write(dir.join("zeros"), &vec![0u8; long as usize])?;
    let mut mixed = Vec::new();
    while (mixed.len() as u64) < long {
        let len = rng.range(1..300 * KIB);
        mixed.extend(content(&mut rng, len));
    }
    write(dir.join("mixed"), &mixed)?;
    // Book-ended references into the middle of compressed extents.
    let file = write(dir.join("overwritten"), &text(&mut rng, long))?;
    file.sync_all()?;
    for _ in 0..plan.scale(30, 4) {
        let len = rng.range(1..5 * BLOCK);
        file.write_all_at(&text(&mut rng, len), rng.below(long - len))?;
        if rng.one_in(3) {
            file.sync_data()?;
        }
    }
    let file = write(dir.join("cut"), &text(&mut rng, 131_072))?;
    file.sync_all()?;
    file.set_len(70_001)?;
    let file = write(dir.join("cut-extended"), &text(&mut rng, 131_072))?;
    file.sync_all()?;
    file.set_len(50_001)?;
    file.set_len(90_000)?;
    // Repeats at distances near the window sizes of the compressors.
    let unit = noise(&mut rng, 33_000);
    write(
        dir.join("far-repeats"),
        &unit.repeat(plan.scale(20, 3) as usize),
    )?;
    Ok(())
}

/// Data at the largest offsets a file can have.
pub fn huge_offsets(plan: &Plan, dir: &Path) -> Result<()> {
    let mut rng = plan.rng("huge");
    let file = File::create(dir.join("offsets"))?;
    for shift in [31, 32, 40, 50, 62] {
        file.write_all_at(&noise(&mut rng, 5000), (1u64 << shift) - 2500)?;
    }
    let file = File::create(dir.join("last-page"))?;
    file.write_all_at(b"end", i64::MAX as u64 - BLOCK - 2)?;
    let file = File::create(dir.join("hole"))?;
    file.set_len(i64::MAX as u64 - BLOCK)?;
    Ok(())
}

/// Shared extents: whole, partial, overlapping, within one file, and rewritten after sharing.
pub fn reflinks(plan: &Plan, dir: &Path) -> Result<()> {
    let mut rng = plan.rng("reflink");
    let blocks = plan.scale(256, 48);
    let len = blocks * BLOCK;
    let noise_src = write(dir.join("noise"), &noise(&mut rng, len))?;
    let text_src = write(dir.join("text"), &text(&mut rng, len))?;
    noise_src.sync_all()?;
    text_src.sync_all()?;
    for (name, src) in [("noise", &noise_src), ("text", &text_src)] {
        let whole = File::create(dir.join(format!("{name}-whole")))?;
        btrfs::clone_range(src, 0, 0, &whole, 0)?;
        let parts = File::create(dir.join(format!("{name}-parts")))?;
        for _ in 0..plan.scale(20, 4) {
            let from = rng.below(blocks - 1);
            let n = rng.range(1..(blocks - from).min(40));
            btrfs::clone_range(
                src,
                from * BLOCK,
                n * BLOCK,
                &parts,
                rng.below(2 * blocks) * BLOCK,
            )?;
        }
        let rewritten = File::create(dir.join(format!("{name}-rewritten")))?;
        btrfs::clone_range(src, 0, 0, &rewritten, 0)?;
        for _ in 0..plan.scale(10, 2) {
            let n = rng.range(1..3 * BLOCK);
            rewritten.write_all_at(&content(&mut rng, n), rng.below(len - n))?;
        }
        // Within one file, backwards and forwards.
        let half = blocks / 2 * BLOCK;
        let twice = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(dir.join(format!("{name}-twice")))?;
        btrfs::clone_range(src, 0, half, &twice, half)?;
        btrfs::clone_range(&twice, half, half / 2 / BLOCK * BLOCK, &twice, 0)?;
    }
    // A shared inline extent.
    let src = write(dir.join("inline"), &text(&mut rng, 700))?;
    src.sync_all()?;
    btrfs::clone_range(&src, 0, 0, &File::create(dir.join("inline-shared"))?, 0)
}

/// Files without copy on write, and thereby without checksums.
pub fn nodatacow(plan: &Plan, dir: &Path) -> Result<()> {
    const NOCOW_FL: u32 = 0x0080_0000;
    let mut rng = plan.rng("nocow");
    for i in 0..plan.scale(6, 2) {
        let file = File::create(dir.join(format!("f{i}")))?;
        btrfs::set_flags(&file, NOCOW_FL)?;
        let len = rng.range(100..300_000);
        file.write_all_at(&text(&mut rng, len), 0)?;
        file.sync_all()?;
        file.write_all_at(&noise(&mut rng, 5000), len / 2)?;
        if i % 2 == 1 {
            sys::fallocate(&file, 0, 0, 400_000)?;
        }
    }
    // New files inherit the flag from their directory.
    let sub = dir.join("inherits");
    std::fs::create_dir(&sub)?;
    btrfs::set_flags(&File::open(&sub)?, NOCOW_FL)?;
    write(sub.join("child"), &text(&mut rng, 50_000))?;
    Ok(())
}

/// Files written under the mount option nodatasum.
pub fn nodatasum(plan: &Plan, dir: &Path) -> Result<()> {
    let mut rng = plan.rng("nodatasum");
    for i in 0..plan.scale(10, 2) {
        let len = rng.below(200_000);
        write(dir.join(format!("f{i}")), &content(&mut rng, len))?;
    }
    Ok(())
}
