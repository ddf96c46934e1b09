// SPDX-License-Identifier: GPL-2.0

//! Extended attributes.
//!
//! C header: [`include/linux/xattr.h`](srctree/include/linux/xattr.h)

use super::{inode::INode, super_block::FileSystem};
use crate::bindings;
use core::{marker::PhantomData, ptr};
use kernel::{error::VTABLE_DEFAULT_ERROR, prelude::*, str::as_char_ptr_in_const_context};

/// The buffer that the value of an attribute goes to.
///
/// A caller that asks for the size only gives none.
pub struct XattrBuf<'a>(Option<&'a mut [u8]>);

impl XattrBuf<'_> {
    /// Returns `value` to the caller. The result is its size, for the callback to return.
    ///
    /// # Errors
    ///
    /// `ERANGE` when the caller's buffer is too small.
    pub fn put(&mut self, value: &[u8]) -> Result<usize> {
        if let Some(buf) = &mut self.0 {
            buf.get_mut(..value.len())
                .ok_or(ERANGE)?
                .copy_from_slice(value);
        }
        Ok(value.len())
    }
}

/// The list of names that `listxattr` returns.
///
/// A caller that asks for the size only gives no buffer.
pub struct XattrList<'a> {
    buf: Option<&'a mut [u8]>,
    len: usize,
}

impl XattrList<'_> {
    /// Adds a full name such as `user.a`, without a terminating NUL.
    ///
    /// # Errors
    ///
    /// `ERANGE` when the caller's buffer is too small.
    pub fn push(&mut self, name: &[u8]) -> Result {
        let end = self.len + name.len() + 1;
        if let Some(buf) = &mut self.buf {
            let to = buf.get_mut(self.len..end).ok_or(ERANGE)?;
            let (last, rest) = to.split_last_mut().ok_or(ERANGE)?;
            rest.copy_from_slice(name);
            *last = 0;
        }
        self.len = end;
        Ok(())
    }

    /// Makes a list from what `listxattr` got, calls `f`, and returns what it returns.
    ///
    /// # Safety
    ///
    /// `buf` must be valid for `size` bytes, unless that is 0.
    pub(super) unsafe fn with(
        buf: *mut c_char,
        size: usize,
        f: impl FnOnce(&mut XattrList<'_>) -> Result,
    ) -> isize {
        let mut list = XattrList {
            // SAFETY: By the requirement of this function.
            buf: unsafe { slice(buf.cast(), size) },
            len: 0,
        };
        match f(&mut list) {
            Ok(()) => isize::try_from(list.len).unwrap_or(isize::MAX),
            Err(e) => e.to_errno() as isize,
        }
    }
}

/// # Safety
///
/// `buf` must be valid for `size` bytes for `'a`, unless that is 0.
unsafe fn slice<'a>(buf: *mut u8, size: usize) -> Option<&'a mut [u8]> {
    if size == 0 || buf.is_null() {
        return None;
    }
    // The bytes may be uninitialised.
    // SAFETY: By the requirement of this function.
    unsafe { ptr::write_bytes(buf, 0, size) };
    // SAFETY: By the requirement of this function, and just initialised.
    Some(unsafe { core::slice::from_raw_parts_mut(buf, size) })
}

/// What setting an attribute demands of the one that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XattrSet {
    /// Nothing.
    Any,
    /// That there is none (`EEXIST`).
    Create,
    /// That there is one (`ENODATA`).
    Replace,
}

/// Gets and sets attributes of one or more prefixes.
#[vtable]
pub trait XattrOperations: Sized + Send + Sync + 'static {
    /// The file system.
    type Fs: FileSystem;

    /// Puts the value of `name`, with its prefix, into `value`.
    ///
    /// # Errors
    ///
    /// `ENODATA` when there is no such attribute.
    fn get(inode: &INode<Self::Fs>, name: &CStr, value: &mut XattrBuf<'_>) -> Result<usize>;

    /// Sets `name`, with its prefix, to `value`, or removes it. The inode lock is held.
    fn set(
        _inode: &INode<Self::Fs>,
        _name: &CStr,
        _value: Option<&[u8]>,
        _how: XattrSet,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// The handler of a prefix, made of [`XattrOperations`].
#[repr(transparent)]
pub struct XattrHandler<T: FileSystem>(bindings::xattr_handler, PhantomData<T>);

// SAFETY: The pointers of a handler refer to constants.
unsafe impl<T: FileSystem> Sync for XattrHandler<T> {}

impl<T: FileSystem> XattrHandler<T> {
    /// Handles all names that begin with `prefix`, for example `user.`.
    pub const fn prefix<O: XattrOperations<Fs = T>>(prefix: &'static CStr) -> Self {
        Self(
            bindings::xattr_handler {
                prefix: as_char_ptr_in_const_context(prefix),
                get: Some(get::<O>),
                set: if O::HAS_SET { Some(set::<O>) } else { None },
                ..pin_init::zeroed()
            },
            PhantomData,
        )
    }
}

/// The handlers of a super block.
///
/// # Invariants
///
/// The last entry is `None`.
pub struct XattrHandlers<T: FileSystem>(&'static [Option<&'static XattrHandler<T>>]);

impl<T: FileSystem> XattrHandlers<T> {
    /// Makes a list of handlers, which must end with `None`.
    ///
    /// For use in constants: a list without an end fails the build.
    pub const fn new(handlers: &'static [Option<&'static XattrHandler<T>>]) -> Self {
        assert!(!handlers.is_empty() && handlers[handlers.len() - 1].is_none());
        // INVARIANT: Just checked.
        Self(handlers)
    }

    pub(super) fn as_raw(&self) -> *const *const bindings::xattr_handler {
        // An `Option` of a reference is a nullable pointer.
        self.0.as_ptr().cast()
    }
}

