// SPDX-License-Identifier: GPL-2.0

//! Making inodes that do not exist on disk yet.
//!
//! ```text
//! Draft::new      allocated: owner, mode and times are as the directory, the caller and
//!                 POSIX ACLs want them; nobody else can find the inode
//!     .xattrs     what is to be stored besides the inode
//!     .finish     hashed and filled in; whoever looks for it waits
//! Created         returned to the VFS, which publishes it with the name;
//!                 dropped instead, it is taken back
//! ```
//!
//! All that may sleep for long or call back into the file system is in the first two
//! steps, so that the file system can do them before it begins to change anything.

use super::{
    acl::{AclType, PosixAcl},
    idmap::IdMap,
    inode::INode,
    inode_cache::InodeObject,
    new_inode::{set_kind, test_key, InodeFlags, InodeKind},
    super_block::{FileSystem, InodeKey},
    types::{DeviceNumber, Timespec},
};
use crate::bindings;
use core::{marker::PhantomData, mem::ManuallyDrop, ops::Deref, ptr, ptr::NonNull};
use kernel::{error::to_result, prelude::*, sync::aref::ARef};

/// What kind of entry a directory is to get.
#[derive(Clone, Copy)]
pub struct NewEntry<'a> {
    /// Type and permission bits, as the caller wants them; see [`mode`](super::mode).
    pub mode: u16,
    /// The device of a device node.
    pub dev: DeviceNumber,
    /// The target of a symbolic link.
    pub target: Option<&'a [u8]>,
}

/// An extended attribute that a new inode begins with.
pub struct InitialXattr {
    /// The full name.
    pub name: KVec<u8>,
    /// The value.
    pub value: KVec<u8>,
}

/// The attributes of a new inode that the file system decides about.
pub struct NewAttributes<T: FileSystem> {
    /// The kind; it must be that of the mode.
    pub kind: InodeKind<T>,
    /// Number of links.
    pub nlink: u32,
    /// Size in bytes.
    pub size: i64,
    /// Bytes in use on disk.
    pub bytes: u64,
    /// Generation for file handles.
    pub generation: u32,
    /// Flags that the VFS enforces.
    pub flags: InodeFlags,
    /// May use folios larger than a page (regular files).
    pub large_folios: bool,
}

/// An inode that only its maker knows.
///
/// # Invariants
///
/// Points to an inode of `T` that is not hashed and has no data; we own its only reference.
pub struct Draft<T: FileSystem> {
    inode: NonNull<bindings::inode>,
    default: Option<PosixAcl>,
    access: Option<PosixAcl>,
    now: Timespec,
    _p: PhantomData<T>,
}

// SAFETY: It may be filled in by any task.
unsafe impl<T: FileSystem> Send for Draft<T> {}

impl<T: FileSystem> Draft<T> {
    /// Makes an inode of type and permissions `mode` for the directory `dir`.
    ///
    /// Owner, group and permissions follow the rules of the VFS (set-group-id directories,
    /// umask, default ACLs).
    ///
    /// # Errors
    ///
    /// `ENOMEM`, and what reading the default ACL of the directory fails with.
    pub fn new(dir: &INode<T>, idmap: &IdMap, mode: u16) -> Result<Self> {
        // SAFETY: The super block of a valid inode is valid.
        let inode = unsafe { bindings::new_inode((*dir.as_raw()).i_sb) };
        let inode = NonNull::new(inode).ok_or(ENOMEM)?;
        // INVARIANT: New inodes are not hashed; `alloc_inode` made one without data.
        let mut draft = Self {
            inode,
            default: None,
            access: None,
            now: Timespec::default(),
            _p: PhantomData,
        };
        let raw = inode.as_ptr();
        let (mut default, mut access) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: All are valid, and the inode is ours.
        unsafe {
            bindings::inode_init_owner(idmap.as_raw(), raw, dir.as_raw(), mode);
            to_result(bindings::kfs_posix_acl_create(
                dir.as_raw(),
                &raw mut (*raw).i_mode,
                &mut default,
                &mut access,
            ))?;
            // The function returns new references.
            draft.default = PosixAcl::from_raw(default);
            draft.access = PosixAcl::from_raw(access);
            draft.now = Timespec::from_c(&bindings::simple_inode_init_ts(raw));
        }
        Ok(draft)
    }

