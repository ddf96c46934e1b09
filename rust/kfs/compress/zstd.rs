// SPDX-License-Identifier: GPL-2.0

//! zstd frames (RFC 8878).

use super::pool::Pool;
use crate::bindings;
use core::ffi::c_void;
use kernel::prelude::*;

/// The largest window a frame may ask for, in bytes: that of the 128 KiB pieces that btrfs
/// compresses. It bounds the work memory.
pub const ZSTD_MAX_WINDOW: usize = 128 * 1024;

pub(super) static POOL: Pool = Pool::new(workspace_size);

fn workspace_size() -> usize {
    // SAFETY: The function has no requirements.
    unsafe { bindings::zstd_dstream_workspace_bound(ZSTD_MAX_WINDOW) }
}

/// Decompresses the frame at the start of `input` into `output`; what follows it is ignored.
///
/// Stops at the end of the frame or when `output` is full, whichever is first; returns the
/// number of bytes that came out. [`EIO`] if the frame is damaged, ends before either, or asks
/// for a window larger than [`ZSTD_MAX_WINDOW`].
pub fn zstd_decompress(input: &[u8], output: &mut [u8]) -> Result<usize> {
    let mut workspace = POOL.take()?;
    let len = workspace.len();
    // SAFETY: The workspace is valid for its length and outlives the context.
    let stream =
        unsafe { bindings::zstd_init_dstream(ZSTD_MAX_WINDOW, workspace.as_mut_ptr(), len) };
    if stream.is_null() {
        return Err(EIO);
    }
    let mut source = bindings::zstd_in_buffer {
        src: input.as_ptr().cast(),
        size: input.len(),
        pos: 0,
    };
    let mut target = bindings::zstd_out_buffer {
        dst: output.as_mut_ptr().cast(),
        size: output.len(),
        pos: 0,
    };
    loop {
        let before = (source.pos, target.pos);
        // SAFETY: The context was made above; the buffers are valid for the sizes in them, which
        // bound what the library reads and writes.
        let ret = unsafe { bindings::zstd_decompress_stream(stream, &mut target, &mut source) };
        // SAFETY: The function has no requirements.
        if unsafe { bindings::zstd_is_error(ret) } != 0 {
            return Err(EIO);
        }
        if ret == 0 || target.pos >= target.size {
            return Ok(target.pos.min(output.len()));
        }
        if (source.pos, target.pos) == before {
            // Neither went on: the frame is cut off.
            return Err(EIO);
        }
    }
}

/// The level whose work memory is kept between uses.
const KEPT_LEVEL: i32 = 3;

pub(super) static COMPRESS: Pool = Pool::new(kept_size);

fn kept_size() -> usize {
    compress_size(&parameters(KEPT_LEVEL, ZSTD_MAX_WINDOW))
}

/// How `len` bytes are compressed with a level. The window stays within [`ZSTD_MAX_WINDOW`].
fn parameters(level: i32, len: usize) -> bindings::zstd_parameters {
    // SAFETY: The function has no requirements.
    let mut parameters = unsafe { bindings::zstd_get_params(level, len as u64) };
    let log = ZSTD_MAX_WINDOW.ilog2();
    parameters.cParams.windowLog = parameters.cParams.windowLog.min(log);
    parameters
}

fn compress_size(parameters: &bindings::zstd_parameters) -> usize {
    // SAFETY: The pointer is valid.
    unsafe { bindings::zstd_cctx_workspace_bound(&parameters.cParams) }
}

/// Compresses `input`, at most [`ZSTD_MAX_WINDOW`] bytes, into one frame at the start of `output`.
///
/// Returns the length of the frame; `None` if it does not fit.
pub fn zstd_compress(level: i32, input: &[u8], output: &mut [u8]) -> Result<Option<usize>> {
    let parameters = parameters(level, input.len());
    let size = compress_size(&parameters);
    if size <= kept_size() {
        let mut workspace = COMPRESS.take()?;
        let len = workspace.len();
        return compress_in(workspace.as_mut_ptr(), len, &parameters, input, output);
    }
    let words = size.div_ceil(size_of::<u64>());
    let mut workspace = KVVec::<u64>::with_capacity(words, GFP_KERNEL)?;
    let len = words * size_of::<u64>();
    compress_in(
        workspace.as_mut_ptr().cast(),
        len,
        &parameters,
        input,
        output,
    )
}

/// `workspace` is valid for `len` bytes and aligned to 8.
fn compress_in(
    workspace: *mut c_void,
    len: usize,
    parameters: &bindings::zstd_parameters,
    input: &[u8],
    output: &mut [u8],
) -> Result<Option<usize>> {
    // SAFETY: The workspace is valid for its length and outlives the context.
    let context = unsafe { bindings::zstd_init_cctx(workspace, len) };
    if context.is_null() {
        return Err(EIO);
    }
    // SAFETY: The context was made above; both buffers are valid for the lengths passed along.
    let ret = unsafe {
        bindings::zstd_compress_cctx(
            context,
            output.as_mut_ptr().cast(),
            output.len(),
            input.as_ptr().cast(),
            input.len(),
            parameters,
        )
    };
    // SAFETY: The function has no requirements.
    let failed = unsafe { bindings::zstd_is_error(ret) } != 0;
    Ok((!failed && ret <= output.len()).then_some(ret))
}
