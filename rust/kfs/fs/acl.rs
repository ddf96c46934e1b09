// SPDX-License-Identifier: GPL-2.0

//! POSIX access control lists.
//!
//! C header: [`include/linux/posix_acl.h`](srctree/include/linux/posix_acl.h)

use crate::bindings;
use core::{mem::ManuallyDrop, ptr::NonNull};
use kernel::{error::from_err_ptr, prelude::*};

/// Which list of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AclType {
    /// Checked on access; stored as `system.posix_acl_access`.
    Access,
    /// Given to new entries of a directory; stored as `system.posix_acl_default`.
    Default,
}

impl AclType {
    pub(super) fn from_raw(kind: c_int) -> Option<Self> {
        match u32::try_from(kind) {
            Ok(bindings::ACL_TYPE_ACCESS) => Some(Self::Access),
            Ok(bindings::ACL_TYPE_DEFAULT) => Some(Self::Default),
            _ => None,
        }
    }

    pub(super) fn into_raw(self) -> c_int {
        match self {
            Self::Access => bindings::ACL_TYPE_ACCESS as c_int,
            Self::Default => bindings::ACL_TYPE_DEFAULT as c_int,
        }
    }

    /// The name of the attribute that the list is stored in.
    pub fn xattr_name(self) -> &'static CStr {
        match self {
            Self::Access => c"system.posix_acl_access",
            Self::Default => c"system.posix_acl_default",
        }
    }
}

/// An access control list.
///
/// # Invariants
///
/// Owns a reference to a valid `struct posix_acl`.
pub struct PosixAcl(NonNull<bindings::posix_acl>);

impl PosixAcl {
    /// Parses the value of an attribute. An empty list is `None`.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` for an unknown version, `EINVAL` for anything malformed, `ENOMEM`.
    pub fn from_xattr(value: &[u8]) -> Result<Option<Self>> {
        // SAFETY: The value is valid; ids on disk are those of the initial namespace.
        let acl = from_err_ptr(unsafe {
            bindings::posix_acl_from_xattr(
                &raw mut bindings::init_user_ns,
                value.as_ptr().cast(),
                value.len(),
            )
        })?;
        // INVARIANT: The function returns a new reference.
        Ok(NonNull::new(acl).map(Self))
    }

    /// Takes over a reference; null is no list.
    ///
    /// # Safety
    ///
    /// `acl` must be null or a reference that the caller gives up.
    pub(super) unsafe fn from_raw(acl: *mut bindings::posix_acl) -> Option<Self> {
        // INVARIANT: By the requirement of this function.
        NonNull::new(acl).map(Self)
    }

    pub(super) fn as_raw(&self) -> *mut bindings::posix_acl {
        self.0.as_ptr()
    }

    /// The value of the attribute that it is stored as.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn to_xattr(&self) -> Result<KVec<u8>> {
        // SAFETY: Valid by the type invariant.
        unsafe { xattr_value(self.as_raw()) }
    }

    pub(super) fn into_raw(self) -> *mut bindings::posix_acl {
        ManuallyDrop::new(self).0.as_ptr()
    }
}

impl Drop for PosixAcl {
    fn drop(&mut self) {
        // SAFETY: Owned, by the type invariant.
        unsafe { bindings::kfs_posix_acl_release(self.0.as_ptr()) };
    }
}

/// The value of the attribute that `acl` is stored as.
///
/// # Safety
///
/// `acl` must be valid.
pub(super) unsafe fn xattr_value(acl: *const bindings::posix_acl) -> Result<KVec<u8>> {
    let mut size = 0usize;
    // SAFETY: Valid; ids on disk are those of the initial namespace.
    let value = unsafe {
        bindings::posix_acl_to_xattr(
            &raw mut bindings::init_user_ns,
            acl,
            &mut size,
            bindings::GFP_KERNEL,
        )
    };
    if value.is_null() {
        return Err(ENOMEM);
    }
    // SAFETY: The function returns memory from kmalloc of that many bytes, which are ours.
    Ok(unsafe { KVec::from_raw_parts(value.cast(), size, size) })
}
