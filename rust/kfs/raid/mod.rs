// SPDX-License-Identifier: GPL-2.0

//! Parity: XOR and the Galois-field arithmetic of RAID 6, from `lib/raid`.
//!
//! A stripe is a list of equally long buffers (`disks`): the data in order, then P
//! (parity) and, with RAID 6, Q. To be called in process context.
//!
//! C headers: [`include/linux/raid/xor.h`](srctree/include/linux/raid/xor.h),
//! [`include/linux/raid/pq.h`](srctree/include/linux/raid/pq.h)

use crate::{bindings, mem::KBuf};
use core::{ffi::c_void, ops::Range};
use kernel::{page::PAGE_SIZE, prelude::*};

/// Most buffers that one XOR of the library takes beside its destination.
const XOR_BATCH: usize = 4;

/// Most buffers of a RAID 6 stripe: the field has 255 non-zero elements.
pub const MAX_DISKS: usize = 255;

/// The library wants multiples of this length and alignment.
const UNIT: usize = 512;

/// XORs the bytes `range` of every buffer of `srcs` into those of `dest`.
///
/// `EINVAL` unless start and length of the range are multiples of 512 and it is inside of
/// all buffers.
pub fn xor_into<'a>(
    dest: &mut KBuf,
    srcs: impl IntoIterator<Item = &'a KBuf>,
    range: Range<usize>,
) -> Result {
    let len = check(dest, &range)?;
    if len == 0 {
        return Ok(());
    }
    let bytes = u32::try_from(len)?;
    let dest = dest.as_raw().wrapping_add(range.start);
    let mut batch = [core::ptr::null_mut::<c_void>(); XOR_BATCH];
    let mut n = 0;
    for src in srcs {
        check(src, &range)?;
        batch[n] = src.as_raw().wrapping_add(range.start).cast();
        n += 1;
        if n == XOR_BATCH {
            // SAFETY: All buffers hold `bytes` at these addresses, which are aligned; the
            // destination is borrowed exclusively.
            unsafe { bindings::xor_gen(dest.cast(), batch.as_mut_ptr(), XOR_BATCH as u32, bytes) };
            n = 0;
        }
    }
    if n != 0 {
        // SAFETY: As above, with the first `n` entries.
        unsafe { bindings::xor_gen(dest.cast(), batch.as_mut_ptr(), u32::try_from(n)?, bytes) };
    }
    Ok(())
}

/// Computes P and Q, the last two of `disks`, from the others. `EINVAL` as for [`xor_into`], or
/// with less than 3 or more than [`MAX_DISKS`] buffers.
pub fn raid6_syndrome(disks: &mut [KBuf], range: Range<usize>) -> Result {
    // The coefficient of the first data buffer is 1: alone it is copied.
    if let [data, p, q] = disks {
        copy(data, p, &range)?;
        return copy(data, q, &range);
    }
    with_pointers(disks, &range, |ptrs, n, len| {
        // SAFETY: `with_pointers` passes `n` addresses of `len` bytes each.
        unsafe { bindings::raid6_gen_syndrome(n, len, ptrs) }
    })
}

/// Rebuilds two data buffers, number `a` and `b` of `disks`, from all others.
///
/// `EINVAL` as for [`raid6_syndrome`], or if `a` and `b` are not two different data buffers.
pub fn raid6_recover_2data(disks: &mut [KBuf], range: Range<usize>, a: usize, b: usize) -> Result {
    let (a, b) = (a.min(b), a.max(b));
    if a == b || b + 2 >= disks.len() {
        return Err(EINVAL);
    }
    let (a, b) = (i32::try_from(a)?, i32::try_from(b)?);
    with_pointers(disks, &range, |ptrs, n, len| {
        // SAFETY: `with_pointers` passes `n` addresses of `len` bytes, at most a page, each, and
        // `a < b < n - 2`.
        unsafe { bindings::raid6_recov_2data(n, len, a, b, ptrs) }
    })
}

