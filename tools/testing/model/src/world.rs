// SPDX-License-Identifier: GPL-2.0

//! The real tree and its model side by side, and what all operations share.

use crate::oracle::{Id, Kind, Name, Oracle, ROOT};
use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use testkit::files::Mapping;
use testkit::rng::Rng;
use testkit::sys;

/// Files grow to this, a few to eight times as much.
pub const FILE: u64 = 1 << 20;
/// All files together.
pub const VOLUME: usize = 160 << 20;
const OBJECTS: usize = 400;
/// Lines of history that a failure shows.
const HISTORY: usize = 60;

/// A file that is held open, perhaps without a name by now.
pub struct Handle {
    pub fd: OwnedFd,
    pub id: Id,
    pub map: Option<Mapping>,
}

pub struct World {
    pub root: PathBuf,
    pub oracle: Oracle,
    pub rng: Rng,
    pub handles: Vec<Handle>,
    pub history: VecDeque<String>,
    /// The same by object, for those whose contents changed.
    pub about: BTreeMap<Id, VecDeque<String>>,
    pub trace: bool,
    pub step: u64,
}

impl World {
    pub fn new(root: &Path, seed: u64, trace: bool) -> Self {
        World {
            root: root.into(),
            oracle: Oracle::new(),
            rng: Rng::new(seed),
            handles: Vec::new(),
            history: VecDeque::new(),
            about: BTreeMap::new(),
            trace,
            step: 0,
        }
    }

    /// Notes what is about to be done.
    pub fn note(&mut self, text: String) {
        let text = format!("{:>6} {text}", self.step);
        if self.trace {
            println!("{text}");
        }
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(text);
    }

    /// Notes what is about to be done to an object.
    pub fn note_on(&mut self, id: Id, text: String) {
        let about = self.about.entry(id).or_default();
        if about.len() == HISTORY {
            about.pop_front();
        }
        about.push_back(format!("{:>6} {text}", self.step));
        self.note(text);
    }

    /// Prints the last operations, and those on the objects that a message names.
    pub fn explain(&self, message: &str) {
        self.history.iter().for_each(|line| println!("{line}"));
        for (dir, name) in self.oracle.names() {
            let path = self.path(dir, &name);
            // The longest name is the one that is meant.
            let named = message.contains(&format!("{}:", path.display()))
                || message.contains(&format!("{} ", path.display()));
            let about = self
                .oracle
                .get(dir, &name)
                .and_then(|id| self.about.get(&id));
            if let (true, Some(about)) = (named, about) {
                println!("what was done to {}:", self.show(dir, &name));
                about.iter().for_each(|line| println!("{line}"));
            }
        }
    }

    pub fn path(&self, dir: Id, name: &[u8]) -> PathBuf {
        self.root
            .join(self.oracle.path(dir))
            .join(OsStr::from_bytes(name))
    }

    /// A path for messages.
    pub fn show(&self, dir: Id, name: &[u8]) -> String {
        let path = self.oracle.path(dir).join(OsStr::from_bytes(name));
        let text = path.to_string_lossy();
        // Long names are known by their beginning.
        text.split('/')
            .map(|part| part.chars().take(12).collect::<String>())
            .collect::<Vec<_>>()
            .join("/")
    }

    /// A name out of a few, so that names meet; some are as long as can be.
    pub fn name(&mut self) -> Name {
        let number = self.rng.below(40);
        let mut name = format!("n{number}").into_bytes();
        if number % 13 == 0 {
            name.resize(255 - number as usize % 3, b'x');
        }
        name
    }

    pub fn dir(&mut self) -> Id {
        let dirs = self.oracle.dirs();
        // The root more often than others: large directories are worth something too.
        if self.rng.one_in(3) {
            return ROOT;
        }
        dirs[self.rng.index(dirs.len())]
    }

    /// A place for a new object. Too many objects, or too deep: none.
    pub fn place(&mut self) -> Option<(Id, Name)> {
        if self.oracle.count() > OBJECTS {
            return None;
        }
        Some((self.dir(), self.name()))
    }

    /// A name that exists.
    pub fn existing(&mut self) -> Option<(Id, Name)> {
        let names = self.oracle.names();
        (!names.is_empty()).then(|| names[self.rng.index(names.len())].clone())
    }

    /// A name that exists and is of a regular file.
    pub fn file(&mut self) -> Option<(Id, Name, Id)> {
        for _ in 0..6 {
            let (dir, name) = self.existing()?;
            let id = self.oracle.get(dir, &name)?;
            if matches!(self.oracle.at(id).kind, Kind::File(_)) {
                return Some((dir, name, id));
            }
        }
        None
    }

    pub fn mode(&mut self) -> u32 {
        *self
            .rng
            .pick(&[0o644, 0o600, 0o755, 0o777, 0o444, 0o400, 0o1777])
    }

    /// Random bytes, text, or one byte over and over, which is what compression likes best.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0u8; len];
        match self.rng.below(4) {
            0 => self.rng.fill_text(&mut bytes),
            1 => bytes.fill(self.rng.below(256) as u8),
            _ => self.rng.fill(&mut bytes),
        }
        bytes
    }

    pub fn length(&mut self) -> usize {
        let top = *self.rng.pick(&[20, 4096, 4097, 20_000, 70_000, 300_000]);
        let len = 1 + self.rng.below(top);
        let aligned = self.rng.one_in(3);
        (if aligned {
            len.div_ceil(4096) * 4096
        } else {
            len
        }) as usize
    }

    /// A position in a file of `size` bytes, or somewhat behind its end.
    pub fn position(&mut self, size: usize) -> u64 {
        let limit = if self.rng.one_in(20) { FILE * 8 } else { FILE };
        let limit = if self.oracle.volume() > VOLUME {
            size as u64
        } else {
            limit
        };
        let pos = match self.rng.below(5) {
            0 => size as u64,
            1 => 0,
            2 => self.rng.below(limit),
            _ => self.rng.below(size as u64 + 1),
        };
        let aligned = self.rng.one_in(3);
        (if aligned { pos / 4096 * 4096 } else { pos }).min(limit)
    }
}

/// Compares the outcome of a call with what the model says.
pub fn expect<T>(result: io::Result<T>, errno: Option<i32>) -> Result<Option<T>, String> {
    match (result, errno) {
        (Ok(value), None) => Ok(Some(value)),
        (Err(error), Some(errno)) if error.raw_os_error() == Some(errno) => Ok(None),
        (Ok(_), Some(errno)) => Err(format!(
            "succeeded, {} expected",
            sys::errno_name(&io::Error::from_raw_os_error(errno))
        )),
        (Err(error), None) => Err(format!("failed: {error}")),
        (Err(error), Some(errno)) => Err(format!(
            "failed: {error}, {} expected",
            sys::errno_name(&io::Error::from_raw_os_error(errno))
        )),
    }
}
