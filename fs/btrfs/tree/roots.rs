// SPDX-License-Identifier: GPL-2.0

//! Finding trees by their id.
//!
//! The superblock points at the chunk tree and at the tree of roots, whose items point at all
//! other trees. Those that there is one of are opened when the filesystem is; subvolumes when
//! somebody first asks for them, and then stay open until the filesystem is closed.

use btrfs_format::dir::{name_hash, DirItems};
use btrfs_format::key::{item, Key};
use btrfs_format::root::RootItem;
use btrfs_format::superblock::{CompatRo, Incompat, Superblock};
use btrfs_format::types::{Generation, Logical, TreeId};
use core::fmt;
use kernel::{
    new_mutex, new_spinlock,
    prelude::*,
    rbtree::{RBTree, RBTreeNode},
    sync::{Arc, Mutex, SpinLock},
};

use super::block::Expect;
use super::cache::{BlockSource, Severity, TreeCache};
use super::live::LiveTree;
use super::view::TreeView;

/// Options of mounting that say what to do about trees that cannot be opened.
#[derive(Clone, Copy, Default)]
pub(crate) struct RootOptions {
    /// Try the roots of earlier transactions (`rescue=usebackuproot`).
    pub(crate) use_backup: bool,
    /// Do without trees that files can be read without (`rescue=ignorebadroots`).
    pub(crate) ignore_bad: bool,
    /// Do not open the checksum tree (`rescue=ignoredatacsums`).
    pub(crate) ignore_data_csums: bool,
}

/// Where a tree's root block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RootPtr {
    logical: Logical,
    generation: Generation,
    level: u8,
}

/// The trees that there is one of. What may be missing is an `Option`.
#[derive(Default)]
pub(crate) struct Standard {
    /// Extents and their references.
    pub(crate) extent: Option<Arc<LiveTree>>,
    /// Checksums of data.
    pub(crate) csum: Option<Arc<LiveTree>>,
    /// Device extents, statistics and replace state.
    pub(crate) device: Option<Arc<LiveTree>>,
    /// Free space, if kept in a tree; only until [`Roots`] has it.
    free_space: Option<Arc<LiveTree>>,
    /// Block groups, if not in the extent tree.
    pub(crate) block_group: Option<Arc<LiveTree>>,
    /// Quotas, if enabled.
    pub(crate) quota: Option<Arc<LiveTree>>,
    /// Subvolumes by UUID.
    pub(crate) uuid: Option<Arc<LiveTree>>,
    /// The data that relocation moves.
    pub(crate) data_reloc: Option<Arc<LiveTree>>,
}

/// All trees of a filesystem.
#[pin_data]
pub(crate) struct Roots {
    cache: Arc<TreeCache>,
    chunk: Arc<LiveTree>,
    tree: Arc<LiveTree>,
    standard: Standard,
    block_groups_apart: bool,
    root_dir: u64,
    /// Which backup is in use, if the superblock's own roots could not be.
    backup: Option<usize>,
    /// It comes and goes with mount options.
    #[pin]
    free_space: SpinLock<Option<Arc<LiveTree>>>,
    /// It is made where there is none.
    #[pin]
    uuid: SpinLock<Option<Arc<LiveTree>>>,
    /// Subvolumes that were asked for, by id.
    #[pin]
    subvols: Mutex<RBTree<u64, Arc<LiveTree>>>,
}

impl Roots {
    /// The chunk tree, which has to be known before any other tree can be read.
    ///
    /// Fails with `EIO` when its root block cannot be read.
    pub(crate) fn open_chunk_tree(
        cache: &Arc<TreeCache>,
        superblock: &Superblock,
    ) -> Result<Arc<LiveTree>> {
        let at = RootPtr {
            logical: superblock.chunk_root(),
            generation: superblock.chunk_root_generation(),
            level: superblock.chunk_root_level,
        };
        open_at(cache, TreeId::CHUNK_TREE, at).inspect_err(|&_error| {
            cache
                .source()
                .report(Severity::Error, format_args!("failed to read chunk root"));
        })
    }

