// SPDX-License-Identifier: GPL-2.0

//! From a subvolume to the path it has below the top-level subvolume.

use btrfs_format::inode::InodeRefs;
use btrfs_format::key::{item, Key};
use btrfs_format::root::RootRef;
use btrfs_format::types::{Ino, TreeId};
use kernel::prelude::*;
use kernel::sync::Arc;

use crate::tree::LiveTree;

/// Longest path, with the zero byte behind it (`PATH_MAX`).
const PATH_MAX: usize = 4096;

/// Deepest nesting that is followed: each level takes at least two bytes of path.
pub(super) const MAX_STEPS: usize = PATH_MAX / 2;

/// A path that is put together from its end.
struct Tail {
    buffer: KVec<u8>,
    start: usize,
}

impl Tail {
    fn new() -> Result<Self> {
        let room = PATH_MAX - 1;
        Ok(Self {
            buffer: KVec::from_elem(0, room, GFP_KERNEL)?,
            start: room,
        })
    }

    fn prepend(&mut self, name: &[u8]) -> Result {
        let start = self.start.checked_sub(name.len() + 1).ok_or(ENAMETOOLONG)?;
        let place = self.buffer.get_mut(start..self.start).ok_or(ENAMETOOLONG)?;
        let (slash, place) = place.split_first_mut().ok_or(ENAMETOOLONG)?;
        *slash = b'/';
        place.copy_from_slice(name);
        self.start = start;
        Ok(())
    }

    fn finish(mut self) -> Result<KVec<u8>> {
        if self.start == self.buffer.len() {
            self.prepend(b"")?;
        }
        let mut path = KVec::new();
        path.extend_from_slice(
            self.buffer.get(self.start..).unwrap_or_default(),
            GFP_KERNEL,
        )?;
        Ok(path)
    }
}

/// The path of subvolume `id` from the top-level subvolume: `/`, `/home`, `/a/b/c`.
///
/// `roots` is the tree of roots; `open` opens a subvolume. `ENOENT`: the subvolume,
/// or one above it, is not linked anywhere; `ENAMETOOLONG`.
pub(crate) fn of(
    roots: &Arc<LiveTree>,
    mut id: TreeId,
    mut open: impl FnMut(TreeId) -> Result<Arc<LiveTree>>,
) -> Result<KVec<u8>> {
    let mut path = Tail::new()?;
    let mut steps = 0;
    while id != TreeId::FS_TREE {
        let (parent, mut dir) = {
            let cursor =
                roots.seek_at_or_before(Key::new(id.get(), item::ROOT_BACKREF, u64::MAX))?;
            let (key, data) = cursor.item().ok_or(ENOENT)?;
            if key.objectid != id.get() || key.item_type != item::ROOT_BACKREF {
                return Err(ENOENT);
            }
            let link = RootRef::parse(data).ok_or(EUCLEAN)?;
            path.prepend(link.name)?;
            (TreeId(key.offset), link.dirid)
        };
        let tree = open(parent)?;
        while dir != Ino::ROOT_DIR {
            steps += 1;
            if steps > MAX_STEPS {
                return Err(ENAMETOOLONG);
            }
            dir = prepend_dir(&tree, dir, &mut path)?;
        }
        steps += 1;
        if steps > MAX_STEPS {
            return Err(ENAMETOOLONG);
        }
        id = parent;
    }
    path.finish()
}

/// Puts the name of directory `dir` before `path`; returns the directory above.
fn prepend_dir(tree: &Arc<LiveTree>, dir: Ino, path: &mut Tail) -> Result<Ino> {
    let cursor = tree.seek_at_or_before(Key::new(dir.get(), item::INODE_REF, u64::MAX))?;
    let (key, data) = cursor.item().ok_or(ENOENT)?;
    if key.objectid != dir.get() || key.item_type != item::INODE_REF {
        return Err(ENOENT);
    }
    let name = InodeRefs::new(data).next().ok_or(EUCLEAN)?.name;
    path.prepend(name)?;
    Ok(Ino(key.offset))
}
