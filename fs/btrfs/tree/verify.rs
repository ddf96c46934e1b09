// SPDX-License-Identifier: GPL-2.0

//! What a block must be before anyone sees it.
//!
//! The order is that of trust: where the block claims to be, whose it is, its checksum, what the
//! pointer to it said, and then every member of it by the tree checker. The texts are those that
//! C btrfs logs and tools look for.

use btrfs_format::check::{check_block, check_owner, CheckContext, Expected, Violation};
use btrfs_format::crc32c::Crc32c;
use btrfs_format::csum::CsumType;
use btrfs_format::geometry::Geometry;
use btrfs_format::header::Header;
use btrfs_format::key::Key;
use btrfs_format::superblock::Incompat;
use btrfs_format::types::{Generation, Uuid, CSUM_AREA, MAX_LEVEL};
use core::fmt;
use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};

use super::block::{Expect, TreeBlock};
use super::cache::{BlockSource, Severity};

/// What is the same for all blocks of a filesystem.
pub(crate) struct Verifier {
    /// Sizes and checksum type.
    pub(crate) geometry: Geometry,
    /// Feature bits of the superblock.
    pub(crate) incompat: Incompat,
    /// The newest generation that blocks may have: the superblock's. See
    /// [`Self::set_generation`].
    pub(crate) generation: Atomic<u64>,
    /// The metadata UUID; blocks of seeds have others.
    pub(crate) fsid: Uuid,
    /// Whether the filesystem may be written.
    pub(crate) writable: Atomic<bool>,
    /// The routine that hashes names.
    pub(crate) crc32c: Crc32c,
    /// Checksum of a byte string, left-aligned.
    pub(crate) checksum: fn(CsumType, &[u8]) -> [u8; CSUM_AREA],
    /// Use blocks whose checksum is wrong (`rescue=ignoremetacsums`).
    pub(crate) ignore_checksums: bool,
}

/// "leaf" or "node".
pub(super) fn kind(level: u8) -> &'static str {
    match level {
        0 => "leaf",
        _ => "node",
    }
}

/// Checks a verified block against what a pointer says.
pub(super) fn matches(block: &TreeBlock, expect: &Expect) -> Result {
    let owner = expect
        .tree
        .is_none_or(|tree| check_owner(block.owner(), tree).is_ok());
    let first = expect.first.is_none_or(|first| block.key(0) == Some(first));
    if block.level() == expect.level && owner && first {
        Ok(())
    } else {
        Err(EUCLEAN)
    }
}

/// Checks that all keys of a block are below `upper`.
pub(super) fn below(block: &TreeBlock, upper: Option<Key>) -> Result {
    let last = block
        .nritems()
        .checked_sub(1)
        .and_then(|slot| block.key(slot));
    match (last, upper) {
        (Some(last), Some(upper)) if last >= upper => Err(EUCLEAN),
        _ => Ok(()),
    }
}

