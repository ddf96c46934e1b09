// SPDX-License-Identifier: GPL-2.0

//! Lists of memory pieces that I/O fills or empties.
//!
//! An [`IoBuf`] looks like one run of bytes. It owns its pieces, and a request owns the
//! buffer while I/O runs on it: so nobody looks at memory that a device is writing, and
//! no piece can go away under a device.

use crate::{
    bindings,
    iomap::InodeRef,
    mem::{KBuf, GFP_NOFAIL},
    pagecache::{FolioRange, WritebackRange},
};
use core::{ops::Range, ptr::NonNull};
use kernel::{page::PAGE_SIZE, prelude::*};

/// Size of the pieces of [`IoBuf::alloc`]: eight pages, beyond which allocations are costly.
const PIECE: usize = 8 * PAGE_SIZE;

/// A piece of an [`IoBuf`].
pub enum Segment {
    /// Kernel memory.
    Buf(KBuf),
    /// A range of a page-cache folio that is being read.
    Folio(FolioRange),
    /// A range of a page-cache folio that is being written back. Cannot be changed.
    Writeback(WritebackRange),
}

impl Segment {
    fn len(&self) -> usize {
        match self {
            Segment::Buf(buf) => buf.len(),
            Segment::Folio(range) => range.len(),
            Segment::Writeback(range) => range.len(),
        }
    }
}

struct Entry {
    /// Offset of the segment in the buffer.
    start: usize,
    /// The first vector that describes it.
    first_vec: usize,
    mem: Segment,
}

/// An ordered list of owned memory pieces, addressed like one run of bytes.
///
/// # Invariants
///
/// * `vecs` describe, in order and without gaps, the memory of `entries`; every one of
///   them lies in memory that is physically contiguous.
/// * `entries[i].start` is the sum of the lengths of those before, `len` that of all;
///   `entries[i].first_vec` is the index of the vector with its first byte.
pub struct IoBuf {
    entries: KVVec<Entry>,
    vecs: KVVec<bindings::bio_vec>,
    len: usize,
}

// SAFETY: The buffer owns the memory that its page pointers stand for, and that memory is
// `Send`.
unsafe impl Send for IoBuf {}

// SAFETY: Through a shared reference the bytes can only be read.
unsafe impl Sync for IoBuf {}

impl Default for IoBuf {
    fn default() -> Self {
        Self::new()
    }
}

impl IoBuf {
    /// An empty buffer.
    pub const fn new() -> Self {
        Self {
            entries: KVVec::new(),
            vecs: KVVec::new(),
            len: 0,
        }
    }

    /// A buffer of one piece of kernel memory.
    pub fn from_buf(buf: KBuf) -> Result<Self> {
        let mut this = Self::new();
        this.push(Segment::Buf(buf)).map_err(|_| ENOMEM)?;
        Ok(this)
    }

