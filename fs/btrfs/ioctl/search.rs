// SPDX-License-Identifier: GPL-2.0

//! Looking into trees: `TREE_SEARCH`, `TREE_SEARCH_V2`.

use super::{require_admin, user};
use crate::{
    mount::Fs,
    tree::{Cursor, LiveTree, TreeView},
    vfs::BtrfsInode,
};
use btrfs_format::{key::Key, types::Generation, types::TreeId};
use kernel::{
    ioctl::_IOWR,
    prelude::*,
    sync::Arc,
    uaccess::{UserPtr, UserSlice, UserSliceWriter},
};
use kfs::task::{cond_resched, is_killed};
use zerocopy::IntoBytes;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `BTRFS_IOC_TREE_SEARCH`.
pub(crate) const TREE_SEARCH: u32 = _IOWR::<SearchArgs>(0x94, 17);
/// `BTRFS_IOC_TREE_SEARCH_V2`.
pub(crate) const TREE_SEARCH_V2: u32 = _IOWR::<SearchArgsV2>(0x94, 17);

/// `struct btrfs_ioctl_search_key`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct SearchKey {
    /// 0 is the subvolume of the file.
    tree_id: u64,
    min_objectid: u64,
    max_objectid: u64,
    min_offset: u64,
    max_offset: u64,
    /// Only leaves of these transactions count.
    min_transid: u64,
    max_transid: u64,
    min_type: u32,
    max_type: u32,
    /// At most so many items; when done, how many were found.
    nr_items: u32,
    unused: u32,
    unused_64: [u64; 4],
}

const KEY_SIZE: usize = size_of::<SearchKey>();
const _: () = assert!(KEY_SIZE == 104);

/// `struct btrfs_ioctl_search_args`: the items follow the key.
#[allow(dead_code)] // Only its size counts.
pub(crate) struct SearchArgs([u8; 4096]);

/// `struct btrfs_ioctl_search_args_v2`, behind which the items follow.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct SearchArgsV2 {
    key: SearchKey,
    /// Room for items in bytes; if the first one does not fit, how much it would take.
    buf_size: u64,
}

/// `struct btrfs_ioctl_search_header`: precedes each item.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct SearchHeader {
    transid: u64,
    objectid: u64,
    offset: u64,
    item_type: u32,
    len: u32,
}

const HEADER_SIZE: usize = size_of::<SearchHeader>();

/// Largest result of version 2, in bytes.
const MAX_RESULT: usize = 16 << 20;

/// What a search ended with.
struct Outcome {
    found: u32,
    /// The first item does not fit: this many bytes would do.
    overflow: Option<usize>,
}

/// A search that writes what it finds to user space.
struct Search<'a> {
    key: &'a SearchKey,
    min: Key,
    max: Key,
    out: UserSliceWriter,
    room: usize,
    used: usize,
    found: u32,
}

/// The low byte, as the type of a key is taken from a larger integer.
fn item_type(raw: u32) -> u8 {
    raw.to_le_bytes()[0]
}

impl<'a> Search<'a> {
    fn new(key: &'a SearchKey, addr: usize, room: usize) -> Self {
        Self {
            key,
            min: Key::new(key.min_objectid, item_type(key.min_type), key.min_offset),
            max: Key::new(key.max_objectid, item_type(key.max_type), key.max_offset),
            out: UserSlice::new(UserPtr::from_addr(addr), room).writer(),
            room,
            used: 0,
            found: 0,
        }
    }

    /// Skips what is older than wanted without reading it.
    fn run(mut self, tree: &TreeView) -> Result<Outcome> {
        let min_transid = Generation(self.key.min_transid);
        let mut from = self.min;
        while let Some(mut cursor) = tree.seek_since(from, min_transid)? {
            if let Some(end) = self.copy_leaf(&mut cursor)? {
                return Ok(end);
            }
            if is_killed() {
                return Err(EINTR);
            }
            cond_resched();
            // Behind the leaf; a leaf that is too new is passed over like all its items.
            match cursor.leaf_end() {
                Some(next) if next <= self.max => from = next,
                _ => break,
            }
        }
        Ok(self.outcome(None))
    }

    /// As [`Self::run`], in a tree that has changes which are not committed: these are of the
    /// transaction that will write them.
    fn run_live(mut self, tree: &Arc<LiveTree>) -> Result<Outcome> {
        let transids = self.key.min_transid..=self.key.max_transid;
        let mut cursor = tree.seek(self.min)?;
        while let (Some((key, data)), Some(transid)) = (cursor.item(), cursor.generation()) {
            if key > self.max {
                break;
            }
            if transids.contains(&transid.get()) {
                if let Some(end) = self.copy_item(transid, key, data)? {
                    return Ok(end);
                }
            }
            if is_killed() {
                return Err(EINTR);
            }
            cond_resched();
            cursor.next()?;
        }
        Ok(self.outcome(None))
    }

