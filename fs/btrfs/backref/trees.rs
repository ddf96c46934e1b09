// SPDX-License-Identifier: GPL-2.0

//! The trees that a block is part of.

use btrfs_format::extent::ExtentRef;
use btrfs_format::types::{Logical, TreeId};
use kernel::prelude::*;

use super::{pause, Backrefs};
use crate::tree::BlockRef;

/// Blocks on the way up, each once.
#[derive(Default)]
struct Climb {
    /// Where was been; sorted.
    seen: KVVec<Logical>,
    /// Where to go on.
    todo: KVVec<BlockRef>,
    /// What was found; sorted.
    trees: KVVec<TreeId>,
}

impl Climb {
    fn visit(&mut self, block: BlockRef) -> Result {
        if insert(&mut self.seen, block.logical())? {
            self.todo.push(block, GFP_KERNEL)?;
        }
        Ok(())
    }
}

/// Inserts into a sorted vector; returns whether it was not there yet.
fn insert<T: Ord>(sorted: &mut KVVec<T>, value: T) -> Result<bool> {
    match sorted.binary_search(&value) {
        Ok(_) => Ok(false),
        Err(at) => {
            sorted.push(value, GFP_KERNEL)?;
            if let Some(tail) = sorted.get_mut(at..) {
                tail.rotate_right(1);
            }
            Ok(true)
        }
    }
}

impl Backrefs<'_> {
    /// The ids of all trees that `block` is part of, in order.
    pub(super) fn trees(&self, block: &BlockRef) -> Result<KVVec<TreeId>> {
        let mut climb = Climb::default();
        climb.visit(block.clone())?;
        while let Some(block) = climb.todo.pop() {
            pause()?;
            for reference in &self.block_refs(&block)? {
                match *reference {
                    ExtentRef::TreeBlock { root } => self.by_tree(&block, root, &mut climb)?,
                    ExtentRef::SharedBlock { parent } if parent != block.logical() => {
                        let parent = self.block(parent)?;
                        // One level higher each time: so this ends.
                        if parent.level() != block.level().saturating_add(1) {
                            return Err(EUCLEAN);
                        }
                        climb.visit(parent)?;
                    }
                    _ => {}
                }
            }
        }
        Ok(climb.trees)
    }

    /// Tree `id` refers to `block`: as its root, or from the block above on the way to its keys.
    fn by_tree(&self, block: &BlockRef, id: TreeId, climb: &mut Climb) -> Result {
        let root = match self.roots.get_even_dead(id) {
            Err(error) if error == ENOENT => return Ok(()),
            root => root?,
        };
        let tree = root.view();
        let top = tree.root();
        if top.logical() == block.logical() {
            insert(&mut climb.trees, id)?;
            return Ok(());
        }
        // An empty block is a root only.
        let Some(first) = block.key(0) else {
            return Ok(());
        };
        let above = block.level().saturating_add(1);
        let Some(parent) = tree.node_at(&first, above)? else {
            return Ok(());
        };
        let slot = parent.node().search(&first);
        if parent.node().child(slot).map(|child| child.logical) == Some(block.logical()) {
            climb.visit(parent)?;
        }
        Ok(())
    }
}
