// SPDX-License-Identifier: GPL-2.0

//! What is in a regular file, read in every way, and where it lies.

use crate::{ioctls, Listing};
use std::io::{Error, Result};
use std::os::fd::OwnedFd;
use std::path::Path;
use testkit::rng::Rng;
use testkit::{btrfs, sys};
use xxhash_rust::xxh3::Xxh3;

/// Files up to this size are read whole, of larger ones only the data segments.
const WHOLE: u64 = 64 << 20;
/// What is read of one data segment at most.
const SEGMENT: u64 = 64 << 20;
const PAGE: u64 = 4096;

/// A range of a file.
#[derive(Clone, Copy, Debug)]
struct Segment {
    start: u64,
    len: u64,
}

/// The data and hole boundaries as SEEK_DATA and SEEK_HOLE give them.
fn seek_map(fd: &OwnedFd, size: u64) -> Result<Vec<Segment>> {
    let mut map = Vec::new();
    let mut at = 0i64;
    while (at as u64) < size {
        let data = match sys::lseek(fd, at, libc::SEEK_DATA) {
            Ok(data) => data,
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => break,
            Err(error) => return Err(error),
        };
        let hole = sys::lseek(fd, data, libc::SEEK_HOLE)?;
        if hole <= data || data < at {
            return Err(Error::other(format!("data at {data}, hole at {hole}")));
        }
        map.push(Segment {
            start: data as u64,
            len: (hole - data) as u64,
        });
        at = hole;
    }
    Ok(map)
}

/// Reads a segment through the page cache in calls of changing sizes.
fn read_buffered(fd: &OwnedFd, segment: Segment) -> Result<Vec<u8>> {
    const SIZES: [usize; 5] = [4096, 100_003, 65_536, 777, 1 << 20];
    let mut bytes = vec![0u8; segment.len as usize];
    let (mut at, mut turn) = (0, 0);
    while at < bytes.len() {
        let end = bytes.len().min(at + SIZES[turn % SIZES.len()]);
        let n = sys::pread(fd, &mut bytes[at..end], (segment.start + at as u64) as i64)?;
        if n == 0 {
            bytes.truncate(at);
            break;
        }
        at += n;
        turn += 1;
    }
    Ok(bytes)
}

/// Compares `expected` with what direct reads give; returns a description of the first difference.
fn check_direct(path: &Path, segment: Segment, expected: &[u8]) -> Result<String> {
    let fd = sys::open(path, libc::O_RDONLY | libc::O_DIRECT | libc::O_NOATIME)?;
    let mut turn = 0;
    let mut at = segment.start / PAGE * PAGE;
    let end = segment.start + expected.len() as u64;
    let mut buffer = sys::AlignedBuf::new(1 << 20);
    while at < end {
        let len = [1 << 20, 4096, 65_536, 135_168][turn % 4];
        turn += 1;
        let buf = &mut buffer.bytes()[..len];
        let n = sys::pread(&fd, buf, at as i64)?;
        if n == 0 {
            return Ok(format!("SHORT at {at}"));
        }
        for (i, byte) in buf[..n].iter().enumerate() {
            let pos = at + i as u64;
            if pos >= segment.start
                && pos < end
                && *byte != expected[(pos - segment.start) as usize]
            {
                return Ok(format!("DIFFERS at {pos}"));
            }
        }
        at += n as u64;
    }
    Ok("same".into())
}

/// Compares `expected` with what a mapping shows, including the zeros behind the end of the file.
fn check_mapped(fd: &OwnedFd, segment: Segment, expected: &[u8]) -> Result<String> {
    let start = segment.start / PAGE * PAGE;
    let end = (segment.start + expected.len() as u64).div_ceil(PAGE) * PAGE;
    let mut at = start;
    let mut buf = vec![0u8; 1 << 20];
    while at < end {
        let len = (end - at).min(buf.len() as u64) as usize;
        let n = sys::read_mapped(fd, at as i64, &mut buf[..len])?;
        if n < len {
            return Ok(format!("FAULT at {}", at + n as u64));
        }
        for (i, byte) in buf[..len].iter().enumerate() {
            let pos = at + i as u64;
            let inside = pos >= segment.start && pos < segment.start + expected.len() as u64;
            if inside && *byte != expected[(pos - segment.start) as usize] {
                return Ok(format!("DIFFERS at {pos}"));
            }
        }
        at += len as u64;
    }
    Ok("same".into())
}

/// A few reads at odd offsets, with a cold cache.
fn check_random(fd: &OwnedFd, segment: Segment, expected: &[u8]) -> Result<String> {
    let mut rng = Rng::new(segment.len);
    sys::drop_pages(fd);
    for _ in 0..8 {
        let from = rng.index(expected.len());
        let len = (rng.index(20_000) + 1).min(expected.len() - from);
        let mut buf = vec![0u8; len];
        let n = sys::pread(fd, &mut buf, (segment.start + from as u64) as i64)?;
        if n != len || buf != expected[from..from + len] {
            return Ok(format!(
                "DIFFERS at {}+{len}, {n} read",
                segment.start + from as u64
            ));
        }
    }
    Ok("same".into())
}

