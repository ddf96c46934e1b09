// SPDX-License-Identifier: GPL-2.0

//! Data as it is on the disk: `ENCODED_READ` and `ENCODED_WRITE`.
//!
//! When read, a compressed extent is handed out compressed and whole, together with which part of it the
//! file shows; everything else as it would be read, a bounded piece at a time.

use super::{require_admin, user};
use crate::{
    data::{
        encoded::{self, Encoded},
        extent::{Packed, Place, MAX_PACKED},
        located::Located,
        read,
    },
    vfs::{Btrfs, BtrfsInode},
};
use btrfs_format::{
    file_extent::{Compression, FileExtent},
    key::Key,
};
use core::ops::Range;
use kernel::{
    ioctl::{_IOR, _IOW},
    prelude::*,
};
use kfs::{
    block::IoBuf,
    fs::File,
    mem::KBuf,
    task::{cond_resched, is_killed},
};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `BTRFS_IOC_ENCODED_READ`.
pub(crate) const ENCODED_READ: u32 = _IOR::<[u8; 128]>(0x94, 64);
/// `BTRFS_IOC_ENCODED_READ_32`.
pub(crate) const ENCODED_READ_32: u32 = _IOR::<[u8; 120]>(0x94, 64);
/// `BTRFS_IOC_ENCODED_WRITE`.
pub(crate) const ENCODED_WRITE: u32 = _IOW::<[u8; 128]>(0x94, 64);
/// `BTRFS_IOC_ENCODED_WRITE_32`.
pub(crate) const ENCODED_WRITE_32: u32 = _IOW::<[u8; 120]>(0x94, 64);

/// Largest piece of plain data that one call returns.
const MAX_PIECE: u64 = 128 << 10;

/// Most bytes that one call returns, as for any read (`MAX_RW_COUNT`).
const MAX_ROOM: u64 = (1 << 31) - 4096;

/// Most vectors that a call may name (`UIO_MAXIOV`).
const MAX_VECTORS: usize = 1024;

/// The first fields of `struct btrfs_ioctl_encoded_io_args`, which say what is wanted.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Wanted {
    iov: usize,
    iovcnt: usize,
    offset: i64,
    flags: u64,
}

/// The same of a 32-bit program.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Wanted32 {
    iov: u32,
    iovcnt: u32,
    offset: i64,
    flags: u64,
}

/// Its other fields, which say what was read, or is to be written.
#[derive(Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Answer {
    /// Bytes of the file that the data stands for.
    len: u64,
    unencoded_len: u64,
    unencoded_offset: u64,
    compression: u32,
    encryption: u32,
    reserved: [u64; 8],
}

const _: () = assert!(size_of::<Wanted>() + size_of::<Answer>() == 128);
const _: () = assert!(size_of::<Wanted32>() + size_of::<Answer>() == 120);

/// The sizes of what user space passes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// A program of this machine.
    Native,
    /// A 32-bit program, or one that passes its structure.
    Small {
        /// The vectors are as small as well.
        vectors: bool,
    },
}

impl Wanted {
    /// Reads the structure; returns the address of what follows it, too.
    fn read(arg: usize, layout: Layout) -> Result<(Self, usize)> {
        let (wanted, size) = match layout {
            Layout::Native => (user::read(arg)?, size_of::<Self>()),
            Layout::Small { .. } => {
                let small: Wanted32 = user::read(arg)?;
                let wanted = Self {
                    iov: usize::try_from(small.iov)?,
                    iovcnt: usize::try_from(small.iovcnt)?,
                    offset: small.offset,
                    flags: small.flags,
                };
                (wanted, size_of::<Wanted32>())
            }
        };
        Ok((wanted, arg.checked_add(size).ok_or(EFAULT)?))
    }
}

/// `struct iovec`.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Vector {
    base: usize,
    len: usize,
}

/// The same of a 32-bit program.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Vector32 {
    base: u32,
    len: i32,
}

/// Memory of user space, to be filled or read from its start.
struct Memory {
    vectors: KVec<Vector>,
    /// The first one that has room left.
    current: usize,
    room: u64,
}

impl Memory {
    /// Reads the vectors. `EINVAL` for too many of them or too large ones.
    fn read(wanted: &Wanted, layout: Layout) -> Result<Self> {
        if wanted.iovcnt > MAX_VECTORS {
            return Err(EINVAL);
        }
        let small = layout == Layout::Small { vectors: true };
        let mut vectors = KVec::with_capacity(wanted.iovcnt, GFP_KERNEL)?;
        let mut room = 0u64;
        for index in 0..wanted.iovcnt {
            let size = match small {
                true => size_of::<Vector32>(),
                false => size_of::<Vector>(),
            };
            let at = wanted.iov.checked_add(index * size).ok_or(EFAULT)?;
            let vector = match small {
                true => {
                    let vector: Vector32 = user::read(at)?;
                    Vector {
                        base: usize::try_from(vector.base)?,
                        len: usize::try_from(vector.len).map_err(|_| EINVAL)?,
                    }
                }
                false => user::read(at)?,
            };
            let len = i64::try_from(vector.len).map_err(|_| EINVAL)?;
            room = room.saturating_add(len.unsigned_abs());
            vectors.push(vector, GFP_KERNEL)?;
        }
        Ok(Self {
            vectors,
            current: 0,
            room: room.min(MAX_ROOM),
        })
    }

