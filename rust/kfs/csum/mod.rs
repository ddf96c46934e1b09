// SPDX-License-Identifier: GPL-2.0

//! Checksums, from the kernel's libraries (with their instructions for it).
//!
//! Each is there as one function, and as a state that takes its input in pieces
//! ([`Crc32c`], [`Xxh64`], [`Sha256`], [`Blake2b256`]).
//!
//! C headers: [`include/linux/crc32.h`](srctree/include/linux/crc32.h),
//! [`include/linux/xxhash.h`](srctree/include/linux/xxhash.h),
//! [`include/crypto/sha2.h`](srctree/include/crypto/sha2.h),
//! [`include/crypto/blake2b.h`](srctree/include/crypto/blake2b.h)

use crate::bindings;
use kernel::types::Opaque;

/// Continues a CRC-32C (Castagnoli) with `data`, without any inversion: what names are
/// hashed with.
pub fn crc32c_raw(seed: u32, data: &[u8]) -> u32 {
    // SAFETY: The pointer and the length describe a live slice.
    unsafe { bindings::crc32c(seed, data.as_ptr().cast(), data.len()) }
}

/// CRC-32C with the customary inversion before and after, as checksums use it.
pub fn crc32c(data: &[u8]) -> u32 {
    !crc32c_raw(!0, data)
}

/// xxHash, 64 bits, seed 0.
pub fn xxh64(data: &[u8]) -> u64 {
    // SAFETY: The pointer and the length describe a live slice.
    unsafe { bindings::xxh64(data.as_ptr().cast(), data.len(), 0) }
}

/// SHA-256.
pub fn sha256(data: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    // SAFETY: The pointer and the length describe a live slice; the output has 32 bytes.
    unsafe { bindings::sha256(data.as_ptr(), data.len(), out.as_mut_ptr()) };
    out
}

/// BLAKE2b with 32 bytes of output and no key.
pub fn blake2b_256(data: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    // SAFETY: The pointer and the length describe a live slice; the output has the length that
    // is passed.
    unsafe { bindings::kfs_blake2b(data.as_ptr(), data.len(), out.as_mut_ptr(), out.len()) };
    out
}

/// CRC-32C in pieces; the result is that of [`crc32c`].
#[derive(Clone)]
pub struct Crc32c(u32);

impl Crc32c {
    /// Before any input.
    pub fn new() -> Self {
        Self(!0)
    }

    /// Appends `data`.
    pub fn update(&mut self, data: &[u8]) {
        self.0 = crc32c_raw(self.0, data);
    }

    /// The checksum of everything appended.
    pub fn finish(self) -> u32 {
        !self.0
    }
}

impl Default for Crc32c {
    fn default() -> Self {
        Self::new()
    }
}

/// Declares a state around a C context that is set up by `$init` and is plain memory.
macro_rules! hasher {
    ($(#[$doc:meta])* $name:ident, $ctx:ident, |$c:ident| $init:expr) => {
        $(#[$doc])*
        ///
        /// # Invariants
        ///
        /// The context is set up; it is plain memory without pointers to itself.
        pub struct $name(Opaque<bindings::$ctx>);

        // SAFETY: The context is plain memory.
        unsafe impl Send for $name {}

        // SAFETY: Nothing can be done with a shared reference.
        unsafe impl Sync for $name {}

        impl $name {
            /// Before any input.
            pub fn new() -> Self {
                let this = Self(Opaque::uninit());
                let $c = this.0.get();
                // INVARIANT: The C function sets the whole context up.
                // SAFETY: It gets memory of its type.
                unsafe { $init };
                this
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new()
            }
        }
    };
}

hasher! {
    /// xxHash in pieces; the result is that of [`xxh64`].
    Xxh64, xxh64_state, |c| bindings::xxh64_reset(c, 0)
}

impl Xxh64 {
    /// Appends `data`.
    pub fn update(&mut self, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        // SAFETY: The context is set up; pointer and length describe a live slice.
        unsafe { bindings::xxh64_update(self.0.get(), data.as_ptr().cast(), data.len()) };
    }

    /// The hash of everything appended.
    pub fn finish(self) -> u64 {
        // SAFETY: The context is set up.
        unsafe { bindings::xxh64_digest(self.0.get()) }
    }
}

hasher! {
    /// SHA-256 in pieces; the result is that of [`sha256`].
    Sha256, sha256_ctx, |c| bindings::sha256_init(c)
}

impl Sha256 {
    /// Appends `data`.
    pub fn update(&mut self, data: &[u8]) {
        // SAFETY: The context is set up; pointer and length describe a live slice.
        unsafe { bindings::kfs_sha256_update(self.0.get(), data.as_ptr(), data.len()) };
    }

    /// The digest of everything appended.
    pub fn finish(self) -> [u8; 32] {
        let mut out = [0; 32];
        // SAFETY: The context is set up; the output has 32 bytes.
        unsafe { bindings::sha256_final(self.0.get(), out.as_mut_ptr()) };
        out
    }
}

hasher! {
    /// BLAKE2b-256 in pieces; the result is that of [`blake2b_256`].
    Blake2b256, blake2b_ctx, |c| bindings::kfs_blake2b_init(c, 32)
}

impl Blake2b256 {
    /// Appends `data`.
    pub fn update(&mut self, data: &[u8]) {
        // SAFETY: The context is set up; pointer and length describe a live slice.
        unsafe { bindings::blake2b_update(self.0.get(), data.as_ptr(), data.len()) };
    }

    /// The digest of everything appended.
    pub fn finish(self) -> [u8; 32] {
        let mut out = [0; 32];
        // SAFETY: The context is set up for an output of 32 bytes.
        unsafe { bindings::blake2b_final(self.0.get(), out.as_mut_ptr()) };
        out
    }
}

#[::kernel::macros::kunit_tests(kfs_csum)]
mod tests {
    use super::*;

    /// Published check values of the four functions.
    #[test]
    fn check_values() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(xxh64(b""), 0xef46_db37_51d8_e999);
        assert_eq!(sha256(b"abc")[..4], [0xba, 0x78, 0x16, 0xbf]);
        assert_eq!(blake2b_256(b"")[..4], [0x0e, 0x57, 0x51, 0xc0]);
    }

    /// In pieces the result is the same.
    #[test]
    fn in_pieces() {
        let data: [u8; 300] = core::array::from_fn(|i| i.to_le_bytes()[0]);
        let (a, b) = data.split_at(129);
        let mut crc = Crc32c::new();
        let mut xxh = Xxh64::new();
        let mut sha = Sha256::new();
        let mut blake = Blake2b256::new();
        for part in [a, b] {
            crc.update(part);
            xxh.update(part);
            sha.update(part);
            blake.update(part);
        }
        assert_eq!(crc.finish(), crc32c(&data));
        assert_eq!(xxh.finish(), xxh64(&data));
        assert_eq!(sha.finish(), sha256(&data));
        assert_eq!(blake.finish(), blake2b_256(&data));
    }
}
