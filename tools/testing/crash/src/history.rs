// SPDX-License-Identifier: GPL-2.0

//! What the workload did, and what of it may be left after the power went.
//!
//! Names and contents have histories of their own: a name says which file it leads to, a file what
//! was in it. A *floor* is the operation from which on a state must be there: what fsync or sync
//! promised. A name may have any state from its floor to the moment of the crash. A file likewise,
//! and each of its blocks by itself, since blocks are written in any order: but each byte is one that
//! was there at some time since the floor. Anything else is garbage, or a loss.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

pub const BLOCK: usize = 4096;

pub type Op = usize;
pub type Id = usize;

/// States, each from an operation on.
struct States<T>(Vec<(Op, T)>);

impl<T> States<T> {
    /// Those that hold at some time from `floor` to `end`.
    fn since(&self, floor: Op, end: Op) -> impl Iterator<Item = &T> {
        let first = self.0.iter().rposition(|(op, _)| *op <= floor);
        let rest = self.0.iter().skip(first.unwrap_or(0));
        rest.take_while(move |(op, _)| *op <= end).map(|(_, s)| s)
    }
}

/// What is promised.
#[derive(Clone, Default)]
struct Floors {
    names: BTreeMap<String, Op>,
    files: BTreeMap<Id, Op>,
    /// Blocks of files, where more than for the file was promised.
    blocks: BTreeMap<(Id, usize), Op>,
}

/// A moment that can be found in the log.
struct Mark {
    op: Op,
    floors: Floors,
}

#[derive(Default)]
pub struct History {
    names: BTreeMap<String, States<Option<Id>>>,
    files: Vec<States<Rc<Vec<u8>>>>,
    floors: Floors,
    marks: Vec<Mark>,
    op: Op,
}

impl History {
    /// The next operation begins: its effects may be on disk from now on.
    pub fn begin(&mut self) {
        self.op += 1;
    }

    pub fn names(&self) -> Vec<String> {
        let there = |name: &&String| self.id(name).is_some();
        self.names.keys().filter(there).cloned().collect()
    }

    pub fn id(&self, name: &str) -> Option<Id> {
        self.names.get(name)?.0.last()?.1
    }

    pub fn content(&self, id: Id) -> Rc<Vec<u8>> {
        self.files[id]
            .0
            .last()
            .map(|s| s.1.clone())
            .unwrap_or_default()
    }

    pub fn create(&mut self) -> Id {
        self.files.push(States(vec![(self.op, Rc::default())]));
        self.files.len() - 1
    }

    pub fn set_name(&mut self, name: &str, id: Option<Id>) {
        let op = self.op;
        let states = self.names.entry(name.into());
        states
            .or_insert_with(|| States(vec![(0, None)]))
            .0
            .push((op, id));
    }

    pub fn set_content(&mut self, id: Id, content: Vec<u8>) {
        self.files[id].0.push((self.op, Rc::new(content)));
    }

    /// fsync of a file: its content, and the names that it has.
    pub fn promise_file(&mut self, id: Id) {
        self.floors.files.insert(id, self.op);
        for name in self.names() {
            if self.id(&name) == Some(id) {
                self.floors.names.insert(name, self.op);
            }
        }
    }

    /// Only the bytes that a write with O_DSYNC wrote; what was written before may be lost.
    pub fn promise_bytes(&mut self, id: Id, bytes: std::ops::Range<usize>) {
        // Of blocks that the range has a part of, the rest is not promised.
        for block in bytes.start.div_ceil(BLOCK)..bytes.end / BLOCK {
            self.floors.blocks.insert((id, block), self.op);
        }
    }

    pub fn promise_all(&mut self) {
        self.floors.names = self
            .names
            .keys()
            .map(|name| (name.clone(), self.op))
            .collect();
        self.floors.files = (0..self.files.len()).map(|id| (id, self.op)).collect();
    }

    /// Returns the text of a mark: what was promised up to now holds behind it in the log.
    pub fn mark(&mut self) -> String {
        self.marks.push(Mark {
            op: self.op,
            floors: self.floors.clone(),
        });
        (self.marks.len() - 1).to_string()
    }

