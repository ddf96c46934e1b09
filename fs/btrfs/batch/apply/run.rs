// SPDX-License-Identifier: GPL-2.0

//! Runs: changed children of one node that are neighbours are rebuilt together.

use super::pack::{cut, Pos, Shape};
use super::stream::{leaf_weight, Growth, Items, Origin, Pointers, Seg, Source, Stream};
use super::{broken, Apply, MAX_RUN};
use crate::build::{new_header, LeafBuilder, NodeBuilder};
use crate::error::Result;
use crate::mem::{KVVec, GFP_NOFAIL};
use crate::store::{BlockPtr, Store};
use btrfs_format::leaf::Leaf;
use btrfs_format::node::{ChildPtr, KeyPtr, Node};
use btrfs_format::{Key, Logical};
use core::ops::Deref;

/// A neighbour of a run that may be taken in.
struct Neighbour<B> {
    source: Source<B>,
    /// Number and weight of its entries.
    count: usize,
    weight: usize,
}

/// A run of a frame's children.
pub(super) struct Run<B> {
    /// The children's slots; empty if there is no run.
    from: usize,
    to: usize,
    /// The blocks, those aside that were removed as a whole.
    pub(super) sources: KVVec<Source<B>>,
    /// What is in the new blocks.
    pub(super) stream: Stream,
}

impl<B> Default for Run<B> {
    fn default() -> Self {
        Self {
            from: 0,
            to: 0,
            sources: KVVec::new(),
            stream: Stream::default(),
        }
    }
}

impl<B> Run<B> {
    fn is_empty(&self) -> bool {
        self.from == self.to
    }

    fn clear(&mut self) {
        self.from = 0;
        self.to = 0;
        self.sources.clear();
        self.stream.clear();
    }
}

