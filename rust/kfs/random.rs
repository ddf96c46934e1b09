// SPDX-License-Identifier: GPL-2.0

//! Random numbers.
//!
//! C header: [`include/linux/uuid.h`](srctree/include/linux/uuid.h)

use kernel::bindings;

/// A random UUID (version 4).
pub fn uuid() -> [u8; 16] {
    let mut uuid = [0; 16];
    // SAFETY: The function fills 16 bytes.
    unsafe { bindings::generate_random_uuid(uuid.as_mut_ptr()) };
    uuid
}
