// SPDX-License-Identifier: GPL-2.0

//! Reading many blocks at once, in the background.
//!
//! Blocks that are next to each other on disk are read by one request.

use btrfs_format::types::{Ino, TreeId};
use core::ops::Range;
use kernel::{prelude::*, sync::Arc};
use kfs::block::{with_plug, IoBuf, KBuf, Segment};
use kfs::mem::NoFs;

use super::block::Expect;
use super::cache::TreeCache;
use super::index::{Index, Ticket};
use crate::volume::{DataClient, FilePosition};

/// Most blocks of one request.
const MAX_BATCH: usize = 64;

/// Blocks that one request reads.
pub(crate) struct Batch {
    index: Arc<Index>,
    /// In the order of the addresses, without gaps.
    members: KVec<(Expect, Ticket)>,
}

impl TreeCache {
    /// Begins to read those blocks that are neither cached nor being read.
    ///
    /// Does as much as memory allows; whoever needs a block that is missing reads it.
    pub(super) fn prefetch(&self, wanted: &mut [Expect]) {
        let _nofs = NoFs::enter();
        sort(wanted);
        with_plug(|| {
            let mut rest = &*wanted;
            while let Some(first) = rest.first() {
                let Ok((batch, buf, count)) = self.gather(rest) else {
                    return;
                };
                if !batch.members.is_empty() {
                    let at = batch.members.first().map_or(first, |(expect, _)| expect);
                    self.source().read_ahead(at.logical, buf, batch);
                }
                rest = rest.get(count..).unwrap_or(&[]);
            }
        });
    }

    /// Takes blocks from the front of `wanted` as long as they are to be read and next to each
    /// other; returns how many it went over.
    fn gather(&self, wanted: &[Expect]) -> Result<(Batch, IoBuf, usize)> {
        let nodesize = self.verifier().geometry.nodesize;
        let len = usize::try_from(nodesize)?;
        let mut batch = Batch {
            index: self.index().clone(),
            members: KVec::new(),
        };
        let mut buf = IoBuf::new();
        let mut count = 0;
        for expect in wanted.iter().take(MAX_BATCH) {
            let follows = batch.members.last().is_none_or(|(last, _)| {
                last.logical.checked_add(u64::from(nodesize)) == Some(expect.logical)
            });
            if !follows {
                break;
            }
            let Some(ticket) = self.index().ticket(expect) else {
                // Cached: what was gathered ends here, and what was not goes on behind it.
                count += 1;
                if batch.members.is_empty() {
                    continue;
                }
                break;
            };
            let block = KBuf::new(len, GFP_KERNEL)?;
            batch.members.reserve(1, GFP_KERNEL)?;
            buf.push(Segment::Buf(block)).map_err(|_| ENOMEM)?;
            batch.members.push((*expect, ticket), GFP_KERNEL)?;
            count += 1;
        }
        Ok((batch, buf, count))
    }
}

/// Sorts by address: a heap sort. Here the stack is deep already, and `sort_unstable` of the core
/// library takes several KiB of it for elements of this size.
fn sort(wanted: &mut [Expect]) {
    for start in (0..wanted.len() / 2).rev() {
        sift_down(wanted, start);
    }
    for end in (1..wanted.len()).rev() {
        wanted.swap(0, end);
        sift_down(wanted.get_mut(..end).unwrap_or_default(), 0);
    }
}

/// Moves the element at `at` down to where no child of it in the heap is larger.
fn sift_down(heap: &mut [Expect], mut at: usize) {
    let key = |heap: &[Expect], at: usize| heap.get(at).map(|expect| expect.logical);
    loop {
        let left = 2 * at + 1;
        // No element is less than any element.
        let largest = if key(heap, left + 1) > key(heap, left) {
            left + 1
        } else {
            left
        };
        if key(heap, largest) <= key(heap, at) {
            return;
        }
        heap.swap(at, largest);
        at = largest;
    }
}

impl DataClient for Batch {
    type Output = ();

    fn position(&self, _offset: usize) -> FilePosition {
        FilePosition {
            tree: self
                .members
                .first()
                .and_then(|(expect, _)| expect.tree)
                .unwrap_or(TreeId(0)),
            ino: Ino(0),
            offset: 0,
        }
    }

    /// Files the blocks that are good; of the others, those who want them find out themselves.
    fn done(self, buf: IoBuf, bad: &[Range<usize>]) {
        let _nofs = NoFs::enter();
        let Self { index, members } = self;
        for ((expect, ticket), (start, segment)) in members.into_iter().zip(buf.into_segments()) {
            let Segment::Buf(block) = segment else {
                continue;
            };
            let end = start + block.len();
            if bad.iter().any(|bad| bad.start < end && start < bad.end) {
                continue;
            }
            if index.verifier.is_good(&block, &expect) {
                if let Ok(block) = index.make(block) {
                    ticket.finish(Ok(block));
                }
            }
        }
        index.trim();
    }
}
