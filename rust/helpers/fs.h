/* SPDX-License-Identifier: GPL-2.0 */
#ifndef KFS_HELPERS_FS_H
#define KFS_HELPERS_FS_H

#endif
