// SPDX-License-Identifier: GPL-2.0

//! Who may do what: capabilities and id-mapped mounts.

use super::{inode::INode, super_block::FileSystem};
use crate::bindings;
use kernel::{error::to_result, prelude::*, types::Opaque};

/// The id mapping of a mount.
#[repr(transparent)]
pub struct IdMap(Opaque<bindings::mnt_idmap>);

// SAFETY: A mapping is immutable while a reference exists.
unsafe impl Sync for IdMap {}

impl IdMap {
    /// # Safety
    ///
    /// `idmap` must be valid for `'a`.
    pub(crate) unsafe fn from_raw<'a>(idmap: *mut bindings::mnt_idmap) -> &'a Self {
        // SAFETY: The type is transparent; the rest is the caller's duty.
        unsafe { &*idmap.cast() }
    }

    /// The mapping of mounts that map nothing.
    pub fn nop() -> &'static Self {
        // SAFETY: `nop_mnt_idmap` is a static of the kernel and never changes.
        unsafe { Self::from_raw(&raw mut bindings::nop_mnt_idmap) }
    }

    /// Whether this is the mapping of mounts that map nothing.
    pub fn is_nop(&self) -> bool {
        core::ptr::eq(self, Self::nop())
    }

    pub(crate) fn as_raw(&self) -> *mut bindings::mnt_idmap {
        self.0.get()
    }

    /// Whether the current task owns `inode` or may act as if it did.
    pub fn owner_or_capable<T: FileSystem>(&self, inode: &INode<T>) -> bool {
        // SAFETY: Both pointers are valid.
        unsafe { bindings::inode_owner_or_capable(self.as_raw(), inode.as_raw()) }
    }

    /// Whether the current task has `access` to `inode`.
    ///
    /// # Errors
    ///
    /// `EACCES` or whatever else the check says.
    pub fn permission<T: FileSystem>(&self, inode: &INode<T>, access: Access) -> Result {
        // SAFETY: Both pointers are valid. The mask does not ask for RCU mode.
        to_result(unsafe { bindings::inode_permission(self.as_raw(), inode.as_raw(), access.0) })
    }
}

/// A kind of access to an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access(i32);

impl Access {
    /// Searching a directory or running a file.
    pub const EXEC: Self = Self(bindings::MAY_EXEC as i32);
    /// Writing.
    pub const WRITE: Self = Self(bindings::MAY_WRITE as i32);
    /// Reading.
    pub const READ: Self = Self(bindings::MAY_READ as i32);
}

impl core::ops::BitOr for Access {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A capability of the current task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Administration of the system.
    SysAdmin,
    /// Resource limits.
    SysResource,
    /// Reading and searching any directory.
    DacReadSearch,
    /// Changing immutable and append-only flags.
    LinuxImmutable,
}

/// Whether the current task has `cap` in the initial user namespace.
pub fn capable(cap: Capability) -> bool {
    let cap = match cap {
        Capability::SysAdmin => bindings::CAP_SYS_ADMIN,
        Capability::SysResource => bindings::CAP_SYS_RESOURCE,
        Capability::DacReadSearch => bindings::CAP_DAC_READ_SEARCH,
        Capability::LinuxImmutable => bindings::CAP_LINUX_IMMUTABLE,
    };
    // SAFETY: Any number may be passed.
    unsafe { bindings::capable(cap as c_int) }
}