    /// Makes the inode of a root directory that is to hang in `dir` but takes nothing over from
    /// it: neither its group nor ACLs.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new_root(dir: &INode<T>, idmap: &IdMap) -> Result<Self> {
        // SAFETY: The super block of a valid inode is valid.
        let inode = unsafe { bindings::new_inode((*dir.as_raw()).i_sb) };
        let inode = NonNull::new(inode).ok_or(ENOMEM)?;
        let raw = inode.as_ptr();
        // SAFETY: All are valid, and the inode is ours.
        let now = unsafe {
            let perm = 0o777 & !bindings::kfs_current_umask();
            bindings::inode_init_owner(
                idmap.as_raw(),
                raw,
                ptr::null(),
                super::mode::S_IFDIR | perm,
            );
            Timespec::from_c(&bindings::simple_inode_init_ts(raw))
        };
        // INVARIANT: As in `new`.
        Ok(Self {
            inode,
            default: None,
            access: None,
            now,
            _p: PhantomData,
        })
    }

    /// Type and permission bits.
    pub fn mode(&self) -> u16 {
        // SAFETY: Valid by the type invariant.
        unsafe { (*self.inode.as_ptr()).i_mode }
    }

    /// The owner, in the user namespace of the super block.
    pub fn uid(&self) -> u32 {
        // SAFETY: Valid by the type invariant.
        unsafe { bindings::kfs_i_uid_read(self.inode.as_ptr()) }
    }

    /// The group, in the user namespace of the super block.
    pub fn gid(&self) -> u32 {
        // SAFETY: Valid by the type invariant.
        unsafe { bindings::kfs_i_gid_read(self.inode.as_ptr()) }
    }

    /// The time of its creation, which all its times are.
    pub fn now(&self) -> Timespec {
        self.now
    }

    /// The attributes to store with it: ACLs, and what security modules want. `name` is the
    /// name it gets in `dir`; a file without a name has none.
    pub fn xattrs(&self, dir: &INode<T>, name: Option<&[u8]>) -> Result<KVec<InitialXattr>> {
        let mut all = KVec::new();
        for (kind, acl) in [
            (AclType::Default, &self.default),
            (AclType::Access, &self.access),
        ] {
            if let Some(acl) = acl {
                let attribute = InitialXattr {
                    name: copy(kind.xattr_name().to_bytes())?,
                    value: acl.to_xattr()?,
                };
                all.push(attribute, GFP_KERNEL)?;
            }
        }
        let mut qstr = bindings::qstr::default();
        let name = name.unwrap_or(&[]);
        qstr.__bindgen_anon_1.__bindgen_anon_1.len = u32::try_from(name.len())?;
        qstr.name = name.as_ptr();
        let qstr = if name.is_empty() {
            ptr::null()
        } else {
            &raw const qstr
        };
        // SAFETY: All are valid during the call; the callback is for a vector of that type.
        to_result(unsafe {
            bindings::kfs_security_inode_init_security(
                self.inode.as_ptr(),
                dir.as_raw(),
                qstr,
                Some(collect),
                (&raw mut all).cast(),
            )
        })?;
        Ok(all)
    }

    /// Fills the inode in and hashes it under `key`.
    ///
    /// # Errors
    ///
    /// What `data` fails with; `EBUSY` when there is an inode of that key.
    pub fn finish<E>(
        self,
        key: T::InodeKey,
        attributes: NewAttributes<T>,
        data: impl PinInit<T::InodeData, E>,
    ) -> Result<Created<T>>
    where
        Error: From<E>,
    {
        if attributes.size < 0 {
            return Err(EINVAL);
        }
        let raw = self.inode.as_ptr();
        let mut key = key;
        let perm = self.mode();
        // SAFETY: The inode is ours; the key lives during the call, and is stored before others
        // can look at it.
        to_result(unsafe {
            InodeObject::<T>::key(raw).write(key);
            (*raw).i_ino = key.ino();
            bindings::insert_inode_locked4(
                raw,
                key.hash(),
                Some(test_key::<T>),
                (&raw mut key).cast(),
            )
        })?;
        let this = ManuallyDrop::new(self);
        // INVARIANT: Hashed and locked now; no data yet.
        let created = Created(this.inode, PhantomData);
        // SAFETY: Each is read once, and what it is read from not used again.
        let (default, access) = unsafe { (ptr::read(&this.default), ptr::read(&this.access)) };
        // SAFETY: The inode is new and used by us alone.
        unsafe {
            bindings::set_nlink(raw, attributes.nlink);
            bindings::kfs_i_size_write(raw, attributes.size);
            let bytes = i64::try_from(attributes.bytes).unwrap_or(i64::MAX);
            bindings::kfs_inode_set_bytes(raw, bytes);
            (*raw).i_generation = attributes.generation;
            attributes.flags.write_to(raw);
            set_kind(raw, &attributes.kind, perm, attributes.large_folios);
            for (kind, acl) in [(AclType::Default, default), (AclType::Access, access)] {
                // It takes a reference of its own.
                let acl = acl.as_ref().map_or(ptr::null_mut(), PosixAcl::as_raw);
                bindings::set_cached_acl(raw, kind.into_raw(), acl);
            }
        }
        // SAFETY: The memory for the data is uninitialised, ours, and never moves. When this
        // fails, the inode stays uninitialised and is discarded.
        unsafe { data.__init(InodeObject::<T>::data(raw))? };
        // SAFETY: The inode is new, and ours; the data is valid.
        unsafe { InodeObject::<T>::set_initialised(raw) };
        Ok(created)
    }
}

