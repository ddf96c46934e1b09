// SPDX-License-Identifier: GPL-2.0

//! Operations on names and attributes.

use crate::check;
use crate::oracle::{Id, Kind, Oracle};
use crate::world::{expect, Handle, World};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use testkit::{files, sys};

type Outcome = Result<(), String>;

/// What a new object takes over from its directory.
fn born(oracle: &mut Oracle, dir: Id, id: Id) {
    let (mode, gid) = (oracle.at(dir).mode, oracle.at(dir).gid);
    if mode & 0o2000 != 0 {
        let is_dir = oracle.is_dir(id);
        let object = oracle.at_mut(id);
        object.gid = gid;
        if is_dir {
            object.mode |= 0o2000;
        }
    }
}

impl World {
    fn add(&mut self, dir: Id, name: &[u8], kind: Kind, mode: u32) -> Id {
        let id = self.oracle.add(kind, mode);
        born(&mut self.oracle, dir, id);
        self.oracle.link(dir, name, id);
        id
    }

    /// EEXIST when the name is taken.
    fn taken(&self, dir: Id, name: &[u8]) -> Option<i32> {
        self.oracle.get(dir, name).map(|_| libc::EEXIST)
    }

    pub fn create(&mut self) -> Outcome {
        let Some((dir, name)) = self.place() else {
            return self.unlink();
        };
        let mode = self.mode();
        self.note(format!("create {} mode {mode:o}", self.show(dir, &name)));
        let path = self.path(dir, &name);
        let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL;
        let result = sys::openat(sys::cwd(), path.as_os_str(), flags, mode);
        if let Some(fd) = expect(result, self.taken(dir, &name))? {
            let id = self.add(dir, &name, Kind::File(Vec::new()), mode);
            if self.rng.one_in(12) {
                self.note("  chattr +C".into());
                let flags = testkit::btrfs::get_flags(&fd).map_err(|e| format!("flags: {e}"))?;
                expect(testkit::btrfs::set_flags(&fd, flags | 0x0080_0000), None)?;
            }
            if self.rng.one_in(2) {
                self.hold(fd, id);
            }
        }
        Ok(())
    }

    /// Keeps a file open; the oldest is closed for it.
    pub fn hold(&mut self, fd: std::os::fd::OwnedFd, id: Id) {
        if self.handles.len() >= 10 {
            self.close(0);
        }
        self.oracle.at_mut(id).open += 1;
        self.handles.push(Handle { fd, id, map: None });
    }

    pub fn close(&mut self, index: usize) {
        let handle = self.handles.remove(index);
        self.oracle.at_mut(handle.id).open -= 1;
        self.oracle.reap(handle.id);
    }

    pub fn mkdir(&mut self) -> Outcome {
        let Some((dir, name)) = self.place() else {
            return self.rmdir();
        };
        if self.oracle.depth(dir) > 6 {
            return Ok(());
        }
        let mode = self.mode();
        self.note(format!("mkdir {}", self.show(dir, &name)));
        let path = self.path(dir, &name);
        let result = std::fs::DirBuilder::new().mode(mode).create(&path);
        if expect(result, self.taken(dir, &name))?.is_some() {
            self.add(dir, &name, Kind::Dir(BTreeMap::new()), mode);
        }
        Ok(())
    }

    pub fn symlink(&mut self) -> Outcome {
        let Some((dir, name)) = self.place() else {
            return self.unlink();
        };
        let len = 1 + if self.rng.one_in(4) {
            self.rng.below(2000)
        } else {
            self.rng.below(40)
        };
        let target: Vec<u8> = (0..len).map(|i| b"abc/"[(i % 4) as usize]).collect();
        self.note(format!("symlink {} of {len} bytes", self.show(dir, &name)));
        let result = std::os::unix::fs::symlink(OsStr::from_bytes(&target), self.path(dir, &name));
        if expect(result, self.taken(dir, &name))?.is_some() {
            self.add(dir, &name, Kind::Link(target), 0o777);
        }
        Ok(())
    }

