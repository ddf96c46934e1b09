// SPDX-License-Identifier: GPL-2.0

//! What a batch costs, and how full it leaves a tree.

mod support;

use btrfs_batch::{cost, Error, Load};
use btrfs_format::Key;
use support::{geometry, Batch, Mix, Model, Random, TREE};

fn key(index: u64) -> Key {
    Key::new(index / 100 + 1, 5, index % 100 * 10 + 1)
}

fn puts(keys: impl Iterator<Item = Key>, len: usize) -> Batch {
    Batch {
        changes: keys
            .map(|key| (key, Some(vec![key.offset as u8; len])))
            .collect(),
        clears: Vec::new(),
    }
}

fn model(nodesize: u32, count: u64, len: usize) -> Model {
    let mut model = Model::new(nodesize);
    model.step(&puts((0..count).map(key), len));
    model.commit();
    model
}

#[test]
fn appending_leaves_full_blocks() {
    // All at once, in batches, and one by one.
    for batch in [5000, 317, 20, 1] {
        let mut model = Model::new(4096);
        let mut from = 0;
        while from < 1500 {
            model.step(&puts((from..from + batch).map(key), 100));
            model.commit();
            from += batch;
        }
        let (_, fill) = model.memory.fill(model.root);
        assert!(fill >= 94, "{fill} % with batches of {batch}");
    }
}

#[test]
fn appending_to_a_file_in_the_middle() {
    // Extents of one inode ascend, others follow behind.
    let mut model = Model::new(4096);
    let other = |object| (1..30).map(move |offset| Key::new(object, 5, offset));
    model.step(&puts(other(10).chain(other(20)).chain(other(30)), 53));
    model.commit();
    for offset in 0..2000 {
        model.step(&puts((0..1).map(|_| Key::new(20, 5, 100 + offset)), 53));
        model.commit();
    }
    let (_, fill) = model.memory.fill(model.root);
    assert!(fill >= 94, "{fill} %");
}

#[test]
fn random_inserts_leave_leaves_half_full() {
    let mut model = Model::new(4096);
    let mut random = Random(3);
    for _ in 0..300 {
        let keys: Vec<_> = (0..10).map(|_| key(random.below(1_000_000))).collect();
        model.step(&puts(keys.into_iter(), 60));
        model.commit();
    }
    let (_, fill) = model.memory.fill(model.root);
    assert!(fill >= 60, "{fill} %");
}

#[test]
fn deleting_merges() {
    let mut model = model(4096, 3000, 60);
    let (before, _) = model.memory.fill(model.root);
    for part in 0..9 {
        for half in 0..30 {
            let mut batch = Batch::default();
            for index in (half * 100..half * 100 + 100).filter(|index| index % 10 == part) {
                batch.changes.insert(key(index), None);
            }
            model.step(&batch);
            model.commit();
        }
    }
    let (after, fill) = model.memory.fill(model.root);
    assert!(
        after * 3 < before && fill > 30,
        "{before} -> {after}, {fill} %"
    );
}

#[test]
fn untouched_blocks_are_not_read() {
    let mut model = model(4096, 20_000, 60);
    let height = model.root.unwrap().level as usize + 1;
    model.memory.spares = false;
    let mut random = Random(5);
    for edits in [1, 2, 7, 40] {
        let keys: Vec<_> = (0..edits).map(|_| key(random.below(20_000))).collect();
        model.step(&puts(keys.into_iter(), 59));
        let leaves = model.memory.reads.iter().filter(|(_, level)| *level == 0);
        assert!(leaves.count() <= edits);
        assert!(model.memory.reads.len() <= edits * height);
        assert_eq!(model.memory.writes, model.memory.reads.len());
        model.commit();
    }
    // In the same transaction work blocks are rewritten where they are.
    let root = model.root;
    model.step(&puts((0..1).map(key), 61));
    let after = model.root;
    assert_ne!(root, after);
    model.step(&puts((0..1).map(key), 58));
    assert_eq!(model.root, after);
    assert_eq!(model.memory.writes, 1, "only the leaf changes");
    assert!(model.memory.placed.is_empty());
}

