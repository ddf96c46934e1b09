// SPDX-License-Identifier: GPL-2.0

//! `SEEK_DATA` and `SEEK_HOLE`.

use super::{read::Tables, InodeRef, IomapOps};
use kernel::prelude::*;

use crate::bindings;

/// The first byte of data at or after `pos`. `ENXIO` if there is none before the end of
/// the file.
///
/// The caller holds the inode's lock at least shared.
pub fn seek_data<T: IomapOps>(inode: &T::Inode, pos: i64) -> Result<i64> {
    // SAFETY: A valid inode of `T`, and its constant table; without a `private` pointer the
    // callback keeps nothing.
    let ret = unsafe { bindings::iomap_seek_data(inode.as_raw(), pos, &Tables::<T>::OPS) };
    offset(ret)
}

/// The first byte of a hole at or after `pos`; the end of the file counts as one. `ENXIO` if
/// `pos` is not before it.
///
/// The caller holds the inode's lock at least shared.
pub fn seek_hole<T: IomapOps>(inode: &T::Inode, pos: i64) -> Result<i64> {
    // SAFETY: As in `seek_data`.
    let ret = unsafe { bindings::iomap_seek_hole(inode.as_raw(), pos, &Tables::<T>::OPS) };
    offset(ret)
}

fn offset(ret: i64) -> Result<i64> {
    if ret < 0 {
        return Err(i32::try_from(ret).map_or(EIO, Error::from_errno));
    }
    Ok(ret)
}
