// SPDX-License-Identifier: GPL-2.0

//! Lines in the kernel log without the module's name in front, for messages whose form
//! others rely on.
//!
//! C header: [`include/linux/printk.h`](srctree/include/linux/printk.h)

use core::{ffi::CStr, fmt};
use kernel::str::CStrExt as _;
use kernel::{
    bindings,
    sync::atomic::{Atomic, Relaxed},
};

/// How much a message matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// Data is at risk.
    Critical,
    /// Something failed.
    Error,
    /// Something is wrong, but there is a way on.
    Warning,
    /// Normal, but worth knowing.
    Notice,
    /// Normal.
    Info,
    /// For developers; not shown by default.
    Debug,
}

impl Level {
    /// The format of a line: its level, and a place for [`fmt::Arguments`].
    const fn format(self) -> &'static CStr {
        match self {
            Level::Critical => c"\x012%pA\n",
            Level::Error => c"\x013%pA\n",
            Level::Warning => c"\x014%pA\n",
            Level::Notice => c"\x015%pA\n",
            Level::Info => c"\x016%pA\n",
            Level::Debug => c"\x017%pA\n",
        }
    }
}

/// Writes one line; the line feed is added.
pub fn print(level: Level, args: fmt::Arguments<'_>) {
    // SAFETY: The format is a C string whose only conversion takes a pointer to
    // `fmt::Arguments`.
    unsafe {
        bindings::_printk(
            level.format().as_char_ptr().cast(),
            core::ptr::from_ref(&args).cast::<kernel::ffi::c_void>(),
        )
    };
}

/// Stops the machine, with this as the last line of its log.
pub fn panic(args: fmt::Arguments<'_>) {
    // SAFETY: The only conversion of the format takes a pointer to `fmt::Arguments`.
    unsafe {
        crate::bindings::kfs_panic(
            c"%pA".as_char_ptr().cast(),
            core::ptr::from_ref(&args).cast::<kernel::ffi::c_void>(),
        )
    };
}

/// Lets a burst of messages pass, and then few.
///
/// Of those in [`RateLimit::INTERVAL`] only the first [`RateLimit::BURST`] pass. Under
/// contention a few more may.
pub struct RateLimit {
    /// When the interval began, in milliseconds since an arbitrary moment; 0 for never.
    begin: Atomic<u64>,
    /// Messages since then, passed or not.
    count: Atomic<u32>,
}

impl RateLimit {
    /// Length of an interval in milliseconds.
    pub const INTERVAL: u64 = 5000;
    /// Messages that pass in an interval.
    pub const BURST: u32 = 10;

    /// A limit that nothing has passed yet.
    pub const fn new() -> Self {
        Self {
            begin: Atomic::new(0),
            count: Atomic::new(0),
        }
    }

    /// Asks for the permission to print one message. If it is given, the number of messages
    /// that were suppressed in the previous interval, to be told once.
    pub fn admit(&self) -> Option<u32> {
        let now = Self::now();
        let begin = self.begin.load(Relaxed);
        if begin == 0 || now.saturating_sub(begin) >= Self::INTERVAL {
            self.begin.store(now, Relaxed);
            let before = self.count.xchg(1, Relaxed);
            return Some(before.saturating_sub(Self::BURST));
        }
        let count = self.count.fetch_add(1u32, Relaxed);
        (count < Self::BURST).then_some(0)
    }

    fn now() -> u64 {
        // SAFETY: No requirements.
        let nanos = unsafe { bindings::ktime_get_mono_fast_ns() };
        (nanos / 1_000_000).saturating_add(1)
    }
}

impl Default for RateLimit {
    fn default() -> Self {
        Self::new()
    }
}
