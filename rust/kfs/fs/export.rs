// SPDX-License-Identifier: GPL-2.0

//! File handles, for NFS and `open_by_handle_at`.
//!
//! C header: [`include/linux/exportfs.h`](srctree/include/linux/exportfs.h)

use super::{
    errno,
    inode::INode,
    super_block::{FileSystem, SuperBlock},
};
use crate::bindings;
use core::{marker::PhantomData, ptr};
use kernel::{error::VTABLE_DEFAULT_ERROR, prelude::*, sync::aref::ARef};

/// What became of encoding a file handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodedHandle {
    /// A handle of type `kind` (0 and 0xff are reserved) and `len` bytes, a multiple of 4.
    Done {
        /// The type, stored beside the handle.
        kind: u8,
        /// The length in bytes.
        len: usize,
    },
    /// The buffer is too small; `len` bytes are needed.
    TooSmall {
        /// The needed length in bytes.
        len: usize,
    },
}

/// Takes the name that [`ExportOperations::get_name`] found.
///
/// # Invariants
///
/// The pointer is valid for 256 bytes.
pub struct NameBuf<'a>(*mut u8, PhantomData<&'a mut [u8]>);

impl NameBuf<'_> {
    /// Sets the name.
    ///
    /// # Errors
    ///
    /// `ENAMETOOLONG` above 255 bytes.
    pub fn set(&mut self, name: &[u8]) -> Result {
        if name.len() > 255 {
            return Err(ENAMETOOLONG);
        }
        // SAFETY: Valid for 256 bytes by the type invariant; the name and a NUL are no more.
        unsafe {
            ptr::copy_nonoverlapping(name.as_ptr(), self.0, name.len());
            *self.0.add(name.len()) = 0;
        }
        Ok(())
    }
}