    /// Opens the tree of roots and the standard trees; `chunk` is from
    /// [`Self::open_chunk_tree`], and its chunks are known to the volume.
    ///
    /// Fails with what reading failed with, or `ENOENT` when a tree is missing.
    pub(crate) fn open(
        cache: &Arc<TreeCache>,
        chunk: Arc<LiveTree>,
        superblock: &Superblock,
        options: RootOptions,
    ) -> Result<Arc<Self>> {
        let own = RootPtr {
            logical: superblock.root(),
            generation: superblock.generation(),
            level: superblock.root_level,
        };
        let mut backup = None;
        let mut result = open_standard(cache, own, superblock, options);
        if options.use_backup {
            for (priority, (index, at)) in backups(superblock).enumerate().skip(1) {
                if result.is_ok() {
                    break;
                }
                cache.source().report(
                    Severity::Warning,
                    format_args!("try to load backup roots slot {priority}"),
                );
                result = open_standard(cache, at, superblock, options);
                backup = Some(index);
            }
        }
        let (tree, mut standard) = result?;
        let free_space = standard.free_space.take();
        let uuid = standard.uuid.take();
        let init = pin_init!(Self {
            cache: cache.clone(),
            chunk,
            tree,
            standard,
            block_groups_apart: superblock.compat_ro().contains(CompatRo::BLOCK_GROUP_TREE),
            root_dir: superblock.root_dir_objectid.get(),
            backup,
            free_space <- new_spinlock!(free_space, "btrfs-free-space-root"),
            uuid <- new_spinlock!(uuid, "btrfs-uuid-root"),
            subvols <- new_mutex!(RBTree::new(), "btrfs-subvols"),
        });
        Arc::pin_init(init, GFP_KERNEL)
    }

    /// The cache all trees share.
    pub(crate) fn cache(&self) -> &Arc<TreeCache> {
        &self.cache
    }

    /// The chunk tree.
    pub(crate) fn chunk(&self) -> &Arc<LiveTree> {
        &self.chunk
    }

    /// The tree of roots.
    pub(crate) fn tree(&self) -> &Arc<LiveTree> {
        &self.tree
    }

    /// The other standard trees.
    pub(crate) fn standard(&self) -> &Standard {
        &self.standard
    }

    /// The free space tree, if there is one.
    pub(crate) fn free_space(&self) -> Option<Arc<LiveTree>> {
        self.free_space.lock().clone()
    }

    /// Makes a free space tree that has no block yet, as [`Self::create`] does.
    pub(crate) fn create_free_space(&self, item: RootItem) -> Result<Arc<LiveTree>> {
        let view = TreeView::empty(self.cache.clone(), TreeId::FREE_SPACE_TREE)?;
        let tree = LiveTree::new(view, item, 0)?;
        *self.free_space.lock() = Some(tree.clone());
        Ok(tree)
    }

    /// Takes the free space tree out: from now on nobody finds it.
    pub(crate) fn take_free_space(&self) -> Option<Arc<LiveTree>> {
        self.free_space.lock().take()
    }

    /// The tree of UUIDs, if there is one.
    pub(crate) fn uuid(&self) -> Option<Arc<LiveTree>> {
        self.uuid.lock().clone()
    }

    /// Makes a tree of UUIDs that has no block yet, as [`Self::create`] does; `None`: there is none
    /// after all.
    pub(crate) fn set_uuid(&self, item: Option<RootItem>) -> Result {
        let tree = match item {
            Some(item) => {
                let view = TreeView::empty(self.cache.clone(), TreeId::UUID_TREE)?;
                Some(LiveTree::new(view, item, 0)?)
            }
            None => None,
        };
        let old = core::mem::replace(&mut *self.uuid.lock(), tree);
        drop(old);
        Ok(())
    }

