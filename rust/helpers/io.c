// SPDX-License-Identifier: GPL-2.0
/*
 * C inline functions and macros that Rust cannot call, as functions.
 *
 * Sorted alphabetically; prototypes are in io.h, which bindgen reads.
 */

#include "io.h"
