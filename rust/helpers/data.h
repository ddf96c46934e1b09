/* SPDX-License-Identifier: GPL-2.0 */
#ifndef KFS_HELPERS_DATA_H
#define KFS_HELPERS_DATA_H

#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/writeback.h>

void kfs_folio_copy_in(struct folio *folio, size_t off, const char *from, size_t len);
void kfs_folio_end_read(struct folio *folio, bool success);
struct page *kfs_folio_file_page(struct folio *folio, pgoff_t index);
bool kfs_folio_is_verified(struct folio *folio, size_t off, size_t len);
loff_t kfs_folio_pos(struct folio *folio);
size_t kfs_folio_size(struct folio *folio);
ssize_t kfs_generic_write_sync(struct kiocb *iocb, ssize_t count);
void kfs_inode_dio_begin(struct inode *inode);
void kfs_inode_dio_end(struct inode *inode);
bool kfs_iocb_is_dsync(const struct kiocb *iocb);
void kfs_mapping_set_error(struct address_space *mapping, int error);
void kfs_mapping_set_stable_writes(struct address_space *mapping);
struct kfs_pages;
struct kfs_pages *kfs_pages_hold(const struct iov_iter *iter, size_t len);
bool kfs_pages_put(struct kfs_pages *pages, bool sleep);
void kfs_pages_write(struct kfs_pages *pages, size_t off, const void *from, size_t len);
void kfs_read_ahead(struct address_space *mapping, pgoff_t index, unsigned long count);
void kfs_sb_end_pagefault(struct super_block *sb);
void kfs_sb_start_pagefault(struct super_block *sb);
int kfs_verity_measure(struct file *file, unsigned long arg);
int kfs_verity_open(struct inode *inode, struct file *file);
int kfs_verity_read_metadata(struct file *file, unsigned long arg);
vm_fault_t kfs_vmf_error(int error);
struct file *kfs_vmf_file(struct vm_fault *vmf);
void kfs_wbc_account(struct writeback_control *wbc, struct folio *folio, size_t len);
void kfs_wbc_begin(struct writeback_control *wbc);
void kfs_wbc_end(struct writeback_control *wbc);

#endif
