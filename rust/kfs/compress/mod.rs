// SPDX-License-Identifier: GPL-2.0

//! Compression and decompression through the kernel's zlib, LZO and zstd libraries.
//!
//! Each function that unpacks turns one piece of compressed data into bytes of a slice and says how many came
//! out. Input from a disk may be anything: damaged data is an error ([`EIO`]), never more than
//! `output` is written, and the memory used is bounded (`pool`).
//!
//! C headers: [`include/linux/zlib.h`](srctree/include/linux/zlib.h),
//! [`include/linux/lzo.h`](srctree/include/linux/lzo.h),
//! [`include/linux/zstd.h`](srctree/include/linux/zstd.h)

mod pool;
mod zlib;
mod zstd;

pub use zlib::{zlib_compress, zlib_decompress};
pub use zstd::{zstd_compress, zstd_decompress, ZSTD_MAX_WINDOW};

use crate::bindings;
use kernel::prelude::*;

/// Keeps the work memory of the decompressors between uses.
///
/// The module holds one for as long as it is loaded; dropping it gives the memory back. Without
/// one everything works all the same, and the memory that the last users left behind is lost
/// when the module is unloaded.
pub struct Workspaces(());

impl Workspaces {
    /// Makes the owner of the pools.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self(())
    }
}

impl Drop for Workspaces {
    fn drop(&mut self) {
        LZO.drain();
        zlib::POOL.drain();
        zlib::DEFLATE.drain();
        zstd::POOL.drain();
        zstd::COMPRESS.drain();
    }
}

/// Decompresses one LZO1X stream, all of `input`, into `output`.
///
/// Returns the number of bytes that came out. Needs no work memory.
pub fn lzo1x_decompress(input: &[u8], output: &mut [u8]) -> Result<usize> {
    let mut len = output.len();
    // SAFETY: Both pointers are valid for the lengths passed along with them, and the function
    // stays inside them whatever the input is.
    let ret = unsafe {
        bindings::lzo1x_decompress_safe(input.as_ptr(), input.len(), output.as_mut_ptr(), &mut len)
    };
    if ret == 0 && len <= output.len() {
        Ok(len)
    } else {
        Err(EIO)
    }
}

/// `LZO1X_1_MEM_COMPRESS`: 8192 numbers of 16 bits.
const LZO_MEMORY: usize = 16384;

static LZO: pool::Pool = pool::Pool::new(|| LZO_MEMORY);

/// The longest LZO1X stream that `len` bytes can become (`lzo1x_worst_compress`).
pub const fn lzo1x_worst(len: usize) -> usize {
    len + len / 16 + 64 + 3 + 2
}

/// Compresses `input` into one LZO1X stream at the start of `output`; returns its length.
///
/// `EINVAL` unless `output` has room for the longest stream ([`lzo1x_worst`]).
pub fn lzo1x_compress(input: &[u8], output: &mut [u8]) -> Result<usize> {
    if output.len() < lzo1x_worst(input.len()) {
        return Err(EINVAL);
    }
    let mut workspace = LZO.take()?;
    let mut len = output.len();
    // SAFETY: The pointers are valid for the lengths passed along with them, of which the output is
    // as long as any stream gets; the work memory has the size that the library asks for.
    let ret = unsafe {
        bindings::lzo1x_1_compress(
            input.as_ptr(),
            input.len(),
            output.as_mut_ptr(),
            &mut len,
            workspace.as_mut_ptr(),
        )
    };
    match ret == 0 && len <= output.len() {
        true => Ok(len),
        false => Err(EIO),
    }
}