    /// Passes the next `len` bytes of user space on, in pieces: the address of each, and what
    /// part of the `len` it is.
    fn next(&mut self, len: usize, mut f: impl FnMut(usize, Range<usize>) -> Result) -> Result {
        let mut done = 0;
        while done < len {
            let vector = self.vectors.get_mut(self.current).ok_or(EFAULT)?;
            let now = (len - done).min(vector.len);
            f(vector.base, done..done + now)?;
            vector.base = vector.base.checked_add(now).ok_or(EFAULT)?;
            vector.len -= now;
            if vector.len == 0 {
                self.current += 1;
            }
            done += now;
        }
        Ok(())
    }

    /// Writes `bytes` behind those that were written before.
    fn write(&mut self, bytes: &[u8]) -> Result {
        self.next(bytes.len(), |at, part| {
            user::write_bytes(at, bytes.get(part).ok_or(EINVAL)?)
        })
    }

    /// Fills `bytes` from behind those that were read before.
    fn fill(&mut self, bytes: &mut [u8]) -> Result {
        self.next(bytes.len(), |at, part| {
            user::read_bytes(at, bytes.get_mut(part).ok_or(EINVAL)?)
        })
    }
}

/// A read of a file from `pos` on.
struct Read<'a> {
    inode: &'a BtrfsInode,
    pos: u64,
    size: u64,
    target: Memory,
    answer: Answer,
}

/// `ENCODED_READ`: returns the number of bytes written to the vectors; 0 at the file's end.
///
/// `ENOBUFS` where a compressed extent does not fit the vectors.
pub(crate) fn encoded_read(file: &File<Btrfs>, arg: usize, layout: Layout) -> Result<isize> {
    require_admin()?;
    let (wanted, behind) = Wanted::read(arg, layout)?;
    let inode = file.inode();
    if wanted.flags != 0 || !inode.is_reg() {
        return Err(EINVAL);
    }
    let target = Memory::read(&wanted, layout)?;
    let mut request = Read {
        inode,
        pos: u64::try_from(wanted.offset).map_err(|_| EINVAL)?,
        size: u64::try_from(inode.size())?,
        target,
        answer: Answer::default(),
    };
    let done = match request.target.room {
        0 => return Ok(0),
        _ => request.run()?,
    };
    user::write(behind, &request.answer)?;
    Ok(isize::try_from(done)?)
}

/// `ENCODED_WRITE`: returns the number of compressed bytes.
pub(crate) fn encoded_write(file: &File<Btrfs>, arg: usize, layout: Layout) -> Result<isize> {
    require_admin()?;
    if !file.is_writable() {
        return Err(EBADF);
    }
    let (wanted, behind) = Wanted::read(arg, layout)?;
    let what: Answer = user::read(behind)?;
    let inode = file.inode();
    let visible = what.unencoded_len.checked_sub(what.unencoded_offset);
    if wanted.flags != 0
        || what.reserved != [0; 8]
        || what.encryption != 0
        || visible.is_none_or(|visible| what.len > visible)
        || !inode.is_reg()
    {
        return Err(EINVAL);
    }
    let fs = inode.data().fs();
    let compression = compression(what.compression, fs.sector_size())?;
    let mut source = Memory::read(&wanted, layout)?;
    let size = source.room;
    if size == 0 {
        return Ok(0);
    }
    file.check_write(wanted.offset, what.len)?;
    let pos = u64::try_from(wanted.offset)?;
    if what.len == 0 {
        return Ok(0);
    }
    if size > u64::from(MAX_PACKED) {
        return Err(EINVAL);
    }
    let mut data = KVVec::from_elem(0u8, usize::try_from(size)?, GFP_KERNEL)?;
    source.fill(&mut data)?;
    {
        let _write = file.want_write()?;
        encoded::write(
            file,
            Encoded {
                pos,
                len: what.len,
                skip: what.unencoded_offset,
                unpacked: what.unencoded_len,
                compression,
                data,
            },
        )?;
        file.notify_modified();
    }
    if file.wants_sync() {
        fs.txn().commit()?;
    }
    Ok(isize::try_from(size)?)
}

/// What user space calls `number`; see [`Read::name`].
fn compression(number: u32, sector: u64) -> Result<Compression> {
    let lzo = 3u32.saturating_add(sector.trailing_zeros().saturating_sub(12));
    match number {
        1 => Ok(Compression::Zlib),
        2 => Ok(Compression::Zstd),
        _ if number == lzo => Ok(Compression::Lzo),
        _ => Err(EINVAL),
    }
}

