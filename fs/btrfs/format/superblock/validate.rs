// SPDX-License-Identifier: GPL-2.0

//! The rules a superblock must satisfy before its fields are used.
//!
//! Three questions, three functions: is it a sound superblock ([`validate`]), does this
//! implementation understand the filesystem ([`check_features`]), and is there something a user
//! should know ([`warnings`]). What depends on the machine or on other devices (page size, zones,
//! the UUIDs the other devices have) is left to the mount.

use super::{mirror_offset, CompatRo, Incompat, SuperFlags, Superblock, SysChunkError};
use super::{SUPER_SIZE, SYS_CHUNK_ARRAY_SIZE};
use crate::check::{check_chunk, Rule};
use crate::chunk::{ChunkHeader, Stripe};
use crate::key::DiskKey;
use crate::profile::BlockGroupFlags;
use crate::types::{Uuid, MAX_LEVEL, MAX_NODESIZE};
use core::fmt;

/// The smallest sector size, in bytes.
const MIN_SECTORSIZE: u32 = 4096;
/// Each of the trees that every filesystem has takes a block.
const MIN_BLOCKS: u64 = 6;
/// More devices than this are doubtful.
const MANY_DEVICES: u64 = 1 << 31;

/// Defines an enum of rules with the message of each variant.
macro_rules! rules {
    (
        $(#[$enum_meta:meta])*
        $name:ident {
            $(
                $(#[$meta:meta])*
                $rule:ident $( { $( $field:ident: $ty:ty, )* } )? => $text:literal;
            )*
        }
    ) => {
        $(#[$enum_meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $( $(#[$meta])* $rule $( { $( #[allow(missing_docs)] $field: $ty, )* } )?, )*
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $( Self::$rule $( { $( $field, )* } )? => write!(f, $text), )*
                }
            }
        }
    };
}

rules! {
    /// What is wrong with a superblock.
    SuperRule {
        /// Not btrfs.
        Magic => "no valid FS found";
        /// Flags with which it cannot be mounted.
        Flags { have: SuperFlags, } => "unrecognized or unsupported super flag {have:#x} ({have})";
        /// Not a checksum type.
        CsumType { have: u16, } => "unsupported checksum algorithm {have}";
        /// A level of no tree.
        RootLevel { have: u8, } => "tree_root level too big: {have}";
        /// A level of no tree.
        ChunkRootLevel { have: u8, } => "chunk_root level too big: {have}";
        /// A level of no tree.
        LogRootLevel { have: u8, } => "log_root level too big: {have}";
        /// Not a sector size.
        Sectorsize { have: u32, } => "invalid sectorsize {have}";
        /// Not a size of tree blocks.
        Nodesize { have: u32, } => "invalid nodesize {have}";
        /// Leaves are as large as nodes.
        Leafsize { have: u32, want: u32, } => "invalid leafsize {have}, should be {want}";
        /// Not the address of a tree block.
        RootUnaligned { have: u64, } => "tree_root block unaligned: {have}";
        /// Not the address of a tree block.
        ChunkRootUnaligned { have: u64, } => "chunk_root block unaligned: {have}";
        /// Not the address of a tree block.
        LogRootUnaligned { have: u64, } => "log_root block unaligned: {have}";
        /// The device belongs to another filesystem.
        DeviceFsid { have: Uuid, want: Uuid, }
            => "dev_item UUID does not match metadata fsid: {want} != {have}";
        /// That feature relies on others.
        BlockGroupTreeNeeds
            => "block-group-tree feature requires free-space-tree and no-holes";
        /// That feature relies on others.
        RemapTreeNeeds
            => "remap-tree feature requires free-space-tree, no-holes, and block-group-tree";
        /// Features that do not go together.
        RemapTreeConflict => "remap-tree is supported neither with mixed-bg nor with zoned";
        /// Even an empty filesystem uses more.
        BytesUsed { have: u64, } => "bytes_used is too small {have}";
        /// Not a power of two.
        Stripesize { have: u32, } => "invalid stripesize {have}";
        /// There is at least the device it is on.
        NumDevices => "number of devices is 0";
        /// A copy of another place.
        Bytenr { have: u64, want: u64, } => "super offset mismatch {have} != {want}";
        /// Larger than the room for it.
        SysArrayTooBig { have: u32, } => "system chunk array too big {have}";
        /// No room for even one chunk.
        SysArrayTooSmall { have: u32, } => "system chunk array too small {have}";
        /// Ends within a key or chunk.
        SysArrayTruncated { size: u32, }
            => "super block sys chunk array short read, sys_array_size={size}";
        /// Not the key of a chunk.
        SysArrayKey { item_type: u8, } => "unexpected item type {item_type} in sys_array";
        /// A chunk that breaks a rule.
        SysChunk { logical: u64, rule: Rule, }
            => "corrupt superblock syschunk array: chunk_start={logical}, {rule}";
        /// Mixed block groups are made of blocks of one size.
        MixedSizes { nodesize: u32, sectorsize: u32, }
            => "unequal nodesize/sectorsize ({nodesize} != {sectorsize}) are not allowed for mixed block groups";
        /// Features this implementation does not know, or does not support.
        UnknownIncompat { have: Incompat, }
            => "cannot mount because of unknown incompat features ({have:#x}): {have}";
        /// Features this implementation does not know, and writing needs.
        UnknownCompatRo { have: CompatRo, }
            => "cannot mount read-write because of unknown compat_ro features ({have:#x}): {have}";
    }
}

