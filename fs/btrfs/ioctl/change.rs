// SPDX-License-Identifier: GPL-2.0

//! Commands that make, delete and change subvolumes, and the label.

use super::{
    require_admin,
    user::{self, Arg},
};
use crate::{
    mount::{options::Flags, Fs},
    subvol::{create, delete, settings},
    vfs::{Btrfs, BtrfsInode},
};
use btrfs_format::{
    inode::Timespec,
    key::{item, Key},
    root::RootRef,
    types::{Ino, TreeId, Uuid},
};
use kernel::{
    ioctl::{_IOW, _IOWR},
    prelude::*,
};
use kfs::fs::{capable, Access, Capability, File, IdMap, NameToMake, NameToRemove};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `BTRFS_IOC_SUBVOL_CREATE`.
pub(crate) const SUBVOL_CREATE: u32 = _IOW::<VolArgs>(0x94, 14);
/// `BTRFS_IOC_SUBVOL_CREATE_V2`.
pub(crate) const SUBVOL_CREATE_V2: u32 = _IOW::<VolArgsV2>(0x94, 24);
/// `BTRFS_IOC_SNAP_DESTROY`.
pub(crate) const SNAP_DESTROY: u32 = _IOW::<VolArgs>(0x94, 15);
/// `BTRFS_IOC_SNAP_DESTROY_V2`.
pub(crate) const SNAP_DESTROY_V2: u32 = _IOW::<VolArgsV2>(0x94, 63);
/// `BTRFS_IOC_SUBVOL_SETFLAGS`.
pub(crate) const SUBVOL_SETFLAGS: u32 = _IOW::<u64>(0x94, 26);
/// `BTRFS_IOC_SET_RECEIVED_SUBVOL`.
pub(crate) const SET_RECEIVED_SUBVOL: u32 = _IOWR::<ReceivedArgs>(0x94, 37);
/// `BTRFS_IOC_DEFAULT_SUBVOL`.
pub(crate) const DEFAULT_SUBVOL: u32 = _IOW::<u64>(0x94, 19);
/// `FS_IOC_SETFSLABEL`.
pub(crate) const SET_FSLABEL: u32 = _IOW::<[u8; LABEL_SIZE]>(0x94, 50);

/// Room for a label with its terminator.
const LABEL_SIZE: usize = 256;

/// `BTRFS_SUBVOL_RDONLY`.
const RDONLY: u64 = 1 << 1;
/// `BTRFS_SUBVOL_QGROUP_INHERIT`.
const QGROUP_INHERIT: u64 = 1 << 2;
/// `BTRFS_SUBVOL_SPEC_BY_ID`.
const SPEC_BY_ID: u64 = 1 << 4;

/// Longest name of a subvolume, bytes.
const NAME_MAX: usize = 255;

/// `struct btrfs_ioctl_vol_args`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct VolArgs {
    fd: i64,
    name: [u8; 4088],
}

/// `struct btrfs_ioctl_vol_args_v2`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct VolArgsV2 {
    fd: i64,
    transid: u64,
    flags: u64,
    /// Quota groups, or unused.
    unused: [u64; 4],
    /// A name, or the id of a subvolume.
    name: [u8; 4040],
}

/// The string that an array begins with. `ENAMETOOLONG`: it has no end.
fn string(bytes: &[u8]) -> Result<&[u8]> {
    let end = bytes.iter().position(|byte| *byte == 0);
    bytes.get(..end.ok_or(ENAMETOOLONG)?).ok_or(EINVAL)
}

fn create_named(file: &File<Btrfs>, name: &[u8]) -> Result<isize> {
    if !file.inode().is_dir() {
        return Err(ENOTDIR);
    }
    let _write = file.want_write()?;
    if name.contains(&b'/') {
        return Err(EINVAL);
    }
    if matches!(name, b"." | b"..") {
        return Err(EEXIST);
    }
    if name.len() > NAME_MAX {
        return Err(ENAMETOOLONG);
    }
    let place = NameToMake::new(file, name)?;
    let created = create::create(place.dir(), name, place.idmap())?;
    place.publish(created);
    Ok(0)
}

