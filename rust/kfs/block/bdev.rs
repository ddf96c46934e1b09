// SPDX-License-Identifier: GPL-2.0

//! Block devices.
//!
//! C header: [`include/linux/blkdev.h`](srctree/include/linux/blkdev.h)

use super::SECTOR_SIZE;
use crate::{bindings, mem::KBuf};
use core::{marker::PhantomData, ptr::NonNull};
use kernel::{
    error::to_result,
    fmt,
    prelude::*,
    str::CStr,
    sync::{
        atomic::{ordering::Relaxed, Atomic},
        Arc,
    },
};

/// Metadata, for the block layer's tracing and schedulers.
const META: u32 = 1 << bindings::req_flag_bits___REQ_META;

/// Number of a device, as `st_rdev` has it inside of the kernel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DevNum(u32);

impl DevNum {
    /// From the kernel's representation (12 bits of major, 20 of minor).
    pub const fn from_raw(dev: u32) -> Self {
        Self(dev)
    }

    /// The kernel's representation.
    pub const fn as_raw(self) -> u32 {
        self.0
    }

    /// Number of the driver.
    pub const fn major(self) -> u32 {
        self.0 >> 20
    }

    /// Number of the device within its driver.
    pub const fn minor(self) -> u32 {
        self.0 & 0xf_ffff
    }

    /// The device that the special file at `path` stands for, found in the mount namespace
    /// of this task. `ENOTBLK` if it is no block device, `EACCES` on a `nodev` mount.
    pub fn lookup(path: &CStr) -> Result<Self> {
        let mut dev = 0;
        // SAFETY: The path is a C string and `dev` a local variable.
        to_result(unsafe { bindings::lookup_bdev(path.as_char_ptr(), &mut dev) })?;
        Ok(Self(dev))
    }
}

impl core::fmt::Display for DevNum {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}:{}", self.major(), self.minor())
    }
}

// The macros of the kernel crate want its own trait.
impl fmt::Display for DevNum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}

/// What a device is opened for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenMode {
    /// Reading only.
    Read,
    /// Reading and writing; `EACCES` for a device that is read-only.
    ReadWrite,
}

/// The super block in whose name devices are claimed; see
/// [`SuperBlock::holder`](crate::fs::SuperBlock::holder).
///
/// What happens to a device reaches the file system: it is synced and frozen with the device, and
/// [`FileSystem::device_gone`](crate::fs::FileSystem::device_gone) hears that it went away.
///
/// # Invariants
///
/// Points to a super block that is valid for `'a`.
#[derive(Clone, Copy)]
pub struct Holder<'a> {
    sb: NonNull<bindings::super_block>,
    _p: PhantomData<&'a ()>,
}

impl Holder<'_> {
    /// # Safety
    ///
    /// The super block must be valid for the lifetime of the result.
    pub(crate) unsafe fn from_raw(sb: NonNull<bindings::super_block>) -> Self {
        // INVARIANT: As of this function.
        Self {
            sb,
            _p: PhantomData,
        }
    }
}

/// How a device is shared with other users.
#[derive(Clone, Copy)]
pub enum Claim<'a> {
    /// Not claimed: just looking.
    Shared,
    /// Nobody else may claim it, or mount it; `EBUSY` if somebody has, or if it is frozen.
    Exclusive(Holder<'a>),
}

/// What has become of a zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ZoneState {
    /// Written in any order.
    Conventional,
    /// Nothing has been written to it.
    Empty,
    /// Written up to some place.
    Open,
    /// Written to its end, or closed for good.
    Full,
}

/// A zone of a zoned device. Units are bytes.
#[derive(Clone, Copy, Debug)]
pub struct Zone {
    /// Where it begins.
    pub start: u64,
    /// How much can be written to it.
    pub capacity: u64,
    /// Where writing goes on; arbitrary unless the zone is open.
    pub written: u64,
    /// What has become of it.
    pub state: ZoneState,
}