rules! {
    /// What is doubtful about a superblock, but does not prevent using it.
    SuperWarning {
        /// Hardly that many devices.
        ManyDevices { have: u64, } => "suspicious number of devices: {have}";
        /// The chunk tree comes from the future.
        ChunkRootGeneration { generation: u64, have: u64, }
            => "suspicious: generation < chunk_root_generation: {generation} < {have}";
        /// The free space cache comes from the future.
        CacheGeneration { generation: u64, have: u64, }
            => "suspicious: generation < cache_generation: {generation} < {have}";
    }
}

/// How [`validate`] looks at a superblock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Validation {
    /// Which copy it was read as; `None` if it was made in memory and its offset is not set.
    pub mirror: Option<usize>,
    /// Whether unknown flags are passed over: mount option `rescue=ignoresuperflags`.
    pub ignore_flags: bool,
}

/// Verifies a superblock. Its checksum is the caller's business.
///
/// # Errors
///
/// The first rule it breaks.
pub fn validate(sb: &Superblock, how: &Validation) -> Result<(), SuperRule> {
    check_identity(sb, how)?;
    check_levels(sb)?;
    check_sizes(sb)?;
    check_roots(sb)?;
    check_feature_relations(sb)?;
    check_numbers(sb)?;
    check_sys_array(sb)
}

fn check_identity(sb: &Superblock, how: &Validation) -> Result<(), SuperRule> {
    if !sb.has_magic() {
        return Err(SuperRule::Magic);
    }
    if let Some(want) = how.mirror.and_then(mirror_offset) {
        let have = sb.bytenr.get();
        if have != want {
            return Err(SuperRule::Bytenr { have, want });
        }
    }
    let unknown = sb.flags().difference(SuperFlags::MOUNTABLE);
    if !unknown.is_empty() && !how.ignore_flags {
        return Err(SuperRule::Flags { have: unknown });
    }
    if sb.csum_type().is_none() {
        return Err(SuperRule::CsumType {
            have: sb.csum_type.get(),
        });
    }
    // The device item has the UUID of tree blocks, even where users see another.
    let want = sb.metadata_uuid();
    let have = sb.dev_item.fsid;
    if have != want {
        return Err(SuperRule::DeviceFsid { have, want });
    }
    Ok(())
}

fn check_levels(sb: &Superblock) -> Result<(), SuperRule> {
    if sb.root_level >= MAX_LEVEL {
        return Err(SuperRule::RootLevel {
            have: sb.root_level,
        });
    }
    if sb.chunk_root_level >= MAX_LEVEL {
        return Err(SuperRule::ChunkRootLevel {
            have: sb.chunk_root_level,
        });
    }
    if sb.log_root_level >= MAX_LEVEL {
        return Err(SuperRule::LogRootLevel {
            have: sb.log_root_level,
        });
    }
    Ok(())
}

fn check_sizes(sb: &Superblock) -> Result<(), SuperRule> {
    let sectorsize = sb.sectorsize.get();
    if !sectorsize.is_power_of_two() || !(MIN_SECTORSIZE..=MAX_NODESIZE).contains(&sectorsize) {
        return Err(SuperRule::Sectorsize { have: sectorsize });
    }
    let nodesize = sb.nodesize.get();
    if !nodesize.is_power_of_two() || !(sectorsize..=MAX_NODESIZE).contains(&nodesize) {
        return Err(SuperRule::Nodesize { have: nodesize });
    }
    let leafsize = sb.unused_leafsize.get();
    if leafsize != nodesize {
        return Err(SuperRule::Leafsize {
            have: leafsize,
            want: nodesize,
        });
    }
    Ok(())
}

fn check_roots(sb: &Superblock) -> Result<(), SuperRule> {
    let mask = u64::from(sb.sectorsize.get()).wrapping_sub(1);
    let root = sb.root.get();
    if root & mask != 0 {
        return Err(SuperRule::RootUnaligned { have: root });
    }
    let chunk_root = sb.chunk_root.get();
    if chunk_root & mask != 0 {
        return Err(SuperRule::ChunkRootUnaligned { have: chunk_root });
    }
    let log_root = sb.log_root.get();
    if log_root & mask != 0 {
        return Err(SuperRule::LogRootUnaligned { have: log_root });
    }
    Ok(())
}

