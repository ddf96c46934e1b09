// SPDX-License-Identifier: GPL-2.0

//! Requests: several bios that fill or empty the parts of one buffer.
//!
//! C header: [`include/linux/bio.h`](srctree/include/linux/bio.h)
//!
//! A request is built ([`Io::new`], [`Io::add`]), then consumed by
//! [`Io::submit`] or [`Io::submit_wait`]; the buffer comes back with the results in an
//! [`IoDone`]. In between the request owns the buffer, and with it the memory, and holds
//! the devices open. The bios are part of the request and borrow its list of physical
//! memory: one allocation for all of it when there is one bio.

use super::{
    engine::{self, Lane, Lanes},
    BlockDevice, IoBuf, Segment,
};
use crate::{bindings, mem};
use core::{
    cell::UnsafeCell,
    ops::Range,
    pin::Pin,
    ptr::{addr_of, NonNull},
};
use kernel::{
    prelude::*,
    str::CStr,
    sync::{
        atomic::{ordering, Atomic},
        static_lock_class, Arc,
    },
    types::Opaque,
    workqueue::{impl_has_work, Work, WorkItem},
};

/// Direction of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// From the devices to the buffer.
    Read,
    /// From the buffer to the devices.
    Write,
}

/// Properties of a request, or-ed together.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct IoFlags(u32);

impl IoFlags {
    /// Nothing special.
    pub const NONE: Self = Self(0);
    /// Somebody waits for it. (Reads are taken for synchronous anyway.)
    pub const SYNC: Self = Self(1 << bindings::req_flag_bits___REQ_SYNC);
    /// Metadata of the file system.
    pub const META: Self = Self(1 << bindings::req_flag_bits___REQ_META);
    /// More urgent than others.
    pub const PRIO: Self = Self(1 << bindings::req_flag_bits___REQ_PRIO);
    /// Read-ahead: may fail when the device is short of resources.
    pub const RAHEAD: Self = Self(1 << bindings::req_flag_bits___REQ_RAHEAD);
    /// In the background: may be throttled.
    pub const BACKGROUND: Self = Self(1 << bindings::req_flag_bits___REQ_BACKGROUND);
    /// A write that is durable when it completes.
    pub const FUA: Self = Self(1 << bindings::req_flag_bits___REQ_FUA);
    /// What was written before becomes durable before this write.
    pub const PREFLUSH: Self = Self(1 << bindings::req_flag_bits___REQ_PREFLUSH);
}

impl core::ops::BitOr for IoFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// One bio of a request.
///
/// # Invariants
///
/// If `live`, `bio` is set up (`bio_init`) and not yet uninitialised.
struct Part {
    bio: Opaque<bindings::bio>,
    live: bool,
    dev: Arc<BlockDevice>,
    pos: u64,
    range: Range<usize>,
}

// SAFETY: A bio that is not in flight is memory owned by the request.
unsafe impl Send for Part {}

// SAFETY: Through a shared reference only the status of a finished bio is read.
unsafe impl Sync for Part {}

impl Part {
    /// Result of the bio; only after it completed.
    fn status(&self) -> Result {
        if !self.live {
            return Err(EIO);
        }
        // SAFETY: By the type invariant the bio is set up.
        kernel::error::to_result(unsafe { bindings::kfs_bio_errno(self.bio.get()) })
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if self.live {
            // SAFETY: By the type invariant the bio is set up; it is not in flight, because a
            // request in flight is owned by its bios.
            unsafe { bindings::bio_uninit(self.bio.get()) };
        }
    }
}

/// The bios of a request; the first has its place in the request itself.
struct Parts {
    first: Option<Part>,
    rest: KVVec<Part>,
}

impl Parts {
    fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    fn get(&self, index: usize) -> Option<&Part> {
        match index.checked_sub(1) {
            None => self.first.as_ref(),
            Some(i) => self.rest.get(i),
        }
    }

    fn iter(&self) -> impl Iterator<Item = &Part> {
        Iterator::chain(self.first.iter(), self.rest.iter())
    }
}

