// SPDX-License-Identifier: GPL-2.0

//! Discarding in the background: `discard=async`.
//!
//! What commits free in block groups of data is noted, and discarded some time later by a thread:
//! much of it is in use again by then, neighbours have become one range, and no commit waits for a
//! device. A note is a hint. What is discarded is what of it is free then, taken out of the free
//! ranges meanwhile; so nobody tells of allocations, and a note may say too much.
//!
//! Notes are not kept on disk. When a file system is unmounted, or remounted read-only, what was
//! noted is discarded at once; what a crash leaves is a matter for `fstrim`.
//!
//! # Locks
//!
//! The mutex around the notes is a leaf lock.
//!
//! # Bounds
//!
//! [`RANGES`] ranges are noted for each group, 8 KiB; when there are more, the nearest neighbours are
//! taken for one.

use btrfs_format::profile::BlockGroupFlags;
use btrfs_format::types::Logical;
use kernel::prelude::*;
use kernel::sync::atomic::{ordering::Relaxed, Atomic};
use kernel::sync::{new_condvar, new_mutex, Arc, CondVar, Mutex};
use kernel::time::{msecs_to_jiffies, Instant, Monotonic};
use kfs::kthread::{KThread, Stop};
use kfs::mem::GFP_NOFAIL;

use super::group::BlockGroup;
use super::{load, Space};

/// Ranges that are noted of one block group.
const RANGES: usize = 512;
/// How long a group rests before it is seen to, milliseconds: for its space to be used again.
const DELAY: i64 = 120_000;
/// The same for a group in which nothing is used.
const EMPTY_DELAY: i64 = 10_000;
/// Shorter ranges are left alone, bytes.
const LEAST: u64 = 32 << 10;
/// Discards per second, unless it is changed.
const IOPS: u32 = 1000;
/// Longest discard, unless it is changed, bytes.
const LONGEST: u64 = 64 << 20;
/// Longest pause between two discards, milliseconds, whatever the limits say.
const LONGEST_PAUSE: i64 = 1000;

/// What is noted of a block group.
struct Notes {
    group: u64,
    since: Instant<Monotonic>,
    /// Milliseconds from `since` on.
    delay: i64,
    /// It is about to be removed: left to [`Space::discard_removed`].
    closed: bool,
    /// Begin and end of ranges: in order, disjoint.
    ranges: KVVec<(u64, u64)>,
}

impl Notes {
    fn is_due(&self) -> bool {
        self.left() <= 0
    }

    /// Milliseconds until it is due.
    fn left(&self) -> i64 {
        let past = self.since.elapsed().as_millis();
        self.delay.saturating_sub(past)
    }

    fn bytes(&self) -> u64 {
        let lens = self
            .ranges
            .iter()
            .map(|(start, end)| end.saturating_sub(*start));
        lens.fold(0, u64::saturating_add)
    }

    fn add(&mut self, start: u64, end: u64) -> Result {
        let first = self.ranges.partition_point(|(_, e)| *e < start);
        let last = self.ranges.partition_point(|(s, _)| *s <= end);
        let touched = self.ranges.get(first..last).unwrap_or_default();
        let joined = touched.iter().fold((start, end), |(s, e), range| {
            (s.min(range.0), e.max(range.1))
        });
        for _ in first..last {
            let _ = self.ranges.remove(first);
        }
        self.ranges.reserve(1, GFP_NOFAIL)?;
        let _ = self.ranges.insert_within_capacity(first, joined);
        if self.ranges.len() > RANGES {
            self.join_nearest();
        }
        Ok(())
    }

    fn join_nearest(&mut self) {
        let gaps = self.ranges.windows(2).map(|pair| match pair {
            [(_, end), (start, _)] => start.saturating_sub(*end),
            _ => u64::MAX,
        });
        let Some((at, _)) = gaps.enumerate().min_by_key(|(_, gap)| *gap) else {
            return;
        };
        if let Ok((_, end)) = self.ranges.remove(at + 1) {
            if let Some(range) = self.ranges.get_mut(at) {
                range.1 = end;
            }
        }
    }

    /// Takes up to `most` bytes from the end.
    fn take(&mut self, most: u64) -> Option<(u64, u64)> {
        let (start, end) = self.ranges.pop()?;
        let from = start.max(end.saturating_sub(most));
        if from > start {
            // It was there a moment ago.
            let _ = self.ranges.push_within_capacity((start, from));
        }
        Some((from, end.saturating_sub(from)))
    }
}

struct Queue {
    /// In order of groups.
    notes: KVVec<Notes>,
    stopping: bool,
}

impl Queue {
    /// Takes the next range: of a group that is due, or of any. `None`: there is none.
    fn take(&mut self, most: u64, all: bool) -> Option<(u64, u64)> {
        let ready = |notes: &Notes| !notes.closed && (all || notes.is_due());
        let at = self.notes.iter().position(ready)?;
        let range = self.notes.get_mut(at)?.take(most);
        if self.notes.get(at)?.ranges.is_empty() {
            let _ = self.notes.remove(at);
        }
        range
    }