/// # Safety
///
/// Called by the VFS with an inode of the file system of `O`, and a buffer of `size` bytes.
unsafe extern "C" fn get<O: XattrOperations>(
    handler: *const bindings::xattr_handler,
    _dentry: *mut bindings::dentry,
    inode: *mut bindings::inode,
    name: *const c_char,
    buffer: *mut c_void,
    size: usize,
) -> c_int {
    // SAFETY: Called by the VFS for an inode in use.
    let inode = unsafe { INode::from_raw(inode) };
    // SAFETY: `name` is what is left of the full name after the prefix of the handler.
    let name = unsafe { CStr::from_char_ptr(bindings::xattr_full_name(handler, name)) };
    // SAFETY: The buffer is valid for its size.
    let mut value = XattrBuf(unsafe { slice(buffer.cast(), size) });
    match O::get(inode, name, &mut value) {
        Ok(len) => c_int::try_from(len).unwrap_or(EOVERFLOW.to_errno()),
        Err(e) => e.to_errno(),
    }
}

/// # Safety
///
/// Called by the VFS with an inode of the file system of `O`, and a buffer of `size` bytes or
/// null.
unsafe extern "C" fn set<O: XattrOperations>(
    handler: *const bindings::xattr_handler,
    _idmap: *mut bindings::mnt_idmap,
    _dentry: *mut bindings::dentry,
    inode: *mut bindings::inode,
    name: *const c_char,
    buffer: *const c_void,
    size: usize,
    flags: c_int,
) -> c_int {
    // SAFETY: Called by the VFS for an inode in use.
    let inode = unsafe { INode::from_raw(inode) };
    // SAFETY: `name` is what is left of the full name after the prefix of the handler.
    let name = unsafe { CStr::from_char_ptr(bindings::xattr_full_name(handler, name)) };
    let value = match buffer.is_null() {
        true => None,
        // SAFETY: The buffer is valid for its size.
        false => Some(unsafe { core::slice::from_raw_parts(buffer.cast::<u8>(), size) }),
    };
    const CREATE: c_int = bindings::XATTR_CREATE as c_int;
    const REPLACE: c_int = bindings::XATTR_REPLACE as c_int;
    let how = match flags {
        0 => XattrSet::Any,
        CREATE => XattrSet::Create,
        REPLACE => XattrSet::Replace,
        _ => return EINVAL.to_errno(),
    };
    super::errno(O::set(inode, name, value, how))
}

#[kunit_tests(kfs_xattr)]
mod tests {
    use super::*;

    #[test]
    fn a_value_fits_or_not() -> Result {
        let mut room = [0u8; 4];
        assert_eq!(XattrBuf(None).put(b"12345")?, 5);
        assert_eq!(XattrBuf(Some(&mut room)).put(b"12345"), Err(ERANGE));
        assert_eq!(XattrBuf(Some(&mut room)).put(b"1234")?, 4);
        assert_eq!(&room, b"1234");
        assert_eq!(XattrBuf(Some(&mut room)).put(b"")?, 0);
        Ok(())
    }

    #[test]
    fn names_end_with_nul() -> Result {
        let mut room = [0xffu8; 14];
        let mut fill = |size: usize, names: &[&[u8]]| {
            let buf = room.as_mut_ptr().cast();
            // SAFETY: The size is at most that of the array.
            unsafe {
                XattrList::with(buf, size.min(14), |list| {
                    names.iter().try_for_each(|name| list.push(name))
                })
            }
        };
        assert_eq!(fill(0, &[b"user.a", b"user.bb"]), 15);
        assert_eq!(
            fill(14, &[b"user.a", b"user.bb"]),
            ERANGE.to_errno() as isize
        );
        assert_eq!(fill(14, &[b"user.a", b"user.b"]), 14);
        assert_eq!(fill(14, &[]), 0);
        assert_eq!(fill(14, &[b"user.a", b"user.b"]), 14);
        assert_eq!(&room, b"user.a\0user.b\0");
        Ok(())
    }
}