/// A request that is being built.
pub struct Io {
    buf: IoBuf,
    parts: Parts,
    op: Op,
    flags: IoFlags,
    lane: Lane,
    /// Whose queues are taken; `None` for the module's.
    lanes: Option<Arc<Lanes>>,
}

impl Io {
    /// A request on `buf` without any bios yet.
    pub fn new(op: Op, flags: IoFlags, buf: IoBuf) -> Self {
        Self {
            buf,
            parts: Parts {
                first: None,
                rest: KVVec::new(),
            },
            op,
            flags,
            lane: Lane::Prompt,
            lanes: None,
        }
    }

    /// A read into `buf`.
    pub fn read(buf: IoBuf) -> Self {
        Self::new(Op::Read, IoFlags::NONE, buf)
    }

    /// A write from `buf`.
    pub fn write(buf: IoBuf) -> Self {
        Self::new(Op::Write, IoFlags::NONE, buf)
    }

    /// Adds properties.
    pub fn with_flags(mut self, flags: IoFlags) -> Self {
        self.flags = self.flags | flags;
        self
    }

    /// What is called in the end may wait for other requests, even for ones that are made later.
    ///
    /// Without this, it waits for nothing but memory and requests of its own.
    pub fn patient(mut self) -> Self {
        self.lane = Lane::Patient;
        self
    }

    /// What is called in the end runs on these queues.
    pub fn on(mut self, lanes: &Arc<Lanes>) -> Self {
        self.lanes = Some(lanes.clone());
        self
    }

    /// How many bios there are.
    pub fn parts(&self) -> usize {
        self.parts.len()
    }

    /// Length of the buffer in bytes.
    pub fn buf_len(&self) -> usize {
        self.buf.len()
    }

    /// Appends a piece to the buffer; as [`IoBuf::push`].
    pub fn push_segment(&mut self, mem: Segment) -> Result<(), Segment> {
        self.buf.push(mem)
    }

    /// Gives the buffer back instead of submitting.
    pub fn into_buf(self) -> IoBuf {
        self.buf
    }

    /// Adds a transfer between the bytes `range` of the buffer and `pos` (in bytes) on `dev`;
    /// its result has the number of earlier calls as index.
    ///
    /// Position and length are multiples of the device's logical block size. Errors, which
    /// leave the request as it was: `EINVAL` for ranges that do not fit the buffer or are
    /// not aligned, `ENXIO` beyond the end of the device, `EROFS` for a write to a device that
    /// is not open for writing, `ENOMEM`.
    ///
    /// Several reads must not fill the same bytes (the result is one or the other's data).
    pub fn add(&mut self, dev: &Arc<BlockDevice>, pos: u64, range: Range<usize>) -> Result {
        let len = range.end.checked_sub(range.start).ok_or(EINVAL)?;
        if range.end > self.buf.len() {
            return Err(EINVAL);
        }
        dev.check_range(pos, len)?;
        if self.op == Op::Write {
            dev.check_writable()?;
        }
        self.push(dev, pos, range)
    }

    /// A request that makes what was written to devices before durable, without any bios yet;
    /// see [`Io::add_flush`].
    pub fn flush() -> Self {
        Self::new(Op::Write, IoFlags::PREFLUSH | IoFlags::SYNC, IoBuf::new())
    }

    /// Adds a bio without data, which does what the flags of the request say: for
    /// [`Io::flush`]. Its result is numbered like that of a transfer.
    ///
    /// `EROFS` if the device is not open for writing, `ENOMEM`.
    pub fn add_flush(&mut self, dev: &Arc<BlockDevice>) -> Result {
        dev.check_writable()?;
        self.push(dev, 0, 0..0)
    }

    fn push(&mut self, dev: &Arc<BlockDevice>, pos: u64, range: Range<usize>) -> Result {
        let part = Part {
            bio: Opaque::uninit(),
            live: false,
            dev: dev.clone(),
            pos,
            range,
        };
        if self.parts.first.is_none() {
            self.parts.first = Some(part);
        } else {
            self.parts.rest.push(part, mem::GFP_NOFAIL)?;
        }
        Ok(())
    }

