// SPDX-License-Identifier: GPL-2.0

//! Checksums and free space against models that remember every sector.

mod support;

use btrfs_batch::free_space::{self, SpaceChange};
use btrfs_batch::items::ItemMap;
use btrfs_batch::{erase_csums, groups, insert_csums, CsumWriter, Error, Items, Span};
use btrfs_format::block_group::{BlockGroupItem, BlockGroupItemV2};
use btrfs_format::free_space::FreeSpaceInfo;
use btrfs_format::types::objectid;
use btrfs_format::{item as item_type, BlockGroupFlags, CsumType, Geometry, Key, Logical, TreeId};
use std::collections::BTreeMap;
use support::leaves::check_items;
use support::Random;

fn span(start: u64, len: u64) -> Span {
    Span {
        start: Logical(start),
        len,
    }
}

/// The checksum tree's items must say what the model says, in as few items as joining gives.
fn verify_csums(items: &ItemMap, model: &BTreeMap<u64, Vec<u8>>, geometry: &Geometry) {
    let size = geometry.csum_type.size();
    let mut found = BTreeMap::new();
    let max = ((geometry.body_size() - 50) / size - 1).min(4096);
    for (key, data) in &items.0 {
        assert!(data.len() <= max * size);
        let sector = u64::from(geometry.sectorsize);
        for (i, sum) in data.chunks(size).enumerate() {
            let old = found.insert(key.offset + i as u64 * sector, sum.to_vec());
            assert_eq!(old, None);
        }
    }
    assert!(found == *model);
    check_items(&items.0, geometry, TreeId::CSUM_TREE, 9);
}

fn csum_run(csum: CsumType, nodesize: u32, seed: u64, steps: u32, sectors: u64) {
    let geometry = Geometry::new(4096, nodesize, csum).unwrap();
    let mut random = Random(seed);
    let mut items = ItemMap::default();
    let mut model = BTreeMap::new();
    let base = 1 << 30;
    for step in 0..steps {
        let mut at = base + 4096 * random.below(sectors);
        if random.one_in(2) {
            let mut writer = CsumWriter::new(&geometry);
            for _ in 0..1 + random.below(6) {
                let most = if random.one_in(4) { sectors / 3 } else { 30 };
                let count = 1 + random.below(most);
                let sums = random.bytes(count as usize * csum.size());
                for (i, sum) in sums.chunks(csum.size()).enumerate() {
                    model.insert(at + 4096 * i as u64, sum.to_vec());
                }
                if random.one_in(5) {
                    writer.finish(&mut items).unwrap();
                    insert_csums(&mut items, &geometry, Logical(at), &sums).unwrap();
                    verify_csums(&items, &model, &geometry);
                } else {
                    writer.add(&mut items, Logical(at), &sums).unwrap();
                }
                at += 4096 * count;
                if random.one_in(3) {
                    at += 4096 * random.below(20);
                }
                if random.one_in(8) {
                    at = base + 4096 * random.below(sectors);
                }
            }
            writer.finish(&mut items).unwrap();
        } else {
            let mut spans = Vec::new();
            for _ in 0..1 + random.below(8) {
                let most = if random.one_in(6) { sectors / 4 } else { 8 };
                let count = 1 + random.below(most);
                spans.push(span(at, 4096 * count));
                at += 4096 * (count + random.below(12));
            }
            for span in &spans {
                let end = span.start.get() + span.len;
                model.retain(|at, _| !(span.start.get()..end).contains(at));
            }
            erase_csums(&mut items, &geometry, &spans).unwrap();
        }
        if step % 8 == 0 {
            verify_csums(&items, &model, &geometry);
        }
    }
    verify_csums(&items, &model, &geometry);
}

#[test]
fn csums() {
    for (i, csum) in CsumType::ALL.into_iter().enumerate() {
        csum_run(csum, 4096, 1 + i as u64, 400, 2000);
        csum_run(csum, 16384, 11 + i as u64, 100, 12000);
        csum_run(csum, 65536, 21 + i as u64, 40, 30000);
    }
}

