// SPDX-License-Identifier: GPL-2.0

//! fs-verity: files whose data is verified against a Merkle tree whenever it is read.
//!
//! C header: [`include/linux/fsverity.h`](srctree/include/linux/fsverity.h)
//!
//! An inode with [`InodeFlags::VERITY`](super::InodeFlags::VERITY) cannot be opened for writing; what
//! is read into its page cache is verified before anybody sees it. Where the descriptor and the
//! tree are kept, [`VerityOperations`] knows. Pages of the tree are cached behind the end of the
//! file, from the next multiple of 64 KiB on.

use super::{
    errno,
    inode::INode,
    super_block::{FileSystem, New, SuperBlock},
};
use crate::{
    bindings,
    mem::{KBuf, NoFs},
};
use core::{ffi::c_void, marker::PhantomData, ptr};
use kernel::{error::from_result, page::PAGE_SIZE, prelude::*};

/// The tree is cached from a multiple of this on, so that no page has both, however large pages
/// are.
const ALIGN: u64 = 65536;

/// Where the metadata of files is.
pub trait VerityOperations: Sized + Send + Sync + 'static {
    /// The file system.
    type Fs: FileSystem;

    /// Copies the descriptor of `inode` to `buf` and returns its size; with an empty buffer, only
    /// the size. `ERANGE` if the buffer is too small.
    fn descriptor(inode: &INode<Self::Fs>, buf: &mut [u8]) -> Result<usize>;

    /// Copies what the Merkle tree of `inode` has from byte `at` on to `buf`, and returns how many
    /// bytes that were: fewer than there is room for at its end.
    fn merkle(inode: &INode<Self::Fs>, at: u64, buf: &mut [u8]) -> Result<usize>;
}

/// The operations of a file system whose files may have verity.
pub struct VerityOps<T: FileSystem>(*const bindings::fsverity_operations, PhantomData<T>);

impl<T: FileSystem> VerityOps<T> {
    /// The operations of `O`.
    #[allow(clippy::new_without_default)]
    pub const fn new<O: VerityOperations<Fs = T>>() -> Self {
        Self(Table::<O>::TABLE, PhantomData)
    }
}

impl<T: FileSystem> SuperBlock<T, New> {
    /// Sets what knows the metadata of files with verity.
    pub fn set_verity_ops(&self, ops: VerityOps<T>) {
        #[cfg(CONFIG_FS_VERITY)]
        // SAFETY: Valid; in this state only the mounter uses the super block.
        unsafe {
            (*self.as_raw()).s_vop = ops.0
        };
        let _ = ops;
    }
}

struct Table<O>(PhantomData<O>);

impl<O: VerityOperations> Table<O> {
    const TABLE: &'static bindings::fsverity_operations = &bindings::fsverity_operations {
        get_verity_descriptor: Some(Self::get_verity_descriptor),
        read_merkle_tree_page: Some(Self::read_merkle_tree_page),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Called by fs-verity for an inode of the file system, with a buffer of that size.
    unsafe extern "C" fn get_verity_descriptor(
        inode: *mut bindings::inode,
        buf: *mut c_void,
        size: usize,
    ) -> c_int {
        // SAFETY: An open file's inode.
        let inode = unsafe { INode::<O::Fs>::from_raw(inode) };
        let buf = match size {
            0 => &mut [][..],
            // SAFETY: Valid for that many bytes, which nobody else uses.
            size => unsafe { core::slice::from_raw_parts_mut(buf.cast::<u8>(), size) },
        };
        from_result(|| Ok(c_int::try_from(O::descriptor(inode, buf)?)?))
    }

    /// # Safety
    ///
    /// Called by fs-verity for an inode of the file system.
    unsafe extern "C" fn read_merkle_tree_page(
        inode: *mut bindings::inode,
        index: c_ulong,
    ) -> *mut bindings::page {
        // SAFETY: An open file's inode.
        let (mapping, size) = unsafe { ((*inode).i_mapping, bindings::kfs_i_size_read(inode)) };
        // SAFETY: As above; the super block is that of a mounted file system.
        let most = unsafe { (*(*inode).i_sb).s_maxbytes };
        let index = match cached_at(size, index, most) {
            Ok(index) => index,
            Err(e) => return e.to_ptr(),
        };
        // SAFETY: The mapping of a live inode; `fill` fills the folios that it is given.
        let folio = unsafe {
            bindings::read_cache_folio(mapping, index, Some(Self::fill), ptr::null_mut())
        };
        match kernel::error::from_err_ptr(folio) {
            // SAFETY: A folio to which we have a reference, which the page takes over.
            Ok(folio) => unsafe { bindings::kfs_folio_file_page(folio, index) },
            Err(e) => e.to_ptr(),
        }
    }

    /// # Safety
    ///
    /// Called by the page cache with a locked folio behind the end of a file with verity.
    unsafe extern "C" fn fill(_file: *mut bindings::file, folio: *mut bindings::folio) -> c_int {
        // SAFETY: A locked folio of an inode of the file system.
        let (inode, pos) = unsafe {
            (
                bindings::kfs_folio_inode(folio),
                bindings::kfs_folio_pos(folio),
            )
        };
        // SAFETY: The inode stays as long as it has a locked folio.
        let inode = unsafe { INode::<O::Fs>::from_raw(inode) };
        // SAFETY: As above.
        let len = unsafe { bindings::kfs_folio_size(folio) };
        let result = tree_bytes::<O>(inode, pos, len).map(|bytes| {
            // SAFETY: The folio is ours and has that many bytes.
            unsafe { bindings::kfs_folio_copy_in(folio, 0, bytes.as_ptr().cast(), len) };
        });
        // SAFETY: Locked, and not up to date; this ends its read.
        unsafe { bindings::kfs_folio_end_read(folio, result.is_ok()) };
        errno(result)
    }
}

/// `len` bytes of the Merkle tree of `inode`, which are cached at `pos`; zeroes behind its end.
fn tree_bytes<O: VerityOperations>(inode: &INode<O::Fs>, pos: i64, len: usize) -> Result<KBuf> {
    // Reading data waits for this.
    let _nofs = NoFs::enter();
    let mut bytes = KBuf::new(len, GFP_KERNEL)?;
    let at = pos.checked_sub(tree_start(inode.size())?).ok_or(EINVAL)?;
    let found = O::merkle(inode, u64::try_from(at)?, &mut bytes)?;
    bytes.get_mut(found..).ok_or(EIO)?.fill(0);
    Ok(bytes)
}

/// Where the tree of a file of `size` bytes is cached, in bytes.
fn tree_start(size: i64) -> Result<i64> {
    let start = u64::try_from(size)?.checked_next_multiple_of(ALIGN);
    Ok(i64::try_from(start.ok_or(EFBIG)?)?)
}

/// Which page of the page cache has page `index` of the tree.
fn cached_at(size: i64, index: c_ulong, most: i64) -> Result<c_ulong> {
    let page = u64::try_from(PAGE_SIZE)?;
    let start = u64::try_from(tree_start(size)?)?;
    let pos = u64::try_from(index)?
        .checked_mul(page)
        .and_then(|at| at.checked_add(start))
        .ok_or(EFBIG)?;
    match pos.checked_add(page) {
        Some(end) if end <= u64::try_from(most)? => Ok(c_ulong::try_from(pos / page)?),
        _ => Err(EFBIG),
    }
}
