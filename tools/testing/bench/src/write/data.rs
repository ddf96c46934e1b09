// SPDX-License-Identifier: GPL-2.0

//! Workloads of data.

use crate::guest::{in_mnt, sync, Guest, Measured};
use std::fs::{File, OpenOptions};
use std::io::{Result, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use testkit::rng::Rng;
use testkit::sys::AlignedBuf;

const MIB: u64 = 1 << 20;
const BLOCK: usize = 4096;
/// Size of files that are written from the beginning to the end, MiB.
const SIZE: u64 = 512;
/// Size of files that are written at random places, MiB.
const RANDOM_SIZE: u64 = 128;
/// How many blocks.
const RANDOM_WRITES: u64 = 16_384;

fn noise() -> Vec<u8> {
    let mut bytes = vec![0; MIB as usize];
    Rng::new(1).fill(&mut bytes);
    bytes
}

/// Text that is compressed about as well as source code.
fn words() -> Vec<u8> {
    let mut random = Rng::new(2);
    let words: Vec<String> = (0..4096)
        .map(|_| format!("{:x} ", random.u64() >> (64 - 8 - random.below(40))))
        .collect();
    let mut out = Vec::new();
    while out.len() < MIB as usize {
        let (a, b) = ((random.u64() >> 52) as usize, (random.u64() >> 52) as usize);
        out.extend_from_slice(words[a & b].as_bytes());
    }
    out.truncate(MIB as usize);
    out
}

fn fill(file: &mut File, size: u64, piece: &[u8]) -> Result<()> {
    (0..size).try_for_each(|_| file.write_all(piece))
}

fn write_random(file: &File) -> Result<()> {
    let mut memory = AlignedBuf::new(BLOCK);
    let buf = memory.bytes();
    buf.fill(0x5a);
    let mut random = Rng::new(7);
    (0..RANDOM_WRITES).try_for_each(|number| {
        buf[..8].copy_from_slice(&number.to_le_bytes());
        let block = random.below(RANDOM_SIZE * MIB / BLOCK as u64);
        file.write_all_at(buf, block * BLOCK as u64)
    })
}

pub fn sequential(guest: &Guest, out: &mut Vec<Measured>) -> Result<()> {
    let piece = noise();
    for _ in 0..2 {
        guest.measure(out, SIZE, "MiB/s", || {
            let path = in_mnt("file");
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)?;
            fill(&mut file, SIZE, &piece)?;
            file.sync_all()
        })?;
    }
    Ok(())
}

pub fn text(guest: &Guest, out: &mut Vec<Measured>) -> Result<()> {
    let piece = words();
    guest.measure(out, SIZE / 2, "MiB/s", || {
        let mut file = File::create(in_mnt("file"))?;
        fill(&mut file, SIZE / 2, &piece)?;
        file.sync_all()
    })
}

pub fn random(guest: &Guest, out: &mut Vec<Measured>) -> Result<()> {
    let mut file = File::create(in_mnt("file"))?;
    fill(&mut file, RANDOM_SIZE, &noise())?;
    sync();
    guest.measure(out, RANDOM_WRITES, "writes/s", || {
        write_random(&file)?;
        file.sync_all()
    })?;
    let file = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open(in_mnt("file"))?;
    guest.measure(out, RANDOM_WRITES, "writes/s", || {
        write_random(&file)?;
        file.sync_all()
    })
}

/// Direct writes by one thread, 32 under way at a time.
pub fn queued(guest: &Guest, out: &mut Vec<Measured>) -> Result<()> {
    let mut file = File::create(in_mnt("file"))?;
    fill(&mut file, RANDOM_SIZE, &noise())?;
    drop(file);
    sync();
    guest.measure(out, RANDOM_WRITES, "writes/s", || {
        let filename = format!("--filename={}", in_mnt("file"));
        let size = format!("--size={RANDOM_SIZE}m");
        let count = format!("--io_size={}k", RANDOM_WRITES * 4);
        guest.program(
            "fio",
            &[
                "--name=aio",
                "--rw=randwrite",
                "--bs=4k",
                "--direct=1",
                "--ioengine=libaio",
                "--iodepth=32",
                "--end_fsync=1",
                "--randseed=7",
                "--thread",
                &filename,
                &size,
                &count,
            ],
        )
    })
}

pub fn fsyncs(guest: &Guest, out: &mut Vec<Measured>) -> Result<()> {
    let files: Result<Vec<_>> = (0..100)
        .map(|number| File::create(in_mnt(&format!("file-{number}"))))
        .collect();
    let files = files?;
    sync();
    guest.measure(out, 1000, "fsyncs/s", || {
        (0..10u64).try_for_each(|round| {
            files.iter().try_for_each(|file| {
                file.write_all_at(&[round as u8; BLOCK], round * BLOCK as u64)?;
                file.sync_all()
            })
        })
    })
}

pub fn syncs(guest: &Guest, out: &mut Vec<Measured>) -> Result<()> {
    guest.measure(out, 200, "syncs/s", || {
        (0..200).try_for_each(|number| {
            File::create(in_mnt(&format!("file-{number}")))?;
            sync();
            Ok(())
        })
    })
}
