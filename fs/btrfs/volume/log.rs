// SPDX-License-Identifier: GPL-2.0

//! Lines in the kernel log, in the form that tools and tests of btrfs look for.

use core::fmt;
use kernel::prelude::*;
use kfs::log::{print, Level, RateLimit};

/// Writes log lines in the name of a file system:
/// `BTRFS error (device sda): what happened`.
pub(crate) struct Log {
    /// Name of the block device that stands for the file system, as in `sda`.
    name: KVec<u8>,
    limit: RateLimit,
}

/// The level in the form of C btrfs.
fn word(level: Level) -> &'static str {
    match level {
        Level::Critical => "critical",
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Notice => "notice",
        Level::Info => "info",
        Level::Debug => "debug",
    }
}

/// Writes a line that is about no file system in particular.
pub(crate) fn print_general(level: Level, message: fmt::Arguments<'_>) {
    print(level, format_args!("BTRFS {}: {message}", word(level)));
}

/// Writes a line without a level in its text.
pub(crate) fn print_plain(level: Level, message: fmt::Arguments<'_>) {
    print(level, format_args!("BTRFS: {message}"));
}

/// Writes bytes that user space chose, as a C string is printed: those that are not UTF-8
/// become `?`.
pub(crate) fn write_bytes(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    for chunk in bytes.utf8_chunks() {
        f.write_str(chunk.valid())?;
        if !chunk.invalid().is_empty() {
            f.write_str("?")?;
        }
    }
    Ok(())
}

/// Displays bytes as [`write_bytes`] does.
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Bytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_bytes(f, self.0)
    }
}

/// Displays bytes as one hexadecimal number, the way checksums are written.
pub(crate) struct Hex<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0x")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Log {
    /// A log in the name of the block device `name`.
    pub(super) fn new(name: &str) -> Result<Self> {
        let mut copy = KVec::new();
        copy.extend_from_slice(name.as_bytes(), GFP_KERNEL)?;
        Ok(Self {
            name: copy,
            limit: RateLimit::new(),
        })
    }

    /// The name of the block device that stands for the file system (`s_id`).
    pub(crate) fn name(&self) -> &str {
        core::str::from_utf8(&self.name).unwrap_or("?")
    }

    /// Writes a line.
    pub(crate) fn print(&self, level: Level, message: fmt::Arguments<'_>) {
        print(
            level,
            format_args!("BTRFS {} (device {}): {message}", word(level), self.name()),
        );
    }

    /// Writes a line, unless there are too many.
    pub(crate) fn print_limited(&self, level: Level, message: fmt::Arguments<'_>) {
        let Some(suppressed) = self.limit.admit() else {
            return;
        };
        if suppressed > 0 {
            self.print(
                Level::Warning,
                format_args!("{suppressed} messages suppressed"),
            );
        }
        self.print(level, message);
    }

    /// An error.
    pub(crate) fn error(&self, message: fmt::Arguments<'_>) {
        self.print(Level::Error, message);
    }

    /// An error, unless there are too many messages.
    pub(crate) fn error_limited(&self, message: fmt::Arguments<'_>) {
        self.print_limited(Level::Error, message);
    }

    /// A warning.
    pub(crate) fn warn(&self, message: fmt::Arguments<'_>) {
        self.print(Level::Warning, message);
    }

    /// A warning, unless there are too many messages.
    pub(crate) fn warn_limited(&self, message: fmt::Arguments<'_>) {
        self.print_limited(Level::Warning, message);
    }

    /// Information.
    pub(crate) fn info(&self, message: fmt::Arguments<'_>) {
        self.print(Level::Info, message);
    }

    /// Information, unless there are too many messages.
    pub(crate) fn info_limited(&self, message: fmt::Arguments<'_>) {
        self.print_limited(Level::Info, message);
    }
}
