// SPDX-License-Identifier: GPL-2.0

//! Properties: attributes that the file system itself obeys. There is one, `btrfs.compression`.

use btrfs_format::inode::InodeFlags;
use btrfs_format::superblock::Incompat;
use btrfs_format::types::Ino;
use kernel::prelude::*;
use kernel::sync::Arc;
use kfs::fs::XattrSet;

use super::edit::{self, Attribute};
use super::read;
use crate::inode::Inode;
use crate::mount::options::Algorithm;
use crate::tree::LiveTree;
use crate::vfs::BtrfsInode;

/// The name of the property.
pub(crate) const COMPRESSION: &[u8] = b"btrfs.compression";

/// What the property says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Compression {
    /// Compress with this.
    Use(Algorithm),
    /// Do not compress.
    Never,
}

impl Compression {
    /// Parses a value; a level behind the algorithm is accepted and means nothing.
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        if matches!(value, b"no" | b"none") {
            return Some(Self::Never);
        }
        [Algorithm::Zlib, Algorithm::Lzo, Algorithm::Zstd]
            .into_iter()
            .find(|algorithm| value.starts_with(algorithm.name().as_bytes()))
            .map(Self::Use)
    }

    /// The flags that go with it, set and cleared.
    pub(crate) fn flags(self) -> (InodeFlags, InodeFlags) {
        match self {
            Self::Use(_) => (InodeFlags::COMPRESS, InodeFlags::NOCOMPRESS),
            Self::Never => (InodeFlags::NOCOMPRESS, InodeFlags::COMPRESS),
        }
    }

    /// The feature that a file system needs for it.
    pub(crate) fn feature(self) -> Option<Incompat> {
        match self {
            Self::Use(algorithm) => Incompat::of_compression(algorithm.compression()),
            Self::Never => None,
        }
    }
}

/// The algorithm that the property of an inode asks for, if it has the property.
pub(crate) fn algorithm(inode: &Inode) -> Result<Option<Algorithm>> {
    // A property with an algorithm always comes with the flag.
    if !inode.may_have_xattrs() || !inode.flags().contains(InodeFlags::COMPRESS) {
        return Ok(None);
    }
    algorithm_of(inode.tree(), inode.ino())
}

/// The algorithm that the property of inode `ino` of `tree` asks for, if it has the property.
pub(crate) fn algorithm_of(tree: &Arc<LiveTree>, ino: Ino) -> Result<Option<Algorithm>> {
    let parse = |value: &[u8]| Ok(Compression::parse(value));
    match read::find(tree, ino, COMPRESSION, parse) {
        Ok(Some(Compression::Use(algorithm))) => Ok(Some(algorithm)),
        Ok(_) | Err(ENODATA) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Whether data of an inode with these flags can be compressed.
pub(crate) fn can_compress(flags: InodeFlags) -> bool {
    !flags.intersects(InodeFlags(
        InodeFlags::NODATACOW.0 | InodeFlags::NODATASUM.0,
    ))
}

/// Sets or removes the property `name`. The inode lock is held.
///
/// `EINVAL`: there is no such property, or value.
pub(crate) fn change(
    inode: &BtrfsInode,
    name: &[u8],
    value: Option<&[u8]>,
    how: XattrSet,
) -> Result {
    let data = inode.data();
    if name != COMPRESSION || !can_compress(data.flags()) {
        return Err(EINVAL);
    }
    // An empty value removes it.
    let value = value.filter(|value| !value.is_empty());
    let parsed = match value {
        None => None,
        Some(value) => Some(Compression::parse(value).ok_or(EINVAL)?),
    };
    if !inode.is_reg() && !inode.is_dir() {
        return Ok(());
    }
    let (set, clear) = match parsed {
        Some(parsed) => parsed.flags(),
        None => (
            InodeFlags(0),
            InodeFlags(InodeFlags::COMPRESS.0 | InodeFlags::NOCOMPRESS.0),
        ),
    };
    if let Some(feature) = parsed.and_then(Compression::feature) {
        data.fs().volume().add_incompat(feature)?;
    }
    edit::change(inode, &Attribute { name, value, how }, || {
        data.change_flags(set, clear)
    })
}
