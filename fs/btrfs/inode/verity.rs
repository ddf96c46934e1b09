// SPDX-License-Identifier: GPL-2.0

//! The metadata of files with fs-verity, which are items of the inode.
//!
//! Both kinds, descriptor and Merkle tree, are bytes in pieces: an item's offset is that of its
//! first byte, and the next item begins where it ends. In front of the descriptor, whose bytes begin
//! at offset 1, is an item that says how long it is.

use btrfs_format::key::{item, Key};
use btrfs_format::verity::VerityDescriptorItem;
use kernel::prelude::*;
use kfs::fs::VerityOperations;

use super::Inode;
use crate::vfs::{Btrfs, BtrfsInode};

/// Where the metadata of files with verity is.
pub(crate) struct Metadata;

impl VerityOperations for Metadata {
    type Fs = Btrfs;

    fn descriptor(inode: &BtrfsInode, buf: &mut [u8]) -> Result<usize> {
        let inode = inode.data();
        let key = Key::new(inode.ino().get(), item::VERITY_DESC, 0);
        let head = inode.tree().get(key)?.ok_or(ENODATA)?;
        let head = VerityDescriptorItem::from_bytes(&head).ok_or(EUCLEAN)?;
        if head.reserved.iter().any(|field| field.get() != 0) {
            return Err(EUCLEAN);
        }
        let size = i32::try_from(head.size.get()).map_err(|_| EUCLEAN)?;
        let size = usize::try_from(size)?;
        if !buf.is_empty() {
            let buf = buf.get_mut(..size).ok_or(ERANGE)?;
            if read(inode, item::VERITY_DESC, 1, buf)? != size {
                return Err(EIO);
            }
        }
        Ok(size)
    }

    fn merkle(inode: &BtrfsInode, at: u64, buf: &mut [u8]) -> Result<usize> {
        read(inode.data(), item::VERITY_MERKLE, at, buf)
    }
}

/// Copies the bytes from offset `at` on, where an item begins; returns how many there were.
fn read(inode: &Inode, kind: u8, at: u64, buf: &mut [u8]) -> Result<usize> {
    let ino = inode.ino().get();
    let mut cursor = inode.tree().seek(Key::new(ino, kind, at))?;
    let mut done: usize = 0;
    while let Some((key, data)) = cursor.item() {
        let expected = Key::new(ino, kind, at.saturating_add(u64::try_from(done)?));
        let rest = buf.get_mut(done..).unwrap_or_default();
        if key != expected || rest.is_empty() || data.is_empty() {
            break;
        }
        for (to, from) in rest.iter_mut().zip(data) {
            *to = *from;
        }
        done += data.len().min(rest.len());
        cursor.next()?;
    }
    Ok(done)
}
