// SPDX-License-Identifier: GPL-2.0

//! Bringing inodes into memory.

use btrfs_format::dir::FileType;
use btrfs_format::inode::{mode, InodeFlags};
use btrfs_format::types::{Generation, Ino, TreeId};
use kernel::prelude::*;
use kernel::sync::{aref::ARef, Arc};
use kfs::fs::{
    DeviceNumber, DirOps, FileOps, INodeParams, InodeEntry, InodeKind, LinkOps, NewInode,
    SpecialOps, Timespec,
};

use super::facts::{Facts, Time};
use super::{orphan, Inode, InodeKey, Parts};
use crate::data::promise::Rates;
use crate::data::read::address_space;
use crate::data::state::FileState;
use crate::subvol::Subvol;
use crate::vfs::{Btrfs, BtrfsInode, BtrfsSuper, Node, Stub};

/// The inode `ino` of subvolume `subvol`, from memory or from the tree.
///
/// `ENOENT`: there is none; `EUCLEAN`: its item says what cannot be.
pub(crate) fn get(sb: &BtrfsSuper, subvol: &Arc<Subvol>, ino: Ino) -> Result<ARef<BtrfsInode>> {
    let key = InodeKey::File {
        tree: subvol.id(),
        ino,
    };
    let new = match sb.get_or_create_inode(key)? {
        InodeEntry::Existing(inode) => return Ok(inode),
        InodeEntry::New(new) => new,
    };
    let facts = Facts::read(subvol.tree(), ino)?;
    fill(sb, new, subvol.clone(), ino, facts)
}

/// The root directory of subvolume `id`. `EUCLEAN` if it is no directory.
pub(crate) fn get_root(sb: &BtrfsSuper, id: TreeId) -> Result<ARef<BtrfsInode>> {
    let subvol = sb.data().subvols().get(id)?;
    if !sb.is_rdonly() {
        orphan::clean_up(sb, &subvol);
    }
    let inode = get(sb, &subvol, subvol.root_dir())?;
    if !inode.is_dir() {
        return Err(EUCLEAN);
    }
    Ok(inode)
}

/// The stub for subvolume `child` in directory `dir`.
pub(crate) fn get_stub(
    sb: &BtrfsSuper,
    dir: &BtrfsInode,
    child: TreeId,
) -> Result<ARef<BtrfsInode>> {
    let parent = dir.data();
    let key = InodeKey::Stub {
        tree: parent.subvol().id(),
        dir: parent.ino(),
        child,
    };
    let new = match sb.get_or_create_inode(key)? {
        InodeEntry::Existing(inode) => return Ok(inode),
        InodeEntry::New(new) => new,
    };
    let now = kfs::fs::current_time();
    let params = INodeParams {
        kind: InodeKind::Directory(DirOps::<Btrfs>::new::<Stub>()),
        perm: 0o755,
        uid: dir.uid(),
        gid: dir.gid(),
        nlink: 1,
        size: 0,
        bytes: 0,
        atime: dir.times().0,
        mtime: now,
        ctime: now,
        generation: 0,
        version: 0,
        flags: kfs::fs::InodeFlags::NONE,
        no_acl: true,
        large_folios: false,
    };
    let data = Inode::new(Parts {
        fs: parent.fs().clone(),
        subvol: parent.subvol().clone(),
        ino: Ino::EMPTY_SUBVOL_DIR,
        stub: true,
        generation: Generation(0),
        otime: Time {
            sec: now.sec,
            nsec: now.nsec,
        },
        flags: InodeFlags(0),
        has_xattrs: false,
        next_index: 0,
        file: None,
    });
    new.init(params, data)
}

fn fill(
    sb: &BtrfsSuper,
    new: NewInode<Btrfs>,
    subvol: Arc<Subvol>,
    ino: Ino,
    facts: Facts,
) -> Result<ARef<BtrfsInode>> {
    let item = &facts.item;
    let kind = kind_of(item.mode.get(), item.rdev.get())?;
    let regular = matches!(kind, InodeKind::Regular(..));
    // Permission bits: the lower twelve of the mode.
    let perm = u16::try_from(item.mode.get() & mode::PERMISSIONS)?;
    let params = INodeParams {
        kind,
        perm,
        uid: item.uid.get(),
        gid: item.gid.get(),
        nlink: item.nlink.get(),
        size: i64::try_from(item.size.get()).map_err(|_| EUCLEAN)?,
        bytes: item.nbytes.get(),
        atime: time(&(&item.atime).into()),
        mtime: time(&(&item.mtime).into()),
        ctime: time(&(&item.ctime).into()),
        generation: low(item.generation.get()),
        version: item.sequence.get(),
        flags: vfs_flags(facts.flags()),
        no_acl: !facts.may_have_acl,
        large_folios: regular,
    };
    let rates = Rates::of(sb.data().volume().geometry());
    let state = || FileState::new(item.size.get(), item.nbytes.get(), rates);
    let file = match regular {
        true => Some(KBox::pin_init(state(), GFP_KERNEL)?),
        false => None,
    };
    let data = Inode::new(Parts {
        fs: sb.data_arc().into(),
        subvol,
        ino,
        stub: false,
        generation: item.generation(),
        otime: (&item.otime).into(),
        flags: facts.flags(),
        has_xattrs: facts.may_have_xattrs,
        next_index: 0,
        file,
    });
    new.init(params, data)
}

/// The operations for the type of file. `EUCLEAN` for a type that there is not.
pub(crate) fn kind_of(st_mode: u32, rdev: u64) -> Result<InodeKind<Btrfs>> {
    let special = || SpecialOps::new::<Node>();
    let device = || DeviceNumber::from_raw(low(rdev));
    Ok(match st_mode & mode::FORMAT {
        mode::REG => InodeKind::Regular(FileOps::new::<Node>(), address_space()),
        mode::DIR => InodeKind::Directory(DirOps::new::<Node>()),
        mode::LNK => InodeKind::Symlink(LinkOps::new::<Node>()),
        mode::FIFO => InodeKind::Fifo(special()),
        mode::SOCK => InodeKind::Socket(special()),
        mode::CHR => InodeKind::CharDevice(special(), device()),
        mode::BLK => InodeKind::BlockDevice(special(), device()),
        _ => return Err(EUCLEAN),
    })
}

/// The type by which directories know the inode.
pub(crate) fn file_type(inode: &BtrfsInode) -> FileType {
    FileType::from_mode(u32::from(inode.mode()))
}

/// The lower half of a number, where the VFS has room for that only.
pub(crate) fn low(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// A time for the VFS.
pub(crate) fn time(time: &Time) -> Timespec {
    Timespec {
        sec: time.sec,
        nsec: time.nsec,
    }
}

/// The flags that the VFS enforces.
pub(crate) fn vfs_flags(flags: InodeFlags) -> kfs::fs::InodeFlags {
    let table = [
        (InodeFlags::SYNC, kfs::fs::InodeFlags::SYNC),
        (InodeFlags::IMMUTABLE, kfs::fs::InodeFlags::IMMUTABLE),
        (InodeFlags::APPEND, kfs::fs::InodeFlags::APPEND),
        (InodeFlags::NOATIME, kfs::fs::InodeFlags::NOATIME),
        (InodeFlags::DIRSYNC, kfs::fs::InodeFlags::DIRSYNC),
        (InodeFlags::RO_VERITY, kfs::fs::InodeFlags::VERITY),
    ];
    let mut out = kfs::fs::InodeFlags::NONE;
    for (flag, vfs) in table {
        if flags.contains(flag) {
            out |= vfs;
        }
    }
    out
}
