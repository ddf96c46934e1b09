// SPDX-License-Identifier: GPL-2.0

//! A tree as it is now: what was committed, and what operations changed since.
//!
//! Three stages lie above each other: the open overlay, the frozen one, and the committed tree. The
//! newest that knows of a key says what is there. All three are in one [`TreeState`], which is
//! replaced as a whole: when the first change of a transaction opens an overlay, when a commit
//! freezes it, and when the commit publishes the new tree. A reader takes a reference and sees
//! these three until it takes another one.

use btrfs_format::key::Key;
use btrfs_format::root::{RootFlags, RootItem};
use btrfs_format::types::TreeId;
use core::mem::MaybeUninit;
use core::ops::{Deref, RangeInclusive};
use kernel::prelude::*;
use kernel::sync::{
    atomic::{Acquire, Atomic, Relaxed, Release},
    new_spinlock, Arc, SpinLock, UniqueArc,
};
use kfs::mem::GFP_NOFAIL;

use super::cursor::ItemRef;
use super::merge::LiveCursor;
use super::overlay::{EditContext, ItemBuf, Overlay, What};
use super::view::{Epoch, TreeView};

/// The stages of a tree at some moment.
pub(crate) struct TreeState {
    pub(super) view: TreeView,
    item: RootItem,
    pub(super) open: Option<Arc<Overlay>>,
    pub(super) frozen: Option<Arc<Overlay>>,
}

impl TreeState {
    /// Whether there is nothing above the committed tree.
    #[inline]
    pub(super) fn is_plain(&self) -> bool {
        self.open.is_none() && self.frozen.is_none()
    }

    /// What the overlays say of a key.
    fn find(&self, key: &Key) -> What {
        for stage in [&self.open, &self.frozen].into_iter().flatten() {
            match stage.find(key) {
                What::Unknown => {}
                known => return known,
            }
        }
        What::Unknown
    }
}

/// The data of an item; it stays valid as long as this exists.
#[derive(Clone)]
pub(crate) enum Item {
    /// In a block.
    Block(ItemRef),
    /// Not committed yet.
    Buf(ItemBuf),
}

impl Deref for Item {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Item::Block(item) => item,
            Item::Buf(item) => item,
        }
    }
}

/// An open tree.
#[pin_data]
pub(crate) struct LiveTree {
    id: TreeId,
    /// The offset of the root item's key: for a snapshot the transaction that made it.
    key_offset: u64,
    #[pin]
    state: SpinLock<Arc<TreeState>>,
    /// Rises whenever `state` is replaced.
    sequence: Atomic<u64>,
    /// The subvolume is read-only.
    readonly: Atomic<bool>,
    /// The subvolume was deleted.
    dead: Atomic<bool>,
}

impl LiveTree {
    /// A tree of which `view` is the committed state. `item` is the root item; that of the trees
    /// the superblock points at is made up.
    pub(super) fn new(view: TreeView, item: RootItem, key_offset: u64) -> Result<Arc<Self>> {
        let id = view.id();
        let readonly = Atomic::new(item.is_readonly());
        let dead = Atomic::new(item.refs.get() == 0);
        let state = TreeState {
            view,
            item,
            open: None,
            frozen: None,
        };
        let state = Arc::new(state, GFP_KERNEL)?;
        let init = pin_init!(Self {
            id,
            key_offset,
            state <- new_spinlock!(state, "btrfs-live-tree"),
            sequence: Atomic::new(0),
            readonly,
            dead,
        });
        Arc::pin_init(init, GFP_KERNEL)
    }

    /// The tree's id.
    pub(crate) fn id(&self) -> TreeId {
        self.id
    }

    /// The offset of the root item's key.
    pub(crate) fn key_offset(&self) -> u64 {
        self.key_offset
    }

