// SPDX-License-Identifier: GPL-2.0

//! Sorting that takes next to no stack.
//!
//! A commit is deep in the stack already when it sorts, and `sort_unstable` of the core library
//! takes several KiB of it for elements of some size. Kernel stacks have 16.

/// Sorts by `key`: a heap sort, so equal elements come in any order.
pub fn sort_by_key<T, K: Ord>(items: &mut [T], key: impl Fn(&T) -> K) {
    for start in (0..items.len() / 2).rev() {
        sift_down(items, start, &key);
    }
    for end in (1..items.len()).rev() {
        items.swap(0, end);
        sift_down(items.get_mut(..end).unwrap_or_default(), 0, &key);
    }
}

/// Moves the element at `at` down to where no child of it in the heap is larger.
fn sift_down<T, K: Ord>(heap: &mut [T], mut at: usize, key: &impl Fn(&T) -> K) {
    let of = |heap: &[T], at: usize| heap.get(at).map(key);
    loop {
        let left = at.saturating_mul(2).saturating_add(1);
        let right = left.saturating_add(1);
        // No element is less than any element.
        let largest = if of(heap, right) > of(heap, left) {
            right
        } else {
            left
        };
        if of(heap, largest) <= of(heap, at) {
            return;
        }
        heap.swap(at, largest);
        at = largest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn sorts() {
        for len in 0..40u64 {
            let mut items: Vec<u64> = (0..len).map(|i| i * 7919 % 31).collect();
            let mut want = items.clone();
            want.sort();
            sort_by_key(&mut items, |item| *item);
            assert_eq!(items, want);
        }
    }
}
