// SPDX-License-Identifier: GPL-2.0

//! Inodes, their names, directory entries and extended attributes.

use super::{Field, Rule, Subject};
use crate::dir::{name_hash_with, DirItem, DirItemHeader, DirItems, FileType};
use crate::inode::{
    mode, InodeExtrefHeader, InodeExtrefs, InodeFlags, InodeItem, InodeRefHeader, InodeRefs,
};
use crate::key::item;
use crate::types::{objectid, Ino, TreeId, NAME_MAX, XATTR_NAME_MAX};

/// Items of an inode must not follow items of another: then the inode item is missing.
///
/// Holds for subvolumes only; logs contain parts of inodes.
pub(super) fn check_prev_inode(subject: &Subject<'_>) -> Result<(), Rule> {
    match subject.prev {
        Some((prev, _)) if prev.objectid != subject.key.objectid && subject.owner.is_fstree() => {
            Err(Rule::PrevObjectid {
                prev: prev.objectid,
            })
        }
        _ => Ok(()),
    }
}

/// Whether an inode may have that number: files, and two special ones of the root tree.
fn is_inode_number(number: u64) -> bool {
    Ino(number).is_file() || number == TreeId::ROOT_TREE_DIR.get() || number == objectid::FREE_INO
}

/// Verifies an `INODE_ITEM`.
pub(super) fn check_inode_item(subject: &Subject<'_>) -> Result<(), Rule> {
    let key = &subject.key;
    if !is_inode_number(key.objectid) {
        return Err(Rule::InodeNumber { have: key.objectid });
    }
    if key.offset != 0 {
        return Err(Rule::KeyOffset {
            have: key.offset,
            want: 0,
        });
    }
    let Some(inode) = InodeItem::from_bytes(subject.data) else {
        return Err(subject.bad_size(InodeItem::SIZE));
    };
    subject.generation(Field::InodeGeneration, inode.generation.get())?;
    subject.generation(Field::InodeTransid, inode.transid.get())?;
    check_mode(inode)?;
    check_inode_flags(subject, inode)
}

fn check_mode(inode: &InodeItem) -> Result<(), Rule> {
    let have = inode.mode.get();
    let unknown = have & !(mode::FORMAT | mode::PERMISSIONS);
    if unknown != 0 {
        return Err(Rule::ModeBits { have: unknown });
    }
    match have & mode::FORMAT {
        mode::DIR if inode.nlink.get() > 1 => Err(Rule::DirLinks {
            have: inode.nlink.get(),
        }),
        mode::SOCK | mode::LNK | mode::REG | mode::BLK | mode::DIR | mode::CHR | mode::FIFO => {
            Ok(())
        }
        have => Err(Rule::ModeFormat { have }),
    }
}

fn check_inode_flags(subject: &Subject<'_>, inode: &InodeItem) -> Result<(), Rule> {
    let unknown = inode.flags().unnamed();
    let incompat = unknown.intersection(InodeFlags::INCOMPAT);
    if !incompat.is_empty() {
        return Err(Rule::InodeFlags {
            have: incompat.bits(),
        });
    }
    if subject.context.writable && !unknown.is_empty() {
        return Err(Rule::InodeRoFlags {
            have: unknown.bits(),
        });
    }
    Ok(())
}

fn check_name_length(have: usize, max: usize) -> Result<(), Rule> {
    if (1..=max).contains(&have) {
        return Ok(());
    }
    Err(Rule::NameLength { have, max })
}

/// The entry behind `rest.len()` undecoded bytes crosses the end of the item.
fn name_overflow(subject: &Subject<'_>, rest: &[u8]) -> Rule {
    Rule::NameOverflow {
        offset: subject.data.len().saturating_sub(rest.len()),
        size: subject.data.len(),
    }
}

/// Verifies an `INODE_REF`.
pub(super) fn check_inode_ref(subject: &Subject<'_>) -> Result<(), Rule> {
    check_prev_inode(subject)?;
    subject.size_at_least(InodeRefHeader::SIZE)?;
    let parent = Ino(subject.key.offset);
    if subject.owner.is_fstree() && !parent.is_file() {
        return Err(Rule::ParentInode { have: parent.get() });
    }
    let mut refs = InodeRefs::new(subject.data);
    for reference in &mut refs {
        check_name_length(reference.name.len(), NAME_MAX)?;
    }
    if refs.rest().is_empty() {
        return Ok(());
    }
    Err(name_overflow(subject, refs.rest()))
}

