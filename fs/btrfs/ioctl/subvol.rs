// SPDX-License-Identifier: GPL-2.0

//! What a subvolume is: `GET_SUBVOL_INFO`, `GET_SUBVOL_ROOTREF`, `SUBVOL_GETFLAGS`.

use super::user::{self, Arg};
use crate::{mount::Fs, vfs::BtrfsInode};
use btrfs_format::{
    inode::Timespec,
    key::{item, Key},
    root::{RootItem, RootRef},
    types::{Ino, TreeId, Uuid},
};
use core::mem::offset_of;
use kernel::{
    ioctl::{_IOR, _IOWR},
    prelude::*,
};
use zerocopy::IntoBytes;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `BTRFS_IOC_SUBVOL_GETFLAGS`.
pub(crate) const SUBVOL_GETFLAGS: u32 = _IOR::<u64>(0x94, 25);
/// `BTRFS_IOC_GET_SUBVOL_INFO`.
pub(crate) const GET_SUBVOL_INFO: u32 = _IOR::<SubvolInfo>(0x94, 60);
/// `BTRFS_IOC_GET_SUBVOL_ROOTREF`.
pub(crate) const GET_SUBVOL_ROOTREF: u32 = _IOWR::<RootRefs>(0x94, 61);

/// `BTRFS_SUBVOL_RDONLY`.
const SUBVOL_RDONLY: u64 = 1 << 1;

/// `struct btrfs_ioctl_timespec`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Time {
    sec: u64,
    nsec: u32,
    padding: u32,
}

impl From<&Timespec> for Time {
    fn from(time: &Timespec) -> Self {
        Self {
            sec: u64::from_le_bytes(time.sec.to_bytes()),
            nsec: time.nsec.get(),
            padding: 0,
        }
    }
}

/// Room for a name with its terminator.
const NAME_SIZE: usize = 256;

/// `struct btrfs_ioctl_get_subvol_info_args`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct SubvolInfo {
    treeid: u64,
    name: [u8; NAME_SIZE],
    parent_id: u64,
    dirid: u64,
    generation: u64,
    flags: u64,
    uuid: Uuid,
    parent_uuid: Uuid,
    received_uuid: Uuid,
    ctransid: u64,
    otransid: u64,
    stransid: u64,
    rtransid: u64,
    ctime: Time,
    otime: Time,
    stime: Time,
    rtime: Time,
    reserved: [u64; 8],
}

const _: () = assert!(size_of::<SubvolInfo>() == 504);

/// `struct btrfs_ioctl_get_subvol_info_args_32`: that of 32-bit programs, where times are not
/// aligned. Only its size counts, and that all before the times is equal.
#[allow(dead_code)]
pub(crate) struct SubvolInfo32([u8; 488]);

/// `BTRFS_IOC_GET_SUBVOL_INFO_32`.
pub(crate) const GET_SUBVOL_INFO_32: u32 = _IOR::<SubvolInfo32>(0x94, 60);

/// Bytes of a time that count.
const TIME_SIZE: usize = 12;

/// Entries of [`RootRefs`].
const MAX_ROOTREFS: usize = 255;

/// `struct btrfs_ioctl_get_subvol_rootref_args`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct RootRefs {
    /// The lowest subvolume wanted; when done, where to go on.
    min_treeid: u64,
    rootref: [RootRefEntry; MAX_ROOTREFS],
    num_items: u8,
    align: [u8; 7],
}

const _: () = assert!(size_of::<RootRefs>() == 4096);

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct RootRefEntry {
    treeid: u64,
    dirid: u64,
}

/// `SUBVOL_GETFLAGS`: the flags of the subvolume whose root directory it is asked of.
pub(crate) fn getflags(inode: &BtrfsInode, arg: usize) -> Result<isize> {
    let node = inode.data();
    if node.is_stub() || node.ino() != Ino::ROOT_DIR {
        return Err(EINVAL);
    }
    let flags = match node.subvol().is_readonly() {
        true => SUBVOL_RDONLY,
        false => 0,
    };
    user::write(arg, &flags)?;
    Ok(0)
}

/// `GET_SUBVOL_INFO`: the root item of the file's subvolume, and its name.
pub(crate) fn get_info(fs: &Fs, inode: &BtrfsInode, arg: usize) -> Result<isize> {
    user::write(arg, &*info(fs, inode)?)?;
    Ok(0)
}

