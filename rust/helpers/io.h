/* SPDX-License-Identifier: GPL-2.0 */
#ifndef KFS_HELPERS_IO_H
#define KFS_HELPERS_IO_H

#endif