/// Extents written one behind the other fill whole items; and what is between others joins them.
#[test]
fn csums_join() {
    let geometry = Geometry::new(4096, 16384, CsumType::Crc32c).unwrap();
    let mut items = ItemMap::default();
    for i in 0..8000u64 {
        let sums = (i as u32).to_le_bytes();
        insert_csums(&mut items, &geometry, Logical(4096 * i), &sums).unwrap();
    }
    assert_eq!(items.0.len(), 2);
    let mut items = ItemMap::default();
    for at in [0, 2, 1] {
        insert_csums(&mut items, &geometry, Logical(4096 * at), &[at as u8; 4]).unwrap();
    }
    assert_eq!(items.0.len(), 1);
    let key = Key::new(objectid::EXTENT_CSUM, item_type::EXTENT_CSUM, 0);
    let data = items.get(&key).unwrap().unwrap();
    assert_eq!(data, [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]);
    // Erasing inside of one leaves both ends.
    erase_csums(&mut items, &geometry, &[span(4096, 4096)]).unwrap();
    assert_eq!(items.0.len(), 2);
    // What is not of sectors is refused.
    for (at, sums) in [(1, [0; 4]), (4096, [0; 4])] {
        let sums = if at == 1 { &sums[..] } else { &sums[..3] };
        let result = insert_csums(&mut items, &geometry, Logical(at), sums);
        assert!(matches!(result, Err(Error::Corrupt(_))));
    }
}

/// The free sectors of a group as a bitmap, and how many ranges they are.
struct Sectors {
    group: Span,
    sector: u64,
    free: Vec<bool>,
}

impl Sectors {
    fn ranges(&self) -> Vec<(u64, u64)> {
        let mut ranges = Vec::new();
        let mut at = 0;
        for part in self.free.chunk_by(|a, b| a == b) {
            if part[0] {
                let start = self.group.start.get() + at as u64 * self.sector;
                ranges.push((start, part.len() as u64 * self.sector));
            }
            at += part.len();
        }
        ranges
    }

    /// Compares with the items; returns whether these are bitmaps.
    fn verify(&self, items: &ItemMap, geometry: &Geometry) -> bool {
        let (start, end) = (
            self.group.start.get(),
            self.group.start.get() + self.group.len,
        );
        let mut found = items.0.range(Key::new(start, 0, 0)..Key::new(end, 0, 0));
        let (key, info) = found.next().unwrap();
        assert_eq!(
            *key,
            Key::new(start, item_type::FREE_SPACE_INFO, self.group.len)
        );
        let info = FreeSpaceInfo::from_bytes(info).unwrap();
        let ranges = self.ranges();
        assert_eq!(info.extent_count.get() as usize, ranges.len());
        if !info.uses_bitmaps() {
            let found = found.map(|(key, data)| {
                assert_eq!(key.item_type, item_type::FREE_SPACE_EXTENT);
                assert!(data.is_empty());
                (key.objectid, key.offset)
            });
            assert!(found.eq(ranges));
        } else {
            let mut at = start;
            for (key, bits) in found {
                assert_eq!(key.item_type, item_type::FREE_SPACE_BITMAP);
                assert_eq!(key.objectid, at);
                assert_eq!(key.offset, (end - at).min(2048 * self.sector));
                let count = (key.offset / self.sector) as usize;
                assert_eq!(bits.len(), count.div_ceil(8));
                for bit in 0..bits.len() * 8 {
                    let first = ((at - start) / self.sector) as usize;
                    let want = bit < count && self.free[first + bit];
                    assert_eq!(bits[bit / 8] >> (bit % 8) & 1 == 1, want);
                }
                at += key.offset;
            }
            assert_eq!(at, end);
        }
        check_items(&items.0, geometry, TreeId::FREE_SPACE_TREE, 9);
        info.uses_bitmaps()
    }
}

/// Changes that ascend and do not overlap, of whole runs that are alike.
fn changes(model: &mut Sectors, random: &mut Random, most: u64) -> Vec<SpaceChange> {
    let total = model.free.len();
    let mut list = Vec::new();
    let mut at = random.below(total as u64 / 4 + 1) as usize;
    for _ in 0..random.below(most) {
        at += random.below(6) as usize;
        if at >= total {
            break;
        }
        let free = model.free[at];
        let like = model.free[at..].iter().take_while(|f| **f == free).count();
        let max = if random.one_in(3) { like as u64 } else { 3 };
        let len = (1 + random.below(max)).min(like as u64) as usize;
        model.free[at..at + len].fill(!free);
        let start = model.group.start.get() + at as u64 * model.sector;
        list.push(SpaceChange {
            span: span(start, len as u64 * model.sector),
            freed: !free,
        });
        at += len;
    }
    list
}