/// Verifies an `INODE_EXTREF`.
pub(super) fn check_inode_extref(subject: &Subject<'_>) -> Result<(), Rule> {
    check_prev_inode(subject)?;
    subject.size_at_least(InodeExtrefHeader::SIZE)?;
    let in_subvolume = subject.owner.is_fstree();
    let mut refs = InodeExtrefs::new(subject.data);
    for reference in &mut refs {
        if in_subvolume && !reference.parent.is_file() {
            return Err(Rule::ParentInode {
                have: reference.parent.get(),
            });
        }
        check_name_length(reference.name.len(), NAME_MAX)?;
    }
    if refs.rest().is_empty() {
        return Ok(());
    }
    Err(name_overflow(subject, refs.rest()))
}

/// Verifies a `DIR_ITEM`, `DIR_INDEX` or `XATTR_ITEM`.
pub(super) fn check_dir_item(subject: &Subject<'_>) -> Result<(), Rule> {
    check_prev_inode(subject)?;
    subject.size_at_least(DirItemHeader::SIZE)?;
    let mut entries = DirItems::new(subject.data);
    for entry in &mut entries {
        check_entry(subject, &entry)?;
    }
    if entries.rest().is_empty() {
        return Ok(());
    }
    Err(name_overflow(subject, entries.rest()))
}

fn check_entry(subject: &Subject<'_>, entry: &DirItem<'_>) -> Result<(), Rule> {
    let is_xattr = subject.key.item_type == item::XATTR_ITEM;
    match entry.kind() {
        None | Some(FileType::Unknown) => {
            return Err(Rule::DirType {
                have: entry.file_type,
            })
        }
        Some(kind) if (kind == FileType::Xattr) != is_xattr => {
            return Err(Rule::XattrType {
                have: entry.file_type,
            })
        }
        Some(_) => (),
    }
    if is_xattr {
        check_xattr(entry)?;
    } else {
        check_name(entry)?;
        check_location(entry)?;
    }
    if subject.key.item_type != item::DIR_INDEX {
        let have = name_hash_with(subject.context.crc32c, entry.name);
        if have != subject.key.offset {
            return Err(Rule::NameHash { have });
        }
    }
    Ok(())
}

fn check_xattr(entry: &DirItem<'_>) -> Result<(), Rule> {
    let location = entry.location;
    if location != crate::Key::MIN {
        return Err(Rule::XattrLocation { have: location });
    }
    // No limit for the value: one that fits the leaf is not too long.
    check_name_length(entry.name.len(), XATTR_NAME_MAX)
}

fn check_name(entry: &DirItem<'_>) -> Result<(), Rule> {
    check_name_length(entry.name.len(), NAME_MAX)?;
    if !entry.data.is_empty() {
        return Err(Rule::DirData {
            have: entry.data.len(),
        });
    }
    if entry.name.contains(&b'/') {
        return Err(Rule::NameSlash);
    }
    Ok(())
}

/// Verifies what a directory entry points to: an inode of its subvolume, or another subvolume.
fn check_location(entry: &DirItem<'_>) -> Result<(), Rule> {
    let location = &entry.location;
    match location.item_type {
        // The offset of a subvolume's location is of no meaning; all bits are set as a rule.
        item::ROOT_ITEM if TreeId(location.objectid).is_fstree() => Ok(()),
        item::ROOT_ITEM => Err(Rule::LocationRoot {
            have: location.objectid,
        }),
        item::INODE_ITEM if !is_inode_number(location.objectid) => Err(Rule::LocationInode {
            have: location.objectid,
        }),
        item::INODE_ITEM if location.offset != 0 => Err(Rule::LocationOffset {
            have: location.offset,
        }),
        item::INODE_ITEM => Ok(()),
        have => Err(Rule::LocationType { have }),
    }
}
