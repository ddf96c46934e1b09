// SPDX-License-Identifier: GPL-2.0

//! Allocating extents and tree blocks.
//!
//! A file is continued behind its last extent. Small pieces go one behind the other, beginning
//! where there is much free space, so that what is written together lies together and holes are
//! left for when there is nothing else. Tree blocks of a commit are consecutive as far as free
//! space allows.
//!
//! What is allocated is *reserved* until the commit that refers to it says so
//! ([`Space::commit_changes`]) or it is given back ([`Space::unalloc`]).

use btrfs_format::types::Logical;
use kernel::prelude::*;
use kernel::sync::{atomic::ordering::Relaxed, Arc};
use kfs::mem::NoFs;

use super::extent_map::{Extent, ExtentMap};
use super::group::{BlockGroup, Loaded};
use super::info::{Counters, Info, Kind};
use super::policy::{self, Candidate, Cluster, LOADS, SMALL, WORTH};
use super::table::GroupTable;
use super::{Range, Space, Urgency};

/// Takes a piece out of a group: where `find` says.
fn take(
    info: &Info,
    group: &BlockGroup,
    find: impl FnOnce(&ExtentMap) -> Option<Extent>,
    pay: impl FnOnce(&mut Counters, u64),
) -> Option<Extent> {
    group.with_room(|inner| {
        if inner.read_only > 0 || inner.loaded != Loaded::Yes {
            return None;
        }
        let found = find(&inner.map)?;
        inner.map.remove(found.start, found.len).ok()?;
        inner.reserved = inner.reserved.saturating_add(found.len);
        info.with(|counters| {
            counters.change_reserved(group.profile(), found.len, 0);
            pay(counters, found.len);
        });
        Some(found)
    })
}

/// The first piece of `len` bytes at or behind `from`, else of the whole group.
fn fit(map: &ExtentMap, from: u64, len: u64, align: u64) -> Option<u64> {
    map.first_fit(from, len, align)
        .or_else(|| map.first_fit(0, len, align))
}

/// The same for data, outside of the window of small pieces.
fn fit_outside(map: &ExtentMap, from: u64, len: u64, window: Extent) -> Option<u64> {
    let at = fit(map, from, len, 1)?;
    let overlaps = at < window.end() && window.start < at.saturating_add(len);
    match overlaps {
        true => map.first_fit(window.end(), len, 1),
        false => Some(at),
    }
}

/// A request for data.
#[derive(Clone, Copy)]
struct Wanted {
    want: u64,
    min: u64,
    hint: Option<u64>,
    /// Where small pieces go.
    window: Extent,
    /// Where large ones went.
    large: u64,
    /// What a window should be.
    cluster: Cluster,
}

impl Wanted {
    fn is_small(&self) -> bool {
        self.want < SMALL
    }
}

impl Space {
    /// Allocates one extent of data: `want` bytes, or less if there is no such piece, but no less
    /// than `min`; both in whole sectors. `hint`: where it would be best, behind what the file has.
    /// `pay` is told how much it became, under the counters' lock.
    ///
    /// May read to find free space. `ENOSPC` if there is no piece of `min` bytes; with
    /// [`Urgency::Nowait`] `EAGAIN` if there may be one after a discard.
    pub(super) fn alloc_data(
        &self,
        want: u64,
        min: u64,
        hint: Option<Logical>,
        how: Urgency,
        pay: impl Fn(&mut Counters, u64),
    ) -> Result<Range> {
        let sector = self.sectorsize;
        let round_up = |bytes: u64| bytes.checked_next_multiple_of(sector).ok_or(EINVAL);
        let (want, min) = (round_up(want.max(1))?, round_up(min.max(1))?);
        let info = self.info(Kind::Data)?;
        let table = self.table()?;
        let cursors = *info.cursors.lock();
        let wanted = Wanted {
            want,
            min: min.min(want),
            hint: hint.map(|hint| hint.get()),
            window: cursors.window,
            large: cursors.large,
            cluster: self.cluster(),
        };
        let near = self
            .continue_file(info, &table, wanted, &pay)
            .or_else(|| self.at_cursor(info, &table, wanted, &pay));
        let found = match near {
            Some(found) => found,
            None => self.search_all(how, || self.search(info, &table, wanted, &pay))?,
        };
        Ok(Range {
            logical: Logical(found.start),
            len: found.len,
        })
    }

    /// Searches, and if that finds nothing once more while no range is out of the maps to be
    /// discarded: just that one may have been promised.
    fn search_all(
        &self,
        how: Urgency,
        search: impl Fn() -> Result<Option<Extent>>,
    ) -> Result<Extent> {
        if let Some(found) = search()? {
            return Ok(found);
        }
        let _nofs = NoFs::enter();
        let _discarding = match how {
            Urgency::Nowait => self.discarding.try_lock().ok_or(EAGAIN)?,
            _ => self.discarding.lock(),
        };
        search()?.ok_or(ENOSPC)
    }

