// SPDX-License-Identifier: GPL-2.0

//! Merges a batch of changes into a tree.
//!
//! One walk from left to right, on an explicit stack with one `Frame` per level:
//!
//! 1. *Partition.* A node hands each child the changes and cleared ranges from the child's key up
//!    to the next child's (its first child also gets what lies below). Children without any are
//!    neither read nor copied. A child that lies in a cleared range as a whole, and that nothing is
//!    put into, is not rebuilt: its subtree is read and reported as gone (`remove`).
//! 2. *Runs.* A leaf's share is compared with its items (`leaf`); what alters nothing ends there.
//!    Leaves that change and are neighbours under one node make a run. So do their parents, one
//!    level up: a node changes if a pointer does.
//! 3. *Pack.* A run is one stream of entries (`stream`), cut into blocks (`pack`) and written
//!    (`run`). New blocks keep the addresses of the run's work blocks. A small remainder takes a
//!    neighbour in.
//! 4. *Root.* Above the root stands a frame without a block, whose only child is the root. What
//!    its run leaves decides about the new root (`root`): nodes are put on top of several blocks,
//!    and a root with one pointer gives way to its child.
//!
//! Invariants:
//!
//! * All ancestors of a work block are work blocks. So when a block's contents change, every
//!   committed block on the path from the root changes too; they are announced
//!   ([`Store::copied`]) from the root down before the first change below them is reported.
//! * A frame that was announced is rebuilt, or removed.
//! * The result depends on the arguments only.
//!
//! Bounds: memory is proportional to the batch and to the runs in progress, which are at most
//! `MAX_RUN` old blocks per level; it does not depend on the size of the tree.

mod leaf;
mod pack;
mod prefetch;
mod remove;
mod root;
mod run;
mod stream;

pub use root::{empty_root, renew_root};

use crate::error::{Error, Result};
use crate::mem::{KVVec, GFP_NOFAIL};
use crate::store::{BlockPtr, Change, Edit, Env, RootPtr, Store};
use btrfs_format::node::{ChildPtr, KeyPtr, Node};
use btrfs_format::types::MAX_LEVEL;
use btrfs_format::{Key, TreeId};
use core::ops::RangeInclusive;
use run::Run;
use stream::{Source, Stream};

/// Most old blocks of a run. Longer ones are rebuilt piece by piece.
const MAX_RUN: usize = 64;

