// SPDX-License-Identifier: GPL-2.0

//! Block devices and the I/O on them.
//!
//! A [`BlockDevice`] is opened by path or number and closed when the last reference
//! goes. Data moves between devices and an [`IoBuf`], an owned list of memory pieces,
//! by means of an [`Io`] request: it takes the buffer, sends any number of bios for
//! disjoint parts of it to any devices, and gives buffer and results back in process
//! context when all of them are done ([`IoDone`]).
//!
//! # Bounds
//!
//! Requests do not fail for memory once they are built: what submission allocates is
//! small and waited for. Completions run on work queues of the file system ([`Workers`]) or the
//! module ([`Engine`]), which have rescuers, on all CPUs.

mod bdev;
mod engine;
mod io;
mod iobuf;
mod plug;

pub use crate::mem::KBuf;
pub use bdev::{BlockDevice, Claim, DevNum, Holder, OpenMode, Zone, ZoneState};
pub(crate) use engine::{durable, enqueue, Lane};
pub use engine::{Engine, Lanes, Workers};
pub use io::{Io, IoDone, IoFlags, Op};
pub use iobuf::{IoBuf, Segment};
pub use plug::with_plug;

/// Size of a sector, the unit in which devices are addressed: 512 bytes.
pub const SECTOR_SIZE: usize = 512;
