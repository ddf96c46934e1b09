// SPDX-License-Identifier: GPL-2.0

//! Plugging: requests of one task held back for a moment so that the block layer can
//! merge them.
//!
//! C header: [`include/linux/blkdev.h`](srctree/include/linux/blkdev.h)

use crate::bindings;
use kernel::types::Opaque;

/// Runs `f`; the bios it submits go to the devices when it returns, when it sleeps, or
/// when there are many.
///
/// Worth it around several requests for neighbouring places.
pub fn with_plug<R>(f: impl FnOnce() -> R) -> R {
    struct Plug(Opaque<bindings::blk_plug>);

    impl Drop for Plug {
        fn drop(&mut self) {
            // SAFETY: The plug was started by this task, in the frame of `with_plug`.
            unsafe { bindings::blk_finish_plug(self.0.get()) };
        }
    }

    let plug = Plug(Opaque::uninit());
    // SAFETY: The plug is local to this frame, is not moved before it is finished, and is
    // finished before the frame goes because nobody can leak it.
    unsafe { bindings::blk_start_plug(plug.0.get()) };
    f()
}