impl Zone {
    fn from_raw(zone: &bindings::blk_zone) -> Self {
        let bytes = |sectors: u64| sectors.saturating_mul(SECTOR_SIZE as u64);
        let (kind, condition) = (u32::from(zone.type_), u32::from(zone.cond));
        let state = if kind == bindings::blk_zone_type_BLK_ZONE_TYPE_CONVENTIONAL {
            ZoneState::Conventional
        } else {
            match condition {
                bindings::blk_zone_cond_BLK_ZONE_COND_EMPTY => ZoneState::Empty,
                bindings::blk_zone_cond_BLK_ZONE_COND_IMP_OPEN
                | bindings::blk_zone_cond_BLK_ZONE_COND_EXP_OPEN
                | bindings::blk_zone_cond_BLK_ZONE_COND_CLOSED => ZoneState::Open,
                _ => ZoneState::Full,
            }
        };
        Self {
            start: bytes(zone.start),
            capacity: bytes(zone.capacity),
            written: bytes(zone.wp),
            state,
        }
    }
}

/// An open block device; closed when dropped.
///
/// # Invariants
///
/// `file` is an open block-device file that this value owns, `bdev` its device, which
/// stays valid as long as the file is open. If `holder` is set, the file was opened in its name:
/// the VFS has an entry for the pair, which keeps the memory of the super block.
pub struct BlockDevice {
    file: NonNull<bindings::file>,
    bdev: NonNull<bindings::block_device>,
    writable: Atomic<bool>,
    name: [u8; 32],
    holder: Option<NonNull<bindings::super_block>>,
}

// SAFETY: An open device can be used and closed from any thread.
unsafe impl Send for BlockDevice {}

// SAFETY: The block layer does the locking; nothing here changes the value itself.
unsafe impl Sync for BlockDevice {}

impl BlockDevice {
    /// Opens the device that the special file at `path` stands for.
    pub fn open_path(path: &CStr, mode: OpenMode, claim: Claim<'_>) -> Result<Arc<Self>> {
        Self::open_dev(DevNum::lookup(path)?, mode, claim)
    }

    /// Opens the device with this number. `ENXIO` or `ENODEV` if there is none.
    pub fn open_dev(dev: DevNum, mode: OpenMode, claim: Claim<'_>) -> Result<Arc<Self>> {
        let mut flags = bindings::BLK_OPEN_READ;
        if mode == OpenMode::ReadWrite {
            flags |= bindings::BLK_OPEN_WRITE;
        }
        let holder = match claim {
            Claim::Shared => None,
            Claim::Exclusive(holder) => {
                flags |= bindings::BLK_OPEN_RESTRICT_WRITES;
                Some(holder.sb)
            }
        };
        let file = match holder {
            // SAFETY: The super block is valid; the file is given back in its name.
            Some(sb) => unsafe {
                let token = sb.as_ptr().cast();
                bindings::fs_bdev_file_open_by_dev(dev.0, flags, token, sb.as_ptr())
            },
            // SAFETY: No holder, and so no holder operations.
            None => unsafe {
                let none = core::ptr::null_mut();
                bindings::bdev_file_open_by_dev(dev.0, flags, none, core::ptr::null())
            },
        };
        let file = kernel::error::from_err_ptr(file)?;
        let file = NonNull::new(file).ok_or(ENODEV)?;
        // SAFETY: An open block-device file.
        let bdev = unsafe { bindings::file_bdev(file.as_ptr()) };
        let mut name = [0; 32];
        // SAFETY: The device is open, and `name` has the size that is passed.
        unsafe { bindings::kfs_bdevname(bdev, name.as_mut_ptr().cast(), name.len()) };
        // INVARIANT: Just opened; closed by `drop` even if the next lines fail.
        let this = Self {
            file,
            bdev: NonNull::new(bdev).ok_or(ENODEV)?,
            writable: Atomic::new(mode == OpenMode::ReadWrite),
            name,
            holder,
        };
        if mode == OpenMode::ReadWrite && this.is_read_only() {
            return Err(EACCES);
        }
        Ok(Arc::new(this, GFP_KERNEL)?)
    }

