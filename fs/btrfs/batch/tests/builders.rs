// SPDX-License-Identifier: GPL-2.0

//! Blocks that builders make pass the checker and hold what was pushed.

mod support;

use btrfs_batch::build::new_header;
use btrfs_batch::{LeafBuilder, NodeBuilder};
use btrfs_format::node::ChildPtr;
use btrfs_format::{Generation, Header, Key, Leaf, Logical, Node, TreeId};
use support::{Memory, Random, TREE};

const SIZES: [u32; 5] = [4096, 8192, 16384, 32768, 65536];
const AT: Logical = Logical(1 << 30);

fn key(index: usize) -> Key {
    Key::new(index as u64 / 3 + 1, 2, index as u64 % 3 + 1)
}

fn leaf(memory: &Memory, items: &[Vec<u8>]) -> Vec<u8> {
    let mut block = vec![0xcc; memory.geometry.nodesize as usize];
    let mut builder = LeafBuilder::new(&mut block);
    for (index, data) in items.iter().enumerate() {
        builder.push(key(index), data).unwrap();
    }
    builder.finish(new_header(&memory.env(), TREE, AT, 0));
    memory.check_at(&block, AT, 0);
    block
}

#[test]
fn leaves_round_trip() {
    let mut random = Random(1);
    for size in SIZES {
        let memory = Memory::new(size);
        let body = memory.geometry.body_size();
        for most in [0, 1, 40, body / 5, body - 25] {
            let (mut items, mut room) = (Vec::new(), body);
            loop {
                let len = random.below(most as u64 + 1) as usize;
                if len + 25 > room {
                    break;
                }
                items.push(random.bytes(len));
                room -= len + 25;
            }
            let block = leaf(&memory, &items);
            let view = Leaf::new(&block);
            assert_eq!(view.nritems(), items.len());
            for (index, data) in items.iter().enumerate() {
                assert_eq!(view.entry(index).unwrap(), (key(index), &data[..]));
            }

            // The same in pieces.
            let mut copy = vec![0xdd; block.len()];
            let mut builder = LeafBuilder::new(&mut copy);
            let (mut from, count) = (0, items.len());
            while from < count {
                let to = (from + random.below(count as u64) as usize + 1).min(count);
                builder.push_range(&view, from..to).unwrap();
                builder.push_range(&view, to..to).unwrap();
                from = to;
            }
            assert_eq!(builder.room(), room);
            builder.finish(new_header(&memory.env(), TREE, AT, 0));
            assert!(copy == block);
        }
    }
}

#[test]
fn leaves_fullest_and_emptiest() {
    for size in SIZES {
        let memory = Memory::new(size);
        let body = memory.geometry.body_size();
        assert_eq!(Leaf::new(&leaf(&memory, &[])).nritems(), 0);
        let block = leaf(&memory, &[vec![1; body - 25]]);
        let mut full = block.clone();
        let mut builder = LeafBuilder::new(&mut full);
        let view = Leaf::new(&block);
        builder.push_range(&view, 0..1).unwrap();
        assert_eq!(builder.room(), 0);
        assert!(builder.push(key(9), &[]).is_err());
        assert!(builder.push_range(&view, 0..1).is_err());
        assert!(builder.push_range(&view, 0..2).is_err());
        // Only headers.
        let block = leaf(&memory, &vec![Vec::new(); body / 25]);
        assert_eq!(Leaf::new(&block).nritems(), body / 25);
        let mut again = vec![0; block.len()];
        assert!(LeafBuilder::new(&mut again)
            .push(key(1), &vec![0; body - 24])
            .is_err());
    }
}

#[test]
fn nodes() {
    for size in SIZES {
        let memory = Memory::new(size);
        let most = memory.geometry.max_node_ptrs();
        for count in [1, 2, most] {
            let ptr = |index: usize| ChildPtr {
                key: key(index),
                logical: Logical((index as u64 + 1) << 16),
                generation: Generation(1),
            };
            let mut block = vec![0xcc; size as usize];
            let mut builder = NodeBuilder::new(&mut block);
            for index in 0..count {
                builder.push(ptr(index)).unwrap();
            }
            if count == most {
                assert!(builder.push(ptr(count)).is_err());
            }
            builder.finish(new_header(&memory.env(), TREE, AT, 3));
            memory.check_at(&block, AT, 3);
            let node = Node::new(&block);
            assert_eq!(node.nritems(), count);
            assert!((0..count).all(|index| node.child(index) == Some(ptr(index))));

            let mut copy = vec![0xdd; size as usize];
            let mut builder = NodeBuilder::new(&mut copy);
            builder.push_range(&node, 0..1).unwrap();
            builder.push_range(&node, 1..count).unwrap();
            assert!(builder.push_range(&node, 0..count + 1).is_err());
            builder.finish(new_header(&memory.env(), TREE, AT, 3));
            assert!(copy == block);
        }
    }
}

#[test]
fn header() {
    let memory = Memory::new(4096);
    let block = leaf(&memory, &[vec![1, 2, 3]]);
    let header = Header::of(&block).unwrap();
    assert_eq!(header.csum, [0; 32]);
    assert_eq!(header.bytenr(), AT);
    // WRITTEN, and mixed back references.
    assert_eq!(header.flags.get(), 1 << 56 | 1);
    assert_eq!(header.chunk_tree_uuid, memory.env().chunk_tree_uuid);
    assert_eq!(header.owner(), TreeId(300));
    assert_eq!(header.generation(), Generation(memory.transid));
    assert!(block[101 + 25..4096 - 3].iter().all(|byte| *byte == 0));
}
