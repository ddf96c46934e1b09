// SPDX-License-Identifier: GPL-2.0

//! Getting inodes, and filling in new ones.

use super::{
    aops::AddressSpaceOps,
    dir::DirOps,
    file::FileOps,
    inode::INode,
    inode_cache::InodeObject,
    inode_ops::SpecialOps,
    super_block::{FileSystem, InodeKey, SuperBlock},
    symlink::LinkOps,
    types::{mode, DeviceNumber, Timespec},
};
use crate::bindings;
use core::{mem::ManuallyDrop, ptr::NonNull};
use kernel::{prelude::*, sync::aref::ARef};

/// What [`SuperBlock::get_or_create_inode`] found.
pub enum InodeEntry<T: FileSystem> {
    /// The inode is in memory.
    Existing(ARef<INode<T>>),
    /// It has to be filled in.
    New(NewInode<T>),
}

/// An inode that only its creator uses; others that look for it wait.
///
/// Dropping it without [`NewInode::init`] makes those who wait see an error, or
/// try by themselves.
///
/// # Invariants
///
/// Points to a new, locked, uninitialised inode of `T`, with its key.
pub struct NewInode<T: FileSystem>(NonNull<bindings::inode>, core::marker::PhantomData<T>);

// SAFETY: A new inode may be filled in by any task.
unsafe impl<T: FileSystem> Send for NewInode<T> {}

/// Inode flags that the VFS enforces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InodeFlags(u32);

impl InodeFlags {
    /// None.
    pub const NONE: Self = Self(0);
    /// Writes are synchronous.
    pub const SYNC: Self = Self(bindings::S_SYNC);
    /// Access times are not updated.
    pub const NOATIME: Self = Self(bindings::S_NOATIME);
    /// Only appending is allowed.
    pub const APPEND: Self = Self(bindings::S_APPEND);
    /// Nothing may be changed.
    pub const IMMUTABLE: Self = Self(bindings::S_IMMUTABLE);
    /// Changes of a directory are synchronous.
    pub const DIRSYNC: Self = Self(bindings::S_DIRSYNC);
    /// A file whose data is verified when it is read, and never changes; see
    /// [`VerityOperations`](super::VerityOperations).
    pub const VERITY: Self = Self(bindings::S_VERITY);
}

impl InodeFlags {
    const MASK: u32 = bindings::S_SYNC
        | bindings::S_NOATIME
        | bindings::S_APPEND
        | bindings::S_IMMUTABLE
        | bindings::S_DIRSYNC
        | bindings::S_VERITY;

    /// Sets these flags of `inode` and clears the others that there are here.
    ///
    /// # Safety
    ///
    /// `inode` must be valid.
    pub(super) unsafe fn write_to(self, inode: *mut bindings::inode) {
        // SAFETY: By the requirement of this function; it exchanges the bits atomically.
        unsafe { bindings::kfs_inode_set_flags(inode, self.0, Self::MASK) };
    }
}

impl core::ops::BitOr for InodeFlags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl core::ops::BitOrAssign for InodeFlags {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// What kind of inode it is, with the operations of the kind.
pub enum InodeKind<T: FileSystem> {
    /// A directory.
    Directory(DirOps<T>),
    /// A regular file, and how its page cache is read.
    Regular(FileOps<T>, AddressSpaceOps<T>),
    /// A symbolic link.
    Symlink(LinkOps<T>),
    /// A named pipe.
    Fifo(SpecialOps<T>),
    /// A socket.
    Socket(SpecialOps<T>),
    /// A character device.
    CharDevice(SpecialOps<T>, DeviceNumber),
    /// A block device.
    BlockDevice(SpecialOps<T>, DeviceNumber),
}

/// The attributes of a new inode.
pub struct INodeParams<T: FileSystem> {
    /// The kind; it gives the type bits of the mode.
    pub kind: InodeKind<T>,
    /// Permission bits, with set-id and sticky bits; others are ignored.
    pub perm: u16,
    /// Owner, as on disk.
    pub uid: u32,
    /// Group, as on disk.
    pub gid: u32,
    /// Number of links.
    pub nlink: u32,
    /// Size in bytes.
    pub size: i64,
    /// Bytes in use on disk.
    pub bytes: u64,
    /// Access time.
    pub atime: Timespec,
    /// Modification time.
    pub mtime: Timespec,
    /// Change time.
    pub ctime: Timespec,
    /// Generation for file handles.
    pub generation: u32,
    /// Version counter as on disk.
    pub version: u64,
    /// Flags that the VFS enforces.
    pub flags: InodeFlags,
    /// Known to have no POSIX ACL, so that none is looked for.
    pub no_acl: bool,
    /// May use folios larger than a page (regular files).
    pub large_folios: bool,
}

impl<T: FileSystem> NewInode<T> {
    pub(super) fn get_or_create(sb: &SuperBlock<T>, key: T::InodeKey) -> Result<InodeEntry<T>> {
        let mut key = key;
        // SAFETY: The super block is valid, the callbacks are for its inodes and for the key,
        // which lives during the call.
        let inode = unsafe {
            bindings::iget5_locked_rcu(
                sb.as_raw(),
                key.hash(),
                Some(test_key::<T>),
                Some(set_key::<T>),
                (&raw mut key).cast(),
            )
        };
        let inode = NonNull::new(inode).ok_or(ENOMEM)?;
        // SAFETY: A valid inode.
        if unsafe { bindings::kfs_inode_is_new(inode.as_ptr()) } {
            // INVARIANT: New inodes come locked; `set_key` has stored the key.
            return Ok(InodeEntry::New(Self(inode, core::marker::PhantomData)));
        }
        // SAFETY: We own a reference.
        let existing = unsafe { Self::existing(inode) }.ok_or(EIO)?;
        Ok(InodeEntry::Existing(existing))
    }

