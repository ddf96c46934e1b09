// SPDX-License-Identifier: GPL-2.0

//! Features: those that there are, and those that a file system has.

use super::{flag, line};
use crate::{mount::Fs, volume::superblock};
use btrfs_format::{
    csum::CsumType,
    superblock::{CompatRo, Incompat},
};
use kernel::{prelude::*, sync::Arc};
use kfs::sysfs::{Attribute, Directory, Output, Parent, Set};

/// The data of a directory of features: a file system, or none where it is about all.
pub(super) struct FeatureDir(Option<Arc<Fs>>);

/// A feature that file systems may or may not have.
struct Feature {
    bit: Bit,
    file: Attribute<FeatureDir>,
}

/// Where the superblock has a feature.
#[derive(Clone, Copy)]
enum Bit {
    Incompat(Incompat),
    CompatRo(CompatRo),
}

impl Bit {
    const fn incompat(bit: Incompat) -> Self {
        Self::Incompat(bit)
    }

    const fn compat_ro(bit: CompatRo) -> Self {
        Self::CompatRo(bit)
    }

    /// Whether a file system has it.
    fn is_set(self, fs: &Fs) -> bool {
        match self {
            Self::Incompat(bit) => fs.has_incompat(bit),
            Self::CompatRo(bit) => fs.has_compat_ro(bit),
        }
    }

    /// Whether it can be turned on while a file system is mounted.
    fn can_be_set(self) -> bool {
        match self {
            Self::Incompat(bit) => superblock::SAFE_SET.contains(bit),
            Self::CompatRo(_) => false,
        }
    }
}

fn show(dir: &FeatureDir, out: &mut Output<'_>, bit: Bit) -> Result {
    match &dir.0 {
        Some(fs) => flag(out, bit.is_set(fs)),
        None => flag(out, bit.can_be_set()),
    }
}

macro_rules! feature {
    ($name:literal, $set:ident, $bit:expr) => {
        Feature {
            bit: Bit::$set($bit),
            file: Attribute::ro($name, |dir, out| show(dir, out, Bit::$set($bit))),
        }
    };
}

static FEATURES: &[Feature] = &[
    feature!(c"default_subvol", incompat, Incompat::DEFAULT_SUBVOL),
    feature!(c"mixed_groups", incompat, Incompat::MIXED_GROUPS),
    feature!(c"compress_lzo", incompat, Incompat::COMPRESS_LZO),
    feature!(c"compress_zstd", incompat, Incompat::COMPRESS_ZSTD),
    feature!(c"extended_iref", incompat, Incompat::EXTENDED_IREF),
    feature!(c"raid56", incompat, Incompat::RAID56),
    feature!(c"skinny_metadata", incompat, Incompat::SKINNY_METADATA),
    feature!(c"no_holes", incompat, Incompat::NO_HOLES),
    feature!(c"metadata_uuid", incompat, Incompat::METADATA_UUID),
    feature!(c"free_space_tree", compat_ro, CompatRo::FREE_SPACE_TREE),
    feature!(c"raid1c34", incompat, Incompat::RAID1C34),
    feature!(c"block_group_tree", compat_ro, CompatRo::BLOCK_GROUP_TREE),
    feature!(c"simple_quota", incompat, Incompat::SIMPLE_QUOTA),
];

/// Those that can be turned on while a file system is mounted, for the directory of one.
static SETTABLE: &[Attribute<FeatureDir>] = &[Attribute::rw(
    c"extended_iref",
    |dir, out| show(dir, out, Bit::incompat(Incompat::EXTENDED_IREF)),
    |_, _| Err(EROFS),
)];

/// What does not depend on the file system.
static STATIC: &[Attribute<FeatureDir>] = &[
    Attribute::ro(c"acl", |_, out| flag(out, cfg!(CONFIG_FS_POSIX_ACL))),
    // There is only the promise that rmdir(2) removes subvolumes; the content means nothing.
    Attribute::ro(c"rmdir_subvol", |_, out| line(out, 0)),
    Attribute::ro(c"supported_checksums", |_, out| {
        words(out, CsumType::ALL.iter().map(|kind| kind.name()))
    }),
    Attribute::ro(c"send_stream_version", |_, out| line(out, 2)),
    Attribute::ro(c"supported_rescue_options", |_, out| {
        words(out, RESCUE.into_iter())
    }),
    Attribute::ro(c"supported_sectorsizes", |_, out| line(out, 4096)),
    Attribute::ro(c"temp_fsid", |_, out| line(out, 0)),
];

/// The values of the mount option `rescue`.
const RESCUE: [&str; 7] = [
    "usebackuproot",
    "nologreplay",
    "ignorebadroots",
    "ignoredatacsums",
    "ignoremetacsums",
    "ignoresuperflags",
    "all",
];

/// Shows words with a space between them.
fn words<'a>(out: &mut Output<'_>, words: impl Iterator<Item = &'a str>) -> Result {
    let mut separator: &[u8] = b"";
    for word in words {
        out.push(separator)?;
        out.push(word.as_bytes())?;
        separator = b" ";
    }
    out.push(b"\n")
}

/// Makes the directory of what this module can.
pub(super) fn global(set: &Set) -> Result<Directory<FeatureDir>> {
    let dir = Directory::new(set, c"features", FeatureDir(None), STATIC)?;
    for feature in FEATURES {
        dir.add(&feature.file)?;
    }
    Ok(dir)
}

/// Makes the directory of what a file system has, or could be given while it is mounted.
pub(super) fn of_fs<P: Parent>(parent: &P, fs: &Arc<Fs>) -> Result<Directory<FeatureDir>> {
    let dir = Directory::new(parent, c"features", FeatureDir(Some(fs.clone())), &[])?;
    for feature in FEATURES {
        if feature.bit.is_set(fs) && !feature.bit.can_be_set() {
            dir.add(&feature.file)?;
        }
    }
    for file in SETTABLE {
        dir.add(file)?;
    }
    Ok(dir)
}