    /// The tree with the block group items: one of its own, or the extent tree.
    pub(crate) fn block_group(&self) -> Option<&Arc<LiveTree>> {
        if self.block_groups_apart {
            self.standard.block_group.as_ref()
        } else {
            self.standard.extent.as_ref()
        }
    }

    /// The last committed transaction.
    pub(crate) fn generation(&self) -> Generation {
        self.tree.view().generation()
    }

    /// The tree with this id; a subvolume is opened if it is not yet.
    ///
    /// Fails with `ENOENT` when there is none, or it was deleted.
    pub(crate) fn get(&self, id: TreeId) -> Result<Arc<LiveTree>> {
        let root = self.get_even_dead(id)?;
        // Only subvolumes are deleted: mkfs gives the quota tree no reference.
        if id.is_fstree() && root.is_dead() {
            return Err(ENOENT);
        }
        Ok(root)
    }

    /// As [`Self::get`], but finds subvolumes too that were deleted and not dropped yet.
    pub(crate) fn get_even_dead(&self, id: TreeId) -> Result<Arc<LiveTree>> {
        if let Some(root) = self.find_standard(id) {
            return Ok(root);
        }
        if !id.is_fstree() {
            return Err(ENOENT);
        }
        if let Some(root) = self.subvols.lock().get(&id.get()) {
            return Ok(root.clone());
        }
        let root = open_subvol(&self.tree.view(), id)?;
        if !self.has_references(&root)? {
            root.set_dead();
        }
        let node = RBTreeNode::new(id.get(), root.clone(), GFP_KERNEL)?;
        let mut subvols = self.subvols.lock();
        // Somebody may have been faster.
        if let Some(other) = subvols.get(&id.get()) {
            return Ok(other.clone());
        }
        subvols.insert(node);
        Ok(root)
    }

    /// Whether the root item of a subvolume, as it is now, says that it was not deleted. Where its
    /// blocks are, only the committed item says.
    fn has_references(&self, root: &LiveTree) -> Result<bool> {
        let key = Key::new(root.id().get(), item::ROOT_ITEM, root.key_offset());
        let item = self.tree.get(key)?;
        let item = item.as_deref().and_then(RootItem::parse);
        Ok(item.is_some_and(|item| item.refs.get() > 0))
    }

    /// Makes a tree that has no block yet; the next commit gives it a root. `item` is its root
    /// item, which the caller puts into the tree of roots under an offset of `key_offset`.
    ///
    /// `EEXIST`: there is a tree with this id.
    pub(crate) fn create(
        &self,
        id: TreeId,
        item: RootItem,
        key_offset: u64,
    ) -> Result<Arc<LiveTree>> {
        let view = TreeView::empty(self.cache.clone(), id)?;
        let tree = LiveTree::new(view, item, key_offset)?;
        let node = RBTreeNode::new(id.get(), tree.clone(), GFP_KERNEL)?;
        let mut subvols = self.subvols.lock();
        if self.find_standard(id).is_some() || subvols.get(&id.get()).is_some() {
            return Err(EEXIST);
        }
        subvols.insert(node);
        Ok(tree)
    }

    /// Forgets a subvolume: those who have it go on, nobody else finds it.
    pub(crate) fn forget(&self, id: TreeId) {
        let known = self.subvols.lock().remove(&id.get());
        drop(known);
    }

    fn find_standard(&self, id: TreeId) -> Option<Arc<LiveTree>> {
        let standard = &self.standard;
        if id == TreeId::FREE_SPACE_TREE {
            return self.free_space();
        }
        if id == TreeId::UUID_TREE {
            return self.uuid();
        }
        let found = match id {
            TreeId::ROOT_TREE => Some(&self.tree),
            TreeId::CHUNK_TREE => Some(&self.chunk),
            TreeId::EXTENT_TREE => standard.extent.as_ref(),
            TreeId::CSUM_TREE => standard.csum.as_ref(),
            TreeId::DEV_TREE => standard.device.as_ref(),
            TreeId::BLOCK_GROUP_TREE => standard.block_group.as_ref(),
            TreeId::QUOTA_TREE => standard.quota.as_ref(),
            TreeId::DATA_RELOC => standard.data_reloc.as_ref(),
            _ => None,
        };
        found.cloned()
    }

