// SPDX-License-Identifier: GPL-2.0

//! Operations on what is in files.

use crate::check;
use crate::oracle::{Id, Kind};
use crate::world::{expect, World, FILE, VOLUME};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use testkit::files::{self, Mapping};
use testkit::sys;

type Outcome = Result<(), String>;

/// A file to work on: one that is held open, or one opened by a name for this operation.
pub enum Target {
    Held(usize),
    Opened(OwnedFd),
}

impl World {
    /// Finds a file and opens it unless it is open. None: there is no file.
    fn target(&mut self, flags: i32) -> Result<Option<(Target, Id, PathBuf)>, String> {
        if flags == 0 && !self.handles.is_empty() && self.rng.one_in(2) {
            let index = self.rng.index(self.handles.len());
            let id = self.handles[index].id;
            return Ok(Some((
                Target::Held(index),
                id,
                format!("open file {index}").into(),
            )));
        }
        let Some((dir, name, id)) = self.file() else {
            return Ok(None);
        };
        let path = self.path(dir, &name);
        let fd = expect(sys::open(&path, libc::O_RDWR | flags), None)?;
        let short = self.show(dir, &name).into();
        Ok(fd.map(|fd| (Target::Opened(fd), id, short)))
    }

    fn fd(&self, target: &Target) -> i32 {
        match target {
            Target::Held(index) => self.handles[*index].fd.as_raw_fd(),
            Target::Opened(fd) => fd.as_raw_fd(),
        }
    }

    /// Writes all of `bytes`, however many calls it takes.
    fn put(&self, fd: i32, bytes: &[u8], offset: Option<u64>) -> Outcome {
        let mut done = 0;
        while done < bytes.len() {
            let at = offset.map(|offset| offset + done as u64);
            match files::pwrite(&fd, &bytes[done..], at) {
                Ok(0) => return Err("wrote nothing".into()),
                Ok(n) => done += n,
                Err(error) => return Err(format!("write: {error}")),
            }
        }
        Ok(())
    }

    /// The model's write.
    fn store(&mut self, id: Id, offset: u64, bytes: &[u8]) {
        let data = self.oracle.data_mut(id);
        let end = offset as usize + bytes.len();
        if data.len() < end {
            data.resize(end, 0);
        }
        data[offset as usize..end].copy_from_slice(bytes);
    }

    pub fn write(&mut self) -> Outcome {
        let Some((target, id, name)) = self.target(0)? else {
            return self.create();
        };
        let offset = self.position(self.oracle.data(id).len());
        let len = self.length();
        let bytes = self.bytes(len);
        self.note_on(id, format!("write {} at {offset}+{len}", name.display()));
        self.put(self.fd(&target), &bytes, Some(offset))?;
        self.store(id, offset, &bytes);
        Ok(())
    }

    pub fn append(&mut self) -> Outcome {
        let Some((target, id, name)) = self.target(libc::O_APPEND)? else {
            return Ok(());
        };
        let offset = self.oracle.data(id).len() as u64;
        if offset > 8 * FILE {
            return Ok(());
        }
        let len = self.length();
        let bytes = self.bytes(len);
        self.note_on(id, format!("append {} at {offset}+{len}", name.display()));
        self.put(self.fd(&target), &bytes, None)?;
        self.store(id, offset, &bytes);
        Ok(())
    }

    pub fn direct_write(&mut self) -> Outcome {
        let sync = if self.rng.one_in(6) { libc::O_DSYNC } else { 0 };
        let Some((target, id, name)) = self.target(libc::O_DIRECT | sync)? else {
            return Ok(());
        };
        let offset = self.position(self.oracle.data(id).len()) / 4096 * 4096;
        let len = self.length().div_ceil(4096) * 4096;
        let bytes = self.bytes(len);
        let mut aligned = sys::AlignedBuf::new(len);
        aligned.bytes().copy_from_slice(&bytes);
        self.note_on(
            id,
            format!("direct write {} at {offset}+{len}", name.display()),
        );
        self.put(self.fd(&target), aligned.bytes(), Some(offset))?;
        self.store(id, offset, &bytes);
        Ok(())
    }

    pub fn direct_read(&mut self) -> Outcome {
        let Some((target, id, name)) = self.target(libc::O_DIRECT)? else {
            return Ok(());
        };
        let size = self.oracle.data(id).len();
        let offset = self.rng.below(size as u64 + 1) / 4096 * 4096;
        let len = self.length().div_ceil(4096) * 4096;
        self.note_on(
            id,
            format!("direct read {} at {offset}+{len}", name.display()),
        );
        let mut buf = sys::AlignedBuf::new(len);
        let result = sys::pread(&self.fd(&target), buf.bytes(), offset as i64);
        let n = expect(result, None)?.unwrap_or(0);
        self.compare(&name, id, offset as usize, &buf.bytes()[..n], len)
    }

