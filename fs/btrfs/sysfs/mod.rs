// SPDX-License-Identifier: GPL-2.0

//! `/sys/fs/btrfs`: what can be seen of mounted file systems, and what this module can.
//!
//! | directory | file |
//! | --- | --- |
//! | `features/`, `UUID/features/` | [`features`] |
//! | `UUID/`, `UUID/bdi`, `UUID/devices/` | [`filesystem`] |
//! | `UUID/devinfo/ID/` | [`device`] |
//! | `UUID/allocation/` | [`allocation`] |
//! | `UUID/discard/` | [`discard`] |
//! | `UUID/qgroups/` | [`qgroups`] |
//!
//! The directories of a file system exist while it is mounted. Their data keeps it open, so they
//! are removed before the file system is closed ([`remove`]).
//!
//! Locks: the list of file systems has a mutex, under which directories are made and removed.
//! Nothing that shows a file takes it.

#![forbid(unsafe_code)]

mod allocation;
mod device;
mod discard;
mod features;
mod filesystem;
mod qgroups;

use crate::{mount::Fs, vfs::BtrfsSuper, volume::registry::EntryId};
use core::fmt::Write;
use features::FeatureDir;
use filesystem::Mounted;
use kernel::{
    new_mutex,
    prelude::*,
    sync::{Arc, Mutex},
};
use kfs::{
    arc_cell::ArcCell,
    sysfs::{Directory, Output, Set},
};

/// `/sys/fs/btrfs`, while the module is loaded.
static ROOT: ArcCell<Root> = ArcCell::new();

/// The top directory. What is inside of it goes first.
#[pin_data]
struct Root {
    #[pin]
    mounted: Mutex<KVec<(EntryId, Mounted)>>,
    features: Directory<FeatureDir>,
    set: Set,
}

/// Keeps the top directory; it is gone after this is dropped.
pub(crate) struct Lifetime(());

/// Makes the top directory, when the module is loaded.
pub(crate) fn init() -> Result<Lifetime> {
    let set = Set::new(c"btrfs")?;
    let features = features::global(&set)?;
    let root = Arc::pin_init(
        pin_init!(Root {
            mounted <- new_mutex!(KVec::new()),
            features,
            set,
        }),
        GFP_KERNEL,
    )?;
    ROOT.replace(Some(root));
    Ok(Lifetime(()))
}

impl Drop for Lifetime {
    fn drop(&mut self) {
        ROOT.replace(None);
    }
}

/// Makes the directories of a file system that has just been opened.
pub(crate) fn add(sb: &BtrfsSuper) -> Result {
    let root = ROOT.load().ok_or(ENODEV)?;
    let fs: Arc<Fs> = sb.data_arc().into();
    let id = fs.volume().id();
    let mut mounted = root.mounted.lock();
    mounted.reserve(1, GFP_KERNEL)?;
    let directories = Mounted::new(&root.set, sb, fs)?;
    mounted
        .push_within_capacity((id, directories))
        .map_err(|_| ENOMEM)
}

/// Removes the directories of a file system, if there are any, and waits for their readers.
pub(crate) fn remove(id: EntryId) {
    let Some(root) = ROOT.load() else {
        return;
    };
    let mut mounted = root.mounted.lock();
    let at = mounted.iter().position(|(known, _)| *known == id);
    let removed = at.and_then(|at| mounted.remove(at).ok());
    drop(mounted);
    drop(removed);
}

/// Shows a value and a line feed.
fn line(out: &mut Output<'_>, value: impl core::fmt::Display) -> Result {
    writeln!(out, "{value}")?;
    Ok(())
}

/// Shows 1 or 0.
fn flag(out: &mut Output<'_>, value: bool) -> Result {
    line(out, u8::from(value))
}
