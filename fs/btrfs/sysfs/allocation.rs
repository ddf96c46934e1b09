// SPDX-License-Identifier: GPL-2.0

//! How the space is used, by what block groups hold and how they are spread over devices.

use super::line;
use crate::{
    mount::Fs,
    space::summary::{ProfileInfo, SpaceInfo},
};
use btrfs_format::profile::{BlockGroupFlags, RaidProfile};
use core::fmt::Write;
use kernel::{prelude::*, str::CString, sync::Arc};
use kfs::sysfs::{Attribute, Directory, Output, Parent};

/// All directories of `allocation/`. Those inside of others come first.
pub(super) struct Allocation {
    _profiles: KVec<Directory<ProfileDir>>,
    _kinds: KVec<Directory<KindDir>>,
    _top: Directory<Arc<Fs>>,
}

/// The data of a directory for block groups that hold the same.
struct KindDir {
    fs: Arc<Fs>,
    types: BlockGroupFlags,
}

/// The data of a directory for those of one profile.
struct ProfileDir {
    fs: Arc<Fs>,
    types: BlockGroupFlags,
    profile: RaidProfile,
}

/// Length of a new chunk of data, in bytes.
const DATA_CHUNK: u64 = 10 << 30;
/// Length of a new chunk of tree blocks, in bytes.
const METADATA_CHUNK: u64 = 256 << 20;
/// The same on large file systems.
const LARGE_METADATA_CHUNK: u64 = 1 << 30;
/// From here on a file system is large, in bytes.
const LARGE: u64 = 50 << 30;
/// Length of a new chunk for the chunk tree, in bytes.
const SYSTEM_CHUNK: u64 = 32 << 20;

static TOP_FILES: &[Attribute<Arc<Fs>>] = &[
    Attribute::ro(c"global_rsv_reserved", |fs, out| {
        line(out, fs.space().global_reserve().1)
    }),
    Attribute::ro(c"global_rsv_size", |fs, out| line(out, fs.global_reserve())),
];

static KIND_FILES: &[Attribute<KindDir>] = &[
    Attribute::ro(c"flags", |dir, out| line(out, dir.types.bits())),
    Attribute::ro(c"total_bytes", |dir, out| dir.show(out, |info| info.total)),
    Attribute::ro(c"bytes_used", |dir, out| dir.show(out, |info| info.used)),
    Attribute::ro(c"bytes_pinned", |dir, out| {
        dir.show(out, |info| info.pinned)
    }),
    Attribute::ro(c"bytes_reserved", |dir, out| {
        dir.show(out, |info| info.reserved)
    }),
    Attribute::ro(c"bytes_may_use", |dir, out| {
        dir.show(out, |info| info.may_use)
    }),
    Attribute::ro(c"bytes_readonly", |dir, out| {
        dir.show(out, |info| info.readonly)
    }),
    Attribute::ro(c"bytes_zone_unusable", |_, out| line(out, 0)),
    Attribute::ro(c"disk_used", |dir, out| {
        dir.show(out, |info| info.disk_used)
    }),
    Attribute::ro(c"disk_total", |dir, out| {
        dir.show(out, |info| info.disk_total)
    }),
    Attribute::rw(
        c"bg_reclaim_threshold",
        |_, out| line(out, 0),
        |_, _| Err(EROFS),
    ),
    Attribute::rw(c"dynamic_reclaim", |_, out| line(out, 0), |_, _| Err(EROFS)),
    Attribute::rw(
        c"chunk_size",
        |dir, out| line(out, dir.chunk_size()),
        |_, _| Err(EROFS),
    ),
    Attribute::ro(c"size_classes", KindDir::size_classes),
    Attribute::ro(c"reclaim_count", |_, out| line(out, 0)),
    Attribute::ro(c"reclaim_bytes", |_, out| line(out, 0)),
    Attribute::ro(c"reclaim_errors", |_, out| line(out, 0)),
    Attribute::rw(
        c"periodic_reclaim",
        |_, out| line(out, 0),
        |_, _| Err(EROFS),
    ),
];

