/* Benchmarks of the page allocator; the same loops as kernels/probe/bench.py. */
#include "page_alloc.h"

/* A zone that is all free, with its watermarks set. */
struct zone *twin_zone(int64_t pages, int64_t memmap_pages, int64_t page_shift)
{
	struct zone *zone = make_zone(pages, memmap_pages, page_shift);

	if (zone) {
		memblock_free_all(zone, NULL, 0);
		calculate_min_free_kbytes(zone);
		setup_per_zone_wmarks(zone);
	}
	return zone;
}

void twin_zone_destroy(struct zone *zone)
{
	destroy_zone(zone);
}

/* Pages one at a time, each freed at once. */
int64_t twin_buddy_single(struct zone *zone, int64_t gfp, int64_t pairs)
{
	uint64_t sum = 0;

	for (int64_t i = 0; i < pairs; i++) {
		int64_t pfn = alloc_pages(zone, gfp, 0);
		sum = sum * 31 + (uint64_t)pfn;
		if (pfn >= 0)
			free_pages(zone, pfn, 0);
	}
	return (int64_t)sum;
}

/*
 * Blocks of mixed orders: before each request, blocks chosen by `pick` (31 random bits) are freed until the block fits
 * below `limit` pages. block: rows of first page and order. At the end all are freed.
 */
int64_t twin_buddy_mixed(struct zone *zone, int64_t gfp, int64_t limit, const int32_t *order, const int32_t *pick,
			 int64_t pairs, int64_t repeats, int32_t *block)
{
	uint64_t sum = 0;

	for (int64_t repeat = 0; repeat < repeats; repeat++) {
		int64_t used = 0, count = 0, frees = 0;
		for (int64_t i = 0; i < pairs; i++) {
			int64_t wanted = order[i];
			while (used + ((int64_t)1 << wanted) > limit) {
				int64_t row = (pick[frees++] * count) >> 31;
				int64_t freed = block[2 * row + 1];
				free_pages(zone, block[2 * row], freed);
				used -= (int64_t)1 << freed;
				count--;
				block[2 * row] = block[2 * count];
				block[2 * row + 1] = block[2 * count + 1];
			}
			int64_t pfn = alloc_pages(zone, gfp, wanted);
			sum = sum * 31 + (uint64_t)pfn;
			if (pfn >= 0) {
				block[2 * count] = (int32_t)pfn;
				block[2 * count + 1] = (int32_t)wanted;
				used += (int64_t)1 << wanted;
				count++;
			}
		}
		while (count > 0) {
			count--;
			free_pages(zone, block[2 * count], block[2 * count + 1]);
		}
	}
	return (int64_t)sum;
}

/* Exact sizes, each freed at once. */
int64_t twin_buddy_exact(struct zone *zone, int64_t gfp, const int32_t *pages, int64_t pairs, int64_t repeats)
{
	uint64_t sum = 0;

	for (int64_t repeat = 0; repeat < repeats; repeat++) {
		for (int64_t i = 0; i < pairs; i++) {
			int64_t pfn = alloc_pages_exact(zone, false, pages[i], gfp);
			sum = sum * 31 + (uint64_t)pfn;
			if (pfn >= 0)
				free_pages_exact(zone, pfn, pages[i]);
		}
	}
	return (int64_t)sum;
}

/* The same with every page freed by itself, as Linux does it. */
int64_t twin_buddy_exact_by_page(struct zone *zone, int64_t gfp, const int32_t *pages, int64_t pairs, int64_t repeats)
{
	uint64_t sum = 0;

	for (int64_t repeat = 0; repeat < repeats; repeat++) {
		for (int64_t i = 0; i < pairs; i++) {
			int64_t order = 0;
			while ((int64_t)1 << order < pages[i])
				order++;
			int64_t pfn = alloc_pages(zone, gfp, order);
			sum = sum * 31 + (uint64_t)pfn;
			if (pfn < 0)
				continue;
			for (int64_t page = pfn + pages[i]; page < pfn + ((int64_t)1 << order); page++)
				free_pages(zone, page, 0);
			for (int64_t page = pfn; page < pfn + pages[i]; page++)
				free_pages(zone, page, 0);
		}
	}
	return (int64_t)sum;
}
