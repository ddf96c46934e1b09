// SPDX-License-Identifier: GPL-2.0
/*
 * What changes inodes: inline functions and macros that Rust cannot call, as functions.
 *
 * Sorted alphabetically; prototypes are in inode.h, which bindgen reads.
 */

/* fileattr.h does not include what it needs. */
#include <linux/fs.h>

#include <linux/fileattr.h>
#include <linux/fs_struct.h>
#include <linux/fsnotify.h>
#include <linux/iversion.h>
#include <linux/namei.h>
#include <linux/posix_acl.h>
#include <linux/security.h>
#include <linux/writeback.h>
#include "inode.h"

umode_t kfs_current_umask(void)
{
	return current_umask();
}

void kfs_d_delete_notify(struct inode *dir, struct dentry *dentry)
{
	d_delete_notify(dir, dentry);
}

struct dentry *kfs_file_dentry(struct file *file)
{
	return file->f_path.dentry;
}

bool kfs_fileattr_has_fsx(const struct file_kattr *fa)
{
	return fileattr_has_fsx(fa);
}

int kfs_finish_tmpfile(struct file *file, struct inode *inode)
{
	/* d_tmpfile() takes away a link, and complains if there is none. */
	set_nlink(inode, 1);
	d_tmpfile(file, inode);
	unlock_new_inode(inode);
	return finish_open_simple(file, 0);
}

void kfs_fsnotify_mkdir(struct inode *dir, struct dentry *dentry)
{
	fsnotify_mkdir(dir, dentry);
}

void kfs_inode_add_bytes(struct inode *inode, loff_t bytes)
{
	inode_add_bytes(inode, bytes);
}

loff_t kfs_inode_get_bytes(struct inode *inode)
{
	return inode_get_bytes(inode);
}

bool kfs_inode_is_dirty(struct inode *inode)
{
	return inode_state_read_once(inode) & I_DIRTY;
}

u64 kfs_inode_peek_iversion(const struct inode *inode)
{
	return inode_peek_iversion(inode);
}

void kfs_inode_set_atime(struct inode *inode, const struct timespec64 *ts)
{
	inode_set_atime_to_ts(inode, *ts);
}

void kfs_inode_set_flags(struct inode *inode, unsigned int flags, unsigned int mask)
{
	inode_set_flags(inode, flags, mask);
}

void kfs_inode_set_mode(struct inode *inode, umode_t mode)
{
	WRITE_ONCE(inode->i_mode, mode);
}

void kfs_inode_set_mtime(struct inode *inode, const struct timespec64 *ts)
{
	inode_set_mtime_to_ts(inode, *ts);
}

void kfs_inode_sub_bytes(struct inode *inode, loff_t bytes)
{
	inode_sub_bytes(inode, bytes);
}

/* Sets modification and change time to now, and returns it. */
void kfs_inode_touch(struct inode *inode, struct timespec64 *now)
{
	*now = inode_set_mtime_to_ts(inode, inode_set_ctime_current(inode));
}

void kfs_mark_inode_dirty(struct inode *inode)
{
	mark_inode_dirty(inode);
}

int kfs_posix_acl_chmod(struct mnt_idmap *idmap, struct dentry *dentry, umode_t mode)
{
	return posix_acl_chmod(idmap, dentry, mode);
}

int kfs_posix_acl_create(struct inode *dir, umode_t *mode, struct posix_acl **default_acl,
			 struct posix_acl **acl)
{
	return posix_acl_create(dir, mode, default_acl, acl);
}

void kfs_sb_end_intwrite(struct super_block *sb)
{
	sb_end_intwrite(sb);
}

void kfs_sb_end_write(struct super_block *sb)
{
	sb_end_write(sb);
}

void kfs_sb_start_intwrite(struct super_block *sb)
{
	sb_start_intwrite(sb);
}

bool kfs_sb_start_intwrite_trylock(struct super_block *sb)
{
	return sb_start_intwrite_trylock(sb);
}

bool kfs_sb_start_write_trylock(struct super_block *sb)
{
	return sb_start_write_trylock(sb);
}

int kfs_security_inode_init_security(struct inode *inode, struct inode *dir,
				     const struct qstr *name, kfs_initxattrs collect, void *data)
{
	return security_inode_init_security(inode, dir, name, collect, data);
}

int kfs_wbc_is_sync(const struct writeback_control *wbc)
{
	return wbc->sync_mode == WB_SYNC_ALL;
}
