// SPDX-License-Identifier: GPL-2.0

//! Registering a file system.

use super::{
    context::FsContext, inode::INode, inode_cache::InodeCache, mount, params::Param,
    super_block::FileSystem,
};
use crate::{bindings, log};
use core::{
    marker::PhantomData,
    ptr,
    sync::atomic::{AtomicPtr, Ordering},
};
use kernel::{
    error::to_result,
    module::this_module,
    prelude::*,
    types::{ForeignOwnable, Opaque},
};

/// Properties of a file system type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FsFlags(u32);

impl FsFlags {
    /// Listed without `nodev` in `/proc/filesystems`: mounts need a device.
    pub const REQUIRES_DEV: Self = Self(bindings::FS_REQUIRES_DEV);
    /// Security modules leave the mount data alone.
    pub const BINARY_MOUNTDATA: Self = Self(bindings::FS_BINARY_MOUNTDATA);
    /// Mounts may be id-mapped.
    pub const ALLOW_IDMAP: Self = Self(bindings::FS_ALLOW_IDMAP);
    /// Time stamps are fine-grained when somebody looks at them.
    pub const MGTIME: Self = Self(bindings::FS_MGTIME);
}

impl FsFlags {
    /// Both sets of properties.
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Static memory of a file system type.
///
/// It must be a `static`, since it holds the lock classes of the file system.
#[repr(C)]
pub struct TypeSlot {
    /// First, so that `sb->s_type` points to the slot.
    inner: Opaque<bindings::file_system_type>,
    /// The inode cache; null while nothing is registered here.
    cache: AtomicPtr<bindings::kmem_cache>,
}

// SAFETY: The C type is only changed by registering, and `cache` is claimed atomically
// by the one who does.
unsafe impl Sync for TypeSlot {}

impl TypeSlot {
    /// An unused slot.
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self {
            inner: Opaque::zeroed(),
            cache: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// The cache that inodes of `sb` come from.
    ///
    /// # Safety
    ///
    /// `sb` must be a super block of a type registered with [`Registration`].
    pub(super) unsafe fn cache_of(sb: *mut bindings::super_block) -> *mut bindings::kmem_cache {
        // SAFETY: `s_type` points to the first member of a static slot.
        let slot = unsafe { &*(*sb).s_type.cast::<TypeSlot>() };
        slot.cache.load(Ordering::Relaxed)
    }
}

/// A registered file system; dropping it unregisters.
///
/// The module cannot be unloaded while the file system is mounted, so there is no
/// super block left when this is dropped by the exit of a module.
///
/// # Invariants
///
/// The type in `slot` is registered, with callbacks for `T`.
pub struct Registration<T: FileSystem> {
    slot: &'static TypeSlot,
    /// Owns the slab cache that `slot.cache` points to.
    cache: InodeCache<T>,
    _p: PhantomData<T>,
}

impl<T: FileSystem> Registration<T> {
    /// Registers `T`, so that it can be mounted.
    ///
    /// # Errors
    ///
    /// `EBUSY` when a file system of that name is registered already, or the slot is in
    /// use; `ENOMEM`.
    pub fn new(slot: &'static TypeSlot) -> Result<Self> {
        let cache = InodeCache::<T>::new()?;
        slot.cache
            .compare_exchange(
                ptr::null_mut(),
                cache.as_raw(),
                Ordering::AcqRel,
                Ordering::Relaxed,
            )
            .map_err(|_| EBUSY)?;
        let raw = slot.inner.get();
        // SAFETY: The slot was just claimed, so nobody else uses it; its lock classes are
        // zeroed and stay in place.
        unsafe {
            (*raw).name = T::NAME.as_char_ptr();
            (*raw).fs_flags = T::FLAGS.0 as c_int;
            (*raw).init_fs_context = Some(init_fs_context::<T>);
            (*raw).parameters = T::PARAMS.as_raw();
            (*raw).kill_sb = Some(mount::kill_sb::<T>);
            (*raw).owner = this_module::<T::OwnerModule>().as_ptr().cast();
        }
        // SAFETY: The type is filled in and static.
        if let Err(e) = to_result(unsafe { bindings::register_filesystem(raw) }) {
            slot.cache.store(ptr::null_mut(), Ordering::Release);
            if e == EBUSY {
                log::print(
                    log::Level::Error,
                    fmt!(
                        "{}: another file system of this name is registered (built in, or a module)",
                        T::NAME
                    ),
                );
            }
            return Err(e);
        }
        // INVARIANT: Just registered.
        Ok(Self {
            slot,
            cache,
            _p: PhantomData,
        })
    }
}

impl<T: FileSystem> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: Registered, by the type invariant.
        unsafe { bindings::unregister_filesystem(self.slot.inner.get()) };
        self.cache.drain();
        self.slot.cache.store(ptr::null_mut(), Ordering::Release);
    }
}