    /// The root item as of the last commit, but for what [`Self::set_readonly`] and
    /// [`Self::set_dead`] changed since.
    pub(crate) fn item(&self) -> RootItem {
        let mut item = self.state().item;
        if self.is_readonly() != item.is_readonly() {
            item.flags = (item.flags.get() ^ RootFlags::RDONLY.bits()).into();
        }
        if self.is_dead() {
            item.refs = 0.into();
        }
        item
    }

    /// Whether there are changes that are not committed.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.state().is_plain()
    }

    /// The tree as of the last commit.
    pub(crate) fn view(&self) -> TreeView {
        self.state.lock().view.clone()
    }

    /// Whether the subvolume is read-only now.
    pub(crate) fn is_readonly(&self) -> bool {
        self.readonly.load(Relaxed)
    }

    /// Makes the subvolume read-only or writable. The root item is changed by the caller.
    pub(crate) fn set_readonly(&self, readonly: bool) {
        self.readonly.store(readonly, Relaxed);
    }

    /// Whether the subvolume was deleted and only waits for being dropped.
    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Relaxed)
    }

    /// Notes that the subvolume was deleted. The root item is changed by the caller.
    pub(crate) fn set_dead(&self) {
        self.dead.store(true, Relaxed);
    }

    /// The stages as they are now.
    #[inline]
    pub(super) fn state(&self) -> Arc<TreeState> {
        self.state.lock().clone()
    }

    /// A number that rises whenever the stages change. To be read before them.
    #[inline]
    pub(super) fn sequence(&self) -> u64 {
        self.sequence.load(Acquire)
    }

    /// The item with exactly this key, if there is one now.
    ///
    /// May read; errors are those of [`TreeView::get`].
    pub(crate) fn get(&self, key: Key) -> Result<Option<Item>> {
        let state = self.state();
        if !state.is_plain() {
            match state.find(&key) {
                What::Item(item) => return Ok(Some(Item::Buf(item))),
                What::Gone => return Ok(None),
                What::Unknown => {}
            }
        }
        Ok(state.view.get(key)?.map(Item::Block))
    }

    /// A cursor on the first item at or behind `key`; behind the last one if there is none.
    pub(crate) fn seek(self: &Arc<Self>, key: Key) -> Result<LiveCursor> {
        LiveCursor::at_or_after(self.clone(), key)
    }

    /// A cursor on the last item at or before `key`; on no item if there is none.
    pub(crate) fn seek_at_or_before(self: &Arc<Self>, key: Key) -> Result<LiveCursor> {
        LiveCursor::at_or_before(self.clone(), key)
    }

    /// Puts an item: in place of the one with this key, if there is one.
    ///
    /// Waits for memory where there is none. Fails for a bug in here or above only.
    pub(crate) fn put(
        self: &Arc<Self>,
        handle: &mut dyn EditContext,
        key: Key,
        data: &[u8],
    ) -> Result {
        self.edit(handle, |overlay| overlay.put(&key, data))
    }

    /// Deletes the item with this key, if there is one. Fails as [`Self::put`] does.
    pub(crate) fn delete(self: &Arc<Self>, handle: &mut dyn EditContext, key: Key) -> Result {
        self.edit(handle, |overlay| overlay.delete(&key))
    }

    /// Deletes all items of a range of keys that have one objectid, else `EINVAL`. Fails as
    /// [`Self::put`] does.
    pub(crate) fn clear(
        self: &Arc<Self>,
        handle: &mut dyn EditContext,
        range: RangeInclusive<Key>,
    ) -> Result {
        self.edit(handle, |overlay| overlay.clear(&range))
    }

    /// Notes that `objectid` was allocated in this transaction, so that nothing of it can be in
    /// the tree: looking for it will never read. Must come before all changes of the objectid.
    pub(crate) fn set_complete(
        self: &Arc<Self>,
        handle: &mut dyn EditContext,
        objectid: u64,
    ) -> Result {
        self.edit(handle, |overlay| overlay.set_complete(objectid))
    }

    /// Has the leaf of the item with this key written anew, if there is one; the item stays as it is.
    ///
    /// May read; fails as [`Self::get`] and [`Self::put`] do.
    pub(crate) fn renew(self: &Arc<Self>, handle: &mut dyn EditContext, key: Key) -> Result {
        match self.get(key)? {
            // As long as there is the handle, changes go to the open overlay only. So where that
            // says nothing this is the item.
            Some(item) => self.edit(handle, |overlay| overlay.renew(&key, &item)),
            None => Ok(()),
        }
    }

    fn edit(
        self: &Arc<Self>,
        handle: &mut dyn EditContext,
        change: impl FnOnce(&Overlay) -> Result<usize>,
    ) -> Result {
        let state = self.state();
        let bytes = match &state.open {
            Some(open) if open.transid() == handle.transid() => change(open)?,
            _ => change(&*self.open(handle)?)?,
        };
        handle.charge(bytes);
        Ok(())
    }

    /// The open overlay of the handle's transaction, a new one if there is none.
    fn open(self: &Arc<Self>, handle: &mut dyn EditContext) -> Result<Arc<Overlay>> {
        // Before there are changes, so that none is missed when this fails.
        handle.note_dirty(self)?;
        let fresh = Overlay::new(self.id, handle.transid())?;
        loop {
            let old = self.state();
            if let Some(open) = &old.open {
                // That of another transaction should have been frozen: a bug elsewhere.
                let own = open.transid() == handle.transid();
                return if own { Ok(open.clone()) } else { Err(EIO) };
            }
            let new = TreeState {
                view: old.view.clone(),
                item: old.item,
                open: Some(fresh.clone()),
                frozen: old.frozen.clone(),
            };
            if self.replace(&old, Arc::new(new, GFP_NOFAIL)?) {
                handle.charge(fresh.bytes());
                return Ok(fresh);
            }
        }
    }

    /// Puts `new` in the place of `old`, if that is still the state.
    fn replace(&self, old: &Arc<TreeState>, new: Arc<TreeState>) -> bool {
        let mut state = self.state.lock();
        let same = Arc::ptr_eq(&state, old);
        if same {
            // The caller has another reference to the old one: nothing is dropped here.
            *state = new;
            let _ = self.sequence.fetch_add(1u64, Release);
        }
        same
    }

    /// The open overlay becomes the frozen one, and is returned if there is one.
    ///
    /// For the committer, while no operation is under way. Fails with `EBUSY` if the frozen overlay
    /// of an earlier transaction is still there.
    pub(crate) fn freeze(&self) -> Result<Option<Arc<Overlay>>> {
        loop {
            let old = self.state();
            let Some(open) = old.open.clone() else {
                return Ok(None);
            };
            if old.frozen.is_some() {
                return Err(EBUSY);
            }
            let new = TreeState {
                view: old.view.clone(),
                item: old.item,
                open: None,
                frozen: Some(open.clone()),
            };
            if self.replace(&old, Arc::new(new, GFP_NOFAIL)?) {
                return Ok(Some(open));
            }
        }
    }

    /// Memory for [`Self::publish_in`].
    pub(crate) fn place() -> Result<Place> {
        Ok(Place(UniqueArc::new_uninit(GFP_NOFAIL)?))
    }

    /// Makes `view`, with this root item, the committed tree, which has what the frozen overlay
    /// had. Returns what tells that nobody uses the old one any more.
    ///
    /// Neither sleeps nor fails, so that it can follow what cannot be undone.
    pub(crate) fn publish_in(&self, place: Place, view: TreeView, item: RootItem) -> Arc<Epoch> {
        let mut state = self.state.lock();
        let new = TreeState {
            view,
            item,
            open: state.open.clone(),
            frozen: None,
        };
        let old = core::mem::replace(&mut *state, place.0.write(new).into());
        let _ = self.sequence.fetch_add(1u64, Release);
        drop(state);
        old.view.epoch().clone()
    }
}

/// Memory for the state of a tree.
pub(crate) struct Place(UniqueArc<MaybeUninit<TreeState>>);
