// SPDX-License-Identifier: GPL-2.0

//! Results of variable length: `struct btrfs_data_container`.
//!
//! A header of four 32-bit numbers, then 64-bit values; paths fill the room from its end, and the
//! values are where they begin, counted from the first value.

use kernel::prelude::*;

/// Bytes of the header: bytes left, bytes missing, elements, elements missed.
const HEADER: usize = 16;

/// A result under construction.
pub(super) struct Container {
    data: KVVec<u8>,
    /// Bytes between the values and the paths.
    left: usize,
    missing: usize,
    count: usize,
    missed: usize,
}

impl Container {
    /// A result that has `size` bytes to be in.
    pub(super) fn new(size: usize) -> Result<Self> {
        Ok(Self {
            data: KVVec::from_elem(0, size.max(HEADER), GFP_KERNEL)?,
            left: size.saturating_sub(HEADER),
            missing: HEADER.saturating_sub(size),
            count: 0,
            missed: 0,
        })
    }

    /// Adds three values, if there is room for all of them.
    pub(super) fn push(&mut self, values: [u64; 3]) {
        let size = size_of_val(&values);
        let Some(left) = self.left.checked_sub(size) else {
            self.missing = self.missing.saturating_add(size.saturating_sub(self.left));
            self.left = 0;
            self.missed = self.missed.saturating_add(values.len());
            return;
        };
        self.left = left;
        for value in values {
            self.put_value(value);
        }
    }

    /// Adds a path, if there is room for it, a zero byte and the value.
    pub(super) fn push_path(&mut self, path: &[u8]) {
        // Beginnings count from behind the new value.
        let room = self.left.saturating_sub(size_of::<u64>());
        let taken = path.len().saturating_add(1);
        if taken >= room {
            self.missing = self.missing.saturating_add(taken.saturating_sub(room));
            self.left = 0;
            self.missed = self.missed.saturating_add(1);
            return;
        }
        let behind_value = self
            .count
            .saturating_add(1)
            .saturating_mul(size_of::<u64>());
        let start = behind_value.saturating_add(room).saturating_sub(taken);
        let at = HEADER.saturating_add(start);
        if let Some(place) = self.data.get_mut(at..at.saturating_add(path.len())) {
            place.copy_from_slice(path);
        }
        self.left = room.saturating_sub(taken);
        self.put_value(u64::try_from(start).unwrap_or(0));
    }

    fn put_value(&mut self, value: u64) {
        let at = HEADER.saturating_add(self.count.saturating_mul(size_of::<u64>()));
        if let Some(place) = self.data.get_mut(at..at.saturating_add(size_of::<u64>())) {
            place.copy_from_slice(&value.to_ne_bytes());
            self.count = self.count.saturating_add(1);
        }
    }

    /// The first `size` bytes of the result.
    pub(super) fn bytes(&mut self, size: usize) -> Result<&[u8]> {
        let numbers = [self.left, self.missing, self.count, self.missed];
        for (place, number) in self.data.chunks_exact_mut(4).zip(numbers) {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            place.copy_from_slice(&number.to_ne_bytes());
        }
        self.data.get(..size).ok_or(EINVAL)
    }
}

#[kunit_tests(btrfs_ioctl_container)]
mod tests {
    use super::*;

    fn numbers(bytes: &[u8]) -> [u32; 4] {
        let mut numbers = [0; 4];
        for (number, bytes) in numbers.iter_mut().zip(bytes.chunks_exact(4)) {
            *number = bytes.try_into().map_or(0, u32::from_ne_bytes);
        }
        numbers
    }

    #[test]
    fn values_that_fit_and_not() -> Result {
        let mut container = Container::new(16 + 30)?;
        container.push([1, 2, 3]);
        container.push([4, 5, 6]);
        let bytes = container.bytes(46)?;
        assert_eq!(numbers(bytes), [0, 24 - 6, 3, 3]);
        assert_eq!(bytes.get(16..24), Some(1u64.to_ne_bytes().as_slice()));
        Ok(())
    }

    #[test]
    fn less_room_than_the_header() -> Result {
        let mut container = Container::new(10)?;
        container.push_path(b"abc");
        assert_eq!(container.bytes(10)?.len(), 10);
        assert_eq!(numbers(container.bytes(16)?), [0, 6 + 4, 0, 1]);
        Ok(())
    }

    #[test]
    fn paths_are_at_the_end() -> Result {
        let mut container = Container::new(16 + 40)?;
        container.push_path(b"a/b");
        container.push_path(b"cd");
        let bytes = container.bytes(56)?;
        assert_eq!(numbers(bytes), [40 - 16 - 7, 0, 2, 0]);
        assert_eq!(bytes.get(16..24), Some(36u64.to_ne_bytes().as_slice()));
        assert_eq!(bytes.get(24..32), Some(33u64.to_ne_bytes().as_slice()));
        assert_eq!(bytes.get(49..), Some(b"cd\0a/b\0".as_slice()));
        Ok(())
    }
}
