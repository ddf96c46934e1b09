// SPDX-License-Identifier: GPL-2.0

//! Roots of trees, and the names of subvolumes.

use super::{Field, Rule, Subject};
use crate::root::{RootFlags, RootItem, RootRefHeader};
use crate::types::{TreeId, MAX_LEVEL, NAME_MAX};
use zerocopy::IntoBytes;

/// Verifies a `ROOT_ITEM`.
pub(super) fn check_root_item(subject: &Subject<'_>) -> Result<(), Rule> {
    let key = &subject.key;
    if key.objectid == 0 {
        return Err(Rule::RootZero);
    }
    // The offset of a relocation tree is the subvolume it belongs to.
    if TreeId(key.objectid) == TreeId::TREE_RELOC && !TreeId(key.offset).is_fstree() {
        return Err(Rule::RelocRoot { have: key.offset });
    }
    if subject.data.len() != RootItem::LEGACY_SIZE {
        subject.size(RootItem::SIZE)?;
    }
    check_fields(subject, &raw_item(subject.data))
}

/// The fields as they stand in the item, whether they are valid or not; zero where it is short.
fn raw_item(data: &[u8]) -> RootItem {
    let mut root = RootItem::zeroed();
    for (to, from) in root.as_mut_bytes().iter_mut().zip(data) {
        *to = *from;
    }
    root
}

fn check_fields(subject: &Subject<'_>, root: &RootItem) -> Result<(), Rule> {
    subject.generation(Field::RootGeneration, root.generation.get())?;
    subject.generation(Field::RootGenerationV2, root.generation_v2.get())?;
    subject.generation(Field::LastSnapshot, root.last_snapshot.get())?;
    subject.aligned(Field::RootBytenr, root.bytenr.get())?;
    check_level(Field::RootLevel, root.level)?;
    check_level(Field::DropLevel, root.drop_level)?;
    // Dropping a tree stops at nodes only; who resumes it relies on that.
    let objectid = root.drop_progress.objectid.get();
    if objectid != 0 && root.drop_level == 0 {
        return Err(Rule::DropProgress { objectid });
    }
    let known = RootFlags::RDONLY | RootFlags::DEAD;
    let unknown = root.flags().difference(known);
    if !unknown.is_empty() {
        return Err(Rule::RootFlags {
            have: unknown.bits(),
        });
    }
    Ok(())
}

fn check_level(field: Field, have: u8) -> Result<(), Rule> {
    if have < MAX_LEVEL {
        return Ok(());
    }
    Err(Rule::RootLevel { field, have })
}

/// Verifies a `ROOT_REF` or `ROOT_BACKREF`.
pub(super) fn check_root_ref(subject: &Subject<'_>) -> Result<(), Rule> {
    let Some((header, name)) = RootRefHeader::from_prefix(subject.data) else {
        return Err(Rule::ItemTooShort {
            have: subject.data.len(),
            min: RootRefHeader::SIZE.saturating_add(1),
        });
    };
    let have = usize::from(header.name_len.get());
    if !(1..=NAME_MAX).contains(&have) {
        return Err(Rule::NameLength {
            have,
            max: NAME_MAX,
        });
    }
    if name.len() != have {
        return Err(subject.bad_size(RootRefHeader::SIZE.saturating_add(have)));
    }
    Ok(())
}