    /// Takes over a reference to an inode that is not new.
    ///
    /// Its creator may have failed, then there is no data and `None` is returned.
    ///
    /// # Safety
    ///
    /// `inode` must be an inode of `T`, with a reference that the caller gives up.
    unsafe fn existing(inode: NonNull<bindings::inode>) -> Option<ARef<INode<T>>> {
        // SAFETY: A valid inode; its state does not change any more while we hold a reference.
        if !unsafe { InodeObject::<T>::is_initialised(inode.as_ptr()) } {
            // SAFETY: Ours.
            unsafe { bindings::iput(inode.as_ptr()) };
            return None;
        }
        // SAFETY: Initialised; the reference is ours.
        Some(unsafe { INode::aref_from_raw(inode) })
    }

    pub(super) fn find(sb: &SuperBlock<T>, key: T::InodeKey) -> Option<ARef<INode<T>>> {
        let mut key = key;
        // SAFETY: As in `get_or_create`.
        let inode = unsafe {
            bindings::ilookup5(
                sb.as_raw(),
                key.hash(),
                Some(test_key::<T>),
                (&raw mut key).cast(),
            )
        };
        // SAFETY: The reference is ours; `ilookup5` waits until an inode is not new any more.
        unsafe { Self::existing(NonNull::new(inode)?) }
    }

    /// What identifies the inode.
    pub fn key(&self) -> T::InodeKey {
        // SAFETY: The key is there, by the type invariant.
        unsafe { *InodeObject::<T>::key(self.0.as_ptr()) }
    }

