// SPDX-License-Identifier: GPL-2.0

//! Direct reads.
//!
//! User memory can change while a device writes to it, and a checksum over it proves
//! nothing. So the bytes go through a buffer of ours, are verified there, and are then
//! copied. What cannot be read block by block (compressed and inline extents, and
//! requests that are not aligned) is left to the page cache.
//!
//! # Bounds
//!
//! A read uses at most one buffer of [`BUFFER`] bytes at a time.

use kernel::iov::IovIterDest;
use kernel::prelude::*;
use kfs::block::IoBuf;

use super::extent::Place;
use super::read;
use crate::vfs::BtrfsInode;

/// Largest buffer, bytes.
const BUFFER: u64 = 1 << 20;

/// What zeroes are copied from.
static ZEROES: [u8; 4096] = [0; 4096];

/// Reads into `to` from offset `pos` on, as far as that is possible directly, and returns
/// the number of bytes.
pub(crate) fn read(
    inode: &BtrfsInode,
    pos: u64,
    nowait: bool,
    to: &mut IovIterDest<'_>,
) -> Result<usize> {
    let data = inode.data();
    let sector = data.fs().sector_size();
    let wanted = u64::try_from(to.len())?;
    if pos % sector != 0 || wanted % sector != 0 {
        return Ok(0);
    }
    if nowait {
        return Err(EAGAIN);
    }
    let size = u64::try_from(inode.size())?;
    let end = size.min(pos.saturating_add(wanted));
    let mut at = pos;
    while at < end {
        let extent = data.extent_at(at)?;
        let stop = extent.end.min(end);
        let copied = match extent.place {
            Place::Hole | Place::Prealloc { .. } => zero(stop - at, to),
            Place::Plain { address, .. } => {
                let address = address.checked_add(at - extent.start).ok_or(EUCLEAN)?;
                let len = (stop - at).min(BUFFER);
                let whole = len.next_multiple_of(sector);
                let buf = IoBuf::alloc(usize::try_from(whole)?)?;
                match read::wait(data, at, address, buf) {
                    Ok(buf) => copy(&buf, len, to)?,
                    Err(_) if at > pos => break,
                    Err(e) => return Err(e),
                }
            }
            Place::Packed(_) | Place::Inline { .. } => break,
        };
        at += copied;
        if copied == 0 {
            // User memory is not there: the page cache will say so.
            break;
        }
    }
    Ok(usize::try_from(at - pos)?)
}

/// Copies up to `len` zeroes; returns how many.
fn zero(len: u64, to: &mut IovIterDest<'_>) -> u64 {
    let mut done = 0;
    while done < len {
        let part = (len - done).min(ZEROES.len() as u64);
        let chunk = ZEROES.get(..part as usize).unwrap_or_default();
        let copied = to.copy_to_iter(chunk) as u64;
        done += copied;
        if copied < part {
            break;
        }
    }
    done
}

/// Copies up to `len` bytes from the start of `buf`; returns how many.
fn copy(buf: &IoBuf, len: u64, to: &mut IovIterDest<'_>) -> Result<u64> {
    let mut done = 0;
    buf.for_each_slice(0..usize::try_from(len)?, |piece| {
        let copied = to.copy_to_iter(piece);
        done += copied;
        if copied < piece.len() {
            return Err(EFAULT);
        }
        Ok(())
    })
    .or_else(|e| if e == EFAULT { Ok(()) } else { Err(e) })?;
    Ok(u64::try_from(done)?)
}
