// SPDX-License-Identifier: GPL-2.0

//! Making files: with a name, and without.

use btrfs_format::dir::{FileType, DIR_START_INDEX};
use btrfs_format::file_extent::{file_extent_type, FileExtentHeader};
use btrfs_format::inode::{InodeFlags, InodeItem, InodeRefHeader};
use btrfs_format::key::{item, Key};
use btrfs_format::types::{objectid, Generation, Ino};
use kernel::prelude::*;
use kfs::fs::{Created, Draft, IdMap, InitialXattr, NewAttributes, NewEntry, XattrSet};

use super::edit::{dir_size, next_index, Name};
use super::entries::most_bytes;
use crate::data::promise::Rates;
use crate::data::state::FileState;
use crate::edits::{complete, copy, Edits};
use crate::inode::store::store;
use crate::inode::{load, Inode, InodeKey, Parts};
use crate::mount::options::Flags;
use crate::txn::{Demand, Handle};
use crate::vfs::{Btrfs, BtrfsInode};
use crate::xattr::edit::{self, Attribute};
use crate::xattr::property;

/// Bytes of an entry of a directory besides its name.
const ENTRY: u64 = 30;

/// A new file before the operation that makes it begins.
pub(super) struct New<'a> {
    draft: Draft<Btrfs>,
    xattrs: KVec<InitialXattr>,
    flags: InodeFlags,
    ino: Ino,
    entry: &'a NewEntry<'a>,
}

/// The flags that a new file of a directory begins with.
fn inherited_flags(dir: &Inode, mode: u16) -> InodeFlags {
    let regular =
        u32::from(mode) & btrfs_format::inode::mode::FORMAT == btrfs_format::inode::mode::REG;
    let from = dir.flags();
    let mut bits = 0;
    if from.contains(InodeFlags::NOCOMPRESS) {
        bits |= InodeFlags::NOCOMPRESS.0;
    } else if from.contains(InodeFlags::COMPRESS) {
        bits |= InodeFlags::COMPRESS.0;
    }
    let options = dir.subvol().data_options();
    if from.contains(InodeFlags::NODATACOW) {
        bits |= InodeFlags::NODATACOW.0;
        if regular {
            bits |= InodeFlags::NODATASUM.0;
        }
    }
    if regular && options.has(Flags::NODATASUM) {
        bits |= InodeFlags::NODATASUM.0;
    }
    if regular && options.has(Flags::NODATACOW) {
        bits |= InodeFlags::NODATACOW.0 | InodeFlags::NODATASUM.0;
    }
    InodeFlags(bits)
}

impl<'a> New<'a> {
    /// Does what may take long or fail without consequence. `name` is the name in `dir`; `None` for
    /// a file without one.
    pub(super) fn prepare(
        dir: &BtrfsInode,
        name: Option<&[u8]>,
        entry: &'a NewEntry<'a>,
        idmap: &IdMap,
    ) -> Result<Self> {
        let data = dir.data();
        if let Some(target) = entry.target {
            let geometry = data.fs().volume().geometry();
            let sector = usize::try_from(geometry.sectorsize)?;
            let inline = most_bytes(geometry).saturating_sub(FileExtentHeader::SIZE);
            if target.len() > inline || target.len() >= sector {
                return Err(ENAMETOOLONG);
            }
        }
        let draft = Draft::new(dir, idmap, entry.mode)?;
        let mut xattrs = draft.xattrs(dir, name)?;
        let mut flags = inherited_flags(data, draft.mode());
        let kind = FileType::from_mode(u32::from(draft.mode()));
        if matches!(kind, FileType::Regular | FileType::Dir) && property::can_compress(flags) {
            if let Some(algorithm) = property::algorithm(data)? {
                let attribute = InitialXattr {
                    name: copy(property::COMPRESSION)?,
                    value: copy(algorithm.name().as_bytes())?,
                };
                xattrs.push(attribute, GFP_KERNEL)?;
                flags = InodeFlags((flags.0 & !InodeFlags::NOCOMPRESS.0) | InodeFlags::COMPRESS.0);
            }
        }
        Ok(Self {
            draft,
            xattrs,
            flags,
            ino: data.subvol().alloc_ino()?,
            entry,
        })
    }

    /// The type of the file.
    pub(super) fn kind(&self) -> FileType {
        FileType::from_mode(u32::from(self.draft.mode()))
    }

    /// Its number.
    pub(super) fn ino(&self) -> Ino {
        self.ino
    }

    /// What directory entries that lead to it say.
    pub(super) fn location(&self) -> Key {
        Key::new(self.ino.get(), item::INODE_ITEM, 0)
    }

    /// How many edits, and how many bytes, the file takes besides its names.
    pub(super) fn demand(&self) -> (u64, u64) {
        let (mut edits, mut bytes) = (1, InodeItem::SIZE as u64);
        for attribute in self.xattrs.iter() {
            let size = attribute.name.len() + attribute.value.len();
            edits += 1;
            bytes += ENTRY + size as u64;
        }
        if let Some(target) = self.entry.target {
            edits += 1;
            bytes += FileExtentHeader::SIZE as u64 + target.len() as u64;
        }
        (edits, bytes)
    }

