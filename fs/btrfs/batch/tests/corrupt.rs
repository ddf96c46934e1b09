// SPDX-License-Identifier: GPL-2.0

//! Blocks that no checker saw: a batch ends with a result, whatever is in them.

mod support;

use btrfs_batch::{apply, BlockPtr, Env, Error, Result, Store};
use btrfs_format::{Header, Key, Leaf, Logical, Node, TreeId};
use std::collections::HashMap;
use std::rc::Rc;
use support::{Batch, Blk, Mix, Model, Random, TREE};

/// A store that believes everything.
struct Loose {
    blocks: HashMap<u64, Rc<Vec<u8>>>,
    nodesize: u32,
    next: u64,
    calls: u64,
}

impl Loose {
    fn call(&mut self) -> Result {
        // A tree that loops ends by its height, but may fan out a lot until then.
        self.calls += 1;
        if self.calls > 20_000 {
            return Err(Error::Io);
        }
        Ok(())
    }
}

impl Store for Loose {
    type Block = Blk;
    type Buf = Vec<u8>;

    fn read(&mut self, _: TreeId, at: &BlockPtr) -> Result<Blk> {
        self.call()?;
        let block = self.blocks.get(&at.logical.get()).ok_or(Error::Io)?;
        Ok(Blk(block.clone()))
    }

    fn spare(&mut self, tree: TreeId, at: &BlockPtr) -> Result<Option<Blk>> {
        self.read(tree, at).map(Some)
    }

    fn buffer(&mut self) -> Result<Vec<u8>> {
        Ok(vec![0; self.nodesize as usize])
    }

    fn place(&mut self, _: TreeId, _: u8) -> Result<Logical> {
        self.call()?;
        self.next += 4096;
        Ok(Logical(self.next))
    }

    fn write(&mut self, _: TreeId, at: Logical, _: u8, block: Vec<u8>) -> Result {
        self.blocks.insert(at.get(), Rc::new(block));
        Ok(())
    }

    fn copied(&mut self, _: TreeId, _: &[u8], _: bool) -> Result {
        self.call()
    }

    fn drop_block(&mut self, _: TreeId, _: &[u8]) -> Result {
        self.call()
    }

    fn item(&mut self, _: TreeId, _: &Key, _: Option<&[u8]>, _: Option<&[u8]>) -> Result {
        Ok(())
    }
}

/// Changes what the walk relies on: counts, keys, places of data, addresses.
fn damage(block: &mut [u8], random: &mut Random) {
    let at = match random.below(4) {
        0 => 96 + random.below(5),
        1 => random.below(block.len() as u64),
        _ => {
            let count = Leaf::new(block).nritems().max(Node::new(block).nritems());
            101 + random.below(count as u64 * 33 + 33)
        }
    };
    let len = 1 + random.below(4);
    for at in at..at + len {
        if let Some(byte) = block.get_mut(at as usize) {
            *byte = match random.below(4) {
                0 => 0,
                1 => 0xff,
                2 => byte.wrapping_add(1),
                _ => random.next() as u8,
            };
        }
    }
}

#[test]
fn damaged_trees() {
    let mix = Mix {
        objects: 40,
        offsets: 20,
        longest: 300,
        batch: 60,
        deletes: 5,
        clears: 2,
        ascending: false,
    };
    let mut random = Random(4711);
    for nodesize in [512, 4096] {
        let mut model = Model::new(nodesize);
        for _ in 0..40 {
            let batch = mix.batch(&mut random, &model);
            model.step(&batch);
            model.commit();
        }
        let root = model.root.unwrap();
        let mut addresses: Vec<u64> = model.memory.live.iter().copied().collect();
        addresses.sort();
        let (mut good, mut bad) = (0, 0);
        for _ in 0..20_000 {
            let mut store = Loose {
                blocks: model.memory.blocks.clone(),
                nodesize,
                next: 1 << 40,
                calls: 0,
            };
            for _ in 0..1 + random.below(3) {
                let at = match random.below(3) {
                    0 => root.logical.get(),
                    _ => addresses[random.below(addresses.len() as u64) as usize],
                };
                let mut block = store.blocks[&at].to_vec();
                damage(&mut block, &mut random);
                store.blocks.insert(at, Rc::new(block));
            }
            let env: Env = model.memory.env();
            let batch: Batch = mix.batch(&mut random, &model);
            let result = apply(
                &env,
                &mut store,
                TREE,
                Some(root),
                &batch.changes(),
                &batch.clears,
            );
            match result {
                Ok(Some(root)) => {
                    let block = &store.blocks[&root.logical.get()];
                    assert!(Header::of(block).is_some());
                    good += 1;
                }
                Ok(None) => unreachable!(),
                Err(_) => bad += 1,
            }
        }
        assert!(good > 1000 && bad > 1000, "{good} {bad}");
    }
}
