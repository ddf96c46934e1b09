// SPDX-License-Identifier: GPL-2.0
/*
 * C inline functions of the page cache's write side, as functions.
 *
 * Sorted alphabetically; prototypes are in data.h, which bindgen reads.
 */

#include <linux/highmem.h>

#include "data.h"

void kfs_folio_copy_in(struct folio *folio, size_t off, const char *from, size_t len)
{
	memcpy_to_folio(folio, off, from, len);
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

void kfs_sb_end_pagefault(struct super_block *sb)
{
	sb_end_pagefault(sb);
}

void kfs_sb_start_pagefault(struct super_block *sb)
{
	sb_start_pagefault(sb);
}

struct file *kfs_vmf_file(struct vm_fault *vmf)
{
	return vmf->vma->vm_file;
}