#[test]
fn nothing_changes() {
    let mut model = model(4096, 5000, 60);
    let root = model.root;
    let same = puts((0..5000).step_by(7).map(key), 60);
    model.step(&same);
    let mut absent = Batch::default();
    for index in 0..100 {
        let key = key(index * 30);
        absent
            .changes
            .insert(Key::new(key.objectid, 6, index), None);
        absent
            .clears
            .push(Key::new(key.objectid, 7, index)..=Key::new(key.objectid, 9, index));
    }
    absent.clears.sort_by_key(|clear| *clear.start());
    absent.clears.dedup_by_key(|clear| clear.start().objectid);
    model.step(&absent);
    // Cleared, and put back the same.
    let mut back = same;
    back.clears = back.changes.keys().map(|key| *key..=*key).collect();
    model.step(&back);
    assert_eq!(model.root, root);
    // A tree without blocks.
    let mut none = Model::new(4096);
    none.step(&absent);
    assert_eq!(none.root, None);
}

#[test]
fn renewed_leaves_are_copied() {
    let mut model = model(4096, 5000, 60);
    let root = model.root.unwrap();
    let data = vec![key(2000).offset as u8; 60];
    let renew = |key, data| btrfs_batch::Change {
        key,
        edit: btrfs_batch::Edit::Renew(data),
    };
    let changes = [renew(key(2000), &data), renew(key(2001), &[])];
    model.memory.begin(model.root);
    let same = &changes[..1];
    model.root = model.memory.apply(model.root, same, &[]).unwrap();
    assert_ne!(model.root, Some(root));
    assert_eq!(model.memory.writes, usize::from(root.level) + 1);
    assert!(model.memory.items.is_empty(), "no item changes");
    let contents = model.memory.contents(model.root);
    assert!(contents.iter().map(|(key, _)| key).eq(model.items.keys()));
    assert!(contents
        .iter()
        .map(|(_, data)| data)
        .eq(model.items.values()));
    // It can be more than that: data that is not there is put.
    model.memory.begin(model.root);
    model.root = model.memory.apply(model.root, &changes, &[]).unwrap();
    assert_eq!(model.memory.items.len(), 1);
}

#[test]
fn deterministic() {
    let run = || {
        let mut random = Random(77);
        let mut model = Model::new(4096);
        let mix = Mix {
            objects: 50,
            offsets: 50,
            longest: 900,
            batch: 200,
            deletes: 5,
            clears: 3,
            ascending: false,
        };
        for _ in 0..60 {
            let batch = mix.batch(&mut random, &model);
            model.step(&batch);
            model.commit();
        }
        let mut blocks = Vec::new();
        model
            .memory
            .walk(model.root, |_, _, block| blocks.push(block.to_vec()));
        blocks
    };
    assert!(run() == run());
}

#[test]
fn failures_are_reported() {
    let mut random = Random(9);
    let mix = Mix {
        objects: 50,
        offsets: 50,
        longest: 900,
        batch: 200,
        deletes: 5,
        clears: 2,
        ascending: false,
    };
    let mut tree = model(4096, 4000, 60);
    for _ in 0..5 {
        let batch = mix.batch(&mut random, &tree);
        for calls in 0.. {
            let (blocks, live) = (tree.memory.blocks.clone(), tree.memory.live.clone());
            tree.memory.begin(tree.root);
            tree.memory.fail_in = Some(calls);
            let result = tree
                .memory
                .apply(tree.root, &batch.changes(), &batch.clears);
            let done = tree.memory.fail_in.take().is_some();
            (tree.memory.blocks, tree.memory.live) = (blocks, live);
            if done {
                result.unwrap();
                break;
            }
            assert_eq!(result, Err(Error::NoSpace));
        }
        tree.step(&batch);
        tree.commit();
    }
}