    pub fn mknod(&mut self) -> Outcome {
        let Some((dir, name)) = self.place() else {
            return self.unlink();
        };
        let (kind, dev) = *self.rng.pick(&[
            (libc::S_IFIFO, 0),
            (libc::S_IFSOCK, 0),
            (libc::S_IFCHR, 0x0103),
            (libc::S_IFBLK, 0x4_5678),
        ]);
        self.note(format!("mknod {} {kind:o}", self.show(dir, &name)));
        let result = sys::mknod(self.path(dir, &name), kind | 0o640, dev);
        if expect(result, self.taken(dir, &name))?.is_some() {
            self.add(dir, &name, Kind::Special(kind, dev), 0o640);
        }
        Ok(())
    }

    pub fn link(&mut self) -> Outcome {
        let (Some((dir, name)), Some(to)) = (self.existing(), self.place()) else {
            return Ok(());
        };
        let Some(id) = self.oracle.get(dir, &name) else {
            return Ok(());
        };
        self.note(format!(
            "link {} {}",
            self.show(dir, &name),
            self.show(to.0, &to.1)
        ));
        let errno = match self.taken(to.0, &to.1) {
            None if self.oracle.is_dir(id) => Some(libc::EPERM),
            other => other,
        };
        let result = std::fs::hard_link(self.path(dir, &name), self.path(to.0, &to.1));
        if expect(result, errno)?.is_some() {
            self.oracle.link(to.0, &to.1, id);
        }
        Ok(())
    }

    pub fn unlink(&mut self) -> Outcome {
        let Some((dir, name)) = self.existing() else {
            return Ok(());
        };
        let Some(id) = self.oracle.get(dir, &name) else {
            return Ok(());
        };
        self.note(format!("unlink {}", self.show(dir, &name)));
        let errno = self.oracle.is_dir(id).then_some(libc::EISDIR);
        // Not std's: that one is the same call.
        if expect(std::fs::remove_file(self.path(dir, &name)), errno)?.is_some() {
            self.oracle.unlink(dir, &name);
        }
        Ok(())
    }

    pub fn rmdir(&mut self) -> Outcome {
        let Some((dir, name)) = self.existing() else {
            return Ok(());
        };
        let Some(id) = self.oracle.get(dir, &name) else {
            return Ok(());
        };
        self.note(format!("rmdir {}", self.show(dir, &name)));
        let errno = match &self.oracle.at(id).kind {
            Kind::Dir(entries) if entries.is_empty() => None,
            Kind::Dir(_) => Some(libc::ENOTEMPTY),
            _ => Some(libc::ENOTDIR),
        };
        if expect(std::fs::remove_dir(self.path(dir, &name)), errno)?.is_some() {
            self.oracle.unlink(dir, &name);
        }
        Ok(())
    }

    pub fn rename(&mut self) -> Outcome {
        let Some((dir, name)) = self.existing() else {
            return Ok(());
        };
        let to = if self.rng.one_in(3) {
            self.existing()
        } else {
            None
        };
        let to = to.unwrap_or_else(|| (self.dir(), self.name()));
        let flags = *self.rng.pick(&[
            0,
            0,
            libc::RENAME_NOREPLACE,
            libc::RENAME_EXCHANGE,
            libc::RENAME_EXCHANGE,
            libc::RENAME_WHITEOUT,
        ]);
        let (Some(source), target) = (self.oracle.get(dir, &name), self.oracle.get(to.0, &to.1))
        else {
            return Ok(());
        };
        // Moved below itself, a directory would be too deep to look at.
        if self.oracle.depth(to.0) > 6 && self.oracle.is_dir(source) {
            return Ok(());
        }
        self.note(format!(
            "rename {} {} flags {flags}",
            self.show(dir, &name),
            self.show(to.0, &to.1)
        ));
        let errno = self.rename_errno((dir, source), (to.0, target), flags);
        let result = files::rename(self.path(dir, &name), self.path(to.0, &to.1), flags);
        if expect(result, errno)?.is_none() || target == Some(source) {
            return Ok(());
        }
        if flags == libc::RENAME_EXCHANGE {
            self.oracle.exchange((dir, &name), (to.0, &to.1));
            return Ok(());
        }
        if target.is_some() {
            self.oracle.unlink(to.0, &to.1);
        }
        self.oracle.shift((dir, &name), (to.0, &to.1));
        if flags == libc::RENAME_WHITEOUT {
            self.add(dir, &name, Kind::Special(libc::S_IFCHR, 0), 0);
        }
        Ok(())
    }

