// SPDX-License-Identifier: GPL-2.0

//! Discarding in the background: how much there is to do, and how fast it is done.

use super::line;
use crate::mount::Fs;
use core::str::FromStr;
use kernel::{
    prelude::*,
    sync::{atomic::Relaxed, Arc},
};
use kfs::sysfs::{Attribute, Directory, Parent};

static FILES: &[Attribute<Arc<Fs>>] = &[
    Attribute::ro(c"discardable_bytes", |fs, out| {
        line(out, fs.space().discards().noted().0)
    }),
    Attribute::ro(c"discardable_extents", |fs, out| {
        line(out, fs.space().discards().noted().1)
    }),
    // Free space is not kept in bitmaps.
    Attribute::ro(c"discard_bitmap_bytes", |_, out| line(out, 0)),
    Attribute::ro(c"discard_bytes_saved", |fs, out| {
        line(out, fs.space().discards().saved.load(Relaxed))
    }),
    Attribute::ro(c"discard_extent_bytes", |fs, out| {
        line(out, fs.space().discards().discarded.load(Relaxed))
    }),
    Attribute::rw(
        c"iops_limit",
        |fs, out| line(out, fs.space().discards().iops_limit.load(Relaxed)),
        |fs, text| {
            let limit = number(text)?;
            fs.space().discards().iops_limit.store(limit, Relaxed);
            Ok(())
        },
    ),
    Attribute::rw(
        c"kbps_limit",
        |fs, out| line(out, fs.space().discards().kbps_limit.load(Relaxed)),
        |fs, text| {
            let limit = number(text)?;
            fs.space().discards().kbps_limit.store(limit, Relaxed);
            Ok(())
        },
    ),
    Attribute::rw(
        c"max_discard_size",
        |fs, out| line(out, fs.space().discards().max_size.load(Relaxed)),
        |fs, text| {
            let size = number(text)?;
            fs.space().discards().max_size.store(size, Relaxed);
            Ok(())
        },
    ),
];

/// A decimal number, with or without a line feed. `EINVAL` if it is none or too large.
fn number<T: FromStr>(text: &[u8]) -> Result<T> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let text = core::str::from_utf8(text).map_err(|_| EINVAL)?;
    text.parse().map_err(|_| EINVAL)
}

/// Makes the directory of a file system.
pub(super) fn directory<P: Parent>(parent: &P, fs: &Arc<Fs>) -> Result<Directory<Arc<Fs>>> {
    Directory::new(parent, c"discard", fs.clone(), FILES)
}