    /// Fills the inode in and publishes it.
    ///
    /// # Errors
    ///
    /// What `data` fails with; `EINVAL` for a negative size.
    pub fn init<E>(
        self,
        params: INodeParams<T>,
        data: impl PinInit<T::InodeData, E>,
    ) -> Result<ARef<INode<T>>>
    where
        Error: From<E>,
    {
        if params.size < 0 {
            return Err(EINVAL);
        }
        let raw = self.0.as_ptr();
        // SAFETY: The memory for the data is uninitialised, ours, and never moves. When this
        // fails, the inode stays uninitialised.
        unsafe { data.__init(InodeObject::<T>::data(raw))? };
        // SAFETY: The inode is new, and ours; the data is valid.
        unsafe {
            InodeObject::<T>::set_initialised(raw);
            set_attributes(raw, &params);
            set_kind(raw, &params.kind, params.perm, params.large_folios);
        }
        let inode = ManuallyDrop::new(self).0;
        // SAFETY: New and locked, by the type invariant. Now it is published.
        unsafe { bindings::unlock_new_inode(inode.as_ptr()) };
        // SAFETY: The reference is ours; the inode is initialised.
        Ok(unsafe { INode::aref_from_raw(inode) })
    }
}

impl<T: FileSystem> Drop for NewInode<T> {
    fn drop(&mut self) {
        // SAFETY: New and locked, by the type invariant; this gives up our reference.
        unsafe { bindings::iget_failed(self.0.as_ptr()) };
    }
}

/// # Safety
///
/// `inode` must be new and used by the caller alone.
unsafe fn set_attributes<T: FileSystem>(inode: *mut bindings::inode, p: &INodeParams<T>) {
    let (atime, mtime, ctime) = (p.atime.to_c(), p.mtime.to_c(), p.ctime.to_c());
    // SAFETY: By the requirement of this function.
    unsafe {
        bindings::kfs_i_uid_write(inode, p.uid);
        bindings::kfs_i_gid_write(inode, p.gid);
        bindings::set_nlink(inode, p.nlink);
        bindings::kfs_i_size_write(inode, p.size);
        bindings::kfs_inode_set_bytes(inode, i64::try_from(p.bytes).unwrap_or(i64::MAX));
        bindings::kfs_inode_set_times(inode, &atime, &mtime, &ctime);
        bindings::kfs_inode_set_iversion_queried(inode, p.version);
        (*inode).i_generation = p.generation;
        p.flags.write_to(inode);
        if p.no_acl {
            bindings::kfs_cache_no_acl(inode);
        }
    }
}

/// # Safety
///
/// As of [`set_attributes`].
pub(super) unsafe fn set_kind<T: FileSystem>(
    inode: *mut bindings::inode,
    kind: &InodeKind<T>,
    perm: u16,
    large_folios: bool,
) {
    let perm = perm & !mode::S_IFMT;
    // SAFETY: By the requirement of this function; the operations are those of the kind.
    unsafe {
        match kind {
            InodeKind::Directory(ops) => {
                (*inode).i_mode = perm | mode::S_IFDIR;
                (*inode).i_op = ops.inode;
                (*inode).__bindgen_anon_3.i_fop = ops.file;
            }
            InodeKind::Regular(ops, aops) => {
                (*inode).i_mode = perm | mode::S_IFREG;
                (*inode).i_op = ops.inode;
                (*inode).__bindgen_anon_3.i_fop = ops.file;
                (*inode).i_data.a_ops = aops.table;
                if large_folios {
                    bindings::kfs_mapping_set_large_folios(&raw mut (*inode).i_data);
                }
            }
            InodeKind::Symlink(ops) => {
                (*inode).i_mode = perm | mode::S_IFLNK;
                (*inode).i_op = ops.inode;
            }
            InodeKind::Fifo(ops) => special(inode, ops, perm | mode::S_IFIFO, 0),
            InodeKind::Socket(ops) => special(inode, ops, perm | mode::S_IFSOCK, 0),
            InodeKind::CharDevice(ops, dev) => {
                special(inode, ops, perm | mode::S_IFCHR, dev.into_raw())
            }
            InodeKind::BlockDevice(ops, dev) => {
                special(inode, ops, perm | mode::S_IFBLK, dev.into_raw())
            }
        }
    }
}

/// # Safety
///
/// As of [`set_attributes`].
unsafe fn special<T: FileSystem>(
    inode: *mut bindings::inode,
    ops: &SpecialOps<T>,
    mode: u16,
    dev: u32,
) {
    // SAFETY: By the requirement of this function.
    unsafe {
        (*inode).i_op = ops.inode;
        bindings::init_special_inode(inode, mode, dev);
    }
}

/// # Safety
///
/// Called by the inode hash for inodes of `T`, maybe dead ones within a grace period, and
/// with a pointer to a key.
pub(super) unsafe extern "C" fn test_key<T: FileSystem>(
    inode: *mut bindings::inode,
    key: *mut c_void,
) -> c_int {
    // SAFETY: Hashed inodes have their key until their memory is freed.
    let have = unsafe { &*InodeObject::<T>::key(inode) };
    // SAFETY: By the requirement of this function.
    let want = unsafe { &*key.cast::<T::InodeKey>() };
    (have == want).into()
}

/// # Safety
///
/// Called by the inode hash for a new inode of `T`, with a pointer to a key.
unsafe extern "C" fn set_key<T: FileSystem>(
    inode: *mut bindings::inode,
    key: *mut c_void,
) -> c_int {
    // SAFETY: By the requirement of this function.
    let key = unsafe { *key.cast::<T::InodeKey>() };
    // SAFETY: The inode is new, and only used by the caller.
    unsafe {
        InodeObject::<T>::key(inode).write(key);
        (*inode).i_ino = key.ino();
    }
    0
}
