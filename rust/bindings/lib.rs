// SPDX-License-Identifier: GPL-2.0

//! Bindings to the kernel APIs that a file system needs and that the `bindings`
//! crate of the kernel does not have.
//!
//! Only `kfs` may use this crate. Its types are bindgen's view of the same C
//! structures as those of `kernel::bindings`: a pointer is converted from one to
//! the other with `cast()`.

#![allow(
    clippy::all,
    dead_code,
    missing_docs,
    non_camel_case_types,
    non_upper_case_globals,
    non_snake_case,
    improper_ctypes,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    clippy::as_underscore,
    clippy::cast_lossless,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::undocumented_unsafe_blocks
)]
#![cfg_attr(not(CONFIG_RUSTC_HAS_UNNECESSARY_TRANSMUTES), allow(unknown_lints))]
#![allow(unnecessary_transmutes)]
#![cfg_attr(
    CONFIG_RUSTC_HAS_SUSPICIOUS_RUNTIME_SYMBOL_DEFINITIONS,
    allow(suspicious_runtime_symbol_definitions)
)]

use kernel::ffi;
use pin_init::{MaybeZeroable, Zeroable};

// The kernel's C types for these are `unsigned int` or `unsigned long`, depending
// on the architecture; in Rust they are pointer-sized.
type __kernel_size_t = usize;
type __kernel_ssize_t = isize;
type __kernel_ptrdiff_t = isize;

// SAFETY: `__BindgenBitfieldUnit<Storage>` is a newtype around `Storage`.
unsafe impl<Storage> Zeroable for __BindgenBitfieldUnit<Storage> where Storage: Zeroable {}

include!(concat!(env!("BTRFS_OBJ"), "/rust/bindings_generated.rs"));
