// SPDX-License-Identifier: GPL-2.0

//! The end of a commit: flushing the devices and writing superblocks.
//!
//! Order is everything here: what a superblock reaches is durable on enough devices before the
//! first superblock is written ([`Volume::flush`]), and the commit is over when enough of these
//! are durable ([`Volume::write_supers`]).

use super::{
    csum::Checksum,
    device::Device,
    log::{limited, ErrorName},
    new_super::NewSuper,
    superblock::SuperBuf,
    Volume,
};
use btrfs_format::{
    device::{DevItem, DevStat, DevStatsItem},
    key::{item, Key},
    superblock::{
        mirror_offset,
        validate::{self, Validation},
        SuperFlags, Superblock, MIRRORS, SUPER_SIZE,
    },
    types::objectid,
    DevId,
};
use kernel::{
    prelude::*,
    sync::{atomic::ordering::Relaxed, Arc, Completion, Mutex, UniqueArc},
};
use kfs::{
    block::{with_plug, BlockDevice, Io, IoBuf, IoDone, IoFlags, KBuf, Lanes, Op, Segment},
    mem::{NoFs, GFP_NOFAIL},
};

/// Copies of the superblock that are written by one request.
struct Copies {
    io: Io,
    targets: KVec<Target>,
}

/// One copy on one device.
struct Target {
    device: Arc<Device>,
    offset: u64,
}

impl Volume {
    /// Makes everything that was written before durable, on all devices in parallel, and finds out
    /// on which of them it is: the others are failed.
    ///
    /// `EIO`, with a message, if a chunk has more failed and missing devices than it tolerates, or
    /// something of it is on none but those; `ENOMEM`. Sleeps.
    pub(crate) fn flush(&self) -> Result {
        let _nofs = NoFs::enter();
        let devices = self.devices()?;
        let mut io = Io::flush();
        let mut flushed = KVec::new();
        for device in devices.iter() {
            let Some(bdev) = device.bdev_for_write().filter(|_| device.in_metadata()) else {
                continue;
            };
            if self.barriers.load(Relaxed) {
                io.add_flush(bdev)?;
            }
            flushed.push(device, GFP_NOFAIL)?;
        }
        if let Some(table) = self.chunks.table() {
            table.iter().for_each(|chunk| chunk.begin_flush());
        }
        let flushes = io.parts();
        let done = io.submit_wait();
        for (index, device) in flushed.iter().enumerate() {
            let failed = index < flushes && done.status(index).is_err();
            if failed {
                device.count(DevStat::FlushErrors, &self.log);
            }
            device.set_failed(failed);
        }
        self.check_tolerable("flushing devices")
    }

    /// Writes a commit's superblock to all devices, in parallel, and makes it the current one.
    ///
    /// To be called after [`Volume::flush`]. The first copy on each device is durable when this
    /// returns; a device counts if it was written. Errors, with a message: `EUCLEAN` if it is not a
    /// superblock with which the file system could be mounted (nothing was written), `EIO` if no
    /// device has it, or fewer than the chunks need (some may), `ENOMEM`. Sleeps.
    pub(crate) fn write_supers(&self, new: NewSuper) -> Result {
        let _nofs = NoFs::enter();
        if !self.is_writable() {
            return Err(EROFS);
        }
        let (mut buf, base, items) = new.into_parts();
        let flags = buf.flags().union(SuperFlags::WRITTEN);
        buf.fields().flags = flags.bits().into();
        let published = UniqueArc::new(buf.try_clone()?, GFP_NOFAIL)?;
        let mut first = Copies::new(self.first_flags());
        let mut others = Copies::new(IoFlags::NONE);
        let devices = self.devices()?;
        for device in devices.iter() {
            if !device.in_metadata() {
                continue;
            }
            if let Some(bdev) = device.bdev_for_write() {
                self.plan_supers((device, bdev), &mut buf, &items, &mut first, &mut others)?;
            }
        }
        let waiter = Waiter::new()?;
        let (first, others) = with_plug(|| {
            let others = others.submit(&waiter, &self.lanes);
            (first.submit_wait(), others)
        });
        waiter.wait();
        let good = self.count_good(&first);
        self.settle_others(&others, &waiter);
        if good == 0 {
            self.log
                .error(format_args!("no device took the superblock"));
            return Err(EIO);
        }
        self.check_tolerable("writing superblocks")?;
        for device in devices.iter() {
            if let Some(item) = staged(&items, device.devid()) {
                device.set_committed_item(item);
            }
        }
        self.publish_superblock(published, &base);
        Ok(())
    }

