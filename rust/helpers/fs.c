// SPDX-License-Identifier: GPL-2.0
/*
 * C inline functions and macros that Rust cannot call, as functions.
 *
 * Sorted alphabetically; prototypes are in fs.h, which bindgen reads.
 */

#include "fs.h"
