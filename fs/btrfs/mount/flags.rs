// SPDX-License-Identifier: GPL-2.0

//! The mount options that are on or off.

/// A set of on/off options.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Flags(u64);

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $bit:literal;)*) => {
        impl Flags {
            $($(#[$doc])* pub(crate) const $name: Flags = Flags(1 << $bit);)*
        }
    };
}

flags! {
    /// New files get no checksums.
    NODATASUM = 0;
    /// New files are overwritten in place.
    NODATACOW = 1;
    /// No flushes around the superblock write.
    NOBARRIER = 2;
    /// Allocate for devices without seek cost.
    SSD = 3;
    /// Mount although devices are missing.
    DEGRADED = 4;
    /// Compress new data.
    COMPRESS = 5;
    /// fsync commits instead of writing the log.
    NOTREELOG = 6;
    /// A commit writes out all dirty data first.
    FLUSHONCOMMIT = 7;
    /// As SSD, and look for larger free ranges.
    SSD_SPREAD = 8;
    /// SSD must not be turned on by itself.
    NOSSD = 9;
    /// Discard freed extents in the commit.
    DISCARD_SYNC = 10;
    /// Compress also what looks incompressible.
    FORCE_COMPRESS = 11;
    /// Free space cache v1.
    SPACE_CACHE = 12;
    /// Throw the free space cache away at mount.
    CLEAR_CACHE = 13;
    /// Whoever owns a subvolume may delete it.
    USER_SUBVOL_RM_ALLOWED = 14;
    /// More messages about lack of space.
    ENOSPC_DEBUG = 15;
    /// Join small extents in the background.
    AUTODEFRAG = 16;
    /// Try the backup roots.
    USEBACKUPROOT = 17;
    /// Do not resume an interrupted balance.
    SKIP_BALANCE = 18;
    /// Panic on a fatal error.
    PANIC_ON_FATAL_ERROR = 19;
    /// Check and rebuild the uuid tree.
    RESCAN_UUID_TREE = 20;
    /// Free space tree (cache v2).
    FREE_SPACE_TREE = 23;
    /// Leave the log alone.
    NOLOGREPLAY = 24;
    /// Discard freed extents in the background.
    DISCARD_ASYNC = 26;
    /// Mount although non-essential trees cannot be read.
    IGNOREBADROOTS = 27;
    /// Read data without looking at checksums.
    IGNOREDATACSUMS = 28;
    /// Discard must not be turned on by itself.
    NODISCARD = 29;
    /// No free space cache of any version.
    NOSPACECACHE = 30;
    /// Read metadata without looking at checksums.
    IGNOREMETACSUMS = 31;
    /// Ignore unknown flags of the superblock.
    IGNORESUPERFLAGS = 32;
}

impl Flags {
    /// Whether all of `other` is set.
    pub(crate) const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Sets all of `other`.
    pub(crate) fn set(&mut self, other: Flags) {
        self.0 |= other.0;
    }

    /// Clears all of `other`.
    pub(crate) fn clear(&mut self, other: Flags) {
        self.0 &= !other.0;
    }

    /// Those that are in `other` too.
    pub(super) fn only(self, other: Flags) -> Flags {
        Flags(self.0 & other.0)
    }
}

impl Flags {
    /// None.
    pub(crate) const NONE: Flags = Flags(0);

    /// Those of either, in constants.
    pub(super) const fn or(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

impl core::ops::BitOr for Flags {
    type Output = Flags;

    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}
