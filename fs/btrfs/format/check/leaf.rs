// SPDX-License-Identifier: GPL-2.0

//! The structure of leaves: keys, and where item data lies.

use super::{CheckContext, Rule, Subject, Violation};
use crate::header::{Header, HeaderFlags};
use crate::key::Key;
use crate::leaf::{Item, Leaf};
use crate::superblock::Incompat;
use crate::types::TreeId;

/// Verifies a leaf whose header has been verified.
pub(super) fn check(
    block: &[u8],
    header: &Header,
    context: &CheckContext<'_>,
) -> Result<(), Violation> {
    let nritems = header.nritems.get();
    if nritems == 0 {
        return check_empty(header, context).map_err(Violation::of_block);
    }
    let leaf = Leaf::new(block);
    let max = context.geometry.body_size() / Item::SIZE;
    if usize::try_from(nritems) != Ok(leaf.nritems()) {
        return Err(Violation::of_block(Rule::Nritems { have: nritems, max }));
    }

    let mut walk = Walk {
        block,
        context,
        owner: header.owner(),
        data_end: size(context.geometry.body_size()),
        prev: None,
    };
    for (slot, item) in leaf.items().iter().enumerate() {
        let key = item.key.get();
        walk.check_item(slot, key, item).map_err(|rule| Violation {
            slot: u32::try_from(slot).ok(),
            key: Some(key),
            rule,
        })?;
    }
    Ok(())
}

/// Verifies that the tree may be empty.
fn check_empty(header: &Header, context: &CheckContext<'_>) -> Result<(), Rule> {
    // The owner of a relocation tree's block is the subvolume that it is a copy of.
    if header.flags().contains(HeaderFlags::RELOC) {
        return Ok(());
    }
    let owner = header.owner();
    match owner {
        TreeId(0) => Err(Rule::OwnerZero),
        TreeId::ROOT_TREE
        | TreeId::CHUNK_TREE
        | TreeId::DEV_TREE
        | TreeId::FS_TREE
        | TreeId::DATA_RELOC => Err(Rule::EmptyRoot { owner }),
        TreeId::EXTENT_TREE if !context.incompat.contains(Incompat::EXTENT_TREE_V2) => {
            Err(Rule::EmptyRoot { owner })
        }
        _ => Ok(()),
    }
}

/// The state of going through a leaf.
struct Walk<'a> {
    block: &'a [u8],
    context: &'a CheckContext<'a>,
    owner: TreeId,
    /// Where the next item's data must end, in bytes behind the header.
    data_end: u64,
    prev: Option<(Key, &'a [u8])>,
}

impl Walk<'_> {
    fn check_item(&mut self, slot: usize, key: Key, item: &Item) -> Result<(), Rule> {
        let prev_key = self.prev.map_or(Key::MIN, |(key, _)| key);
        if key <= prev_key {
            return Err(Rule::KeyOrder { prev: prev_key });
        }

        let start = u64::from(item.offset.get());
        let end = start.saturating_add(u64::from(item.size.get()));
        if end != self.data_end {
            return Err(Rule::ItemEnd {
                have: end,
                want: self.data_end,
            });
        }
        let headers = size(slot)
            .saturating_add(1)
            .saturating_mul(size(Item::SIZE));
        if start < headers {
            return Err(Rule::ItemOverlap {
                start,
                min: headers,
            });
        }
        // Cannot fail after what has been verified: the first item ends at the block's end.
        let data = item.range().and_then(|range| self.block.get(range));
        let Some(data) = data else {
            return Err(Rule::ItemEnd {
                have: end,
                want: self.data_end,
            });
        };

        let subject = Subject {
            context: self.context,
            owner: self.owner,
            key,
            data,
            prev: self.prev,
        };
        subject.check()?;
        self.data_end = start;
        self.prev = Some((key, data));
        Ok(())
    }
}

/// A size within a block as `u64`.
fn size(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