fn space_run(sector: u32, group: Span, seed: u64, steps: u32, most: u64) -> (u32, u32) {
    let geometry = Geometry::new(sector, sector.max(16384), CsumType::Crc32c).unwrap();
    let mut random = Random(seed);
    let mut items = ItemMap::default();
    // Neighbours, which must stay as they are.
    let before = span(group.start.get() - (8 << 20), 8 << 20);
    let behind = span(group.start.get() + group.len, 8 << 20);
    free_space::new_group(&mut items, &geometry, before).unwrap();
    free_space::new_group(&mut items, &geometry, behind).unwrap();
    let alone = items.clone();
    free_space::new_group(&mut items, &geometry, group).unwrap();
    let sectors = (group.len / u64::from(sector)) as usize;
    let mut model = Sectors {
        group,
        sector: sector.into(),
        free: vec![true; sectors],
    };
    let (mut bitmaps, mut turns) = (0, 0);
    let mut last = false;
    for step in 0..steps {
        let list = changes(&mut model, &mut random, most);
        if random.one_in(3) {
            for change in &list {
                let edit = if change.freed {
                    free_space::free
                } else {
                    free_space::allocate
                };
                edit(&mut items, &geometry, group, change.span).unwrap();
            }
        } else {
            let convert = !random.one_in(4);
            free_space::update(&mut items, &geometry, group, &list, convert).unwrap();
        }
        if step % 50 == 49 {
            // All but few at once: back to ranges.
            let free = random.one_in(2);
            let list: Vec<_> = model
                .ranges_of(!free)
                .into_iter()
                .map(|(start, len)| SpaceChange {
                    span: span(start, len),
                    freed: free,
                })
                .collect();
            model.free.fill(free);
            free_space::update(&mut items, &geometry, group, &list, true).unwrap();
        }
        let now = model.verify(&items, &geometry);
        bitmaps += u32::from(now);
        turns += u32::from(now != last);
        last = now;
        if step % 20 == 0 {
            let spans: Vec<_> = model
                .ranges()
                .into_iter()
                .map(|(start, len)| span(start, len))
                .collect();
            let mut filled = alone.clone();
            free_space::fill_group(&mut filled, &geometry, group, &spans).unwrap();
            model.verify(&filled, &geometry);
        }
    }
    free_space::remove_group(&mut items, &geometry, group).unwrap();
    assert!(items == alone);
    (bitmaps, turns)
}

impl Sectors {
    /// Runs of sectors that are free, or not.
    fn ranges_of(&self, free: bool) -> Vec<(u64, u64)> {
        let flipped = Sectors {
            group: self.group,
            sector: self.sector,
            free: self.free.iter().map(|f| *f == free).collect(),
        };
        flipped.ranges()
    }
}

#[test]
fn free_space_of_small_and_odd_groups() {
    let mut all = (0, 0);
    for seed in 0..6 {
        // Less than a bitmap, not a multiple of one, and bitmaps of sectors of 64 KiB.
        for (sector, start, len) in [
            (4096, 1 << 30, 8 << 20),
            (4096, (1 << 30) + 4096, (20 << 20) + 5 * 4096),
            (4096, 1 << 30, 4096 * 37),
            (65536, 1 << 30, 256 << 20),
        ] {
            let (bitmaps, turns) = space_run(sector, span(start, len), seed, 300, 60);
            all = (all.0 + bitmaps, all.1 + turns);
        }
    }
    assert!(all.0 > 100 && all.1 > 10, "{all:?}");
}

#[test]
fn free_space_of_large_groups() {
    let (bitmaps, turns) = space_run(4096, span(1 << 30, 256 << 20), 7, 120, 1500);
    assert!(bitmaps > 10 && turns > 2, "{bitmaps} {turns}");
}

