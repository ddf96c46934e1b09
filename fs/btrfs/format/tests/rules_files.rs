// SPDX-License-Identifier: GPL-2.0

//! One test per rule of inodes, names, directories and attributes.

mod support;

use btrfs_format::check::Field;
use btrfs_format::dir::{name_hash, DirItemHeader, FileType};
use btrfs_format::inode::{InodeExtrefHeader, InodeItem, InodeRefHeader};
use btrfs_format::types::objectid;
use btrfs_format::{check_block, item, Expected, Key, Rule, TreeId};
use support::block::{check_item, check_items, context, leaf, LOGICAL};
use zerocopy::little_endian::{U16, U32, U64};

const FS: TreeId = TreeId::FS_TREE;
const INODE: Key = Key::new(257, item::INODE_ITEM, 0);

fn inode() -> InodeItem {
    let mut inode = InodeItem::zeroed();
    inode.mode = U32::new(0o100_644);
    inode.nlink = U32::new(1);
    inode
}

fn check_inode(change: impl Fn(&mut InodeItem)) -> Result<(), Rule> {
    let mut inode = inode();
    change(&mut inode);
    check_item(FS, INODE, inode.to_disk())
}

#[test]
fn inode_items() {
    assert_eq!(check_inode(|_| ()), Ok(()));
    assert_eq!(
        check_item(FS, INODE, &inode().to_disk()[1..]),
        Err(Rule::ItemSize {
            have: 159,
            want: 160
        })
    );
    for (number, fits) in [
        (256, true),
        (6, true),
        (objectid::FREE_INO, true),
        (7, false),
    ] {
        let key = Key::new(number, item::INODE_ITEM, 0);
        let bad = Err(Rule::InodeNumber { have: number });
        let want = if fits { Ok(()) } else { bad };
        assert_eq!(check_item(FS, key, inode().to_disk()), want);
    }
    let key = Key::new(257, item::INODE_ITEM, 1);
    assert_eq!(
        check_item(FS, key, inode().to_disk()),
        Err(Rule::KeyOffset { have: 1, want: 0 })
    );
    assert_eq!(
        check_inode(|inode| inode.generation = U64::new(101)),
        Ok(())
    );
    assert_eq!(
        check_inode(|inode| inode.generation = U64::new(102)),
        Err(Rule::Generation {
            field: Field::InodeGeneration,
            have: 102,
            max: 101
        })
    );
    assert_eq!(
        check_inode(|inode| inode.transid = U64::new(102)),
        Err(Rule::Generation {
            field: Field::InodeTransid,
            have: 102,
            max: 101
        })
    );
}

#[test]
fn inode_modes_and_flags() {
    for format in [1, 2, 4, 6, 8, 10, 12] {
        assert_eq!(
            check_inode(|inode| inode.mode = U32::new(format << 12)),
            Ok(())
        );
    }
    for format in [0, 3, 5, 7, 9, 11, 13, 14, 15] {
        let have = format << 12;
        let rule = Rule::ModeFormat { have };
        assert_eq!(check_inode(|inode| inode.mode = U32::new(have)), Err(rule));
    }
    assert_eq!(
        check_inode(|inode| inode.mode = U32::new(0x1_81a4)),
        Err(Rule::ModeBits { have: 0x1_0000 })
    );
    let dir = |nlink| {
        check_inode(|inode| {
            inode.mode = U32::new(0o040_755);
            inode.nlink = U32::new(nlink);
        })
    };
    assert_eq!(dir(1), Ok(()));
    assert_eq!(dir(2), Err(Rule::DirLinks { have: 2 }));
    assert_eq!(
        check_inode(|inode| inode.flags = U64::new(1 << 12)),
        Err(Rule::InodeFlags { have: 1 << 12 })
    );

    let mut odd = inode();
    odd.flags = U64::new(1 << 33);
    let block = leaf(FS, &[(INODE, odd.to_disk())]);
    let mut context = context();
    let expected = Expected::at(LOGICAL);
    assert_eq!(check_block(&block, &context, &expected), Ok(()));
    context.writable = true;
    let rule = check_block(&block, &context, &expected).unwrap_err().rule;
    assert_eq!(rule, Rule::InodeRoFlags { have: 1 << 33 });
}

