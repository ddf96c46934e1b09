// SPDX-License-Identifier: GPL-2.0

//! Unpacking compressed extents.
//!
//! zlib and zstd extents are one stream each. LZO has no stream format, so btrfs
//! puts its own around it: a 32-bit total length (of everything, these four bytes
//! included), then segments, each a 32-bit length and that many bytes of LZO1X
//! data, which unpack to at most one sector. A segment's length never crosses a
//! sector boundary of the compressed data: where fewer than four bytes are left
//! in a sector, they are padding. All lengths are little-endian.

use btrfs_format::file_extent::Compression;
use kernel::prelude::*;
use kfs::compress::{lzo1x_decompress, zlib_decompress, zstd_decompress};

/// Size of the lengths in LZO data.
const LZO_LENGTH: usize = 4;

/// Unpacks `input` into `output` and returns how many bytes that gave; the rest of
/// `output` is zeroed.
///
/// `sector` is the file system's sector size in bytes, of which `output` has a
/// multiple. Fails with `EUCLEAN` or `EIO` where `input` is not what `compression`
/// says.
pub(crate) fn unpack(
    compression: Compression,
    sector: usize,
    input: &[u8],
    output: &mut [u8],
) -> Result<usize> {
    let len = match compression {
        Compression::Zlib => zlib_decompress(input, output)?,
        Compression::Zstd => zstd_decompress(input, output)?,
        Compression::Lzo => unpack_lzo(sector, input, output)?,
        Compression::None => {
            let len = input.len().min(output.len());
            let (from, to) = (input.get(..len), output.get_mut(..len));
            to.ok_or(EUCLEAN)?.copy_from_slice(from.ok_or(EUCLEAN)?);
            len
        }
    };
    output.get_mut(len..).ok_or(EUCLEAN)?.fill(0);
    Ok(len)
}

fn length_at(input: &[u8], at: usize) -> Result<usize> {
    let end = at.checked_add(LZO_LENGTH).ok_or(EUCLEAN)?;
    let bytes = input.get(at..end).ok_or(EUCLEAN)?;
    let bytes = <[u8; LZO_LENGTH]>::try_from(bytes).map_err(|_| EUCLEAN)?;
    usize::try_from(u32::from_le_bytes(bytes)).map_err(|_| EUCLEAN)
}

fn unpack_lzo(sector: usize, input: &[u8], output: &mut [u8]) -> Result<usize> {
    let total = length_at(input, 0)?;
    // What is on disk is `total` rounded up to whole sectors, or exactly `total` for
    // an inline extent.
    let room = total.checked_next_multiple_of(sector).ok_or(EUCLEAN)?;
    if total > input.len() || room < input.len() {
        return Err(EUCLEAN);
    }
    // LZO1X makes incompressible data this much larger at most.
    let longest = sector + sector / 16 + 64 + 3 + 2;
    let mut at = LZO_LENGTH;
    let mut filled = 0;
    while at < total && filled < output.len() {
        let len = length_at(input, at)?;
        if len > longest {
            return Err(EIO);
        }
        at += LZO_LENGTH;
        let segment = input.get(at..at + len).ok_or(EUCLEAN)?;
        let end = output.len().min(filled + sector);
        let room = output.get_mut(filled..end).ok_or(EUCLEAN)?;
        filled += lzo1x_decompress(segment, room)?;
        at += len;
        let left = sector - at % sector;
        if left < LZO_LENGTH {
            at += left;
        }
    }
    Ok(filled)
}