    /// Behind the file's last extent, if there is enough to be worth it.
    fn continue_file(
        &self,
        info: &Info,
        table: &GroupTable,
        wanted: Wanted,
        pay: impl Fn(&mut Counters, u64),
    ) -> Option<Extent> {
        let hint = wanted.hint?;
        let group = table.get(hint)?;
        if group.flags().types() != info.types || !self.is_usable(group) {
            return None;
        }
        let least = wanted.want.min(WORTH).max(wanted.min);
        let find = |map: &ExtentMap| {
            let mut len = map.free_at(hint).min(wanted.want);
            let window = wanted.window;
            if !wanted.is_small() && hint < window.end() {
                len = len.min(window.start.saturating_sub(hint));
            }
            (len >= least).then_some(Extent { start: hint, len })
        };
        take(info, group, find, pay)
    }

    /// Small pieces: at the window, or where another one can be. Large ones: where the last of
    /// these went, or behind it.
    fn at_cursor(
        &self,
        info: &Info,
        table: &GroupTable,
        wanted: Wanted,
        pay: impl Fn(&mut Counters, u64),
    ) -> Option<Extent> {
        let Wanted { want, window, .. } = wanted;
        let at = match wanted.is_small() {
            true => window.start,
            false => wanted.large,
        };
        let group = table.get(at)?;
        if group.flags().types() != info.types || !self.is_usable(group) {
            return None;
        }
        let find = |map: &ExtentMap| {
            let in_window = |at: &u64| at.saturating_add(want) <= window.end();
            let start = if !wanted.is_small() {
                match map.free_at(at) >= want
                    && (at >= window.end() || at.saturating_add(want) <= window.start)
                {
                    true => at,
                    false => fit_outside(map, at, want, window)?,
                }
            } else {
                match map.first_fit(at, want, 1).filter(in_window) {
                    Some(start) => start,
                    None => fit(map, window.end(), wanted.cluster.len, wanted.cluster.align)?,
                }
            };
            Some(Extent { start, len: want })
        };
        let found = take(info, group, find, pay)?;
        Self::advance(info, wanted, found);
        Some(found)
    }

    /// Remembers where a piece went.
    fn advance(info: &Info, wanted: Wanted, found: Extent) {
        let mut cursors = info.cursors.lock();
        if !wanted.is_small() {
            cursors.large = found.end();
            return;
        }
        // Somebody else may have moved it meanwhile; then it is where it is.
        let inside = found.start >= wanted.window.start && found.end() <= wanted.window.end();
        let end = match inside {
            true => cursors.window.end(),
            false => found.start.saturating_add(wanted.cluster.len),
        };
        cursors.window = Extent {
            start: found.end(),
            len: end.saturating_sub(found.end()),
        };
    }

    /// In all groups: a piece of `want` bytes in the best one, or else the largest there is.
    fn search(
        &self,
        info: &Info,
        table: &GroupTable,
        wanted: Wanted,
        pay: impl Fn(&mut Counters, u64),
    ) -> Result<Option<Extent>> {
        let Wanted { want, min, .. } = wanted;
        let mut loads = 0;
        // Every turn reads a group, or finds a group's longest piece shorter than it was, so this
        // ends; usually in the first turn.
        loop {
            let groups = || candidates(info, table, |_| true);
            let known = || groups().filter(|(group, _)| group.with(|i| i.loaded) == Loaded::Yes);
            let best = policy::choose(groups(), want.max(wanted.cluster.len))
                .or_else(|| policy::choose(groups(), want))
                .or_else(|| policy::roomiest(groups()));
            let best = match best {
                Some((_, known)) if known.longest < min => None,
                best if loads < LOADS => best,
                // Enough read. Take what is there, or go on if that is nothing.
                best => policy::roomiest(known())
                    .filter(|(_, known)| known.longest >= min)
                    .or(best),
            };
            let Some((group, _)) = best else {
                return Ok(None);
            };
            if group.with(|i| i.loaded) == Loaded::No {
                loads += 1;
                self.load_group(group)?;
                continue;
            }
            let find = |map: &ExtentMap| {
                let start = match wanted.is_small() {
                    true => map.first_fit(0, wanted.cluster.len, wanted.cluster.align),
                    false => fit_outside(map, 0, want, wanted.window),
                };
                if let Some(start) = start.or_else(|| map.first_fit(0, want, 1)) {
                    return Some(Extent { start, len: want });
                }
                let longest = map.longest().filter(|e| e.len >= min)?;
                let len = longest.len.min(want);
                Some(Extent { len, ..longest })
            };
            if let Some(found) = take(info, group, find, &pay) {
                Self::advance(info, wanted, found);
                return Ok(Some(found));
            }
            // Somebody else was faster; what the group has left is known now.
            kfs::task::cond_resched();
        }
    }