    /// A buffer of `len` bytes of kernel memory with arbitrary content.
    ///
    /// Of pieces that the page allocator has at hand even when memory is fragmented: one
    /// large piece would often have to be mapped page by page first.
    pub fn alloc(len: usize) -> Result<Self> {
        let mut this = Self::new();
        this.reserve(len.div_ceil(PIECE))?;
        let mut rest = len;
        while rest > 0 {
            let piece = KBuf::new(rest.min(PIECE), GFP_KERNEL)?;
            rest -= piece.len();
            this.push(Segment::Buf(piece)).map_err(|_| ENOMEM)?;
        }
        Ok(this)
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is not a single byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Makes room for `n` more segments.
    pub fn reserve(&mut self, n: usize) -> Result {
        self.entries.reserve(n, GFP_NOFAIL)?;
        self.vecs.reserve(n, GFP_NOFAIL)?;
        Ok(())
    }

    /// Appends a piece, or gives it back when there is no memory for the bookkeeping (or
    /// the buffer would exceed 2 GiB).
    pub fn push(&mut self, mem: Segment) -> Result<(), Segment> {
        let vecs = self.vecs.len();
        match self.len.checked_add(mem.len()) {
            Some(total) if total <= 1 << 31 => {}
            _ => return Err(mem),
        }
        if self.entries.reserve(1, GFP_NOFAIL).is_err() || self.push_vecs(&mem).is_err() {
            self.vecs.truncate(vecs);
            return Err(mem);
        }
        let start = self.len;
        self.len += mem.len();
        match self.entries.push_within_capacity(Entry {
            start,
            first_vec: vecs,
            mem,
        }) {
            Ok(()) => Ok(()),
            // Room was reserved above.
            Err(_) => unreachable!(),
        }
    }

    /// Appends the physical description of `mem`.
    fn push_vecs(&mut self, mem: &Segment) -> Result {
        match mem {
            Segment::Folio(range) => self.vecs.push(range.bio_vec()?, GFP_NOFAIL)?,
            Segment::Writeback(range) => self.vecs.push(range.bio_vec()?, GFP_NOFAIL)?,
            Segment::Buf(buf) => {
                // SAFETY: The address is the start of a buffer that is alive.
                let first = unsafe { bindings::kfs_vmalloc_to_page(buf.as_raw().cast()) };
                if first.is_null() {
                    self.vecs.push(
                        bindings::bio_vec {
                            // SAFETY: Not `vmalloc` memory, so from the linear mapping.
                            bv_page: unsafe { bindings::kfs_virt_to_page(buf.as_raw().cast()) },
                            bv_len: buf.len().try_into()?,
                            bv_offset: 0,
                        },
                        GFP_NOFAIL,
                    )?;
                    return Ok(());
                }
                self.vecs
                    .reserve(buf.len().div_ceil(PAGE_SIZE), GFP_NOFAIL)?;
                for (i, chunk) in buf.chunks(PAGE_SIZE).enumerate() {
                    let addr = buf.as_raw().wrapping_add(i * PAGE_SIZE);
                    // SAFETY: An address inside of a live `vmalloc` buffer.
                    let page = unsafe { bindings::kfs_vmalloc_to_page(addr.cast()) };
                    self.vecs.push(
                        bindings::bio_vec {
                            bv_page: page,
                            bv_len: chunk.len().try_into()?,
                            bv_offset: 0,
                        },
                        GFP_NOFAIL,
                    )?;
                }
            }
        }
        Ok(())
    }

    /// The segments that overlap `range`, each with the part of it that does.
    fn overlap(&self, range: &Range<usize>) -> Result<(usize, usize)> {
        if range.start > range.end || range.end > self.len {
            return Err(EINVAL);
        }
        let first = self.entries.partition_point(|e| e.start <= range.start);
        let last = self.entries.partition_point(|e| e.start < range.end);
        Ok((first.saturating_sub(1), last))
    }

    /// Runs `f` on the bytes of `range`, in order, one piece after the other, until it
    /// fails. `EINVAL` if the range is not inside of the buffer.
    pub fn for_each_slice(
        &self,
        range: Range<usize>,
        mut f: impl FnMut(&[u8]) -> Result,
    ) -> Result {
        let (first, last) = self.overlap(&range)?;
        for entry in self.entries.get(first..last).unwrap_or_default() {
            let (off, len) = clip(entry, &range);
            match &entry.mem {
                Segment::Buf(buf) => f(buf.get(off..off + len).ok_or(EINVAL)?)?,
                Segment::Folio(folio) => folio.for_each(off, len, &mut f)?,
                Segment::Writeback(folio) => folio.for_each(off, len, &mut f)?,
            }
        }
        Ok(())
    }

    /// Runs `f` on the bytes of `range`, in order, one piece after the other, to change
    /// them. `EINVAL` if the range is not inside of the buffer, or is being written.
    pub fn for_each_slice_mut(
        &mut self,
        range: Range<usize>,
        mut f: impl FnMut(&mut [u8]),
    ) -> Result {
        let (first, last) = self.overlap(&range)?;
        for entry in self.entries.get_mut(first..last).unwrap_or_default() {
            let (off, len) = clip(entry, &range);
            match &mut entry.mem {
                Segment::Buf(buf) => f(buf.get_mut(off..off + len).ok_or(EINVAL)?),
                Segment::Folio(folio) => folio.for_each_mut(off, len, &mut f)?,
                Segment::Writeback(_) => return Err(EINVAL),
            }
        }
        Ok(())
    }

    /// Copies `data` into the buffer at `off`. `EINVAL` if it does not fit.
    pub fn copy_from(&mut self, off: usize, data: &[u8]) -> Result {
        let end = off.checked_add(data.len()).ok_or(EINVAL)?;
        let mut rest = data;
        self.for_each_slice_mut(off..end, |chunk| {
            if let Some((head, tail)) = rest.split_at_checked(chunk.len()) {
                chunk.copy_from_slice(head);
                rest = tail;
            }
        })
    }

    /// Copies from the buffer at `off` until `out` is full. `EINVAL` if there is less.
    pub fn copy_out(&self, off: usize, out: &mut [u8]) -> Result {
        let end = off.checked_add(out.len()).ok_or(EINVAL)?;
        let mut done = 0;
        self.for_each_slice(off..end, |chunk| {
            let dst = out.get_mut(done..done + chunk.len()).ok_or(EINVAL)?;
            dst.copy_from_slice(chunk);
            done += chunk.len();
            Ok(())
        })
    }

    /// Fills `range` with zeroes. `EINVAL` if it is not inside of the buffer.
    pub fn zero(&mut self, range: Range<usize>) -> Result {
        self.for_each_slice_mut(range, |chunk| chunk.fill(0))
    }

    /// The bytes, if the buffer is one piece of kernel memory.
    pub fn as_slice(&self) -> Option<&[u8]> {
        match self.entries.as_slice() {
            [Entry {
                mem: Segment::Buf(buf),
                ..
            }] => Some(buf),
            _ => None,
        }
    }

    /// The piece of kernel memory that the buffer consists of, if it does.
    pub fn into_buf(mut self) -> Option<KBuf> {
        if self.entries.len() != 1 {
            return None;
        }
        match self.entries.pop()?.mem {
            Segment::Buf(buf) => Some(buf),
            Segment::Folio(_) | Segment::Writeback(_) => None,
        }
    }

    /// The inode whose folios are written from the buffer, if they are and it is one of `I`.
    pub fn written_inode<I: InodeRef + 'static>(&self) -> Option<&I> {
        self.entries.iter().find_map(|e| match &e.mem {
            Segment::Writeback(range) => range.inode(),
            _ => None,
        })
    }