    pub(crate) fn as_raw(&self) -> *mut bindings::block_device {
        self.bdev.as_ptr()
    }

    /// Number of the device.
    pub fn dev(&self) -> DevNum {
        // SAFETY: By the type invariant the device is valid; the number never changes.
        DevNum(unsafe { (*self.as_raw()).bd_dev })
    }

    /// Name of the device without a directory, as in `sda1`.
    pub fn name(&self) -> &str {
        CStr::from_bytes_until_nul(&self.name)
            .ok()
            .and_then(|name| name.to_str().ok())
            .unwrap_or("?")
    }

    /// What it may be used for.
    pub fn mode(&self) -> OpenMode {
        match self.writable.load(Relaxed) {
            true => OpenMode::ReadWrite,
            false => OpenMode::Read,
        }
    }

    /// From now on it may be written, although it was opened for reading: what a remount does.
    /// `EACCES` for a device that is read-only.
    ///
    /// The block layer looks at the mode when a device is opened, and at the device itself when
    /// it is written.
    pub fn allow_writes(&self) -> Result {
        if self.is_read_only() {
            return Err(EACCES);
        }
        self.writable.store(true, Relaxed);
        Ok(())
    }

    /// Its size in bytes, now.
    pub fn size(&self) -> u64 {
        // SAFETY: By the type invariant the device is valid.
        let bytes = unsafe { bindings::kfs_bdev_nr_bytes(self.as_raw()) };
        u64::try_from(bytes).unwrap_or(0)
    }

    /// The smallest unit of I/O, in bytes: a power of two, 512 or more.
    pub fn logical_block_size(&self) -> u32 {
        // SAFETY: By the type invariant the device is valid.
        unsafe { bindings::kfs_bdev_logical_block_size(self.as_raw()) }
    }

    /// Whether the device (or its driver) refuses writes.
    pub fn is_read_only(&self) -> bool {
        // SAFETY: By the type invariant the device is valid.
        unsafe { bindings::kfs_bdev_read_only(self.as_raw()) }
    }

    /// Whether it has no moving parts.
    pub fn is_non_rotational(&self) -> bool {
        // SAFETY: By the type invariant the device is valid.
        unsafe { bindings::kfs_bdev_nonrot(self.as_raw()) }
    }

    /// Whether it is divided into zones that are written in order.
    pub fn is_zoned(&self) -> bool {
        // SAFETY: By the type invariant the device is valid.
        unsafe { bindings::kfs_bdev_zoned(self.as_raw()) }
    }

    /// The zones from the one that begins at byte `pos` on. `ENXIO` if there are fewer,
    /// `EOPNOTSUPP` if the device is not zoned.
    pub fn zones<const N: usize>(&self, pos: u64) -> Result<[Zone; N]> {
        let sector = pos / SECTOR_SIZE as u64;
        let mut zones = [bindings::blk_zone::default(); N];
        // SAFETY: By the type invariant the device is valid; there is room for that many zones.
        let found = unsafe {
            bindings::kfs_bdev_report_zones(
                self.as_raw(),
                sector,
                u32::try_from(N)?,
                zones.as_mut_ptr(),
            )
        };
        if found < 0 {
            return Err(Error::from_errno(found));
        }
        match usize::try_from(found)? {
            found if found == N => Ok(zones.each_ref().map(Zone::from_raw)),
            _ => Err(ENXIO),
        }
    }

    /// Whether it can discard.
    pub fn can_discard(&self) -> bool {
        // SAFETY: By the type invariant the device is valid.
        unsafe { bindings::kfs_bdev_max_discard_sectors(self.as_raw()) != 0 }
    }

    /// Writes out and forgets what the device's own page cache has, so that reads of the
    /// device see what was written through its special file.
    pub fn sync_cache(&self) -> Result {
        // SAFETY: By the type invariant the device is valid.
        to_result(unsafe { bindings::sync_blockdev(self.as_raw()) })?;
        // SAFETY: As above.
        unsafe { bindings::invalidate_bdev(self.as_raw()) };
        Ok(())
    }

