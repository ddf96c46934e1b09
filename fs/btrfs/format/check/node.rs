// SPDX-License-Identifier: GPL-2.0

//! Nodes: keys and pointers.

use super::{CheckContext, Field, Rule, Violation};
use crate::header::Header;
use crate::key::Key;
use crate::node::{ChildPtr, Node};

/// Verifies a node whose header has been verified.
pub(super) fn check(
    block: &[u8],
    header: &Header,
    context: &CheckContext<'_>,
) -> Result<(), Violation> {
    let node = Node::new(block);
    let nritems = header.nritems.get();
    if nritems == 0 || usize::try_from(nritems) != Ok(node.nritems()) {
        return Err(Violation::of_block(Rule::Nritems {
            have: nritems,
            max: context.geometry.max_node_ptrs(),
        }));
    }
    let mut prev = None;
    for (slot, ptr) in node.ptrs().iter().enumerate() {
        let child = ChildPtr::from(ptr);
        check_child(context, &child, prev).map_err(|rule| Violation {
            slot: u32::try_from(slot).ok(),
            key: Some(child.key),
            rule,
        })?;
        prev = Some(child.key);
    }
    Ok(())
}

fn check_child(
    context: &CheckContext<'_>,
    child: &ChildPtr,
    prev: Option<Key>,
) -> Result<(), Rule> {
    if let Some(prev) = prev {
        if child.key <= prev {
            return Err(Rule::KeyOrder { prev });
        }
    }
    let field = Field::BlockPtr;
    let have = child.logical.get();
    if have == 0 {
        return Err(Rule::Zero { field });
    }
    if !context.geometry.is_sector_aligned(have) {
        return Err(Rule::Unaligned {
            field,
            have,
            align: context.geometry.sectorsize,
        });
    }
    Ok(())
}
