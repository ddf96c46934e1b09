// SPDX-License-Identifier: GPL-2.0

//! Copying the arguments of ioctls from and to user space.
//!
//! Structures are those of `include/uapi/linux/btrfs.h`, in the machine's byte order.

use core::marker::PhantomData;
use kernel::{
    prelude::*,
    uaccess::{UserPtr, UserSlice},
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A structure that user space passed, in memory of the kernel. For those that are too large for
/// the stack, or may be.
pub(crate) struct Arg<T> {
    /// Whole words, so that the structure is aligned.
    words: KVec<u64>,
    addr: usize,
    _is: PhantomData<T>,
}

impl<T: FromBytes + IntoBytes + KnownLayout + Immutable> Arg<T> {
    /// Reads the structure at `addr`. `EFAULT` if there is none.
    pub(crate) fn read(addr: usize) -> Result<Self> {
        const { assert!(align_of::<T>() <= align_of::<u64>()) };
        let words = size_of::<T>().div_ceil(size_of::<u64>());
        let mut this = Self {
            words: KVec::from_elem(0, words, GFP_KERNEL)?,
            addr,
            _is: PhantomData,
        };
        let bytes = this.words.as_mut_slice().as_mut_bytes();
        let bytes = bytes.get_mut(..size_of::<T>()).ok_or(EINVAL)?;
        read_bytes(addr, bytes)?;
        Ok(this)
    }

    /// The structure.
    pub(crate) fn get(&self) -> Result<&T> {
        let bytes = self.words.as_slice().as_bytes();
        T::ref_from_prefix(bytes)
            .map(|(value, _)| value)
            .map_err(|_| EINVAL)
    }

    /// The structure, to be changed.
    pub(crate) fn get_mut(&mut self) -> Result<&mut T> {
        let bytes = self.words.as_mut_slice().as_mut_bytes();
        T::mut_from_prefix(bytes)
            .map(|(value, _)| value)
            .map_err(|_| EINVAL)
    }

    /// Writes the structure back to where it came from. `EFAULT` if that is not possible.
    pub(crate) fn write_back(&self) -> Result {
        write(self.addr, self.get()?)
    }
}

/// Reads a small structure at `addr`. `EFAULT` if there is none.
pub(crate) fn read<T: FromBytes + IntoBytes>(addr: usize) -> Result<T> {
    let mut value = T::new_zeroed();
    read_bytes(addr, value.as_mut_bytes())?;
    Ok(value)
}

/// Writes a structure, or an array, to `addr`. `EFAULT` if that is not possible.
pub(crate) fn write<T: IntoBytes + Immutable + ?Sized>(addr: usize, value: &T) -> Result {
    write_bytes(addr, value.as_bytes())
}

/// Fills `bytes` from `addr`. `EFAULT` if there is not enough.
pub(crate) fn read_bytes(addr: usize, bytes: &mut [u8]) -> Result {
    UserSlice::new(UserPtr::from_addr(addr), bytes.len())
        .reader()
        .read_slice(bytes)
}

/// Writes `bytes` to `addr`. `EFAULT` if there is not enough room.
pub(crate) fn write_bytes(addr: usize, bytes: &[u8]) -> Result {
    UserSlice::new(UserPtr::from_addr(addr), bytes.len())
        .writer()
        .write_slice(bytes)
}