impl<T: FileSystem> Drop for Draft<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant: not hashed, so it goes with its reference.
        unsafe { bindings::iput(self.inode.as_ptr()) };
    }
}

/// A new inode that is complete but not published.
///
/// The VFS publishes it together with its name. Dropping it takes it back, without a call of
/// [`FileSystem::evict`].
///
/// # Invariants
///
/// Points to a new, locked, hashed inode of `T`, of which we own a reference. Outside of
/// [`Draft::finish`] it is initialised.
pub struct Created<T: FileSystem>(NonNull<bindings::inode>, PhantomData<T>);

impl<T: FileSystem> Created<T> {
    /// Publishes the inode without a name.
    pub fn publish(self) -> ARef<INode<T>> {
        let inode = self.into_raw();
        // SAFETY: New and locked, by the type invariant.
        unsafe { bindings::unlock_new_inode(inode.as_ptr()) };
        // SAFETY: The reference is ours; the inode is initialised.
        unsafe { INode::aref_from_raw(inode) }
    }

    /// Hands the reference to the caller, who publishes the inode.
    pub(super) fn into_raw(self) -> NonNull<bindings::inode> {
        ManuallyDrop::new(self).0
    }
}

impl<T: FileSystem> Deref for Created<T> {
    type Target = INode<T>;

    fn deref(&self) -> &INode<T> {
        // SAFETY: Initialised by the type invariant.
        unsafe { INode::from_raw(self.0.as_ptr()) }
    }
}

impl<T: FileSystem> Drop for Created<T> {
    fn drop(&mut self) {
        let raw = self.0.as_ptr();
        // SAFETY: New and ours; who waits for it sees that it has no data. Without links it
        // leaves memory with the last reference.
        unsafe {
            InodeObject::<T>::destroy_data(raw);
            bindings::clear_nlink(raw);
            bindings::discard_new_inode(raw);
        }
    }
}

fn copy(bytes: &[u8]) -> Result<KVec<u8>> {
    let mut copy = KVec::with_capacity(bytes.len(), GFP_KERNEL)?;
    copy.extend_from_slice(bytes, GFP_KERNEL)?;
    Ok(copy)
}

/// # Safety
///
/// Called by security modules with a list of attributes that ends with one without a name,
/// and a pointer to a vector of [`InitialXattr`].
unsafe extern "C" fn collect(
    _inode: *mut bindings::inode,
    attributes: *const bindings::xattr,
    all: *mut c_void,
) -> c_int {
    const PREFIX: &[u8] = b"security.";
    // SAFETY: By the requirement of this function.
    let all = unsafe { &mut *all.cast::<KVec<InitialXattr>>() };
    let mut at = attributes;
    let mut add = |name: &CStr, value: &[u8]| -> Result {
        let mut full = copy(PREFIX)?;
        full.extend_from_slice(name.to_bytes(), GFP_KERNEL)?;
        let attribute = InitialXattr {
            name: full,
            value: copy(value)?,
        };
        Ok(all.push(attribute, GFP_KERNEL)?)
    };
    loop {
        // SAFETY: Not behind the end of the list.
        let attribute = unsafe { &*at };
        if attribute.name.is_null() {
            return 0;
        }
        // SAFETY: A name is a string; the value is valid for its length.
        let (name, value) = unsafe {
            let name = CStr::from_char_ptr(attribute.name);
            let value: &[u8] = if attribute.value.is_null() {
                &[]
            } else {
                core::slice::from_raw_parts(attribute.value.cast(), attribute.value_len)
            };
            (name, value)
        };
        if let Err(e) = add(name, value) {
            return e.to_errno();
        }
        // SAFETY: This was not the last one.
        at = unsafe { at.add(1) };
    }
}