static PROFILE_FILES: &[Attribute<ProfileDir>] = &[
    Attribute::ro(c"total_bytes", |dir, out| dir.show(out, |info| info.total)),
    Attribute::ro(c"used_bytes", |dir, out| dir.show(out, |info| info.used)),
];

/// Runs `f` on the sums of block groups that hold `types`.
fn with<R>(fs: &Fs, types: BlockGroupFlags, f: impl FnOnce(&SpaceInfo) -> R) -> Result<R> {
    let summary = fs.summary()?;
    Ok(f(summary.find(types).ok_or(EINVAL)?))
}

impl KindDir {
    fn show(&self, out: &mut Output<'_>, value: impl Fn(&SpaceInfo) -> u64) -> Result {
        line(out, with(&self.fs, self.types, value)?)
    }

    fn chunk_size(&self) -> u64 {
        let total = self.fs.volume().superblock().total_bytes.get();
        if self.types.contains(BlockGroupFlags::DATA) {
            DATA_CHUNK
        } else if self.types.contains(BlockGroupFlags::SYSTEM) {
            SYSTEM_CHUNK
        } else if total > LARGE {
            LARGE_METADATA_CHUNK
        } else {
            METADATA_CHUNK
        }
    }

    /// Block groups get a class with the first allocation, so here none has one.
    fn size_classes(&self, out: &mut Output<'_>) -> Result {
        let count = match (self.types, self.fs.volume().chunks().table()) {
            (BlockGroupFlags::DATA, Some(table)) => table
                .iter()
                .filter(|chunk| chunk.flags().types() == self.types)
                .count(),
            _ => 0,
        };
        writeln!(out, "none {count}")?;
        for class in ["small", "medium", "large"] {
            writeln!(out, "{class} 0")?;
        }
        Ok(())
    }
}

impl ProfileDir {
    fn show(&self, out: &mut Output<'_>, value: impl Fn(&ProfileInfo) -> u64) -> Result {
        let found = with(&self.fs, self.types, |info| {
            let mut profiles = info.profiles.iter();
            profiles
                .find(|info| info.profile == self.profile)
                .map(value)
        })?;
        line(out, found.ok_or(EINVAL)?)
    }
}

/// The name of a directory for block groups that hold `types`.
fn kind_name(types: BlockGroupFlags) -> &'static CStr {
    const MIXED: BlockGroupFlags = BlockGroupFlags::DATA.union(BlockGroupFlags::METADATA);
    match types {
        MIXED => c"mixed",
        BlockGroupFlags::DATA => c"data",
        BlockGroupFlags::METADATA => c"metadata",
        BlockGroupFlags::SYSTEM => c"system",
        _ => c"invalid-combination",
    }
}

impl Allocation {
    /// Makes the directories.
    pub(super) fn new<P: Parent>(parent: &P, fs: &Arc<Fs>) -> Result<Self> {
        let top = Directory::new(parent, c"allocation", fs.clone(), TOP_FILES)?;
        let mut kinds = KVec::new();
        let mut profiles = KVec::new();
        for info in fs.summary()?.infos.iter() {
            let types = info.types;
            let data = KindDir {
                fs: fs.clone(),
                types,
            };
            let kind = Directory::new(&top, kind_name(types), data, KIND_FILES)?;
            for sums in info.profiles.iter() {
                let data = ProfileDir {
                    fs: fs.clone(),
                    types,
                    profile: sums.profile,
                };
                let name = CString::try_from_fmt(format_args!("{}", sums.profile.name()))?;
                let dir = Directory::new(&kind, &name, data, PROFILE_FILES)?;
                profiles.push(dir, GFP_KERNEL)?;
            }
            kinds.push(kind, GFP_KERNEL)?;
        }
        Ok(Self {
            _profiles: profiles,
            _kinds: kinds,
            _top: top,
        })
    }
}
