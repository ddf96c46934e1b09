// SPDX-License-Identifier: GPL-2.0

//! The file system type and its super blocks.

use btrfs_format::superblock::CompatRo;
use btrfs_format::types::{TreeId, NAME_MAX};
use core::fmt::{self, Write};
use kernel::prelude::*;
use kernel::seq_file::{seq_print, SeqFile};
use kernel::str::CString;
use kernel::sync::{aref::ARef, Arc};
use kfs::block::DevNum;
use kfs::fs::{
    seq_escape, FileSystem, FsContext, FsFlags, New, Param, Params, SbFlags, StatFs, SuperBlock,
    WeakSuper,
};
use kfs::kthread::Stop;

use super::{export_ops, verity_ops, xattr_handlers, Btrfs, BtrfsInode, BtrfsSuper};
use crate::data::autodefrag;
use crate::inode::{load, orphan, store, Inode, InodeKey};
use crate::mount::{self, Fs, MountContext};
use crate::space::statfs;
use crate::sysfs;
use crate::txn::DelayedData;
use crate::volume::registry::EntryId;
use crate::volume::Device;

/// `f_type` of `statfs`: `BTRFS_SUPER_MAGIC`.
const MAGIC: u32 = 0x9123_683e;

/// Readahead reaches at least this far, bytes.
const LEAST_READAHEAD: usize = 4 << 20;

/// And no further than this, however many devices there are, bytes.
const MOST_READAHEAD: usize = 64 << 20;

#[vtable]
impl FileSystem for Btrfs {
    type Context = MountContext;
    type Key = EntryId;
    type Super = Fs;
    type InodeKey = InodeKey;
    type InodeData = Inode;

    const NAME: &'static CStr = c"btrfs";
    const FLAGS: FsFlags = FsFlags::REQUIRES_DEV
        .or(FsFlags::BINARY_MOUNTDATA)
        .or(FsFlags::ALLOW_IDMAP)
        .or(FsFlags::MGTIME);
    const PARAMS: Params = mount::PARAMS;
    const THREAD: &'static CStr = c"btrfs-cleaner";

    fn init_context(cx: &FsContext, root: Option<&BtrfsInode>) -> Result<MountContext> {
        Ok(MountContext::new(cx, root))
    }

    fn parse_param(cx: &mut MountContext, fc: &FsContext, param: &Param<'_>) -> Result {
        cx.parse(fc, param)
    }

    fn super_key(cx: &mut MountContext, fc: &FsContext) -> Result<EntryId> {
        cx.find(fc)
    }

    fn fill_super(
        sb: &SuperBlock<Self, New>,
        _key: &EntryId,
        cx: &mut MountContext,
        fc: &FsContext,
    ) -> Result<Arc<Fs>> {
        let found = cx.take_found().ok_or(EINVAL)?;
        let fs = mount::open(&found, sb.holder(), cx.options, !fc.is_rdonly())?;
        let superblock = fs.volume().superblock();
        let devices = fs.volume().devices()?.len();
        let bits = u8::try_from(superblock.sectorsize.get().trailing_zeros())?;
        sb.set_magic(MAGIC);
        sb.set_blocksize_bits(bits)?;
        let identity = fs.volume().identity();
        sb.set_uuid(&match identity.temp_fsid {
            true => superblock.fsid.get(),
            false => identity.fsid.get(),
        });
        sb.set_id(fs.log().name().as_bytes());
        sb.set_xattr_handlers(xattr_handlers());
        sb.set_export_ops(export_ops());
        sb.set_verity_ops(verity_ops());
        let window = sb.readahead().saturating_mul(devices);
        sb.set_readahead(window.clamp(LEAST_READAHEAD, MOST_READAHEAD));
        fs.clear_one_shot_options();
        Ok(fs)
    }

    fn root(sb: &BtrfsSuper) -> Result<ARef<BtrfsInode>> {
        sysfs::add(sb).inspect_err(|e| {
            sb.data().log().error(format_args!(
                "failed to init sysfs interface: {}",
                e.to_errno()
            ));
        })?;
        let delayed = Arc::new(Delayed(sb.weak()), GFP_KERNEL)?;
        sb.data().txn().set_delayed_data(Some(delayed));
        let root = load::get_root(sb, TreeId::FS_TREE)?;
        // The last step, as `put_super` ends them.
        sb.data().begin_workers()?;
        Ok(root)
    }

    fn subtree(sb: &BtrfsSuper, cx: &mut MountContext, _fc: &FsContext) -> Result<Option<CString>> {
        cx.subtree(sb)
    }

    fn check_subtree(
        sb: &BtrfsSuper,
        root: &BtrfsInode,
        path: &CStr,
        cx: &mut MountContext,
        _fc: &FsContext,
    ) -> Result {
        cx.check_subtree(sb, root, path)
    }

    fn attach(
        sb: &BtrfsSuper,
        root: &BtrfsInode,
        cx: &mut MountContext,
        _fc: &FsContext,
    ) -> Result {
        cx.attach(sb, root)
    }

    fn reconfigure(
        sb: &BtrfsSuper,
        root: Option<&BtrfsInode>,
        cx: &mut MountContext,
        fc: &FsContext,
    ) -> Result {
        cx.reconfigure(sb, root, fc)
    }

    fn put_super(sb: &BtrfsSuper) {
        let fs = sb.data();
        fs.txn().set_delayed_data(None);
        // After an abort the volume is read-only, but the committing thread is still there.
        if fs.volume().is_writable() || fs.txn().is_aborted() {
            // A failure has said so; there is nobody to tell.
            let _ = fs.make_read_only();
        }
        fs.end_workers();
        sysfs::remove(fs.volume().id());
        let fsid = fs.volume().identity().fsid;
        fs.log()
            .info(format_args!("last unmount of filesystem {fsid}"));
    }

