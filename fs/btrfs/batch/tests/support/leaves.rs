// SPDX-License-Identifier: GPL-2.0

//! Items without blocks, put into leaves for the tree checker.

use btrfs_batch::build::new_header;
use btrfs_batch::{Env, LeafBuilder};
use btrfs_format::superblock::Incompat;
use btrfs_format::{
    check_block, CheckContext, Expected, Generation, Geometry, Key, Logical, TreeId, Uuid,
};
use std::collections::BTreeMap;

/// Packs all items into leaves of a tree, and runs the tree checker over them.
pub fn check_items(
    items: &BTreeMap<Key, Vec<u8>>,
    geometry: &Geometry,
    tree: TreeId,
    transid: u64,
) {
    let fsid = Uuid([9; 16]);
    let env = Env {
        geometry: *geometry,
        transid: Generation(transid),
        fsid,
        chunk_tree_uuid: fsid,
    };
    let at = Logical(1 << 20);
    let incompat = Incompat::SKINNY_METADATA;
    let fsids = [fsid];
    let context = CheckContext::new(*geometry, incompat, Generation(transid), &fsids);
    let mut items = items.iter().peekable();
    while items.peek().is_some() {
        let mut block = vec![0; geometry.nodesize as usize];
        let mut builder = LeafBuilder::new(&mut block);
        while let Some((key, data)) = items.peek() {
            if builder.push(**key, data).is_err() {
                break;
            }
            items.next();
        }
        assert!(!builder.is_empty(), "an item that fits no leaf");
        builder.finish(new_header(&env, tree, at, 0));
        check_block(&block, &context, &Expected::at(at)).unwrap();
    }
}