    /// The error of a rename, in the order in which the kernel looks for them.
    fn rename_errno(&self, from: (Id, Id), to: (Id, Option<Id>), flags: u32) -> Option<i32> {
        let oracle = &self.oracle;
        let exchange = flags == libc::RENAME_EXCHANGE;
        match to.1 {
            Some(_) if flags == libc::RENAME_NOREPLACE => return Some(libc::EEXIST),
            None if exchange => return Some(libc::ENOENT),
            _ => {}
        }
        if oracle.is_dir(from.1) && oracle.is_above(from.1, to.0) {
            return Some(libc::EINVAL);
        }
        let target = to.1?;
        if oracle.is_dir(target) && oracle.is_above(target, from.0) {
            return Some(if exchange {
                libc::EINVAL
            } else {
                libc::ENOTEMPTY
            });
        }
        if target == from.1 || exchange {
            return None;
        }
        match (oracle.is_dir(from.1), &oracle.at(target).kind) {
            (true, Kind::Dir(entries)) if !entries.is_empty() => Some(libc::ENOTEMPTY),
            (true, Kind::Dir(_)) => None,
            (true, _) => Some(libc::ENOTDIR),
            (false, Kind::Dir(_)) => Some(libc::EISDIR),
            (false, _) => None,
        }
    }

    pub fn tmpfile(&mut self) -> Outcome {
        let Some((dir, name)) = self.place() else {
            return Ok(());
        };
        self.note(format!("tmpfile in {}", self.show(dir, b"")));
        let path = self.root.join(self.oracle.path(dir));
        let flags = libc::O_RDWR | libc::O_TMPFILE;
        let result = sys::openat(sys::cwd(), path.as_os_str(), flags, 0o600);
        let Some(fd) = expect(result, None)? else {
            return Ok(());
        };
        let id = self.oracle.add(Kind::File(Vec::new()), 0o600);
        born(&mut self.oracle, dir, id);
        self.oracle.at_mut(id).linkable = true;
        self.hold(fd, id);
        if self.rng.one_in(3) {
            let index = self.handles.len() - 1;
            return self.link_handle(index, (dir, name));
        }
        Ok(())
    }

    /// Gives an open file a name.
    pub fn link_open(&mut self) -> Outcome {
        if self.handles.is_empty() {
            return Ok(());
        }
        let index = self.rng.index(self.handles.len());
        match self.place() {
            Some(to) => self.link_handle(index, to),
            None => Ok(()),
        }
    }

    fn link_handle(&mut self, index: usize, to: (Id, Vec<u8>)) -> Outcome {
        let id = self.handles[index].id;
        self.note(format!(
            "link open file {index} to {}",
            self.show(to.0, &to.1)
        ));
        let object = self.oracle.at(id);
        let errno = match self.taken(to.0, &to.1) {
            None if object.links == 0 && !object.linkable => Some(libc::ENOENT),
            other => other,
        };
        let result = files::link_fd(&self.handles[index].fd, self.path(to.0, &to.1));
        if expect(result, errno)?.is_some() {
            self.oracle.link(to.0, &to.1, id);
        }
        Ok(())
    }

    pub fn chmod(&mut self) -> Outcome {
        let Some((dir, name)) = self.existing() else {
            return Ok(());
        };
        let Some(id) = self.oracle.get(dir, &name) else {
            return Ok(());
        };
        if matches!(self.oracle.at(id).kind, Kind::Link(_)) {
            return Ok(());
        }
        let mut mode = self.mode();
        if self.oracle.is_dir(id) && self.rng.one_in(3) {
            mode |= 0o2000;
        }
        self.note(format!("chmod {} {mode:o}", self.show(dir, &name)));
        let permissions = std::fs::Permissions::from_mode(mode);
        expect(
            std::fs::set_permissions(self.path(dir, &name), permissions),
            None,
        )?;
        self.oracle.at_mut(id).mode = mode;
        Ok(())
    }

