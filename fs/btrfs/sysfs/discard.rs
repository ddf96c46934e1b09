// SPDX-License-Identifier: GPL-2.0

//! Discarding in the background. Nothing is discarded while there is only reading, so there
//! are only the limits that it begins with.

use super::line;
use crate::mount::Fs;
use kernel::{prelude::*, sync::Arc};
use kfs::sysfs::{Attribute, Directory, Parent};

/// Discards per second.
const IOPS_LIMIT: u32 = 1000;
/// Longest discard, in bytes.
const MAX_SIZE: u32 = 64 << 20;

static FILES: &[Attribute<Arc<Fs>>] = &[
    Attribute::ro(c"discardable_bytes", |_, out| line(out, 0)),
    Attribute::ro(c"discardable_extents", |_, out| line(out, 0)),
    Attribute::ro(c"discard_bitmap_bytes", |_, out| line(out, 0)),
    Attribute::ro(c"discard_bytes_saved", |_, out| line(out, 0)),
    Attribute::ro(c"discard_extent_bytes", |_, out| line(out, 0)),
    Attribute::rw(
        c"iops_limit",
        |_, out| line(out, IOPS_LIMIT),
        |_, _| Err(EROFS),
    ),
    Attribute::rw(c"kbps_limit", |_, out| line(out, 0), |_, _| Err(EROFS)),
    Attribute::rw(
        c"max_discard_size",
        |_, out| line(out, MAX_SIZE),
        |_, _| Err(EROFS),
    ),
];

/// Makes the directory of a file system.
pub(super) fn directory<P: Parent>(parent: &P, fs: &Arc<Fs>) -> Result<Directory<Arc<Fs>>> {
    Directory::new(parent, c"discard", fs.clone(), FILES)
}
