// SPDX-License-Identifier: GPL-2.0

//! The cache of tree blocks.

use btrfs_format::key::Key;
use btrfs_format::types::{Logical, TreeId, Uuid};
use core::fmt;
use kernel::{prelude::*, sync::Arc};
use kfs::block::IoBuf;
use kfs::mem::{until_memory, NoFs, Shrinker};

use super::batch::Batch;
use super::block::{BlockBuf, BlockRef, Expect, Usage};
use super::index::{Found, Index, Ticket};
use super::verify::{self, Verifier};

/// How much a message about a block matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Severity {
    /// Something is wrong, but there is a way on.
    Warning,
    /// Something failed.
    Error,
    /// The filesystem is damaged.
    Critical,
}

/// Where tree blocks come from: the volume, or a test.
pub(crate) trait BlockSource: Send + Sync {
    /// Reads the tree block at `at`, trying all copies until `verify(bytes, mirror)` accepts
    /// one. Sleeps. Fails with what `verify` said of the last copy, or with what reading gave.
    fn read(&self, at: Logical, verify: &dyn Fn(&[u8], u32) -> Result) -> Result<BlockBuf>;

    /// Begins to fill `buf` with what is at `at`, for `batch`.
    fn read_ahead(&self, at: Logical, buf: IoBuf, batch: Batch);

    /// Whether a block with this UUID belongs to the filesystem or to one of its seeds.
    fn is_own(&self, fsid: Uuid) -> bool;

    /// Writes a line to the kernel log, in the name of the filesystem.
    fn report(&self, severity: Severity, message: fmt::Arguments<'_>);
}

/// The cache of a filesystem's tree blocks.
pub(crate) struct TreeCache {
    source: Arc<dyn BlockSource>,
    index: Arc<Index>,
    _shrinker: Shrinker<Index>,
}

impl TreeCache {
    /// An empty cache that reads from `source`, checks with `verifier`, and keeps up to `limit`
    /// bytes.
    pub(crate) fn new(
        source: Arc<dyn BlockSource>,
        verifier: Verifier,
        limit: usize,
    ) -> Result<Arc<Self>> {
        let index = Index::new(verifier, limit)?;
        let shrinker = Shrinker::register(c"btrfs-tree", index.clone())?;
        let cache = Self {
            source,
            index,
            _shrinker: shrinker,
        };
        Ok(Arc::new(cache, GFP_KERNEL)?)
    }

    /// The memory of the blocks that are alive, cached or held by someone.
    pub(crate) fn usage(&self) -> &Usage {
        &self.index.usage
    }

    /// Bytes of the blocks in the cache.
    pub(crate) fn cached_bytes(&self) -> usize {
        self.index.cached_bytes()
    }

    /// Bytes that it may take.
    pub(crate) fn limit(&self) -> usize {
        self.index.limit()
    }

    pub(super) fn index(&self) -> &Arc<Index> {
        &self.index
    }

    /// What blocks are checked against.
    pub(crate) fn verifier(&self) -> &Verifier {
        &self.index.verifier
    }

    /// Where blocks come from.
    pub(crate) fn source(&self) -> &dyn BlockSource {
        &*self.source
    }

    /// The block that `expect` describes, from the cache or read now.
    ///
    /// Sleeps. Fails with `EIO` when there is no good copy, `EUCLEAN` when it does not fit what is
    /// expected, or `ENOMEM`.
    pub(crate) fn get(&self, expect: &Expect) -> Result<BlockRef> {
        let block = loop {
            match self.index.look(expect)? {
                Found::Ready(block) => break block,
                Found::Missing(ticket) => return self.read(expect, ticket),
                Found::Loading(load) => match load.wait() {
                    // A readahead that came to nothing.
                    Err(error) if error == EAGAIN => {}
                    result => break result?,
                },
            }
        };
        // The one who read it may have expected something else.
        verify::matches(&block, expect).inspect_err(|&_error| {
            self.report_mismatch(&block, expect);
        })?;
        Ok(block)
    }

    /// The block that `expect` describes, if it is cached.
    pub(crate) fn peek(&self, expect: &Expect) -> Option<BlockRef> {
        let block = self.index.peek(expect)?;
        verify::matches(&block, expect).ok()?;
        Some(block)
    }

    /// Files a block that a commit wrote, so that nobody has to read it.
    ///
    /// The caller vouches for the bytes as [`Verifier`] does for those it reads. `EUCLEAN` if a
    /// block with this address and generation is there. Waits for memory.
    pub(crate) fn insert(&self, buf: BlockBuf) -> Result<BlockRef> {
        let _nofs = NoFs::enter();
        let block = self.index.make(buf)?;
        let expect = Expect {
            logical: block.logical(),
            generation: block.generation(),
            level: block.level(),
            tree: None,
            first: None,
        };
        match until_memory(|| self.index.look(&expect))? {
            Found::Missing(ticket) => ticket.finish(Ok(block.clone())),
            _ => return Err(EUCLEAN),
        }
        self.index.trim();
        Ok(block)
    }

    /// The child at `slot` of `parent`, whose keys must be below `upper`; it is linked.
    ///
    /// Errors are those of [`Self::get`], and `EUCLEAN` when parent and child do not fit.
    pub(super) fn child(
        &self,
        parent: &BlockRef,
        slot: usize,
        tree: TreeId,
        upper: Option<Key>,
    ) -> Result<BlockRef> {
        let expect = parent.expect(slot, Some(tree)).ok_or(EUCLEAN)?;
        parent.readahead.visit(self, parent, slot, tree);
        let child = self.get(&expect)?;
        verify::below(&child, upper).inspect_err(|&_error| {
            self.source.report(
                Severity::Critical,
                format_args!(
                    "corrupt {}: root={} block={} slot={}, bad key order, last key of the block \
                     is not below the next key of its parent block={}",
                    verify::kind(child.level()),
                    child.owner(),
                    child.logical(),
                    child.nritems().saturating_sub(1),
                    parent.logical(),
                ),
            );
        })?;
        self.index.link(parent, slot, &child);
        Ok(child)
    }

    /// Reads the block and files it.
    fn read(&self, expect: &Expect, ticket: Ticket) -> Result<BlockRef> {
        // Others may wait for this read who came here from reclaim.
        let _nofs = NoFs::enter();
        let result = self.read_block(expect);
        ticket.finish(result.clone());
        self.index.trim();
        result
    }

    fn read_block(&self, expect: &Expect) -> Result<BlockRef> {
        let source = self.source();
        let check =
            |bytes: &[u8], mirror: u32| self.verifier().check(source, bytes, mirror, expect);
        let read = source.read(expect.logical, &check);
        // The log says what is wrong; callers hear that there is no good copy.
        let buf = read.map_err(|error| match error {
            ENOMEM => ENOMEM,
            _ => EIO,
        })?;
        self.index.make(buf)
    }

    fn report_mismatch(&self, block: &BlockRef, expect: &Expect) {
        self.source.report(
            Severity::Error,
            format_args!(
                "tree block {} does not fit its parent: level {} owner {}, wanted level {} in \
                 root {}",
                block.logical(),
                block.level(),
                block.owner(),
                expect.level,
                expect.tree.unwrap_or(TreeId(0)),
            ),
        );
    }
}

impl Drop for TreeCache {
    fn drop(&mut self) {
        // Reads ahead keep devices open until they are done.
        self.index.quiesce();
    }
}
