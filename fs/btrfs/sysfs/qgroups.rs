// SPDX-License-Identifier: GPL-2.0

//! Quota groups, as the quota tree has them: a snapshot that the mount takes, as long as
//! nothing is written.

use super::{flag, line};
use crate::mount::Fs;
use btrfs_format::{
    item,
    qgroup::{
        QgroupId, QgroupInfoItem, QgroupLimitItem, QgroupStatusFlags, QgroupStatusItem,
        QGROUP_STATUS_VERSION,
    },
    Key,
};
use kernel::{prelude::*, str::CString};
use kfs::sysfs::{Attribute, Directory, Parent};

/// All directories of `qgroups/`. Those inside of others come first.
pub(super) struct Qgroups {
    _groups: KVVec<Directory<Group>>,
    _top: Directory<Status>,
}

/// The state of quotas.
struct Status(QgroupStatusFlags);

/// A quota group; all sizes in bytes.
#[derive(Clone, Copy, Default)]
struct Group {
    id: u64,
    referenced: u64,
    exclusive: u64,
    limit_flags: u64,
    max_referenced: u64,
    max_exclusive: u64,
}

/// Subtrees of this level and higher are not accounted for when they are dropped.
const DROP_SUBTREE_THRESHOLD: u8 = 3;

static STATUS_FILES: &[Attribute<Status>] = &[
    Attribute::ro(c"enabled", |status, out| {
        flag(out, status.0.contains(QgroupStatusFlags::ON))
    }),
    Attribute::ro(c"inconsistent", |status, out| {
        flag(out, status.0.contains(QgroupStatusFlags::INCONSISTENT))
    }),
    Attribute::rw(
        c"drop_subtree_threshold",
        |_, out| line(out, DROP_SUBTREE_THRESHOLD),
        |_, _| Err(EROFS),
    ),
    Attribute::ro(c"mode", |status, out| {
        let simple = status.0.contains(QgroupStatusFlags::SIMPLE_MODE);
        line(out, if simple { "squota" } else { "qgroup" })
    }),
];

static GROUP_FILES: &[Attribute<Group>] = &[
    Attribute::ro(c"referenced", |group, out| line(out, group.referenced)),
    Attribute::ro(c"exclusive", |group, out| line(out, group.exclusive)),
    Attribute::ro(c"max_referenced", |group, out| {
        line(out, group.max_referenced)
    }),
    Attribute::ro(c"max_exclusive", |group, out| {
        line(out, group.max_exclusive)
    }),
    Attribute::ro(c"limit_flags", |group, out| line(out, group.limit_flags)),
    Attribute::ro(c"rsv_data", |_, out| line(out, 0)),
    Attribute::ro(c"rsv_meta_pertrans", |_, out| line(out, 0)),
    Attribute::ro(c"rsv_meta_prealloc", |_, out| line(out, 0)),
];

/// What the quota tree says. `None` if there is none.
fn read(fs: &Fs) -> Result<Option<(Status, KVVec<Group>)>> {
    let Some(root) = fs.roots().standard().quota.as_ref() else {
        return Ok(None);
    };
    let mut status = QgroupStatusFlags::empty();
    let mut groups: KVVec<Group> = KVVec::new();
    let mut cursor = root.view().seek(Key::MIN)?;
    while let Some((key, data)) = cursor.item() {
        match key.item_type {
            item::QGROUP_STATUS => {
                let found = QgroupStatusItem::parse(data).ok_or(EUCLEAN)?;
                if found.version.get() == QGROUP_STATUS_VERSION {
                    status = found.flags();
                }
                let current = found.generation.get() == fs.generation().get();
                if !current && !status.contains(QgroupStatusFlags::SIMPLE_MODE) {
                    status = status | QgroupStatusFlags::INCONSISTENT;
                }
            }
            item::QGROUP_INFO => {
                let info = QgroupInfoItem::from_bytes(data).ok_or(EUCLEAN)?;
                let group = Group {
                    id: key.offset,
                    referenced: info.rfer.get(),
                    exclusive: info.excl.get(),
                    ..Group::default()
                };
                groups.push(group, GFP_KERNEL)?;
            }
            item::QGROUP_LIMIT => {
                let limit = QgroupLimitItem::from_bytes(data).ok_or(EUCLEAN)?;
                if let Some(group) = groups.iter_mut().find(|group| group.id == key.offset) {
                    group.limit_flags = limit.flags.get();
                    group.max_referenced = limit.max_rfer.get();
                    group.max_exclusive = limit.max_excl.get();
                }
            }
            // Relations, which come last.
            _ => break,
        }
        cursor.next()?;
    }
    Ok(Some((Status(status), groups)))
}

impl Qgroups {
    /// Makes the directories; `None` if there are no quotas.
    pub(super) fn new<P: Parent>(parent: &P, fs: &Fs) -> Result<Option<Self>> {
        let Some((status, found)) = read(fs)? else {
            return Ok(None);
        };
        let top = Directory::new(parent, c"qgroups", status, STATUS_FILES)?;
        let mut groups = KVVec::with_capacity(found.len(), GFP_KERNEL)?;
        for group in &found {
            let id = QgroupId(group.id);
            let name = CString::try_from_fmt(format_args!("{}_{}", id.level(), id.subvolid()))?;
            groups.push(
                Directory::new(&top, &name, *group, GROUP_FILES)?,
                GFP_KERNEL,
            )?;
        }
        Ok(Some(Self {
            _groups: groups,
            _top: top,
        }))
    }
}