impl Read<'_> {
    fn run(&mut self) -> Result<u64> {
        let _lock = self.inode.lock_shared();
        if self.pos >= self.size {
            return Ok(0);
        }
        let sector = self.inode.data().fs().sector_size();
        let start = self.pos - self.pos % sector;
        // Items only know of what was written.
        self.inode.write_and_wait(start..i64::MAX as u64)?;
        let extent = self.inode.data().locate(start)?;
        let end = extent.end.min(self.size);
        self.answer.len = end.checked_sub(self.pos).ok_or(EUCLEAN)?;
        match extent.place {
            Place::Hole | Place::Prealloc { .. } => self.zeroes(),
            Place::Plain { .. } => self.plain(&extent),
            Place::Packed(packed) => self.packed(&extent, packed),
            Place::Inline { key, .. } => self.inline(key),
        }
    }

    /// As many bytes as are wanted and there, but no more than `limit`.
    fn limit(&mut self, limit: u64) -> u64 {
        let len = self.answer.len.min(self.target.room).min(limit);
        self.answer.len = len;
        self.answer.unencoded_len = len;
        len
    }

    fn zeroes(&mut self) -> Result<u64> {
        let zeroes = [0; 512];
        let len = self.limit(u64::MAX);
        let mut left = len;
        while left > 0 {
            if is_killed() {
                return Err(EINTR);
            }
            cond_resched();
            let now = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(zeroes.len());
            self.target.write(zeroes.get(..now).ok_or(EINVAL)?)?;
            left -= u64::try_from(now)?;
        }
        Ok(len)
    }

    fn plain(&mut self, extent: &Located) -> Result<u64> {
        let Place::Plain { address, .. } = extent.place else {
            return Err(EINVAL);
        };
        let sector = self.inode.data().fs().sector_size();
        let skip = self.pos % sector;
        let start = self.pos - skip;
        let len = self.limit(MAX_PIECE - skip);
        let whole = (skip + len).next_multiple_of(sector);
        let address = address.checked_add(start - extent.start).ok_or(EUCLEAN)?;
        let buf = IoBuf::from_buf(KBuf::new(usize::try_from(whole)?, GFP_KERNEL)?)?;
        let buf = read::wait(self.inode.data(), start, address, extent.views(), buf)?;
        let range = usize::try_from(skip)?..usize::try_from(skip + len)?;
        buf.for_each_slice(range, |piece| self.target.write(piece))?;
        Ok(len)
    }

    fn packed(&mut self, extent: &Located, packed: Packed) -> Result<u64> {
        if u64::from(packed.size) > self.target.room {
            return Err(ENOBUFS);
        }
        self.answer.unencoded_len = u64::from(packed.unpacked);
        self.answer.unencoded_offset = self.pos - extent.start + u64::from(packed.skip);
        self.answer.compression = self.name(packed.compression);
        let size = usize::try_from(packed.size)?;
        let buf = IoBuf::from_buf(KBuf::new(size, GFP_KERNEL)?)?;
        let buf = read::wait(
            self.inode.data(),
            extent.start,
            packed.address,
            extent.views(),
            buf,
        )?;
        buf.for_each_slice(0..size, |piece| self.target.write(piece))?;
        Ok(u64::from(packed.size))
    }

    fn inline(&mut self, key: Key) -> Result<u64> {
        let item = self.inode.data().tree().get(key)?.ok_or(EUCLEAN)?;
        let Some(FileExtent::Inline {
            ram_bytes,
            compression,
            data,
            ..
        }) = FileExtent::parse(&item)
        else {
            return Err(EUCLEAN);
        };
        let offset = self.pos.checked_sub(key.offset).ok_or(EUCLEAN)?;
        // The last sector ends with the file, not with the data.
        let end = key.offset.saturating_add(ram_bytes).min(self.size);
        self.answer.len = end.saturating_sub(self.pos);
        if compression == Compression::None {
            let len = self.limit(u64::MAX);
            let rest = data.get(usize::try_from(offset)?..).unwrap_or_default();
            let rest = rest.get(..usize::try_from(len)?).ok_or(EUCLEAN)?;
            self.target.write(rest)?;
            return Ok(len);
        }
        let size = u64::try_from(data.len())?;
        if size > self.target.room {
            return Err(ENOBUFS);
        }
        self.answer.unencoded_len = ram_bytes;
        self.answer.unencoded_offset = offset;
        self.answer.compression = self.name(compression);
        self.target.write(data)?;
        Ok(size)
    }

    /// The number that user space knows a compression by (`BTRFS_ENCODED_IO_COMPRESSION_*`);
    /// LZO has one for each sector size.
    fn name(&self, compression: Compression) -> u32 {
        match compression {
            Compression::None => 0,
            Compression::Zlib => 1,
            Compression::Zstd => 2,
            Compression::Lzo => {
                let sector = self.inode.data().fs().sector_size();
                3u32.saturating_add(sector.trailing_zeros().saturating_sub(12))
            }
        }
    }
}