    /// Allocates a tree block: of the chunk tree (`system`), or another one. Near `prev`, the one
    /// that was allocated before it.
    ///
    /// Only for the committer; may read to find free space. `ENOSPC` if there is no place.
    pub(crate) fn alloc_tree(&self, system: bool, prev: Option<Logical>) -> Result<Logical> {
        let kind = match system {
            true => Kind::System,
            false => Kind::Metadata,
        };
        let info = self.info(kind)?;
        let table = self.table()?;
        let len = self.nodesize;
        let committing = self.committing.load(Relaxed);
        let eligible = |group: &BlockGroup| group.born().get() <= committing;
        let behind = match prev {
            Some(prev) => prev.get().saturating_add(len),
            None => info.cursors.lock().tree,
        };
        let take_at = |group: &BlockGroup, run: u64| {
            let find = |map: &ExtentMap| {
                let at = match map.free_at(behind) >= len && behind % len == 0 {
                    true => behind,
                    false => fit(map, behind, run, len)?,
                };
                Some(Extent { start: at, len })
            };
            take(info, group, find, Counters::pay_for_trees)
        };
        let near = table.get(behind).filter(|group| {
            group.flags().types() == info.types && eligible(group) && self.is_usable(group)
        });
        let mut run = self.cluster().len.max(len);
        let found = loop {
            if let Some(found) = near.and_then(|group| take_at(group, run)) {
                break found;
            }
            let groups = candidates(info, &table, eligible);
            if let Some((group, _)) = policy::choose(groups, run) {
                if group.with(|i| i.loaded) == Loaded::No {
                    self.load_group(group)?;
                    continue;
                }
                if let Some(found) = take_at(group, run) {
                    break found;
                }
            }
            if run <= len {
                // The last way: any place, whatever the order of groups, aligned or not found.
                let search = || self.any_block(info, &table, eligible);
                break self.search_all(Urgency::Normal, search)?;
            }
            run = (run / 4).max(len);
        };
        info.cursors.lock().tree = found.end();
        Ok(Logical(found.start))
    }

    /// A tree block in whichever group has one, each looked into.
    fn any_block(
        &self,
        info: &Info,
        table: &GroupTable,
        eligible: impl Fn(&BlockGroup) -> bool,
    ) -> Result<Option<Extent>> {
        let len = self.nodesize;
        for (group, _) in candidates(info, table, eligible) {
            self.load_group(group)?;
            let find = |map: &ExtentMap| {
                let start = map.first_fit(0, len, len)?;
                Some(Extent { start, len })
            };
            if let Some(found) = take(info, group, find, Counters::pay_for_trees) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Where a row of small pieces may begin.
    fn cluster(&self) -> Cluster {
        let settings = *self.settings.lock();
        Cluster::of(settings.ssd, settings.ssd_spread)
    }

    /// Whether something could be allocated from a group; reads its free space if it must.
    fn is_usable(&self, group: &BlockGroup) -> bool {
        group.longest() > 0 && self.load_group(group).is_ok()
    }

    /// Gives back what was allocated and never referred to.
    ///
    /// Only if nobody can be reading it: what was visible must be pinned
    /// ([`Space::pin_reserved`]).
    pub(crate) fn unalloc(&self, start: Logical, len: u64) {
        let Some((info, group)) = self.group_of(start, len) else {
            return;
        };
        group.with_room(|inner| {
            inner.reserved = inner.reserved.saturating_sub(len);
            info.with(|counters| counters.change_reserved(group.profile(), 0, len));
            self.free_in(&info, &group, inner, start.get(), len);
        });
        info.wake();
    }
}

/// The groups of a kind, as policies see them.
fn candidates<'a>(
    info: &'a Info,
    table: &'a GroupTable,
    eligible: impl Fn(&BlockGroup) -> bool + 'a,
) -> impl Iterator<Item = (&'a Arc<BlockGroup>, Candidate)> + 'a {
    let own = move |group: &&Arc<BlockGroup>| {
        group.flags().types() == info.types && group.longest() > 0 && eligible(group)
    };
    table.iter().filter(own).map(|group| {
        let candidate = Candidate {
            len: group.len(),
            free: group.free_hint(),
            longest: group.longest(),
        };
        (group, candidate)
    })
}