    fn outcome(&self, overflow: Option<usize>) -> Outcome {
        Outcome {
            found: self.found,
            overflow,
        }
    }

    /// Copies the items from the cursor to the end of its leaf. `None`: goes on behind it.
    fn copy_leaf(&mut self, cursor: &mut Cursor) -> Result<Option<Outcome>> {
        let generation = cursor.leaf().generation();
        if generation.get() > self.key.max_transid {
            return Ok(None);
        }
        while let Some((key, data)) = cursor.item() {
            if key > self.max {
                return Ok(Some(self.outcome(None)));
            }
            if key >= self.min {
                if let Some(end) = self.copy_item(generation, key, data)? {
                    return Ok(Some(end));
                }
            }
            if !cursor.has_next_in_leaf() {
                break;
            }
            cursor.next()?;
        }
        Ok(None)
    }

    /// Copies an item if there is room; says when it was the last one.
    fn copy_item(&mut self, transid: Generation, key: Key, data: &[u8]) -> Result<Option<Outcome>> {
        let mut data = data;
        let mut overflow = None;
        let size = HEADER_SIZE + data.len();
        if size > self.room {
            if self.found > 0 {
                return Ok(Some(self.outcome(None)));
            }
            // The header alone says what it was.
            overflow = Some(size);
            data = &[];
        } else if size > self.room - self.used {
            return Ok(Some(self.outcome(None)));
        }
        let header = SearchHeader {
            transid: transid.get(),
            objectid: key.objectid,
            offset: key.offset,
            item_type: key.item_type.into(),
            len: u32::try_from(data.len())?,
        };
        self.out.write_slice(header.as_bytes())?;
        self.out.write_slice(data)?;
        self.used += HEADER_SIZE + data.len();
        self.found = self.found.saturating_add(1);
        if overflow.is_some() || self.found >= self.key.nr_items {
            return Ok(Some(self.outcome(overflow)));
        }
        Ok(None)
    }
}

/// Searches the tree that `key` names.
fn search(
    fs: &Fs,
    inode: &BtrfsInode,
    key: &mut SearchKey,
    addr: usize,
    room: usize,
) -> Result<Option<usize>> {
    if room < HEADER_SIZE {
        return Ok(Some(HEADER_SIZE));
    }
    let tree = match key.tree_id {
        0 => inode.data().tree().clone(),
        id => fs.roots().get(TreeId(id))?,
    };
    let search = Search::new(key, addr, room);
    let outcome = match tree.is_dirty() {
        true => search.run_live(&tree)?,
        false => search.run(&tree.view())?,
    };
    key.nr_items = outcome.found;
    Ok(outcome.overflow)
}

/// `TREE_SEARCH`: items of a tree, in the same 4096 bytes as the key.
pub(crate) fn tree_search(fs: &Fs, inode: &BtrfsInode, arg: usize) -> Result<isize> {
    require_admin()?;
    let mut key: SearchKey = user::read(arg)?;
    let addr = arg.checked_add(KEY_SIZE).ok_or(EFAULT)?;
    // An item that does not fit is one without data here.
    search(
        fs,
        inode,
        &mut key,
        addr,
        size_of::<SearchArgs>() - KEY_SIZE,
    )?;
    user::write(arg, &key)?;
    Ok(0)
}

/// `TREE_SEARCH_V2`: items of a tree, in as much room as the caller has.
pub(crate) fn tree_search_v2(fs: &Fs, inode: &BtrfsInode, arg: usize) -> Result<isize> {
    require_admin()?;
    let mut args: SearchArgsV2 = user::read(arg)?;
    let room = usize::try_from(args.buf_size).unwrap_or(MAX_RESULT);
    let addr = arg.checked_add(size_of::<SearchArgsV2>()).ok_or(EFAULT)?;
    let overflow = search(fs, inode, &mut args.key, addr, room.min(MAX_RESULT))?;
    match overflow {
        None => {
            user::write(arg, &args.key)?;
            Ok(0)
        }
        Some(size) => {
            let at = arg.checked_add(KEY_SIZE).ok_or(EFAULT)?;
            user::write(at, &u64::try_from(size)?)?;
            Err(EOVERFLOW)
        }
    }
}