    /// The C inode whose folios the buffer begins with, if they are written from it.
    pub(super) fn first_inode(&self) -> Option<NonNull<bindings::inode>> {
        match &self.entries.first()?.mem {
            Segment::Writeback(range) => Some(range.raw_inode()),
            _ => None,
        }
    }

    /// The pieces, in order, each with its offset in the buffer.
    pub fn into_segments(self) -> impl Iterator<Item = (usize, Segment)> {
        self.entries.into_iter().map(|e| (e.start, e.mem))
    }

    /// Ends the read or write of all folios in the buffer with `result` and frees the rest.
    pub fn finish(self, result: Result) {
        for (_, mem) in self.into_segments() {
            match mem {
                Segment::Folio(range) => range.finish(result),
                Segment::Writeback(range) => range.finish(result),
                Segment::Buf(_) => {}
            }
        }
    }

    /// Ends the read of all folios in the buffer: with `EIO` for the ranges `bad`, which are
    /// ascending and consist of whole blocks of the file system, and successfully for the
    /// rest. Frees what is no folio.
    ///
    /// Where a folio cannot be cut at the ends of a bad range, all of its piece is bad.
    pub fn finish_except(self, bad: &[Range<usize>]) {
        let mut bad = bad;
        for (start, mem) in self.into_segments() {
            let Segment::Folio(range) = mem else {
                continue;
            };
            let end = start + range.len();
            while bad.first().is_some_and(|b| b.end <= start) {
                bad = bad.get(1..).unwrap_or_default();
            }
            finish_folio(range, start, end, bad);
        }
    }

    /// The physical memory of the buffer and where in it the byte `off` is: index of the
    /// vector and offset in it.
    pub(super) fn vecs_at(&self, off: usize) -> Option<(&[bindings::bio_vec], u32)> {
        let behind = self.entries.partition_point(|e| e.start <= off);
        let entry = self.entries.get(behind.checked_sub(1)?)?;
        let mut rest = u64::try_from(off - entry.start).ok()?;
        for (i, vec) in self.vecs.iter().enumerate().skip(entry.first_vec) {
            let len = u64::from(vec.bv_len);
            if rest < len {
                return Some((self.vecs.get(i..)?, rest.try_into().ok()?));
            }
            rest -= len;
        }
        None
    }
}

