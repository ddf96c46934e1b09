// SPDX-License-Identifier: GPL-2.0

//! The checksums of a file's data: `GET_CSUMS`.

use super::user;
use crate::data::located::Views;
use crate::vfs::{Btrfs, BtrfsInode};
use btrfs_format::{
    file_extent::{Compression, FileExtent},
    inode::InodeFlags,
    key::{item, Key},
    types::Logical,
};
use kernel::{ioctl::_IOWR, prelude::*};
use kfs::fs::File;
use zerocopy::IntoBytes;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `BTRFS_IOC_GET_CSUMS`.
pub(crate) const GET_CSUMS: u32 = _IOWR::<CsumArgs>(0x94, 66);

/// `struct btrfs_ioctl_get_csums_args`, behind which the result follows.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct CsumArgs {
    /// The range of the file in bytes; when done, what is left of it.
    offset: u64,
    length: u64,
    /// Room for the result in bytes; when done, how long it is.
    buf_size: u64,
    flags: u64,
}

/// `struct btrfs_ioctl_get_csums_entry`: a range of the file, which checksums may follow.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct CsumEntry {
    offset: u64,
    length: u64,
    kind: u32,
    reserved: u32,
}

const ENTRY_SIZE: u64 = 24;
const _: () = assert!(size_of::<CsumEntry>() == 24);

/// Values of [`CsumEntry::kind`].
mod kind {
    pub(super) const HAS_CSUMS: u32 = 1 << 0;
    pub(super) const ZEROED: u32 = 1 << 1;
    pub(super) const NODATASUM: u32 = 1 << 2;
    pub(super) const COMPRESSED: u32 = 1 << 3;
    pub(super) const INLINE: u32 = 1 << 5;
}

/// Largest result in bytes.
const MAX_RESULT: u64 = 16 << 20;

/// A range of a file, and what there is to say about it.
struct Piece {
    start: u64,
    end: u64,
    kind: u32,
    /// Where the data is, if there are checksums of it.
    data: Option<Logical>,
}

/// The result, as it is written to user space.
struct Report<'a> {
    inode: &'a BtrfsInode,
    addr: usize,
    limit: u64,
    used: u64,
    /// What has been told up to.
    at: u64,
    end: u64,
}

/// `GET_CSUMS`: what data of a range of the file has which checksums.
pub(crate) fn get_csums(file: &File<Btrfs>, arg: usize) -> Result<isize> {
    if !file.is_readable() {
        return Err(EBADF);
    }
    let inode = file.inode();
    if !inode.is_reg() {
        return Err(EINVAL);
    }
    let mut args: CsumArgs = user::read(arg)?;
    let sector = inode.data().fs().sector_size();
    if args.offset % sector != 0 || args.length % sector != 0 || args.length == 0 {
        return Err(EINVAL);
    }
    let end = args.offset.checked_add(args.length).ok_or(EOVERFLOW)?;
    if args.flags != 0 || args.buf_size < ENTRY_SIZE {
        return Err(EINVAL);
    }
    let mut report = Report {
        inode,
        addr: arg.checked_add(size_of::<CsumArgs>()).ok_or(EFAULT)?,
        limit: args.buf_size.min(MAX_RESULT),
        used: 0,
        at: args.offset,
        end,
    };
    report.clear()?;
    // Most of it before others have to wait; then what came meanwhile.
    inode.write_and_wait(args.offset..end)?;
    let _lock = inode.lock_shared();
    inode.wait_for_direct_io();
    inode.write_and_wait(args.offset..end)?;
    report.fill()?;
    args.offset = report.at;
    args.length = end.saturating_sub(report.at);
    args.buf_size = report.used;
    user::write(arg, &args)?;
    Ok(0)
}

