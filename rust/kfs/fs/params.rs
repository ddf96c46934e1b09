// SPDX-License-Identifier: GPL-2.0

//! Mount options: what there is, and what the user gave.
//!
//! C header: [`include/linux/fs_parser.h`](srctree/include/linux/fs_parser.h)
//!
//! # Examples
//!
//! ```ignore
//! const RESCUE: &[EnumEntry] = &[EnumEntry::new(c"all", 7), EnumEntry::END];
//! const PARAMS: Params = Params::new(&[
//!     ParamSpec::flag(c"degraded", OPT_DEGRADED),
//!     ParamSpec::enumeration(c"rescue", OPT_RESCUE, RESCUE),
//!     ParamSpec::END,
//! ]);
//! ```

use super::context::FsContext;
use crate::bindings;
use core::ptr;
use kernel::{prelude::*, str::as_char_ptr_in_const_context};

/// One mount option: its name, the type of its value, and the number by which the
/// file system knows it.
#[repr(transparent)]
pub struct ParamSpec(bindings::fs_parameter_spec);

// SAFETY: The pointers of a specification refer to constants.
unsafe impl Sync for ParamSpec {}

impl ParamSpec {
    /// Ends a list of options.
    pub const END: Self = Self::raw(ptr::null(), None, 0, 0, ptr::null());

    const fn raw(
        name: *const c_char,
        type_: bindings::fs_param_type,
        opt: u8,
        flags: u16,
        data: *const c_void,
    ) -> Self {
        Self(bindings::fs_parameter_spec {
            name,
            type_,
            opt,
            flags,
            data,
        })
    }

    const fn typed(name: &'static CStr, type_: bindings::fs_param_type, opt: u8) -> Self {
        Self::raw(
            as_char_ptr_in_const_context(name),
            type_,
            opt,
            0,
            ptr::null(),
        )
    }

    /// `name`, without a value.
    pub const fn flag(name: &'static CStr, opt: u8) -> Self {
        Self::typed(name, None, opt)
    }

    /// `name` or `noname`, without a value; see [`Param::negated`].
    pub const fn flag_no(name: &'static CStr, opt: u8) -> Self {
        let mut spec = Self::typed(name, None, opt);
        spec.0.flags = bindings::fs_param_neg_with_no as u16;
        spec
    }

    /// `name=NUMBER`, up to 32 bits; see [`Param::u32`].
    pub const fn u32(name: &'static CStr, opt: u8) -> Self {
        Self::typed(name, Some(bindings::fs_param_is_u32), opt)
    }

    /// `name=NUMBER`, up to 64 bits; see [`Param::u64`].
    pub const fn u64(name: &'static CStr, opt: u8) -> Self {
        Self::typed(name, Some(bindings::fs_param_is_u64), opt)
    }

    /// `name=STRING`; see [`Param::string`].
    pub const fn string(name: &'static CStr, opt: u8) -> Self {
        Self::typed(name, Some(bindings::fs_param_is_string), opt)
    }

    /// `name=WORD` with one of the words of `values`; see [`Param::enumeration`].
    ///
    /// `values` ends with [`EnumEntry::END`], which is checked at build time.
    pub const fn enumeration(name: &'static CStr, opt: u8, values: &'static [EnumEntry]) -> Self {
        assert!(!values.is_empty() && values[values.len() - 1].0.name.is_null());
        let mut spec = Self::typed(name, Some(bindings::fs_param_is_enum), opt);
        spec.0.data = values.as_ptr().cast();
        spec
    }
}

/// One word that an option of an enumerated type may have as its value.
#[repr(transparent)]
pub struct EnumEntry(bindings::constant_table);

// SAFETY: The pointer refers to a constant string.
unsafe impl Sync for EnumEntry {}

impl EnumEntry {
    /// Ends a list of words.
    pub const END: Self = Self(bindings::constant_table {
        name: ptr::null(),
        value: 0,
    });

    /// The word `name` stands for `value`.
    pub const fn new(name: &'static CStr, value: i32) -> Self {
        Self(bindings::constant_table {
            name: as_char_ptr_in_const_context(name),
            value,
        })
    }
}

