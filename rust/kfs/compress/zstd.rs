// SPDX-License-Identifier: GPL-2.0

//! zstd frames (RFC 8878).

use super::pool::Pool;
use crate::bindings;
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
