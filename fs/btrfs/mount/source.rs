// SPDX-License-Identifier: GPL-2.0

//! The volume as the source of tree blocks.

use btrfs_format::csum::CsumType;
use btrfs_format::types::{Logical, Uuid, CSUM_AREA};
use core::fmt;
use kernel::prelude::*;
use kernel::sync::Arc;
use kfs::block::IoBuf;
use kfs::log::Level;
use kfs::mem::KBuf;

use crate::tree::{Batch, BlockSource, Severity};
use crate::volume::{Checksum, DataRead, Volume};

/// Reads tree blocks from a volume.
pub(super) struct Source(Arc<Volume>);

impl Source {
    /// The source for a tree cache.
    pub(super) fn of(volume: Arc<Volume>) -> Result<Arc<dyn BlockSource>> {
        let source: Arc<dyn BlockSource> = Arc::new(Self(volume), GFP_KERNEL)?;
        Ok(source)
    }
}

impl BlockSource for Source {
    fn read(&self, at: Logical, verify: &dyn Fn(&[u8], u32) -> Result) -> Result<KBuf> {
        self.0.read_block(at, verify)
    }

    fn read_ahead(&self, at: Logical, buf: IoBuf, batch: Batch) {
        self.0.read_data(DataRead {
            logical: at,
            buf,
            csums: None,
            client: batch,
        });
    }

    fn is_own(&self, uuid: Uuid) -> bool {
        self.0.is_own_uuid(uuid)
    }

    fn report(&self, severity: Severity, message: fmt::Arguments<'_>) {
        let level = match severity {
            Severity::Warning => Level::Warning,
            Severity::Error => Level::Error,
            Severity::Critical => Level::Critical,
        };
        self.0.log().print_limited(level, message);
    }
}

/// The checksum of `data`, with zeroes behind it.
pub(super) fn checksum(kind: CsumType, data: &[u8]) -> [u8; CSUM_AREA] {
    Checksum::of(kind, data).area()
}
