// SPDX-License-Identifier: GPL-2.0

//! File extents and checksums of data.

use super::inode::check_prev_inode;
use super::{Field, Rule, Subject};
use crate::file_extent::{
    file_extent_type, Compression, FileExtent, FileExtentDisk, FileExtentHeader, FileExtentItem,
};
use crate::key::{item, Key};
use crate::types::{objectid, TreeId};

/// Most bytes of one compressed extent, before and after compression.
///
/// Compression works on pieces of this size, and decompression needs buffers for a whole piece.
const MAX_COMPRESSED: u64 = 128 << 10;

/// Verifies an `EXTENT_DATA`.
pub(super) fn check_file_extent(subject: &Subject<'_>) -> Result<(), Rule> {
    subject.aligned(Field::KeyOffset, subject.key.offset)?;
    check_prev_inode(subject)?;
    let Some((header, rest)) = FileExtentHeader::from_prefix(subject.data) else {
        return Err(Rule::ItemTooShort {
            have: subject.data.len(),
            min: FileExtentHeader::SIZE,
        });
    };
    if header.kind >= file_extent_type::COUNT {
        return Err(Rule::ExtentType { have: header.kind });
    }
    if header.encryption != 0 {
        return Err(Rule::Encryption {
            have: header.encryption,
        });
    }
    if header.other_encoding.get() != 0 {
        return Err(Rule::OtherEncoding {
            have: header.other_encoding.get(),
        });
    }
    let Some(compression) = Compression::from_raw(header.compression) else {
        return Err(Rule::Compression {
            have: header.compression,
        });
    };
    if compression != Compression::None && header.ram_bytes.get() > MAX_COMPRESSED {
        return Err(Rule::TooLarge {
            field: Field::RamBytes,
            have: header.ram_bytes.get(),
            max: MAX_COMPRESSED,
        });
    }
    if header.kind == file_extent_type::INLINE {
        return check_inline(subject, header, compression, rest);
    }
    let Some(disk) = FileExtentDisk::from_bytes(rest) else {
        return Err(subject.bad_size(FileExtentItem::SIZE));
    };
    check_disk_extent(subject, header, compression, disk)?;
    check_no_overlap(subject)
}

fn check_inline(
    subject: &Subject<'_>,
    header: &FileExtentHeader,
    compression: Compression,
    data: &[u8],
) -> Result<(), Rule> {
    if subject.key.offset != 0 {
        return Err(Rule::InlineOffset {
            have: subject.key.offset,
        });
    }
    // The length of compressed data says nothing about that of the file.
    let ram_bytes = header.ram_bytes.get();
    if compression == Compression::None && u64::try_from(data.len()) != Ok(ram_bytes) {
        return Err(Rule::InlineSize {
            have: data.len(),
            ram_bytes,
        });
    }
    Ok(())
}

fn check_disk_extent(
    subject: &Subject<'_>,
    header: &FileExtentHeader,
    compression: Compression,
    disk: &FileExtentDisk,
) -> Result<(), Rule> {
    let is_prealloc = header.kind == file_extent_type::PREALLOC;
    if compression != Compression::None && (is_prealloc || subject.owner == TreeId::DATA_RELOC) {
        return Err(Rule::CompressionNotAllowed {
            have: header.compression,
        });
    }
    let ram_bytes = header.ram_bytes.get();
    let disk_bytenr = disk.disk_bytenr.get();
    let disk_num_bytes = disk.disk_num_bytes.get();
    let offset = disk.offset.get();
    let num_bytes = disk.num_bytes.get();
    subject.aligned(Field::RamBytes, ram_bytes)?;
    subject.aligned(Field::DiskBytenr, disk_bytenr)?;
    subject.aligned(Field::DiskNumBytes, disk_num_bytes)?;
    subject.aligned(Field::ExtentOffset, offset)?;
    subject.aligned(Field::NumBytes, num_bytes)?;
    subject.range_end(Field::NumBytes, subject.key.offset, num_bytes)?;
    if disk_bytenr == 0 {
        return Ok(());
    }

    subject.range_end(Field::DiskNumBytes, disk_bytenr, disk_num_bytes)?;
    // What ram_bytes says of uncompressed extents was not always right, and nobody uses it.
    let size = match compression {
        Compression::None => disk_num_bytes,
        _ => ram_bytes,
    };
    if offset.checked_add(num_bytes).is_none_or(|end| end > size) {
        return Err(Rule::ExtentBounds {
            offset,
            num_bytes,
            size,
        });
    }
    if compression != Compression::None && disk_num_bytes > MAX_COMPRESSED {
        return Err(Rule::TooLarge {
            field: Field::DiskNumBytes,
            have: disk_num_bytes,
            max: MAX_COMPRESSED,
        });
    }
    Ok(())
}

/// Verifies that the file's previous extent ends before this one begins.
fn check_no_overlap(subject: &Subject<'_>) -> Result<(), Rule> {
    let Some((prev, data)) = subject.prev_of_type(item::EXTENT_DATA) else {
        return Ok(());
    };
    if prev.objectid != subject.key.objectid {
        return Ok(());
    }
    let prev_end = file_extent_end(subject, &prev, data);
    if prev_end > subject.key.offset {
        return Err(Rule::Overlap {
            field: Field::NumBytes,
            prev_end,
            start: subject.key.offset,
        });
    }
    Ok(())
}

/// Where a verified file extent ends in its file, in bytes; inline extents fill whole sectors.
fn file_extent_end(subject: &Subject<'_>, key: &Key, data: &[u8]) -> u64 {
    let sectorsize = u64::from(subject.context.geometry.sectorsize);
    let length = match FileExtent::parse(data) {
        Some(FileExtent::Inline { ram_bytes, .. }) => {
            ram_bytes.checked_next_multiple_of(sectorsize)
        }
        Some(extent) => Some(extent.num_bytes()),
        None => Some(0),
    };
    key.offset.saturating_add(length.unwrap_or(u64::MAX))
}

/// Verifies an `EXTENT_CSUM`.
pub(super) fn check_csum(subject: &Subject<'_>) -> Result<(), Rule> {
    subject.objectid(objectid::EXTENT_CSUM)?;
    subject.aligned(Field::KeyOffset, subject.key.offset)?;
    if subject.data.is_empty() {
        return Err(Rule::ItemEmpty);
    }
    let unit = subject.context.geometry.csum_type.size();
    if subject.data.len().checked_rem(unit) != Some(0) {
        return Err(Rule::ItemSizeMultiple {
            have: subject.data.len(),
            unit,
        });
    }
    let bytes = csum_range(subject, subject.data);
    subject.range_end(Field::CsumRange, subject.key.offset, bytes)?;

    let Some((prev, data)) = subject.prev_of_type(item::EXTENT_CSUM) else {
        return Ok(());
    };
    let prev_end = prev.offset.saturating_add(csum_range(subject, data));
    if prev_end > subject.key.offset {
        return Err(Rule::Overlap {
            field: Field::CsumRange,
            prev_end,
            start: subject.key.offset,
        });
    }
    Ok(())
}

/// The bytes that the checksums in `data` are of.
fn csum_range(subject: &Subject<'_>, data: &[u8]) -> u64 {
    let geometry = &subject.context.geometry;
    let count = data
        .len()
        .checked_div(geometry.csum_type.size())
        .and_then(|count| u64::try_from(count).ok())
        .unwrap_or(0);
    count.saturating_mul(u64::from(geometry.sectorsize))
}
