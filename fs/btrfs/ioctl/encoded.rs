// SPDX-License-Identifier: GPL-2.0

//! Data as it is on the disk: `ENCODED_READ`.
//!
//! A compressed extent is handed out compressed and whole, together with which part of it the
//! file shows; everything else as it would be read, a bounded piece at a time.

use super::{require_admin, user};
use crate::{
    data::{
        extent::{Packed, Place},
        located::Located,
        read,
    },
    vfs::{Btrfs, BtrfsInode},
};
use btrfs_format::{
    file_extent::{Compression, FileExtent},
    key::Key,
};
use kernel::{ioctl::_IOR, prelude::*};
use kfs::{
    block::IoBuf,
    fs::File,
    mem::KBuf,
    task::{cond_resched, is_killed},
};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `BTRFS_IOC_ENCODED_READ`.
pub(crate) const ENCODED_READ: u32 = _IOR::<[u8; 128]>(0x94, 64);

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

/// Its other fields, which say what was read.
#[derive(Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Answer {
    /// Bytes of the file that what was read stands for.
    len: u64,
    unencoded_len: u64,
    unencoded_offset: u64,
    compression: u32,
    encryption: u32,
    reserved: [u64; 8],
}

const _: () = assert!(size_of::<Wanted>() + size_of::<Answer>() == 128);

/// `struct iovec`.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Vector {
    base: usize,
    len: usize,
}

/// Memory of user space, to be filled from its start.
struct Target {
    vectors: KVec<Vector>,
    /// The first one that has room left.
    current: usize,
    room: u64,
}

impl Target {
    /// Reads the vectors. `EINVAL` for too many of them or too large ones.
    fn read(wanted: &Wanted) -> Result<Self> {
        if wanted.iovcnt > MAX_VECTORS {
            return Err(EINVAL);
        }
        let mut vectors = KVec::with_capacity(wanted.iovcnt, GFP_KERNEL)?;
        let mut room = 0u64;
        for index in 0..wanted.iovcnt {
            let at = wanted.iov.checked_add(index * size_of::<Vector>());
            let vector: Vector = user::read(at.ok_or(EFAULT)?)?;
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

    /// Writes `bytes` behind those that were written before.
    fn write(&mut self, mut bytes: &[u8]) -> Result {
        while !bytes.is_empty() {
            let vector = self.vectors.get_mut(self.current).ok_or(EFAULT)?;
            let (now, later) = bytes.split_at(bytes.len().min(vector.len));
            user::write_bytes(vector.base, now)?;
            vector.base = vector.base.checked_add(now.len()).ok_or(EFAULT)?;
            vector.len -= now.len();
            if vector.len == 0 {
                self.current += 1;
            }
            bytes = later;
        }
        Ok(())
    }
}

/// A read of a file from `pos` on.
struct Read<'a> {
    inode: &'a BtrfsInode,
    pos: u64,
    size: u64,
    target: Target,
    answer: Answer,
}

/// `ENCODED_READ`: returns the number of bytes written to the vectors; 0 at the file's end.
///
/// `ENOBUFS` where a compressed extent does not fit the vectors.
pub(crate) fn encoded_read(file: &File<Btrfs>, arg: usize) -> Result<isize> {
    require_admin()?;
    let wanted: Wanted = user::read(arg)?;
    let inode = file.inode();
    if wanted.flags != 0 || !inode.is_reg() {
        return Err(EINVAL);
    }
    let target = Target::read(&wanted)?;
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
    let behind = arg.checked_add(size_of::<Wanted>()).ok_or(EFAULT)?;
    user::write(behind, &request.answer)?;
    Ok(isize::try_from(done)?)
}

impl Read<'_> {
    fn run(&mut self) -> Result<u64> {
        let _lock = self.inode.lock_shared();
        if self.pos >= self.size {
            return Ok(0);
        }
        let sector = self.inode.data().fs().sector_size();
        let extent = self.inode.data().locate(self.pos - self.pos % sector)?;
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
