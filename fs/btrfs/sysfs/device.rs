// SPDX-License-Identifier: GPL-2.0

//! The devices of a file system.

use super::{flag, line};
use crate::{mount::Fs, volume::Device};
use btrfs_format::device::DevStat;
use core::fmt::Write;
use kernel::{prelude::*, str::CString, sync::Arc};
use kfs::sysfs::{Attribute, Directory, Output, Parent};

/// The data of a device's directory.
pub(super) struct DeviceDir {
    fs: Arc<Fs>,
    device: Arc<Device>,
}

static FILES: &[Attribute<DeviceDir>] = &[
    Attribute::ro(c"error_stats", error_stats),
    Attribute::ro(c"fsid", |dir, out| {
        line(out, dir.fs.volume().users_fsid(&dir.device))
    }),
    Attribute::ro(c"in_fs_metadata", |dir, out| {
        flag(out, dir.device.in_metadata())
    }),
    Attribute::ro(c"missing", |dir, out| flag(out, dir.device.is_missing())),
    Attribute::ro(c"replace_target", |_, out| line(out, 0)),
    // Bytes per second; 0 is no limit.
    Attribute::rw(
        c"scrub_speed_max",
        |_, out| line(out, 0),
        |_, _| Err(EOPNOTSUPP),
    ),
    Attribute::ro(c"writeable", |dir, out| flag(out, dir.device.is_writable())),
];

fn error_stats(dir: &DeviceDir, out: &mut Output<'_>) -> Result {
    let stats = dir.device.stats();
    if !stats.is_loaded() {
        return line(out, "invalid");
    }
    let values = stats.get();
    for (stat, name) in [
        (DevStat::WriteErrors, "write_errs"),
        (DevStat::ReadErrors, "read_errs"),
        (DevStat::FlushErrors, "flush_errs"),
        (DevStat::CorruptionErrors, "corruption_errs"),
        (DevStat::GenerationErrors, "generation_errs"),
    ] {
        writeln!(out, "{name} {}", values.get(stat))?;
    }
    Ok(())
}

/// Makes the directory of a device.
pub(super) fn directory<P: Parent>(
    parent: &P,
    fs: &Arc<Fs>,
    device: &Arc<Device>,
) -> Result<Directory<DeviceDir>> {
    let name = CString::try_from_fmt(format_args!("{}", device.devid()))?;
    let data = DeviceDir {
        fs: fs.clone(),
        device: device.clone(),
    };
    Directory::new(parent, &name, data, FILES)
}
