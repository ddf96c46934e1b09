// SPDX-License-Identifier: GPL-2.0

//! What a file system implements.

use super::{Mapping, Purpose};
use crate::{bindings, pagecache::FolioRange};
use core::ptr::NonNull;
use kernel::prelude::*;

/// A type that stands for a C inode of a file system.
///
/// # Safety
///
/// `from_raw` gives a valid reference for the inodes that its requirements name.
pub unsafe trait InodeRef {
    /// The value for a C inode.
    ///
    /// # Safety
    ///
    /// `inode` is an initialised inode of the file system that this type belongs to, and stays
    /// so for `'a`.
    #[doc(hidden)]
    unsafe fn from_raw<'a>(inode: NonNull<bindings::inode>) -> &'a Self;

    /// The C inode.
    #[doc(hidden)]
    fn as_raw(&self) -> *mut bindings::inode;
}

/// How a read came about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadHint {
    /// It is so small, and the one who asked for it waits for all of it, that it is best
    /// done in this very thread, without a work queue.
    pub wait: bool,
    /// Nobody waits for it yet.
    pub readahead: bool,
}

/// The data of regular files.
pub trait IomapOps: Sized + Send + Sync + 'static {
    /// The file system's inodes.
    type Inode: InodeRef + ?Sized;
    /// What the file system keeps about a mapping between [`map`](Self::map) and
    /// [`read`](Self::read).
    type Private;
    /// What it collects while a read goes on.
    type ReadContext: Default;

    /// What the file is at `pos`, for `len` bytes or until something else begins there (the
    /// answer may be longer, and begin earlier).
    ///
    /// Positions are in bytes. May be called beyond the end of the file: that is a hole.
    fn map(
        inode: &Self::Inode,
        pos: u64,
        len: u64,
        purpose: Purpose,
    ) -> Result<Mapping<Self::Private>>;

    /// Reads `range`, which stands for the bytes of the file from `pos` on; all of it lies in
    /// `mapping` or after the last block of the file.
    ///
    /// The range is block aligned. Errors are reported by finishing it with one.
    fn read(
        inode: &Self::Inode,
        ctx: &mut Self::ReadContext,
        hint: ReadHint,
        mapping: &Mapping<Self::Private>,
        pos: u64,
        range: FolioRange,
    );

    /// Starts what has been collected and not started yet. Called once at the end of a read.
    fn submit(inode: &Self::Inode, ctx: Self::ReadContext, hint: ReadHint);
}