/// Makes and reads file handles.
#[vtable]
pub trait ExportOperations: Sized + Send + Sync + 'static {
    /// The file system.
    type Fs: FileSystem;

    /// Writes a handle for `inode` into `buf`, with one for its `parent` when there is one.
    fn encode(
        inode: &INode<Self::Fs>,
        parent: Option<&INode<Self::Fs>>,
        buf: &mut [u8],
    ) -> EncodedHandle;

    /// Finds the inode of a handle; `None` or `ESTALE` when it is gone or not ours.
    fn decode(
        sb: &SuperBlock<Self::Fs>,
        kind: u8,
        handle: &[u8],
    ) -> Result<Option<ARef<INode<Self::Fs>>>>;

    /// Finds the parent that a handle names.
    fn decode_parent(
        sb: &SuperBlock<Self::Fs>,
        kind: u8,
        handle: &[u8],
    ) -> Result<Option<ARef<INode<Self::Fs>>>>;

    /// Finds the parent of a directory.
    fn get_parent(child: &INode<Self::Fs>) -> Result<ARef<INode<Self::Fs>>>;

    /// Finds the name of `child` in `parent`. The default reads the whole directory.
    fn get_name(
        _parent: &INode<Self::Fs>,
        _child: &INode<Self::Fs>,
        _name: &mut NameBuf<'_>,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// The operation table of file handles.
pub struct ExportOps<T: FileSystem>(*const bindings::export_operations, PhantomData<T>);

impl<T: FileSystem> ExportOps<T> {
    /// The operations of `O`.
    #[allow(clippy::new_without_default)]
    pub const fn new<O: ExportOperations<Fs = T>>() -> Self {
        Self(ExportTable::<O>::TABLE, PhantomData)
    }

    pub(super) fn as_raw(&self) -> *const bindings::export_operations {
        self.0
    }
}

struct ExportTable<O>(PhantomData<O>);

impl<O: ExportOperations> ExportTable<O> {
    const TABLE: &'static bindings::export_operations = &bindings::export_operations {
        encode_fh: Some(Self::encode_fh),
        fh_to_dentry: Some(Self::fh_to_dentry),
        fh_to_parent: Some(Self::fh_to_parent),
        get_parent: Some(Self::get_parent),
        get_name: if O::HAS_GET_NAME {
            Some(Self::get_name)
        } else {
            None
        },
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Called by exportfs with objects of the file system of `O`.
    unsafe extern "C" fn encode_fh(
        inode: *mut bindings::inode,
        fh: *mut u32,
        max_len: *mut c_int,
        parent: *mut bindings::inode,
    ) -> c_int {
        const INVALID: c_int = 255;
        // SAFETY: Called by exportfs with an inode in use.
        let inode = unsafe { INode::from_raw(inode) };
        let parent = if parent.is_null() {
            None
        } else {
            // SAFETY: As above.
            Some(unsafe { INode::from_raw(parent) })
        };
        // SAFETY: Valid; the length is in words.
        let words = usize::try_from(unsafe { *max_len }).unwrap_or(0);
        let buf: &mut [u8] = if words == 0 {
            &mut []
        } else {
            // SAFETY: The buffer has `words` words; all bytes are set before use.
            unsafe {
                ptr::write_bytes(fh, 0, words);
                core::slice::from_raw_parts_mut(fh.cast(), words * 4)
            }
        };
        let room = buf.len();
        let (kind, len) = match O::encode(inode, parent, buf) {
            EncodedHandle::Done { kind, len } if len <= room => (c_int::from(kind), len),
            EncodedHandle::Done { len, .. } | EncodedHandle::TooSmall { len } => (INVALID, len),
        };
        // SAFETY: Valid.
        unsafe { *max_len = c_int::try_from(len.div_ceil(4)).unwrap_or(c_int::MAX) };
        kind
    }

    /// # Safety
    ///
    /// Called by exportfs with objects of the file system of `O`.
    unsafe extern "C" fn fh_to_dentry(
        sb: *mut bindings::super_block,
        fid: *mut bindings::fid,
        fh_len: c_int,
        fh_type: c_int,
    ) -> *mut bindings::dentry {
        // SAFETY: As of this function.
        unsafe { find::<O>(sb, fid, fh_len, fh_type, O::decode) }
    }

    /// # Safety
    ///
    /// Called by exportfs with objects of the file system of `O`.
    unsafe extern "C" fn fh_to_parent(
        sb: *mut bindings::super_block,
        fid: *mut bindings::fid,
        fh_len: c_int,
        fh_type: c_int,
    ) -> *mut bindings::dentry {
        // SAFETY: As of this function.
        unsafe { find::<O>(sb, fid, fh_len, fh_type, O::decode_parent) }
    }

    /// # Safety
    ///
    /// Called by exportfs with objects of the file system of `O`.
    unsafe extern "C" fn get_parent(child: *mut bindings::dentry) -> *mut bindings::dentry {
        // SAFETY: Called by exportfs with a positive dentry.
        let child = unsafe { INode::from_raw((*child).d_inode) };
        obtain(O::get_parent(child).map(Some))
    }

    /// # Safety
    ///
    /// Called by exportfs with objects of the file system of `O`.
    unsafe extern "C" fn get_name(
        parent: *mut bindings::dentry,
        name: *mut c_char,
        child: *mut bindings::dentry,
    ) -> c_int {
        // SAFETY: Called by exportfs with positive dentries.
        let (parent, child) = unsafe {
            (
                INode::from_raw((*parent).d_inode),
                INode::from_raw((*child).d_inode),
            )
        };
        // INVARIANT: The buffer has room for `NAME_MAX` bytes and a NUL.
        let mut name = NameBuf(name.cast(), PhantomData);
        errno(O::get_name(parent, child, &mut name))
    }
}

type Decode<F> = fn(&SuperBlock<F>, u8, &[u8]) -> Result<Option<ARef<INode<F>>>>;

/// # Safety
///
/// Called by exportfs with a super block of the file system of `O`, and a handle of
/// `fh_len` words.
unsafe fn find<O: ExportOperations>(
    sb: *mut bindings::super_block,
    fid: *mut bindings::fid,
    fh_len: c_int,
    fh_type: c_int,
    decode: Decode<O::Fs>,
) -> *mut bindings::dentry {
    // SAFETY: A mounted super block.
    let sb = unsafe { SuperBlock::from_raw(sb) };
    let (Ok(words), Ok(kind)) = (usize::try_from(fh_len), u8::try_from(fh_type)) else {
        return ptr::null_mut();
    };
    // SAFETY: The handle is valid for its length.
    let handle = unsafe { core::slice::from_raw_parts(fid.cast::<u8>(), words * 4) };
    obtain(decode(sb, kind, handle))
}

/// A dentry for an inode, as exportfs wants it.
fn obtain<T: FileSystem>(inode: Result<Option<ARef<INode<T>>>>) -> *mut bindings::dentry {
    match inode {
        // SAFETY: Consumes our reference.
        Ok(Some(inode)) => unsafe {
            bindings::d_obtain_alias(ARef::into_raw(inode).as_ptr().cast())
        },
        Ok(None) => ptr::null_mut(),
        Err(e) => e.to_ptr(),
    }
}