fn check_feature_relations(sb: &Superblock) -> Result<(), SuperRule> {
    let incompat = sb.incompat();
    let compat_ro = sb.compat_ro();
    let has_base = compat_ro.contains(CompatRo::FREE_SPACE_TREE_VALID)
        && incompat.contains(Incompat::NO_HOLES);
    let has_group_tree = compat_ro.contains(CompatRo::BLOCK_GROUP_TREE);
    if has_group_tree && !has_base {
        return Err(SuperRule::BlockGroupTreeNeeds);
    }
    if !incompat.contains(Incompat::REMAP_TREE) {
        return Ok(());
    }
    if !has_base || !has_group_tree {
        return Err(SuperRule::RemapTreeNeeds);
    }
    if incompat.intersects(Incompat::MIXED_GROUPS | Incompat::ZONED) {
        return Err(SuperRule::RemapTreeConflict);
    }
    Ok(())
}

fn check_numbers(sb: &Superblock) -> Result<(), SuperRule> {
    let bytes_used = sb.bytes_used.get();
    let min = u64::from(sb.nodesize.get()).saturating_mul(MIN_BLOCKS);
    if bytes_used < min {
        return Err(SuperRule::BytesUsed { have: bytes_used });
    }
    let stripesize = sb.stripesize.get();
    if !stripesize.is_power_of_two() {
        return Err(SuperRule::Stripesize { have: stripesize });
    }
    if sb.num_devices.get() == 0 {
        return Err(SuperRule::NumDevices);
    }
    Ok(())
}

fn check_sys_array(sb: &Superblock) -> Result<(), SuperRule> {
    let have = sb.sys_chunk_array_size.get();
    let size = usize::try_from(have).unwrap_or(usize::MAX);
    if size > SYS_CHUNK_ARRAY_SIZE {
        return Err(SuperRule::SysArrayTooBig { have });
    }
    if size < const { min_sys_array() } {
        return Err(SuperRule::SysArrayTooSmall { have });
    }
    for entry in sb.sys_chunks() {
        let (key, chunk) = entry.map_err(|error| match error {
            SysChunkError::Truncated => SuperRule::SysArrayTruncated { size: have },
            SysChunkError::KeyType(item_type) => SuperRule::SysArrayKey { item_type },
        })?;
        let flags = chunk.flags();
        let result = if flags.contains(BlockGroupFlags::SYSTEM) {
            check_chunk(key.offset, &chunk, sb.sectorsize.get(), sb.incompat())
        } else {
            Err(Rule::ChunkNotSystem { have: flags.bits() })
        };
        result.map_err(|rule| SuperRule::SysChunk {
            logical: key.offset,
            rule,
        })?;
    }
    Ok(())
}

/// The size of an array of one chunk with one stripe, in bytes.
#[allow(clippy::arithmetic_side_effects)] // Evaluated by the compiler.
const fn min_sys_array() -> usize {
    DiskKey::SIZE + ChunkHeader::SIZE + Stripe::SIZE
}

const _: () = assert!(core::mem::size_of::<Superblock>() == SUPER_SIZE);

/// Verifies that this implementation understands the filesystem.
///
/// `incompat` and `compat_ro` are the features it supports. Features that only writing needs are
/// asked for if `writable`.
///
/// # Errors
///
/// The first rule it breaks, with all features that are not supported, by name.
pub fn check_features(
    sb: &Superblock,
    incompat: Incompat,
    compat_ro: CompatRo,
    writable: bool,
) -> Result<(), SuperRule> {
    let unknown = sb.incompat().difference(incompat);
    if !unknown.is_empty() {
        return Err(SuperRule::UnknownIncompat { have: unknown });
    }
    let (nodesize, sectorsize) = (sb.nodesize.get(), sb.sectorsize.get());
    if sb.incompat().contains(Incompat::MIXED_GROUPS) && nodesize != sectorsize {
        return Err(SuperRule::MixedSizes {
            nodesize,
            sectorsize,
        });
    }
    let unknown = sb.compat_ro().difference(compat_ro);
    if writable && !unknown.is_empty() {
        return Err(SuperRule::UnknownCompatRo { have: unknown });
    }
    Ok(())
}

/// What is doubtful about a superblock.
pub fn warnings(sb: &Superblock) -> impl Iterator<Item = SuperWarning> {
    let generation = sb.generation.get();
    let devices = sb.num_devices.get();
    let chunk_root = sb.chunk_root_generation.get();
    let cache = sb.cache_generation.get();
    // All bits set: there is no cache.
    let cache_ahead = cache > generation && cache != u64::MAX;
    [
        (devices > MANY_DEVICES).then_some(SuperWarning::ManyDevices { have: devices }),
        (chunk_root > generation).then_some(SuperWarning::ChunkRootGeneration {
            generation,
            have: chunk_root,
        }),
        cache_ahead.then_some(SuperWarning::CacheGeneration {
            generation,
            have: cache,
        }),
    ]
    .into_iter()
    .flatten()
}
