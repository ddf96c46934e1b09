// SPDX-License-Identifier: GPL-2.0

//! Super blocks, and the trait that makes a file system.

use super::{
    context::FsContext,
    export::ExportOps,
    inode::INode,
    new_inode::{InodeEntry, NewInode},
    params::{Param, Params},
    registration::FsFlags,
    stat::StatFs,
    types::{DeviceNumber, Timespec},
    xattr::XattrHandlers,
};
use crate::{
    bindings,
    block::{DevNum, Holder},
    kthread::{KThread, Stop},
};
use core::{cell::UnsafeCell, marker::PhantomData, ptr::NonNull};
use kernel::{
    error::VTABLE_DEFAULT_ERROR,
    prelude::*,
    seq_file::SeqFile,
    str::CString,
    sync::{aref::ARef, new_mutex, Arc, ArcBorrow, Mutex},
    types::{NotThreadSafe, Opaque},
};

/// What identifies an inode within its super block.
pub trait InodeKey: Copy + Eq + Send + Sync + 'static {
    /// The inode number that user space sees.
    fn ino(&self) -> u64;

    /// A hash that tells inodes apart better than the number does where numbers repeat,
    /// as in subvolumes.
    fn hash(&self) -> u64 {
        self.ino()
    }
}

/// A file system.
#[vtable]
pub trait FileSystem: Sized + Send + Sync + 'static {
    /// The options of a mount or remount under way.
    type Context: Send + Sync;
    /// What tells one file system of this type from another, before it is open.
    ///
    /// Compared under a spinlock: the comparison must not sleep.
    type Key: PartialEq + Send + Sync;
    /// The data of a mounted file system.
    type Super: Send + Sync;
    /// What identifies an inode.
    type InodeKey: InodeKey;
    /// The data of an inode. It lives in one allocation with the C inode and is dropped
    /// in process context.
    type InodeData: Send + Sync;

    /// The name of the type, as `mount -t` wants it.
    const NAME: &'static CStr;
    /// Properties of the type.
    const FLAGS: FsFlags;
    /// The mount options.
    const PARAMS: Params;

    /// The name of the thread that runs [`Self::background`].
    const THREAD: &'static CStr = c"fs-background";

    /// Starts a context: the options with their defaults or, for a remount, those of the mount
    /// whose root is `root`.
    fn init_context(cx: &FsContext, root: Option<&INode<Self>>) -> Result<Self::Context>;

    /// Takes in one option.
    fn parse_param(options: &mut Self::Context, cx: &FsContext, param: &Param<'_>) -> Result;

    /// Finds out which file system the context means. May change the flags of the context.
    fn super_key(options: &mut Self::Context, cx: &FsContext) -> Result<Self::Key>;

    /// Opens the file system, and sets the properties of its super block.
    ///
    /// `sb` already has a backing device info.
    fn fill_super(
        sb: &SuperBlock<Self, New>,
        key: &Self::Key,
        options: &mut Self::Context,
        cx: &FsContext,
    ) -> Result<Arc<Self::Super>>;

    /// Reads the root directory of the super block.
    fn root(sb: &SuperBlock<Self>) -> Result<ARef<INode<Self>>>;

    /// Which directory below the root becomes the root of this mount: a path without
    /// leading slash. `None` mounts the root itself.
    fn subtree(
        _sb: &SuperBlock<Self>,
        _options: &mut Self::Context,
        _cx: &FsContext,
    ) -> Result<Option<CString>> {
        Ok(None)
    }

    /// Checks that the directory found for the path of [`Self::subtree`] may be mounted.
    fn check_subtree(
        _sb: &SuperBlock<Self>,
        _root: &INode<Self>,
        _path: &CStr,
        _options: &mut Self::Context,
        _cx: &FsContext,
    ) -> Result {
        Ok(())
    }

    /// A mount with the root directory `root` succeeds: what its options say of that root takes
    /// effect. The super block is locked (`s_umount`).
    ///
    /// The VFS may still give the mount up afterwards, which nobody is told of.
    fn attach(
        _sb: &SuperBlock<Self>,
        _root: &INode<Self>,
        _options: &mut Self::Context,
        _cx: &FsContext,
    ) -> Result {
        Ok(())
    }

    /// Changes the options of a mounted file system; `root` is the root of the mount that they were
    /// given for.
    ///
    /// `cx.sb_flags()` are the flags to be, `sb.flags()` those that are; the latter change
    /// after success. Also called, without a root, when a writable mount finds the super block
    /// read-only.
    fn reconfigure(
        sb: &SuperBlock<Self>,
        root: Option<&INode<Self>>,
        options: &mut Self::Context,
        cx: &FsContext,
    ) -> Result;

    /// Closes the file system: gives up every inode reference it still holds, and waits for
    /// whatever else keeps its data or its devices. The data is dropped right afterwards.
    fn put_super(_sb: &SuperBlock<Self>) {}

    /// Reports usage of the file system that `root` is in.
    fn statfs(root: &INode<Self>) -> Result<StatFs>;

    /// Prints the options for `/proc/mounts`, each with a leading comma. `root` is the root
    /// of the mount.
    fn show_options(_sb: &SuperBlock<Self>, _root: &INode<Self>, _m: &SeqFile) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Prints the device for `/proc/mounts`; see [`seq_escape`](super::seq_escape).
    fn show_devname(_sb: &SuperBlock<Self>, _m: &SeqFile) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Prints for `/proc/PID/mountstats`.
    fn show_stats(_sb: &SuperBlock<Self>, _m: &SeqFile) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Writes everything back; without `wait`, only starts to.
    fn sync_fs(_sb: &SuperBlock<Self>, _wait: bool) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes the file system on disk consistent; no write is under way.
    fn freeze(_sb: &SuperBlock<Self>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Ends a freeze.
    fn unfreeze(_sb: &SuperBlock<Self>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Writes the attributes of a dirty inode into the file system's structures; with `sync`,
    /// durably.
    fn write_inode(_inode: &INode<Self>, _sync: bool) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The file system is cut off: from now on nothing may be written, and operations fail.
    fn shutdown(_sb: &SuperBlock<Self>) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// A block device that is claimed in the name of `sb` went away: nothing can be read from it or
    /// written to it any more. `Ok` if the file system goes on without it. On an error, which says
    /// nothing more, everything that can be is written out and [`Self::shutdown`] follows.
    ///
    /// Without this operation the loss of any device ends in a shutdown.
    fn device_gone(_sb: &SuperBlock<Self>, _dev: DevNum) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Does what is to be done in the background until `stop` says that this is to end, soon after it
    /// says so; see [`SuperBlock::try_hold`].
    fn background(_sb: &SuperBlock<Self>, _stop: &Stop) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Called when an inode is about to leave memory, before its page cache is dropped. Nothing of it
    /// is under writeback.
    fn leave(_inode: &INode<Self>) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Called when an inode leaves memory, after its page cache was dropped.
    fn evict(_inode: &INode<Self>) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Whether an unused inode leaves memory at once, besides unlinked ones. Called under the
    /// inode's spinlock.
    fn drop_inode(_inode: &INode<Self>) -> bool {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// Flags of a super block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SbFlags(u64);

impl SbFlags {
    /// Read-only.
    pub const RDONLY: Self = Self(bindings::SB_RDONLY as u64);
    /// Every write is synchronous.
    pub const SYNCHRONOUS: Self = Self(bindings::SB_SYNCHRONOUS as u64);
    /// POSIX ACLs are in use.
    pub const POSIXACL: Self = Self(bindings::SB_POSIXACL as u64);
    /// Inodes have a version counter.
    pub const I_VERSION: Self = Self(bindings::SB_I_VERSION as u64);
    /// Access times are not updated.
    pub const NOATIME: Self = Self(bindings::SB_NOATIME as u64);
    /// Times are written lazily.
    pub const LAZYTIME: Self = Self(bindings::SB_LAZYTIME as u64);
    /// Inodes are known to have no security attribute to look for.
    pub const NOSEC: Self = Self(bindings::SB_NOSEC as u64);
    /// It is mounted, and not being unmounted.
    pub(super) const ACTIVE: Self = Self(bindings::SB_ACTIVE as u64);
    /// No messages.
    pub const SILENT: Self = Self(bindings::SB_SILENT as u64);
    /// None.
    pub const NONE: Self = Self(0);

    pub(crate) fn from_raw(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits that fit into a context, which are all but internal ones.
    pub(crate) fn low(self) -> u32 {
        u32::try_from(self.0 & u64::from(u32::MAX)).unwrap_or(0)
    }

    /// Whether all of `other` are set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl core::ops::BitOr for SbFlags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// State of a [`SuperBlock`] whose data does not exist yet.
pub struct New;
/// State of a [`SuperBlock`] with data.
pub struct Ready;

/// What `s_fs_info` points to, from the moment a super block is published.
pub(super) struct SuperInfo<T: FileSystem> {
    pub(super) key: T::Key,
    /// Written once, while only the mounter uses the super block; then immutable, until the
    /// file system is closed.
    pub(super) data: UnsafeCell<Option<Arc<T::Super>>>,
    /// Set by the mounter, taken by who shuts the file system down.
    pub(super) thread: UnsafeCell<Option<KThread>>,
    pub(super) weak: Arc<WeakSuper>,
}

impl<T: FileSystem> Drop for SuperInfo<T> {
    fn drop(&mut self) {
        // Of a mount that failed, or already closed.
        self.weak.close();
    }
}

/// A way to a super block for who does not keep it mounted.
///
/// # Invariants
///
/// If `sb` is set, the super block exists: it is unset by [`SuperInfo`]'s end at the latest, which is
/// before the super block's.
#[pin_data]
pub struct WeakSuper {
    #[pin]
    sb: Mutex<Option<NonNull<bindings::super_block>>>,
}

// SAFETY: The pointer is only used as the invariant allows, and calls synchronise by themselves.
unsafe impl Send for WeakSuper {}
// SAFETY: As above.
unsafe impl Sync for WeakSuper {}

impl WeakSuper {
    /// A way to none yet.
    pub(super) fn new() -> Result<Arc<Self>> {
        let init = pin_init!(Self { sb <- new_mutex!(None, "kfs-weak-super") });
        Arc::pin_init(init, GFP_KERNEL)
    }

    /// # Safety
    ///
    /// The super block's information must have `self`.
    pub(super) unsafe fn open(&self, sb: *mut bindings::super_block) {
        *self.sb.lock() = NonNull::new(sb);
    }

    /// From now on it leads nowhere.
    pub(super) fn close(&self) {
        *self.sb.lock() = None;
    }

    /// Writes out all dirty data of the file system and waits for it; unless it is being mounted,
    /// unmounted, remounted or frozen, which is the meaning of `false`. Sleeps.
    pub fn try_sync_inodes(&self) -> bool {
        let sb = self.sb.lock();
        let Some(found) = *sb else {
            return false;
        };
        // SAFETY: The super block exists as long as the lock is held, by the type invariant.
        if unsafe { bindings::down_read_trylock(&raw mut (*found.as_ptr()).s_umount) } == 0 {
            return false;
        }
        drop(sb);
        let sb = found.as_ptr();
        // SAFETY: Whoever closes a super block holds `s_umount` for that, so it exists and stays as
        // it is until we let go; the flags are read as a whole.
        unsafe {
            let flags = core::ptr::read_volatile(&raw const (*sb).s_flags);
            let active = flags & bindings::SB_ACTIVE as c_ulong != 0 && !(*sb).s_root.is_null();
            if active {
                bindings::sync_inodes_sb(sb);
            }
            bindings::up_read(&raw mut (*sb).s_umount);
            active
        }
    }
}

/// A super block of the file system `T`.
///
/// # Invariants
///
/// Points to a super block whose `s_fs_info` is a [`SuperInfo<T>`]; in the state
/// [`Ready`] its `data` is set and does not change.
#[repr(transparent)]
pub struct SuperBlock<T: FileSystem, S = Ready>(Opaque<bindings::super_block>, PhantomData<(T, S)>);

// SAFETY: What shared references allow is reads of constant fields, and calls that
// synchronise by themselves. A super block in the state `New` is not shared, see below.
unsafe impl<T: FileSystem> Sync for SuperBlock<T, Ready> {}

impl<T: FileSystem, S> SuperBlock<T, S> {
    /// # Safety
    ///
    /// `sb` must fulfil the invariants of the type for `'a`.
    pub(crate) unsafe fn from_raw<'a>(sb: *mut bindings::super_block) -> &'a Self {
        // SAFETY: The type is transparent; the rest is the caller's duty.
        unsafe { &*sb.cast() }
    }

    pub(crate) fn as_raw(&self) -> *mut bindings::super_block {
        self.0.get()
    }

    /// In whose name the file system claims its devices.
    pub fn holder(&self) -> Holder<'_> {
        // SAFETY: By the type invariant the super block is valid, and as long as it is borrowed.
        unsafe { Holder::from_raw(NonNull::new_unchecked(self.as_raw())) }
    }

    /// The current flags.
    pub fn flags(&self) -> SbFlags {
        // SAFETY: Valid by the type invariant. Written with `WRITE_ONCE` by the VFS.
        let flags = unsafe { core::ptr::read_volatile(&raw const (*self.as_raw()).s_flags) };
        SbFlags(flags as u64)
    }

    /// Whether the super block is read-only.
    pub fn is_rdonly(&self) -> bool {
        self.flags().contains(SbFlags::RDONLY)
    }

    /// The anonymous device number of the super block.
    pub fn dev(&self) -> DeviceNumber {
        // SAFETY: Valid by the type invariant; constant.
        DeviceNumber::from_raw(unsafe { (*self.as_raw()).s_dev })
    }

    fn info(&self) -> &SuperInfo<T> {
        // SAFETY: By the type invariant.
        unsafe { &*(*self.as_raw()).s_fs_info.cast::<SuperInfo<T>>() }
    }

    /// The key by which the super block was found or made.
    pub fn key(&self) -> &T::Key {
        &self.info().key
    }
}

impl<T: FileSystem> SuperBlock<T, New> {
    /// Sets the magic number, `f_type` of `statfs`.
    pub fn set_magic(&self, magic: u32) {
        // SAFETY: Valid; in this state only the mounter uses the super block.
        unsafe { (*self.as_raw()).s_magic = magic as c_ulong };
    }

    /// Sets the block size, in bits; between 9 and 16 here.
    ///
    /// # Errors
    ///
    /// `EINVAL` outside of that.
    pub fn set_blocksize_bits(&self, bits: u8) -> Result {
        if !(9..=16).contains(&bits) {
            return Err(EINVAL);
        }
        // SAFETY: Valid; in this state only the mounter uses the super block.
        unsafe {
            (*self.as_raw()).s_blocksize_bits = bits;
            (*self.as_raw()).s_blocksize = 1 << bits;
        }
        Ok(())
    }

    /// Sets the largest size of a file, in bytes; the default is the largest possible.
    // The limit of the page cache is lower on 32-bit machines.
    #[allow(clippy::unnecessary_min_or_max)]
    pub fn set_maxbytes(&self, bytes: i64) {
        let bytes = bytes.min(bindings::MAX_LFS_FILESIZE);
        // SAFETY: Valid; in this state only the mounter uses the super block.
        unsafe { (*self.as_raw()).s_maxbytes = bytes };
    }

    /// Sets the granularity of time stamps (ns) and their range (s).
    pub fn set_times(&self, gran: u32, min: Timespec, max: Timespec) {
        // SAFETY: Valid; in this state only the mounter uses the super block.
        unsafe {
            (*self.as_raw()).s_time_gran = gran;
            (*self.as_raw()).s_time_min = min.sec;
            (*self.as_raw()).s_time_max = max.sec;
        }
    }

    /// Sets the UUID that `FS_IOC_GETFSUUID` and integrity modules see.
    pub fn set_uuid(&self, uuid: &[u8; 16]) {
        // SAFETY: Both are valid; the length is that of the array.
        unsafe { bindings::kfs_super_set_uuid(self.as_raw(), uuid.as_ptr(), 16) };
    }

    /// Sets the name used in messages, for example that of the device. Cut after 31 bytes.
    pub fn set_id(&self, id: &[u8]) {
        let mut name = [0; 32];
        for (to, from) in name.iter_mut().take(31).zip(id) {
            *to = *from;
        }
        // SAFETY: Valid; in this state only the mounter uses the super block.
        unsafe { (*self.as_raw()).s_id = name };
    }

    /// Sets flags.
    pub fn set_flags(&self, flags: SbFlags) {
        // SAFETY: Valid; in this state only the mounter uses the super block.
        unsafe { (*self.as_raw()).s_flags |= flags.0 as c_ulong };
    }

    /// Sets what handles extended attributes.
    pub fn set_xattr_handlers(&self, handlers: XattrHandlers<T>) {
        // SAFETY: Valid; in this state only the mounter uses the super block.
        unsafe { (*self.as_raw()).s_xattr = handlers.as_raw() };
    }

    /// Sets what makes and reads file handles.
    pub fn set_export_ops(&self, ops: ExportOps<T>) {
        // SAFETY: Valid; in this state only the mounter uses the super block.
        unsafe { (*self.as_raw()).s_export_op = ops.as_raw() };
    }

    /// Sets how far readahead goes, in bytes.
    pub fn set_readahead(&self, bytes: usize) {
        let pages = bytes / kernel::page::PAGE_SIZE;
        // SAFETY: The super block has its own backing device info, which nobody uses yet.
        unsafe { (*(*self.as_raw()).s_bdi).ra_pages = pages };
    }

    /// The readahead window in bytes.
    pub fn readahead(&self) -> usize {
        // SAFETY: The super block has its own backing device info.
        let pages = unsafe { (*(*self.as_raw()).s_bdi).ra_pages };
        pages * kernel::page::PAGE_SIZE
    }
}

impl<T: FileSystem> SuperBlock<T, Ready> {
    fn arc(&self) -> &Arc<T::Super> {
        // SAFETY: Set, and not changed any more, by the type invariant.
        unsafe { (*self.info().data.get()).as_ref().unwrap_unchecked() }
    }

    /// The data of the file system.
    pub fn data(&self) -> &T::Super {
        self.arc()
    }

    /// A way to it that does not keep it mounted.
    pub fn weak(&self) -> Arc<WeakSuper> {
        self.info().weak.clone()
    }

    /// The data of the file system, for taking a reference.
    pub fn data_arc(&self) -> ArcBorrow<'_, T::Super> {
        self.arc().as_arc_borrow()
    }

    /// The inode of `key`: from memory or, where there is none, a new one to be filled in.
    ///
    /// Waits while another task fills it in.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn get_or_create_inode(&self, key: T::InodeKey) -> Result<InodeEntry<T>> {
        NewInode::get_or_create(self, key)
    }

    /// The inode of `key`, if it is in memory.
    pub fn find_inode(&self, key: T::InodeKey) -> Option<ARef<INode<T>>> {
        NewInode::find(self, key)
    }

    /// Turns POSIX ACLs on or off, for a remount.
    pub fn set_posixacl(&self, on: bool) {
        let bit = bindings::SB_POSIXACL;
        // SAFETY: Valid by the type invariant; the flags are a word that is read and
        // written whole, and changed under `s_umount` only, which a remount holds.
        unsafe {
            let flags = &raw mut (*self.as_raw()).s_flags;
            let old = core::ptr::read_volatile(flags);
            core::ptr::write_volatile(flags, if on { old | bit } else { old & !bit });
        }
    }

    /// Writes out all dirty data and waits for it. Sleeps; must not be called with any lock of the
    /// file system.
    pub fn sync_inodes(&self) {
        // SAFETY: Valid by the type invariant; whoever has a reference to it keeps it mounted or is
        // mounting it. `s_umount` is what `sync_inodes_sb` wants to be held.
        unsafe {
            bindings::down_read(&raw mut (*self.as_raw()).s_umount);
            bindings::sync_inodes_sb(self.as_raw());
            bindings::up_read(&raw mut (*self.as_raw()).s_umount);
        }
    }

    /// As [`sync_inodes`](Self::sync_inodes), for a remount, which holds `s_umount` already.
    pub fn sync_inodes_for_remount(&self) {
        // SAFETY: Valid by the type invariant. Outside of a remount the kernel would warn that
        // `s_umount` is not held, and no more.
        unsafe { bindings::sync_inodes_sb(self.as_raw()) };
    }

    /// Sets or clears the read-only flag; the caller is the remount or the error handling of
    /// the file system.
    pub fn set_rdonly(&self, on: bool) {
        let bit = bindings::SB_RDONLY;
        // SAFETY: As in `set_posixacl`; an error may turn the file system read-only at any time,
        // which the C file systems do in the same way.
        unsafe {
            let flags = &raw mut (*self.as_raw()).s_flags;
            let old = core::ptr::read_volatile(flags);
            core::ptr::write_volatile(flags, if on { old | bit } else { old & !bit });
        }
    }

    /// Keeps the file system from being frozen while something is changed that no system call
    /// waits for, for example by a worker. Waits while it is frozen.
    pub fn start_internal_write(&self) -> InternalWrite<'_, T> {
        // SAFETY: Valid by the type invariant.
        unsafe { bindings::kfs_sb_start_intwrite(self.as_raw()) };
        InternalWrite {
            sb: self,
            _task: NotThreadSafe,
        }
    }

    /// As [`Self::start_internal_write`], unless the file system is frozen or will be.
    pub fn try_start_internal_write(&self) -> Option<InternalWrite<'_, T>> {
        // SAFETY: Valid by the type invariant.
        let started = unsafe { bindings::kfs_sb_start_intwrite_trylock(self.as_raw()) };
        started.then(|| InternalWrite {
            sb: self,
            _task: NotThreadSafe,
        })
    }

    /// The root directory of the super block.
    pub fn root_inode(&self) -> Option<&INode<T>> {
        // SAFETY: Valid by the type invariant. The root is set during mount and stays until
        // the last inode is gone.
        let root = unsafe { (*self.as_raw()).s_root };
        if root.is_null() {
            return None;
        }
        // SAFETY: The root dentry is positive; its inode was initialised.
        Some(unsafe { INode::from_raw((*root).d_inode) })
    }
}

/// Keeps a file system from being frozen; see [`SuperBlock::start_internal_write`].
#[must_use = "the file system may be frozen when this is dropped"]
pub struct InternalWrite<'a, T: FileSystem> {
    sb: &'a SuperBlock<T>,
    _task: NotThreadSafe,
}

impl<T: FileSystem> Drop for InternalWrite<'_, T> {
    fn drop(&mut self) {
        // SAFETY: Begun when this was made, by the same task.
        unsafe { bindings::kfs_sb_end_intwrite(self.sb.as_raw()) };
    }
}