/// The part of `entry` that lies in `range`: offset in the segment and length.
fn clip(entry: &Entry, range: &Range<usize>) -> (usize, usize) {
    let off = range.start.saturating_sub(entry.start);
    let end = (range.end - entry.start).min(entry.mem.len());
    (off, end.saturating_sub(off))
}

/// Ends the read of a range that has the bytes `[start, end)` of a buffer, of which those in
/// `bad`, in ascending order, are bad.
fn finish_folio(mut range: FolioRange, mut start: usize, end: usize, bad: &[Range<usize>]) {
    for bad in bad.iter().take_while(|bad| bad.start < end) {
        if bad.end <= start {
            continue;
        }
        // First the good part before, then the bad one.
        for (until, result) in [(bad.start, Ok(())), (bad.end.min(end), Err(EIO))] {
            if until <= start {
                continue;
            }
            if until == end {
                return range.finish(result);
            }
            match range.split_at(until - start) {
                Ok((head, tail)) => {
                    head.finish(result);
                    range = tail;
                    start = until;
                }
                Err(range) => return range.finish(Err(EIO)),
            }
        }
    }
    range.finish(Ok(()));
}

#[::kernel::macros::kunit_tests(kfs_iobuf)]
mod tests {
    use super::*;

    fn sample() -> Result<IoBuf> {
        let mut buf = IoBuf::new();
        for len in [4096, 100, 1 << 20, 8192] {
            let piece = KBuf::zeroed(len, GFP_KERNEL)?;
            assert!(buf.push(Segment::Buf(piece)).is_ok());
        }
        Ok(buf)
    }

    /// Copies in and out cross the borders of pieces.
    #[test]
    fn copies() -> Result {
        let mut buf = sample()?;
        assert_eq!(buf.len(), 4096 + 100 + (1 << 20) + 8192);
        let data: [u8; 300] = core::array::from_fn(|i| i.to_le_bytes()[0]);
        buf.copy_from(4000, &data)?;
        let mut out = [0; 300];
        buf.copy_out(4000, &mut out)?;
        assert_eq!(data, out);
        let mut pieces = 0;
        buf.for_each_slice(4000..4300, |_| {
            pieces += 1;
            Ok(())
        })?;
        assert_eq!(pieces, 3);
        buf.zero(4001..4299)?;
        buf.copy_out(4000, &mut out)?;
        assert_eq!((out[0], out[1], out[298], out[299]), (0, 0, 0, 43));
        Ok(())
    }

    /// An allocated buffer is as long as asked for, in pieces.
    #[test]
    fn allocated() -> Result {
        let buf = IoBuf::alloc(3 * PIECE + 4096)?;
        assert_eq!((buf.len(), buf.entries.len()), (3 * PIECE + 4096, 4));
        assert!(IoBuf::alloc(0)?.is_empty());
        Ok(())
    }

    /// Ranges outside of the buffer are refused, empty ones are not.
    #[test]
    fn bounds() -> Result {
        let mut buf = sample()?;
        let len = buf.len();
        assert_eq!(buf.copy_from(len, &[1]), Err(EINVAL));
        assert_eq!(buf.copy_out(usize::MAX, &mut [0; 2]), Err(EINVAL));
        assert_eq!(buf.zero(5..len + 1), Err(EINVAL));
        assert_eq!(buf.zero(len..len), Ok(()));
        assert_eq!(buf.zero(0..0), Ok(()));
        Ok(())
    }

    /// The physical description has every byte, and finds each.
    #[test]
    fn vectors() -> Result {
        let buf = sample()?;
        let total: u64 = buf.vecs.iter().map(|v| u64::from(v.bv_len)).sum();
        assert_eq!(u64::try_from(buf.len()), Ok(total));
        let (vecs, off) = buf.vecs_at(4096 + 50).ok_or(EINVAL)?;
        assert_eq!((vecs.len(), off), (buf.vecs.len() - 1, 50));
        assert!(buf.vecs_at(buf.len()).is_none());
        Ok(())
    }
}
