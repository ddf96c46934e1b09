// SPDX-License-Identifier: GPL-2.0

//! From numbers to names: `INO_LOOKUP`, `INO_LOOKUP_USER`, `INO_PATHS`.

use super::{
    container::Container,
    require_admin,
    user::{self, Arg},
};
use crate::{
    backref::pause,
    inode,
    mount::Fs,
    tree::LiveTree,
    vfs::{Btrfs, BtrfsInode},
};
use btrfs_format::{
    inode::{InodeExtrefs, InodeRefs},
    key::{item, Key},
    root::RootRef,
    types::{Ino, TreeId},
};
use kernel::{ioctl::_IOWR, prelude::*, sync::Arc};
use kfs::fs::{capable, Access, Capability, File};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `BTRFS_IOC_INO_LOOKUP`.
pub(crate) const INO_LOOKUP: u32 = _IOWR::<LookupArgs>(0x94, 18);
/// `BTRFS_IOC_INO_PATHS`.
pub(crate) const INO_PATHS: u32 = _IOWR::<PathArgs>(0x94, 35);
/// `BTRFS_IOC_INO_LOOKUP_USER`.
pub(crate) const INO_LOOKUP_USER: u32 = _IOWR::<LookupUserArgs>(0x94, 62);

/// `struct btrfs_ioctl_ino_lookup_args`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct LookupArgs {
    /// 0 is the subvolume of the file; when done, the one in which it was looked.
    treeid: u64,
    objectid: u64,
    /// The path below the subvolume's root, with a slash behind it.
    name: [u8; 4080],
}

/// `struct btrfs_ioctl_ino_lookup_user_args`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct LookupUserArgs {
    /// The directory that the subvolume hangs in.
    dirid: u64,
    treeid: u64,
    /// The subvolume's name.
    name: [u8; 256],
    /// The path from the file to the directory, with a slash behind it.
    path: [u8; 3824],
}

/// `struct btrfs_ioctl_ino_path_args`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct PathArgs {
    inum: u64,
    size: u64,
    reserved: [u64; 4],
    fspath: u64,
}

const _: () = assert!(size_of::<LookupArgs>() == 4096);
const _: () = assert!(size_of::<LookupUserArgs>() == 4096);

/// Most bytes of an `INO_PATHS` result.
const MAX_PATHS: usize = 4096;

/// A path that is put together from its end, each name with a slash behind it.
struct Tail<'a> {
    room: &'a mut [u8],
    start: usize,
}

impl<'a> Tail<'a> {
    fn new(room: &'a mut [u8]) -> Self {
        // A zero byte comes behind it.
        let start = room.len().saturating_sub(1);
        Self { room, start }
    }

    fn prepend(&mut self, name: &[u8]) -> Result {
        let slash = self.start.checked_sub(1).ok_or(ENAMETOOLONG)?;
        let start = slash.checked_sub(name.len()).ok_or(ENAMETOOLONG)?;
        let place = self.room.get_mut(start..slash).ok_or(ENAMETOOLONG)?;
        place.copy_from_slice(name);
        *self.room.get_mut(slash).ok_or(ENAMETOOLONG)? = b'/';
        self.start = start;
        Ok(())
    }

    /// Moves the path to the front and ends it with a zero byte.
    fn finish(self) -> Result {
        let end = self.room.len().saturating_sub(1);
        let len = end.saturating_sub(self.start);
        self.room.copy_within(self.start..end, 0);
        *self.room.get_mut(len).ok_or(EINVAL)? = 0;
        Ok(())
    }
}

/// Gives the last of the directories that `ino` has a name in, and the name there, to `f`.
/// `ENOENT` if there is none.
fn with_parent<R>(tree: &Arc<LiveTree>, ino: Ino, f: impl FnOnce(Ino, &[u8]) -> R) -> Result<R> {
    let cursor = tree.seek_at_or_before(Key::new(ino.get(), item::INODE_REF, u64::MAX))?;
    let (key, data) = cursor.item().ok_or(ENOENT)?;
    if key.objectid != ino.get() || key.item_type != item::INODE_REF {
        return Err(ENOENT);
    }
    let entry = InodeRefs::new(data).next().ok_or(EUCLEAN)?;
    Ok(f(Ino(key.offset), entry.name))
}

/// `INO_LOOKUP`: the path of a directory in its subvolume. Anybody may ask for the subvolume of
/// a file.
pub(crate) fn ino_lookup(fs: &Fs, inode: &BtrfsInode, arg: usize) -> Result<isize> {
    let mut args = Arg::<LookupArgs>::read(arg)?;
    let given = args.get_mut()?;
    let own = inode.data().subvol().id();
    let id = match given.treeid {
        0 => own,
        id => TreeId(id),
    };
    given.treeid = id.get();
    let mut ino = Ino(given.objectid);
    if ino == Ino::ROOT_DIR {
        *given.name.first_mut().ok_or(EINVAL)? = 0;
    } else {
        require_admin()?;
        let root = fs.roots().get(id)?;
        let mut path = Tail::new(&mut given.name);
        // Each step makes the path longer, so this ends.
        while ino != Ino::ROOT_DIR {
            ino = with_parent(&root, ino, |parent, name| {
                path.prepend(name).map(|()| parent)
            })??;
        }
        path.finish()?;
    }
    args.write_back()?;
    Ok(0)
}