    pub fn chown(&mut self) -> Outcome {
        let Some((dir, name)) = self.existing() else {
            return Ok(());
        };
        let Some(id) = self.oracle.get(dir, &name) else {
            return Ok(());
        };
        let (uid, gid) = (
            self.rng.below(3) as u32 * 1000,
            self.rng.below(3) as u32 * 70_000,
        );
        self.note(format!("chown {} {uid}:{gid}", self.show(dir, &name)));
        expect(sys::lchown(self.path(dir, &name), uid, gid), None)?;
        let object = self.oracle.at_mut(id);
        (object.uid, object.gid) = (uid, gid);
        Ok(())
    }

    pub fn utimens(&mut self) -> Outcome {
        let Some((dir, name)) = self.existing() else {
            return Ok(());
        };
        let (atime, mtime) = (
            (self.rng.below(1 << 31) as i64, 123),
            (self.rng.below(1 << 33) as i64, 456_789),
        );
        self.note(format!("utimens {}", self.show(dir, &name)));
        let path = self.path(dir, &name);
        expect(sys::utimens(&path, atime, mtime), None)?;
        let st = expect(sys::statx(sys::cwd(), path.as_os_str()), None)?;
        match st {
            Some(st) if (st.stx_mtime.tv_sec, st.stx_mtime.tv_nsec) != (mtime.0, 456_789) => Err(
                format!("mtime is {}.{}", st.stx_mtime.tv_sec, st.stx_mtime.tv_nsec),
            ),
            Some(st) if (st.stx_atime.tv_sec, st.stx_atime.tv_nsec) != (atime.0, 123) => Err(
                format!("atime is {}.{}", st.stx_atime.tv_sec, st.stx_atime.tv_nsec),
            ),
            _ => Ok(()),
        }
    }

    pub fn xattr(&mut self) -> Outcome {
        let Some((dir, name)) = self.existing() else {
            return Ok(());
        };
        let Some(id) = self.oracle.get(dir, &name) else {
            return Ok(());
        };
        if !matches!(self.oracle.at(id).kind, Kind::File(_) | Kind::Dir(_)) {
            return Ok(());
        }
        let prefix = *self.rng.pick(&["user", "trusted"]);
        let key = format!("{prefix}.attribute-{}", self.rng.below(6)).into_bytes();
        let there = self.oracle.at(id).xattrs.contains_key(&key);
        let path = self.path(dir, &name);
        if self.rng.one_in(3) {
            self.note(format!("removexattr {}", self.show(dir, &name)));
            let errno = (!there).then_some(libc::ENODATA);
            if expect(files::remove_xattr(path, &key), errno)?.is_some() {
                self.oracle.at_mut(id).xattrs.remove(&key);
            }
            return Ok(());
        }
        let len = if self.rng.one_in(4) {
            self.rng.below(3000)
        } else {
            self.rng.below(60)
        };
        let value = self.bytes(len as usize);
        let flags = *self
            .rng
            .pick(&[0, 0, libc::XATTR_CREATE, libc::XATTR_REPLACE]);
        self.note(format!(
            "setxattr {} {len} bytes flags {flags}",
            self.show(dir, &name)
        ));
        let errno = match flags {
            libc::XATTR_CREATE if there => Some(libc::EEXIST),
            libc::XATTR_REPLACE if !there => Some(libc::ENODATA),
            _ => None,
        };
        if expect(files::set_xattr(path, &key, &value, flags), errno)?.is_some() {
            self.oracle.at_mut(id).xattrs.insert(key, value);
        }
        Ok(())
    }

    /// Looks at one object, or one name that is not there.
    pub fn look(&mut self) -> Outcome {
        let (dir, name) = (self.dir(), self.name());
        let id = self.oracle.get(dir, &name);
        let path = self.path(dir, &name);
        let errno = id.is_none().then_some(libc::ENOENT);
        self.note(format!("stat {}", self.show(dir, &name)));
        if let (Some(st), Some(id)) = (expect(sys::statx(sys::cwd(), path.as_os_str()), errno)?, id)
        {
            check::attributes(&path, &self.oracle, id, &st)?;
        }
        let path = self.root.join(self.oracle.path(dir));
        check::directory(&path, self.oracle.entries(dir).keys())
    }
}