/// `SUBVOL_CREATE`.
pub(crate) fn subvol_create(file: &File<Btrfs>, arg: usize) -> Result<isize> {
    let args = Arg::<VolArgs>::read(arg)?;
    create_named(file, string(&args.get()?.name)?)
}

/// `SUBVOL_CREATE_V2`. Quota groups to inherit from are not looked at: there are no quotas.
pub(crate) fn subvol_create_v2(file: &File<Btrfs>, arg: usize) -> Result<isize> {
    let args = Arg::<VolArgsV2>::read(arg)?;
    let args = args.get()?;
    if args.flags & !(RDONLY | QGROUP_INHERIT) != 0 {
        return Err(EOPNOTSUPP);
    }
    create_named(file, string(&args.name)?)
}

/// Deletes what a name stands for, if it is a subvolume and the caller may.
fn destroy(
    from: &BtrfsInode,
    idmap: &IdMap,
    victim: NameToRemove<'_, Btrfs>,
    name: &[u8],
) -> Result {
    let (dir, inode) = (victim.dir(), victim.inode());
    let fs = dir.data().fs();
    if !capable(Capability::SysAdmin) {
        if !fs.options().has(Flags::USER_SUBVOL_RM_ALLOWED) {
            return Err(EPERM);
        }
        if from.data().subvol().id() == inode.data().subvol().id() {
            return Err(EINVAL);
        }
        idmap.permission(inode, Access::WRITE | Access::EXEC)?;
    }
    victim.check()?;
    if !inode.data().is_subvol_root() {
        return Err(EINVAL);
    }
    {
        let _lock = inode.lock_exclusive();
        delete::delete(dir, name, inode)?;
    }
    victim.removed();
    Ok(())
}

fn destroy_named(file: &File<Btrfs>, name: &[u8]) -> Result<isize> {
    let _write = file.want_write()?;
    if name.contains(&b'/') || name == b".." {
        return Err(EINVAL);
    }
    if !file.inode().is_dir() {
        return Err(ENOTDIR);
    }
    let victim = NameToRemove::new(file, name)?;
    destroy(file.inode(), file.idmap(), victim, name)?;
    Ok(0)
}

/// `SNAP_DESTROY`.
pub(crate) fn snap_destroy(file: &File<Btrfs>, arg: usize) -> Result<isize> {
    let args = Arg::<VolArgs>::read(arg)?;
    destroy_named(file, string(&args.get()?.name)?)
}

/// `SNAP_DESTROY_V2`: by name, or by id wherever the subvolume hangs.
pub(crate) fn snap_destroy_v2(file: &File<Btrfs>, arg: usize) -> Result<isize> {
    let args = Arg::<VolArgsV2>::read(arg)?;
    let args = args.get()?;
    if args.flags & !SPEC_BY_ID != 0 {
        return Err(EOPNOTSUPP);
    }
    if args.flags & SPEC_BY_ID == 0 {
        return destroy_named(file, string(&args.name)?);
    }
    let id = args.name.first_chunk().ok_or(EINVAL)?;
    let id = TreeId(u64::from_ne_bytes(*id));
    if id < TreeId::FIRST_FREE {
        return Err(EINVAL);
    }
    let _write = file.want_write()?;
    let sb = file.inode().super_block();
    let fs = sb.data();
    let end = Key::new(id.get(), item::ROOT_BACKREF, u64::MAX);
    let cursor = fs.roots().tree().seek_at_or_before(end)?;
    let (key, value) = cursor.item().ok_or(ENOENT)?;
    if key.objectid != end.objectid || key.item_type != end.item_type {
        return Err(ENOENT);
    }
    let link = RootRef::parse(value).ok_or(EUCLEAN)?;
    let parent = fs.subvols().get(TreeId(key.offset))?;
    let dir = crate::inode::load::get(sb, &parent, link.dirid)?;
    // Elsewhere than where the file is, the mapping says nothing.
    let here = core::ptr::eq(&*dir, file.inode());
    if !here && !file.idmap().is_nop() {
        return Err(EOPNOTSUPP);
    }
    let victim = NameToRemove::in_directory(dir, file.idmap(), link.name)?;
    destroy(file.inode(), file.idmap(), victim, link.name)?;
    Ok(0)
}

