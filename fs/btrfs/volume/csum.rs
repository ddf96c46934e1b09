// SPDX-License-Identifier: GPL-2.0

//! Checksums of the four types.

use btrfs_format::{csum::CsumType, types::CSUM_AREA};
use core::ops::Range;
use kernel::prelude::*;
use kfs::{block::IoBuf, csum};

/// A checksum: as many bytes as its type has, in the order they have on disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checksum {
    bytes: [u8; CSUM_AREA],
    len: usize,
}

impl Checksum {
    fn new(value: &[u8]) -> Self {
        let mut bytes = [0; CSUM_AREA];
        for (to, from) in bytes.iter_mut().zip(value) {
            *to = *from;
        }
        Self {
            bytes,
            len: value.len().min(CSUM_AREA),
        }
    }

    /// The checksum of `data`.
    pub(crate) fn of(kind: CsumType, data: &[u8]) -> Self {
        match kind {
            CsumType::Crc32c => Self::new(&csum::crc32c(data).to_le_bytes()),
            CsumType::Xxhash => Self::new(&csum::xxh64(data).to_le_bytes()),
            CsumType::Sha256 => Self::new(&csum::sha256(data)),
            CsumType::Blake2 => Self::new(&csum::blake2b_256(data)),
        }
    }

    /// The checksum of the bytes `range` of `buf`. `EINVAL` unless they are inside.
    pub(crate) fn of_buf(kind: CsumType, buf: &IoBuf, range: Range<usize>) -> Result<Self> {
        Ok(match kind {
            CsumType::Crc32c => {
                let mut state = csum::Crc32c::new();
                buf.for_each_slice(range, |piece| {
                    state.update(piece);
                    Ok(())
                })?;
                Self::new(&state.finish().to_le_bytes())
            }
            CsumType::Xxhash => {
                let mut state = csum::Xxh64::new();
                buf.for_each_slice(range, |piece| {
                    state.update(piece);
                    Ok(())
                })?;
                Self::new(&state.finish().to_le_bytes())
            }
            CsumType::Sha256 => {
                let mut state = csum::Sha256::new();
                buf.for_each_slice(range, |piece| {
                    state.update(piece);
                    Ok(())
                })?;
                Self::new(&state.finish())
            }
            CsumType::Blake2 => {
                let mut state = csum::Blake2b256::new();
                buf.for_each_slice(range, |piece| {
                    state.update(piece);
                    Ok(())
                })?;
                Self::new(&state.finish())
            }
        })
    }

    /// Its bytes.
    pub(crate) fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&self.bytes)
    }

    /// Left-aligned in the area that headers have for it, the rest zero.
    pub(crate) fn area(&self) -> [u8; CSUM_AREA] {
        self.bytes
    }
}
