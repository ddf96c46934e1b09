// SPDX-License-Identifier: GPL-2.0
/*
 * C inline functions and macros that Rust cannot call, as functions.
 *
 * Sorted alphabetically; prototypes are in io.h, which bindgen reads.
 */

#include <linux/backing-dev.h>
#include <linux/cgroup.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>

#include "io.h"

/* For small objects on paths that cannot report a failure. */
void *kfs_alloc_nofail(size_t size)
{
	return kmalloc(size, GFP_NOFS | __GFP_NOFAIL);
}

/* Drops clean pages of the bytes @first to @last from the device's page cache. */
void kfs_bdev_forget(struct block_device *bdev, u64 first, u64 last)
{
	struct address_space *mapping = bdev->bd_mapping;

	if (mapping->nrpages)
		invalidate_mapping_pages(mapping, first >> PAGE_SHIFT,
					 last >> PAGE_SHIFT);
}

unsigned int kfs_bdev_logical_block_size(struct block_device *bdev)
{
	return bdev_logical_block_size(bdev);
}

unsigned int kfs_bdev_max_discard_sectors(struct block_device *bdev)
{
	return bdev_max_discard_sectors(bdev);
}

bool kfs_bdev_nonrot(struct block_device *bdev)
{
	return !bdev_rot(bdev);
}

loff_t kfs_bdev_nr_bytes(struct block_device *bdev)
{
	return bdev_nr_bytes(bdev);
}

bool kfs_bdev_read_only(struct block_device *bdev)
{
	return bdev_read_only(bdev);
}

/* Like bdev_rw_virt(), but takes vmalloc memory too. */
int kfs_bdev_rw(struct block_device *bdev, u64 pos, void *data, size_t len,
		blk_opf_t opf)
{
	struct bio *bio;
	int error;

	bio = bio_alloc(bdev, bio_max_segs(bio_add_max_vecs(data, len)), opf,
			GFP_NOFS);
	bio->bi_iter.bi_sector = pos >> SECTOR_SHIFT;
	if (!is_vmalloc_addr(data))
		bio_add_virt_nofail(bio, data, len);
	else if (!bio_add_vmalloc(bio, data, len)) {
		bio_put(bio);
		return -EINVAL;
	}
	error = submit_bio_wait(bio);
	if (is_vmalloc_addr(data) && !op_is_write(opf))
		invalidate_kernel_vmap_range(data, len);
	bio_put(bio);
	return error;
}

#ifdef CONFIG_BLK_DEV_ZONED
static int kfs_note_zone(struct blk_zone *zone, unsigned int index, void *zones)
{
	((struct blk_zone *)zones)[index] = *zone;
	return 0;
}
#endif

/* The @nr zones from sector @sector on: how many of them there are, or an error. */
int kfs_bdev_report_zones(struct block_device *bdev, sector_t sector, unsigned int nr,
			  struct blk_zone *zones)
{
#ifdef CONFIG_BLK_DEV_ZONED
	return blkdev_report_zones(bdev, sector, nr, kfs_note_zone, zones);
#else
	return -EOPNOTSUPP;
#endif
}

bool kfs_bdev_zoned(struct block_device *bdev)
{
	return bdev_is_zoned(bdev);
}

void kfs_bdevname(struct block_device *bdev, char *buf, size_t len)
{
	snprintf(buf, len, "%pg", bdev);
}

int kfs_bio_errno(const struct bio *bio)
{
	return blk_status_to_errno(bio->bi_status);
}

/*
 * The bio borrows @vecs, as one made from an ITER_BVEC does: no table of its own,
 * no limit on the number of vectors but its size.
 */
/*
 * The cgroup that @inode's dirty data is accounted to pays for @bio, which is set up;
 * without one, whoever submits it does.
 */