    /// Starts the transfers and returns; `done` runs later, when all are done, on a work
    /// queue, in process context and in a [`NoFs`](mem::NoFs) scope.
    ///
    /// Never fails: what goes wrong is in the results. May sleep for memory and for room in the
    /// devices' queues. A request without any transfer completes as well.
    pub fn submit<F>(self, done: F)
    where
        F: FnOnce(IoDone) + Send + 'static,
    {
        let request = mem::alloc_nofail::<Request<F>>();
        let core = Core::new(self, Request::<F>::complete);
        let init = pin_init!(Request {
            core: UnsafeCell::new(core),
            done: UnsafeCell::new(Some(done)),
            work <- Work::new(WORK_NAME, static_lock_class!()),
        });
        // The initialiser has no step that fails.
        let Ok(request) = request.write_pin_init(init);
        // SAFETY: Not moved or dropped from here on until `complete` takes the box back.
        let request = KBox::into_raw(unsafe { Pin::into_inner_unchecked(request) });
        // SAFETY: The request was just created and is in its final place. `complete` is called
        // once, when all bios are done, and until then nobody else uses the request.
        unsafe { Core::submit(UnsafeCell::raw_get(addr_of!((*request).core))) };
    }

    /// Starts the transfers and waits until all are done.
    pub fn submit_wait(self) -> IoDone {
        /// What a waiting submitter has on its stack.
        #[repr(C)]
        struct Waiting {
            core: UnsafeCell<Core>,
            done: Opaque<bindings::completion>,
        }

        /// # Safety
        ///
        /// `core` is the first field of a [`Waiting`] whose owner waits for its completion.
        unsafe fn complete(core: NonNull<Core>) {
            let waiting = core.cast::<Waiting>().as_ptr();
            // SAFETY: The owner does not go on before this call, which is the last access from
            // here: it is done with the memory when the waiter can see it.
            unsafe { bindings::complete(Opaque::cast_into(addr_of!((*waiting).done))) };
        }

        let waiting = Waiting {
            core: UnsafeCell::new(Core::new(self, complete)),
            done: Opaque::uninit(),
        };
        // SAFETY: In its final place: `waiting` is not moved any more.
        unsafe { bindings::kfs_init_completion(waiting.done.get()) };
        // SAFETY: In its final place; `complete` is called once, and `waiting` stays until then
        // because of the next statement.
        unsafe { Core::submit(waiting.core.get()) };
        // SAFETY: Initialised above. (The kind of waiting that counts as waiting for I/O.)
        unsafe { bindings::wait_for_completion_io(waiting.done.get()) };
        // All bios are done, so nobody else has the address.
        IoDone::new(waiting.core.into_inner().io)
    }
}

/// What bios know of their request.
struct Core {
    /// Taken when all bios are done.
    io: Option<Io>,
    /// Bios that are not done yet.
    pending: Atomic<u32>,
    /// Called when `pending` becomes 0, in any context.
    complete: unsafe fn(NonNull<Core>),
}

impl Core {
    fn new(io: Io, complete: unsafe fn(NonNull<Core>)) -> Self {
        Self {
            pending: Atomic::new(0),
            io: Some(io),
            complete,
        }
    }

    /// Sets the bios up and submits them.
    ///
    /// # Safety
    ///
    /// `core` is in its final place, and nobody else accesses it until `complete` was called,
    /// which happens once and possibly before this function returns.
    unsafe fn submit(core: *mut Core) {
        // SAFETY: Nobody else accesses it before the first bio is submitted.
        let this = unsafe { &mut *core };
        let Some(io) = this.io.as_mut() else {
            return;
        };
        let opf = io.flags.0
            | match io.op {
                Op::Read => bindings::req_op_REQ_OP_READ,
                Op::Write => bindings::req_op_REQ_OP_WRITE,
            };
        let Parts { first, rest } = &mut io.parts;
        for part in Iterator::chain(first.iter_mut(), rest.iter_mut()) {
            part.setup(&io.buf, opf, core);
        }
        let n = io.parts.iter().filter(|p| p.live).count();
        let rest = io.parts.rest.as_ptr();
        // One more than there are bios: the request stays until the loop is through.
        this.pending
            .store(u32::try_from(n).unwrap_or(u32::MAX) + 1, ordering::Relaxed);
        let total = io.parts.rest.len();
        let first = io
            .parts
            .first
            .as_ref()
            .filter(|p| p.live)
            .map(|p| p.bio.get());
        if let Some(bio) = first {
            // SAFETY: Set up above, its memory and device are owned by the request, which
            // stays until the bio is done.
            unsafe { bindings::submit_bio(bio) };
        }
        for i in 0..total {
            // SAFETY: The vector is not changed while bios are in flight; `live` and the address
            // of the bio are not written by those either.
            let (live, bio) = unsafe {
                let part = rest.add(i);
                (
                    *addr_of!((*part).live),
                    Opaque::cast_into(addr_of!((*part).bio)),
                )
            };
            if live {
                // SAFETY: As above.
                unsafe { bindings::submit_bio(bio) };
            }
        }
        // SAFETY: The reference of this function is still counted.
        unsafe { Self::put(core) };
    }