fn inode_ref(name: &[u8], name_len: usize) -> Vec<u8> {
    let header = InodeRefHeader {
        index: U64::new(2),
        name_len: U16::new(name_len as u16),
    };
    [header.to_disk(), name].concat()
}

fn inode_extref(parent: u64, name: &[u8], name_len: usize) -> Vec<u8> {
    let header = InodeExtrefHeader {
        parent: U64::new(parent),
        index: U64::new(2),
        name_len: U16::new(name_len as u16),
    };
    [header.to_disk(), name].concat()
}

#[test]
fn inode_refs() {
    let key = Key::new(257, item::INODE_REF, 256);
    let check = |data: &[u8]| check_item(FS, key, data);
    let name = inode_ref(b"name", 4);
    assert_eq!(check(&name), Ok(()));
    assert_eq!(check(&[&name[..], &name[..]].concat()), Ok(()));
    assert_eq!(check(&[]), Err(Rule::ItemTooShort { have: 0, min: 10 }));
    let max = 255;
    let have = 0;
    assert_eq!(
        check(&inode_ref(b"", 0)),
        Err(Rule::NameLength { have, max })
    );
    let have = 256;
    let long = inode_ref(&[b'x'; 256], 256);
    assert_eq!(check(&long), Err(Rule::NameLength { have, max }));
    let overflow = |offset, size| Err(Rule::NameOverflow { offset, size });
    assert_eq!(check(&inode_ref(b"name", 5)), overflow(0, 14));
    assert_eq!(check(&[&name[..], &[1; 9]].concat()), overflow(14, 23));

    let key = Key::new(257, item::INODE_REF, 6);
    assert_eq!(
        check_item(FS, key, &name),
        Err(Rule::ParentInode { have: 6 })
    );
    assert_eq!(check_item(TreeId::ROOT_TREE, key, &name), Ok(()));
}

#[test]
fn inode_extrefs() {
    let key = Key::new(257, item::INODE_EXTREF, 12345);
    let check = |data: &[u8]| check_item(FS, key, data);
    let name = inode_extref(256, b"name", 4);
    assert_eq!(check(&name), Ok(()));
    assert_eq!(check(&[]), Err(Rule::ItemTooShort { have: 0, min: 18 }));
    assert_eq!(
        check(&inode_extref(2, b"name", 4)),
        Err(Rule::ParentInode { have: 2 })
    );
    let (have, max) = (0, 255);
    assert_eq!(
        check(&inode_extref(256, b"", 0)),
        Err(Rule::NameLength { have, max })
    );
    assert_eq!(
        check(&inode_extref(256, b"name", 9)),
        Err(Rule::NameOverflow {
            offset: 0,
            size: 22
        })
    );
}

/// An entry, with everything in its header to be chosen.
struct Entry<'a> {
    location: Key,
    file_type: u8,
    name: &'a [u8],
    data: &'a [u8],
}

impl Entry<'_> {
    fn bytes(&self) -> Vec<u8> {
        let header = DirItemHeader {
            location: self.location.into(),
            transid: U64::new(7),
            data_len: U16::new(self.data.len() as u16),
            name_len: U16::new(self.name.len() as u16),
            file_type: self.file_type,
        };
        [header.to_disk(), self.name, self.data].concat()
    }

    fn check_as(&self, item_type: u8) -> Result<(), Rule> {
        let key = Key::new(256, item_type, name_hash(self.name));
        check_item(FS, key, &self.bytes())
    }
}

fn entry() -> Entry<'static> {
    Entry {
        location: INODE,
        file_type: FileType::Regular.raw(),
        name: b"name",
        data: b"",
    }
}

fn attribute() -> Entry<'static> {
    Entry {
        location: Key::MIN,
        file_type: FileType::Xattr.raw(),
        name: b"user.name",
        data: b"value",
    }
}

