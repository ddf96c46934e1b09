// SPDX-License-Identifier: GPL-2.0

//! Files in sysfs.

use crate::bindings;
use core::{fmt, marker::PhantomData};
use kernel::{page::PAGE_SIZE, prelude::*, str::as_char_ptr_in_const_context};

/// Takes what a file shows: at most a page.
pub struct Output<'a> {
    buf: &'a mut [u8],
    len: usize,
}

impl Output<'_> {
    /// Appends bytes.
    ///
    /// # Errors
    ///
    /// `EOVERFLOW` when the page is full.
    pub fn push(&mut self, bytes: &[u8]) -> Result {
        let end = self.len + bytes.len();
        self.buf
            .get_mut(self.len..end)
            .ok_or(EOVERFLOW)?
            .copy_from_slice(bytes);
        self.len = end;
        Ok(())
    }
}

impl fmt::Write for Output<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.push(s.as_bytes()).map_err(|_| fmt::Error)
    }
}

/// Shows a file.
pub(super) type Show<D> = fn(&D, &mut Output<'_>) -> Result;
/// Takes in what was written to a file: the whole write, usually with a line feed.
pub(super) type Store<D> = fn(&D, &[u8]) -> Result;

/// A file in directories whose data is a `D`.
#[repr(C)]
pub struct Attribute<D: 'static> {
    /// First, so that a pointer to it is one to the whole.
    raw: bindings::attribute,
    show: Option<Show<D>>,
    store: Option<Store<D>>,
    _p: PhantomData<fn(&D)>,
}

// SAFETY: The pointers of an attribute refer to constants.
unsafe impl<D> Sync for Attribute<D> {}
// SAFETY: As above.
unsafe impl<D> Send for Attribute<D> {}

impl<D> Attribute<D> {
    const fn make(
        name: &'static CStr,
        mode: u16,
        show: Option<Show<D>>,
        store: Option<Store<D>>,
    ) -> Self {
        let mut raw: bindings::attribute = pin_init::zeroed();
        raw.name = as_char_ptr_in_const_context(name);
        raw.mode = mode;
        Self {
            raw,
            show,
            store,
            _p: PhantomData,
        }
    }

    /// A file that everybody can read.
    pub const fn ro(name: &'static CStr, show: Show<D>) -> Self {
        Self::make(name, 0o444, Some(show), None)
    }

    /// A file that everybody can read and root can write.
    pub const fn rw(name: &'static CStr, show: Show<D>, store: Store<D>) -> Self {
        Self::make(name, 0o644, Some(show), Some(store))
    }

    /// A file that root can write.
    pub const fn wo(name: &'static CStr, store: Store<D>) -> Self {
        Self::make(name, 0o200, None, Some(store))
    }

    pub(super) fn as_raw(&'static self) -> *const bindings::attribute {
        &self.raw
    }

    /// # Safety
    ///
    /// `raw` must be the member of an attribute for `D`, all of which are constants.
    unsafe fn from_raw(raw: *const bindings::attribute) -> &'static Self {
        // SAFETY: It is the first member; the rest is the caller's duty.
        unsafe { &*raw.cast() }
    }

    /// Shows the attribute of `raw`.
    ///
    /// # Safety
    ///
    /// `raw` as for [`Self::from_raw`]; `buf` must be valid for a page.
    pub(super) unsafe fn show(data: &D, raw: *const bindings::attribute, buf: *mut u8) -> isize {
        // SAFETY: By the requirements of this function.
        let Some(show) = (unsafe { Self::from_raw(raw) }).show else {
            return EIO.to_errno() as isize;
        };
        // SAFETY: As above; sysfs zeroes the page.
        let buf = unsafe { core::slice::from_raw_parts_mut(buf, PAGE_SIZE) };
        let mut out = Output { buf, len: 0 };
        match show(data, &mut out) {
            Ok(()) => isize::try_from(out.len).unwrap_or(0),
            Err(e) => e.to_errno() as isize,
        }
    }

    /// Stores to the attribute of `raw`.
    ///
    /// # Safety
    ///
    /// `raw` as for [`Self::from_raw`]; `buf` must be valid for `len` bytes.
    pub(super) unsafe fn store(
        data: &D,
        raw: *const bindings::attribute,
        buf: *const u8,
        len: usize,
    ) -> isize {
        // SAFETY: By the requirements of this function.
        let Some(store) = (unsafe { Self::from_raw(raw) }).store else {
            return EIO.to_errno() as isize;
        };
        // SAFETY: As above.
        let buf = unsafe { core::slice::from_raw_parts(buf, len) };
        match store(data, buf) {
            Ok(()) => isize::try_from(len).unwrap_or(isize::MAX),
            Err(e) => e.to_errno() as isize,
        }
    }
}