/// Applies a batch to a tree and returns its new root: the same pointer if nothing changed.
///
/// `changes` ascend strictly by key. `clears` are ranges of keys whose items go before the changes
/// are applied; they ascend and do not overlap. `root` is `None` for a tree that has no block yet;
/// it has none afterwards either if the batch puts nothing.
///
/// # Errors
///
/// Those of the store; [`Error::NoSpace`] if the tree would become too high; [`Error::Corrupt`] if
/// the batch is not in order, has an item that does not fit a leaf, or a block is not what its
/// parent says.
pub fn apply<S: Store>(
    env: &Env,
    store: &mut S,
    tree: TreeId,
    root: Option<RootPtr>,
    changes: &[Change<'_>],
    clears: &[RangeInclusive<Key>],
) -> Result<Option<RootPtr>> {
    check_batch(env, changes, clears)?;
    if changes.is_empty() && clears.is_empty() {
        return Ok(root);
    }
    let root = match root {
        Some(root) => root,
        None if changes.iter().any(|change| change.edit != Edit::Delete) => {
            empty_root(env, store, tree)?
        }
        None => return Ok(None),
    };
    if root.level >= MAX_LEVEL {
        return Err(Error::Corrupt("a tree is too high"));
    }
    let mut apply = Apply {
        env,
        store,
        tree,
        root,
        changes,
        clears,
        change: 0,
        clear: 0,
        frames: KVVec::new(),
        scratch: Stream::default(),
        window: KVVec::new(),
        top: usize::from(root.level) + 1,
        new_root: None,
    };
    apply.walk()?;
    apply.finish().map(Some)
}

/// What cannot be, whatever is on disk.
fn broken() -> Error {
    Error::Corrupt("a batch lost its place in a tree")
}

fn check_batch(env: &Env, changes: &[Change<'_>], clears: &[RangeInclusive<Key>]) -> Result {
    let mut prev = None;
    let max = env.geometry.max_item_size();
    for change in changes {
        if prev.is_some_and(|prev| prev >= change.key) {
            return Err(Error::Corrupt("the changes of a batch are not in order"));
        }
        prev = Some(change.key);
        if change.edit.data().is_some_and(|data| data.len() > max) {
            return Err(Error::Corrupt("an item does not fit a leaf"));
        }
    }
    let mut prev = None;
    for clear in clears {
        if clear.is_empty() || prev.is_some_and(|prev| prev >= *clear.start()) {
            return Err(Error::Corrupt("the ranges of a batch are not in order"));
        }
        prev = Some(*clear.end());
    }
    Ok(())
}

/// A node on the path from the root, and what has become of its children so far.
struct Frame<B> {
    /// The node; `None` above the root.
    node: Option<Source<B>>,
    /// The slot in the parent.
    slot: usize,
    /// Number of children.
    count: usize,
    /// The first key behind the subtree, if there is any.
    upper: Option<Key>,
    /// The first child that has not been looked at.
    next: usize,
    /// The first child that has not been announced for reading.
    prefetched: usize,
    /// Whether the store knows that the tree goes on with a work block instead.
    announced: bool,
    /// Whether the pointers are not what they were.
    changed: bool,
    /// The new pointers, up to those of the children before `done`.
    stream: Stream,
    done: usize,
    /// Changed children that are neighbours, the last ones before `next`.
    run: Run<B>,
}

impl<B: core::ops::Deref<Target = [u8]>> Frame<B> {
    /// The pointer to a child.
    fn child(&self, slot: usize, root: &RootPtr) -> Option<ChildPtr> {
        match &self.node {
            Some(node) => Node::new(&node.block).child(slot),
            None if slot == 0 => Some(ChildPtr {
                key: Key::MIN,
                logical: root.logical,
                generation: root.generation,
            }),
            None => None,
        }
    }

    /// The first key behind the child at `slot`, if there is any.
    fn upper_of(&self, slot: usize) -> Option<Key> {
        let node = self.node.as_ref()?;
        Node::new(&node.block).key(slot + 1).or(self.upper)
    }

    /// The child that is responsible for `key`, not before `next`.
    fn responsible(&self, key: &Key) -> usize {
        let Some(node) = &self.node else {
            return 0;
        };
        let node = Node::new(&node.block);
        let rest = node.ptrs().get(self.next..).unwrap_or(&[]);
        let behind = rest.partition_point(|ptr| ptr.key.get() <= *key);
        self.next + behind.saturating_sub(1)
    }
}

/// The state of applying one batch.
struct Apply<'a, S: Store> {
    env: &'a Env,
    store: &'a mut S,
    tree: TreeId,
    root: RootPtr,
    changes: &'a [Change<'a>],
    clears: &'a [RangeInclusive<Key>],
    /// The first change that is not behind the walk.
    change: usize,
    /// The first cleared range that does not end behind the walk.
    clear: usize,
    /// One per level, by the level of the node; the last is the one above the root.
    frames: KVVec<Frame<S::Block>>,
    /// The stream of the leaf at hand.
    scratch: Stream,
    /// What is announced for reading.
    window: KVVec<BlockPtr>,
    /// The level of the frame above the root.
    top: usize,
    /// The new root, if the old one's level is not kept.
    new_root: Option<RootPtr>,
}

