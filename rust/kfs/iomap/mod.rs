// SPDX-License-Identifier: GPL-2.0

//! iomap: the page cache of regular files, driven by the file system's mappings.
//!
//! A file system says with [`IomapOps::map`] what a range of a file is, and with
//! [`IomapOps::read`] how to get at its bytes. Reads of the page cache, with large folios
//! and read-ahead, and the search for data and holes follow from these.
//!
//! C header: [`include/linux/iomap.h`](srctree/include/linux/iomap.h)
//!
//! # How a read goes
//!
//! For each mapping of the range iomap wants, holes and the like are zeroed by iomap; for
//! the rest `read` gets the [`FolioRange`]s in the order of the file, one call per folio (at
//! most), together with a context of the file system's own that lives as long as this
//! read. It collects ranges in the context until there is enough for a request, and
//! submits what is left in [`IomapOps::submit`], which is called once at the end. Whoever
//! holds a range in the end finishes it, from any thread, at any time.
//!
//! # How a write goes
//!
//! Before bytes change in the page cache, [`IomapWriteOps::reserve`] makes sure that they can
//! be written later; [`IomapWriteOps::release`] takes back what was not used. Writeback hands
//! out [`WritebackRange`]s in the order of the file to [`IomapWriteOps::writeback`], with a
//! context as for reads. iomap's own bios are not used in either direction.

mod mapping;
mod ops;
mod read;
mod seek;
mod swap;
mod write;
mod writeback;

pub use crate::pagecache::{FolioRange, WritebackRange};
pub use mapping::{Mapping, MappingFlags, MappingKind, Purpose};
pub use ops::{InodeRef, IomapOps, IomapWriteOps, ReadHint, WriteHint};
pub use seek::{seek_data, seek_hole};
pub use swap::{SwapExtent, SwapFile};

pub(crate) use read::address_space_operations;
pub(crate) use write::{buffered_write, page_mkwrite, rewrite, zero_range};