void kfs_bio_charge(struct bio *bio, struct inode *inode)
{
#ifdef CONFIG_CGROUP_WRITEBACK
	struct cgroup_subsys_state *css = NULL;
	struct bdi_writeback *wb;

	/* Neither goes away under RCU, even if the inode moves on to another. */
	rcu_read_lock();
	wb = READ_ONCE(inode->i_wb);
	if (wb && css_tryget(wb->blkcg_css))
		css = wb->blkcg_css;
	rcu_read_unlock();
	if (css) {
		bio_associate_blkg_from_css(bio, css);
		css_put(css);
	}
#endif
}

void kfs_bio_setup(struct bio *bio, struct block_device *bdev, blk_opf_t opf,
		   u64 pos, const struct bio_vec *vecs, unsigned int offset,
		   unsigned int len, bio_end_io_t *end_io, void *private)
{
	bio_init(bio, bdev, NULL, 0, opf);
	bio->bi_io_vec = (struct bio_vec *)vecs;
	bio->bi_iter.bi_sector = pos >> SECTOR_SHIFT;
	bio->bi_iter.bi_offset = offset;
	bio->bi_iter.bi_size = len;
	bio_set_flag(bio, BIO_CLONED);
	bio->bi_end_io = end_io;
	bio->bi_private = private;
}

void kfs_blake2b(const u8 *data, size_t len, u8 *out, size_t outlen)
{
	blake2b(NULL, 0, data, len, out, outlen);
}

void kfs_blake2b_init(struct blake2b_ctx *ctx, size_t outlen)
{
	blake2b_init(ctx, outlen);
}

void kfs_destroy_workqueue(struct workqueue_struct *wq)
{
	destroy_workqueue(wq);
}

struct inode *kfs_folio_inode(struct folio *folio)
{
	return folio->mapping->host;
}

struct page *kfs_folio_page(struct folio *folio, size_t index)
{
	return folio_page(folio, index);
}

size_t kfs_folio_pos_offset(struct folio *folio, loff_t pos)
{
	return offset_in_folio(folio, pos);
}

/*
 * How finely the end of a read can be reported to iomap: the block size, if it keeps
 * state per block for this folio, else 0.
 */
size_t kfs_folio_read_granule(struct folio *folio)
{
	return folio->private ? i_blocksize(folio->mapping->host) : 0;
}

void kfs_init_completion(struct completion *done)
{
	init_completion(done);
}

struct workqueue_struct *kfs_io_workqueue(const char *name, bool highpri,
					  int max_active)
{
	return alloc_workqueue("%s", WQ_MEM_RECLAIM | WQ_UNBOUND |
			       (highpri ? WQ_HIGHPRI : 0),
			       min_t(int, max_active, WQ_MAX_ACTIVE), name);
}

void kfs_resize_workqueue(struct workqueue_struct *wq, int max_active)
{
	workqueue_set_max_active(wq, min_t(int, max_active, WQ_MAX_ACTIVE));
}

void *kfs_kmap_local(struct page *page)
{
	return kmap_local_page(page);
}

void kfs_kunmap_local(void *addr)
{
	kunmap_local(addr);
}

void kfs_mapping_set_large_folios(struct address_space *mapping)
{
	mapping_set_large_folios(mapping);
}

void kfs_memalloc_nofs_restore(unsigned int flags)
{
	memalloc_nofs_restore(flags);
}

unsigned int kfs_memalloc_nofs_save(void)
{
	return memalloc_nofs_save();
}

unsigned int kfs_online_cpus(void)
{
	return num_online_cpus();
}

unsigned int kfs_readahead_pages(struct readahead_control *rac)
{
	return readahead_count(rac);
}

void kfs_sha256_update(struct sha256_ctx *ctx, const u8 *data, size_t len)
{
	sha256_update(ctx, data, len);
}

struct page *kfs_virt_to_page(const void *addr)
{
	return virt_to_page(addr);
}

struct page *kfs_vmalloc_to_page(const void *addr)
{
	return is_vmalloc_addr(addr) ? vmalloc_to_page(addr) : NULL;
}

size_t kfs_total_ram(void)
{
	return totalram_pages() << PAGE_SHIFT;
}
