// SPDX-License-Identifier: GPL-2.0

//! The directory of a mounted file system.

use super::{
    allocation::Allocation,
    device::{self, DeviceDir},
    discard,
    features::{self, FeatureDir},
    flag, line,
    qgroups::Qgroups,
};
use crate::{mount::Fs, vfs::BtrfsSuper};
use core::fmt::Write;
use kernel::{prelude::*, str::CString, sync::Arc};
use kfs::sysfs::{Attribute, Directory, Kobject, Set};

/// All directories of a mounted file system. Those inside of others come first.
pub(super) struct Mounted {
    _features: Directory<FeatureDir>,
    _allocation: Allocation,
    _discard: Directory<Arc<Fs>>,
    _qgroups: Option<Qgroups>,
    _each_device: KVec<Directory<DeviceDir>>,
    _devinfo: Directory<()>,
    _devices: Directory<()>,
    top: Directory<Arc<Fs>>,
}

/// The percentage of use below which block groups are reclaimed, unless it is changed.
const RECLAIM_THRESHOLD: u32 = 75;

static FILES: &[Attribute<Arc<Fs>>] = &[
    Attribute::rw(
        c"label",
        |fs, out| {
            let superblock = fs.volume().superblock();
            let label = superblock.label();
            out.push(label)?;
            if label.is_empty() {
                return Ok(());
            }
            out.push(b"\n")
        },
        |_, _| Err(EROFS),
    ),
    Attribute::ro(c"nodesize", |fs, out| {
        line(out, fs.volume().geometry().nodesize)
    }),
    Attribute::ro(c"sectorsize", |fs, out| {
        line(out, fs.volume().geometry().sectorsize)
    }),
    Attribute::ro(c"clone_alignment", |fs, out| {
        line(out, fs.volume().geometry().sectorsize)
    }),
    Attribute::rw(c"quota_override", |_, out| line(out, 0), |_, _| Err(EROFS)),
    Attribute::ro(c"metadata_uuid", |fs, out| {
        line(out, fs.volume().identity().metadata_uuid)
    }),
    Attribute::ro(c"checksum", |fs, out| {
        let name = fs.volume().geometry().csum_type.name();
        writeln!(out, "{name} ({name}-lib)")?;
        Ok(())
    }),
    Attribute::ro(c"exclusive_operation", |_, out| line(out, "none")),
    Attribute::ro(c"generation", |fs, out| line(out, fs.generation())),
    Attribute::rw(
        c"read_policy",
        |_, out| line(out, "[pid]"),
        |_, value| match value.trim_ascii() {
            b"pid" => Ok(()),
            _ => Err(EINVAL),
        },
    ),
    Attribute::rw(
        c"bg_reclaim_threshold",
        |_, out| line(out, RECLAIM_THRESHOLD),
        |_, _| Err(EROFS),
    ),
    Attribute::rw(
        c"commit_stats",
        |_, out| {
            // Nothing is committed while there is only reading.
            for name in ["commits", "cur_commit_ms", "last_commit_ms"] {
                writeln!(out, "{name} 0")?;
            }
            for name in ["max_commit_ms", "total_commit_ms"] {
                writeln!(out, "{name} 0")?;
            }
            Ok(())
        },
        |_, _| Err(EROFS),
    ),
    Attribute::ro(c"tree_cache", |fs, out| {
        let cache = fs.roots().cache();
        // What is alive and not cached is in use and evicted, or about to be freed.
        writeln!(out, "cached_bytes {}", cache.cached_bytes())?;
        writeln!(out, "limit_bytes {}", cache.limit())?;
        writeln!(out, "alive_bytes {}", cache.usage().bytes())?;
        writeln!(out, "alive_blocks {}", cache.usage().blocks())?;
        Ok(())
    }),
    Attribute::ro(c"temp_fsid", |fs, out| {
        flag(out, fs.volume().identity().temp_fsid)
    }),
];

impl Mounted {
    /// Makes the directories of `fs`, whose super block is `sb`, in `set`.
    pub(super) fn new(set: &Set, sb: &BtrfsSuper, fs: Arc<Fs>) -> Result<Self> {
        let fsid = fs.volume().identity().fsid;
        let name = CString::try_from_fmt(format_args!("{fsid}"))?;
        let top = Directory::new(set, &name, fs.clone(), FILES)?;
        let devices = Directory::new(&top, c"devices", (), &[])?;
        let devinfo = Directory::new(&top, c"devinfo", (), &[])?;
        let mut each = KVec::new();
        for device in &fs.volume().devices()? {
            if let Some(bdev) = device.bdev() {
                let name = CString::try_from_fmt(format_args!("{}", bdev.name()))?;
                devices.link(&Kobject::of_block_device(bdev), &name)?;
            }
            each.push(device::directory(&devinfo, &fs, device)?, GFP_KERNEL)?;
        }
        if let Some(bdi) = Kobject::of_bdi(sb) {
            top.link(&bdi, c"bdi")?;
        }
        Ok(Self {
            _features: features::of_fs(&top, &fs)?,
            _allocation: Allocation::new(&top, &fs)?,
            _discard: discard::directory(&top, &fs)?,
            _qgroups: Qgroups::new(&top, &fs)?,
            _each_device: each,
            _devinfo: devinfo,
            _devices: devices,
            top,
        })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.top.unlink(c"bdi");
    }
}
