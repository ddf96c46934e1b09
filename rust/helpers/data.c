// SPDX-License-Identifier: GPL-2.0
/*
 * C inline functions of the page cache's write side, as functions.
 *
 * Sorted alphabetically; prototypes are in data.h, which bindgen reads.
 */

#include <linux/fsverity.h>
#include <linux/highmem.h>

#include "data.h"

void kfs_folio_copy_in(struct folio *folio, size_t off, const char *from, size_t len)
{
	memcpy_to_folio(folio, off, from, len);
}

void kfs_folio_end_read(struct folio *folio, bool success)
{
	folio_end_read(folio, success);
}

struct page *kfs_folio_file_page(struct folio *folio, pgoff_t index)
{
	return folio_file_page(folio, index);
}

/* Whether bytes of a locked folio are what fs-verity says, where the file has it. */
bool kfs_folio_is_verified(struct folio *folio, size_t off, size_t len)
{
	struct fsverity_info *info = fsverity_get_info(folio->mapping->host);

	return !info || fsverity_verify_blocks(info, folio, len, off);
}

loff_t kfs_folio_pos(struct folio *folio)
{
	return folio_pos(folio);
}

size_t kfs_folio_size(struct folio *folio)
{
	return folio_size(folio);
}

ssize_t kfs_generic_write_sync(struct kiocb *iocb, ssize_t count)
{
	return generic_write_sync(iocb, count);
}

void kfs_inode_dio_begin(struct inode *inode)
{
	inode_dio_begin(inode);
}

void kfs_inode_dio_end(struct inode *inode)
{
	inode_dio_end(inode);
}

void kfs_mapping_set_error(struct address_space *mapping, int error)
{
	mapping_set_error(mapping, error);
}

void kfs_mapping_set_stable_writes(struct address_space *mapping)
{
	mapping_set_stable_writes(mapping);
}

/* Reads what will be wanted soon, for a reader without a file. */
void kfs_read_ahead(struct address_space *mapping, pgoff_t index, unsigned long count)
{
	struct file_ra_state ra = {};

	file_ra_state_init(&ra, mapping);
	page_cache_sync_readahead(mapping, &ra, NULL, index, count);
}

void kfs_sb_end_pagefault(struct super_block *sb)
{
	sb_end_pagefault(sb);
}

void kfs_sb_start_pagefault(struct super_block *sb)
{
	sb_start_pagefault(sb);
}

int kfs_verity_measure(struct file *file, unsigned long arg)
{
	return fsverity_ioctl_measure(file, (void __user *)arg);
}

int kfs_verity_open(struct inode *inode, struct file *file)
{
	return fsverity_file_open(inode, file);
}

int kfs_verity_read_metadata(struct file *file, unsigned long arg)
{
	return fsverity_ioctl_read_metadata(file, (const void __user *)arg);
}

vm_fault_t kfs_vmf_error(int error)
{
	return vmf_fs_error(error);
}

struct file *kfs_vmf_file(struct vm_fault *vmf)
{
	return vmf->vma->vm_file;
}