    /// One bio, or the submitter, is done with the request.
    ///
    /// # Safety
    ///
    /// The caller is one of those counted in `pending` and does not use `core` afterwards.
    unsafe fn put(core: *mut Core) {
        // SAFETY: The request lives until `complete` is called, by whoever is last. Only shared
        // fields are accessed.
        let (pending, complete) = unsafe { (&*addr_of!((*core).pending), (*core).complete) };
        if pending.fetch_sub(1, ordering::Full) == 1 {
            // SAFETY: The pointer is not null; all bios are done.
            unsafe { complete(NonNull::new_unchecked(core)) };
        }
    }
}

impl Part {
    /// Prepares the bio; leaves it not live, which counts as an I/O error, if the range
    /// cannot be described.
    fn setup(&mut self, buf: &IoBuf, opf: u32, core: *mut Core) {
        let (vecs, off) = if self.range.is_empty() {
            // A flush: the block layer tells it by the lack of vectors.
            (core::ptr::null(), 0)
        } else {
            match buf.vecs_at(self.range.start) {
                Some((vecs, off)) => (vecs.as_ptr(), off),
                None => return,
            }
        };
        let Ok(len) = u32::try_from(self.range.end - self.range.start) else {
            return;
        };
        // SAFETY: The bio is in its final place and not in use. The vectors (none if `len` is 0)
        // describe at least `len` bytes from `off` on (checked when the part was added), and live,
        // like the device, until the bio is done.
        unsafe {
            bindings::kfs_bio_setup(
                self.bio.get(),
                self.dev.as_raw(),
                opf,
                self.pos,
                vecs,
                off,
                len,
                Some(end_io),
                core.cast(),
            )
        };
        // INVARIANT: Just set up.
        self.live = true;
        if let Some(inode) = buf.first_inode() {
            // SAFETY: The bio was just set up; the inode is there as long as its folios are written.
            unsafe { bindings::kfs_bio_charge(self.bio.get(), inode.as_ptr()) };
        }
    }
}

/// Called by the block layer when a bio is done, in any context.
///
/// # Safety
///
/// `bio` is one that [`Core::submit`] submitted, and done.
unsafe extern "C" fn end_io(bio: *mut bindings::bio) {
    // SAFETY: The block layer passes the bio that was submitted, whose private pointer is the
    // request that it is counted in.
    unsafe { Core::put((*bio).bi_private.cast()) };
}

/// Name of the lock class of completions. In a static, because lockdep wants the same address
/// for the same class, and a literal has one per instance of a generic function.
static WORK_NAME: &CStr = c"btrfs::io";

/// A request with a closure to call.
#[pin_data]
struct Request<F: FnOnce(IoDone) + Send + 'static> {
    core: UnsafeCell<Core>,
    done: UnsafeCell<Option<F>>,
    #[pin]
    work: Work<Request<F>>,
}

