// SPDX-License-Identifier: GPL-2.0

//! Committing a transaction.

use kernel::prelude::*;

use super::Txn;

impl Txn {
    /// Commits the open transaction. For the committing thread only.
    pub(super) fn commit_now(&self) -> Result {
        Err(EOPNOTSUPP)
    }
}
