// SPDX-License-Identifier: GPL-2.0

//! Random operations on a few files, each noted in the history before it is done.

use crate::history::{History, Id, BLOCK};
use std::fs;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use testkit::rng::Rng;
use testkit::{files, sys};

const DIRS: usize = 3;
const NAMES: usize = 8;
/// Largest file.
const SIZE: usize = 256 << 10;

pub struct Workload<'a> {
    root: PathBuf,
    rng: Rng,
    pub history: History,
    /// Puts a mark into the log.
    mark: &'a dyn Fn(&str) -> Result<(), String>,
}

type Outcome = Result<(), String>;

fn io<T>(what: &str, result: std::io::Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("{what}: {error}"))
}

impl<'a> Workload<'a> {
    pub fn new(root: &str, seed: u64, mark: &'a dyn Fn(&str) -> Outcome) -> Self {
        Self {
            root: root.into(),
            rng: Rng::new(seed),
            history: History::default(),
            mark,
        }
    }

    pub fn run(&mut self, steps: usize) -> Outcome {
        for dir in 0..DIRS {
            io("mkdir", fs::create_dir(self.root.join(dir.to_string())))?;
        }
        self.sync()?;
        for step in 0..steps {
            self.step().map_err(|e| format!("step {step}: {e}"))?;
            if self.rng.one_in(20) {
                // Time for writeback and for a commit on their own.
                std::thread::sleep(std::time::Duration::from_millis(self.rng.below(300)));
            }
        }
        Ok(())
    }

    fn step(&mut self) -> Outcome {
        match self.rng.below(40) {
            0..=4 => self.create(),
            5..=12 => self.write(false),
            13..=15 => self.write(true),
            16..=19 => self.append(),
            20..=22 => self.truncate(),
            23..=24 => self.punch(),
            25..=26 => self.preallocate(),
            27..=30 => self.rename(),
            31..=32 => self.link(),
            33..=34 => self.unlink(),
            35..=38 => self.fsync(),
            _ => self.sync(),
        }
    }

    fn any_name(&mut self) -> String {
        format!("{}/{}", self.rng.index(DIRS), self.rng.index(NAMES))
    }

    fn a_file(&mut self) -> Option<(String, Id)> {
        let names = self.history.names();
        if names.is_empty() {
            return None;
        }
        let name = self.rng.pick(&names).clone();
        self.history.id(&name).map(|id| (name, id))
    }

    fn open(&self, name: &str, flags: i32) -> Result<impl AsRawFd, String> {
        io(name, sys::open(self.root.join(name), libc::O_RDWR | flags))
    }

    fn promised(&mut self) -> Outcome {
        let text = self.history.mark();
        (self.mark)(&text)
    }

    fn create(&mut self) -> Outcome {
        let name = self.any_name();
        if self.history.id(&name).is_some() {
            return self.write(false);
        }
        self.history.begin();
        let id = self.history.create();
        self.history.set_name(&name, Some(id));
        io("create", fs::File::create_new(self.root.join(name))).map(drop)
    }

    /// `bytes` go to `at`.
    fn put(&mut self, id: Id, at: usize, bytes: &[u8]) {
        let mut content = (*self.history.content(id)).clone();
        content.resize(content.len().max(at + bytes.len()), 0);
        content[at..at + bytes.len()].copy_from_slice(bytes);
        self.history.set_content(id, content);
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        match self.rng.one_in(2) {
            true => self.rng.fill(&mut bytes),
            false => self.rng.fill_text(&mut bytes),
        }
        bytes
    }

    fn length(&mut self) -> usize {
        let most = *self.rng.pick(&[100, 3000, 20_000, 64 << 10]);
        1 + self.rng.index(most)
    }

    fn write(&mut self, direct: bool) -> Outcome {
        let Some((name, id)) = self.a_file() else {
            return Ok(());
        };
        let (mut at, mut len) = (self.rng.index(SIZE - (64 << 10)), self.length());
        if self.rng.one_in(2) {
            at %= self.history.content(id).len() + 1;
        }
        if direct {
            at -= at % BLOCK;
            len = len.next_multiple_of(BLOCK);
        }
        let bytes = self.bytes(len);
        let synced = self.rng.one_in(8);
        self.history.begin();
        self.put(id, at, &bytes);
        let sync = if synced { libc::O_DSYNC } else { 0 };
        let file = self.open(&name, if direct { libc::O_DIRECT } else { 0 } | sync)?;
        let mut buf = sys::AlignedBuf::new(len);
        buf.bytes().copy_from_slice(&bytes);
        let done = io("write", files::pwrite(&file, buf.bytes(), Some(at as u64)))?;
        if done != len {
            return Err(format!("{name}: {done} of {len} bytes written"));
        }
        if synced {
            self.history.promise_bytes(id, at..at + len);
            self.promised()?;
        }
        Ok(())
    }