    /// The subvolume to mount when none is named.
    ///
    /// The entry `default` in the root tree's directory says; without it the top level is meant.
    pub(crate) fn default_subvol(&self) -> Result<TreeId> {
        const NAME: &[u8] = b"default";
        let key = Key::new(self.root_dir, item::DIR_ITEM, name_hash(NAME));
        let entry = self.tree.get(key)?;
        let found = entry
            .as_ref()
            .and_then(|item| DirItems::new(item).find_name(NAME));
        Ok(found.map_or(TreeId::FS_TREE, |entry| TreeId(entry.location.objectid)))
    }
}

/// The backup roots, newest first: the newest is that of the superblock's own transaction.
///
/// Empty if no backup is of that transaction, because then the order is not known.
fn backups(superblock: &Superblock) -> impl Iterator<Item = (usize, RootPtr)> + '_ {
    let roots = &superblock.super_roots;
    let newest = roots
        .iter()
        .position(|backup| backup.tree_root_gen == superblock.generation);
    let count = newest.map_or(0, |_| roots.len());
    let newest = newest.unwrap_or(0);
    (0..count).filter_map(move |age| {
        let index = (newest + count - age) % count;
        let backup = roots.get(index)?;
        let at = RootPtr {
            logical: backup.tree_root.into(),
            generation: backup.tree_root_gen.into(),
            level: backup.tree_root_level,
        };
        Some((index, at))
    })
}

/// Opens the tree whose root block is `at`, where a superblock says.
fn open_at(cache: &Arc<TreeCache>, id: TreeId, at: RootPtr) -> Result<Arc<LiveTree>> {
    let view = open_view(cache, id, at)?;
    let mut item = RootItem::zeroed();
    item.bytenr = at.logical.into();
    item.generation = at.generation.into();
    item.level = at.level;
    item.refs = 1.into();
    LiveTree::new(view, item, 0)
}

fn open_view(cache: &Arc<TreeCache>, id: TreeId, at: RootPtr) -> Result<TreeView> {
    let block = cache.get(&Expect {
        logical: at.logical,
        generation: at.generation,
        level: at.level,
        tree: Some(id),
        first: None,
    })?;
    // Inside, a snapshot has blocks of other subvolumes, but the root block is its own.
    if block.owner() != id {
        cache.source().report(
            Severity::Critical,
            format_args!(
                "root={id} block={}, tree root owner mismatch, have {} expect {id}",
                block.logical(),
                block.owner(),
            ),
        );
        return Err(EUCLEAN);
    }
    TreeView::new(cache.clone(), block, id)
}

/// Opens a tree by its root item.
fn open_item(tree: &TreeView, key: Key, data: &[u8]) -> Result<Arc<LiveTree>> {
    let mut item = RootItem::parse(data).ok_or(EUCLEAN)?;
    if !item
        .inode
        .flags()
        .contains(btrfs_format::inode::InodeFlags::ROOT_ITEM_INIT)
    {
        // From before the fields were initialised.
        item.flags = 0.into();
        item.byte_limit = 0.into();
    }
    let at = RootPtr {
        logical: item.bytenr(),
        generation: item.generation(),
        level: item.level,
    };
    let view = open_view(tree.cache(), TreeId(key.objectid), at)?;
    LiveTree::new(view, item, key.offset)
}

/// Opens a standard tree.
fn open_standard_tree(tree: &TreeView, id: TreeId) -> Result<Arc<LiveTree>> {
    let key = Key::new(id.get(), item::ROOT_ITEM, 0);
    let item = tree.get(key)?.ok_or(ENOENT)?;
    open_item(tree, key, &item)
}

