// SPDX-License-Identifier: GPL-2.0

//! Names: long, odd, and colliding in the directory hash.
//!
//! Directory items are keyed by the crc32c of the name (start value ~1, not inverted at the end).
//! Over its last four bytes the checksum is `f(state xor bytes)` with an invertible `f`, so a name
//! with the hash of another one needs no search: give it the same `state xor bytes`.

use crate::data::write;
use crate::Plan;
use std::ffi::OsStr;
use std::fs;
use std::io::Result;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use testkit::rng::Rng;
use testkit::sys;

/// The state of the hash after `bytes`.
fn state(bytes: &[u8]) -> u32 {
    // The crate starts from !value and inverts the result; the hash starts from ~1 and does not.
    !crc32c::crc32c_append(1, bytes)
}

/// `count` names of the same hash, all beginning with `prefix`.
pub fn colliding(rng: &mut Rng, prefix: &str, count: usize) -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = vec![format!("{prefix}000000-last").into_bytes()];
    let first = names[0].clone();
    let split = first.len() - 4;
    let tail = |name: &[u8]| {
        u32::from_le_bytes([
            name[split],
            name[split + 1],
            name[split + 2],
            name[split + 3],
        ])
    };
    let target = state(&first[..split]) ^ tail(&first);
    while names.len() < count {
        let mut name = first.clone();
        for byte in &mut name[prefix.len()..split] {
            *byte = b'a' + rng.below(26) as u8;
        }
        let bytes = (target ^ state(&name[..split])).to_le_bytes();
        name[split..].copy_from_slice(&bytes);
        let usable = bytes.iter().all(|b| *b > b' ' && *b != b'/' && *b < 0x7f);
        if usable && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Longest names, and bytes that programs stumble over.
pub fn names(_plan: &Plan, dir: &Path) -> Result<()> {
    write(dir.join("n".repeat(255)), b"255\n")?;
    write(dir.join("\u{20ac}".repeat(85)), b"255 bytes of utf-8\n")?;
    fs::create_dir(dir.join("d".repeat(255)))?;
    write(dir.join("d".repeat(255)).join("f".repeat(254)), b"254\n")?;
    let odd: [&[u8]; 12] = [
        b"a",
        b"\n",
        b"tab\there",
        b"\xff\xfe",
        b" lead",
        b"trail ",
        b"...",
        b".hidden",
        b"-rf",
        b"back\\slash",
        b"*?[x]",
        b"\x01\x02\x7f",
    ];
    for name in odd {
        write(dir.join(OsStr::from_bytes(name)), name)?;
    }
    Ok(())
}

/// Entries of files, directories and xattrs whose hashes collide, two and many at a time.
pub fn collisions(plan: &Plan, dir: &Path) -> Result<()> {
    let mut rng = plan.rng("collisions");
    for (group, count) in [
        ("pair", 2),
        ("three", 3),
        ("many", plan.scale(12, 5) as usize),
    ] {
        for (i, name) in colliding(&mut rng, &format!("{group}-"), count)
            .iter()
            .enumerate()
        {
            let path = dir.join(OsStr::from_bytes(name));
            if i == 1 {
                fs::create_dir(path)?;
            } else {
                write(path, name)?;
            }
        }
    }
    // Colliding entries that went away again.
    let gone = colliding(&mut rng, "gone-", 4);
    for name in &gone {
        write(dir.join(OsStr::from_bytes(name)), b"")?;
    }
    for name in &gone[1..3] {
        fs::remove_file(dir.join(OsStr::from_bytes(name)))?;
    }
    let file = dir.join("with-xattrs");
    write(&file, b"x")?;
    for name in colliding(&mut rng, "user.", 6) {
        sys::lsetxattr(&file, &name, &name[5..])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_of_a_known_name() {
        // The default subvolume's entry of every root tree: `default` has this key offset.
        assert_eq!(state(b"default"), 2_378_154_706);
    }

    #[test]
    fn made_names_collide() {
        let names = colliding(&mut Rng::new(3), "p-", 8);
        assert!(names.iter().all(|n| state(n) == state(&names[0])));
        assert!(names.iter().skip(1).all(|n| n != &names[0]));
    }
}
