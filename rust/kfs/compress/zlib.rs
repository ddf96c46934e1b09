// SPDX-License-Identifier: GPL-2.0

//! zlib streams (RFC 1950).

use super::pool::Pool;
use crate::bindings;
use core::ffi::c_int;
use kernel::prelude::*;

pub(super) static POOL: Pool = Pool::new(workspace_size);

fn workspace_size() -> usize {
    // SAFETY: The function has no requirements.
    let size = unsafe { bindings::zlib_inflate_workspacesize() };
    size.try_into().unwrap_or(0)
}

/// Length of the stream header without a preset dictionary.
const HEADER: usize = 2;

/// Decompresses the zlib stream at the start of `input` into `output`.
///
/// Stops at the end of the stream or when `output` is full, whichever is first; returns the
/// number of bytes that came out. [`EIO`] if the stream is damaged or ends before either.
///
/// The stream's own checksum is not verified where the header allows to leave it out: whoever
/// stores compressed extents has checksums of them.
pub fn zlib_decompress(input: &[u8], output: &mut [u8]) -> Result<usize> {
    let (raw, window_bits) = match stream_body(input) {
        Some(body) => (body, -(bindings::MAX_WBITS as i32)),
        None => (input, bindings::MAX_WBITS as i32),
    };
    let mut workspace = POOL.take()?;
    let mut stream = bindings::z_stream {
        next_in: raw.as_ptr(),
        avail_in: raw.len(),
        next_out: output.as_mut_ptr(),
        avail_out: output.len(),
        workspace: workspace.as_mut_ptr(),
        ..Default::default()
    };
    // SAFETY: The stream's workspace has the size that the library asks for.
    let ret = unsafe { bindings::zlib_inflateInit2(&mut stream, window_bits) };
    if ret != bindings::Z_OK as i32 {
        return Err(EIO);
    }
    // SAFETY: The stream was initialized; its input and output are valid for the lengths in it,
    // which bound what the library reads and writes.
    let ret = unsafe { bindings::zlib_inflate(&mut stream, bindings::Z_FINISH as i32) };
    let produced = output.len().checked_sub(stream.avail_out).ok_or(EIO)?;
    // SAFETY: The stream was initialized and its workspace is still there.
    unsafe { bindings::zlib_inflateEnd(&mut stream) };
    if ret == bindings::Z_STREAM_END as i32
        || (ret >= 0 || ret == bindings::Z_BUF_ERROR) && produced == output.len()
    {
        Ok(produced)
    } else {
        Err(EIO)
    }
}

/// What follows the header if it is a plain one: deflate, no preset dictionary, check bits right
/// (RFC 1950, section 2.2).
fn stream_body(input: &[u8]) -> Option<&[u8]> {
    let (header, body) = input.split_first_chunk::<HEADER>()?;
    let [method, flags] = *header;
    let plain = method & 0xf == 8
        && method >> 4 <= 7
        && flags & 0x20 == 0
        && u16::from_be_bytes(*header) % 31 == 0;
    plain.then_some(body)
}

pub(super) static DEFLATE: Pool = Pool::new(deflate_size);

/// `DEF_MEM_LEVEL` of the library, the highest that it supports.
const MEM_LEVEL: c_int = 8;

fn deflate_size() -> usize {
    // SAFETY: The function has no requirements.
    let size =
        unsafe { bindings::zlib_deflate_workspacesize(bindings::MAX_WBITS as c_int, MEM_LEVEL) };
    size.try_into().unwrap_or(0)
}

/// Compresses `input` into one zlib stream at the start of `output`, with a level from 1 to 9.
///
/// Returns the length of the stream; `None` if it does not fit.
pub fn zlib_compress(level: i32, input: &[u8], output: &mut [u8]) -> Result<Option<usize>> {
    let mut workspace = DEFLATE.take()?;
    let mut stream = bindings::z_stream {
        next_in: input.as_ptr(),
        avail_in: input.len(),
        next_out: output.as_mut_ptr(),
        avail_out: output.len(),
        workspace: workspace.as_mut_ptr(),
        ..Default::default()
    };
    // SAFETY: The stream's workspace has the size that the library asks for.
    let ret = unsafe {
        bindings::zlib_deflateInit2(
            &mut stream,
            level.clamp(1, 9),
            bindings::Z_DEFLATED as c_int,
            bindings::MAX_WBITS as c_int,
            MEM_LEVEL,
            bindings::Z_DEFAULT_STRATEGY as c_int,
        )
    };
    if ret != bindings::Z_OK as c_int {
        return Err(EIO);
    }
    // SAFETY: The stream was initialized; its input and output are valid for the lengths in it,
    // which bound what the library reads and writes.
    let ret = unsafe { bindings::zlib_deflate(&mut stream, bindings::Z_FINISH as c_int) };
    let produced = output.len().checked_sub(stream.avail_out).ok_or(EIO)?;
    // SAFETY: The stream was initialized and its workspace is still there.
    unsafe { bindings::zlib_deflateEnd(&mut stream) };
    Ok((ret == bindings::Z_STREAM_END as c_int).then_some(produced))
}
