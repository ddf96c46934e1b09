// SPDX-License-Identifier: GPL-2.0

//! Transactions: operations change trees in memory, a commit makes all of it durable at once.
//!
//! An operation tells what it will need ([`Demand`]), gets a [`Handle`] from [`Txn::start`], puts
//! its changes into the overlays of the trees, and drops the handle. Everything under one handle is
//! in one transaction. A thread per file system commits: every so often, and when somebody waits
//! for it. Operations go on meanwhile, in the next transaction.
//!
//! # Life of a transaction
//!
//! *Open*: it takes handles. *Frozen*: the gate was closed for a moment, its overlays change no
//! more. *Applied*: its changes are in work blocks ([`commit`]). *Durable*: the superblock that leads
//! to them is on disk. *Published*: readers see the new trees, and what the old ones alone used is
//! free as soon as nobody reads them any more ([`pins`]).
//!
//! # Invariants
//!
//! * Work blocks and new data go only to space that is free in the last durable state, so until
//!   the superblock changes, that state is whole on disk.
//! * Nothing is published that is not durable.
//! * After a commit failed, no transaction is begun: [`Txn::abort`].
//!
//! # Locks
//!
//! Reservation (sleeps, may wait for a commit) -> gate (rwsem: handles read, freezing writes) ->
//! inode -> shard of an overlay; what is open (mutex) and progress (mutex) are leaf locks. Whoever has a
//! handle waits for nothing that needs one, nor for a commit.
//!
//! # Bounds
//!
//! Overlays take at most about `Txn::limit` bytes: from half of that on a commit is begun, and
//! beyond it [`Txn::start`] waits. One transaction is frozen at a time.

#![forbid(unsafe_code)]

mod born;
mod chunks;
mod commit;
mod delayed;
mod demand;
mod handle;
mod pins;
mod progress;

pub(crate) use delayed::DelayedData;
pub(crate) use demand::Demand;
pub(crate) use handle::Handle;

use btrfs_format::types::{Generation, Logical};
use core::ops::Range;
use kernel::prelude::*;
use kernel::sync::{
    atomic::{Atomic, Relaxed},
    new_condvar, new_mutex, new_spinlock, Arc, CondVar, Mutex, SpinLock,
};
use kfs::kthread::KThread;
use kfs::mem::NoFs;
use kfs::new_rwsem;
use kfs::sync::RwSemaphore;

use crate::space::{Info, Kind, MetaReservation, Space, Urgency};
use crate::tree::{LiveTree, Roots};
use crate::volume::Volume;
use born::BornMap;
use chunks::Groups;
use commit::free_space::Conversion;
use demand::Total;
use pins::Pins;
use progress::Progress;

/// Share of the machine's memory that overlays may take: one in this many bytes, within
/// [`LIMITS`].
const MEMORY_SHARE: usize = 32;

/// Least and greatest limit of the memory for overlays, bytes.
const LIMITS: (usize, usize) = (4 << 20, 512 << 20);

/// What the gate guards.
pub(crate) struct Gate {
    /// The open transaction.
    transid: Generation,
    /// Why no handles are given out; `None`: they are.
    closed: Option<Error>,
}

/// What the open transaction has collected.
struct Open {
    /// The trees with changes.
    dirty: KVVec<Arc<LiveTree>>,
    /// Data extents that were written.
    born: BornMap,
    groups: Groups,
    conversion: Conversion,
    /// The superblock is to be written even if nothing else is.
    forced: bool,
    total: Total,
    /// What the handles paid.
    paid: MetaReservation,
}

/// The transactions of a file system.
#[pin_data]
pub(crate) struct Txn {
    volume: Arc<Volume>,
    roots: Arc<Roots>,
    space: Arc<Space>,
    #[pin]
    gate: RwSemaphore<Gate>,
    #[pin]
    open: Mutex<Open>,
    /// Data extents of the transaction that is being committed.
    #[pin]
    frozen: Mutex<Option<Arc<BornMap>>>,
    #[pin]
    progress: Mutex<Progress>,
    /// The committing thread has something to do.
    #[pin]
    asked: CondVar,
    /// A commit has ended, or there will be no more.
    #[pin]
    ended: CondVar,
    #[pin]
    pins: Mutex<Pins>,
    /// Deleted subvolumes that are dropped one after the other.
    #[pin]
    dropping: Mutex<KVVec<Arc<LiveTree>>>,
    /// One commits, one writes delayed data; none while the file system is read-only.
    #[pin]
    threads: Mutex<[Option<KThread>; 2]>,
    #[pin]
    delayed_data: SpinLock<Option<Arc<dyn DelayedData>>>,
    /// Delayed data is to be written.
    #[pin]
    delayed_asked: CondVar,
    /// It was, or nobody needs to wait for it any more.
    #[pin]
    delayed_written: CondVar,
    flush_on_commit: Atomic<bool>,
    /// An abort stops the machine.
    panics: Atomic<bool>,
    /// The UUID tree was found to be complete, or made so.
    uuid_tree_complete: Atomic<bool>,
    /// Bytes of the overlays, open and frozen.
    bytes: Atomic<usize>,
    limit: usize,
    /// Time between commits in seconds.
    interval: Atomic<u32>,
}

