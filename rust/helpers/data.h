/* SPDX-License-Identifier: GPL-2.0 */
#ifndef KFS_HELPERS_DATA_H
#define KFS_HELPERS_DATA_H

#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/writeback.h>

void kfs_folio_copy_in(struct folio *folio, size_t off, const char *from, size_t len);
ssize_t kfs_generic_write_sync(struct kiocb *iocb, ssize_t count);
void kfs_inode_dio_begin(struct inode *inode);
void kfs_inode_dio_end(struct inode *inode);
void kfs_mapping_set_error(struct address_space *mapping, int error);
void kfs_mapping_set_stable_writes(struct address_space *mapping);
void kfs_sb_end_pagefault(struct super_block *sb);
void kfs_sb_start_pagefault(struct super_block *sb);
struct file *kfs_vmf_file(struct vm_fault *vmf);

#endif
