// SPDX-License-Identifier: GPL-2.0

//! The file system as it should be: objects by number, directories as maps of names.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

pub type Id = usize;
pub type Name = Vec<u8>;

#[derive(Clone, Debug)]
pub enum Kind {
    File(Vec<u8>),
    Dir(BTreeMap<Name, Id>),
    Link(Vec<u8>),
    /// A fifo, a socket, a device: type bits and device number.
    Special(u32, u64),
}

#[derive(Clone, Debug)]
pub struct Object {
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Names that lead here; a directory counts as one.
    pub links: u32,
    pub xattrs: BTreeMap<Name, Vec<u8>>,
    /// Of a directory.
    pub parent: Id,
    /// How many descriptors are open.
    pub open: u32,
    /// Made without a name and not yet given one: may be linked though it has none.
    pub linkable: bool,
}

pub struct Oracle {
    objects: BTreeMap<Id, Object>,
    next: Id,
}

pub const ROOT: Id = 0;

impl Oracle {
    pub fn new() -> Self {
        let mut this = Oracle {
            objects: BTreeMap::new(),
            next: 0,
        };
        let root = this.add(Kind::Dir(BTreeMap::new()), 0o755);
        this.at_mut(root).links = 1;
        this
    }

    /// A new object without a name.
    pub fn add(&mut self, kind: Kind, mode: u32) -> Id {
        let id = self.next;
        self.next += 1;
        let object = Object {
            kind,
            mode,
            uid: 0,
            gid: 0,
            links: 0,
            xattrs: BTreeMap::new(),
            parent: ROOT,
            open: 0,
            linkable: false,
        };
        self.objects.insert(id, object);
        id
    }

    pub fn at(&self, id: Id) -> &Object {
        &self.objects[&id]
    }

    pub fn at_mut(&mut self, id: Id) -> &mut Object {
        self.objects.get_mut(&id).expect("an object of the model")
    }

    pub fn entries(&self, dir: Id) -> &BTreeMap<Name, Id> {
        match &self.at(dir).kind {
            Kind::Dir(entries) => entries,
            _ => panic!("not a directory of the model"),
        }
    }

    pub fn get(&self, dir: Id, name: &[u8]) -> Option<Id> {
        self.entries(dir).get(name).copied()
    }

    pub fn is_dir(&self, id: Id) -> bool {
        matches!(self.at(id).kind, Kind::Dir(_))
    }

    pub fn data(&self, id: Id) -> &Vec<u8> {
        match &self.at(id).kind {
            Kind::File(data) => data,
            _ => panic!("not a file of the model"),
        }
    }

    pub fn data_mut(&mut self, id: Id) -> &mut Vec<u8> {
        match &mut self.at_mut(id).kind {
            Kind::File(data) => data,
            _ => panic!("not a file of the model"),
        }
    }

    fn entries_mut(&mut self, dir: Id) -> &mut BTreeMap<Name, Id> {
        match &mut self.at_mut(dir).kind {
            Kind::Dir(entries) => entries,
            _ => panic!("not a directory of the model"),
        }
    }

    /// Gives an object a name that is free.
    pub fn link(&mut self, dir: Id, name: &[u8], id: Id) {
        self.entries_mut(dir).insert(name.to_vec(), id);
        let object = self.at_mut(id);
        object.links += 1;
        object.linkable = false;
        object.parent = dir;
    }

    /// Takes a name away; the object goes with its last one unless it is open.
    pub fn unlink(&mut self, dir: Id, name: &[u8]) -> Option<Id> {
        let id = self.entries_mut(dir).remove(name)?;
        self.at_mut(id).links -= 1;
        self.reap(id);
        Some(id)
    }

    /// Forgets an object that nobody can reach.
    pub fn reap(&mut self, id: Id) {
        let object = self.at(id);
        if object.links == 0 && object.open == 0 {
            self.objects.remove(&id);
        }
    }

    /// Moves an object to a free name, keeping its count of names.
    pub fn shift(&mut self, from: (Id, &[u8]), to: (Id, &[u8])) {
        if let Some(id) = self.entries_mut(from.0).remove(from.1) {
            self.entries_mut(to.0).insert(to.1.to_vec(), id);
            self.at_mut(id).parent = to.0;
        }
    }

    pub fn exchange(&mut self, a: (Id, &[u8]), b: (Id, &[u8])) {
        let (Some(x), Some(y)) = (self.get(a.0, a.1), self.get(b.0, b.1)) else {
            return;
        };
        self.entries_mut(a.0).insert(a.1.to_vec(), y);
        self.entries_mut(b.0).insert(b.1.to_vec(), x);
        self.at_mut(x).parent = b.0;
        self.at_mut(y).parent = a.0;
    }

    /// `dir` is `below`, or above it.
    pub fn is_above(&self, dir: Id, mut below: Id) -> bool {
        loop {
            if dir == below {
                return true;
            }
            if below == ROOT {
                return false;
            }
            below = self.at(below).parent;
        }
    }

    pub fn depth(&self, mut dir: Id) -> usize {
        let mut depth = 0;
        while dir != ROOT {
            dir = self.at(dir).parent;
            depth += 1;
        }
        depth
    }

    /// The path of a directory relative to the root of the model.
    pub fn path(&self, dir: Id) -> PathBuf {
        if dir == ROOT {
            return PathBuf::new();
        }
        let parent = self.at(dir).parent;
        let name = self.entries(parent).iter().find(|(_, id)| **id == dir);
        let name = name.map_or(&b"?"[..], |(name, _)| name);
        self.path(parent).join(OsStr::from_bytes(name))
    }

    /// What stat counts: a directory of this file system always has one link.
    pub fn nlink(&self, id: Id) -> u32 {
        self.at(id).links
    }

    /// All directories that have a name.
    pub fn dirs(&self) -> Vec<Id> {
        let mut all = vec![ROOT];
        let mut next = 0;
        while let Some(dir) = all.get(next).copied() {
            all.extend(self.entries(dir).values().filter(|id| self.is_dir(**id)));
            next += 1;
        }
        all
    }

    /// Every name: the directory and the name in it.
    pub fn names(&self) -> Vec<(Id, Name)> {
        let dirs = self.dirs().into_iter();
        dirs.flat_map(|dir| {
            self.entries(dir)
                .keys()
                .map(move |name| (dir, name.clone()))
        })
        .collect()
    }

    /// Bytes of all files.
    pub fn volume(&self) -> usize {
        let sizes = self.objects.values().map(|o| match &o.kind {
            Kind::File(data) => data.len(),
            _ => 0,
        });
        sizes.sum()
    }

    pub fn count(&self) -> usize {
        self.objects.len()
    }
}