impl<S: Store> Apply<'_, S> {
    /// Adds the child at `slot` of the frame at `level` to its run: a changed block and its new
    /// entries, or nothing where a subtree went.
    pub(super) fn join(
        &mut self,
        level: usize,
        slot: usize,
        block: Option<(Source<S::Block>, &Stream)>,
    ) -> Result {
        let run = &self.frame(level)?.run;
        let full = run.sources.len() >= MAX_RUN;
        if !run.is_empty() && (run.to != slot || full) {
            let goes_on = run.to == slot;
            self.close_run(level, goes_on)?;
        }
        let run = &mut self.frame(level)?.run;
        if run.is_empty() {
            run.from = slot;
        }
        run.to = slot + 1;
        if let Some((source, stream)) = block {
            run.stream.append(stream, run.sources.len())?;
            run.sources.push(source, GFP_NOFAIL)?;
        }
        Ok(())
    }

    /// Rebuilds the run of the frame at `level` and puts the new pointers in place of the old ones.
    ///
    /// `goes_on` says that the next child changes too, and would only be in the way.
    pub(super) fn close_run(&mut self, level: usize, goes_on: bool) -> Result {
        let frame = self.frame(level)?;
        if frame.run.is_empty() {
            return Ok(());
        }
        let mut run = core::mem::take(&mut frame.run);
        if !goes_on {
            self.absorb(level, &mut run)?;
        }
        let mut new = KVVec::new();
        if level != self.top || !self.replace_root(&run)? {
            new = self.rebuild(level, &run)?;
        }
        let root = self.root;
        let frame = self.frame(level)?;
        let slots = run.from..run.to;
        let same = slots.len() == new.len()
            && slots
                .clone()
                .zip(&new)
                .all(|(slot, ptr)| frame.child(slot, &root).as_ref() == Some(ptr));
        if !same {
            frame.stream.push_ptrs(frame.done, slots.start)?;
            frame.stream.push_fresh(&new, slots.len())?;
            frame.done = slots.end;
            frame.changed = true;
        }
        run.clear();
        frame.run = run;
        Ok(())
    }

    /// Where a run leaves one small block: takes in the neighbour to the right or left.
    fn absorb(&mut self, level: usize, run: &mut Run<S::Block>) -> Result {
        let capacity = self.capacity(level - 1);
        if run.stream.weight == 0 || run.stream.weight >= capacity / 4 {
            return Ok(());
        }
        let frame = self.frame(level)?;
        let right = Some(run.to).filter(|slot| *slot < frame.count);
        let left = run.from.checked_sub(1).filter(|slot| *slot >= frame.done);
        for slot in right.into_iter().chain(left) {
            let Some(neighbour) = self.spare(level, slot)? else {
                continue;
            };
            let Neighbour {
                source,
                count,
                weight,
            } = neighbour;
            if run.stream.weight + weight > capacity {
                continue;
            }
            if !source.work {
                self.store.copied(self.tree, &source.block, false)?;
            }
            let index = run.sources.len();
            if slot == run.to {
                let seg = Seg {
                    origin: Origin::Old(index),
                    from: 0,
                    to: count,
                };
                run.stream.push(seg, weight)?;
                run.to += 1;
            } else {
                run.stream.prepend(index, 0..count, weight)?;
                run.from -= 1;
            }
            run.stream.growth = Growth::Many;
            run.sources.push(source, GFP_NOFAIL)?;
            return Ok(());
        }
        Ok(())
    }

    /// The child at `slot`, if it may be taken in.
    fn spare(&mut self, level: usize, slot: usize) -> Result<Option<Neighbour<S::Block>>> {
        let root = self.root;
        let child = self.frame(level)?.child(slot, &root).ok_or(broken())?;
        let ptr = BlockPtr {
            logical: child.logical,
            generation: child.generation,
            level: u8::try_from(level - 1).map_err(|_| broken())?,
            first: Some(child.key),
        };
        let Some(block) = self.store.spare(self.tree, &ptr)? else {
            return Ok(None);
        };
        let (count, weight) = match level {
            1 => {
                let leaf = Leaf::new(&block);
                (leaf.nritems(), leaf_weight(&leaf, &(0..leaf.nritems()))?)
            }
            _ => {
                let count = Node::new(&block).nritems();
                (count, count * KeyPtr::SIZE)
            }
        };
        let source = Source {
            block,
            logical: ptr.logical,
            work: ptr.generation == self.env.transid,
        };
        Ok(Some(Neighbour {
            source,
            count,
            weight,
        }))
    }

    /// Writes the new blocks of a run and returns pointers to them.
    fn rebuild(&mut self, level: usize, run: &Run<S::Block>) -> Result<KVVec<ChildPtr>> {
        let frame = self.frame(level)?;
        let tail = frame.upper.is_none() && run.to == frame.count;
        let level = level - 1;
        let shape = Shape {
            weight: run.stream.weight,
            capacity: self.capacity(level),
            before: run.sources.len(),
            tail,
        };
        let stream = &run.stream;
        let cuts = match level {
            0 => {
                let items = Items {
                    sources: &run.sources,
                    changes: self.changes,
                };
                cut(&items, &stream.segs, &stream.growth, shape)?
            }
            _ => cut(&Pointers, &stream.segs, &stream.growth, shape)?,
        };

        let mut new = KVVec::with_capacity(cuts.len(), GFP_NOFAIL)?;
        let mut work = run.sources.iter().filter(|source| source.work);
        let mut from = Pos::START;
        let disk_level = u8::try_from(level).map_err(|_| broken())?;
        for to in &cuts {
            let at = match work.next() {
                Some(source) => source.logical,
                None => self.store.place(self.tree, disk_level)?,
            };
            let segs = pieces(&stream.segs, from, *to);
            let key = match level {
                0 => self.write_leaf(at, &run.sources, segs)?,
                _ => self.write_node(at, disk_level, &run.sources, &stream.fresh, segs)?,
            };
            let ptr = ChildPtr {
                key,
                logical: at,
                generation: self.env.transid,
            };
            new.push(ptr, GFP_NOFAIL)?;
            from = *to;
        }
        for source in work {
            self.store.drop_block(self.tree, &source.block)?;
        }
        Ok(new)
    }

    fn write_leaf(
        &mut self,
        at: Logical,
        sources: &[Source<S::Block>],
        segs: impl Iterator<Item = Seg>,
    ) -> Result<Key> {
        let items = Items {
            sources,
            changes: self.changes,
        };
        let mut buf = self.store.buffer()?;
        let mut builder = LeafBuilder::new(&mut buf);
        for seg in segs {
            match seg.origin {
                Origin::Old(source) => {
                    let leaf = items.leaf(source)?;
                    let pushed = builder.push_range(&leaf, seg.from..seg.to);
                    pushed.map_err(|_| broken())?;
                }
                Origin::New => {
                    for index in seg.from..seg.to {
                        let (key, data) = items.change(index)?;
                        builder.push(key, data).map_err(|_| broken())?;
                    }
                }
            }
        }
        builder.finish(new_header(self.env, self.tree, at, 0));
        let key = Leaf::new(&buf).key(0).ok_or(broken())?;
        self.store.write(self.tree, at, 0, buf)?;
        Ok(key)
    }

    pub(super) fn write_node(
        &mut self,
        at: Logical,
        level: u8,
        sources: &[Source<S::Block>],
        fresh: &[ChildPtr],
        segs: impl Iterator<Item = Seg>,
    ) -> Result<Key> {
        let mut buf = self.store.buffer()?;
        let mut builder = NodeBuilder::new(&mut buf);
        for seg in segs {
            match seg.origin {
                Origin::Old(source) => {
                    let source = sources.get(source).ok_or(broken())?;
                    let node = Node::new(&source.block);
                    let pushed = builder.push_range(&node, seg.from..seg.to);
                    pushed.map_err(|_| broken())?;
                }
                Origin::New => {
                    for child in fresh.get(seg.from..seg.to).ok_or(broken())? {
                        builder.push(*child).map_err(|_| broken())?;
                    }
                }
            }
        }
        builder.finish(new_header(self.env, self.tree, at, level));
        let key = Node::new(&buf).key(0).ok_or(broken())?;
        self.store.write(self.tree, at, level, buf)?;
        Ok(key)
    }
}

impl<B: Deref<Target = [u8]>> Run<B> {
    /// The first pointer of a run of nodes.
    pub(super) fn only_pointer(&self) -> Option<ChildPtr> {
        let seg = self.stream.segs.first()?;
        match seg.origin {
            Origin::Old(source) => {
                let source = self.sources.get(source)?;
                Node::new(&source.block).child(seg.from)
            }
            Origin::New => self.stream.fresh.get(seg.from).copied(),
        }
    }
}

/// The segments between two positions of a stream.
pub(super) fn pieces(segs: &[Seg], from: Pos, to: Pos) -> impl Iterator<Item = Seg> + '_ {
    let last = to.seg + usize::from(to.entry > 0);
    let range = segs.get(from.seg..last.min(segs.len())).unwrap_or(&[]);
    range.iter().enumerate().map(move |(index, seg)| {
        let index = from.seg + index;
        Seg {
            origin: seg.origin,
            from: seg.from + if index == from.seg { from.entry } else { 0 },
            to: if index == to.seg {
                seg.from + to.entry
            } else {
                seg.to
            },
        }
    })
}