/// The options of a file system.
///
/// # Invariants
///
/// The last specification, and only that one, is [`ParamSpec::END`].
#[derive(Clone, Copy)]
pub struct Params(&'static [ParamSpec]);

impl Params {
    /// Makes a list of options, which must end with [`ParamSpec::END`].
    ///
    /// For use in constants: a list without an end fails the build.
    pub const fn new(specs: &'static [ParamSpec]) -> Self {
        assert!(!specs.is_empty() && specs[specs.len() - 1].0.name.is_null());
        // INVARIANT: Checked above; the VFS stops at the first end.
        Self(specs)
    }

    pub(crate) const fn as_raw(&self) -> *const bindings::fs_parameter_spec {
        self.0.as_ptr().cast()
    }
}

/// An option that the user gave and that was found in the list of options.
///
/// The accessors of a value are those of the type of its specification; another one
/// gives an unspecified number.
pub struct Param<'a> {
    opt: u8,
    key: &'a CStr,
    text: Option<&'a CStr>,
    result: bindings::fs_parse_result,
}

impl<'a> Param<'a> {
    /// Looks `raw` up in `params` and parses its value.
    ///
    /// # Errors
    ///
    /// `ENOPARAM` when there is no such option, `EINVAL` for a bad value; the latter
    /// is already logged in the context.
    ///
    /// # Safety
    ///
    /// `raw` must be valid, and unchanged for `'a`.
    pub(crate) unsafe fn parse(
        cx: &FsContext,
        params: &Params,
        raw: *mut bindings::fs_parameter,
    ) -> Result<Self, i32> {
        let mut result = bindings::fs_parse_result::default();
        // SAFETY: The context is valid; the list has an end by the invariant of `Params`.
        let opt = unsafe {
            bindings::__fs_parse(
                &raw mut (*cx.as_raw()).log,
                params.as_raw(),
                raw,
                &mut result,
            )
        };
        let opt = u8::try_from(opt).map_err(|_| opt)?;
        // SAFETY: The caller guarantees that `raw` is valid; keys are never null.
        let key = unsafe { CStr::from_char_ptr((*raw).key) };
        // SAFETY: As above.
        let is_string = unsafe { (*raw).type_() == bindings::fs_value_type_fs_value_is_string };
        // SAFETY: As above; a value of the string type has the `string` member.
        let text = unsafe { (*raw).__bindgen_anon_1.string };
        let text = if is_string && !text.is_null() {
            // SAFETY: A string value is NUL-terminated, and lives as long as `raw`.
            Some(unsafe { CStr::from_char_ptr(text) })
        } else {
            None
        };
        Ok(Self {
            opt,
            key,
            text,
            result,
        })
    }

    /// The number of the option in its [`ParamSpec`].
    pub fn opt(&self) -> u8 {
        self.opt
    }

    /// The name as the user wrote it (with `no` when negated).
    pub fn key(&self) -> &'a CStr {
        self.key
    }

    /// Whether a [`ParamSpec::flag_no`] came as `noname`.
    pub fn negated(&self) -> bool {
        self.result.negated
    }

    /// The value of a [`ParamSpec::u32`].
    pub fn u32(&self) -> u32 {
        // SAFETY: The union was initialised with zeros; all its members are integers.
        unsafe { self.result.__bindgen_anon_1.uint_32 }
    }

    /// The value of a [`ParamSpec::u64`].
    pub fn u64(&self) -> u64 {
        // SAFETY: As in `u32`.
        unsafe { self.result.__bindgen_anon_1.uint_64 }
    }

    /// The value of a [`ParamSpec::enumeration`].
    pub fn enumeration(&self) -> i32 {
        // SAFETY: As in `u32`.
        unsafe { self.result.__bindgen_anon_1.int_32 }
    }

    /// The text of the value, for any type that has one.
    pub fn string(&self) -> Option<&'a CStr> {
        self.text
    }

    /// The text of a [`ParamSpec::string`].
    ///
    /// # Errors
    ///
    /// `EINVAL` when the option came without a value.
    pub fn required_string(&self) -> Result<&'a CStr> {
        self.text.ok_or(EINVAL)
    }
}
