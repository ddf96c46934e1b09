// SPDX-License-Identifier: GPL-2.0

//! One test per rule of file extents and checksums.

mod support;

use btrfs_format::check::Field;
use btrfs_format::file_extent::{Compression, DiskExtent, FileExtentHeader, FileExtentItem};
use btrfs_format::types::objectid;
use btrfs_format::{item, Generation, Key, Logical, Rule, TreeId};
use support::block::{check_item, check_items};
use zerocopy::little_endian::{U16, U64};

const FS: TreeId = TreeId::FS_TREE;

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
