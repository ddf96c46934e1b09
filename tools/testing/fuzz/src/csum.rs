// SPDX-License-Identifier: GPL-2.0

//! The four checksums, as they are stored.

use btrfs_format::csum::CsumType;

/// The checksum of `bytes`, padded with zeros to the 32 bytes of a header's checksum area.
pub fn checksum(kind: CsumType, bytes: &[u8]) -> [u8; 32] {
    use blake2::digest::consts::U32;
    use blake2::{Blake2b, Digest};
    let mut area = [0u8; 32];
    match kind {
        CsumType::Crc32c => area[..4].copy_from_slice(&crc32c::crc32c(bytes).to_le_bytes()),
        CsumType::Xxhash => {
            area[..8].copy_from_slice(&xxhash_rust::xxh64::xxh64(bytes, 0).to_le_bytes())
        }
        CsumType::Sha256 => area.copy_from_slice(&sha2::Sha256::digest(bytes)),
        CsumType::Blake2 => area.copy_from_slice(&Blake2b::<U32>::digest(bytes)),
    }
    area
}

/// Writes the checksum of a superblock or tree block into its first 32 bytes.
pub fn seal(kind: CsumType, block: &mut [u8]) {
    let area = checksum(kind, &block[32..]);
    block[..32].copy_from_slice(&area);
}