/// `INO_LOOKUP_USER`: the path from a directory to a subvolume, as far as the caller may go it
/// himself.
pub(crate) fn ino_lookup_user(fs: &Fs, file: &File<Btrfs>, arg: usize) -> Result<isize> {
    let mut args = Arg::<LookupUserArgs>::read(arg)?;
    let given = args.get_mut()?;
    let node = file.inode().data();
    let (top, dir) = (node.ino(), Ino(given.dirid));
    if dir == Ino::ROOT_DIR && top != Ino::ROOT_DIR {
        return Err(EACCES);
    }
    if dir != top {
        let path = Tail::new(&mut given.path);
        path_to(file, top, dir, path)?;
    }
    let key = Key::new(node.subvol().id().get(), item::ROOT_REF, given.treeid);
    let found = fs.roots().tree().get(key)?.ok_or(ENOENT)?;
    let link = RootRef::parse(&found).ok_or(EUCLEAN)?;
    if link.dirid != dir {
        return Err(EINVAL);
    }
    let room = given.name.get_mut(..link.name.len()).ok_or(EUCLEAN)?;
    room.copy_from_slice(link.name);
    if let Some(end) = given.name.get_mut(link.name.len()) {
        *end = 0;
    }
    args.write_back()?;
    Ok(0)
}

/// Puts the path from `top` to `dir` together. `EACCES` if it does not lead through `top`, or
/// through a directory that the caller may not read and search.
fn path_to(file: &File<Btrfs>, top: Ino, dir: Ino, mut path: Tail<'_>) -> Result {
    let sb = file.inode().super_block();
    let subvol = file.inode().data().subvol();
    let mut ino = dir;
    loop {
        let parent = with_parent(subvol.tree(), ino, |parent, name| {
            path.prepend(name).map(|()| parent)
        })??;
        let directory = inode::load::get(sb, subvol, parent)?;
        file.idmap()
            .permission(&directory, Access::READ | Access::EXEC)?;
        if parent == top {
            break;
        }
        if ino == Ino::ROOT_DIR {
            return Err(EACCES);
        }
        ino = parent;
    }
    path.finish()
}

/// `INO_PATHS`: all paths of an inode in the file's subvolume.
pub(crate) fn ino_paths(inode: &BtrfsInode, arg: usize) -> Result<isize> {
    if !capable(Capability::DacReadSearch) {
        return Err(EPERM);
    }
    let args: PathArgs = user::read(arg)?;
    // Only the low 32 bits of the size ever counted.
    let size = usize::try_from(args.size & u64::from(u32::MAX))?.min(MAX_PATHS);
    let mut paths = Container::new(size)?;
    let tree = inode.data().tree();
    let mut any = false;
    let mut cursor = tree.seek(Key::new(args.inum, item::INODE_REF, 0))?;
    while let Some((key, data)) = cursor.item() {
        if key.objectid != args.inum || key.item_type > item::INODE_EXTREF {
            break;
        }
        any = true;
        if key.item_type == item::INODE_REF {
            for entry in InodeRefs::new(data) {
                add_path(tree, &mut paths, Ino(key.offset), entry.name)?;
            }
        } else {
            for entry in InodeExtrefs::new(data) {
                add_path(tree, &mut paths, entry.parent, entry.name)?;
            }
        }
        cursor.next()?;
    }
    if !any {
        return Err(ENOENT);
    }
    user::write_bytes(usize::try_from(args.fspath)?, paths.bytes(size)?)?;
    Ok(0)
}

/// Longest path that is put together, in bytes.
const MAX_PATH: usize = 1 << 20;

/// Adds the path of `name` in directory `dir`.
fn add_path(tree: &Arc<LiveTree>, paths: &mut Container, dir: Ino, name: &[u8]) -> Result {
    // From its end, each byte: so it grows where a vector can.
    let mut path = KVVec::new();
    push_reversed(&mut path, name)?;
    let mut ino = dir;
    // The root directory is its own parent. Each step makes the path longer, so this ends.
    loop {
        pause()?;
        let parent = with_first_parent(tree, ino, |parent, name| -> Result<Ino> {
            if parent != ino {
                path.push(b'/', GFP_KERNEL)?;
                push_reversed(&mut path, name)?;
            }
            Ok(parent)
        })??;
        if parent == ino {
            break;
        }
        ino = parent;
    }
    path.reverse();
    paths.push_path(&path);
    Ok(())
}

fn push_reversed(path: &mut KVVec<u8>, name: &[u8]) -> Result {
    if path.len().saturating_add(name.len()) > MAX_PATH {
        return Err(ENAMETOOLONG);
    }
    for byte in name.iter().rev() {
        path.push(*byte, GFP_KERNEL)?;
    }
    Ok(())
}

/// As [`with_parent`], but gives the first.
fn with_first_parent<R>(
    tree: &Arc<LiveTree>,
    ino: Ino,
    f: impl FnOnce(Ino, &[u8]) -> R,
) -> Result<R> {
    let cursor = tree.seek(Key::new(ino.get(), item::INODE_REF, 0))?;
    let (key, data) = cursor.item().ok_or(ENOENT)?;
    if key.objectid != ino.get() || key.item_type != item::INODE_REF {
        return Err(ENOENT);
    }
    let entry = InodeRefs::new(data).next().ok_or(EUCLEAN)?;
    Ok(f(Ino(key.offset), entry.name))
}