    /// Judges what is there after a crash between a mark and the one behind it.
    pub fn judge(
        &self,
        mark: Option<usize>,
        found: &BTreeMap<String, Vec<u8>>,
    ) -> Result<(), String> {
        let none = Floors::default();
        let floors = mark.map_or(&none, |mark| &self.marks[mark].floors);
        let next = self.marks.get(mark.map_or(0, |mark| mark + 1));
        let end = next.map_or(self.op, |mark| mark.op);
        for (name, states) in &self.names {
            let floor = floors.names.get(name).copied().unwrap_or(0);
            let ids: BTreeSet<_> = states.since(floor, end).copied().collect();
            let Some(content) = found.get(name) else {
                if ids.contains(&None) {
                    continue;
                }
                return Err(format!("{name} is gone; promised by operation {floor}"));
            };
            let mut reason = "has no reason to be there".to_string();
            let fits = ids.iter().flatten().any(|id| {
                let result = self.plausible(floors, *id, end, content);
                result.map_err(|why| reason = why).is_ok()
            });
            if !fits {
                return Err(format!("{name} (operations {floor} to {end}): {reason}"));
            }
        }
        let begin = mark.map_or(0, |mark| self.marks[mark].op);
        if !(begin..=end).any(|op| self.are_names_of(op, found)) {
            let names: Vec<_> = found.keys().collect();
            return Err(format!(
                "the names of no moment from operation {begin} to {end}: {names:?}"
            ));
        }
        Ok(())
    }

    /// Whether these names, and no others, were there at one moment. As long as each fsync is a
    /// commit, what is on disk is the namespace of one moment, so that no rename is seen half done.
    fn are_names_of(&self, op: Op, found: &BTreeMap<String, Vec<u8>>) -> bool {
        let there = |(name, states): (&String, &States<Option<Id>>)| {
            let state = states.since(op, op).next().copied().flatten();
            state.map(|_| name.clone())
        };
        self.names
            .iter()
            .filter_map(there)
            .eq(found.keys().cloned())
    }

    /// Whether a content can be what is on the way between versions of a file.
    fn plausible(&self, floors: &Floors, id: Id, end: Op, content: &[u8]) -> Result<(), String> {
        let floor = floors.files.get(&id).copied().unwrap_or(0);
        let sizes = || {
            self.files[id]
                .since(floor, end)
                .map(|version| version.len())
        };
        let (min, max) = (sizes().min().unwrap_or(0), sizes().max().unwrap_or(0));
        if !(min..=max).contains(&content.len()) {
            return Err(format!("size {} is not in {min}..={max}", content.len()));
        }
        for (index, block) in content.chunks(BLOCK).enumerate() {
            let promised = floors.blocks.get(&(id, index)).copied().unwrap_or(0);
            let mut versions = self.files[id].since(floor.max(promised), end);
            if !versions.any(|version| is_block(version, index, block)) {
                return Err(format!(
                    "block {index} of {} bytes is none of {floor}/{promised}..{end}; it begins with {:02x?}",
                    content.len(),
                    &block[..block.len().min(16)],
                ));
            }
        }
        let lost = |(_, block): &(Id, usize), op: &Op| {
            let shortest = self.files[id]
                .since(*op, end)
                .map(|version| version.len())
                .min();
            content.len() < shortest.unwrap_or(0).min((block + 1) * BLOCK)
        };
        let mut blocks = floors.blocks.range((id, 0)..(id + 1, 0));
        match blocks.find(|(at, op)| lost(at, op)) {
            Some((at, op)) => Err(format!("block {} of operation {op} is lost", at.1)),
            None => Ok(()),
        }
    }
}

/// Whether a block of a file is what a version has there; zeros behind the end of that.
fn is_block(version: &[u8], index: usize, block: &[u8]) -> bool {
    let known = version.get(index * BLOCK..).unwrap_or(&[]);
    let known = known.get(..block.len()).unwrap_or(known);
    block.starts_with(known) && block[known.len()..].iter().all(|b| *b == 0)
}
