// SPDX-License-Identifier: GPL-2.0

//! Extended attributes, ACLs, owners, times and inode flags.

use crate::data::{noise, text, write};
use crate::Plan;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Result, Write};
use std::os::unix::fs::{symlink, PermissionsExt};
use std::path::Path;
use testkit::{btrfs, sys};

/// Many, large, empty and binary attributes on every type of object.
pub fn xattrs(plan: &Plan, dir: &Path) -> Result<()> {
    let mut rng = plan.rng("xattrs");
    let file = dir.join("many");
    write(&file, b"many")?;
    for i in 0..plan.scale(200, 8) {
        let len = rng.below(200);
        sys::lsetxattr(
            &file,
            format!("user.attr{i}").as_bytes(),
            &noise(&mut rng, len),
        )?;
    }
    let file = dir.join("large");
    write(&file, b"large")?;
    for name in ["user.large", "user.large2", "trusted.large"] {
        // As large as a leaf allows; the limit depends on the node size.
        let mut len = 65_536u64;
        while let Err(error) = sys::lsetxattr(&file, name.as_bytes(), &text(&mut rng, len)) {
            if len < 1000 {
                return Err(error);
            }
            len -= 200;
        }
    }
    let file = dir.join("kinds");
    write(&file, b"kinds")?;
    sys::lsetxattr(&file, b"user.empty", b"")?;
    sys::lsetxattr(&file, b"user.binary\xff\x01", b"\0\xff\0")?;
    sys::lsetxattr(
        &file,
        format!("user.{}", "n".repeat(250)).as_bytes(),
        b"long name",
    )?;
    sys::lsetxattr(&file, b"trusted.t", b"trusted")?;
    sys::lsetxattr(&file, b"security.s", b"security")?;
    // Version 2 capabilities: cap_net_raw permitted.
    let caps = [
        0x01, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    sys::lsetxattr(&file, b"security.capability", &caps)?;
    fs::create_dir(dir.join("directory"))?;
    symlink("nowhere", dir.join("symlink"))?;
    sys::mknod(dir.join("fifo"), libc::S_IFIFO | 0o600, 0)?;
    for name in ["directory", "symlink", "fifo"] {
        sys::lsetxattr(dir.join(name), b"trusted.kind", name.as_bytes())?;
    }
    // The compression property, inherited by what is created below.
    for kind in ["zlib", "lzo", "zstd"] {
        let sub = dir.join(format!("property-{kind}"));
        fs::create_dir(&sub)?;
        sys::lsetxattr(&sub, b"btrfs.compression", kind.as_bytes())?;
        write(
            sub.join("child"),
            &text(&mut rng, plan.scale(300_000, 20_000)),
        )?;
        write(sub.join("inline"), &text(&mut rng, 1500))?;
        fs::create_dir(sub.join("directory"))?;
    }
    Ok(())
}

/// The bytes of a POSIX ACL attribute: version 2, then tag, permissions, id.
fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, perm, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(perm.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

/// Access and default ACLs.
pub fn acls(plan: &Plan, dir: &Path) -> Result<()> {
    const NONE: u32 = u32::MAX;
    let file = dir.join("file");
    write(&file, b"acl")?;
    let mut entries = vec![(1, 6, NONE)];
    for user in 0..plan.scale(40, 3) as u32 {
        entries.push((2, (user % 8) as u16, 1000 + user));
    }
    entries.extend([(4, 4, NONE), (8, 5, 100), (16, 7, NONE), (32, 0, NONE)]);
    sys::lsetxattr(&file, b"system.posix_acl_access", &acl(&entries))?;
    let sub = dir.join("default");
    fs::create_dir(&sub)?;
    let entries = acl(&[
        (1, 7, NONE),
        (2, 6, 4_000_000_000),
        (4, 5, NONE),
        (16, 7, NONE),
        (32, 1, NONE),
    ]);
    sys::lsetxattr(&sub, b"system.posix_acl_default", &entries)?;
    write(sub.join("inherits"), b"")?;
    fs::create_dir(sub.join("directory"))?;
    // Without named entries an ACL is folded into the mode.
    let file = dir.join("folded");
    write(&file, b"")?;
    sys::lsetxattr(
        &file,
        b"system.posix_acl_access",
        &acl(&[(1, 6, NONE), (4, 4, NONE), (32, 2, NONE)]),
    )
}

/// Large ids, all mode bits, times before 1970, far ahead, and with nanoseconds.
pub fn owners_and_times(_plan: &Plan, dir: &Path) -> Result<()> {
    let ids = [
        (0, 1),
        (65_534, 65_534),
        (70_000, 4_000_000_000),
        (u32::MAX - 1, u32::MAX - 1),
    ];
    for (i, (uid, gid)) in ids.into_iter().enumerate() {
        let path = dir.join(format!("owner{i}"));
        write(&path, b"")?;
        sys::lchown(&path, uid, gid)?;
    }
    for mode in [0o000, 0o777, 0o1777, 0o2755, 0o4755, 0o6711, 0o400] {
        let path = dir.join(format!("mode{mode:o}"));
        write(&path, b"mode")?;
        fs::set_permissions(&path, Permissions::from_mode(mode))?;
        let sub = dir.join(format!("dir{mode:o}"));
        fs::create_dir(&sub)?;
        fs::set_permissions(&sub, Permissions::from_mode(mode))?;
    }
    let times = [
        (0, 0),
        (1, 999_999_999),
        (-1, 500_000_000),
        (-2_208_988_800, 1),
        (i64::from(i32::MAX) + 1, 123_456_789),
        (253_402_300_799, 7),
        (1 << 40, 0),
    ];
    for (i, time) in times.into_iter().enumerate() {
        let path = dir.join(format!("time{i}"));
        write(&path, b"")?;
        sys::utimens(&path, time, times[(i + 1) % times.len()])?;
        let link = dir.join(format!("link{i}"));
        symlink("x", &link)?;
        sys::utimens(&link, time, time)?;
    }
    Ok(())
}

/// Inode flags as chattr sets them. Immutable ones come last, in a directory of their own.
pub fn flags(plan: &Plan, dir: &Path) -> Result<()> {
    let mut rng = plan.rng("flags");
    let flags = [
        ("sync", 0x8u32),
        ("nodump", 0x40),
        ("noatime", 0x80),
        ("append", 0x20),
        ("immutable", 0x10),
        ("compress", 0x4),
        ("nocompress", 0x400),
    ];
    for (name, flag) in flags {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(dir.join(name))?;
        if flag == 0x4 || flag == 0x400 {
            btrfs::set_flags(&file, flag)?;
        }
        file.write_all(&text(&mut rng, 50_000))?;
        file.sync_all()?;
        btrfs::set_flags(&file, flag)?;
    }
    for (name, flag) in [
        ("dirsync", 0x1_0000u32),
        ("dir-compress", 0x4),
        ("dir-noatime", 0x80),
        ("dir-immutable", 0x10),
    ] {
        let sub = dir.join(name);
        fs::create_dir(&sub)?;
        write(sub.join("before"), &text(&mut rng, 5000))?;
        btrfs::set_flags(&File::open(&sub)?, flag)?;
        if flag != 0x10 {
            write(sub.join("after"), &text(&mut rng, 50_000))?;
        }
    }
    Ok(())
}