/// Reads segments in all ways; a fingerprint for the bytes, a verdict for the other ways.
fn bytes(list: &mut Listing, full: &Path, shown: &Path, fd: &OwnedFd, segments: &[Segment]) {
    let mut hash = Xxh3::new();
    let mut verdicts: Vec<(&str, Result<String>)> = Vec::new();
    for &segment in segments {
        let data = match read_buffered(fd, segment) {
            Ok(data) => data,
            Err(error) => return list.result::<&str>(shown, "content", Err(error)),
        };
        hash.update(&segment.start.to_le_bytes());
        hash.update(&data);
        if data.is_empty() {
            continue;
        }
        sys::drop_pages(fd);
        verdicts.push(("mapped", check_mapped(fd, segment, &data)));
        verdicts.push(("random", check_random(fd, segment, &data)));
        if list.options.direct {
            sys::drop_pages(fd);
            verdicts.push(("direct", check_direct(full, segment, &data)));
        }
    }
    list.line(shown, "content", format_args!("{:032x}", hash.digest128()));
    for (field, verdict) in verdicts {
        if !matches!(&verdict, Ok(v) if v == "same") {
            list.result(shown, field, verdict);
        }
    }
}

/// Probes a hole: a page of zeros at each end.
fn hole_is_zero(fd: &OwnedFd, start: u64, end: u64) -> Result<bool> {
    let mut zero = true;
    for at in [start, end.saturating_sub(PAGE).max(start)] {
        let mut buf = vec![1u8; (end - at).min(PAGE) as usize];
        let n = sys::pread(fd, &mut buf, at as i64)?;
        zero &= n == buf.len() && buf.iter().all(|b| *b == 0);
    }
    Ok(zero)
}

/// Lists content, holes and extents of a regular file.
pub fn list(list: &mut Listing, full: &Path, shown: &Path) {
    let opened = sys::open(full, libc::O_RDONLY | libc::O_NOATIME)
        .and_then(|fd| sys::lseek(&fd, 0, libc::SEEK_END).map(|size| (fd, size as u64)));
    let (fd, size) = match opened {
        Ok(opened) => opened,
        Err(error) => return list.result::<&str>(shown, "content", Err(error)),
    };
    let map = seek_map(&fd, size);
    if !list.options.content_only {
        let shown_map = map.as_ref().map(|m| {
            m.iter()
                .map(|s| format!("{}+{}", s.start, s.len))
                .collect::<Vec<_>>()
                .join(" ")
        });
        match shown_map {
            Ok(text) => list.line(shown, "data", format_args!("{text}")),
            Err(error) => list.line(
                shown,
                "data",
                format_args!("ERROR {}", sys::errno_name(error)),
            ),
        }
    }
    if size <= WHOLE {
        bytes(
            list,
            full,
            shown,
            &fd,
            &[Segment {
                start: 0,
                len: size,
            }],
        );
    } else if let Ok(map) = &map {
        let cut: Vec<_> = map
            .iter()
            .map(|s| Segment {
                start: s.start,
                len: s.len.min(SEGMENT),
            })
            .collect();
        bytes(list, full, shown, &fd, &cut);
        let mut at = 0;
        for end in map.iter().map(|s| s.start).chain([size]) {
            if end > at {
                match hole_is_zero(&fd, at, end) {
                    Ok(true) => {}
                    Ok(false) => list.line(shown, "hole", format_args!("NOT ZERO in {at}..{end}")),
                    Err(error) => list.result::<&str>(shown, "hole", Err(error)),
                }
            }
            at = map
                .iter()
                .find(|s| s.start == end)
                .map_or(size, |s| s.start + s.len);
        }
    }
    if list.options.content_only {
        return;
    }
    let extents = btrfs::fiemap(&fd, 100);
    match &extents {
        Ok(extents) => {
            for (i, e) in extents.iter().enumerate() {
                let value = format!(
                    "{i} {}+{} at {} flags={:x}",
                    e.logical, e.length, e.physical, e.flags
                );
                list.line(shown, "extent", format_args!("{value}"));
            }
            // One extent per call must give the same list.
            if extents.len() <= 300 {
                let single =
                    btrfs::fiemap(&fd, 1)
                        .map(|one| if &one == extents { "same" } else { "DIFFERENT" });
                list.result(shown, "fiemap-one-by-one", single);
            }
        }
        Err(error) => list.line(
            shown,
            "extent",
            format_args!("ERROR {}", sys::errno_name(error)),
        ),
    }
    if list.options.ioctls {
        ioctls::file(
            list,
            shown,
            &fd,
            size,
            extents.as_deref().unwrap_or_default(),
        );
    }
}
