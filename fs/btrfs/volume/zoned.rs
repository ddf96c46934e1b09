// SPDX-License-Identifier: GPL-2.0

//! The superblock of zoned devices: a log in two zones.
//!
//! Zones are written in order, so a superblock cannot be overwritten. Each copy of it has two zones,
//! the first one at the beginning of the device: superblocks are appended to one of them until it is
//! full, then the other one is emptied and written. The last one of the zone that was written last
//! counts. Where the zones are conventional, the superblock is overwritten at the start of the first.
//!
//! Such file systems are read only: nothing here writes.

use btrfs_format::{superblock::SUPER_SIZE, Generation};
use kernel::prelude::*;
use kfs::block::{BlockDevice, Zone, ZoneState};

/// The size of a superblock, and of the steps of the log.
const STEP: u64 = SUPER_SIZE as u64;

/// Where a device's youngest superblock is, in bytes. `generation` reads the generation of a
/// superblock.
///
/// `EINVAL` if there is none, `EUCLEAN` if the zones are in no state that writing a log leaves.
pub(super) fn newest_superblock(
    bdev: &BlockDevice,
    generation: impl FnMut(u64) -> Result<Generation>,
) -> Result<u64> {
    newest(&bdev.zones(0)?, generation)
}

fn newest(zones: &[Zone; 2], mut generation: impl FnMut(u64) -> Result<Generation>) -> Result<u64> {
    let [one, two] = zones;
    if one.state == ZoneState::Conventional {
        return Ok(one.start);
    }
    let (empty, full) = (ZoneState::Empty, is_full);
    match (full(one), full(two)) {
        (true, true) => {
            let places = (last(one)?, last(two)?);
            let younger = generation(places.0)? > generation(places.1)?;
            Ok(if younger { places.0 } else { places.1 })
        }
        (true, false) if two.state == empty => last(one),
        (true, false) => before(two, two.written),
        (false, _) if one.state == empty && two.state == empty => Err(EINVAL),
        // The first zone was emptied just now; the second one has the last superblock.
        (false, true) if one.state == empty => last(two),
        (false, true) => before(one, one.written),
        (false, false) if two.state == empty => before(one, one.written),
        (false, false) => Err(EUCLEAN),
    }
}

/// Whether no superblock fits in it any more.
fn is_full(zone: &Zone) -> bool {
    let end = zone.start.saturating_add(zone.capacity);
    zone.state == ZoneState::Full
        || zone.state == ZoneState::Open && zone.written.saturating_add(STEP) > end
}

/// The last place of a full zone.
fn last(zone: &Zone) -> Result<u64> {
    let end = zone.start.checked_add(zone.capacity).ok_or(EUCLEAN)?;
    before(zone, end & !(STEP - 1))
}

/// The place before `end`.
fn before(zone: &Zone, end: u64) -> Result<u64> {
    let place = end.checked_sub(STEP).ok_or(EUCLEAN)?;
    match place >= zone.start {
        true => Ok(place),
        false => Err(EUCLEAN),
    }
}

#[kunit_tests(btrfs_zoned)]
mod tests {
    use super::*;

    const CAPACITY: u64 = 10 * STEP;

    fn zone(index: u64, state: ZoneState, blocks: u64) -> Zone {
        let start = index * 16 * STEP;
        Zone {
            start,
            capacity: CAPACITY,
            written: start + blocks * STEP,
            state,
        }
    }

    fn found(one: (ZoneState, u64), two: (ZoneState, u64)) -> Result<u64> {
        let zones = [zone(0, one.0, one.1), zone(1, two.0, two.1)];
        // The second zone is the younger one.
        let place = newest(&zones, |at| Ok(Generation(at)))?;
        Ok(place / STEP)
    }

    /// The table of states: (first zone, second zone), and the block that counts.
    #[test]
    fn states() {
        use ZoneState::{Conventional, Empty, Full, Open};
        for (one, two, place) in [
            ((Conventional, 0), (Conventional, 0), Some(0)),
            ((Empty, 0), (Empty, 0), None),
            ((Open, 1), (Empty, 0), Some(0)),
            ((Open, 5), (Empty, 0), Some(4)),
            ((Full, 10), (Empty, 0), Some(9)),
            ((Full, 10), (Open, 3), Some(18)),
            ((Full, 10), (Full, 10), Some(25)),
            ((Open, 2), (Full, 10), Some(1)),
            ((Empty, 0), (Full, 10), Some(25)),
            ((Open, 10), (Open, 1), Some(16)),
            ((Open, 3), (Open, 1), None),
            ((Empty, 0), (Open, 2), None),
        ] {
            assert_eq!(found(one, two).ok(), place);
        }
    }
}
