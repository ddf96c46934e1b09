// SPDX-License-Identifier: GPL-2.0

//! Reading file data into the page cache.
//!
//! iomap asks what lies where ([`map`]) and hands out ranges of folios in the order of
//! the file; they are collected in a [`Batch`] as long as their bytes lie together on
//! disk, and then read with one request. A compressed run is read and unpacked as a
//! whole, once for all ranges of the batch, on whatever processor completes the read.
//!
//! The last sector of a file may have anything on disk behind the file's end; it reads as zeroes.
//! The end is asked for while the folio is locked: whoever moves it changes the folio after that.
//!
//! # Bounds
//!
//! A request has at most [`MAX_REQUEST`] bytes: checksums of the requests of one
//! readahead window are verified on several processors, while later ones still read.

use btrfs_format::inode::InodeFlags;
use btrfs_format::types::Logical;
use core::ops::Range;
use kernel::prelude::*;
use kfs::block::{IoBuf, Segment};
use kfs::fs::AddressSpaceOps;
use kfs::iomap::{FolioRange, IomapOps, Mapping, MappingFlags, MappingKind, Purpose, ReadHint};
use kfs::mem::KBuf;

use super::decode;
use super::extent::{Packed, Place};
use super::located::{Located, Views};
use crate::inode::Inode;
use crate::vfs::{Btrfs, BtrfsInode};
use crate::volume::{DataClient, DataRead, FilePosition};

/// Largest request, bytes.
const MAX_REQUEST: usize = 1 << 20;

type Parts = KVec<Part>;

/// A part of an unpacked run.
pub(crate) struct Part {
    /// Offset of the first byte in the run.
    at: usize,
    /// How many bytes are in the file.
    valid: usize,
    range: FolioRange,
}

/// Ranges of folios whose bytes lie together on disk.
#[derive(Default)]
pub(crate) enum Batch {
    /// None yet.
    #[default]
    Empty,
    /// Bytes as they are.
    Plain {
        /// Offset of the first range in the file.
        offset: u64,
        /// Address of the first range.
        address: Logical,
        /// Those of the extent that was found first.
        views: Views,
        /// The ranges.
        buf: IoBuf,
    },
    /// Parts of one compressed run.
    Packed {
        /// Offset of the first range in the file.
        offset: u64,
        /// The run.
        packed: Packed,
        /// Those of the extent that was found first.
        views: Views,
        /// The ranges.
        parts: Parts,
    },
}

/// The page cache of regular files.
pub(crate) struct FileData;

impl IomapOps for FileData {
    type Inode = BtrfsInode;
    type Private = Located;
    type ReadContext = Batch;

    fn map(inode: &BtrfsInode, pos: u64, _len: u64, _purpose: Purpose) -> Result<Mapping<Located>> {
        let extent = inode.data().locate(pos)?;
        let (kind, addr) = match extent.place {
            Place::Hole => (MappingKind::Hole, None),
            Place::Prealloc { address, .. } => (MappingKind::Unwritten, Some(address.get())),
            Place::Plain { address, .. } => (MappingKind::Mapped, Some(address.get())),
            Place::Packed(packed) => (MappingKind::Mapped, Some(packed.address.get())),
            Place::Inline { .. } => (MappingKind::Inline, None),
        };
        Ok(Mapping {
            kind,
            offset: extent.start,
            length: extent.end - extent.start,
            addr,
            flags: MappingFlags::NONE,
            cookie: 0,
            private: extent,
        })
    }

    fn read(
        inode: &BtrfsInode,
        batch: &mut Batch,
        hint: ReadHint,
        mapping: &Mapping<Located>,
        pos: u64,
        range: FolioRange,
    ) {
        let extent = &mapping.private;
        let Some(skip) = pos.checked_sub(extent.start) else {
            return range.finish(Err(EIO));
        };
        match extent.place {
            Place::Plain { address, .. } => match address.checked_add(skip) {
                Some(address) => batch.add_plain(inode, hint, pos, (address, extent), range),
                None => range.finish(Err(EUCLEAN)),
            },
            Place::Packed(packed) => match usize::try_from(skip + u64::from(packed.skip)) {
                Ok(at) => {
                    let valid = within(inode, pos, range.len());
                    let part = Part { at, valid, range };
                    batch.add_packed(inode, hint, pos, (packed, extent), part)
                }
                Err(_) => range.finish(Err(EUCLEAN)),
            },
            Place::Inline { .. } => {
                let mut range = range;
                let (valid, all) = (within(inode, pos, range.len()), range.len());
                let result = inode.data().fill_inline(extent, skip, &mut range);
                let result = result.and_then(|()| range.zero(valid, all - valid));
                range.finish(result);
            }
            Place::Hole | Place::Prealloc { .. } => {
                let mut range = range;
                let result = range.zero(0, range.len());
                range.finish(result);
            }
        }
    }

