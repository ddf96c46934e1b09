// SPDX-License-Identifier: GPL-2.0

//! What went wrong on a device: the five counters of `btrfs device stats`.

use btrfs_format::device::{DevStat, DevStatsItem};
use core::fmt;
use kernel::sync::atomic::{ordering::Relaxed, Atomic};

/// The error counters of a device.
///
/// Counting is lock-free. The counters begin with what the device tree has stored; until
/// that has been read ([`DevStats::load`]) errors are counted, but not reported.
pub(crate) struct DevStats {
    values: [Atomic<u32>; DevStat::ALL.len()],
    loaded: Atomic<bool>,
    /// They are not what the device tree has.
    changed: Atomic<bool>,
}

/// The counters at one moment, in the order of [`DevStat::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DevStatValues(pub(crate) [u32; DevStat::ALL.len()]);

impl DevStats {
    pub(super) fn new() -> Self {
        Self {
            values: [const { Atomic::new(0) }; DevStat::ALL.len()],
            loaded: Atomic::new(false),
            changed: Atomic::new(false),
        }
    }

    /// Counts one error. Returns the counters if the error is to be reported.
    pub(super) fn count(&self, stat: DevStat) -> Option<DevStatValues> {
        if let Some(value) = self.values.get(stat.index()) {
            value.fetch_add(1, Relaxed);
        }
        self.changed.store(true, Relaxed);
        self.loaded.load(Relaxed).then(|| self.get())
    }

    /// The counters now.
    pub(crate) fn get(&self) -> DevStatValues {
        let mut values = [0; DevStat::ALL.len()];
        for (value, counter) in values.iter_mut().zip(&self.values) {
            *value = counter.load(Relaxed);
        }
        DevStatValues(values)
    }

    /// Whether the stored counters have been read.
    pub(crate) fn is_loaded(&self) -> bool {
        self.loaded.load(Relaxed)
    }

    /// Takes over the counters that the device tree has stored (0 where it has none), as
    /// they are: errors counted before belong to this mount's bootstrap.
    pub(super) fn load(&self, stored: [u64; DevStat::ALL.len()]) {
        for (counter, value) in self.values.iter().zip(stored) {
            counter.store(u32::try_from(value).unwrap_or(u32::MAX), Relaxed);
        }
        self.changed.store(false, Relaxed);
        self.loaded.store(true, Relaxed);
    }

    /// The counters now, if they are to be stored in the device tree: they changed since this was
    /// asked last.
    pub(super) fn take_changed(&self) -> Option<DevStatValues> {
        // Before the counters are known, the stored ones would be overwritten by too little.
        let changed = self.is_loaded() && self.changed.xchg(false, Relaxed);
        changed.then(|| self.get())
    }

    /// They are to be stored, although nothing happened.
    pub(super) fn set_changed(&self) {
        self.changed.store(true, Relaxed);
    }

    /// The counters now, which become 0.
    pub(crate) fn take(&self) -> DevStatValues {
        let mut values = [0; DevStat::ALL.len()];
        for (value, counter) in values.iter_mut().zip(&self.values) {
            *value = counter.xchg(0, Relaxed);
        }
        self.changed.store(true, Relaxed);
        DevStatValues(values)
    }
}

impl DevStatValues {
    /// The item that stores them.
    pub(super) fn item(&self) -> DevStatsItem {
        let mut item = DevStatsItem::zeroed();
        for (to, value) in item.values.iter_mut().zip(self.0) {
            *to = u64::from(value).into();
        }
        item
    }

    /// One of the counters.
    pub(crate) fn get(&self, stat: DevStat) -> u32 {
        self.0.get(stat.index()).copied().unwrap_or(0)
    }

    /// Whether nothing has gone wrong so far.
    pub(crate) fn is_clean(&self) -> bool {
        self.0.iter().all(|value| *value == 0)
    }
}

impl fmt::Display for DevStatValues {
    /// The form in which log lines have them, and tools look for.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "wr {}, rd {}, flush {}, corrupt {}, gen {}",
            self.get(DevStat::WriteErrors),
            self.get(DevStat::ReadErrors),
            self.get(DevStat::FlushErrors),
            self.get(DevStat::CorruptionErrors),
            self.get(DevStat::GenerationErrors),
        )
    }
}
