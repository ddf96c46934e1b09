/* SPDX-License-Identifier: GPL-2.0 */
#ifndef KFS_HELPERS_FS_H
#define KFS_HELPERS_FS_H

#include <linux/fs.h>
#include <linux/io_uring/cmd.h>
#include <linux/seq_file.h>
#include <linux/slab.h>

struct block_device;
struct iov_iter;
struct posix_acl;

struct inode *kfs_alloc_inode_sb(struct super_block *sb, struct kmem_cache *cache, gfp_t gfp);
struct kobject *kfs_bdev_kobj(struct block_device *bdev);
struct kobject *kfs_bdi_kobj(struct super_block *sb);
void kfs_cache_no_acl(struct inode *inode);
void kfs_cond_resched(void);
struct dentry *kfs_dget(struct dentry *dentry);
bool kfs_dir_emit(struct dir_context *ctx, const char *name, int namelen, u64 ino, unsigned int type);
bool kfs_dir_emit_dots(struct file *file, struct dir_context *ctx);
bool kfs_fatal_signal_pending(void);
void kfs_file_accessed(struct file *file);
bool kfs_file_is_dsync(struct file *file);
struct mnt_idmap *kfs_file_mnt_idmap(struct file *file);
void kfs_fsnotify_modify(struct file *file);
gid_t kfs_i_gid_read(const struct inode *inode);
void kfs_i_gid_write(struct inode *inode, gid_t gid);
loff_t kfs_i_size_read(const struct inode *inode);
void kfs_i_size_write(struct inode *inode, loff_t size);
uid_t kfs_i_uid_read(const struct inode *inode);
void kfs_i_uid_write(struct inode *inode, uid_t uid);
void kfs_inode_get_times(const struct inode *inode, struct timespec64 *atime,
			 struct timespec64 *mtime, struct timespec64 *ctime);
bool kfs_inode_is_new(struct inode *inode);
bool kfs_inode_is_swapfile(struct inode *inode);
void kfs_inode_set_bytes(struct inode *inode, loff_t bytes);
void kfs_inode_set_iversion_queried(struct inode *inode, u64 version);
void kfs_inode_set_times(struct inode *inode, const struct timespec64 *atime,
			 const struct timespec64 *mtime, const struct timespec64 *ctime);
size_t kfs_iov_iter_count(const struct iov_iter *iter);
void kfs_iversion_inc(struct inode *inode);
void kfs_kthread_sleep(unsigned long timeout);
void kfs_kthread_wait_stop(void);
void kfs_panic(const char *format, const void *args);
void kfs_posix_acl_release(struct posix_acl *acl);
void kfs_seq_escape(struct seq_file *m, const char *s, const char *esc);
bool kfs_set_cached_link(struct inode *inode, char *link);
bool kfs_signal_pending(void);
void kfs_super_set_uuid(struct super_block *sb, const u8 *uuid, unsigned int len);
u64 kfs_uring_cmd_addr(const struct io_uring_cmd *cmd);
int kfs_verify_write(struct file *file, loff_t pos, size_t len);

#endif