    fn submit(inode: &BtrfsInode, mut batch: Batch, hint: ReadHint) {
        batch.send(inode, hint);
    }
}

impl Batch {
    fn add_plain(
        &mut self,
        inode: &BtrfsInode,
        hint: ReadHint,
        pos: u64,
        (at, extent): (Logical, &Located),
        range: FolioRange,
    ) {
        let fits = match self {
            Batch::Plain { address, buf, .. } => {
                let end = u64::try_from(buf.len()).ok();
                end.and_then(|len| address.checked_add(len)) == Some(at)
                    && buf.len() + range.len() <= MAX_REQUEST
            }
            _ => false,
        };
        if !fits {
            self.send(inode, hint);
            *self = Batch::Plain {
                offset: pos,
                address: at,
                views: extent.views().clone(),
                buf: IoBuf::new(),
            };
        }
        if let Batch::Plain { buf, .. } = self {
            if let Err(Segment::Folio(range)) = buf.push(Segment::Folio(range)) {
                // A later range must not close up to what is there.
                range.finish(Err(ENOMEM));
                self.send(inode, hint);
            }
        }
    }

    fn add_packed(
        &mut self,
        inode: &BtrfsInode,
        hint: ReadHint,
        pos: u64,
        (run, extent): (Packed, &Located),
        part: Part,
    ) {
        let fits = match self {
            Batch::Packed { packed, .. } => packed.address == run.address,
            _ => false,
        };
        if !fits {
            self.send(inode, hint);
            *self = Batch::Packed {
                offset: pos,
                packed: run,
                views: extent.views().clone(),
                parts: KVec::new(),
            };
        }
        if let Batch::Packed { parts, .. } = self {
            match parts.reserve(1, GFP_KERNEL) {
                Ok(()) => drop(parts.push_within_capacity(part)),
                Err(_) => part.range.finish(Err(ENOMEM)),
            }
        }
    }

    /// Reads what was collected and leaves the batch empty.
    fn send(&mut self, inode: &BtrfsInode, hint: ReadHint) {
        match core::mem::take(self) {
            Batch::Empty => {}
            Batch::Plain { buf, .. } if buf.is_empty() => {}
            Batch::Plain {
                offset,
                address,
                views,
                buf,
            } => read_plain(inode, hint, offset, address, views, buf),
            Batch::Packed {
                offset,
                packed,
                views,
                parts,
            } => read_packed(inode.data(), hint, offset, (packed, views), parts),
        }
    }
}

/// How the page cache of regular files is read.
pub(crate) const fn address_space() -> AddressSpaceOps<Btrfs> {
    AddressSpaceOps::new::<FileData>()
}

/// Whoever waits for a buffer.
struct Wanted {
    position: FilePosition,
}

impl DataClient for Wanted {
    type Output = Result<IoBuf>;

    fn position(&self, offset: usize) -> FilePosition {
        advance(self.position, offset)
    }

    fn done(self, buf: IoBuf, bad: &[Range<usize>]) -> Result<IoBuf> {
        match bad {
            [] => Ok(buf),
            _ => Err(EIO),
        }
    }
}

/// Folios that wait for plain data.
struct PlainFolios {
    position: FilePosition,
    /// How many bytes are in the file.
    valid: usize,
    _views: Views,
}

impl DataClient for PlainFolios {
    type Output = ();

    fn position(&self, offset: usize) -> FilePosition {
        advance(self.position, offset)
    }

    fn done(self, mut buf: IoBuf, bad: &[Range<usize>]) {
        if self.valid < buf.len() {
            let _ = buf.zero(self.valid..buf.len());
        }
        // Only the blocks that could not be had fail, not the folios they are in.
        buf.finish_except(bad);
    }
}

/// Folios that wait for a compressed run.
struct PackedFolios {
    position: FilePosition,
    _views: Views,
    sector: u64,
    packed: Packed,
    parts: Parts,
}

impl DataClient for PackedFolios {
    type Output = ();

    fn position(&self, _offset: usize) -> FilePosition {
        // A byte of the compressed data has no place in the file.
        self.position
    }

    fn done(mut self, buf: IoBuf, bad: &[Range<usize>]) {
        let result = match bad {
            [] => self.unpack(&buf),
            _ => Err(EIO),
        };
        finish_parts(self.parts, result);
    }
}