    /// Compares what a read of `asked` bytes gave.
    fn compare(
        &self,
        name: &std::path::Path,
        id: Id,
        offset: usize,
        found: &[u8],
        asked: usize,
    ) -> Outcome {
        let data = self.oracle.data(id);
        let end = data.len().min(offset + asked);
        let expected = data.get(offset..end).unwrap_or_default();
        if expected.len() != found.len() {
            return Err(format!(
                "read {} bytes, {} expected",
                found.len(),
                expected.len()
            ));
        }
        check::same(name, offset, expected, found)
    }

    pub fn read(&mut self) -> Outcome {
        let Some((target, id, name)) = self.target(0)? else {
            return Ok(());
        };
        let fd = self.fd(&target);
        if self.rng.one_in(3) {
            // What was written back already is read from the device again.
            sys::drop_pages(&fd);
        }
        let offset = self.rng.below(self.oracle.data(id).len() as u64 + 1);
        let len = self.length();
        self.note_on(id, format!("read {} at {offset}+{len}", name.display()));
        let mut buf = vec![0u8; len];
        let n = expect(sys::pread(&fd, &mut buf, offset as i64), None)?.unwrap_or(0);
        self.compare(&name, id, offset as usize, &buf[..n], len)?;
        if let Target::Held(index) = target {
            check::descriptor(&name, &self.handles[index].fd, &self.oracle, id)?;
        }
        Ok(())
    }

    pub fn truncate(&mut self) -> Outcome {
        let Some((target, id, name)) = self.target(0)? else {
            return Ok(());
        };
        let old = self.oracle.data(id).len();
        let size = if self.rng.one_in(2) {
            self.rng.below(old as u64 + 1)
        } else {
            self.position(old)
        };
        self.note_on(
            id,
            format!("truncate {} from {old} to {size}", name.display()),
        );
        expect(files::truncate(&self.fd(&target), size), None)?;
        self.oracle.data_mut(id).resize(size as usize, 0);
        Ok(())
    }

    pub fn fallocate(&mut self) -> Outcome {
        let Some((target, id, name)) = self.target(0)? else {
            return Ok(());
        };
        const KEEP: i32 = libc::FALLOC_FL_KEEP_SIZE;
        let mode = *self.rng.pick(&[
            0,
            KEEP,
            libc::FALLOC_FL_PUNCH_HOLE | KEEP,
            libc::FALLOC_FL_PUNCH_HOLE | KEEP,
            libc::FALLOC_FL_ZERO_RANGE,
            libc::FALLOC_FL_ZERO_RANGE | KEEP,
        ]);
        let size = self.oracle.data(id).len();
        let offset = self.position(size);
        let len = self.length();
        self.note_on(
            id,
            format!(
                "fallocate {} mode {mode} at {offset}+{len}, size {size}",
                name.display()
            ),
        );
        expect(
            sys::fallocate(&self.fd(&target), mode, offset as i64, len as i64),
            None,
        )?;
        let (start, end) = (offset as usize, offset as usize + len);
        let data = self.oracle.data_mut(id);
        if mode & KEEP == 0 && data.len() < end {
            data.resize(end, 0);
        }
        if mode & !KEEP != 0 {
            let end = end.min(data.len());
            if start < end {
                data[start..end].fill(0);
            }
        }
        Ok(())
    }

    /// Writes through a mapping that lives as long as the open file, so that later writes meet
    /// pages that were written back meanwhile.
    pub fn map_write(&mut self) -> Outcome {
        let Some(index) = self.mapped()? else {
            return Ok(());
        };
        let id = self.handles[index].id;
        let size = self.oracle.data(id).len();
        let Some(map) = &self.handles[index].map else {
            return Ok(());
        };
        let limit = size.min(map.len());
        if limit == 0 {
            return Ok(());
        }
        let offset = self.rng.index(limit);
        let len = self.length().min(limit - offset);
        let bytes = self.bytes(len);
        self.note_on(
            id,
            format!("write mapping of open file {index} at {offset}+{len}"),
        );
        let sync = self.rng.one_in(8);
        let Some(map) = &self.handles[index].map else {
            return Ok(());
        };
        expect(map.write(offset, &bytes), None)?;
        if sync {
            expect(map.sync(), None)?;
        }
        self.store(id, offset as u64, &bytes);
        Ok(())
    }