/// Prints bytes as one hexadecimal number.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0x")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Verifier {
    /// The newest generation that blocks may have.
    pub(crate) fn generation(&self) -> Generation {
        Generation(self.generation.load(Relaxed))
    }

    /// Allows blocks of a transaction, before anyone can come upon one.
    pub(crate) fn set_generation(&self, generation: Generation) {
        self.generation.store(generation.get(), Relaxed);
    }

    /// Notes whether the filesystem may be written.
    pub(crate) fn set_writable(&self, writable: bool) {
        self.writable.store(writable, Relaxed);
    }

    /// Checks the bytes that `mirror` has of a block, and logs what is wrong.
    ///
    /// `EIO` for what a bad device does, `EUCLEAN` for what only a bug or an attacker does.
    pub(super) fn check(
        &self,
        log: &dyn BlockSource,
        bytes: &[u8],
        mirror: u32,
        expect: &Expect,
    ) -> Result {
        let header = Header::of(bytes).ok_or(EIO)?;
        self.check_identity(log, header, mirror, expect)?;
        self.check_sum(log, bytes, header, mirror)?;
        self.check_expected(log, header, bytes, mirror, expect)?;
        self.check_content(log, bytes, expect)
            .inspect_err(|&_error| {
                log.report(
                    Severity::Error,
                    format_args!(
                        "read time tree block corruption detected on logical {} mirror {mirror}",
                        expect.logical
                    ),
                );
            })
    }

    /// Checks a block that is about to be written, its checksum excepted, and logs what is wrong.
    ///
    /// `EUCLEAN`: whoever made it has a bug.
    pub(crate) fn check_new(&self, log: &dyn BlockSource, bytes: &[u8], expect: &Expect) -> Result {
        self.check_content(log, bytes, expect)
    }

    fn check_identity(
        &self,
        log: &dyn BlockSource,
        header: &Header,
        mirror: u32,
        expect: &Expect,
    ) -> Result {
        let at = expect.logical;
        if header.bytenr() != at {
            log.report(
                Severity::Error,
                format_args!(
                    "bad tree block start, mirror {mirror} want {at} have {}",
                    header.bytenr()
                ),
            );
        } else if !(header.fsid == self.fsid || log.is_own(header.fsid)) {
            log.report(
                Severity::Error,
                format_args!("bad fsid on logical {at} mirror {mirror}"),
            );
        } else if header.level >= MAX_LEVEL {
            log.report(
                Severity::Error,
                format_args!(
                    "bad tree block level, mirror {mirror} level {} on logical {at}",
                    header.level
                ),
            );
        } else {
            return Ok(());
        }
        Err(EIO)
    }

    fn check_sum(
        &self,
        log: &dyn BlockSource,
        bytes: &[u8],
        header: &Header,
        mirror: u32,
    ) -> Result {
        let size = self.geometry.csum_type.size();
        let body = bytes.get(header.csum.len()..).ok_or(EIO)?;
        let sum = (self.checksum)(self.geometry.csum_type, body);
        let (found, wanted) = (sum.get(..size), header.csum.get(..size));
        if found == wanted {
            return Ok(());
        }
        log.report(
            Severity::Warning,
            format_args!(
                "checksum verify failed on logical {} mirror {mirror} wanted {} found {} level {}{}",
                header.bytenr(),
                Hex(wanted.unwrap_or(&[])),
                Hex(found.unwrap_or(&[])),
                header.level,
                if self.ignore_checksums { ", ignored" } else { "" },
            ),
        );
        if self.ignore_checksums {
            Ok(())
        } else {
            Err(EUCLEAN)
        }
    }

    fn check_expected(
        &self,
        log: &dyn BlockSource,
        header: &Header,
        bytes: &[u8],
        mirror: u32,
        expect: &Expect,
    ) -> Result {
        let at = expect.logical;
        if header.level != expect.level {
            log.report(
                Severity::Error,
                format_args!(
                    "level verify failed on logical {at} mirror {mirror} wanted {} found {}",
                    expect.level, header.level
                ),
            );
            return Err(EIO);
        }
        if header.generation() != expect.generation {
            log.report(
                Severity::Error,
                format_args!(
                    "parent transid verify failed on logical {at} mirror {mirror} wanted {} found {}",
                    expect.generation,
                    header.generation()
                ),
            );
            return Err(EIO);
        }
        let Some(first) = expect.first else {
            return Ok(());
        };
        let found = first_key(bytes, header.level);
        if found != Some(first) {
            let has = found.unwrap_or_default();
            log.report(
                Severity::Error,
                format_args!(
                    "tree first key mismatch detected, bytenr={at} parent_transid={} key \
                     expected=({},{},{}) has=({},{},{})",
                    expect.generation,
                    first.objectid,
                    first.item_type,
                    first.offset,
                    has.objectid,
                    has.item_type,
                    has.offset,
                ),
            );
            return Err(EUCLEAN);
        }
        Ok(())
    }

    fn check_content(&self, log: &dyn BlockSource, bytes: &[u8], expect: &Expect) -> Result {
        self.check_block(bytes, expect).map_err(|violation| {
            log.report(
                Severity::Critical,
                format_args!("{}", violation.describe(bytes)),
            );
            EUCLEAN
        })
    }

    fn check_block(&self, bytes: &[u8], expect: &Expect) -> core::result::Result<(), Violation> {
        // Whether it is one of the filesystem's has been checked.
        let fsid = Header::of(bytes).map_or(self.fsid, |header| header.fsid);
        let context = CheckContext {
            geometry: self.geometry,
            incompat: self.incompat,
            generation: self.generation(),
            fsids: &[fsid],
            writable: self.writable.load(Relaxed),
            crc32c: self.crc32c,
        };
        let expected = Expected {
            logical: expect.logical,
            level: Some(expect.level),
            generation: Some(expect.generation),
            owner: expect.tree,
            first_key: expect.first,
        };
        check_block(bytes, &context, &expected)
    }

    /// Whether nothing is wrong with a block that was read ahead. Says nothing about it, because
    /// whoever needs the block reads it again.
    pub(super) fn is_good(&self, bytes: &[u8], expect: &Expect) -> bool {
        let Some(header) = Header::of(bytes) else {
            return false;
        };
        let size = self.geometry.csum_type.size();
        let body = bytes.get(header.csum.len()..).unwrap_or(&[]);
        header.fsid == self.fsid
            && header.bytenr() == expect.logical
            && (self.checksum)(self.geometry.csum_type, body).get(..size) == header.csum.get(..size)
            && self.check_block(bytes, expect).is_ok()
    }
}

fn first_key(bytes: &[u8], level: u8) -> Option<Key> {
    match level {
        0 => btrfs_format::leaf::Leaf::new(bytes).key(0),
        _ => btrfs_format::node::Node::new(bytes).key(0),
    }
}
