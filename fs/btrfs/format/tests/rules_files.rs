// SPDX-License-Identifier: GPL-2.0

//! One test per rule of inodes, names, directories, attributes, file extents and checksums.

mod support;

use btrfs_format::check::Field;
use btrfs_format::dir::{name_hash, DirItemHeader, FileType};
use btrfs_format::file_extent::{Compression, DiskExtent, FileExtentHeader, FileExtentItem};
use btrfs_format::inode::{InodeExtrefHeader, InodeItem, InodeRefHeader};
use btrfs_format::types::objectid;
use btrfs_format::{check_block, item, Expected, Generation, Key, Logical, Rule, TreeId};
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

fn extent() -> DiskExtent {
    DiskExtent {
        generation: Generation(5),
        ram_bytes: 65536,
        compression: Compression::None,
        disk_bytenr: Logical(1 << 30),
        disk_num_bytes: 65536,
        offset: 4096,
        num_bytes: 8192,
    }
}

fn check_extent_item(extent_item: &FileExtentItem) -> Result<(), Rule> {
    let key = Key::new(257, item::EXTENT_DATA, 8192);
    check_item(FS, key, extent_item.to_disk())
}

fn check_extent(change: impl Fn(&mut DiskExtent)) -> Result<(), Rule> {
    let mut extent = extent();
    change(&mut extent);
    check_extent_item(&extent.regular_item())
}

#[test]
fn file_extents() {
    assert_eq!(check_extent(|_| ()), Ok(()));
    assert_eq!(check_extent_item(&extent().prealloc_item()), Ok(()));
    assert_eq!(
        check_extent(|extent| extent.disk_bytenr = Logical(0)),
        Ok(())
    );
    assert_eq!(
        check_extent(|extent| extent.compression = Compression::Lzo),
        Ok(())
    );

    let unaligned = |field, have| {
        Err(Rule::Unaligned {
            field,
            have,
            align: 4096,
        })
    };
    let result = check_extent(|extent| extent.ram_bytes = 1);
    assert_eq!(result, unaligned(Field::RamBytes, 1));
    let result = check_extent(|extent| extent.disk_bytenr = Logical(1));
    assert_eq!(result, unaligned(Field::DiskBytenr, 1));
    let result = check_extent(|extent| extent.disk_num_bytes = 1);
    assert_eq!(result, unaligned(Field::DiskNumBytes, 1));
    let result = check_extent(|extent| extent.offset = 1);
    assert_eq!(result, unaligned(Field::ExtentOffset, 1));
    let result = check_extent(|extent| extent.num_bytes = 1);
    assert_eq!(result, unaligned(Field::NumBytes, 1));
    let key = Key::new(257, item::EXTENT_DATA, 1);
    let result = check_item(FS, key, extent().regular_item().to_disk());
    assert_eq!(result, unaligned(Field::KeyOffset, 1));
}

#[test]
fn file_extent_ranges() {
    let field = Field::NumBytes;
    let result = check_extent(|extent| extent.num_bytes = 0);
    assert_eq!(result, Err(Rule::Zero { field }));
    let (start, length) = (8192, 0u64.wrapping_sub(8192));
    let result = check_extent(|extent| extent.num_bytes = length);
    let rule = Rule::Overflow {
        field,
        start,
        length,
    };
    assert_eq!(result, Err(rule));
    let field = Field::DiskNumBytes;
    let result = check_extent(|extent| extent.disk_num_bytes = 0);
    assert_eq!(result, Err(Rule::Zero { field }));

    let beyond = |num_bytes, size| {
        Err(Rule::ExtentBounds {
            offset: 4096,
            num_bytes,
            size,
        })
    };
    let result = check_extent(|extent| extent.num_bytes = 65536);
    assert_eq!(result, beyond(65536, 65536));
    let compressed = |ram_bytes, disk_num_bytes| {
        check_extent(|extent| {
            extent.compression = Compression::Zstd;
            extent.ram_bytes = ram_bytes;
            extent.disk_num_bytes = disk_num_bytes;
        })
    };
    assert_eq!(compressed(131_072, 4096), Ok(()));
    assert_eq!(compressed(8192, 4096), beyond(8192, 8192));
    let max = 131_072;
    let too_large = |field, have| Err(Rule::TooLarge { field, have, max });
    assert_eq!(
        compressed(135_168, 4096),
        too_large(Field::RamBytes, 135_168)
    );
    let result = compressed(131_072, 135_168);
    assert_eq!(result, too_large(Field::DiskNumBytes, 135_168));
}

