// SPDX-License-Identifier: GPL-2.0

//! What can go wrong.

use crate::mem::AllocError;

/// Why a batch could not be applied. The trees of the transaction are then half done: its only end
/// is an abort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// No memory.
    NoMemory,
    /// No room: no address for a block, or a tree would become too high.
    NoSpace,
    /// A block could not be read or written.
    Io,
    /// A tree or a batch breaks a rule; the text says which one.
    Corrupt(&'static str),
    /// What a [`Store`](crate::Store) reports besides, as a positive error number.
    Errno(i32),
}

/// A result of this crate.
pub type Result<T = (), E = Error> = core::result::Result<T, E>;

impl From<AllocError> for Error {
    fn from(_: AllocError) -> Self {
        Self::NoMemory
    }
}

#[cfg(CONFIG_RUST)]
impl From<Error> for kernel::error::Error {
    fn from(error: Error) -> Self {
        use kernel::error::code::{EIO, ENOMEM, ENOSPC, EUCLEAN};
        match error {
            Error::NoMemory => ENOMEM,
            Error::NoSpace => ENOSPC,
            Error::Io => EIO,
            Error::Corrupt(_) => EUCLEAN,
            Error::Errno(errno) => kernel::error::Error::from_errno(errno.wrapping_neg()),
        }
    }
}

#[cfg(CONFIG_RUST)]
impl From<kernel::error::Error> for Error {
    fn from(error: kernel::error::Error) -> Self {
        use kernel::error::code::{EIO, ENOMEM, ENOSPC};
        match error {
            e if e == ENOMEM => Self::NoMemory,
            e if e == ENOSPC => Self::NoSpace,
            e if e == EIO => Self::Io,
            e => Self::Errno(e.to_errno().wrapping_neg()),
        }
    }
}
