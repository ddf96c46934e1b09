/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The headers that bindgen reads for the btrfs_bindings crate. What of them
 * becomes Rust is listed in bindgen_parameters.
 *
 * Sorted alphabetically.
 */

/* See the kernel's rust/bindings/bindings_helper.h for why this comes first. */
#include <linux/hrtimer_types.h>

#include <linux/backing-dev.h>
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/crc32c.h>
#include <linux/exportfs.h>
#include <linux/fiemap.h>
#include <linux/fileattr.h>
#include <linux/falloc.h>
#include <linux/filelock.h>
#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/fs_parser.h>
#include <linux/fsverity.h>
#include <linux/io_uring/cmd.h>
#include <linux/iomap.h>
#include <linux/iversion.h>
#include <linux/kobject.h>
#include <linux/kthread.h>
#include <linux/lzo.h>
#include <linux/magic.h>
#include <linux/miscdevice.h>
#include <linux/mount.h>
#include <linux/namei.h>
#include <linux/pagemap.h>
#include <linux/raid/pq.h>
#include <linux/raid/xor.h>
#include <linux/rwsem.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <linux/sched/mm.h>
#include <linux/seq_file.h>
#include <linux/shrinker.h>
#include <linux/statfs.h>
#include <linux/swap.h>
#include <linux/sysfs.h>
#include <linux/uio.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>
#include <linux/writeback.h>
#include <linux/xattr.h>
#include <linux/xxhash.h>
#include <linux/zlib.h>
#include <linux/zstd.h>
#include <crypto/blake2b.h>
#include <crypto/sha2.h>
#include <uapi/linux/btrfs.h>
#include <uapi/linux/btrfs_tree.h>

#include "data.h"
#include "fs.h"
#include "inode.h"
#include "io.h"

/* bindgen does not evaluate macros with casts; constants of that kind go here. */
const blk_mode_t RUST_CONST_HELPER_BLK_OPEN_READ = BLK_OPEN_READ;
const blk_mode_t RUST_CONST_HELPER_BLK_OPEN_RESTRICT_WRITES = BLK_OPEN_RESTRICT_WRITES;
const blk_mode_t RUST_CONST_HELPER_BLK_OPEN_WRITE = BLK_OPEN_WRITE;
const unsigned int RUST_CONST_HELPER_FMODE_CAN_ODIRECT = (__force unsigned int)FMODE_CAN_ODIRECT;
const unsigned int RUST_CONST_HELPER_FMODE_NOWAIT = (__force unsigned int)FMODE_NOWAIT;
const unsigned int RUST_CONST_HELPER_FMODE_READ = (__force unsigned int)FMODE_READ;
const unsigned int RUST_CONST_HELPER_FMODE_WRITE = (__force unsigned int)FMODE_WRITE;
const fop_flags_t RUST_CONST_HELPER_FOP_BUFFER_RASYNC = FOP_BUFFER_RASYNC;
const fop_flags_t RUST_CONST_HELPER_FOP_BUFFER_WASYNC = FOP_BUFFER_WASYNC;
const gfp_t RUST_CONST_HELPER_GFP_KERNEL = GFP_KERNEL;
const gfp_t RUST_CONST_HELPER_GFP_NOFS = GFP_NOFS;
const int RUST_CONST_HELPER_IOCB_APPEND = (__force int)IOCB_APPEND;
const int RUST_CONST_HELPER_IOCB_DIRECT = (__force int)IOCB_DIRECT;
const int RUST_CONST_HELPER_IOCB_DSYNC = (__force int)IOCB_DSYNC;
const int RUST_CONST_HELPER_IOCB_NOWAIT = (__force int)IOCB_NOWAIT;
const unsigned int RUST_CONST_HELPER_IO_URING_F_COMPAT = IO_URING_F_COMPAT;
const unsigned int RUST_CONST_HELPER_IO_URING_F_NONBLOCK = (unsigned int)IO_URING_F_NONBLOCK;
const unsigned int RUST_CONST_HELPER_I_DIRTY_TIME = I_DIRTY_TIME;
const loff_t RUST_CONST_HELPER_MAX_LFS_FILESIZE = MAX_LFS_FILESIZE;
const unsigned long RUST_CONST_HELPER_SB_ACTIVE = SB_ACTIVE;
const unsigned long RUST_CONST_HELPER_SB_BORN = SB_BORN;
const unsigned long RUST_CONST_HELPER_SB_DIRSYNC = SB_DIRSYNC;
const unsigned long RUST_CONST_HELPER_SB_FORCE = SB_FORCE;
const unsigned long RUST_CONST_HELPER_SB_I_VERSION = SB_I_VERSION;
const unsigned long RUST_CONST_HELPER_SB_LAZYTIME = SB_LAZYTIME;
const unsigned long RUST_CONST_HELPER_SB_NOATIME = SB_NOATIME;
const unsigned long RUST_CONST_HELPER_SB_NODEV = SB_NODEV;
const unsigned long RUST_CONST_HELPER_SB_NODIRATIME = SB_NODIRATIME;
const unsigned long RUST_CONST_HELPER_SB_NOEXEC = SB_NOEXEC;
const unsigned long RUST_CONST_HELPER_SB_NOSEC = SB_NOSEC;
const unsigned long RUST_CONST_HELPER_SB_NOSUID = SB_NOSUID;
const unsigned long RUST_CONST_HELPER_SB_POSIXACL = SB_POSIXACL;
const unsigned long RUST_CONST_HELPER_SB_RDONLY = SB_RDONLY;
const unsigned long RUST_CONST_HELPER_SB_SILENT = SB_SILENT;
const unsigned long RUST_CONST_HELPER_SB_SYNCHRONOUS = SB_SYNCHRONOUS;
const slab_flags_t RUST_CONST_HELPER_SLAB_ACCOUNT = SLAB_ACCOUNT;
const slab_flags_t RUST_CONST_HELPER_SLAB_RECLAIM_ACCOUNT = SLAB_RECLAIM_ACCOUNT;
const gfp_t RUST_CONST_HELPER___GFP_FS = __GFP_FS;
const gfp_t RUST_CONST_HELPER___GFP_NOFAIL = __GFP_NOFAIL;