impl<S: Store> Apply<'_, S> {
    fn frame(&mut self, level: usize) -> Result<&mut Frame<S::Block>> {
        self.frames.get_mut(level).ok_or(broken())
    }

    /// Goes through the tree and leaves what became of the root in the frame above it.
    fn walk(&mut self) -> Result {
        for _ in 0..=self.top {
            self.frames.push(
                Frame {
                    node: None,
                    slot: 0,
                    count: 0,
                    upper: None,
                    next: 0,
                    prefetched: 0,
                    announced: false,
                    changed: false,
                    stream: Stream::default(),
                    done: 0,
                    run: Run::default(),
                },
                GFP_NOFAIL,
            )?;
        }
        let mut level = self.top;
        let above = self.frame(level)?;
        above.count = 1;
        above.announced = true;
        loop {
            match self.next_child(level)? {
                Some(slot) => {
                    let (child, upper) = self.visit(level, slot)?;
                    if self.covers(&child, upper) {
                        self.remove_child(level, slot, &child)?;
                        self.pass(upper);
                    } else if level == 1 {
                        self.leaf(slot, &child, upper)?;
                        self.pass(upper);
                    } else {
                        self.descend(level, slot, &child, upper)?;
                        level -= 1;
                    }
                }
                None if level == self.top => return self.close_run(level, false),
                None => {
                    self.ascend(level)?;
                    level += 1;
                }
            }
        }
    }

    /// The next child of a frame that a change or cleared range may concern.
    fn next_child(&mut self, level: usize) -> Result<Option<usize>> {
        let change = self.changes.get(self.change).map(|change| change.key);
        let clear = self.clears.get(self.clear).map(|clear| *clear.start());
        let Some(key) = change.into_iter().chain(clear).min() else {
            return Ok(None);
        };
        let frame = self.frame(level)?;
        // Cleared ranges may begin before the child where the walk is.
        if frame.next >= frame.count || frame.upper.is_some_and(|upper| key >= upper) {
            return Ok(None);
        }
        Ok(Some(frame.responsible(&key)))
    }

    /// Moves a frame on behind a child; returns the child, and the first key behind it.
    fn visit(&mut self, level: usize, slot: usize) -> Result<(BlockPtr, Option<Key>)> {
        let root = self.root;
        let top = self.top;
        let transid = self.env.transid;
        if slot >= self.frame(level)?.prefetched {
            self.prefetch(level, slot)?;
        }
        let frame = self.frame(level)?;
        frame.next = slot + 1;
        let upper = frame.upper_of(slot);
        let child = frame.child(slot, &root).ok_or(broken())?;
        if child.generation > transid {
            return Err(Error::Corrupt("a tree block is newer than the transaction"));
        }
        let ptr = BlockPtr {
            logical: child.logical,
            generation: child.generation,
            level: u8::try_from(level - 1).map_err(|_| broken())?,
            first: Some(child.key).filter(|_| level != top),
        };
        Ok((ptr, upper))
    }

    /// Whether a cleared range covers a subtree, and nothing is put there.
    fn covers(&self, child: &BlockPtr, upper: Option<Key>) -> bool {
        let Some(clear) = self.clears.get(self.clear) else {
            return false;
        };
        let first = child.first.unwrap_or(Key::MIN);
        let last = upper.and_then(Key::prev).unwrap_or(Key::MAX);
        if *clear.start() > first || *clear.end() < last {
            return false;
        }
        let rest = self.changes.get(self.change..).unwrap_or(&[]);
        rest.iter()
            .take_while(|change| change.key <= last)
            .all(|change| change.edit == Edit::Delete)
    }

    /// Leaves what lies below `upper` behind.
    fn pass(&mut self, upper: Option<Key>) {
        let Some(upper) = upper else {
            self.change = self.changes.len();
            self.clear = self.clears.len();
            return;
        };
        while let Some(change) = self.changes.get(self.change) {
            if change.key >= upper {
                break;
            }
            self.change += 1;
        }
        while let Some(clear) = self.clears.get(self.clear) {
            if *clear.end() >= upper {
                break;
            }
            self.clear += 1;
        }
    }

    fn read(&mut self, ptr: &BlockPtr) -> Result<Source<S::Block>> {
        Ok(Source {
            block: self.store.read(self.tree, ptr)?,
            logical: ptr.logical,
            work: ptr.generation == self.env.transid,
        })
    }

    /// Makes the node at `ptr` the frame below `level`.
    fn descend(&mut self, level: usize, slot: usize, ptr: &BlockPtr, upper: Option<Key>) -> Result {
        let node = self.read(ptr)?;
        let count = Node::new(&node.block).nritems();
        if count == 0 {
            return Err(Error::Corrupt("a node has no pointers"));
        }
        let frame = self.frame(level - 1)?;
        frame.slot = slot;
        frame.count = count;
        frame.upper = upper;
        frame.next = 0;
        frame.prefetched = 0;
        frame.announced = node.work;
        frame.changed = false;
        frame.stream.clear();
        frame.done = 0;
        frame.node = Some(node);
        Ok(())
    }

    /// Hands what became of the node at `level` to its parent's run.
    fn ascend(&mut self, level: usize) -> Result {
        self.close_run(level, false)?;
        let frame = self.frame(level)?;
        let node = frame.node.take().ok_or(broken())?;
        if !frame.changed {
            return Ok(());
        }
        let (done, count, slot) = (frame.done, frame.count, frame.slot);
        let mut stream = core::mem::take(&mut frame.stream);
        stream.push_ptrs(done, count)?;
        self.join(level + 1, slot, Some((node, &stream)))?;
        self.frame(level)?.stream = stream;
        Ok(())
    }

    /// Announces the nodes from the root down to `level`, those that have not been yet.
    fn announce(&mut self, level: usize) -> Result {
        if self.frame(level)?.announced {
            return Ok(());
        }
        let path = self.frames.get_mut(level..).ok_or(broken())?;
        for (above, frame) in path.iter_mut().enumerate().rev() {
            if frame.announced {
                continue;
            }
            let node = frame.node.as_ref().ok_or(broken())?;
            let is_root = level + above + 1 == self.top;
            self.store.copied(self.tree, &node.block, is_root)?;
            frame.announced = true;
            frame.changed = true;
        }
        Ok(())
    }

    /// Room for entries in a block.
    fn capacity(&self, level: usize) -> usize {
        match level {
            0 => self.env.geometry.body_size(),
            _ => self.env.geometry.max_node_ptrs() * KeyPtr::SIZE,
        }
    }
}
