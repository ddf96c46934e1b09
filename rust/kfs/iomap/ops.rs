// SPDX-License-Identifier: GPL-2.0

//! What a file system implements.

use super::{Mapping, Purpose, SwapFile};
use crate::{
    bindings,
    block::IoBuf,
    pagecache::{FolioRange, WritebackRange},
};
use core::{ops::Range, ptr::NonNull};
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
    type Inode: InodeRef + 'static;
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

/// How a writeback came about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WriteHint {
    /// Somebody waits for all of it (`fsync`, `sync`).
    pub wait: bool,
}

/// The data of regular files that can be written.
pub trait IomapWriteOps: IomapOps {
    /// What it collects while a writeback goes on.
    type WriteContext: Default;

    /// Makes sure that the file can be changed at `pos`, for `len` bytes or up to where something
    /// else begins, and says what is there now: partly overwritten blocks of
    /// [`Mapped`](super::MappingKind::Mapped) ranges are read first, others are zeroes.
    ///
    /// For [`is_zero`](Purpose::is_zero) nothing needs to be done where there are zeroes already:
    /// a [`Hole`](super::MappingKind::Hole) or
    /// [`Unwritten`](super::MappingKind::Unwritten) range is skipped. What is dirty in the page
    /// cache, or on its way to disk, is [`Delalloc`](super::MappingKind::Delalloc).
    ///
    /// For [`is_rewrite`](Purpose::is_rewrite) a [`Hole`](super::MappingKind::Hole) is skipped as
    /// well; everything else is [`Mapped`](super::MappingKind::Mapped), and becomes dirty.
    ///
    /// A folio may be locked, so none may be waited for.
    fn reserve(
        inode: &Self::Inode,
        pos: u64,
        len: u64,
        purpose: Purpose,
    ) -> Result<Mapping<Self::Private>>;

    /// Does what [`reserve`](Self::reserve) could not do for a fault, and failed with `EAGAIN`:
    /// no folio is locked now. Another try follows.
    fn prepare(inode: &Self::Inode, range: Range<u64>) -> Result;

    /// Undoes [`reserve`](Self::reserve) for whole blocks that did not become dirty. A range
    /// that was not reserved, or is not any more, is left alone.
    ///
    /// A folio may be locked.
    fn release(inode: &Self::Inode, range: Range<u64>);

    /// Whether a mapping of `range` with this cookie is still true. A folio is locked.
    fn is_valid(inode: &Self::Inode, range: Range<u64>, cookie: u64) -> bool;

    /// Reads `len` bytes from `pos` on, which lie in `mapping`, in order to change others in
    /// the same block. A folio is locked.
    fn read_for_write(
        inode: &Self::Inode,
        mapping: &Mapping<Self::Private>,
        pos: u64,
        len: usize,
    ) -> Result<IoBuf>;

    /// Takes a dirty range, which stands for the bytes of the file from `pos` on, to write it
    /// out. Whoever holds it in the end finishes it, from any thread, at any time.
    ///
    /// Comes in whole blocks; what is behind the end of the file has been zeroed. A folio is
    /// locked.
    fn writeback(
        inode: &Self::Inode,
        ctx: &mut Self::WriteContext,
        hint: WriteHint,
        pos: u64,
        range: WritebackRange,
    );

    /// Starts what has been collected and not started yet. Called once at the end.
    fn submit_writeback(inode: &Self::Inode, ctx: Self::WriteContext, hint: WriteHint) -> Result;

    /// Where the file is, whose inode lock is held, for the kernel to swap to. Until that ends the
    /// file must stay where it is.
    fn swap_file(inode: &Self::Inode) -> Result<SwapFile>;
}
