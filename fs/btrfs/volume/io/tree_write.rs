// SPDX-License-Identifier: GPL-2.0

//! Writing the tree blocks of a commit.

use super::{
    super::{log::limited, supers::Waiter, Volume},
    write::WritePlan,
};
use btrfs_format::Logical;
use kernel::{prelude::*, sync::Arc};
use kfs::{
    block::{with_plug, Io, IoBuf, IoDone, IoFlags, KBuf, Segment},
    mem::{NoFs, GFP_NOFAIL},
};

/// Number of blocks in one request, at most.
const BATCH_BLOCKS: usize = 512;

/// Length of one transfer in bytes, at most, where blocks are neighbours.
const RUN_BYTES: usize = 1 << 20;

/// Blocks that are written by one request.
struct Batch {
    at: KVVec<Logical>,
    plan: WritePlan,
    waiter: Arc<Waiter>,
}

impl Volume {
    /// Writes tree blocks, whose checksums have been computed, and waits. Sleeps.
    ///
    /// All copies of all blocks are written in parallel; where addresses are neighbours and follow
    /// one another in the list, by large transfers. Not a flush. Gives the blocks back in the same
    /// order.
    ///
    /// `EIO`, with a message, if a block could not be written to any device; `EROFS`, `ENOMEM`. The
    /// blocks are gone then.
    pub(crate) fn write_tree_blocks(
        &self,
        blocks: KVVec<(Logical, KBuf)>,
    ) -> Result<KVVec<(Logical, KBuf)>> {
        let _nofs = NoFs::enter();
        let mut written = KVVec::with_capacity(blocks.len(), GFP_NOFAIL)?;
        let mut batches = KVVec::new();
        let submitted = with_plug(|| {
            let mut blocks = blocks.into_iter();
            while let Some(batch) = self.submit_batch(&mut blocks)? {
                batches.push(batch, GFP_NOFAIL)?;
            }
            Ok(())
        });
        // What is under way is waited for even if the rest could not be submitted.
        let mut result = submitted;
        for batch in batches {
            batch.waiter.wait();
            let done = batch.waiter.done.lock().take();
            let settled = match done {
                Some(done) => self.settle_batch(batch, done, &mut written),
                None => Err(EIO),
            };
            result = result.and(settled);
        }
        result.map(|()| written)
    }

    /// Submits the next blocks; `None` if there are no more.
    fn submit_batch(
        &self,
        blocks: &mut impl Iterator<Item = (Logical, KBuf)>,
    ) -> Result<Option<Batch>> {
        let mut at = KVVec::with_capacity(BATCH_BLOCKS, GFP_NOFAIL)?;
        let mut buf = IoBuf::new();
        buf.reserve(BATCH_BLOCKS)?;
        for (logical, block) in blocks.take(BATCH_BLOCKS) {
            buf.push(Segment::Buf(block)).map_err(|_| ENOMEM)?;
            at.push(logical, GFP_NOFAIL)?;
        }
        if at.is_empty() {
            return Ok(None);
        }
        let flags = IoFlags::SYNC | IoFlags::META | IoFlags::PRIO;
        let mut io = Io::write(buf).with_flags(flags).on(&self.lanes);
        let mut plan = WritePlan::new();
        self.plan_runs(&mut io, &at, &mut plan)?;
        let waiter = Waiter::new()?;
        let other = waiter.clone();
        io.submit(move |done| other.finish(done));
        Ok(Some(Batch { at, plan, waiter }))
    }

    /// Adds the transfers of a batch: neighbours together.
    fn plan_runs(&self, io: &mut Io, at: &[Logical], plan: &mut WritePlan) -> Result {
        let size = usize::try_from(self.geometry.nodesize)?;
        let step = u64::from(self.geometry.nodesize);
        if io.buf_len() != at.len().checked_mul(size).ok_or(EINVAL)? {
            return Err(EINVAL);
        }
        let mut start: usize = 0;
        let mut rest = at;
        while let [first, ..] = rest {
            let mut blocks: usize = 1;
            let mut next = first.checked_add(step);
            while blocks.saturating_add(1).saturating_mul(size) <= RUN_BYTES
                && next.is_some()
                && rest.get(blocks).copied() == next
            {
                next = next.and_then(|next| next.checked_add(step));
                blocks = blocks.saturating_add(1);
            }
            let end = start.saturating_add(blocks.saturating_mul(size));
            self.plan_write(io, *first, start..end, plan)?;
            start = end;
            rest = rest.get(blocks..).unwrap_or_default();
        }
        Ok(())
    }

    /// A batch is over: takes its blocks back and finds out whether all of them were written.
    fn settle_batch(
        &self,
        batch: Batch,
        done: IoDone,
        written: &mut KVVec<(Logical, KBuf)>,
    ) -> Result {
        let Batch { at, mut plan, .. } = batch;
        let result = plan.settle(self, &done);
        let size = usize::try_from(self.geometry.nodesize)?;
        for range in plan.bad() {
            let first = range.start.checked_div(size).and_then(|i| at.get(i));
            limited!(
                self.log,
                Error,
                "tree blocks at {} ({} bytes) could not be written to any device",
                first.map_or(0, |logical| logical.get()),
                range.len()
            );
        }
        for (logical, (_, segment)) in at.into_iter().zip(done.into_buf().into_segments()) {
            if let Segment::Buf(block) = segment {
                written.push((logical, block), GFP_NOFAIL)?;
            }
        }
        result
    }
}