    /// The error counters that changed since this was called last, as items of the device tree:
    /// each with its key, to be put by the commit. If it fails, [`Volume::keep_stats`].
    pub(crate) fn take_changed_stats(&self) -> Result<KVec<(Key, DevStatsItem)>> {
        let devices = self.devices()?;
        let mut changed = KVec::with_capacity(devices.len(), GFP_NOFAIL)?;
        for device in devices.iter() {
            if let Some(values) = device.stats().take_changed() {
                let devid = device.devid().get();
                let key = Key::new(objectid::DEV_STATS, item::PERSISTENT_ITEM, devid);
                changed.push((key, values.item()), GFP_NOFAIL)?;
            }
        }
        Ok(changed)
    }

    /// All error counters are to be stored by the next commit.
    pub(crate) fn keep_stats(&self) -> Result {
        for device in self.devices()?.iter() {
            device.stats().set_changed();
        }
        Ok(())
    }

    fn first_flags(&self) -> IoFlags {
        match self.barriers.load(Relaxed) {
            true => IoFlags::FUA,
            false => IoFlags::NONE,
        }
    }

    fn check_tolerable(&self, what: &str) -> Result {
        if self.can_write_degraded() {
            return Ok(());
        }
        self.log
            .error(format_args!("too many devices failed while {what}"));
        Err(EIO)
    }

    /// Completes the superblock for a device and adds its copies to the requests.
    fn plan_supers(
        &self,
        (device, bdev): (&Arc<Device>, &Arc<BlockDevice>),
        buf: &mut SuperBuf,
        items: &[DevItem],
        first: &mut Copies,
        others: &mut Copies,
    ) -> Result {
        let committed = device.committed_item();
        let own = staged(items, device.devid()).unwrap_or(&committed);
        buf.fields().dev_item = DevItem {
            devid: device.devid().into(),
            uuid: device.uuid(),
            fsid: self.identity.metadata_uuid,
            ..*own
        };
        let how = Validation {
            mirror: None,
            ignore_flags: false,
        };
        validate::validate(buf, &how).map_err(|rule| {
            self.log.error(format_args!("{rule}"));
            self.log.error(format_args!(
                "superblock corruption detected before writing it"
            ));
            EUCLEAN
        })?;
        let size = u64::try_from(SUPER_SIZE)?;
        for mirror in 0..MIRRORS {
            let offset = mirror_offset(mirror).ok_or(EINVAL)?;
            let end = offset.checked_add(size).ok_or(EINVAL)?;
            if end >= buf.dev_item.total_bytes.get() {
                break;
            }
            let fields = buf.fields();
            fields.bytenr = offset.into();
            let kind = fields.csum_type().ok_or(EUCLEAN)?;
            fields.csum = Checksum::of(kind, fields.checksummed()).area();
            let copies = match mirror {
                0 => &mut *first,
                _ => &mut *others,
            };
            copies.add((device, bdev), offset, buf)?;
        }
        Ok(())
    }

    /// How many devices have the first copy; the others are failed.
    fn count_good(&self, written: &(IoDone, KVec<Target>)) -> usize {
        let (done, targets) = written;
        let mut good: usize = 0;
        for (index, target) in targets.iter().enumerate() {
            let device = &target.device;
            match done.status(index) {
                Ok(()) => good = good.saturating_add(1),
                Err(error) => {
                    device.set_failed(true);
                    device.count(DevStat::WriteErrors, &self.log);
                    limited!(
                        self.log,
                        Error,
                        "error writing superblock to device {}: {}",
                        device.path(),
                        ErrorName(error)
                    );
                }
            }
            target.forget_cached();
        }
        good
    }