impl Txn {
    /// For a file system whose last transaction is that of the superblock.
    pub(crate) fn new(
        volume: &Arc<Volume>,
        roots: &Arc<Roots>,
        space: &Arc<Space>,
    ) -> Result<Arc<Self>> {
        let durable = volume.superblock().generation();
        let open = Open {
            dirty: KVVec::new(),
            born: BornMap::default(),
            groups: Groups::default(),
            conversion: Conversion::default(),
            forced: false,
            total: Total::default(),
            paid: space.no_metadata(),
        };
        let gate = Gate {
            transid: durable.next(),
            closed: Some(EROFS),
        };
        let limit = (kfs::mem::total_ram() / MEMORY_SHARE).clamp(LIMITS.0, LIMITS.1);
        let init = pin_init!(Self {
            volume: volume.clone(),
            roots: roots.clone(),
            space: space.clone(),
            gate <- new_rwsem!(gate, "btrfs-gate"),
            open <- new_mutex!(open, "btrfs-open"),
            frozen <- new_mutex!(None, "btrfs-frozen"),
            progress <- new_mutex!(Progress::new(durable), "btrfs-progress"),
            asked <- new_condvar!("btrfs-commit"),
            ended <- new_condvar!("btrfs-committed"),
            dropping <- new_mutex!(KVVec::new(), "btrfs-dropping"),
            pins <- new_mutex!(Pins::default(), "btrfs-pins"),
            threads <- new_mutex!([None, None], "btrfs-threads"),
            delayed_data <- new_spinlock!(None, "btrfs-delayed-data"),
            delayed_asked <- new_condvar!("btrfs-delayed"),
            delayed_written <- new_condvar!("btrfs-written"),
            flush_on_commit: Atomic::new(false),
            panics: Atomic::new(false),
            uuid_tree_complete: Atomic::new(false),
            bytes: Atomic::new(0),
            limit,
            interval: Atomic::new(30),
        });
        Arc::pin_init(init, GFP_KERNEL)
    }

