// SPDX-License-Identifier: GPL-2.0

//! The options that are of a subvolume: how what is new in its files is written.
//!
//! `Documentation/design/subvolume-options.md` says what they hold for.

use core::fmt;

use super::flags::Flags;
use super::options::Algorithm;
use super::show;

/// How what is new in files is written: `autodefrag`, `compress`, `compress-force`, `nodatacow`,
/// `nodatasum`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct DataOptions {
    flags: Flags,
    algorithm: Algorithm,
    level: i32,
}

impl DataOptions {
    /// The flags among them.
    pub(crate) const FLAGS: Flags = Flags::NODATASUM
        .or(Flags::NODATACOW)
        .or(Flags::COMPRESS)
        .or(Flags::FORCE_COMPRESS)
        .or(Flags::AUTODEFRAG);

    /// Those of a mount that says nothing: checksums, copies on write, no compression.
    pub(crate) const PLAIN: Self = Self {
        flags: Flags::NONE,
        algorithm: Algorithm::Zlib,
        level: 0,
    };

    /// Of a whole set of options, those that are of a subvolume.
    pub(super) fn new(flags: Flags, algorithm: Algorithm, level: i32) -> Self {
        Self {
            flags: flags.only(Self::FLAGS),
            algorithm,
            level,
        }
    }

    pub(super) fn flags(&self) -> Flags {
        self.flags
    }

    /// Whether all of `flags`, which are among [`Self::FLAGS`], are set.
    pub(crate) fn has(&self, flags: Flags) -> bool {
        self.flags.has(flags)
    }

    /// How to compress; means nothing without [`Flags::COMPRESS`].
    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Level for the algorithm; 0 where none was said.
    pub(crate) fn level(&self) -> i32 {
        self.level
    }
}

impl fmt::Display for DataOptions {
    /// As they would be given to mount(8).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cow = match self.has(Flags::NODATACOW) {
            true => "nodatacow",
            false => "datacow",
        };
        let sum = match self.has(Flags::NODATASUM) {
            true => "nodatasum",
            false => "datasum",
        };
        write!(f, "{sum},{cow}")?;
        match self.has(Flags::COMPRESS) {
            true => show::show_compression(self, f)?,
            false => f.write_str(",compress=no")?,
        }
        f.write_str(match self.has(Flags::AUTODEFRAG) {
            true => ",autodefrag",
            false => ",noautodefrag",
        })
    }
}