    pub fn map_read(&mut self) -> Outcome {
        let Some(index) = self.mapped()? else {
            return Ok(());
        };
        let id = self.handles[index].id;
        let size = self.oracle.data(id).len();
        let Some(map) = &self.handles[index].map else {
            return Ok(());
        };
        let limit = size.min(map.len());
        if limit == 0 {
            return Ok(());
        }
        let offset = self.rng.index(limit);
        let len = self.length().min(limit - offset);
        self.note(format!(
            "read mapping of open file {index} at {offset}+{len}"
        ));
        let mut buf = vec![0u8; len];
        let Some(map) = &self.handles[index].map else {
            return Ok(());
        };
        expect(map.read(offset, &mut buf), None)?;
        self.compare(
            &PathBuf::from(format!("open file {index}")),
            id,
            offset,
            &buf,
            len,
        )
    }

    /// An open file with a mapping.
    fn mapped(&mut self) -> Result<Option<usize>, String> {
        if self.handles.is_empty() {
            return Ok(None);
        }
        let index = self.rng.index(self.handles.len());
        if self.handles[index].map.is_none() {
            self.note(format!("map open file {index}"));
            let map = Mapping::new(&self.handles[index].fd, FILE as usize);
            self.handles[index].map = expect(map, None)?;
        }
        Ok(Some(index))
    }

    pub fn copy(&mut self) -> Outcome {
        let Some((from, source, name)) = self.target(0)? else {
            return Ok(());
        };
        let Some((to, id, other)) = self.target(0)? else {
            return Ok(());
        };
        let size = self.oracle.data(source).len();
        if source == id || size == 0 {
            return Ok(());
        }
        let offset = self.rng.index(size);
        let len = self.length().min(size - offset);
        let to_offset = self.position(self.oracle.data(id).len());
        self.note_on(
            id,
            format!(
                "copy {} at {offset}+{len} to {} at {to_offset}",
                name.display(),
                other.display()
            ),
        );
        let (from, to) = (self.fd(&from), self.fd(&to));
        let mut done = 0;
        while done < len {
            let (a, b) = (offset + done, to_offset + done as u64);
            let result = files::copy_range(&from, a as u64, &to, b, len - done);
            match expect(result, None)? {
                Some(0) | None => return Err(format!("copied {done} of {len} bytes")),
                Some(n) => done += n,
            }
        }
        let bytes = self.oracle.data(source)[offset..offset + len].to_vec();
        self.store(id, to_offset, &bytes);
        Ok(())
    }

    pub fn fsync(&mut self) -> Outcome {
        let Some((target, id, name)) = self.target(0)? else {
            return Ok(());
        };
        let data_only = self.rng.one_in(2);
        self.note_on(
            id,
            format!("fsync {} data only: {data_only}", name.display()),
        );
        expect(files::fsync(&self.fd(&target), data_only), None)?;
        Ok(())
    }

    /// Opens a file to keep, or closes one.
    pub fn open(&mut self) -> Outcome {
        if self.handles.len() > 4 && self.rng.one_in(2) {
            let index = self.rng.index(self.handles.len());
            self.note(format!("close open file {index}"));
            self.close(index);
            return Ok(());
        }
        let Some((dir, name, id)) = self.file() else {
            return Ok(());
        };
        let truncate = if self.rng.one_in(8) { libc::O_TRUNC } else { 0 };
        self.note_on(id, format!("open {} {truncate:x}", self.show(dir, &name)));
        let fd = expect(
            sys::open(self.path(dir, &name), libc::O_RDWR | truncate),
            None,
        )?;
        if truncate != 0 {
            self.oracle.data_mut(id).clear();
        }
        if let Some(fd) = fd {
            self.hold(fd, id);
        }
        Ok(())
    }

    /// Once there is too much, files go.
    pub fn thin_out(&mut self) -> Outcome {
        while self.oracle.volume() > VOLUME + (VOLUME >> 1) {
            let Some((dir, name, id)) = self.file() else {
                return Ok(());
            };
            if matches!(&self.oracle.at(id).kind, Kind::File(data) if data.is_empty()) {
                continue;
            }
            self.note_on(id, format!("truncate {} to nothing", self.show(dir, &name)));
            let fd = expect(
                sys::open(self.path(dir, &name), libc::O_RDWR | libc::O_TRUNC),
                None,
            )?;
            drop(fd);
            self.oracle.data_mut(id).clear();
        }
        Ok(())
    }
}
