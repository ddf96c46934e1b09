// SPDX-License-Identifier: GPL-2.0

//! Control devices: character devices with a fixed minor number below the misc major,
//! which take ioctls.
//!
//! C header: [`include/linux/miscdevice.h`](srctree/include/linux/miscdevice.h)

use crate::{bindings, log};
use core::marker::PhantomData;
use kernel::{
    error::{to_result, VTABLE_DEFAULT_ERROR},
    module::this_module,
    prelude::*,
    types::Opaque,
};

/// The minor number of `/dev/btrfs-control`.
pub const BTRFS_MINOR: i32 = bindings::BTRFS_MINOR as i32;

/// What a control device does.
#[vtable]
pub trait ControlDevice: Sized + Send + Sync + 'static {
    /// Its name in `/dev`.
    const NAME: &'static CStr;
    /// Its minor number.
    const MINOR: i32;

    /// An ioctl; `ENOTTY` for unknown ones. Anybody who can open the device may call it.
    fn ioctl(cmd: u32, arg: usize) -> Result<isize>;

    /// An ioctl of a 32-bit program. The default calls [`Self::ioctl`].
    fn compat_ioctl(_cmd: u32, _arg: usize) -> Result<isize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// A registered control device; it goes away when this is dropped.
///
/// # Invariants
///
/// `dev` is registered.
#[pin_data(PinnedDrop)]
pub struct Registration<T: ControlDevice> {
    #[pin]
    dev: Opaque<bindings::miscdevice>,
    _p: PhantomData<T>,
}

// SAFETY: A device may be unregistered by any task.
unsafe impl<T: ControlDevice> Send for Registration<T> {}
// SAFETY: Shared references allow nothing.
unsafe impl<T: ControlDevice> Sync for Registration<T> {}

impl<T: ControlDevice> Registration<T> {
    const FOPS: &'static bindings::file_operations = &bindings::file_operations {
        owner: this_module::<T::OwnerModule>().as_ptr().cast(),
        open: Some(open),
        unlocked_ioctl: Some(ioctl::<T>),
        compat_ioctl: Some(compat_ioctl::<T>),
        llseek: Some(bindings::noop_llseek),
        ..pin_init::zeroed()
    };

    /// Registers the device.
    ///
    /// # Errors
    ///
    /// `EBUSY` when the minor number is taken.
    pub fn new() -> Result<Pin<KBox<Self>>> {
        KBox::try_pin_init(
            try_pin_init!(Self {
                dev <- Opaque::try_ffi_init(|slot: *mut bindings::miscdevice| {
                    let dev = bindings::miscdevice {
                        minor: T::MINOR,
                        name: T::NAME.as_char_ptr(),
                        fops: Self::FOPS,
                        ..Default::default()
                    };
                    // SAFETY: The slot is ours, and does not move.
                    unsafe { slot.write(dev) };
                    // INVARIANT: Registered when this succeeds.
                    // SAFETY: Filled in; unregistered before the memory goes away.
                    to_result(unsafe { bindings::misc_register(slot) }).inspect_err(|e| {
                        if *e == EBUSY {
                            log::print(
                                log::Level::Error,
                                fmt!(
                                    "{}: the device belongs to another module or the kernel itself",
                                    T::NAME
                                ),
                            );
                        }
                    })
                }),
                _p: PhantomData,
            }? Error),
            GFP_KERNEL,
        )
    }
}

#[pinned_drop]
impl<T: ControlDevice> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: Registered, by the type invariant.
        unsafe { bindings::misc_deregister(self.dev.get()) };
    }
}

/// # Safety
///
/// Called by the VFS with a file that is being opened.
unsafe extern "C" fn open(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
    // The misc core has left a pointer to the device here, which nobody needs.
    // SAFETY: The file is ours while it is being opened.
    unsafe { (*file).private_data = core::ptr::null_mut() };
    0
}

/// # Safety
///
/// Called by the VFS with a file of the device of `T`.
unsafe extern "C" fn ioctl<T: ControlDevice>(
    _file: *mut bindings::file,
    cmd: c_uint,
    arg: c_ulong,
) -> c_long {
    answer(T::ioctl(cmd, arg))
}

/// # Safety
///
/// Called by the VFS with a file of the device of `T`.
unsafe extern "C" fn compat_ioctl<T: ControlDevice>(
    _file: *mut bindings::file,
    cmd: c_uint,
    arg: c_ulong,
) -> c_long {
    if T::HAS_COMPAT_IOCTL {
        answer(T::compat_ioctl(cmd, arg))
    } else {
        answer(T::ioctl(cmd, arg))
    }
}

fn answer(r: Result<isize>) -> c_long {
    match r {
        Ok(v) => v as c_long,
        Err(e) => e.to_errno() as c_long,
    }
}
