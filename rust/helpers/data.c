// SPDX-License-Identifier: GPL-2.0
/*
 * C inline functions of the page cache's write side, as functions.
 *
 * Sorted alphabetically; prototypes are in data.h, which bindgen reads.
 */

#include <linux/fsverity.h>
#include <linux/backing-dev.h>
#include <linux/highmem.h>
#include <linux/kthread.h>
#include <linux/uio.h>

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

bool kfs_iocb_is_dsync(const struct kiocb *iocb)
{
	return iocb_is_dsync(iocb);
}

void kfs_mapping_set_error(struct address_space *mapping, int error)
{
	mapping_set_error(mapping, error);
}

void kfs_mapping_set_stable_writes(struct address_space *mapping)
{
	mapping_set_stable_writes(mapping);
}

/* Memory that something is to be written to: @nr pieces, none larger than a page. */
struct kfs_pages {
	unsigned int nr;
	bool pinned;
	struct bio_vec vecs[] __counted_by(nr);
};

/*
 * Holds the memory of the next @len bytes of @iter, which is left as it is. An error if
 * not all of it is there.
 */
struct kfs_pages *kfs_pages_hold(const struct iov_iter *iter, size_t len)
{
	struct iov_iter part = *iter;
	struct kfs_pages *pages;
	unsigned int used = 0, most;

	iov_iter_truncate(&part, len);
	most = iov_iter_npages(&part, INT_MAX);
	pages = kvmalloc(struct_size(pages, vecs, most), GFP_KERNEL);
	if (!pages)
		return ERR_PTR(-ENOMEM);
	pages->nr = most;
	pages->pinned = iov_iter_extract_will_pin(&part);
	while (iov_iter_count(&part)) {
		struct page *some[16], **found = some;
		unsigned int room = min_t(unsigned int, ARRAY_SIZE(some), most - used);
		size_t off;
		ssize_t n;

		n = room ? iov_iter_extract_pages(&part, &found, iov_iter_count(&part),
						  room, 0, &off) : 0;
		if (n <= 0) {
			pages->nr = used;
			kfs_pages_put(pages, true);
			return ERR_PTR(n ?: -EFAULT);
		}
		for (found = some; n > 0; found++) {
			size_t some_bytes = min_t(size_t, n, PAGE_SIZE - off);

			bvec_set_page(&pages->vecs[used++], *found, some_bytes, off);
			if (pages->pinned)
				set_page_dirty_lock(*found);
			n -= some_bytes;
			off = 0;
		}
	}
	pages->nr = used;
	return pages;
}

/*
 * Lets go of @pages. False, and nothing is done, if they were written out since they
 * were held, so that this must sleep, and @sleep says that it must not.
 */
bool kfs_pages_put(struct kfs_pages *pages, bool sleep)
{
	unsigned int i;

	if (pages->pinned && !sleep)
		for (i = 0; i < pages->nr; i++)
			if (!folio_test_dirty(page_folio(pages->vecs[i].bv_page)))
				return false;
	if (pages->pinned)
		for (i = 0; i < pages->nr; i++)
			unpin_user_pages_dirty_lock(&pages->vecs[i].bv_page, 1, sleep);
	kvfree(pages);
	return true;
}

/* Writes to the bytes from @off on, zeroes if @from is NULL. They are there. */
void kfs_pages_write(struct kfs_pages *pages, size_t off, const void *from, size_t len)
{
	struct bio_vec *vec = pages->vecs;

	while (off >= vec->bv_len)
		off -= vec++->bv_len;
	for (; len; vec++, off = 0) {
		size_t n = min_t(size_t, len, vec->bv_len - off);
		void *to = bvec_kmap_local(vec);

		if (from) {
			memcpy(to + off, from, n);
			from += n;
		} else {
			memset(to + off, 0, n);
		}
		flush_dcache_page(vec->bv_page);
		kunmap_local(to);
		len -= n;
	}
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

/* Tells who owns bytes that are written, so that the inode is accounted to the right one. */
void kfs_wbc_account(struct writeback_control *wbc, struct folio *folio, size_t len)
{
	wbc_account_cgroup_owner(wbc, folio, len);
}

/*
 * What a thread of the kernel submits from here to kfs_wbc_end() is paid for by the cgroup
 * that @wbc writes for, where nothing else says who pays.
 */
void kfs_wbc_begin(struct writeback_control *wbc)
{
#ifdef CONFIG_CGROUP_WRITEBACK
	if (wbc->wb)
		kthread_associate_blkcg(wbc->wb->blkcg_css);
#endif
}

void kfs_wbc_end(struct writeback_control *wbc)
{
#ifdef CONFIG_CGROUP_WRITEBACK
	if (wbc->wb)
		kthread_associate_blkcg(NULL);
#endif
}
