// SPDX-License-Identifier: GPL-2.0

//! Memory: the kernel's types, and look-alikes of them on the host.
//!
//! In the kernel every allocation takes flags and may fail by its type; those of this crate are of
//! a commit, which must not fail for memory, and wait instead. On the host the same names wrap the
//! standard library's types, so that the crate is written once. Only what is used has a double.

#[cfg(CONFIG_RUST)]
pub use kernel::{
    alloc::{AllocError, Flags, KVVec, KVec},
    rbtree::RBTree,
};
#[cfg(CONFIG_RUST)]
pub use kfs::mem::GFP_NOFAIL;

#[cfg(not(CONFIG_RUST))]
pub use host::{AllocError, Flags, KVVec, KVec, RBTree, GFP_NOFAIL};

#[cfg(not(CONFIG_RUST))]
mod host {
    use core::ops::{Deref, DerefMut};
    use std::collections::{btree_map, BTreeMap};
    use std::vec::{self, Vec};

    /// How to allocate; without meaning on the host.
    #[derive(Clone, Copy, Debug)]
    pub struct Flags;

    /// The allocation waits for memory.
    pub const GFP_NOFAIL: Flags = Flags;

    /// No memory; never made on the host.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct AllocError;

    type Result<T = ()> = core::result::Result<T, AllocError>;

    /// The kernel's vector.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct KVec<T>(Vec<T>);

    /// The kernel's vector that may become large.
    pub type KVVec<T> = KVec<T>;

    #[allow(missing_docs)]
    impl<T> KVec<T> {
        pub const fn new() -> Self {
            Self(Vec::new())
        }

        pub fn with_capacity(capacity: usize, _: Flags) -> Result<Self> {
            Ok(Self(Vec::with_capacity(capacity)))
        }

        pub fn capacity(&self) -> usize {
            self.0.capacity()
        }

        pub fn push(&mut self, value: T, _: Flags) -> Result {
            self.0.push(value);
            Ok(())
        }

        pub fn pop(&mut self) -> Option<T> {
            self.0.pop()
        }

        pub fn clear(&mut self) {
            self.0.clear();
        }

        pub fn reserve(&mut self, additional: usize, _: Flags) -> Result {
            self.0.reserve(additional);
            Ok(())
        }

        pub fn truncate(&mut self, len: usize) {
            self.0.truncate(len);
        }

        pub fn retain(&mut self, keep: impl FnMut(&mut T) -> bool) {
            self.0.retain_mut(keep);
        }

        pub fn drain_all(&mut self) -> vec::Drain<'_, T> {
            self.0.drain(..)
        }
    }

    #[allow(missing_docs)]
    impl<T: Clone> KVec<T> {
        pub fn extend_from_slice(&mut self, other: &[T], _: Flags) -> Result {
            self.0.extend_from_slice(other);
            Ok(())
        }

        pub fn from_elem(value: T, count: usize, _: Flags) -> Result<Self> {
            Ok(Self(std::vec![value; count]))
        }

        pub fn resize(&mut self, len: usize, value: T, _: Flags) -> Result {
            self.0.resize(len, value);
            Ok(())
        }
    }

    impl<T> Default for KVec<T> {
        fn default() -> Self {
            Self::new()
        }
    }

    impl<T> Deref for KVec<T> {
        type Target = [T];

        fn deref(&self) -> &[T] {
            &self.0
        }
    }

    impl<T> DerefMut for KVec<T> {
        fn deref_mut(&mut self) -> &mut [T] {
            &mut self.0
        }
    }

    impl<T> IntoIterator for KVec<T> {
        type Item = T;
        type IntoIter = vec::IntoIter<T>;

        fn into_iter(self) -> Self::IntoIter {
            self.0.into_iter()
        }
    }

    impl<'a, T> IntoIterator for &'a KVec<T> {
        type Item = &'a T;
        type IntoIter = core::slice::Iter<'a, T>;

        fn into_iter(self) -> Self::IntoIter {
            self.0.iter()
        }
    }

    /// The kernel's ordered map.
    #[derive(Debug)]
    pub struct RBTree<K, V>(BTreeMap<K, V>);

    #[allow(missing_docs)]
    impl<K: Ord, V> RBTree<K, V> {
        pub fn new() -> Self {
            Self(BTreeMap::new())
        }

        pub fn is_empty(&self) -> bool {
            self.0.is_empty()
        }

        /// The kernel returns the old node; here it is just dropped.
        pub fn try_create_and_insert(&mut self, key: K, value: V, _: Flags) -> Result<Option<()>> {
            Ok(self.0.insert(key, value).map(drop))
        }

        pub fn get(&self, key: &K) -> Option<&V> {
            self.0.get(key)
        }

        pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
            self.0.get_mut(key)
        }

        pub fn remove(&mut self, key: &K) -> Option<V> {
            self.0.remove(key)
        }

        pub fn iter(&self) -> btree_map::Iter<'_, K, V> {
            self.0.iter()
        }

        pub fn iter_mut(&mut self) -> btree_map::IterMut<'_, K, V> {
            self.0.iter_mut()
        }

        pub fn keys(&self) -> impl Iterator<Item = &'_ K> {
            self.0.keys()
        }

        pub fn values(&self) -> impl Iterator<Item = &'_ V> {
            self.0.values()
        }
    }

    impl<K: Ord, V> Default for RBTree<K, V> {
        fn default() -> Self {
            Self::new()
        }
    }
}
