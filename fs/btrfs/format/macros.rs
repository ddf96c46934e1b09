// SPDX-License-Identifier: GPL-2.0

//! Declarative helpers for identifier newtypes, flag sets and on-disk structures.

/// Defines a `u64` newtype for one kind of number that must not be mixed with others.
macro_rules! id_type {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// Wraps a raw number.
            #[inline]
            pub const fn new(raw: u64) -> Self {
                Self(raw)
            }

            /// Returns the raw number.
            #[inline]
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                core::fmt::Display::fmt(&self.0, f)
            }
        }

        impl From<zerocopy::little_endian::U64> for $name {
            #[inline]
            fn from(raw: zerocopy::little_endian::U64) -> Self {
                Self(raw.get())
            }
        }

        impl From<$name> for zerocopy::little_endian::U64 {
            #[inline]
            fn from(id: $name) -> Self {
                Self::new(id.0)
            }
        }
    };
}

/// Defines a set of flag bits over an integer, with the name of each bit.
macro_rules! flags_type {
    (
        $(#[$meta:meta])*
        $name:ident: $repr:ty {
            $( $(#[$bit_meta:meta])* $bit:ident = $value:expr, $text:literal; )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $name(pub $repr);

        impl $name {
            $( $(#[$bit_meta])* pub const $bit: Self = Self($value); )*

            /// Every bit this crate has a name for, with that name.
            pub const NAMES: &'static [(Self, &'static str)] = &[$( (Self($value), $text), )*];

            /// The set without any bit.
            #[inline]
            pub const fn empty() -> Self {
                Self(0)
            }

            /// Wraps raw bits, unknown ones included.
            #[inline]
            pub const fn new(bits: $repr) -> Self {
                Self(bits)
            }

            /// Returns the raw bits.
            #[inline]
            pub const fn bits(self) -> $repr {
                self.0
            }

            /// Whether no bit is set.
            #[inline]
            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }

            /// Whether every bit of `other` is set.
            #[inline]
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// Whether at least one bit of `other` is set.
            #[inline]
            pub const fn intersects(self, other: Self) -> bool {
                self.0 & other.0 != 0
            }

            /// The bits set in both.
            #[inline]
            pub const fn intersection(self, other: Self) -> Self {
                Self(self.0 & other.0)
            }

            /// The bits set in either.
            #[inline]
            pub const fn union(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// The bits of `self` that `other` does not have.
            #[inline]
            pub const fn difference(self, other: Self) -> Self {
                Self(self.0 & !other.0)
            }

            /// The bits that have no name in [`Self::NAMES`].
            #[inline]
            pub const fn unnamed(self) -> Self {
                Self(self.0 & !(0 $( | $value )*))
            }

            /// The names of the bits that are set and have one, in bit order of [`Self::NAMES`].
            pub fn names(self) -> impl Iterator<Item = &'static str> {
                Self::NAMES
                    .iter()
                    .filter(move |(flag, _)| self.contains(*flag))
                    .map(|(_, name)| *name)
            }
        }

        impl core::ops::BitOr for $name {
            type Output = Self;
            #[inline]
            fn bitor(self, other: Self) -> Self {
                self.union(other)
            }
        }

        impl core::fmt::Display for $name {
            /// Names joined by `|`; bits without a name follow in hexadecimal.
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                let mut separator = "";
                for name in self.names() {
                    write!(f, "{separator}{name}")?;
                    separator = "|";
                }
                let rest = self.unnamed();
                if !rest.is_empty() || separator.is_empty() {
                    write!(f, "{separator}{:#x}", rest.bits())?;
                }
                Ok(())
            }
        }

        impl core::fmt::LowerHex for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                core::fmt::LowerHex::fmt(&self.0, f)
            }
        }
    };
}

/// Defines an on-disk structure: packed, little-endian, of a size that is asserted.
///
/// The type is a view: it has alignment 1, any bytes are a value of it, and it has no padding.
macro_rules! on_disk {
    (
        $(#[$meta:meta])*
        $name:ident [$size:literal] {
            $( $(#[$field_meta:meta])* $vis:vis $field:ident: $ty:ty, )*
        }
    ) => {
        $(#[$meta])*
        #[derive(
            Clone,
            Copy,
            Debug,
            PartialEq,
            Eq,
            zerocopy_derive::FromBytes,
            zerocopy_derive::IntoBytes,
            zerocopy_derive::Immutable,
            zerocopy_derive::KnownLayout,
            zerocopy_derive::Unaligned,
        )]
        #[repr(C)]
        pub struct $name {
            $( $(#[$field_meta])* $vis $field: $ty, )*
        }

        const _: () = assert!(core::mem::size_of::<$name>() == $size);

        impl $name {
            /// Size on disk, in bytes.
            pub const SIZE: usize = $size;

            /// Views `bytes`, which must be exactly [`Self::SIZE`] long.
            #[inline]
            pub fn from_bytes(bytes: &[u8]) -> Option<&Self> {
                <Self as zerocopy::FromBytes>::ref_from_bytes(bytes).ok()
            }

            /// Views the first [`Self::SIZE`] bytes and returns what follows them.
            #[inline]
            pub fn from_prefix(bytes: &[u8]) -> Option<(&Self, &[u8])> {
                <Self as zerocopy::FromBytes>::ref_from_prefix(bytes).ok()
            }

            /// A value with every byte zero.
            #[inline]
            pub fn zeroed() -> Self {
                <Self as zerocopy::FromZeros>::new_zeroed()
            }

            /// The bytes as they stand on disk.
            #[inline]
            pub fn to_disk(&self) -> &[u8] {
                <Self as zerocopy::IntoBytes>::as_bytes(self)
            }
        }
    };
}
