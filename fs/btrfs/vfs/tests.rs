// SPDX-License-Identifier: GPL-2.0

//! File handles.

use btrfs_format::types::{Ino, TreeId};

use super::handle::{self, Kind, Reference};

#[kernel::macros::kunit_tests(btrfs_handles)]
mod tests {
    use super::*;

    const INODE: Reference = Reference {
        ino: Ino(0x1_0000_0101),
        subvol: TreeId(5),
        generation: 7,
    };

    /// Encodes, looks at the size, and decodes.
    fn round_trip(parent: Option<&Reference>, kind: Kind) -> bool {
        let mut bytes = [0xff; 40];
        let done = handle::encode(&INODE, parent, &mut bytes) == Some(kind);
        let size = kind.size();
        let handle = bytes.get(..size).unwrap_or_default();
        let rest = bytes.get(size..).unwrap_or_default();
        done && rest.iter().all(|byte| *byte == 0xff)
            && handle::inode(kind, handle) == Some(INODE)
            && handle::parent(kind, handle) == parent.copied()
            && handle::inode(kind, handle.get(4..).unwrap_or_default()).is_none()
            && handle::encode(&INODE, parent, bytes.get_mut(4..size).unwrap_or_default()).is_none()
            && Kind::from_raw(kind.raw()) == Some(kind)
    }

    #[test]
    fn all_kinds() {
        let same = Reference {
            ino: Ino(256),
            subvol: TreeId(5),
            generation: 3,
        };
        let other = Reference {
            subvol: TreeId(300),
            ..same
        };
        assert!(round_trip(None, Kind::Plain));
        assert!(round_trip(Some(&same), Kind::WithParent));
        assert!(round_trip(Some(&other), Kind::WithParentRoot));
        assert!(Kind::from_raw(0x50).is_none());
    }
}
