// SPDX-License-Identifier: GPL-2.0

//! Lines in the kernel log, in the form that tools and tests of btrfs look for.

use core::fmt;
use kernel::{
    prelude::*,
    sync::atomic::{ordering::Relaxed, Atomic},
};
use kfs::log::{print, Level, RateLimit};

/// Writes log lines in the name of a file system:
/// `BTRFS error (device sda): what happened`.
pub(crate) struct Log {
    /// Name of the block device that stands for the file system, as in `sda`.
    name: KVec<u8>,
    limit: RateLimit,
    /// Bits of [`State`].
    state: Atomic<u32>,
}

/// What is uncommon about a file system, of which every line of its log reminds:
/// `BTRFS info (device sda state E): ...`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// Nothing may be written any more, after an error or because of a rescue option.
    Error = 1 << 0,
    /// Options are being changed.
    Remounting = 1 << 1,
    /// Data is read without looking at checksums.
    NoDataCsums = 1 << 2,
    /// Metadata is read without looking at checksums.
    SkipMetaCsums = 1 << 3,
}

impl State {
    /// All states with their letters, in the order of the letters in a line.
    const LETTERS: [(State, char); 4] = [
        (State::Error, 'E'),
        (State::Remounting, 'M'),
        (State::NoDataCsums, 'C'),
        (State::SkipMetaCsums, 'S'),
    ];
}

/// Displays states: nothing, or ` state EC`.
struct States(u32);

impl fmt::Display for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return Ok(());
        }
        f.write_str(" state ")?;
        for (state, letter) in State::LETTERS {
            if self.0 & state as u32 != 0 {
                write!(f, "{letter}")?;
            }
        }
        Ok(())
    }
}

/// Displays an error by its name, as in `-EINVAL`.
pub(crate) struct ErrorName(pub(crate) Error);

impl fmt::Display for ErrorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.name().and_then(|name| name.to_str().ok()) {
            Some(name) => write!(f, "-{name}"),
            None => write!(f, "{}", self.0.to_errno()),
        }
    }
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

/// Writes a line to a [`Log`], with the level and the text as for `format_args!`, unless there
/// are too many from this place in the code.
macro_rules! limited {
    ($log:expr, $level:ident, $($message:tt)+) => {{
        static LIMIT: kfs::log::RateLimit = kfs::log::RateLimit::new();
        $log.print_limited_by(
            &LIMIT,
            kfs::log::Level::$level,
            format_args!($($message)+),
        )
    }};
}
pub(crate) use limited;

impl Log {
    /// A log in the name of the block device `name`.
    pub(super) fn new(name: &str) -> Result<Self> {
        let mut copy = KVec::new();
        copy.extend_from_slice(name.as_bytes(), GFP_KERNEL)?;
        Ok(Self {
            name: copy,
            limit: RateLimit::new(),
            state: Atomic::new(0),
        })
    }

    /// Notes that the file system enters (`on`) or leaves a state.
    pub(crate) fn set_state(&self, state: State, on: bool) {
        let bit = state as u32;
        let mut old = self.state.load(Relaxed);
        loop {
            let new = if on { old | bit } else { old & !bit };
            match self.state.cmpxchg(old, new, Relaxed) {
                Ok(_) => return,
                Err(now) => old = now,
            }
        }
    }

    /// The name of the block device that stands for the file system (`s_id`).
    pub(crate) fn name(&self) -> &str {
        core::str::from_utf8(&self.name).unwrap_or("?")
    }

    /// Writes a line.
    pub(crate) fn print(&self, level: Level, message: fmt::Arguments<'_>) {
        print(
            level,
            format_args!(
                "BTRFS {} (device {}{}): {message}",
                word(level),
                self.name(),
                States(self.state.load(Relaxed))
            ),
        );
    }

    /// Writes a line, unless there are too many.
    pub(crate) fn print_limited(&self, level: Level, message: fmt::Arguments<'_>) {
        self.print_limited_by(&self.limit, level, message);
    }

    /// Writes a line, unless there are too many that `limit` is for; see [`limited!`].
    pub(crate) fn print_limited_by(
        &self,
        limit: &RateLimit,
        level: Level,
        message: fmt::Arguments<'_>,
    ) {
        let Some(suppressed) = limit.admit() else {
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

    /// Stops the machine, with this line; `fatal_errors=panic`.
    pub(crate) fn panic(&self, message: fmt::Arguments<'_>) {
        kfs::log::panic(format_args!(
            "BTRFS panic (device {}) {message}",
            self.name()
        ));
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
}
