// SPDX-License-Identifier: GPL-2.0

//! Directories in sysfs.

use super::attribute::Attribute;
use crate::{
    bindings,
    block::BlockDevice,
    fs::{FileSystem, SuperBlock},
};
use core::{
    marker::PhantomData,
    ptr::{self, NonNull},
};
use kernel::{
    error::to_result,
    prelude::*,
    sync::aref::{ARef, AlwaysRefCounted},
    types::Opaque,
};

/// Any kobject, as the target of a link or of an event.
#[repr(transparent)]
pub struct Kobject(Opaque<bindings::kobject>);

// SAFETY: Kobjects may be used and released by any task.
unsafe impl Send for Kobject {}
// SAFETY: As above.
unsafe impl Sync for Kobject {}

// SAFETY: Kobjects are reference-counted.
unsafe impl AlwaysRefCounted for Kobject {
    fn inc_ref(&self) {
        // SAFETY: A shared reference exists, so the count is not zero.
        unsafe { bindings::kobject_get(self.as_raw()) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller gives up a reference.
        unsafe { bindings::kobject_put(obj.as_ptr().cast()) };
    }
}

impl Kobject {
    /// # Safety
    ///
    /// `kobj` must be valid, with a count above zero, for `'a`.
    unsafe fn from_raw<'a>(kobj: *mut bindings::kobject) -> &'a Self {
        // SAFETY: The type is transparent; the rest is the caller's duty.
        unsafe { &*kobj.cast() }
    }

    fn as_raw(&self) -> *mut bindings::kobject {
        self.0.get()
    }

    /// The kobject of a block device.
    pub fn of_block_device(bdev: &BlockDevice) -> ARef<Self> {
        // SAFETY: An open block device is valid, and contains its kobject.
        unsafe { Self::from_raw(bindings::kfs_bdev_kobj(bdev.as_raw())) }.into()
    }

    /// The kobject of the backing device info of a super block.
    pub fn of_bdi<T: FileSystem>(sb: &SuperBlock<T>) -> Option<ARef<Self>> {
        // SAFETY: A mounted super block keeps its backing device info.
        let kobj = unsafe { bindings::kfs_bdi_kobj(sb.as_raw()) };
        if kobj.is_null() {
            return None;
        }
        // SAFETY: As above.
        Some(unsafe { Self::from_raw(kobj) }.into())
    }

    /// Tells user space (udev) that the object has changed.
    ///
    /// # Errors
    ///
    /// What sending the event fails with; nothing depends on it.
    pub fn notify_change(&self) -> Result {
        // SAFETY: Valid.
        to_result(unsafe {
            bindings::kobject_uevent(self.as_raw(), bindings::kobject_action_KOBJ_CHANGE)
        })
    }
}

/// What a directory can be in.
pub trait Parent: private::Sealed {}

mod private {
    use crate::bindings;

    /// Where a new directory goes.
    pub trait Sealed {
        #[doc(hidden)]
        fn kset(&self) -> *mut bindings::kset;
        #[doc(hidden)]
        fn parent(&self) -> *mut bindings::kobject;
    }
}

/// A directory below `/sys/fs`, whose members can send events.
///
/// # Invariants
///
/// Owns a registered kset.
pub struct Set(NonNull<bindings::kset>);

// SAFETY: Ksets may be used by any task.
unsafe impl Send for Set {}
// SAFETY: As above.
unsafe impl Sync for Set {}

impl Set {
    /// Makes the directory `/sys/fs/NAME`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, also when there is such a directory already.
    pub fn new(name: &CStr) -> Result<Self> {
        // SAFETY: `fs_kobj` is set during boot and never changes; the name is copied.
        let set = unsafe {
            bindings::kset_create_and_add(name.as_char_ptr(), ptr::null(), bindings::fs_kobj)
        };
        // INVARIANT: Just registered.
        Ok(Self(NonNull::new(set).ok_or(ENOMEM)?))
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        // SAFETY: Registered, by the type invariant.
        unsafe { bindings::kset_unregister(self.0.as_ptr()) };
    }
}

impl Parent for Set {}

impl private::Sealed for Set {
    fn kset(&self) -> *mut bindings::kset {
        self.0.as_ptr()
    }