    fn statfs(root: &BtrfsInode) -> Result<StatFs> {
        let data = root.data();
        let fs = data.fs();
        let counts = fs.statfs()?;
        let identity = fs.volume().identity();
        let uuid = match identity.temp_fsid {
            true => fs.volume().superblock().fsid,
            false => identity.fsid,
        };
        let mut fsid = statfs::fsid(uuid, data.subvol().id());
        if identity.temp_fsid {
            // The copy is told apart from what it is a copy of.
            let [_, low] = &mut fsid;
            *low ^= fs.volume().encoded_dev();
        }
        Ok(StatFs {
            magic: MAGIC,
            bsize: fs.volume().geometry().sectorsize,
            blocks: counts.blocks,
            bfree: counts.free,
            bavail: counts.available,
            fsid,
            namelen: u32::try_from(NAME_MAX)?,
            ..StatFs::default()
        })
    }

    fn show_options(sb: &BtrfsSuper, root: &BtrfsInode, m: &SeqFile) -> Result {
        let fs = sb.data();
        let shown = mount::Shown {
            cpus: mount::online_cpus(),
            acl: sb.flags().contains(SbFlags::POSIXACL),
            space_cache_v1: fs.has_space_cache_v1(),
            free_space_tree: fs.has_compat_ro(CompatRo::FREE_SPACE_TREE),
        };
        let subvol = root.data().subvol();
        let id = subvol.id();
        let options = fs.options().with_data(subvol.data_options());
        // Writing to a seq file does not fail: when it is full, it is made larger and
        // everything is written again.
        let _ = mount::show(&options, &shown, &mut Seq(m));
        let number = id.get();
        seq_print!(m, ",subvolid={number}");
        if let Ok(path) = fs.subvol_path(id) {
            show_subvol(m, &path)?;
        }
        Ok(())
    }

    fn show_devname(sb: &BtrfsSuper, m: &SeqFile) -> Result {
        // The device that counts is the one that the log lines name, while it is there.
        let fs = sb.data();
        let devices = fs.volume().devices()?;
        let named = |device: &&Arc<Device>| {
            device
                .bdev()
                .is_some_and(|bdev| bdev.name() == fs.log().name())
        };
        let there = |device: &&Arc<Device>| device.bdev().is_some();
        let device = devices.iter().find(named);
        let device = device
            .or_else(|| devices.iter().find(there))
            .ok_or(EINVAL)?;
        let path = device.with_path(zero_terminated)?;
        let path = CStr::from_bytes_with_nul(&path).map_err(|_| EINVAL)?;
        seq_escape(m, path, c" \t\n\\");
        Ok(())
    }

    fn background(sb: &BtrfsSuper, stop: &Stop) {
        autodefrag::run(sb, stop);
    }

    fn write_inode(inode: &BtrfsInode, _sync: bool) -> Result {
        // Part of the writing of delayed data, which may be waited for in order to make room.
        store::store_deleting(inode)
    }

    fn leave(inode: &BtrfsInode) {
        orphan::leave(inode);
    }

    fn evict(inode: &BtrfsInode) {
        let data = inode.data();
        let _gone = orphan::gone(inode);
        if inode.nlink() != 0 || data.is_stub() || data.tree().is_dead() {
            return;
        }
        // On an error the orphan item stays, and with it the file, until the next mount.
        if let Err(e) = orphan::remove(inode) {
            if e != EROFS {
                data.fs().log().warn_limited(format_args!(
                    "could not remove inode {} of subvolume {} ({}), it stays until the next mount",
                    data.ino(),
                    data.subvol().id(),
                    e.to_errno()
                ));
            }
        }
    }

    fn drop_inode(inode: &BtrfsInode) -> bool {
        inode.data().tree().is_dead()
    }

    fn device_gone(sb: &BtrfsSuper, dev: DevNum) -> Result {
        sb.data().device_gone(dev)
    }

    fn shutdown(sb: &BtrfsSuper) {
        sb.data().shut_down();
    }

    fn freeze(sb: &BtrfsSuper) -> Result {
        match sb.is_rdonly() {
            true => Ok(()),
            false => sb.data().txn().park(),
        }
    }

    fn unfreeze(sb: &BtrfsSuper) -> Result {
        sb.data().txn().unpark();
        Ok(())
    }

    fn sync_fs(sb: &BtrfsSuper, wait: bool) -> Result {
        let txn = sb.data().txn();
        if sb.is_rdonly() {
            return Ok(());
        }
        match wait {
            true => txn.commit(),
            false => {
                txn.request();
                Ok(())
            }
        }
    }
}

/// Delayed data, by the super block.
struct Delayed(Arc<WeakSuper>);

impl DelayedData for Delayed {
    fn write(&self) {
        self.0.try_sync_inodes();
    }
}

fn zero_terminated(bytes: &[u8]) -> Result<KVec<u8>> {
    let mut copy = KVec::with_capacity(bytes.len() + 1, GFP_KERNEL)?;
    copy.extend_from_slice(bytes, GFP_KERNEL)?;
    copy.push(0, GFP_KERNEL)?;
    Ok(copy)
}

fn show_subvol(m: &SeqFile, path: &[u8]) -> Result {
    let path = zero_terminated(path)?;
    let path = CStr::from_bytes_with_nul(&path).map_err(|_| EUCLEAN)?;
    seq_print!(m, ",subvol=");
    seq_escape(m, path, c",\\ \t\n");
    Ok(())
}

/// Formats into a seq file.
struct Seq<'a>(&'a SeqFile);

impl Write for Seq<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        seq_print!(self.0, "{text}");
        Ok(())
    }
}