fn check_entry(change: impl Fn(&mut Entry<'static>)) -> Result<(), Rule> {
    let mut entry = entry();
    change(&mut entry);
    let as_item = entry.check_as(item::DIR_ITEM);
    assert_eq!(entry.check_as(item::DIR_INDEX), as_item);
    as_item
}

#[test]
fn directory_entries() {
    assert_eq!(check_entry(|_| ()), Ok(()));
    let subvolume =
        |id, offset| check_entry(|entry| entry.location = Key::new(id, item::ROOT_ITEM, offset));
    assert_eq!(subvolume(300, u64::MAX), Ok(()));
    assert_eq!(subvolume(0, 0), Err(Rule::LocationRoot { have: 0 }));
    assert_eq!(subvolume(9, 0), Err(Rule::LocationRoot { have: 9 }));
    assert_eq!(
        check_entry(|entry| entry.location.objectid = 255),
        Err(Rule::LocationInode { have: 255 })
    );
    assert_eq!(
        check_entry(|entry| entry.location.offset = 1),
        Err(Rule::LocationOffset { have: 1 })
    );
    assert_eq!(
        check_entry(|entry| entry.location.item_type = item::DIR_ITEM),
        Err(Rule::LocationType {
            have: item::DIR_ITEM
        })
    );
    for have in [0, 9, 127, 0x80] {
        let rule = Rule::DirType { have };
        assert_eq!(check_entry(|entry| entry.file_type = have), Err(rule));
    }
    assert_eq!(check_entry(|entry| entry.file_type |= 0x80), Ok(()));
    assert_eq!(
        check_entry(|entry| entry.file_type = 8),
        Err(Rule::XattrType { have: 8 })
    );
    assert_eq!(
        check_entry(|entry| entry.name = b""),
        Err(Rule::NameLength { have: 0, max: 255 })
    );
    assert_eq!(check_entry(|entry| entry.name = &[b'x'; 255]), Ok(()));
    assert_eq!(
        check_entry(|entry| entry.name = &[b'x'; 256]),
        Err(Rule::NameLength {
            have: 256,
            max: 255
        })
    );
    assert_eq!(
        check_entry(|entry| entry.name = b"a/b"),
        Err(Rule::NameSlash)
    );
    assert_eq!(
        check_entry(|entry| entry.data = b"x"),
        Err(Rule::DirData { have: 1 })
    );
}

#[test]
fn entries_in_one_item() {
    let first = entry().bytes();
    let both = [&first[..], &first[..]].concat();
    let key = Key::new(256, item::DIR_ITEM, name_hash(b"name"));
    assert_eq!(check_item(FS, key, &both), Ok(()));
    assert_eq!(
        check_item(FS, key, &both[..both.len() - 1]),
        Err(Rule::NameOverflow {
            offset: 34,
            size: 67
        })
    );
    assert_eq!(
        check_item(FS, key, &[]),
        Err(Rule::ItemTooShort { have: 0, min: 30 })
    );
    let key = Key::new(256, item::DIR_ITEM, 5);
    let have = name_hash(b"name");
    assert_eq!(check_item(FS, key, &first), Err(Rule::NameHash { have }));
    let key = Key::new(256, item::DIR_INDEX, 5);
    assert_eq!(check_item(FS, key, &first), Ok(()));
}

#[test]
fn extended_attributes() {
    assert_eq!(attribute().check_as(item::XATTR_ITEM), Ok(()));
    let rule = Err(Rule::XattrType { have: 8 });
    assert_eq!(attribute().check_as(item::DIR_ITEM), rule);
    let rule = Err(Rule::XattrType { have: 1 });
    assert_eq!(entry().check_as(item::XATTR_ITEM), rule);
    let mut odd = attribute();
    odd.location = INODE;
    let rule = Err(Rule::XattrLocation { have: INODE });
    assert_eq!(odd.check_as(item::XATTR_ITEM), rule);

    let max = 4096 - 101 - 25 - 30;
    let value = [0; 4096];
    let mut large = attribute();
    large.data = &value[..max - large.name.len()];
    assert_eq!(large.check_as(item::XATTR_ITEM), Ok(()));
}

#[test]
fn items_without_inode() {
    let name = inode_ref(b"name", 4);
    let inode = inode();
    let items = |number| {
        [
            (INODE, inode.to_disk()),
            (Key::new(number, item::INODE_REF, 256), &name[..]),
        ]
    };
    assert_eq!(check_items(FS, &items(257)), Ok(()));
    assert_eq!(
        check_items(FS, &items(258)),
        Err(Rule::PrevObjectid { prev: 257 })
    );
    assert_eq!(check_items(TreeId::TREE_LOG, &items(258)), Ok(()));
}
