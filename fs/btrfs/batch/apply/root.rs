// SPDX-License-Identifier: GPL-2.0

//! What becomes of the root.
//!
//! A root of several blocks gets nodes on top; a node with one pointer does not stay root. A tree
//! without items keeps one empty leaf. A root is never shared with another tree: a committed block
//! that becomes the root is copied first.

use super::pack::{cut, Pos, Shape};
use super::run::{pieces, Run};
use super::stream::{Growth, Stream};
use super::{broken, Apply};
use crate::build::{new_header, LeafBuilder};
use crate::error::{Error, Result};
use crate::mem::{KVVec, GFP_NOFAIL};
use crate::store::{BlockPtr, Env, RootPtr, Store};
use btrfs_format::header::Header;
use btrfs_format::node::{ChildPtr, KeyPtr, Node};
use btrfs_format::types::MAX_LEVEL;
use btrfs_format::{Key, Logical, TreeId};

/// Writes the root of a tree that has no items: an empty leaf.
///
/// # Errors
///
/// Those of the store.
pub fn empty_root<S: Store>(env: &Env, store: &mut S, tree: TreeId) -> Result<RootPtr> {
    let at = store.place(tree, 0)?;
    empty_leaf(env, store, tree, at)
}

/// Copies the root of a tree as it is, unless it is a work block: for a tree whose root must be of the
/// transaction, whether there are changes or not.
///
/// # Errors
///
/// Those of the store.
pub fn renew_root<S: Store>(
    env: &Env,
    store: &mut S,
    tree: TreeId,
    root: RootPtr,
) -> Result<RootPtr> {
    if root.generation == env.transid {
        return Ok(root);
    }
    let ptr = BlockPtr {
        logical: root.logical,
        generation: root.generation,
        level: root.level,
        first: None,
    };
    let block = store.read(tree, &ptr)?;
    store.copied(tree, &block, true)?;
    copy_root(env, store, tree, &block, root.level)
}

/// Writes a copy of a committed block that becomes the root.
fn copy_root<S: Store>(
    env: &Env,
    store: &mut S,
    tree: TreeId,
    old: &[u8],
    level: u8,
) -> Result<RootPtr> {
    let at = store.place(tree, level)?;
    let mut header = new_header(env, tree, at, level);
    header.nritems = Header::of(old).ok_or(broken())?.nritems;
    let mut buf = store.buffer()?;
    if buf.len() != old.len() {
        return Err(broken());
    }
    buf.copy_from_slice(old);
    let place = buf.get_mut(..Header::SIZE).ok_or(broken())?;
    place.copy_from_slice(header.to_disk());
    store.write(tree, at, level, buf)?;
    Ok(RootPtr {
        logical: at,
        generation: env.transid,
        level,
    })
}

fn empty_leaf<S: Store>(env: &Env, store: &mut S, tree: TreeId, at: Logical) -> Result<RootPtr> {
    let mut buf = store.buffer()?;
    LeafBuilder::new(&mut buf).finish(new_header(env, tree, at, 0));
    store.write(tree, at, 0, buf)?;
    Ok(RootPtr {
        logical: at,
        generation: env.transid,
        level: 0,
    })
}

impl<S: Store> Apply<'_, S> {
    /// Where the run of the root leaves no root of its level, decides what the new root is instead
    /// and returns true. No block is written for the old level then.
    pub(super) fn replace_root(&mut self, run: &Run<S::Block>) -> Result<bool> {
        let weight = run.stream.weight;
        let mut work = run.sources.iter().filter(|source| source.work);
        if self.top == 1 {
            if weight > 0 {
                return Ok(false);
            }
            self.new_root = Some(match work.next() {
                Some(source) => empty_leaf(self.env, self.store, self.tree, source.logical)?,
                None => empty_root(self.env, self.store, self.tree)?,
            });
            return Ok(true);
        }
        if weight > KeyPtr::SIZE {
            return Ok(false);
        }
        for source in work {
            self.store.drop_block(self.tree, &source.block)?;
        }
        self.new_root = Some(match run.only_pointer() {
            Some(child) => self.lower_root(child, self.top - 2)?,
            None => empty_root(self.env, self.store, self.tree)?,
        });
        Ok(true)
    }

    /// Makes a root of the only child of the old one.
    fn lower_root(&mut self, child: ChildPtr, level: usize) -> Result<RootPtr> {
        let mut ptr = BlockPtr {
            logical: child.logical,
            generation: child.generation,
            level: u8::try_from(level).map_err(|_| broken())?,
            first: Some(child.key),
        };
        loop {
            let source = self.read(&ptr)?;
            let node = Node::new(&source.block);
            let only = match ptr.level.checked_sub(1) {
                Some(level) if node.nritems() == 1 => node.child(0).map(|child| (level, child)),
                _ => None,
            };
            if source.work && only.is_none() {
                return Ok(RootPtr {
                    logical: ptr.logical,
                    generation: ptr.generation,
                    level: ptr.level,
                });
            }
            if source.work {
                self.store.drop_block(self.tree, &source.block)?;
            } else {
                self.store.copied(self.tree, &source.block, false)?;
            }
            let Some((level, child)) = only else {
                return copy_root(self.env, self.store, self.tree, &source.block, ptr.level);
            };
            ptr = BlockPtr {
                logical: child.logical,
                generation: child.generation,
                level,
                first: Some(child.key),
            };
        }
    }

    /// The root after the walk; puts nodes on top of several blocks.
    pub(super) fn finish(&mut self) -> Result<RootPtr> {
        if let Some(root) = self.new_root {
            return Ok(root);
        }
        let (old, top) = (self.root, self.top);
        let frame = self.frame(top)?;
        if !frame.changed {
            return Ok(old);
        }
        let mut stream = core::mem::take(&mut frame.stream);
        let mut level = old.level;
        while stream.fresh.len() > 1 {
            level += 1;
            if level >= MAX_LEVEL {
                return Err(Error::NoSpace);
            }
            stream = self.grow(&stream, level)?;
        }
        let root = stream.fresh.first().ok_or(broken())?;
        Ok(RootPtr {
            logical: root.logical,
            generation: root.generation,
            level,
        })
    }

    /// Writes nodes at `level` that hold all pointers of `below`, and returns pointers to them.
    fn grow(&mut self, below: &Stream, level: u8) -> Result<Stream> {
        let shape = Shape {
            weight: below.weight,
            capacity: self.capacity(usize::from(level)),
            before: 0,
            tail: true,
        };
        let cuts = cut(&super::stream::Pointers, &below.segs, &Growth::Many, shape)?;
        let mut new: KVVec<ChildPtr> = KVVec::new();
        let mut from = Pos::START;
        for to in &cuts {
            let at = self.store.place(self.tree, level)?;
            let segs = pieces(&below.segs, from, *to);
            let key: Key = self.write_node(at, level, &[], &below.fresh, segs)?;
            let ptr = ChildPtr {
                key,
                logical: at,
                generation: self.env.transid,
            };
            new.push(ptr, GFP_NOFAIL)?;
            from = *to;
        }
        let mut above = Stream::default();
        above.push_fresh(&new, 0)?;
        Ok(above)
    }
}
