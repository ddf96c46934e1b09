// SPDX-License-Identifier: GPL-2.0

//! Random batches against a map. `BATCH_ROUNDS` makes it long.

mod support;

use btrfs_format::Key;
use support::{geometry, Batch, Mix, Model, Random};

fn rounds(default: u64) -> u64 {
    let scale = std::env::var("BATCH_ROUNDS").ok();
    default * scale.and_then(|text| text.parse().ok()).unwrap_or(1)
}

fn run(nodesize: u32, mix: Mix, seed: u64, rounds: u64) {
    let mut random = Random(seed);
    let mut model = Model::new(nodesize);
    for round in 0..rounds {
        model.memory.spares = random.one_in(2);
        let mut mix = mix;
        // Phases of growth and of shrinking.
        if round / 24 % 3 == 2 {
            mix.deletes = 15;
        }
        let batch = mix.batch(&mut random, &model);
        model.step(&batch);
        // Several batches may be applied in one transaction.
        if random.below(3) > 0 {
            model.commit();
        }
    }
    empty(&mut model);
}

fn empty(model: &mut Model) {
    let all = Batch {
        clears: vec![Key::MIN..=Key::MAX],
        ..Batch::default()
    };
    model.step(&all);
    assert_eq!(model.memory.live.len(), 1);
    model.step(&all);
    model.commit();
    model.step(&all);
}

fn mixes(nodesize: u32) -> Vec<Mix> {
    let longest = geometry(nodesize).max_item_size();
    let mix = Mix {
        objects: 60,
        offsets: 40,
        longest,
        batch: 120,
        deletes: 5,
        clears: 4,
        ascending: false,
    };
    vec![
        mix,
        Mix { longest: 80, ..mix },
        Mix {
            batch: 3,
            clears: 20,
            ..mix
        },
        Mix {
            ascending: true,
            deletes: 2,
            clears: 30,
            ..mix
        },
        Mix {
            objects: 3000,
            batch: 600,
            clears: 12,
            ..mix
        },
    ]
}

fn sizes(nodesize: u32) {
    for (index, mix) in mixes(nodesize).into_iter().enumerate() {
        for seed in 0..rounds(2) {
            run(nodesize, mix, seed * 1000 + index as u64, 120);
        }
    }
}

#[test]
fn nodes_of_512() {
    // Not a size that exists: high trees with few items.
    sizes(512);
}

#[test]
fn nodes_of_4k() {
    sizes(4096);
}

#[test]
fn nodes_of_8k() {
    sizes(8192);
}

#[test]
fn nodes_of_16k() {
    sizes(16384);
}

#[test]
fn nodes_of_32k() {
    sizes(32768);
}

#[test]
fn nodes_of_64k() {
    sizes(65536);
}
