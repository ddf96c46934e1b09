/* SPDX-License-Identifier: GPL-2.0 */
#ifndef KFS_HELPERS_IO_H
#define KFS_HELPERS_IO_H

#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/pagemap.h>
#include <linux/zlib.h>
#include <linux/zstd.h>
#include <crypto/blake2b.h>
#include <crypto/sha2.h>

void *kfs_alloc_nofail(size_t size);
void kfs_bdev_forget(struct block_device *bdev, u64 first, u64 last);
unsigned int kfs_bdev_logical_block_size(struct block_device *bdev);
unsigned int kfs_bdev_max_discard_sectors(struct block_device *bdev);
loff_t kfs_bdev_nr_bytes(struct block_device *bdev);
bool kfs_bdev_nonrot(struct block_device *bdev);
bool kfs_bdev_read_only(struct block_device *bdev);
int kfs_bdev_report_zones(struct block_device *bdev, sector_t sector, unsigned int nr,
			  struct blk_zone *zones);
bool kfs_bdev_zoned(struct block_device *bdev);
int kfs_bdev_rw(struct block_device *bdev, u64 pos, void *data, size_t len,
		blk_opf_t opf);
void kfs_bdevname(struct block_device *bdev, char *buf, size_t len);
int kfs_bio_errno(const struct bio *bio);
void kfs_bio_charge(struct bio *bio, struct inode *inode);
void kfs_bio_setup(struct bio *bio, struct block_device *bdev, blk_opf_t opf,
		   u64 pos, const struct bio_vec *vecs, unsigned int offset,
		   unsigned int len, bio_end_io_t *end_io, void *private);
void kfs_blake2b(const u8 *data, size_t len, u8 *out, size_t outlen);
void kfs_blake2b_init(struct blake2b_ctx *ctx, size_t outlen);
void kfs_destroy_workqueue(struct workqueue_struct *wq);
struct inode *kfs_folio_inode(struct folio *folio);
struct page *kfs_folio_page(struct folio *folio, size_t index);
size_t kfs_folio_pos_offset(struct folio *folio, loff_t pos);
size_t kfs_folio_read_granule(struct folio *folio);
void kfs_init_completion(struct completion *done);
struct workqueue_struct *kfs_io_workqueue(const char *name, bool highpri,
					  int max_active);
void kfs_resize_workqueue(struct workqueue_struct *wq, int max_active);
void *kfs_kmap_local(struct page *page);
void kfs_kunmap_local(void *addr);
void kfs_mapping_set_large_folios(struct address_space *mapping);
unsigned int kfs_memalloc_nofs_save(void);
void kfs_memalloc_nofs_restore(unsigned int flags);
unsigned int kfs_online_cpus(void);
unsigned int kfs_readahead_pages(struct readahead_control *rac);
void kfs_sha256_update(struct sha256_ctx *ctx, const u8 *data, size_t len);
struct page *kfs_virt_to_page(const void *addr);
struct page *kfs_vmalloc_to_page(const void *addr);

size_t kfs_total_ram(void);

#endif