impl Report<'_> {
    /// Fills the room for the result with zeroes.
    fn clear(&self) -> Result {
        let zeroes = [0; 512];
        let mut done = 0;
        while done < self.limit {
            let len = usize::try_from(self.limit.saturating_sub(done))?.min(zeroes.len());
            let part = zeroes.get(..len).ok_or(EINVAL)?;
            user::write_bytes(self.place(done)?, part)?;
            done = done.saturating_add(u64::try_from(len)?);
        }
        Ok(())
    }

    fn place(&self, offset: u64) -> Result<usize> {
        self.addr
            .checked_add(usize::try_from(offset)?)
            .ok_or(EFAULT)
    }

    fn fill(&mut self) -> Result {
        if self.inode.data().flags().contains(InodeFlags::NODATASUM) {
            self.tell(self.end, kind::NODATASUM, None)?;
            return Ok(());
        }
        while self.at < self.end {
            // Before the look-up: what these do not know yet is younger.
            let views = Views::of(self.inode.data());
            let Some(piece) = self.next_piece()? else {
                self.tell(self.end, kind::ZEROED, None)?;
                break;
            };
            let gap_end = piece.start.min(self.end);
            if self.at < gap_end && !self.tell(gap_end, kind::ZEROED, None)? {
                break;
            }
            if self.at >= self.end {
                break;
            }
            let data = match piece.data {
                None => None,
                Some(data) => {
                    let skip = self.at.saturating_sub(piece.start);
                    Some((data.checked_add(skip).ok_or(EUCLEAN)?, &views))
                }
            };
            if !self.tell(piece.end.min(self.end), piece.kind, data)? {
                break;
            }
        }
        Ok(())
    }

    /// Tells about the range up to `end`, with its checksums if its data is at `data`, of which
    /// the views were taken before. Returns false if there is no room.
    ///
    /// `EOVERFLOW` if there would not have been room for that alone.
    fn tell(&mut self, end: u64, kind: u32, data: Option<(Logical, &Views)>) -> Result<bool> {
        let length = end.saturating_sub(self.at);
        let sums = match data {
            None => None,
            Some((data, views)) => {
                let geometry = self.inode.data().fs().volume().geometry();
                let size = u64::from(geometry.csum_size);
                let sectors = length.checked_div(u64::from(geometry.sectorsize));
                let bytes = sectors.unwrap_or(0).saturating_mul(size);
                Some((data, views, bytes))
            }
        };
        let size = sums.map_or(ENTRY_SIZE, |(_, _, bytes)| bytes.saturating_add(ENTRY_SIZE));
        if size > self.limit.saturating_sub(self.used) {
            return match self.used {
                0 => Err(EOVERFLOW),
                _ => Ok(false),
            };
        }
        let entry = CsumEntry {
            offset: self.at,
            length,
            kind,
            reserved: 0,
        };
        user::write_bytes(self.place(self.used)?, entry.as_bytes())?;
        if let Some((data, views, _)) = sums {
            self.write_sums(data, length, views)?;
        }
        self.used = self.used.saturating_add(size);
        self.at = end;
        Ok(true)
    }

    /// Writes the checksums of `len` bytes at `data` behind the next entry; zeroes where there are
    /// none.
    fn write_sums(&self, data: Logical, len: u64, views: &Views) -> Result {
        let fs = self.inode.data().fs();
        let sums = fs.data_checksums(data, len, views.csum())?.ok_or(EUCLEAN)?;
        user::write_bytes(self.place(self.used.saturating_add(ENTRY_SIZE))?, &sums)
    }

    /// The first piece that ends behind what has been told; `None` if there is none.
    fn next_piece(&self) -> Result<Option<Piece>> {
        let node = self.inode.data();
        let ino = node.ino().get();
        let key = Key::new(ino, item::EXTENT_DATA, self.at);
        let mut cursor = node.tree().seek_at_or_before(key)?;
        if cursor.key().is_none() {
            cursor = node.tree().seek(key)?;
        }
        while let Some((found, data)) = cursor.item() {
            let place = (found.objectid, found.item_type);
            if place > (ino, item::EXTENT_DATA) {
                break;
            }
            if place == (ino, item::EXTENT_DATA) {
                let piece = self.piece(found.offset, data)?;
                if piece.end > self.at {
                    return Ok(Some(piece));
                }
            }
            cursor.next()?;
        }
        Ok(None)
    }

    fn piece(&self, start: u64, data: &[u8]) -> Result<Piece> {
        let sector = self.inode.data().fs().sector_size();
        let packed = |compression| match compression {
            Compression::None => 0,
            _ => kind::COMPRESSED,
        };
        let (len, kind, place) = match FileExtent::parse(data).ok_or(EUCLEAN)? {
            FileExtent::Inline { compression, .. } => {
                (sector, kind::INLINE | packed(compression), None)
            }
            FileExtent::Prealloc(disk) => (disk.num_bytes, kind::ZEROED, None),
            FileExtent::Regular(disk) if disk.disk_bytenr == Logical(0) => {
                (disk.num_bytes, kind::ZEROED, None)
            }
            FileExtent::Regular(disk) if disk.compression != Compression::None => {
                (disk.num_bytes, kind::COMPRESSED, None)
            }
            FileExtent::Regular(disk) => {
                let place = disk.disk_bytenr.checked_add(disk.offset).ok_or(EUCLEAN)?;
                (disk.num_bytes, kind::HAS_CSUMS, Some(place))
            }
        };
        let end = start.checked_add(len).ok_or(EUCLEAN)?;
        Ok(Piece {
            start,
            end,
            kind,
            data: place,
        })
    }
}