    /// Begins an operation that changes at most as much as `demand` says.
    ///
    /// May wait for space, and for a commit to give memory back, so nothing may be held that these
    /// need. `EROFS` while the file system is read-only, `ENOSPC`, or `EAGAIN` and `EINTR` as
    /// [`Space::reserve_metadata`] has them.
    pub(crate) fn start(&self, demand: Demand) -> Result<Handle<'_>> {
        self.start_paid(demand, &mut self.space.no_metadata())
    }

    /// As [`Self::start`], where something is paid already. On an error, `paid` keeps it.
    fn start_paid(&self, demand: Demand, paid: &mut MetaReservation) -> Result<Handle<'_>> {
        self.throttle(&demand)?;
        loop {
            let gate = self.gate.read();
            if let Some(error) = gate.closed {
                return Err(error);
            }
            // Behind the gate: it is this transaction that the operation makes dearer.
            let missing = self.enter(&demand, paid);
            if missing == 0 {
                return Ok(Handle::new(self, gate));
            }
            drop(gate);
            paid.merge(self.reserve(missing, &demand)?);
        }
    }

    /// Adds an operation to the open transaction, if `paid` and what others paid too much are
    /// enough for what it makes the transaction dearer. Else returns what is missing, bytes.
    fn enter(&self, demand: &Demand, paid: &mut MetaReservation) -> u64 {
        let nodesize = u64::from(self.volume.geometry().nodesize);
        let used = self
            .space
            .info(Kind::Metadata)
            .map_or(0, |i: &Arc<Info>| i.counters().used);
        let blocks = used.checked_div(nodesize).unwrap_or(0);
        let mut open = self.open.lock();
        let total = open.total.with(demand);
        let have = open.paid.bytes().saturating_add(paid.bytes());
        let missing = total.cost(nodesize, blocks).saturating_sub(have);
        if missing == 0 {
            open.total = total;
            open.paid.merge(paid.split(u64::MAX));
        }
        missing
    }

    /// Reserves `missing` bytes; if it is easy, more, so that the next operations need not.
    ///
    /// Nothing is held here: what is done for room may need handles and commits.
    fn reserve(&self, missing: u64, demand: &Demand) -> Result<MetaReservation> {
        let nodesize = u64::from(self.volume.geometry().nodesize);
        let more = missing.saturating_add(nodesize.saturating_mul(PREPAY));
        match self.space.reserve_metadata(more, Urgency::Nowait) {
            Err(error) if error == ENOSPC || error == EAGAIN => {
                self.space.reserve_metadata(missing, demand.how)
            }
            result => result,
        }
    }

    /// Begins an operation that ends the writing of data, which must not fail for space: `paid` is
    /// what was promised for it; where that and what there is are not enough, it waits for a commit
    /// to make promises exact.
    ///
    /// Errors are those of [`Self::start`]. No folio may be locked: one under writeback may be.
    pub(crate) fn start_writeback(
        &self,
        demand: Demand,
        paid: Option<MetaReservation>,
    ) -> Result<Handle<'_>> {
        let mut paid = paid.unwrap_or_else(|| self.space.no_metadata());
        match self.start_paid(demand.completion(), &mut paid) {
            Err(error) if error == ENOSPC => self.start_paid(demand.deleting(), &mut paid),
            result => result,
        }
    }

    /// The file system may be changed from now on; a thread commits what is changed.
    pub(crate) fn begin(self: &Arc<Self>) -> Result {
        self.progress.lock().stopping = false;
        let (txn, other) = (self.clone(), self.clone());
        let commits = KThread::spawn(c"btrfs-transaction", move |stop| txn.run(stop))?;
        let writes = KThread::spawn(c"btrfs-delayed", move |stop| other.run_delayed(stop))?;
        *self.threads.lock() = [Some(commits), Some(writes)];
        self.gate.write().closed = None;
        self.space.set_chunk_sink(Some(self.clone()));
        self.space.set_flusher(Some(self.clone()));
        Ok(())
    }

    /// Commits, and lets no more changes in. Where there is nothing to end, does nothing.
    pub(crate) fn end(&self) -> Result {
        // Nobody comes here from them any more.
        self.space.set_flusher(None);
        let result = self.commit();
        self.space.set_chunk_sink(None);
        {
            let mut gate = self.gate.write();
            if gate.closed.is_none() {
                gate.closed = Some(EROFS);
            }
        }
        // What came in between.
        let result = result.and_then(|()| self.commit());
        self.progress.lock().stopping = true;
        self.asked.notify_all();
        self.delayed_asked.notify_all();
        self.notify_delayed();
        let threads = core::mem::take(&mut *self.threads.lock());
        drop(threads);
        result
    }

    /// No more changes: something failed that leaves no other way. What was committed stays.
    pub(crate) fn abort(&self, what: &str, error: Error) {
        let transid = self.with_gate_closed(Some(EROFS));
        if self.progress.lock().fail(error) {
            self.volume.log().error(format_args!(
                "transaction {transid} aborted in {what} (error {}): forced readonly",
                error.to_errno()
            ));
            self.volume.set_read_only();
            if self.panics.load(Relaxed) {
                self.volume.log().panic(format_args!(
                    "in {what}: transaction {transid} aborted (errno={})",
                    error.to_errno()
                ));
            }
        }
        self.asked.notify_all();
        self.ended.notify_all();
        self.notify_delayed();
    }

    /// The UUID tree has all subvolumes, which the next commits say.
    pub(crate) fn note_uuid_tree_complete(&self) {
        self.uuid_tree_complete.store(true, Relaxed);
    }

    /// Whether an abort is to stop the machine.
    pub(crate) fn set_panics(&self, on: bool) {
        self.panics.store(on, Relaxed);
    }

    /// Whether a commit failed.
    pub(crate) fn is_aborted(&self) -> bool {
        self.progress.lock().failed().is_some()
    }

    /// What to tell of `error`, which an operation met: where it is that nothing is written any
    /// more, the reason for that.
    pub(crate) fn blame(&self, error: Error) -> Error {
        match self.gate.read().closed {
            Some(why) if error == EROFS => why,
            _ => error,
        }
    }

    fn with_gate_closed(&self, why: Option<Error>) -> Generation {
        let mut gate = self.gate.write();
        gate.closed = why;
        gate.transid
    }

    /// Sets the time between commits, seconds. It counts at once.
    pub(crate) fn set_interval(&self, seconds: u32) {
        let _progress = self.progress.lock();
        self.interval.store(seconds.max(1), Relaxed);
        self.asked.notify_all();
    }

    /// Bytes that overlays take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// The open transaction.
    pub(crate) fn transid(&self) -> Generation {
        self.gate.read().transid
    }

    /// Whether there is anything that a commit would write.
    pub(crate) fn is_dirty(&self) -> bool {
        self.open.lock().is_dirty()
    }

    /// Whether there may be checksums of data that are in no committed tree yet.
    pub(crate) fn has_fresh_csums(&self) -> bool {
        !self.open.lock().born.is_empty() || self.frozen.lock().is_some()
    }

    /// Fills in those checksums of data that are in no committed tree yet; see
    /// [`BornMap::fill`]. Must be asked before the committed tree is.
    pub(crate) fn csums(
        &self,
        start: Logical,
        sector: u64,
        size: usize,
        out: &mut [u8],
        mut known: impl FnMut(Range<u64>) -> Result,
    ) -> Result {
        // Reclaim under this lock could wait for it.
        let _nofs = NoFs::enter();
        let start = start.get();
        self.open
            .lock()
            .born
            .fill(start, sector, size, out, &mut known)?;
        let frozen = self.frozen.lock().clone();
        match frozen {
            Some(frozen) => frozen.fill(start, sector, size, out, known),
            None => Ok(()),
        }
    }
}

/// Blocks that an operation reserves beyond its need.
const PREPAY: u64 = 64;

impl Open {
    fn is_dirty(&self) -> bool {
        !self.dirty.is_empty() || !self.born.is_empty() || !self.groups.is_empty() || self.forced
    }
}