    fn append(&mut self) -> Outcome {
        let Some((name, id)) = self.a_file() else {
            return Ok(());
        };
        let at = self.history.content(id).len();
        let len = self.length();
        if at + len > SIZE {
            return Ok(());
        }
        let bytes = self.bytes(len);
        self.history.begin();
        self.put(id, at, &bytes);
        let file = self.open(&name, 0)?;
        io("append", files::pwrite(&file, &bytes, Some(at as u64))).map(drop)
    }

    fn truncate(&mut self) -> Outcome {
        let Some((name, id)) = self.a_file() else {
            return Ok(());
        };
        let mut content = (*self.history.content(id)).clone();
        let size = self.rng.index((content.len() * 5 / 4 + 5000).min(SIZE));
        content.resize(size, 0);
        self.history.begin();
        self.history.set_content(id, content);
        let file = self.open(&name, 0)?;
        io("truncate", files::truncate(&file, size as u64))
    }

    fn punch(&mut self) -> Outcome {
        let Some((name, id)) = self.a_file() else {
            return Ok(());
        };
        let mut content = (*self.history.content(id)).clone();
        if content.is_empty() {
            return Ok(());
        }
        let at = self.rng.index(content.len());
        let len = self.length();
        let end = content.len().min(at + len);
        content[at..end].fill(0);
        self.history.begin();
        self.history.set_content(id, content);
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        let file = self.open(&name, 0)?;
        io("punch", sys::fallocate(&file, mode, at as i64, len as i64))
    }

    fn preallocate(&mut self) -> Outcome {
        let Some((name, id)) = self.a_file() else {
            return Ok(());
        };
        let mut content = (*self.history.content(id)).clone();
        let (at, len) = (self.rng.index(SIZE / 2), self.length());
        let keep = self.rng.one_in(2);
        if !keep {
            content.resize(content.len().max(at + len), 0);
        }
        self.history.begin();
        self.history.set_content(id, content);
        let mode = if keep { libc::FALLOC_FL_KEEP_SIZE } else { 0 };
        let file = self.open(&name, 0)?;
        io(
            "fallocate",
            sys::fallocate(&file, mode, at as i64, len as i64),
        )
    }

    fn rename(&mut self) -> Outcome {
        let Some((from, id)) = self.a_file() else {
            return Ok(());
        };
        let to = self.any_name();
        // Two names of one file: nothing would happen.
        if self.history.id(&to) == Some(id) {
            return Ok(());
        }
        self.history.begin();
        self.history.set_name(&from, None);
        self.history.set_name(&to, Some(id));
        io(
            "rename",
            fs::rename(self.root.join(from), self.root.join(to)),
        )
    }

    fn link(&mut self) -> Outcome {
        let (Some((from, id)), to) = (self.a_file(), self.any_name()) else {
            return Ok(());
        };
        if self.history.id(&to).is_some() {
            return Ok(());
        }
        self.history.begin();
        self.history.set_name(&to, Some(id));
        io(
            "link",
            fs::hard_link(self.root.join(from), self.root.join(to)),
        )
    }

    fn unlink(&mut self) -> Outcome {
        let Some((name, _)) = self.a_file() else {
            return Ok(());
        };
        self.history.begin();
        self.history.set_name(&name, None);
        io("unlink", fs::remove_file(self.root.join(name)))
    }

    fn fsync(&mut self) -> Outcome {
        let Some((name, id)) = self.a_file() else {
            return Ok(());
        };
        let data_only = self.rng.one_in(3);
        let file = self.open(&name, 0)?;
        self.history.begin();
        io("fsync", files::fsync(&file, data_only))?;
        self.history.promise_file(id);
        self.promised()
    }

    fn sync(&mut self) -> Outcome {
        let root = io("open", sys::open(&self.root, libc::O_RDONLY))?;
        self.history.begin();
        io("syncfs", files::syncfs(&root))?;
        self.history.promise_all();
        self.promised()
    }
}
