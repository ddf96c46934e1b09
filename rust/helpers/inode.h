/* SPDX-License-Identifier: GPL-2.0 */
#ifndef KFS_HELPERS_INODE_H
#define KFS_HELPERS_INODE_H

#include <linux/fs.h>
#include <linux/xattr.h>

struct file_kattr;
struct posix_acl;
struct writeback_control;

/* What takes the attributes that security modules give a new inode. */
typedef int (*kfs_initxattrs)(struct inode *inode, const struct xattr *xattrs, void *data);

umode_t kfs_current_umask(void);
void kfs_d_delete_notify(struct inode *dir, struct dentry *dentry);
struct dentry *kfs_file_dentry(struct file *file);
bool kfs_fileattr_has_fsx(const struct file_kattr *fa);
int kfs_finish_tmpfile(struct file *file, struct inode *inode);
void kfs_fsnotify_mkdir(struct inode *dir, struct dentry *dentry);
void kfs_inode_add_bytes(struct inode *inode, loff_t bytes);
loff_t kfs_inode_get_bytes(struct inode *inode);
bool kfs_inode_is_dirty(struct inode *inode);
u64 kfs_inode_peek_iversion(const struct inode *inode);
void kfs_inode_set_atime(struct inode *inode, const struct timespec64 *ts);
void kfs_inode_set_flags(struct inode *inode, unsigned int flags, unsigned int mask);
void kfs_inode_set_mode(struct inode *inode, umode_t mode);
void kfs_inode_set_mtime(struct inode *inode, const struct timespec64 *ts);
void kfs_inode_sub_bytes(struct inode *inode, loff_t bytes);
void kfs_inode_touch(struct inode *inode, struct timespec64 *now);
void kfs_mark_inode_dirty(struct inode *inode);
int kfs_posix_acl_chmod(struct mnt_idmap *idmap, struct dentry *dentry, umode_t mode);
int kfs_posix_acl_create(struct inode *dir, umode_t *mode, struct posix_acl **default_acl,
			 struct posix_acl **acl);
void kfs_sb_end_intwrite(struct super_block *sb);
void kfs_sb_end_write(struct super_block *sb);
void kfs_sb_start_intwrite(struct super_block *sb);
bool kfs_sb_start_intwrite_trylock(struct super_block *sb);
bool kfs_sb_start_write_trylock(struct super_block *sb);
int kfs_security_inode_init_security(struct inode *inode, struct inode *dir,
				     const struct qstr *name, kfs_initxattrs collect, void *data);
int kfs_wbc_is_sync(const struct writeback_control *wbc);

#endif