/// `SUBVOL_SETFLAGS`.
pub(crate) fn setflags(file: &File<Btrfs>, arg: usize) -> Result<isize> {
    let inode = file.inode();
    if !file.idmap().owner_or_capable(inode) {
        return Err(EPERM);
    }
    let _write = file.want_write()?;
    if inode.data().ino() != Ino::ROOT_DIR {
        return Err(EINVAL);
    }
    let flags: u64 = user::read(arg)?;
    if flags & !RDONLY != 0 {
        return Err(EOPNOTSUPP);
    }
    let data = inode.data();
    let _lock = inode.lock_exclusive();
    settings::set_readonly(data.fs(), data.subvol(), flags & RDONLY != 0)?;
    Ok(0)
}

/// `struct btrfs_ioctl_received_subvol_args`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct ReceivedArgs {
    uuid: [u8; 16],
    stransid: u64,
    rtransid: u64,
    stime: Time,
    rtime: Time,
    flags: u64,
    reserved: [u64; 16],
}

const _: () = assert!(size_of::<ReceivedArgs>() == 200);

/// `struct btrfs_ioctl_timespec`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Time {
    sec: i64,
    nsec: u32,
    _pad: u32,
}

/// `SET_RECEIVED_SUBVOL`.
pub(crate) fn set_received(file: &File<Btrfs>, arg: usize) -> Result<isize> {
    let inode = file.inode();
    let mut args: ReceivedArgs = user::read(arg)?;
    if !file.idmap().owner_or_capable(inode) {
        return Err(EPERM);
    }
    let write = file.want_write()?;
    if inode.data().ino() != Ino::ROOT_DIR {
        return Err(EINVAL);
    }
    let data = inode.data();
    let (transid, now) = {
        let _lock = inode.lock_exclusive();
        let from = settings::Received {
            uuid: Uuid::new(args.uuid),
            stransid: args.stransid,
            stime: Timespec::new(args.stime.sec, args.stime.nsec),
        };
        settings::set_received(data.fs(), data.subvol(), &from)?
    };
    drop(write);
    args.rtransid = transid.get();
    args.rtime.sec = i64::from_le_bytes(now.sec.get().to_le_bytes());
    args.rtime.nsec = now.nsec.get();
    user::write(arg, &args)?;
    Ok(0)
}

/// `DEFAULT_SUBVOL`.
pub(crate) fn default_subvol(file: &File<Btrfs>, arg: usize) -> Result<isize> {
    require_admin()?;
    let _write = file.want_write()?;
    let id = match user::read(arg)? {
        0 => TreeId::FS_TREE,
        id => TreeId(id),
    };
    settings::set_default(file.inode().data().fs(), id)?;
    Ok(0)
}

/// `FS_IOC_SETFSLABEL`.
pub(crate) fn set_fslabel(file: &File<Btrfs>, fs: &Fs, arg: usize) -> Result<isize> {
    require_admin()?;
    let mut label = [0; LABEL_SIZE];
    user::read_bytes(arg, &mut label)?;
    let Ok(label) = string(&label) else {
        fs.log().error(format_args!(
            "unable to set label with more than {} bytes",
            LABEL_SIZE - 1
        ));
        return Err(EINVAL);
    };
    let _write = file.want_write()?;
    {
        let mut handle = fs.txn().start(crate::txn::Demand::items(0, 0))?;
        fs.volume().set_label(label)?;
        handle.touch_superblock();
    }
    fs.txn().commit()?;
    Ok(0)
}