/// `GET_SUBVOL_INFO` for 32-bit programs.
pub(crate) fn get_info_32(fs: &Fs, inode: &BtrfsInode, arg: usize) -> Result<isize> {
    let info = info(fs, inode)?;
    let mut bytes = KVec::with_capacity(size_of::<SubvolInfo32>(), GFP_KERNEL)?;
    let before = info.as_bytes().get(..offset_of!(SubvolInfo, ctime));
    bytes.extend_from_slice(before.ok_or(EINVAL)?, GFP_KERNEL)?;
    for time in [&info.ctime, &info.otime, &info.stime, &info.rtime] {
        let time = time.as_bytes().get(..TIME_SIZE).ok_or(EINVAL)?;
        bytes.extend_from_slice(time, GFP_KERNEL)?;
    }
    bytes.resize(size_of::<SubvolInfo32>(), 0, GFP_KERNEL)?;
    user::write_bytes(arg, &bytes)?;
    Ok(0)
}

fn info(fs: &Fs, inode: &BtrfsInode) -> Result<KBox<SubvolInfo>> {
    let id = inode.data().subvol().id();
    let root = fs.roots().get(id)?;
    let key = Key::new(id.get(), item::ROOT_ITEM, root.key_offset());
    let stored = fs.roots().tree().get(key)?.ok_or(EUCLEAN)?;
    let mut item = RootItem::parse(&stored).ok_or(EUCLEAN)?;
    item.follow(&root.item());
    let mut info = KBox::new(
        SubvolInfo {
            treeid: id.get(),
            name: [0; NAME_SIZE],
            parent_id: 0,
            dirid: 0,
            generation: item.generation.get(),
            flags: item.flags.get(),
            uuid: item.uuid,
            parent_uuid: item.parent_uuid,
            received_uuid: item.received_uuid,
            ctransid: item.ctransid.get(),
            otransid: item.otransid.get(),
            stransid: item.stransid.get(),
            rtransid: item.rtransid.get(),
            ctime: (&item.ctime).into(),
            otime: (&item.otime).into(),
            stime: (&item.stime).into(),
            rtime: (&item.rtime).into(),
            reserved: [0; 8],
        },
        GFP_KERNEL,
    )?;
    if id != TreeId::FS_TREE {
        name(fs, id, &mut info)?;
    }
    Ok(info)
}

/// Fills in where the subvolume `id` hangs. `ENOENT` if it does not any more.
fn name(fs: &Fs, id: TreeId, info: &mut SubvolInfo) -> Result {
    let roots = fs.roots().tree();
    let cursor = roots.seek(Key::new(id.get(), item::ROOT_BACKREF, 0))?;
    let (key, data) = cursor.item().ok_or(EUCLEAN)?;
    if key.objectid != id.get() || key.item_type != item::ROOT_BACKREF {
        return Err(ENOENT);
    }
    let backref = RootRef::parse(data).ok_or(EUCLEAN)?;
    info.parent_id = key.offset;
    info.dirid = backref.dirid.get();
    // A zero byte stays behind it.
    let room = info.name.split_last_mut().ok_or(EUCLEAN)?.1;
    let room = room.get_mut(..backref.name.len()).ok_or(EUCLEAN)?;
    room.copy_from_slice(backref.name);
    Ok(())
}

/// `GET_SUBVOL_ROOTREF`: the subvolumes in the file's subvolume.
///
/// `EOVERFLOW` if there are more, which the next call can go on with.
pub(crate) fn get_rootref(fs: &Fs, inode: &BtrfsInode, arg: usize) -> Result<isize> {
    let id = inode.data().subvol().id().get();
    let mut args = Arg::<RootRefs>::read(arg)?;
    let refs = args.get_mut()?;
    let roots = fs.roots().tree();
    let mut cursor = roots.seek(Key::new(id, item::ROOT_REF, refs.min_treeid))?;
    let mut found = 0;
    let mut result = Ok(0);
    loop {
        let (key, data) = cursor.item().ok_or(EUCLEAN)?;
        if key.objectid != id || key.item_type != item::ROOT_REF {
            break;
        }
        let Some(entry) = refs.rootref.get_mut(found) else {
            result = Err(EOVERFLOW);
            break;
        };
        *entry = RootRefEntry {
            treeid: key.offset,
            dirid: RootRef::parse(data).ok_or(EUCLEAN)?.dirid.get(),
        };
        found += 1;
        refs.min_treeid = key.offset.wrapping_add(1);
        cursor.next()?;
    }
    refs.num_items = u8::try_from(found)?;
    args.write_back()?;
    result
}