    fn settle_others(&self, targets: &KVec<Target>, waiter: &Waiter) {
        let Some(done) = waiter.done.lock().take() else {
            return;
        };
        for (index, target) in targets.iter().enumerate() {
            if done.status(index).is_err() {
                // The file system does without these copies.
                target.device.count(DevStat::WriteErrors, &self.log);
            }
            target.forget_cached();
        }
    }

    /// Changes the superblock in memory; the next commit writes it.
    ///
    /// Only the label and the features: anything else is overwritten by a commit that is under way.
    pub(super) fn change_superblock(&self, change: impl Fn(&mut Superblock)) -> Result {
        loop {
            let base = self.superblock();
            let mut buf = base.try_clone()?;
            change(buf.fields());
            if self.replace_superblock(buf, &base)? {
                return Ok(());
            }
        }
    }

    /// Makes what a commit wrote the current superblock. What [`Volume::change_superblock`] changed
    /// since the commit began stays. Cannot fail: the commit is over.
    fn publish_superblock(&self, mut written: UniqueArc<SuperBuf>, base: &SuperBuf) {
        let mut current = self.superblock.lock();
        if current.label != base.label {
            written.fields().label = current.label;
        }
        let added = current.incompat().difference(base.incompat());
        let features = written.incompat().union(added);
        written.fields().incompat_flags = features.bits().into();
        let old = core::mem::replace(&mut *current, written.into());
        drop(current);
        drop(old);
    }

    /// Replaces the superblock, unless it is not `expected` any more.
    fn replace_superblock(&self, buf: SuperBuf, expected: &Arc<SuperBuf>) -> Result<bool> {
        let mut other = Arc::new(buf, GFP_NOFAIL)?;
        let mut current = self.superblock.lock();
        let same = Arc::ptr_eq(&*current, expected);
        if same {
            core::mem::swap(&mut *current, &mut other);
        }
        // The loser is dropped behind the lock.
        drop(current);
        Ok(same)
    }
}

/// The device item that a commit changes.
fn staged(items: &[DevItem], devid: DevId) -> Option<&DevItem> {
    items.iter().find(|item| item.devid() == devid)
}

impl Target {
    fn forget_cached(&self) {
        if let Some(bdev) = self.device.bdev() {
            bdev.forget_cached(self.offset, SUPER_SIZE);
        }
    }
}

impl Copies {
    fn new(flags: IoFlags) -> Self {
        let flags = flags | IoFlags::SYNC | IoFlags::META | IoFlags::PRIO;
        Self {
            io: Io::new(Op::Write, flags, IoBuf::new()),
            targets: KVec::new(),
        }
    }

    fn add(
        &mut self,
        (device, bdev): (&Arc<Device>, &Arc<BlockDevice>),
        offset: u64,
        block: &SuperBuf,
    ) -> Result {
        let copy = KBuf::copy_of(block.to_disk(), GFP_NOFAIL)?;
        let start = self.io.buf_len();
        self.io
            .push_segment(Segment::Buf(copy))
            .map_err(|_| ENOMEM)?;
        self.io
            .add(bdev, offset, start..start.saturating_add(SUPER_SIZE))?;
        let device = device.clone();
        self.targets.push(Target { device, offset }, GFP_NOFAIL)?;
        Ok(())
    }

    fn submit_wait(self) -> (IoDone, KVec<Target>) {
        (self.io.submit_wait(), self.targets)
    }

    fn submit(self, waiter: &Arc<Waiter>, lanes: &Arc<Lanes>) -> KVec<Target> {
        let waiter = waiter.clone();
        self.io.on(lanes).submit(move |done| waiter.finish(done));
        self.targets
    }
}

/// Waits for a request that is under way.
#[pin_data]
pub(super) struct Waiter {
    #[pin]
    pub(super) done: Mutex<Option<IoDone>>,
    #[pin]
    over: Completion,
}

impl Waiter {
    pub(super) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                done <- kernel::new_mutex!(None),
                over <- Completion::new(),
            }),
            GFP_NOFAIL,
        )
    }

    /// The request is over.
    pub(super) fn finish(&self, done: IoDone) {
        *self.done.lock() = Some(done);
        self.over.complete_all();
    }

    pub(super) fn wait(&self) {
        self.over.wait_for_completion();
    }
}