impl PackedFolios {
    /// Unpacks the run in `buf`, and gives each range its part of it.
    fn unpack(&mut self, buf: &IoBuf) -> Result {
        let input = buf.as_slice().ok_or(EIO)?;
        let sector = usize::try_from(self.sector)?;
        let size = usize::try_from(self.packed.unpacked)?.next_multiple_of(sector);
        let compression = self.packed.compression;
        // A single range for all of the run takes it without a detour.
        if let [Part {
            at: 0,
            valid,
            range,
        }] = self.parts.as_mut_slice()
        {
            if range.len() == size && *valid == size {
                let mut result = Ok(());
                let mut whole = false;
                range.for_each_mut(0, size, |chunk| {
                    if chunk.len() == size {
                        whole = true;
                        result = decode::unpack(compression, sector, input, chunk).map(drop);
                    }
                })?;
                if whole {
                    return result;
                }
            }
        }
        let mut output = KBuf::new(size, GFP_KERNEL)?;
        decode::unpack(compression, sector, input, &mut output)?;
        for part in self.parts.iter_mut() {
            let rest = output.get(part.at..).unwrap_or_default();
            let (len, all) = (rest.len().min(part.valid), part.range.len());
            part.range
                .write_at(0, rest.get(..len).unwrap_or_default())?;
            part.range.zero(len, all - len)?;
        }
        Ok(())
    }
}

/// The position `offset` bytes behind `position`.
pub(super) fn advance(position: FilePosition, offset: usize) -> FilePosition {
    FilePosition {
        offset: position.offset.saturating_add(offset as u64),
        ..position
    }
}

/// How many of the `len` bytes from offset `pos` on are in the file.
pub(super) fn within(inode: &BtrfsInode, pos: u64, len: usize) -> usize {
    let size = u64::try_from(inode.size()).unwrap_or(0);
    usize::try_from(size.saturating_sub(pos)).map_or(len, |valid| valid.min(len))
}

fn finish_parts(parts: Parts, result: Result) {
    for part in parts {
        part.range.finish(result);
    }
}

pub(super) fn position(inode: &Inode, offset: u64) -> FilePosition {
    FilePosition {
        tree: inode.subvol().id(),
        ino: inode.ino(),
        offset,
    }
}

/// Reads the bytes of `inode` from offset `offset` on, which are at `address`, into `buf`.
///
/// `views` are from before the address was looked up.
pub(crate) fn wait(
    inode: &Inode,
    offset: u64,
    address: Logical,
    views: &Views,
    buf: IoBuf,
) -> Result<IoBuf> {
    let csums = checksums(inode, address, buf.len(), views)?;
    inode.fs().volume().read_data_now(DataRead {
        logical: address,
        buf,
        csums,
        client: Wanted {
            position: position(inode, offset),
        },
    })
}

/// Reads folios of plain data.
fn read_plain(
    inode: &BtrfsInode,
    hint: ReadHint,
    offset: u64,
    address: Logical,
    views: Views,
    buf: IoBuf,
) {
    let data = inode.data();
    let csums = match checksums(data, address, buf.len(), &views) {
        Ok(csums) => csums,
        Err(e) => return buf.finish(Err(e)),
    };
    let valid = within(inode, offset, buf.len());
    let request = DataRead {
        logical: address,
        buf,
        csums,
        client: PlainFolios {
            position: position(data, offset),
            valid,
            _views: views,
        },
    };
    start(data, hint, request);
}

/// Reads a compressed run and unpacks it into folios.
fn read_packed(
    inode: &Inode,
    hint: ReadHint,
    offset: u64,
    (packed, views): (Packed, Views),
    parts: Parts,
) {
    let prepared = usize::try_from(packed.size)
        .map_err(Error::from)
        .and_then(|size| {
            let buf = IoBuf::from_buf(KBuf::new(size, GFP_KERNEL)?)?;
            Ok((buf, checksums(inode, packed.address, size, &views)?))
        });
    let (buf, csums) = match prepared {
        Ok(prepared) => prepared,
        Err(e) => return finish_parts(parts, Err(e)),
    };
    let request = DataRead {
        logical: packed.address,
        buf,
        csums,
        client: PackedFolios {
            position: position(inode, offset),
            _views: views,
            sector: inode.fs().sector_size(),
            packed,
            parts,
        },
    };
    start(inode, hint, request);
}

fn start<C: DataClient<Output = ()>>(inode: &Inode, hint: ReadHint, request: DataRead<C>) {
    let volume = inode.fs().volume();
    if hint.wait {
        volume.read_data_now(request);
    } else {
        volume.read_data(request);
    }
}

/// The checksums of data of `inode`; `None` where it has none or they do not matter.
pub(super) fn checksums(
    inode: &Inode,
    address: Logical,
    len: usize,
    views: &Views,
) -> Result<Option<KVVec<u8>>> {
    if inode.flags().contains(InodeFlags::NODATASUM) {
        return Ok(None);
    }
    let committed = views.csum();
    inode
        .fs()
        .data_checksums(address, u64::try_from(len)?, committed)
}