    /// Forgets what the device's own page cache has of `len` bytes at `pos`, unless it is dirty
    /// or in use: after writing them, so that readers of the special file see what was written.
    pub fn forget_cached(&self, pos: u64, len: usize) {
        let Some(last) = u64::try_from(len)
            .ok()
            .and_then(|len| pos.checked_add(len)?.checked_sub(1))
        else {
            return;
        };
        // SAFETY: By the type invariant the device is valid.
        unsafe { bindings::kfs_bdev_forget(self.as_raw(), pos, last) };
    }

    /// Reads `buf.len()` bytes at byte `pos` and waits. Position and length are multiples of
    /// the logical block size (`EINVAL`) and inside of the device (`ENXIO`).
    pub fn read_sync(&self, pos: u64, buf: &mut KBuf) -> Result {
        self.check_range(pos, buf.len())?;
        // SAFETY: The buffer is kernel memory of that length, aligned to a page, and borrowed
        // exclusively until the read is done.
        to_result(unsafe {
            bindings::kfs_bdev_rw(
                self.as_raw(),
                pos,
                buf.as_raw().cast(),
                buf.len(),
                bindings::req_op_REQ_OP_READ | META,
            )
        })
    }

    /// Writes `buf` at byte `pos` and waits; conditions as for [`read_sync`](Self::read_sync),
    /// and `EROFS` on a device that was not opened for writing. Not a flush.
    pub fn write_sync(&self, pos: u64, buf: &KBuf) -> Result {
        self.check_range(pos, buf.len())?;
        self.check_writable()?;
        // SAFETY: The buffer is kernel memory of that length, aligned to a page, and borrowed
        // until the write is done; a write only reads it.
        to_result(unsafe {
            bindings::kfs_bdev_rw(
                self.as_raw(),
                pos,
                buf.as_raw().cast(),
                buf.len(),
                bindings::req_op_REQ_OP_WRITE | META,
            )
        })
    }

    /// Makes what was written before durable.
    pub fn flush(&self) -> Result {
        // SAFETY: By the type invariant the device is valid.
        to_result(unsafe { bindings::blkdev_issue_flush(self.as_raw()) })
    }

    /// Tells the device that the content of `len` bytes at `pos` is no longer needed; both
    /// are multiples of the logical block size. `EOPNOTSUPP` if it cannot.
    pub fn discard(&self, pos: u64, len: u64) -> Result {
        self.check_writable()?;
        let block = u64::from(self.logical_block_size());
        if (pos | len) % block != 0 {
            return Err(EINVAL);
        }
        let sector = SECTOR_SIZE as u64;
        // SAFETY: By the type invariant the device is valid.
        to_result(unsafe {
            bindings::blkdev_issue_discard(
                self.as_raw(),
                pos / sector,
                len / sector,
                bindings::GFP_NOFS,
            )
        })
    }

    /// Whether `len` bytes at `pos` can be transferred.
    pub(super) fn check_range(&self, pos: u64, len: usize) -> Result {
        let len = u64::try_from(len)?;
        let block = u64::from(self.logical_block_size());
        if len == 0 || (pos | len) % block != 0 {
            return Err(EINVAL);
        }
        match pos.checked_add(len) {
            Some(end) if end <= self.size() => Ok(()),
            _ => Err(ENXIO),
        }
    }

    pub(super) fn check_writable(&self) -> Result {
        match self.mode() {
            OpenMode::Read => Err(EROFS),
            OpenMode::ReadWrite => Ok(()),
        }
    }
}

impl Drop for BlockDevice {
    fn drop(&mut self) {
        match self.holder {
            // SAFETY: By the type invariant the file is open and owned, and was opened in the name
            // of this super block, whose memory is there; no I/O is in flight, because requests
            // hold a reference.
            Some(sb) => unsafe {
                bindings::fs_bdev_file_release(self.file.as_ptr(), sb.as_ptr());
            },
            // SAFETY: As above, without a holder.
            None => unsafe { bindings::bdev_fput(self.file.as_ptr()) },
        }
    }
}