/// The table of a context's operations.
struct ContextOps<T: FileSystem>(PhantomData<T>);

impl<T: FileSystem> ContextOps<T> {
    const TABLE: &'static bindings::fs_context_operations = &bindings::fs_context_operations {
        free: Some(free_fs_context::<T>),
        dup: None,
        parse_param: Some(parse_param::<T>),
        parse_monolithic: None,
        get_tree: Some(mount::get_tree::<T>),
        reconfigure: Some(mount::reconfigure::<T>),
    };
}

/// # Safety
///
/// Called by the VFS with a new context.
unsafe extern "C" fn init_fs_context<T: FileSystem>(fc: *mut bindings::fs_context) -> c_int {
    // SAFETY: A new context is known to its creator alone.
    let cx = unsafe { FsContext::from_raw(fc) };
    // SAFETY: As above.
    let root = unsafe { (*fc).root };
    let root = if root.is_null() {
        None
    } else {
        // SAFETY: A context that has a root holds a reference to it, and an active one to its super
        // block. The root of a mount is positive, and its inode one of this file system.
        Some(unsafe { INode::<T>::from_raw((*root).d_inode) })
    };
    let options = T::init_context(cx, root).and_then(|o| Ok(KBox::new(o, GFP_KERNEL)?));
    match options {
        Ok(options) => {
            // SAFETY: The context is valid, and only ours.
            unsafe {
                (*fc).fs_private = options.into_foreign().cast();
                (*fc).ops = ContextOps::<T>::TABLE;
            }
            0
        }
        Err(e) => e.to_errno(),
    }
}

/// # Safety
///
/// Called by the VFS with a context that [`init_fs_context`] initialised, as its last use.
unsafe extern "C" fn free_fs_context<T: FileSystem>(fc: *mut bindings::fs_context) {
    // SAFETY: The context is valid.
    let private = unsafe { (*fc).fs_private };
    if !private.is_null() {
        // SAFETY: A private pointer came from `into_foreign` of that type; this is its last
        // use.
        drop(unsafe { KBox::<T::Context>::from_foreign(private.cast()) });
    }
}

/// # Safety
///
/// Called by the VFS with a context that [`init_fs_context`] initialised and a valid
/// parameter.
unsafe extern "C" fn parse_param<T: FileSystem>(
    fc: *mut bindings::fs_context,
    param: *mut bindings::fs_parameter,
) -> c_int {
    // SAFETY: The VFS holds the mutex of the context.
    let cx = unsafe { FsContext::from_raw(fc) };
    // SAFETY: The parameter is valid, and not changed during the call.
    let param = match unsafe { Param::parse(cx, &T::PARAMS, param) } {
        Ok(param) => param,
        Err(errno) => return errno,
    };
    // SAFETY: The private pointer is a box of that type.
    let options = unsafe { mount::options::<T>(fc) };
    super::errno(T::parse_param(options, cx, &param))
}