#[test]
fn thresholds() {
    let geometry = Geometry::new(4096, 16384, CsumType::Crc32c).unwrap();
    let group = span(1 << 30, 64 << 20);
    // 8 bitmaps of 281 bytes are 89 items of 25.
    let spans = |count: u64| -> Vec<_> {
        (0..count)
            .map(|i| span((1 << 30) + 8192 * i, 4096))
            .collect()
    };
    let uses = |items: &ItemMap| {
        let info = items.0.values().next().unwrap();
        FreeSpaceInfo::from_bytes(info).unwrap().uses_bitmaps()
    };
    for (count, bitmaps) in [(89, false), (90, true)] {
        let mut items = ItemMap::default();
        free_space::fill_group(&mut items, &geometry, group, &spans(count)).unwrap();
        assert_eq!(uses(&items), bitmaps);
    }
    let mut items = ItemMap::default();
    free_space::fill_group(&mut items, &geometry, group, &spans(89)).unwrap();
    let more = span((1 << 30) + 8192 * 89, 4096);
    let change = SpaceChange {
        span: more,
        freed: true,
    };
    free_space::update(&mut items, &geometry, group, &[change], false).unwrap();
    assert!(!uses(&items));
    free_space::update(&mut items, &geometry, group, &[], true).unwrap();
    assert!(uses(&items));
    // The lower one is 0 here: bitmaps stay.
    free_space::allocate(&mut items, &geometry, group, more).unwrap();
    assert!(uses(&items));
}

#[test]
fn free_space_twice() {
    let geometry = Geometry::new(4096, 16384, CsumType::Crc32c).unwrap();
    let group = span(1 << 30, 8 << 20);
    for many in [false, true] {
        let mut items = ItemMap::default();
        let first = 1 << 30;
        let count = if many { 40 } else { 1 };
        let free: Vec<_> = (0..count)
            .map(|i| span(first + 4096 * 20 * i, 4096 * 10))
            .collect();
        free_space::fill_group(&mut items, &geometry, group, &free).unwrap();
        let is_corrupt = |result| matches!(result, Err(Error::Corrupt(_)));
        for (sector, len, freed) in [
            (0, 1, true),
            (9, 2, true),
            (10, 11, true),
            (19, 2, true),
            (9, 2, false),
            (10, 1, false),
            (19, 2, false),
            (2047, 2, true),
        ] {
            if !many && sector == 19 && freed {
                continue;
            }
            let change = SpaceChange {
                span: span(first + 4096 * sector, 4096 * len),
                freed,
            };
            let mut copy = items.clone();
            let result = free_space::update(&mut copy, &geometry, group, &[change], true);
            if !many && sector == 10 && freed {
                result.unwrap();
            } else {
                assert!(is_corrupt(result), "{change:?}");
            }
        }
        let unaligned = span(first + 512, 4096);
        let result = free_space::free(&mut items, &geometry, group, unaligned);
        assert!(is_corrupt(result));
        let missing = span(1 << 40, 8 << 20);
        let result = free_space::update(&mut items, &geometry, missing, &[], true);
        assert!(is_corrupt(result));
    }
}

#[test]
fn group_items() {
    let mut items = ItemMap::default();
    let group = span(1 << 30, 1 << 30);
    let flags = BlockGroupFlags::DATA;
    groups::put_group(&mut items, group, 4096, flags).unwrap();
    groups::set_used(&mut items, group, 8192).unwrap();
    let item = *BlockGroupItem::parse(items.0.values().next().unwrap()).unwrap();
    assert_eq!((item.used.get(), item.flags()), (8192, flags));
    let geometry = Geometry::new(4096, 16384, CsumType::Crc32c).unwrap();
    check_items(&items.0, &geometry, TreeId::BLOCK_GROUP_TREE, 9);
    assert!(groups::set_used(&mut items, group, (1 << 30) + 1).is_err());
    assert!(groups::set_used(&mut items, span(0, 1 << 30), 0).is_err());
    // The longer item keeps what it has besides.
    let mut longer = BlockGroupItemV2::zeroed();
    longer.base = item;
    longer.remap_bytes.set(77);
    let key = *items.0.keys().next().unwrap();
    items.put(key, longer.to_disk()).unwrap();
    groups::set_used(&mut items, group, 0).unwrap();
    longer.base.used.set(0);
    assert_eq!(items.0[&key], longer.to_disk());
    groups::delete_group(&mut items, group).unwrap();
    assert!(items.0.is_empty());
}
