// SPDX-License-Identifier: GPL-2.0

//! Whether and how data is compressed when it is written.
//!
//! Data is compressed in *runs* of at most 128 KiB, each an extent of its own. A run stays
//! compressed if that saves a sector at least. What does not look like it could be made smaller is
//! not tried; where a try fails, the file is not compressed any more ([`InodeFlags::NOCOMPRESS`]),
//! unless that was asked for by force or for this file.
//!
//! [`decode`](super::decode) tells how LZO data is framed.

use btrfs_format::file_extent::Compression;
use btrfs_format::inode::InodeFlags;
use btrfs_format::superblock::Incompat;
use kernel::prelude::*;
use kfs::compress::{lzo1x_compress, lzo1x_worst, zlib_compress, zstd_compress};
use kfs::mem::KBuf;

use crate::inode::Inode;
use crate::mount::options::{Algorithm, Flags};
use crate::xattr::property;

/// Most bytes of a run.
pub(super) const RUN: u64 = 128 << 10;

/// How data is compressed that is written again for that ([`defrag`](super::defrag)).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Recode {
    /// Not at all.
    Plain,
    /// As said; level 0 is the algorithm's own.
    Packed(Algorithm, i32),
}

/// How the data of a file is compressed.
pub(super) struct Packer {
    algorithm: Algorithm,
    level: i32,
    sector: usize,
    /// Whatever it looks like, and whatever came of it before.
    forced: bool,
    /// The file itself asks for it.
    asked: bool,
}

impl Packer {
    /// How new data of `inode` is compressed; `None` if it is not.
    pub(super) fn of(inode: &Inode) -> Option<Self> {
        let flags = inode.flags();
        let options = inode.subvol().data_options();
        let forced = options.has(Flags::FORCE_COMPRESS);
        let wanted = flags.contains(InodeFlags::COMPRESS) || options.has(Flags::COMPRESS);
        if !property::can_compress(flags) {
            return None;
        }
        let sector = usize::try_from(inode.fs().sector_size()).ok()?;
        match inode.file().ok()?.recode() {
            Some(Recode::Plain) => return None,
            Some(Recode::Packed(algorithm, level)) => {
                return Some(Self {
                    algorithm,
                    level: algorithm.level(level),
                    sector,
                    forced: true,
                    asked: true,
                })
            }
            None => {}
        }
        if !(forced || wanted) {
            return None;
        }
        // Compressed data would not use the space that was allocated for it.
        if flags.contains(InodeFlags::PREALLOC) {
            return None;
        }
        if !forced && flags.contains(InodeFlags::NOCOMPRESS) {
            return None;
        }
        // What cannot be read counts as not there: it is a hint.
        let own = property::algorithm(inode).ok().flatten();
        let algorithm = own.unwrap_or(options.algorithm());
        let level = match algorithm == options.algorithm() {
            true => options.level(),
            false => 0,
        };
        Some(Self {
            algorithm,
            level: algorithm.level(level),
            sector,
            forced,
            asked: own.is_some(),
        })
    }

    /// How the items of such data say it is compressed.
    pub(super) fn kind(&self) -> Compression {
        self.algorithm.compression()
    }

    /// The feature that a file system with such data has.
    pub(super) fn feature(&self) -> Option<Incompat> {
        Incompat::of_compression(self.kind())
    }

    /// Whether `input` looks like it could be made smaller.
    pub(super) fn is_worth_trying(&self, input: &[u8]) -> bool {
        self.forced || looks_compressible(input)
    }

    /// Compresses `input` into at most `room` bytes; `None` if it cannot be.
    pub(super) fn pack(&self, input: &[u8], room: usize) -> Result<Option<(KBuf, usize)>> {
        let mut output = KBuf::new(room, GFP_KERNEL)?;
        let len = match self.algorithm {
            Algorithm::Zlib => zlib_compress(self.level, input, &mut output)?,
            Algorithm::Zstd => zstd_compress(self.level, input, &mut output)?,
            Algorithm::Lzo => pack_lzo(self.sector, input, &mut output)?,
        };
        Ok(len.map(|len| (output, len)))
    }

    /// A try failed: the file is not compressed any more, unless it shall be all the same.
    pub(super) fn give_up(&self, inode: &Inode) {
        if !self.forced && !self.asked {
            inode.change_flags(InodeFlags::NOCOMPRESS, InodeFlags(0));
        }
    }
}

/// Size of the lengths in LZO data.
const LZO_LENGTH: usize = 4;

fn pack_lzo(sector: usize, input: &[u8], output: &mut [u8]) -> Result<Option<usize>> {
    let mut segment = KBuf::new(lzo1x_worst(sector), GFP_KERNEL)?;
    let mut put = |at: usize, data: &[u8]| -> Option<usize> {
        let end = at.checked_add(data.len())?;
        output.get_mut(at..end)?.copy_from_slice(data);
        Some(end)
    };
    let mut at = LZO_LENGTH;
    for piece in input.chunks(sector) {
        // A length does not cross the end of a sector.
        let left = sector - at % sector;
        if left < LZO_LENGTH {
            let Some(next) = put(at, [0u8; LZO_LENGTH].get(..left).unwrap_or_default()) else {
                return Ok(None);
            };
            at = next;
        }
        let len = lzo1x_compress(piece, &mut segment)?;
        let length = u32::try_from(len)?.to_le_bytes();
        let data = segment.get(..len).ok_or(EIO)?;
        let Some(next) = put(at, &length).and_then(|at| put(at, data)) else {
            return Ok(None);
        };
        at = next;
    }
    let total = u32::try_from(at)?.to_le_bytes();
    Ok(put(0, &total).map(|_| at))
}

/// Distance of the samples that are looked at, bytes.
const STRIDE: usize = 256;

/// Length of a sample, bytes.
const SAMPLE: usize = 16;

/// So few different bytes can always be made shorter.
const FEW: usize = 64;

/// Whether compressing `data` is worth a try: samples of it have few different bytes, or some
/// are much more frequent than others.
fn looks_compressible(data: &[u8]) -> bool {
    let mut counts = [0u16; 256];
    let mut total = 0u32;
    for block in data.chunks(STRIDE) {
        for byte in block.iter().take(SAMPLE) {
            if let Some(count) = counts.get_mut(usize::from(*byte)) {
                *count = count.saturating_add(1);
            }
            total = total.saturating_add(1);
        }
    }
    let different = counts.iter().filter(|count| **count > 0).count();
    if different <= FEW || total < 1024 {
        return true;
    }
    // The sum of squares of the frequencies is least, total^2 / 256, when all are equally likely:
    // random data is within a few percent of that, plus what chance adds (total).
    let squares: u64 = counts.iter().map(|count| u64::from(*count).pow(2)).sum();
    let total = u64::from(total);
    squares > total * total / 256 + total * 5 / 4
}