/// Rebuilds data buffer `a` and P from the other data and Q. `EINVAL` as above.
pub fn raid6_recover_data_p(disks: &mut [KBuf], range: Range<usize>, a: usize) -> Result {
    if a + 2 >= disks.len() {
        return Err(EINVAL);
    }
    if let [data, p, q] = disks {
        copy(q, data, &range)?;
        return copy(q, p, &range);
    }
    let a = i32::try_from(a)?;
    with_pointers(disks, &range, |ptrs, n, len| {
        // SAFETY: `with_pointers` passes `n` addresses of `len` bytes, at most a page, each, and
        // `a < n - 2`.
        unsafe { bindings::raid6_recov_datap(n, len, a, ptrs) }
    })
}

/// Calls `f` for each page of `range` with the addresses of it in all buffers, their number
/// and the length: recovery has scratch memory of a page only.
fn with_pointers(
    disks: &mut [KBuf],
    range: &Range<usize>,
    f: impl Fn(*mut *mut c_void, i32, usize),
) -> Result {
    if !(4..=MAX_DISKS).contains(&disks.len()) {
        return Err(EINVAL);
    }
    disks
        .iter()
        .try_for_each(|disk| check(disk, range).map(|_| ()))?;
    let n = i32::try_from(disks.len())?;
    let mut ptrs = KVec::with_capacity(disks.len(), GFP_KERNEL)?;
    let mut pos = range.start;
    while pos < range.end {
        let len = (range.end - pos).min(PAGE_SIZE - pos % PAGE_SIZE);
        ptrs.clear();
        for disk in disks.iter_mut() {
            ptrs.push(disk.as_raw().wrapping_add(pos).cast(), GFP_KERNEL)?;
        }
        f(ptrs.as_mut_ptr(), n, len);
        pos += len;
    }
    Ok(())
}

/// Copies the bytes of `range` to the same place of another buffer.
fn copy(from: &KBuf, to: &mut KBuf, range: &Range<usize>) -> Result {
    check(from, range)?;
    check(to, range)?;
    let from = from.get(range.clone()).ok_or(EINVAL)?;
    to.get_mut(range.clone())
        .ok_or(EINVAL)?
        .copy_from_slice(from);
    Ok(())
}

/// Length of `range`, if it suits the library and the buffer.
fn check(buf: &KBuf, range: &Range<usize>) -> Result<usize> {
    const { assert!(PAGE_SIZE % UNIT == 0) };
    let len = range.end.checked_sub(range.start).ok_or(EINVAL)?;
    if range.end > buf.len() || range.start % UNIT != 0 || len % UNIT != 0 {
        return Err(EINVAL);
    }
    Ok(len)
}

#[::kernel::macros::kunit_tests(kfs_raid)]
mod tests {
    use super::*;

    fn stripe() -> Result<KVec<KBuf>> {
        let mut disks = KVec::new();
        for d in 0..6u8 {
            let mut buf = KBuf::zeroed(4096, GFP_KERNEL)?;
            if d < 4 {
                for (i, b) in buf.iter_mut().enumerate() {
                    *b = i.to_le_bytes()[0].wrapping_mul(d + 3) ^ d;
                }
            }
            disks.push(buf, GFP_KERNEL)?;
        }
        raid6_syndrome(&mut disks, 0..4096)?;
        Ok(disks)
    }

    /// P is the XOR of the data, so XOR-ing everything gives zero.
    #[test]
    fn parity_is_xor() -> Result {
        let disks = stripe()?;
        let mut sum = KBuf::zeroed(4096, GFP_KERNEL)?;
        xor_into(&mut sum, disks.iter().take(5), 0..4096)?;
        assert!(sum.iter().all(|b| *b == 0));
        Ok(())
    }

    /// Any two lost buffers come back.
    #[test]
    fn recovery() -> Result {
        let good = stripe()?;
        let mut disks = stripe()?;
        disks[1].fill(0x55);
        disks[3].fill(0xaa);
        raid6_recover_2data(&mut disks, 0..4096, 3, 1)?;
        disks[2].fill(0x55);
        disks[4].fill(0xaa);
        raid6_recover_data_p(&mut disks, 0..4096, 2)?;
        assert!(disks.iter().zip(good.iter()).all(|(a, b)| a[..] == b[..]));
        assert_eq!(raid6_recover_2data(&mut disks, 0..4096, 1, 4), Err(EINVAL));
        Ok(())
    }
}
