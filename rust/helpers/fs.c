// SPDX-License-Identifier: GPL-2.0
/*
 * C inline functions and macros that Rust cannot call, as functions.
 *
 * Sorted alphabetically; prototypes are in fs.h, which bindgen reads.
 */

#include <linux/backing-dev.h>
#include <linux/blkdev.h>
#include <linux/cred.h>
#include <linux/dcache.h>
#include <linux/fsnotify.h>
#include <linux/iversion.h>
#include <linux/kthread.h>
#include <linux/pagemap.h>
#include <linux/panic.h>
#include <linux/posix_acl.h>
#include <linux/sched/signal.h>
#include <linux/uio.h>
#include "fs.h"

struct inode *kfs_alloc_inode_sb(struct super_block *sb, struct kmem_cache *cache, gfp_t gfp)
{
	return alloc_inode_sb(sb, cache, gfp);
}

struct kobject *kfs_bdev_kobj(struct block_device *bdev)
{
	return bdev_kobj(bdev);
}

/* The directory /sys/class/bdi/... of the file system, or NULL. */
struct kobject *kfs_bdi_kobj(struct super_block *sb)
{
	return sb->s_bdi && sb->s_bdi->dev ? &sb->s_bdi->dev->kobj : NULL;
}

void kfs_cache_no_acl(struct inode *inode)
{
	cache_no_acl(inode);
}

void kfs_cond_resched(void)
{
	cond_resched();
}

struct dentry *kfs_dget(struct dentry *dentry)
{
	return dget(dentry);
}

bool kfs_dir_emit(struct dir_context *ctx, const char *name, int namelen, u64 ino, unsigned int type)
{
	return dir_emit(ctx, name, namelen, ino, type);
}

bool kfs_dir_emit_dots(struct file *file, struct dir_context *ctx)
{
	return dir_emit_dots(file, ctx);
}

bool kfs_fatal_signal_pending(void)
{
	return fatal_signal_pending(current);
}

void kfs_file_accessed(struct file *file)
{
	file_accessed(file);
}

bool kfs_file_is_dsync(struct file *file)
{
	return (iocb_flags(file) & IOCB_DSYNC) || IS_SYNC(file_inode(file));
}

struct mnt_idmap *kfs_file_mnt_idmap(struct file *file)
{
	return file_mnt_idmap(file);
}

void kfs_fsnotify_modify(struct file *file)
{
	fsnotify_modify(file);
}

gid_t kfs_i_gid_read(const struct inode *inode)
{
	return i_gid_read(inode);
}

void kfs_i_gid_write(struct inode *inode, gid_t gid)
{
	i_gid_write(inode, gid);
}

loff_t kfs_i_size_read(const struct inode *inode)
{
	return i_size_read(inode);
}

void kfs_i_size_write(struct inode *inode, loff_t size)
{
	i_size_write(inode, size);
}

uid_t kfs_i_uid_read(const struct inode *inode)
{
	return i_uid_read(inode);
}

void kfs_i_uid_write(struct inode *inode, uid_t uid)
{
	i_uid_write(inode, uid);
}

void kfs_inode_get_times(const struct inode *inode, struct timespec64 *atime,
			 struct timespec64 *mtime, struct timespec64 *ctime)
{
	*atime = inode_get_atime(inode);
	*mtime = inode_get_mtime(inode);
	*ctime = inode_get_ctime(inode);
}

bool kfs_inode_is_new(struct inode *inode)
{
	return inode_state_read_once(inode) & I_NEW;
}

bool kfs_inode_is_swapfile(struct inode *inode)
{
	return IS_SWAPFILE(inode);
}

void kfs_inode_set_bytes(struct inode *inode, loff_t bytes)
{
	inode_set_bytes(inode, bytes);
}

void kfs_inode_set_iversion_queried(struct inode *inode, u64 version)
{
	inode_set_iversion_queried(inode, version);
}

void kfs_inode_set_times(struct inode *inode, const struct timespec64 *atime,
			 const struct timespec64 *mtime, const struct timespec64 *ctime)
{
	inode_set_atime_to_ts(inode, *atime);
	inode_set_mtime_to_ts(inode, *mtime);
	inode_set_ctime_to_ts(inode, *ctime);
}

size_t kfs_iov_iter_count(const struct iov_iter *iter)
{
	return iov_iter_count(iter);
}

void kfs_iversion_inc(struct inode *inode)
{
	inode_inc_iversion(inode);
}

/* Sleeps for some jiffies, unless the thread is told to stop. */
void kfs_kthread_sleep(unsigned long timeout)
{
	set_current_state(TASK_INTERRUPTIBLE);
	if (!kthread_should_stop())
		schedule_timeout(timeout);
	__set_current_state(TASK_RUNNING);
}

/* Sleeps until the current kernel thread is asked to end. */
void kfs_kthread_wait_stop(void)
{
	for (;;) {
		set_current_state(TASK_INTERRUPTIBLE);
		if (kthread_should_stop())
			break;
		schedule();
	}
	__set_current_state(TASK_RUNNING);
}

/* @format takes @args alone. */
void kfs_panic(const char *format, const void *args)
{
	panic(format, args);
}

void kfs_posix_acl_release(struct posix_acl *acl)
{
	posix_acl_release(acl);
}

void kfs_seq_escape(struct seq_file *m, const char *s, const char *esc)
{
	seq_escape(m, s, esc);
}

/*
 * Readers of i_link in an RCU path walk see a complete string or NULL. Returns
 * false when another task was first; the caller then still owns @link.
 */
bool kfs_set_cached_link(struct inode *inode, char *link)
{
	return cmpxchg_release(&inode->i_link, NULL, link) == NULL;
}

bool kfs_signal_pending(void)
{
	return signal_pending(current);
}

void kfs_super_set_uuid(struct super_block *sb, const u8 *uuid, unsigned int len)
{
	super_set_uuid(sb, uuid, len);
}

/* Whether the current task may write @len bytes at @pos. */
u64 kfs_uring_cmd_addr(const struct io_uring_cmd *cmd)
{
	return READ_ONCE(cmd->sqe->addr);
}

int kfs_verify_write(struct file *file, loff_t pos, size_t len)
{
	return rw_verify_area(WRITE, file, &pos, len);
}