    /// Milliseconds until the next group is due.
    fn left(&self) -> Option<i64> {
        let open = self.notes.iter().filter(|notes| !notes.closed);
        open.map(Notes::left).min()
    }
}

/// Notes of what is to be discarded, and the thread that does it.
#[pin_data]
pub(crate) struct Discards {
    #[pin]
    queue: Mutex<Queue>,
    /// Something was noted, or the thread is to end.
    #[pin]
    changed: CondVar,
    #[pin]
    thread: Mutex<Option<KThread>>,
    /// Discards per second; 0 is no limit.
    pub(crate) iops_limit: Atomic<u32>,
    /// KiB per second; 0 is no limit.
    pub(crate) kbps_limit: Atomic<u32>,
    /// Bytes of one discard; 0 is no limit.
    pub(crate) max_size: Atomic<u64>,
    /// Bytes that were in use again before they were discarded.
    pub(crate) saved: Atomic<u64>,
    /// Bytes discarded on devices.
    pub(crate) discarded: Atomic<u64>,
}

impl Discards {
    pub(super) fn new() -> impl PinInit<Self> {
        let queue = Queue {
            notes: KVVec::new(),
            stopping: false,
        };
        pin_init!(Self {
            queue <- new_mutex!(queue, "btrfs-discards"),
            changed <- new_condvar!("btrfs-discard"),
            thread <- new_mutex!(None, "btrfs-discard-thread"),
            iops_limit: Atomic::new(IOPS),
            kbps_limit: Atomic::new(0),
            max_size: Atomic::new(LONGEST),
            saved: Atomic::new(0),
            discarded: Atomic::new(0),
        })
    }

    /// Bytes that are noted, and in how many ranges.
    pub(crate) fn noted(&self) -> (u64, usize) {
        let queue = self.queue.lock();
        let sum = queue.notes.iter().map(Notes::bytes);
        let bytes = sum.fold(0, u64::saturating_add);
        let count = queue.notes.iter().map(|notes| notes.ranges.len()).sum();
        (bytes, count)
    }

    fn most(&self) -> u64 {
        match self.max_size.load(Relaxed) {
            0 => u64::MAX,
            most => most,
        }
    }

    /// Waits for something to discard. `None`: the thread is to end.
    fn next(&self, stop: &Stop) -> Option<(u64, u64)> {
        let mut queue = self.queue.lock();
        loop {
            if queue.stopping || stop.requested() {
                return None;
            }
            if let Some(range) = queue.take(self.most(), false) {
                return Some(range);
            }
            let left = queue.left().unwrap_or(DELAY).clamp(1, DELAY);
            let jiffies = msecs_to_jiffies(u32::try_from(left).unwrap_or(1000));
            let _ = self.changed.wait_interruptible_timeout(&mut queue, jiffies);
        }
    }

    /// Rests after a discard of `len` bytes, as the limits say.
    fn pause(&self, stop: &Stop, len: u64) {
        let per_second = |limit: u64, amount: u64| {
            let pause = amount.saturating_mul(1000).checked_div(limit).unwrap_or(0);
            i64::try_from(pause).unwrap_or(i64::MAX)
        };
        let iops = per_second(self.iops_limit.load(Relaxed).into(), 1);
        let kbps = per_second(self.kbps_limit.load(Relaxed).into(), len >> 10);
        let pause = iops.max(kbps).clamp(1, LONGEST_PAUSE);
        let begin = Instant::<Monotonic>::now();
        let mut queue = self.queue.lock();
        while !queue.stopping && !stop.requested() {
            let left = pause.saturating_sub(begin.elapsed().as_millis());
            if left <= 0 {
                return;
            }
            let jiffies = msecs_to_jiffies(u32::try_from(left).unwrap_or(1));
            let _ = self.changed.wait_interruptible_timeout(&mut queue, jiffies);
        }
    }

    /// Forgets what is noted of a group; whether that was anything.
    fn forget(&self, group: u64) -> bool {
        let mut queue = self.queue.lock();
        let at = queue.notes.iter().position(|notes| notes.group == group);
        at.is_some_and(|at| queue.notes.remove(at).is_ok())
    }

    /// A group is about to be removed.
    pub(super) fn close(&self, group: Logical) {
        let mut queue = self.queue.lock();
        if let Some(notes) = queue.notes.iter_mut().find(|n| n.group == group.get()) {
            notes.closed = true;
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        self.queue.lock().notes.clear();
    }
}

impl Space {
    /// What is discarded in the background.
    pub(crate) fn discards(&self) -> &Discards {
        &self.discards
    }

    /// Begins to discard in the background what [`Self::note_discardable`] notes.
    pub(crate) fn start_discards(self: &Arc<Self>) -> Result {
        self.discards.queue.lock().stopping = false;
        let space = self.clone();
        let thread = KThread::spawn(c"btrfs-discard", move |stop| space.run_discards(stop))?;
        *self.discards.thread.lock() = Some(thread);
        Ok(())
    }

