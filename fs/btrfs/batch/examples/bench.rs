// SPDX-License-Identifier: GPL-2.0

//! Measures `apply`: `cargo run --release --example bench [NAME]`.

#[path = "../tests/support/mod.rs"]
mod support;

use btrfs_batch::{Change, Edit, RootPtr};
use btrfs_format::Key;
use std::time::Duration;
use support::{Memory, Random};

const NODESIZE: u32 = 16384;

struct Bench {
    memory: Memory,
    root: Option<RootPtr>,
    took: Duration,
    items: usize,
}

impl Bench {
    /// A tree of `count` items with keys a multiple of 16 apart.
    fn new(count: u64, len: usize) -> Self {
        let mut memory = Memory::new(NODESIZE);
        memory.fast = true;
        let mut bench = Self {
            memory,
            root: None,
            took: Duration::ZERO,
            items: 0,
        };
        let data = vec![0x77; len];
        let mut from = 0;
        while from < count {
            let to = count.min(from + 100_000);
            let keys: Vec<_> = (from..to).map(key).collect();
            bench.put(&keys, &data);
            from = to;
        }
        bench.commit();
        bench.took = Duration::ZERO;
        bench.items = 0;
        bench
    }

    fn put(&mut self, keys: &[Key], data: &[u8]) {
        let edit = Edit::Put(data);
        let changes: Vec<_> = keys.iter().map(|key| Change { key: *key, edit }).collect();
        self.apply(&changes);
    }

    fn apply(&mut self, changes: &[Change<'_>]) {
        let start = on_cpu();
        self.root = self.memory.apply(self.root, changes, &[]).unwrap();
        self.took += on_cpu() - start;
        self.items += changes.len();
    }

    fn commit(&mut self) {
        self.memory.transid += 1;
        let live = &self.memory.live;
        self.memory.blocks.retain(|at, _| live.contains(at));
    }

    fn report(&self, name: &str) {
        let (blocks, fill) = self.memory.fill(self.root);
        println!(
            "{name:24} {:8.0} ns/item  {:8} written  {blocks:6} blocks  {fill:3} % full",
            self.took.as_nanos() as f64 / self.items as f64,
            self.memory.writes,
        );
    }
}

/// Time this thread ran, whatever else the machine does.
fn on_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

fn key(index: u64) -> Key {
    Key::new(index * 16 / 4096 + 256, 5, index * 16 % 4096)
}

fn batches(name: &str, len: usize, mut make: impl FnMut(u64) -> Vec<Key>) {
    let mut bench = Bench::new(1_000_000, len);
    bench.memory.writes = 0;
    let data = vec![0x55; len];
    for round in 0..20 {
        let mut keys = make(round);
        keys.sort();
        keys.dedup();
        bench.put(&keys, &data);
        bench.commit();
    }
    bench.report(name);
}

fn main() {
    let only = std::env::args().nth(1);
    let wanted = |name: &str| {
        only.as_ref()
            .is_none_or(|only| name.contains(only.as_str()))
    };
    let mut random = Random(1);
    for len in [16, 160] {
        let run = |name: &str, make: &mut dyn FnMut(u64) -> Vec<Key>| {
            let name = format!("{name} {len}");
            if wanted(&name) {
                batches(&name, len, make);
            }
        };
        run("append", &mut |round| {
            (0..5000)
                .map(|i| key(1_000_000 + round * 5000 + i))
                .collect()
        });
        run("insert dense", &mut |round| {
            (0..5000)
                .map(|i| {
                    let near = key(200_000 + i / 2 + round * 2500);
                    Key::new(near.objectid, 5, near.offset + 1 + i % 2)
                })
                .collect()
        });
        run("insert spread", &mut |_| {
            (0..5000)
                .map(|_| {
                    let near = key(random.below(1_000_000));
                    Key::new(near.objectid, 5, near.offset + 1 + random.below(15))
                })
                .collect()
        });
        run("replace spread", &mut |_| {
            (0..5000).map(|_| key(random.below(1_000_000))).collect()
        });
        run("replace few", &mut |_| {
            (0..10).map(|_| key(random.below(1_000_000))).collect()
        });
    }
}