#[test]
fn file_extent_kinds() {
    let mut odd = extent().regular_item();
    odd.header.kind = 3;
    assert_eq!(check_extent_item(&odd), Err(Rule::ExtentType { have: 3 }));
    let mut odd = extent().regular_item();
    odd.header.compression = 4;
    assert_eq!(check_extent_item(&odd), Err(Rule::Compression { have: 4 }));
    let mut odd = extent().regular_item();
    odd.header.encryption = 1;
    assert_eq!(check_extent_item(&odd), Err(Rule::Encryption { have: 1 }));
    let mut odd = extent().regular_item();
    odd.header.other_encoding = U16::new(1);
    assert_eq!(
        check_extent_item(&odd),
        Err(Rule::OtherEncoding { have: 1 })
    );
    let mut odd = extent().prealloc_item();
    odd.header.compression = 1;
    let rule = Err(Rule::CompressionNotAllowed { have: 1 });
    assert_eq!(check_extent_item(&odd), rule);
    odd.header.kind = 1;
    assert_eq!(check_extent_item(&odd), Ok(()));
    let key = Key::new(257, item::EXTENT_DATA, 8192);
    assert_eq!(check_item(TreeId::DATA_RELOC, key, odd.to_disk()), rule);

    let data = odd.to_disk();
    let rule = Rule::ItemTooShort { have: 20, min: 21 };
    assert_eq!(check_item(FS, key, &data[..20]), Err(rule));
    let rule = Rule::ItemSize { have: 52, want: 53 };
    assert_eq!(check_item(FS, key, &data[..52]), Err(rule));
}

#[test]
fn inline_extents() {
    let inline = |ram_bytes, compression: Compression, data: &[u8]| {
        let header = FileExtentHeader {
            generation: U64::new(5),
            ram_bytes: U64::new(ram_bytes),
            compression: compression.raw(),
            encryption: 0,
            other_encoding: U16::new(0),
            kind: 0,
        };
        [header.to_disk(), data].concat()
    };
    let key = Key::new(257, item::EXTENT_DATA, 0);
    let data = inline(5, Compression::None, b"12345");
    assert_eq!(check_item(FS, key, &data), Ok(()));
    let data = inline(50, Compression::Zlib, b"12345");
    assert_eq!(check_item(FS, key, &data), Ok(()));
    let bad = inline(6, Compression::None, b"12345");
    let (have, ram_bytes) = (5, 6);
    let rule = Rule::InlineSize { have, ram_bytes };
    assert_eq!(check_item(FS, key, &bad), Err(rule));
    let later = Key::new(257, item::EXTENT_DATA, 4096);
    let rule = Rule::InlineOffset { have: 4096 };
    assert_eq!(check_item(FS, later, &data), Err(rule));

    // Inline data fills its sector.
    let next = extent().regular_item();
    let items = [(key, &data[..]), (later, next.to_disk())];
    assert_eq!(check_items(FS, &items), Ok(()));
    let large = inline(4097, Compression::Zlib, b"12345");
    let items = [(key, &large[..]), (later, next.to_disk())];
    let overlap = Rule::Overlap {
        field: Field::NumBytes,
        prev_end: 8192,
        start: 4096,
    };
    assert_eq!(check_items(FS, &items), Err(overlap));
}

#[test]
fn file_extents_overlap() {
    let data = extent().regular_item();
    let items = |ino, start| {
        [
            (Key::new(257, item::EXTENT_DATA, 0), data.to_disk()),
            (Key::new(ino, item::EXTENT_DATA, start), data.to_disk()),
        ]
    };
    assert_eq!(check_items(FS, &items(257, 8192)), Ok(()));
    assert_eq!(
        check_items(FS, &items(257, 4096)),
        Err(Rule::Overlap {
            field: Field::NumBytes,
            prev_end: 8192,
            start: 4096
        })
    );
    // Another file; that it has no inode item does not matter in a log.
    assert_eq!(check_items(TreeId::TREE_LOG, &items(258, 4096)), Ok(()));
}

#[test]
fn checksums() {
    let key = |objectid, offset| Key::new(objectid, item::EXTENT_CSUM, offset);
    let csums = objectid::EXTENT_CSUM;
    let check = |key, data: &[u8]| check_item(TreeId::CSUM_TREE, key, data);
    assert_eq!(check(key(csums, 4096), &[0; 8]), Ok(()));
    let (have, want) = (5, csums);
    assert_eq!(
        check(key(5, 4096), &[0; 8]),
        Err(Rule::Objectid { have, want })
    );
    let rule = Rule::Unaligned {
        field: Field::KeyOffset,
        have: 1,
        align: 4096,
    };
    assert_eq!(check(key(csums, 1), &[0; 8]), Err(rule));
    assert_eq!(check(key(csums, 4096), &[]), Err(Rule::ItemEmpty));
    let rule = Rule::ItemSizeMultiple { have: 7, unit: 4 };
    assert_eq!(check(key(csums, 4096), &[0; 7]), Err(rule));
    let start = 0u64.wrapping_sub(4096);
    let rule = Rule::Overflow {
        field: Field::CsumRange,
        start,
        length: 8192,
    };
    assert_eq!(check(key(csums, start), &[0; 8]), Err(rule));

    let two = |start| {
        let data = &[0; 8][..];
        check_items(
            TreeId::CSUM_TREE,
            &[(key(csums, 4096), data), (key(csums, start), data)],
        )
    };
    assert_eq!(two(12288), Ok(()));
    let rule = Rule::Overlap {
        field: Field::CsumRange,
        prev_end: 12288,
        start: 8192,
    };
    assert_eq!(two(8192), Err(rule));
}