    /// Collects what the file consists of besides the inode item, and makes the inode, with
    /// `nlink` links.
    pub(super) fn build(
        self,
        dir: &Inode,
        edits: &mut Edits,
        transid: Generation,
        nlink: u32,
    ) -> Result<Created<Btrfs>> {
        let tree = dir.tree();
        let most = most_bytes(dir.fs().volume().geometry());
        for attribute in self.xattrs.iter() {
            let attribute = Attribute {
                name: &attribute.name,
                value: Some(&attribute.value),
                how: XattrSet::Any,
            };
            edit::set(edits, tree, self.ino, most, &attribute, transid)?;
        }
        let kind = self.kind();
        let target = self.entry.target.unwrap_or(&[]);
        if kind == FileType::Symlink {
            let key = Key::new(self.ino.get(), item::EXTENT_DATA, 0);
            edits.put(tree, key, inline(target, transid)?)?;
        }
        let mode = self.draft.mode();
        let regular = kind == FileType::Regular;
        let rates = Rates::of(dir.fs().volume().geometry());
        let file = match regular {
            true => Some(KBox::pin_init(FileState::new(0, 0, rates), GFP_KERNEL)?),
            false => None,
        };
        let attributes = NewAttributes {
            kind: load::kind_of(u32::from(mode), u64::from(self.entry.dev.into_raw()))?,
            nlink,
            size: i64::try_from(target.len())?,
            bytes: u64::try_from(target.len())?,
            generation: load::low(transid.get()),
            flags: load::vfs_flags(self.flags),
            large_folios: regular,
        };
        let parts = Parts {
            fs: dir.fs().clone(),
            subvol: dir.subvol().clone(),
            ino: self.ino,
            stub: false,
            generation: transid,
            otime: self.draft.now().into(),
            flags: self.flags,
            has_xattrs: !self.xattrs.is_empty(),
            next_index: DIR_START_INDEX,
            file,
        };
        let key = InodeKey::File {
            tree: dir.subvol().id(),
            ino: self.ino,
        };
        self.draft.finish(key, attributes, Inode::new(parts))
    }
}

/// The data of an inline extent that is not compressed.
fn inline(bytes: &[u8], transid: Generation) -> Result<KVec<u8>> {
    let header = FileExtentHeader {
        generation: transid.into(),
        ram_bytes: u64::try_from(bytes.len())?.into(),
        compression: 0,
        encryption: 0,
        other_encoding: 0.into(),
        kind: file_extent_type::INLINE,
    };
    let mut item = copy(header.to_disk())?;
    item.extend_from_slice(bytes, GFP_KERNEL)?;
    Ok(item)
}

/// The directory got or lost names of `by` bytes, at this moment.
pub(crate) fn touch_dir(handle: &mut Handle<'_>, dir: &BtrfsInode, by: i64) -> Result {
    dir.set_size(dir.size().saturating_add(by).max(0));
    dir.inc_version();
    dir.touch();
    store(handle, dir)
}

/// What a name of `len` bytes takes: with its reference, and the inode item of the directory.
pub(crate) fn name_demand(len: usize) -> (u64, u64) {
    let names = (len as u64).saturating_mul(3);
    let fixed = 2 * ENTRY + InodeRefHeader::SIZE as u64 + InodeItem::SIZE as u64;
    (4, names.saturating_add(fixed))
}

/// Makes a file with the name `name` in `dir`.
pub(crate) fn create(
    dir: &BtrfsInode,
    name: &[u8],
    entry: &NewEntry<'_>,
    idmap: &IdMap,
) -> Result<Created<Btrfs>> {
    let data = dir.data();
    let fs = data.fs();
    let new = New::prepare(dir, Some(name), entry, idmap)?;
    let (a, b) = (new.demand(), name_demand(name.len()));
    let mut handle = fs.txn().start(Demand::items(a.0 + b.0, a.1 + b.1))?;
    let transid = handle.transid();
    data.tree().set_complete(&mut handle, new.ino().get())?;
    let mut edits = Edits::new();
    let place = Name { dir: data, name };
    let index = next_index(data)?;
    place.add(&mut edits, new.location(), new.kind(), index, transid)?;
    place.add_ref(&mut edits, new.ino(), index)?;
    let created = new.build(data, &mut edits, transid, 1)?;
    complete(fs, handle, "create", |handle| {
        edits.apply(handle)?;
        store(handle, &created)?;
        touch_dir(handle, dir, dir_size(name.len()))
    })?;
    Ok(created)
}

/// Makes a file without a name in the subvolume of `dir`. It goes when nobody has it open any more,
/// unless it gets a name.
pub(crate) fn tmpfile(
    dir: &BtrfsInode,
    entry: &NewEntry<'_>,
    idmap: &IdMap,
) -> Result<Created<Btrfs>> {
    let data = dir.data();
    let fs = data.fs();
    let new = New::prepare(dir, None, entry, idmap)?;
    let (edits, bytes) = new.demand();
    let mut handle = fs.txn().start(Demand::items(edits + 1, bytes))?;
    let transid = handle.transid();
    data.tree().set_complete(&mut handle, new.ino().get())?;
    let mut edits = Edits::new();
    edits.put(data.tree(), orphan_key(new.ino()), KVec::new())?;
    let created = new.build(data, &mut edits, transid, 0)?;
    complete(fs, handle, "tmpfile", |handle| {
        edits.apply(handle)?;
        store(handle, &created)
    })?;
    Ok(created)
}

/// The key that says of a file that it has no name.
pub(crate) fn orphan_key(ino: Ino) -> Key {
    Key::new(objectid::ORPHAN, item::ORPHAN_ITEM, ino.get())
}