    /// Ends it: discards what is noted now, and waits for that.
    pub(crate) fn stop_discards(&self) {
        self.discards.queue.lock().stopping = true;
        self.discards.changed.notify_all();
        let thread = self.discards.thread.lock().take();
        drop(thread);
        loop {
            let range = self.discards.queue.lock().take(self.discards.most(), true);
            let Some((start, len)) = range else {
                break;
            };
            self.discard_noted(start, len);
        }
        self.discards.clear();
    }

    fn run_discards(&self, stop: &Stop) {
        while let Some((start, len)) = self.discards.next(stop) {
            let discarded = self.discard_noted(start, len);
            if discarded > 0 {
                self.discards.pause(stop, discarded);
            }
        }
    }

    /// Discards what is free of a range; returns how many bytes that was.
    fn discard_noted(&self, start: u64, len: u64) -> u64 {
        let group = self.table.with(|table| table.get(start).cloned()).flatten();
        let Some(group) = group else {
            return 0;
        };
        let mut done = super::discard::Trimmed::default();
        let end = start.saturating_add(len);
        if let Err(error) = self.trim_group(&group, start, end, LEAST, &mut done) {
            if error != EOPNOTSUPP {
                self.volume.log().warn_limited(format_args!(
                    "discard failed in block group {}: errno={}",
                    group.start(),
                    error.to_errno()
                ));
            }
        }
        let saved = len.saturating_sub(done.logical);
        self.discards.saved.add(saved, Relaxed);
        self.discards.discarded.add(done.bytes, Relaxed);
        done.logical
    }

    /// Notes that a range has become free.
    pub(super) fn note_discardable(&self, group: &BlockGroup, start: u64, len: u64) {
        let data = group.flags().types() == BlockGroupFlags::DATA;
        if !data || !self.settings.lock().discard_async {
            return;
        }
        let empty = group.with(|inner| inner.used.saturating_add(inner.reserved) == 0);
        let delay = if empty { EMPTY_DELAY } else { DELAY };
        let at = group.start().get();
        let mut queue = self.discards.queue.lock();
        let place = queue.notes.partition_point(|notes| notes.group < at);
        let known = queue
            .notes
            .get(place)
            .is_some_and(|notes| notes.group == at);
        if !known {
            let notes = Notes {
                group: at,
                since: Instant::now(),
                delay,
                closed: false,
                ranges: KVVec::new(),
            };
            if queue.notes.reserve(1, GFP_NOFAIL).is_err() {
                return;
            }
            let _ = queue.notes.insert_within_capacity(place, notes);
        }
        if let Some(notes) = queue.notes.get_mut(place) {
            if empty && notes.delay > delay {
                notes.since = Instant::now();
            }
            notes.delay = delay;
            // A range that is not noted is not discarded; nothing else.
            let _ = notes.add(start, start.saturating_add(len));
        }
        drop(queue);
        self.discards.changed.notify_all();
    }

    /// A block group was removed, and that is durable: discards all of it if some of it was noted.
    /// Its chunk still has its place on the devices.
    pub(crate) fn discard_removed(&self, start: Logical) {
        if !self.discards.forget(start.get()) {
            return;
        }
        let Some(chunk) = self.volume.chunks().get(start) else {
            return;
        };
        let Ok(ranges) = load::free_ranges(&chunk) else {
            return;
        };
        for range in ranges.iter() {
            if let Ok(bytes) = self.volume.discard(range.logical, range.len) {
                self.discards.discarded.add(bytes, Relaxed);
            }
        }
    }
}

#[cfg(CONFIG_KUNIT = "y")]
#[kernel::macros::kunit_tests(btrfs_discard_notes)]
mod tests {
    use super::*;

    fn notes() -> Notes {
        Notes {
            group: 0,
            since: Instant::now(),
            delay: 0,
            closed: false,
            ranges: KVVec::new(),
        }
    }

    #[test]
    fn join_and_take() -> Result {
        let mut notes = notes();
        notes.add(100, 200)?;
        notes.add(300, 400)?;
        notes.add(200, 300)?;
        assert_eq!(notes.ranges.as_slice(), [(100, 400)]);
        notes.add(50, 60)?;
        assert_eq!(notes.bytes(), 310);
        assert_eq!(notes.take(250), Some((150, 250)));
        assert_eq!(notes.take(250), Some((100, 50)));
        assert_eq!(notes.take(250), Some((50, 10)));
        assert_eq!(notes.take(250), None);
        Ok(())
    }

    #[test]
    fn bounded() -> Result {
        let mut notes = notes();
        for i in 0..2000u64 {
            notes.add(i * 100, i * 100 + 10)?;
        }
        assert!(notes.ranges.len() <= RANGES);
        assert!(notes.bytes() >= 20_000);
        let all = notes.ranges.iter();
        assert!(all.zip(notes.ranges.iter().skip(1)).all(|(a, b)| a.1 < b.0));
        Ok(())
    }
}
