// SPDX-License-Identifier: GPL-2.0

//! How free space is kept on disk: in the free space tree, in the files of version 1, or not at all.
//!
//! Options and what is there are brought together when a file system becomes writable. Caches of
//! version 1 are neither read nor written: `cache_generation` stays behind, by which everybody sees
//! that they are out of date, and the options that end them remove them.

use btrfs_format::free_space::FreeSpaceHeader;
use btrfs_format::key::{item, Key};
use btrfs_format::superblock::CompatRo;
use btrfs_format::types::{objectid, Ino};
use kernel::prelude::*;

use super::fs::Fs;
use super::options::{Flags, Options};
use crate::txn::Demand;

/// The type of the items that lead to the caches.
const HEADER: u8 = 0;

/// Makes free space be kept as the options say. Nobody else changes anything yet.
pub(super) fn settle(fs: &Fs, options: &Options) -> Result {
    let has = |features| fs.has_compat_ro(features);
    let log = fs.log();
    let wanted = options.has(Flags::FREE_SPACE_TREE);
    let tree = has(CompatRo::FREE_SPACE_TREE);
    let clear = options.has(Flags::CLEAR_CACHE);
    if tree && !wanted {
        log.info(format_args!("disabling free space tree"));
        fs.txn()
            .give_up_free_space_tree()
            .inspect_err(|e| warn(fs, "disable", *e))?;
    } else if wanted {
        let invalid = tree && !has(CompatRo::FREE_SPACE_TREE_VALID);
        let what = match tree {
            false => "creating",
            true if clear || invalid => "rebuilding",
            true => "",
        };
        if invalid {
            log.warn(format_args!("free space tree is invalid"));
        }
        if !what.is_empty() {
            log.info(format_args!("{what} free space tree"));
            fs.txn()
                .build_free_space_tree()
                .inspect_err(|e| warn(fs, "build", *e))?;
        }
    }
    let keep = options.has(Flags::SPACE_CACHE);
    let active = fs.has_space_cache_v1();
    if active && (!keep || clear) {
        remove_caches(fs)?;
        if !keep {
            fs.txn().note_no_caches();
        }
        fs.txn().commit()?;
    }
    Ok(())
}

fn warn(fs: &Fs, what: &str, error: Error) {
    let error = crate::volume::log::ErrorName(error);
    fs.log()
        .warn(format_args!("failed to {what} free space tree: {error}"));
}

/// Removes the files of version 1, and what leads to them.
fn remove_caches(fs: &Fs) -> Result {
    let roots = fs.roots().tree();
    let mut from = Key::new(objectid::FREE_SPACE, HEADER, 0);
    loop {
        let (key, file) = {
            let cursor = roots.seek(from)?;
            let Some((key, data)) = cursor.item() else {
                break;
            };
            if (key.objectid, key.item_type) != (from.objectid, from.item_type) {
                break;
            }
            let header = FreeSpaceHeader::from_bytes(data).ok_or(EUCLEAN)?;
            (key, header.location.get())
        };
        // Whatever else it may lead to is left alone.
        let ino = file.objectid;
        let is_file = file.item_type == item::INODE_ITEM
            && (Ino::FIRST_FREE..=Ino::LAST_FREE).contains(&Ino(ino))
            && roots.get(file)?.is_some();
        let mut handle = fs.txn().start(Demand::items(4, 0).deleting())?;
        if is_file {
            let extents = |offset| Key::new(ino, item::EXTENT_DATA, offset);
            roots.clear(&mut handle, extents(0)..=extents(u64::MAX))?;
            roots.delete(&mut handle, file)?;
            roots.delete(
                &mut handle,
                Key::new(objectid::ORPHAN, item::ORPHAN_ITEM, ino),
            )?;
        }
        roots.delete(&mut handle, key)?;
        drop(handle);
        match key.next() {
            Some(next) => from = next,
            None => break,
        }
    }
    Ok(())
}