impl_has_work! {
    impl{F: FnOnce(IoDone) + Send + 'static} HasWork<Self> for Request<F> { self.work }
}

impl<F: FnOnce(IoDone) + Send + 'static> Request<F> {
    /// # Safety
    ///
    /// `core` is that of a boxed request, whose ownership is handed over.
    unsafe fn complete(core: NonNull<Core>) {
        let core = core.as_ptr().cast::<UnsafeCell<Core>>();
        // SAFETY: `core` is the field of that name, in a request that `submit` put into a box.
        let request = unsafe { kernel::container_of!(core, Request<F>, core) };
        // SAFETY: From `KBox::into_raw` in `submit`, and pinned there; nobody else uses it now.
        let request = unsafe { Pin::new_unchecked(KBox::from_raw(request)) };
        // SAFETY: All bios are done, and the box is the only way to the request.
        let io = unsafe { &*request.core.get() }.io.as_ref();
        let lane = io.map_or(Lane::Prompt, |io| io.lane);
        let lanes = io.and_then(|io| io.lanes.clone());
        engine::complete(request, lanes.as_deref(), lane);
    }
}

impl<F: FnOnce(IoDone) + Send + 'static> WorkItem for Request<F> {
    type Pointer = Pin<KBox<Self>>;

    fn run(this: Pin<KBox<Self>>) {
        let _nofs = mem::NoFs::enter();
        // SAFETY: All bios are done, and the box is the only way to the request.
        let (io, done) = unsafe { ((*this.core.get()).io.take(), (*this.done.get()).take()) };
        if let Some(done) = done {
            done(IoDone::new(io));
        }
    }
}

/// A request that is over: the buffer, and what became of every transfer.
pub struct IoDone {
    buf: IoBuf,
    parts: Parts,
}

// The bios are done: nobody has their addresses, and nothing is left that depends on them.
impl Unpin for IoDone {}

impl IoDone {
    fn new(io: Option<Io>) -> Self {
        match io {
            Some(io) => Self {
                buf: io.buf,
                parts: io.parts,
            },
            None => Self {
                buf: IoBuf::new(),
                parts: Parts {
                    first: None,
                    rest: KVVec::new(),
                },
            },
        }
    }

    /// Result of the transfer that was added as number `index` (from 0); `EINVAL` if there
    /// was none.
    pub fn status(&self, index: usize) -> Result {
        self.parts.get(index).ok_or(EINVAL)?.status()
    }

    /// The first error of all transfers.
    pub fn result(&self) -> Result {
        self.parts.iter().try_for_each(Part::status)
    }

    /// The buffer; the bytes of transfers that failed are arbitrary.
    pub fn buf(&self) -> &IoBuf {
        &self.buf
    }

    /// The buffer, to keep.
    pub fn into_buf(self) -> IoBuf {
        self.buf
    }
}

#[::kernel::macros::kunit_tests(kfs_io)]
mod tests {
    use super::*;
    use kernel::sync::Completion;

    /// A request without transfers completes, and gives its buffer back.
    #[test]
    fn without_transfers() -> Result {
        let buf = IoBuf::from_buf(mem::KBuf::zeroed(8192, GFP_KERNEL)?)?;
        let done = Io::read(buf).submit_wait();
        assert_eq!(done.result(), Ok(()));
        assert_eq!(done.status(0), Err(EINVAL));
        let completion = Arc::pin_init(Completion::new(), GFP_KERNEL)?;
        let other = completion.clone();
        Io::write(done.into_buf()).submit(move |done| {
            assert_eq!(done.into_buf().len(), 8192);
            other.complete_all();
        });
        completion.wait_for_completion();
        Ok(())
    }

    /// However many patient completions wait, a prompt one gets through.
    #[test]
    fn patient_ones_wait_for_prompt_ones() -> Result {
        let go = Arc::pin_init(Completion::new(), GFP_KERNEL)?;
        let all = Arc::pin_init(Completion::new(), GFP_KERNEL)?;
        let left = Arc::new(Atomic::new(engine::WAITING + 8), GFP_KERNEL)?;
        for _ in 0..engine::WAITING + 8 {
            let (go, all, left) = (go.clone(), all.clone(), left.clone());
            Io::write(IoBuf::new()).patient().submit(move |_| {
                go.wait_for_completion();
                if left.fetch_sub(1, ordering::Full) == 1 {
                    all.complete_all();
                }
            });
        }
        Io::write(IoBuf::new()).submit(move |_| go.complete_all());
        all.wait_for_completion();
        Ok(())
    }
}
