// SPDX-License-Identifier: GPL-2.0

//! Automatic defragmentation (`autodefrag`), an option of a subvolume.
//!
//! Programs that write a little here and a little there leave many small extents. Writeback notes
//! where that happens; some time later, when more of it may have come together, the file system's
//! thread joins the small extents that were written since then ([`defrag`](super::defrag)). Older
//! ones, and larger ones, are left alone, so that what is written is in proportion to what was.
//!
//! # Bounds
//!
//! At most [`MOST`] files are noted at a time; others are where they are written to the next time.
//! The notes are not on disk: a crash forgets them.

use btrfs_format::inode::InodeFlags;
use btrfs_format::types::{Generation, Ino, TreeId};
use core::ops::Range;
use kernel::prelude::*;
use kernel::rbtree::{RBTree, RBTreeNode};
use kernel::sync::{new_mutex, Mutex};
use kernel::time::msecs_to_jiffies;
use kfs::kthread::Stop;

use super::compress::Packer;
use super::defrag::{Defrag, Request};
use crate::inode::{load, Inode};
use crate::mount::options::Flags;
use crate::vfs::BtrfsSuper;

/// Most files that are noted at a time.
const MOST: usize = 4096;

/// Less than this is a small write, bytes.
const SMALL: u64 = 64 << 10;

/// And this, where it is compressed.
const SMALL_PACKED: u64 = 16 << 10;

/// So many steps are taken before others may unmount or freeze the file system.
const STEPS: usize = 16;

/// Where small extents were written in a file.
struct Note {
    /// Around all of them.
    range: Range<u64>,
    /// The transaction of the first one, or one before.
    newer: Generation,
    /// What is small, bytes.
    small: u64,
}

/// The notes, by subvolume and inode number.
#[pin_data]
pub(crate) struct Notes {
    #[pin]
    inner: Mutex<Inner>,
}

struct Inner {
    files: RBTree<(u64, u64), Note>,
    count: usize,
}

impl Notes {
    pub(crate) fn new() -> impl PinInit<Self> {
        let inner = Inner {
            files: RBTree::new(),
            count: 0,
        };
        pin_init!(Self {
            inner <- new_mutex!(inner, "btrfs-autodefrag"),
        })
    }

    /// Adds a note to what there is of the file. Without memory it is forgotten.
    fn add(&self, key: (u64, u64), note: Note) {
        let mut inner = self.inner.lock();
        if let Some(old) = inner.files.get_mut(&key) {
            old.range.start = old.range.start.min(note.range.start);
            old.range.end = old.range.end.max(note.range.end);
            old.newer = old.newer.min(note.newer);
            old.small = old.small.max(note.small);
        } else if inner.count < MOST {
            if let Ok(node) = RBTreeNode::new(key, note, GFP_KERNEL) {
                inner.files.insert(node);
                inner.count = inner.count.saturating_add(1);
            }
        }
    }

    /// Takes the first note behind `last`.
    fn take_behind(&self, last: (u64, u64)) -> Option<((u64, u64), Note)> {
        let mut inner = self.inner.lock();
        let next = (last.0, last.1.saturating_add(1));
        let key = *inner.files.cursor_lower_bound(&next)?.current().0;
        let note = inner.files.remove(&key)?;
        inner.count = inner.count.saturating_sub(1);
        Some((key, note))
    }
}

/// Writeback writes `range` of a file, which was delayed, as one: notes it, if that is little.
pub(super) fn consider(inode: &Inode, range: &Range<u64>) {
    if !inode.subvol().data_options().has(Flags::AUTODEFRAG) {
        return;
    }
    let small = match Packer::of(inode) {
        Some(_) => SMALL_PACKED,
        None => SMALL,
    };
    let len = range.end.saturating_sub(range.start);
    let Ok(file) = inode.file() else {
        return;
    };
    // A small file is one extent, and what is written in place is not fragmented by that.
    let whole = range.start == 0 && range.end >= file.disk_size();
    if len >= small || whole || inode.flags().contains(InodeFlags::NODATACOW) {
        return;
    }
    let fs = inode.fs();
    let note = Note {
        range: range.clone(),
        newer: Generation(fs.roots().generation().get().saturating_add(1)),
        small,
    };
    let key = (inode.subvol().id().get(), inode.ino().get());
    fs.autodefrag().add(key, note);
}

/// What the file system's thread does.
pub(crate) fn run(sb: &BtrfsSuper, stop: &Stop) {
    let fs = sb.data();
    while !stop.requested() {
        let pause = fs.options().commit_interval.saturating_mul(1000);
        stop.sleep(msecs_to_jiffies(pause));
        let mut last = (0, 0);
        while let Some((key, note)) = fs.autodefrag().take_behind(last) {
            last = key;
            match run_one(sb, stop, key, &note) {
                Ok(true) => {}
                Ok(false) => {
                    fs.autodefrag().add(key, note);
                    break;
                }
                Err(e) if [ENOENT, ESTALE, EROFS].contains(&e) => {}
                Err(e) => fs.log().warn_limited(format_args!(
                    "could not defragment inode {} of subvolume {} ({})",
                    key.1,
                    key.0,
                    e.to_errno()
                )),
            }
        }
    }
}

/// Defragments a file; whether all that there is to do was done.
fn run_one(sb: &BtrfsSuper, stop: &Stop, key: (u64, u64), note: &Note) -> Result<bool> {
    let fs = sb.data();
    let Some(mut held) = sb.try_hold() else {
        return Ok(false);
    };
    let subvol = fs.subvols().get(TreeId(key.0))?;
    let inode = load::get(sb, &subvol, Ino(key.1))?;
    if inode.nlink() == 0 || !inode.is_reg() {
        return Ok(true);
    }
    // With what is before and behind.
    let around = note.range.start.saturating_sub(note.small);
    let request = Request {
        range: around..note.range.end.saturating_add(note.small),
        threshold: note.small,
        newer: note.newer,
        recode: None,
    };
    let mut work = Defrag::new(&inode, &request);
    loop {
        for _ in 0..STEPS {
            let on = subvol.data_options().has(Flags::AUTODEFRAG) && !subvol.is_readonly();
            if stop.requested() || !on || !fs.volume().is_writable() || !work.step()? {
                return Ok(true);
            }
        }
        drop(held);
        held = match sb.try_hold() {
            Some(held) => held,
            None => return Ok(false),
        };
    }
}