/// Opens a subvolume: by the last of its root items, whatever transaction made it.
fn open_subvol(tree: &TreeView, id: TreeId) -> Result<Arc<LiveTree>> {
    let cursor = tree.seek_at_or_before(Key::new(id.get(), item::ROOT_ITEM, u64::MAX))?;
    match cursor.item() {
        Some((key, data)) if key.objectid == id.get() && key.item_type == item::ROOT_ITEM => {
            // No tree is made in the last possible transaction.
            if key.offset == u64::MAX {
                return Err(EUCLEAN);
            }
            open_item(tree, key, data)
        }
        _ => Err(ENOENT),
    }
}

/// Opens the tree of roots at `at` and the standard trees it points to.
fn open_standard(
    cache: &Arc<TreeCache>,
    at: RootPtr,
    superblock: &Superblock,
    options: RootOptions,
) -> Result<(Arc<LiveTree>, Standard)> {
    let log = cache.source();
    let root = open_at(cache, TreeId::ROOT_TREE, at).inspect_err(|&_error| {
        log.report(Severity::Warning, format_args!("couldn't read tree root"));
    })?;
    let tree = &root.view();
    let compat_ro = superblock.compat_ro();
    let mut standard = Standard {
        extent: open_named(log, tree, TreeId::EXTENT_TREE, "extent", options)?,
        ..Standard::default()
    };
    if !options.ignore_data_csums {
        standard.csum = open_named(log, tree, TreeId::CSUM_TREE, "csum", options)?;
    }
    if compat_ro.contains(CompatRo::FREE_SPACE_TREE) {
        standard.free_space =
            open_named(log, tree, TreeId::FREE_SPACE_TREE, "free space", options)?;
    }
    if compat_ro.contains(CompatRo::BLOCK_GROUP_TREE) {
        standard.block_group = open_wanted(log, tree, TreeId::BLOCK_GROUP_TREE, options)?;
    }
    standard.device = open_wanted(log, tree, TreeId::DEV_TREE, options)?;
    if !superblock.incompat().contains(Incompat::REMAP_TREE) {
        standard.data_reloc = open_wanted(log, tree, TreeId::DATA_RELOC, options)?;
    }
    standard.quota = open_standard_tree(tree, TreeId::QUOTA_TREE).ok();
    standard.uuid = match open_standard_tree(tree, TreeId::UUID_TREE) {
        Err(error) if error != ENOENT && !options.ignore_bad => {
            report_failed(log, TreeId::UUID_TREE, error);
            return Err(error);
        }
        result => result.ok(),
    };
    Ok((root, standard))
}

fn open_named(
    log: &dyn BlockSource,
    tree: &TreeView,
    id: TreeId,
    name: &str,
    options: RootOptions,
) -> Result<Option<Arc<LiveTree>>> {
    let result = open_standard_tree(tree, id);
    if result.is_err() {
        log.report(Severity::Error, format_args!("failed to load root {name}"));
    }
    match result {
        Err(_) if options.ignore_bad => Ok(None),
        result => result.map(Some),
    }
}

fn open_wanted(
    log: &dyn BlockSource,
    tree: &TreeView,
    id: TreeId,
    options: RootOptions,
) -> Result<Option<Arc<LiveTree>>> {
    match open_standard_tree(tree, id) {
        Ok(root) => Ok(Some(root)),
        Err(_) if options.ignore_bad => Ok(None),
        Err(error) => {
            report_failed(log, id, error);
            Err(error)
        }
    }
}

fn report_failed(log: &dyn BlockSource, id: TreeId, error: Error) {
    log.report(
        Severity::Warning,
        format_args!("failed to read root (objectid={id}): {}", ErrorName(error)),
    );
}

/// Prints an error as the kernel's `%pe` does.
struct ErrorName(Error);

impl fmt::Display for ErrorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.name().and_then(|name| name.to_str().ok()) {
            Some(name) => write!(f, "-{name}"),
            None => write!(f, "{}", self.0.to_errno()),
        }
    }
}
