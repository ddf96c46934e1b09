// SPDX-License-Identifier: GPL-2.0

//! `/dev/btrfs-control`: what concerns devices and not a mounted file system.
//!
//! udev and `btrfs device scan` register devices here, `btrfs device ready` asks whether a file
//! system has all of its devices, `btrfs device scan --forget` has them forgotten.

#![forbid(unsafe_code)]

use crate::{
    ioctl::{features, user::Arg},
    volume::registry::{self, Scanned},
};
use kernel::{
    ioctl::{_IOR, _IOW},
    prelude::*,
    str::CStr,
};
use kfs::{
    block::DevNum,
    fs::{capable, Capability},
    misc::{ControlDevice, Registration, BTRFS_MINOR},
};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `struct btrfs_ioctl_vol_args`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct VolArgs {
    fd: i64,
    /// A path, ended by a zero byte.
    name: [u8; 4088],
}

const _: () = assert!(size_of::<VolArgs>() == 4096);

/// The letter of btrfs's commands.
const MAGIC: u32 = 0x94;
/// `BTRFS_IOC_SCAN_DEV`.
const SCAN_DEV: u32 = _IOW::<VolArgs>(MAGIC, 4);
/// `BTRFS_IOC_FORGET_DEV`.
const FORGET_DEV: u32 = _IOW::<VolArgs>(MAGIC, 5);
/// `BTRFS_IOC_DEVICES_READY`.
const DEVICES_READY: u32 = _IOR::<VolArgs>(MAGIC, 39);

/// The device.
pub(crate) struct Control;

/// Creates the device; it goes when the result is dropped. `EBUSY` if another module has it.
pub(crate) fn register() -> Result<Pin<KBox<Registration<Control>>>> {
    Registration::new()
}

#[vtable]
impl ControlDevice for Control {
    const NAME: &'static CStr = c"btrfs-control";
    const MINOR: i32 = BTRFS_MINOR;

    fn ioctl(cmd: u32, arg: usize) -> Result<isize> {
        if !capable(Capability::SysAdmin) {
            return Err(EPERM);
        }
        match cmd {
            SCAN_DEV => {
                let args = Arg::read(arg)?;
                registry::scan(path(&args)?)?;
                Ok(0)
            }
            DEVICES_READY => {
                let args = Arg::read(arg)?;
                match registry::scan(path(&args)?)? {
                    Scanned::Single | Scanned::Complete => Ok(0),
                    Scanned::Incomplete => Ok(1),
                }
            }
            FORGET_DEV => {
                let args = Arg::read(arg)?;
                forget(path(&args)?)
            }
            features::GET_SUPPORTED_FEATURES => features::get_supported_features(arg),
            _ => Err(ENOTTY),
        }
    }
}

/// The path in the arguments; `ENAMETOOLONG` if it has no end.
fn path(args: &Arg<VolArgs>) -> Result<&CStr> {
    CStr::from_bytes_until_nul(&args.get()?.name).map_err(|_| ENAMETOOLONG)
}

/// Forgets the device at a path, or all that are not in use if the path is empty.
fn forget(path: &CStr) -> Result<isize> {
    let dev = if path.to_bytes().is_empty() {
        None
    } else {
        Some(DevNum::lookup(path)?)
    };
    registry::forget(dev)?;
    Ok(0)
}
