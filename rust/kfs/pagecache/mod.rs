// SPDX-License-Identifier: GPL-2.0

//! The page cache, as far as a file system touches it: ranges of folios that are
//! being read or written back.

mod folio_range;
mod writeback_range;

pub use folio_range::FolioRange;
pub use writeback_range::WritebackRange;