    fn parent(&self) -> *mut bindings::kobject {
        ptr::null_mut()
    }
}

/// A directory and its data, in memory.
#[repr(C)]
struct Node<D> {
    /// First, so that a pointer to it is one to the whole.
    kobj: Opaque<bindings::kobject>,
    data: D,
}

/// A directory with data; it disappears when this is dropped.
///
/// # Invariants
///
/// Owns a reference to the kobject of a [`Node<D>`] that is in sysfs.
pub struct Directory<D: Send + Sync + 'static>(NonNull<Node<D>>, PhantomData<D>);

// SAFETY: Kobjects may be used by any task, and so may the data.
unsafe impl<D: Send + Sync> Send for Directory<D> {}
// SAFETY: As above.
unsafe impl<D: Send + Sync> Sync for Directory<D> {}

impl<D: Send + Sync + 'static> Directory<D> {
    const OPS: &'static bindings::sysfs_ops = &bindings::sysfs_ops {
        show: Some(show::<D>),
        store: Some(store::<D>),
    };

    const TYPE: &'static bindings::kobj_type = &bindings::kobj_type {
        release: Some(release::<D>),
        sysfs_ops: Self::OPS,
        ..pin_init::zeroed()
    };

    /// Makes the directory `name` in `parent`, with the files of `attrs`.
    ///
    /// # Errors
    ///
    /// `EEXIST`, `ENOMEM`.
    pub fn new<P: Parent>(
        parent: &P,
        name: &CStr,
        data: D,
        attrs: &'static [Attribute<D>],
    ) -> Result<Self> {
        let node = KBox::new(
            Node {
                kobj: Opaque::zeroed(),
                data,
            },
            GFP_KERNEL,
        )?;
        let node = KBox::into_raw(node);
        let kobj = node.cast::<bindings::kobject>();
        // SAFETY: The kobject is zeroed and ours; its type is a constant and frees the node. On
        // errors the reference has to be dropped as well.
        let ret = unsafe {
            (*kobj).kset = parent.kset();
            bindings::kobject_init_and_add(
                kobj,
                Self::TYPE,
                parent.parent(),
                c"%s".as_char_ptr(),
                name.as_char_ptr(),
            )
        };
        if let Err(e) = to_result(ret) {
            // SAFETY: The reference is ours.
            unsafe { bindings::kobject_put(kobj) };
            return Err(e);
        }
        // INVARIANT: Just added. From here on dropping it removes the directory.
        // SAFETY: A pointer from a box is not null.
        let this = Self(unsafe { NonNull::new_unchecked(node) }, PhantomData);
        for attr in attrs {
            this.add(attr)?;
        }
        Ok(this)
    }

    /// The data.
    pub fn data(&self) -> &D {
        // SAFETY: By the type invariant.
        unsafe { &(*self.0.as_ptr()).data }
    }

    /// The kobject, for links and events.
    pub fn kobject(&self) -> &Kobject {
        // SAFETY: By the type invariant.
        unsafe { Kobject::from_raw(self.raw()) }
    }

    fn raw(&self) -> *mut bindings::kobject {
        self.0.as_ptr().cast()
    }

    /// Adds a file.
    pub fn add(&self, attr: &'static Attribute<D>) -> Result {
        // SAFETY: The directory is in sysfs, the attribute a constant for its data.
        to_result(unsafe { bindings::sysfs_create_file_ns(self.raw(), attr.as_raw(), ptr::null()) })
    }

    /// Removes a file.
    pub fn remove(&self, attr: &'static Attribute<D>) {
        // SAFETY: As in `add`.
        unsafe { bindings::sysfs_remove_file_ns(self.raw(), attr.as_raw(), ptr::null()) };
    }

    /// Adds a link `name` to `target`.
    pub fn link(&self, target: &Kobject, name: &CStr) -> Result {
        // SAFETY: Both kobjects are valid.
        to_result(unsafe {
            bindings::sysfs_create_link(self.raw(), target.as_raw(), name.as_char_ptr())
        })
    }

    /// Removes a link.
    pub fn unlink(&self, name: &CStr) {
        // SAFETY: The kobject is valid.
        unsafe { bindings::sysfs_remove_link(self.raw(), name.as_char_ptr()) };
    }

    /// Renames the directory.
    pub fn rename(&self, name: &CStr) -> Result {
        // SAFETY: The kobject is valid; `&self` methods of a directory that move it are
        // serialised by sysfs.
        to_result(unsafe { bindings::kobject_rename(self.raw(), name.as_char_ptr()) })
    }
}

impl<D: Send + Sync + 'static> Drop for Directory<D> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant. Removing waits for callbacks.
        unsafe {
            bindings::kobject_del(self.raw());
            bindings::kobject_put(self.raw());
        }
    }
}

impl<D: Send + Sync + 'static> Parent for Directory<D> {}

impl<D: Send + Sync + 'static> private::Sealed for Directory<D> {
    fn kset(&self) -> *mut bindings::kset {
        ptr::null_mut()
    }

    fn parent(&self) -> *mut bindings::kobject {
        self.raw()
    }
}

/// # Safety
///
/// Called for the last reference to the kobject of a `Node<D>`.
unsafe extern "C" fn release<D>(kobj: *mut bindings::kobject) {
    // SAFETY: The node came from a box; this is its last use.
    drop(unsafe { KBox::from_raw(kobj.cast::<Node<D>>()) });
}

/// # Safety
///
/// Called by sysfs for a file of a `Node<D>`, with a page as the buffer.
unsafe extern "C" fn show<D: 'static>(
    kobj: *mut bindings::kobject,
    attr: *mut bindings::attribute,
    buf: *mut c_char,
) -> isize {
    // SAFETY: The node lives while its files are in use.
    let data = unsafe { &(*kobj.cast::<Node<D>>()).data };
    // SAFETY: Only attributes for `D` were added.
    unsafe { Attribute::show(data, attr, buf.cast()) }
}

/// # Safety
///
/// Called by sysfs for a file of a `Node<D>`, with a buffer of `len` bytes.
unsafe extern "C" fn store<D: 'static>(
    kobj: *mut bindings::kobject,
    attr: *mut bindings::attribute,
    buf: *const c_char,
    len: usize,
) -> isize {
    // SAFETY: The node lives while its files are in use.
    let data = unsafe { &(*kobj.cast::<Node<D>>()).data };
    // SAFETY: Only attributes for `D` were added.
    unsafe { Attribute::store(data, attr, buf.cast(), len) }
}