#[test]
fn bad_batches() {
    let mut tree = model(4096, 100, 60);
    let long = vec![0; 4096 - 101 - 24];
    let put = |key, data| btrfs_batch::Change {
        key,
        edit: btrfs_batch::Edit::Put(data),
    };
    let root = tree.root;
    let refused = |result| matches!(result, Err(Error::Corrupt(_)));
    assert!(refused(tree.memory.apply(root, &[put(key(1), &long)], &[])));
    let unordered = [put(key(1), &[]), put(key(1), &[])];
    assert!(refused(tree.memory.apply(root, &unordered, &[])));
    let clears = [key(3)..=key(5), key(5)..=key(6)];
    assert!(refused(tree.memory.apply(root, &[], &clears)));
    #[allow(clippy::reversed_empty_ranges)]
    let clears = [key(6)..=key(5)];
    assert!(refused(tree.memory.apply(root, &[], &clears)));
}

/// Every batch of up to three puts or deletes on small trees writes no more than the bound.
#[test]
fn cost_holds_for_small_batches() {
    for count in [0, 1, 9, 10, 60, 120] {
        let tree = model(512, count, 20);
        for first in 0..count + 2 {
            for second in [first + 1, first + 2, first + 9] {
                for len in [0, 21, 200, 386] {
                    let mut again = Model::new(512);
                    again.memory.blocks = tree.memory.blocks.clone();
                    again.memory.live = tree.memory.live.clone();
                    again.memory.transid = tree.memory.transid;
                    again.memory.skip_to(1 << 40);
                    again.root = tree.root;
                    again.items = tree.items.clone();
                    let between = Key::new(key(first).objectid, 5, key(first).offset + 1);
                    let mut batch = puts([between, key(second)].into_iter(), len);
                    batch.changes.insert(key(second + 5), None);
                    // The step compares with the bound.
                    again.step(&batch);
                }
            }
        }
    }
}

#[test]
fn cost_is_concave_and_monotone() {
    let geometry = geometry(4096);
    let mut random = Random(1);
    for _ in 0..20_000 {
        let mut load = || {
            let mut some = |bits| {
                let bits = random.below(bits);
                random.below(1 << bits)
            };
            let (puts, deletes) = (some(16), some(12));
            Load {
                edits: puts + deletes,
                puts,
                bytes: puts * random.below(300),
            }
        };
        let (a, b) = (load(), load());
        let both = Load {
            edits: a.edits + b.edits,
            puts: a.puts + b.puts,
            bytes: a.bytes + b.bytes,
        };
        let height = random.below(9) as u8;
        let blocks = 1 << random.below(40);
        let cost = |load| cost(&geometry, height, blocks, load);
        assert!(cost(both) <= cost(a) + cost(b));
        assert!(cost(both) >= cost(a).max(cost(b)));
    }
    let one = Load {
        edits: 1,
        puts: 1,
        bytes: 100,
    };
    assert_eq!(cost(&geometry, 0, 0, Load::default()), 0);
    assert!(cost(&geometry, 4, u64::MAX, one) <= 4 + 3 * 3 + 1);
    let most = Load {
        edits: u64::MAX,
        puts: u64::MAX,
        bytes: u64::MAX,
    };
    assert!(cost(&geometry, 8, u64::MAX, most) > 1 << 50);
}

#[test]
fn a_root_is_renewed() {
    for count in [0, 5, 3000] {
        let mut model = model(4096, count, 60);
        if count == 0 {
            model.step(&puts((0..1).map(key), 60));
            model.commit();
        }
        let (old, env) = (model.root.unwrap(), model.memory.env());
        model.memory.begin(Some(old));
        let new = btrfs_batch::renew_root(&env, &mut model.memory, TREE, old).unwrap();
        assert_eq!((new.generation, new.level), (env.transid, old.level));
        assert_ne!(new.logical, old.logical);
        assert_eq!((model.memory.writes, model.memory.copied.len()), (1, 1));
        let want: Vec<_> = model.items.clone().into_iter().collect();
        assert!(model.memory.contents(Some(new)) == want);
        // A work block stays.
        model.memory.begin(Some(new));
        let again = btrfs_batch::renew_root(&env, &mut model.memory, TREE, new).unwrap();
        assert_eq!((again, model.memory.writes), (new, 0));
    }
}
