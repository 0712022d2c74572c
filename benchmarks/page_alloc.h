/*
 * C twin of kernels/linux/page_alloc.py: the same algorithm on the same arrays, for one zone on a machine without MMU.
 *
 * There the per-CPU lists hold nothing (high 0, batch 1). What asks whether they do is here; their own code is not.
 * Neither are the steps of the slow path that are off by default. Who gets there is stopped by a trap.
 */
#ifndef PAGE_ALLOC_H
#define PAGE_ALLOC_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifndef MAX_ORDER
#error "MAX_ORDER is a fact of the machine: -DMAX_ORDER=11"
#endif

enum {
	PAGEBLOCK_ORDER = MAX_ORDER - 1,
	PAGEBLOCK_NR_PAGES = 1 << PAGEBLOCK_ORDER,
	MIGRATE_UNMOVABLE = 0,
	MIGRATE_MOVABLE = 1,
	MIGRATE_RECLAIMABLE = 2,
	MIGRATE_PCPTYPES = 3,
	MIGRATE_HIGHATOMIC = 3,
	MIGRATE_TYPES = 4,
	PAGE_ALLOC_COSTLY_ORDER = 3,
	NR_LISTS = MAX_ORDER * MIGRATE_TYPES,
	FPI_NONE = 0,
	FPI_TO_TAIL = 2,
	ALLOC_WMARK_MIN = 0,
	ALLOC_WMARK_LOW = 1,
	ALLOC_WMARK_MASK = 3,
	ALLOC_NO_WATERMARKS = 0x4,
	ALLOC_OOM = 0x8,
	ALLOC_NON_BLOCK = 0x10,
	ALLOC_MIN_RESERVE = 0x20,
	ALLOC_HIGHATOMIC = 0x200,
	ALLOC_KSWAPD = 0x800,
	ALLOC_RESERVES = ALLOC_NON_BLOCK | ALLOC_MIN_RESERVE | ALLOC_HIGHATOMIC | ALLOC_OOM,
	GFP_HIGH = 0x20,
	GFP_DIRECT_RECLAIM = 0x400,
	GFP_KSWAPD_RECLAIM = 0x800,
	GFP_NOWARN = 0x2000,
	GFP_NORETRY = 0x10000,
	GFP_NOMEMALLOC = 0x80000,
	GFP_KERNEL = 0xCC0,
	GFP_MOVABLE_SHIFT = 3,
	GFP_MOVABLE_MASK = 0x18,
	WATERMARK_SCALE_FACTOR = 10,
	WATERMARK_BOOST_FACTOR = 15000,
};

#define unlikely(condition) __builtin_expect(!!(condition), 0)

/* next, prev: links of pages and, behind them, list heads. order: of the free block that begins here, or -1. */
struct zone {
	int32_t *next, *prev;
	int8_t *order;
	uint8_t *lru;
	int8_t *pageblock;
	int64_t pages; /* whole pageblocks */
	int64_t nr_free[MAX_ORDER];
	int64_t start_pfn, end_pfn, managed_pages, nr_free_pages;
	int64_t wmark[4];
	int64_t watermark_boost, nr_reserved_highatomic, mobility_disabled;
	int64_t pcp_count, pcp_high, pcp_batch, pcp_free_factor;
	int64_t boosted_watermark, min_free_kbytes, slowpath, page_shift;
};

static int64_t gfp_migratetype(const struct zone *zone, int64_t gfp)
{
	return zone->mobility_disabled ? MIGRATE_UNMOVABLE : (gfp & GFP_MOVABLE_MASK) >> GFP_MOVABLE_SHIFT;
}

static int64_t get_pageblock_migratetype(const struct zone *zone, int64_t pfn)
{
	return zone->pageblock[pfn >> PAGEBLOCK_ORDER];
}

static void set_pageblock_migratetype(struct zone *zone, int64_t pfn, int64_t migratetype)
{
	if (zone->mobility_disabled && migratetype < MIGRATE_PCPTYPES)
		migratetype = MIGRATE_UNMOVABLE;
	zone->pageblock[pfn >> PAGEBLOCK_ORDER] = (int8_t)migratetype;
}

static int64_t free_area(const struct zone *zone, int64_t order, int64_t migratetype)
{
	return zone->pages + order * MIGRATE_TYPES + migratetype;
}

static bool free_area_empty(const struct zone *zone, int64_t order, int64_t migratetype)
{
	int64_t head = free_area(zone, order, migratetype);
	return zone->next[head] == head;
}

static void list_add(struct zone *zone, int64_t entry, int64_t head)
{
	int32_t first = zone->next[head];
	zone->next[entry] = first;
	zone->prev[entry] = (int32_t)head;
	zone->prev[first] = (int32_t)entry;
	zone->next[head] = (int32_t)entry;
}

static void list_add_tail(struct zone *zone, int64_t entry, int64_t head)
{
	int32_t last = zone->prev[head];
	zone->next[entry] = (int32_t)head;
	zone->prev[entry] = last;
	zone->next[last] = (int32_t)entry;
	zone->prev[head] = (int32_t)entry;
}

static void list_del(struct zone *zone, int64_t entry)
{
	int32_t after = zone->next[entry];
	int32_t before = zone->prev[entry];
	zone->next[before] = after;
	zone->prev[after] = before;
}

static void del_page_from_free_list(struct zone *zone, int64_t pfn, int64_t order)
{
	list_del(zone, pfn);
	zone->order[pfn] = -1;
	zone->nr_free[order]--;
}

static void move_to_free_list(struct zone *zone, int64_t pfn, int64_t order, int64_t migratetype)
{
	list_del(zone, pfn);
	list_add_tail(zone, pfn, free_area(zone, order, migratetype));
}

static inline void free_one_page(struct zone *zone, int64_t pfn, int64_t order, int64_t migratetype, int fpi_flags)
{
	int64_t buddy_pfn = pfn;

	zone->nr_free_pages += (int64_t)1 << order;
	while (order < MAX_ORDER - 1) {
		buddy_pfn = pfn ^ ((int64_t)1 << order);
		if (zone->order[buddy_pfn] != order)
			break;
		del_page_from_free_list(zone, buddy_pfn, order);
		pfn &= buddy_pfn;
		order++;
	}
	zone->order[pfn] = (int8_t)order;
	zone->nr_free[order]++;
	bool to_tail = fpi_flags & FPI_TO_TAIL;
	if (!to_tail && order < MAX_ORDER - 2)
		to_tail = zone->order[(pfn & buddy_pfn) ^ ((int64_t)2 << order)] == order + 1;
	if (to_tail)
		list_add_tail(zone, pfn, free_area(zone, order, migratetype));
	else
		list_add(zone, pfn, free_area(zone, order, migratetype));
}

/* Pages ascending from pfn, as largest aligned blocks: the same lists as page by page. */
static void free_one_page_run(struct zone *zone, int64_t pfn, int64_t pages, int fpi_flags)
{
	int64_t end = pfn + pages;

	while (pfn < end) {
		int64_t order = 0;
		while (order < MAX_ORDER - 1 && !(pfn & ((int64_t)1 << order)) && pfn + ((int64_t)2 << order) <= end)
			order++;
		free_one_page(zone, pfn, order, get_pageblock_migratetype(zone, pfn), fpi_flags);
		pfn += (int64_t)1 << order;
	}
}

static inline void expand(struct zone *zone, int64_t pfn, int64_t low, int64_t high, int64_t migratetype)
{
	while (high > low) {
		high--;
		int64_t half = pfn + ((int64_t)1 << high);
		zone->order[half] = (int8_t)high;
		zone->nr_free[high]++;
		list_add(zone, half, free_area(zone, high, migratetype));
	}
}

static inline int64_t rmqueue_smallest(struct zone *zone, int64_t order, int64_t migratetype)
{
	for (int64_t current = order; current < MAX_ORDER; current++) {
		int64_t head = free_area(zone, current, migratetype);
		int64_t pfn = zone->next[head];
		if (pfn == head)
			continue;
		del_page_from_free_list(zone, pfn, current);
		expand(zone, pfn, order, current, migratetype);
		return pfn;
	}
	return -1;
}

static int64_t move_freepages_block(struct zone *zone, int64_t pfn, int64_t migratetype, int64_t *movable_pages)
{
	int64_t start_pfn = pfn & ~(int64_t)(PAGEBLOCK_NR_PAGES - 1);
	int64_t end_pfn = start_pfn + PAGEBLOCK_NR_PAGES;
	int64_t free_pages = 0;

	*movable_pages = 0;
	if (end_pfn > zone->end_pfn)
		return 0;
	if (start_pfn < zone->start_pfn)
		start_pfn = pfn;
	while (start_pfn < end_pfn) {
		int64_t order = zone->order[start_pfn];
		if (order < 0) {
			*movable_pages += zone->lru[start_pfn];
			start_pfn++;
			continue;
		}
		move_to_free_list(zone, start_pfn, order, migratetype);
		start_pfn += (int64_t)1 << order;
		free_pages += (int64_t)1 << order;
	}
	return free_pages;
}

static bool boost_watermark(struct zone *zone)
{
	if (zone->managed_pages < PAGEBLOCK_NR_PAGES * 4)
		return false;
	int64_t max_boost = zone->wmark[2] * WATERMARK_BOOST_FACTOR / 10000;
	if (max_boost == 0)
		return false;
	if (max_boost < PAGEBLOCK_NR_PAGES)
		max_boost = PAGEBLOCK_NR_PAGES;
	zone->watermark_boost += PAGEBLOCK_NR_PAGES;
	if (zone->watermark_boost > max_boost)
		zone->watermark_boost = max_boost;
	return true;
}

static void kswapd(struct zone *zone)
{
	zone->watermark_boost = 0;
	zone->boosted_watermark = 0;
}

static void steal_suitable_fallback(struct zone *zone, int64_t pfn, int64_t alloc_flags, int64_t start_type, bool whole)
{
	int64_t current_order = zone->order[pfn];
	int64_t old_block_type = get_pageblock_migratetype(zone, pfn);
	int64_t free_pages = 0;

	if (old_block_type == MIGRATE_HIGHATOMIC) {
		/* only the single block */
	} else if (current_order >= PAGEBLOCK_ORDER) {
		set_pageblock_migratetype(zone, pfn, start_type);
	} else {
		if (boost_watermark(zone) && alloc_flags & ALLOC_KSWAPD)
			zone->boosted_watermark = 1;
		if (whole) {
			int64_t movable_pages, alike_pages = 0;
			free_pages = move_freepages_block(zone, pfn, start_type, &movable_pages);
			if (start_type == MIGRATE_MOVABLE)
				alike_pages = movable_pages;
			else if (old_block_type == MIGRATE_MOVABLE)
				alike_pages = PAGEBLOCK_NR_PAGES - (free_pages + movable_pages);
			bool enough = free_pages + alike_pages >= PAGEBLOCK_NR_PAGES / 2;
			if (free_pages && (enough || zone->mobility_disabled))
				set_pageblock_migratetype(zone, pfn, start_type);
		}
	}
	if (free_pages == 0)
		move_to_free_list(zone, pfn, current_order, start_type);
}

static bool can_steal_fallback(const struct zone *zone, int64_t order, int64_t start_type)
{
	return order >= PAGEBLOCK_ORDER / 2 || start_type != MIGRATE_MOVABLE || zone->mobility_disabled;
}

static int64_t find_suitable_fallback(const struct zone *zone, int64_t order, int64_t migratetype)
{
	static const int8_t fallbacks[MIGRATE_PCPTYPES][2] = {
		[MIGRATE_UNMOVABLE] = { MIGRATE_RECLAIMABLE, MIGRATE_MOVABLE },
		[MIGRATE_MOVABLE] = { MIGRATE_RECLAIMABLE, MIGRATE_UNMOVABLE },
		[MIGRATE_RECLAIMABLE] = { MIGRATE_UNMOVABLE, MIGRATE_MOVABLE },
	};

	if (zone->nr_free[order] == 0)
		return -1;
	for (int i = 0; i < 2; i++)
		if (!free_area_empty(zone, order, fallbacks[migratetype][i]))
			return fallbacks[migratetype][i];
	return -1;
}

static __attribute__((noinline)) bool rmqueue_fallback(struct zone *zone, int64_t order, int64_t start_type, int64_t alloc_flags)
{
	int64_t current_order = MAX_ORDER - 1;
	int64_t fallback = -1;

	for (; current_order >= order; current_order--) {
		fallback = find_suitable_fallback(zone, current_order, start_type);
		if (fallback != -1)
			break;
	}
	if (fallback == -1)
		return false;
	if (current_order > order && !can_steal_fallback(zone, current_order, start_type)) {
		current_order = order;
		while ((fallback = find_suitable_fallback(zone, current_order, start_type)) == -1)
			current_order++;
	}
	int64_t pfn = zone->next[free_area(zone, current_order, fallback)];
	bool can_steal = can_steal_fallback(zone, current_order, start_type);
	steal_suitable_fallback(zone, pfn, alloc_flags, start_type, can_steal);
	return true;
}

static inline int64_t rmqueue_inner(struct zone *zone, int64_t order, int64_t migratetype, int64_t alloc_flags)
{
	for (;;) {
		int64_t pfn = rmqueue_smallest(zone, order, migratetype);
		if (pfn != -1 || !rmqueue_fallback(zone, order, migratetype, alloc_flags))
			return pfn;
	}
}

static inline int64_t rmqueue_pcplist(struct zone *zone, int64_t order, int64_t migratetype, int64_t alloc_flags)
{
	zone->pcp_free_factor >>= 1;
	if (unlikely(zone->pcp_count != 0 || zone->pcp_batch != 1))
		__builtin_trap();
	int64_t pfn = rmqueue_inner(zone, order, migratetype, alloc_flags);
	if (pfn != -1)
		zone->nr_free_pages -= (int64_t)1 << order;
	return pfn;
}

static inline int64_t rmqueue_buddy(struct zone *zone, int64_t order, int64_t migratetype, int64_t alloc_flags)
{
	int64_t pfn = -1;

	if (order > 0 && alloc_flags & ALLOC_HIGHATOMIC)
		pfn = rmqueue_smallest(zone, order, MIGRATE_HIGHATOMIC);
	if (pfn == -1) {
		pfn = rmqueue_inner(zone, order, migratetype, alloc_flags);
		if (pfn == -1 && alloc_flags & (ALLOC_OOM | ALLOC_NON_BLOCK))
			pfn = rmqueue_smallest(zone, order, MIGRATE_HIGHATOMIC);
	}
	if (pfn != -1)
		zone->nr_free_pages -= (int64_t)1 << order;
	return pfn;
}

static inline int64_t rmqueue(struct zone *zone, int64_t order, int64_t migratetype, int64_t alloc_flags)
{
	if (order <= PAGE_ALLOC_COSTLY_ORDER) {
		int64_t pfn = rmqueue_pcplist(zone, order, migratetype, alloc_flags);
		if (pfn != -1)
			return pfn;
	}
	return rmqueue_buddy(zone, order, migratetype, alloc_flags);
}

static inline int64_t watermark_unusable_free(const struct zone *zone, int64_t order, int64_t alloc_flags)
{
	int64_t unusable_free = ((int64_t)1 << order) - 1;
	if (!(alloc_flags & ALLOC_RESERVES))
		unusable_free += zone->nr_reserved_highatomic;
	return unusable_free;
}

static inline bool zone_watermark_ok(const struct zone *zone, int64_t order, int64_t mark, int64_t alloc_flags)
{
	int64_t free_pages = zone->nr_free_pages - watermark_unusable_free(zone, order, alloc_flags);

	if (alloc_flags & ALLOC_MIN_RESERVE) {
		mark -= mark / 2;
		if (alloc_flags & ALLOC_NON_BLOCK)
			mark -= mark / 4;
	}
	if (alloc_flags & ALLOC_OOM)
		mark -= mark / 2;
	if (free_pages <= mark)
		return false;
	if (order == 0)
		return true;
	for (int64_t current = order; current < MAX_ORDER; current++) {
		if (zone->nr_free[current] == 0)
			continue;
		for (int64_t migratetype = 0; migratetype < MIGRATE_PCPTYPES; migratetype++)
			if (!free_area_empty(zone, current, migratetype))
				return true;
		if (alloc_flags & (ALLOC_HIGHATOMIC | ALLOC_OOM) && !free_area_empty(zone, current, MIGRATE_HIGHATOMIC))
			return true;
	}
	return false;
}

static inline bool zone_watermark_fast(const struct zone *zone, int64_t order, int64_t mark, int64_t alloc_flags)
{
	if (order == 0 && zone->nr_free_pages - watermark_unusable_free(zone, 0, alloc_flags) > mark)
		return true;
	if (zone_watermark_ok(zone, order, mark, alloc_flags))
		return true;
	bool at_min = (alloc_flags & ALLOC_WMARK_MASK) == ALLOC_WMARK_MIN;
	if (order == 0 && alloc_flags & ALLOC_MIN_RESERVE && zone->watermark_boost && at_min)
		return zone_watermark_ok(zone, order, zone->wmark[0], alloc_flags);
	return false;
}

static void reserve_highatomic_pageblock(struct zone *zone, int64_t pfn)
{
	int64_t max_managed = zone->managed_pages / 100 + PAGEBLOCK_NR_PAGES;
	int64_t movable_pages;

	if (zone->nr_reserved_highatomic >= max_managed)
		return;
	if (get_pageblock_migratetype(zone, pfn) < MIGRATE_PCPTYPES) {
		zone->nr_reserved_highatomic += PAGEBLOCK_NR_PAGES;
		set_pageblock_migratetype(zone, pfn, MIGRATE_HIGHATOMIC);
		move_freepages_block(zone, pfn, MIGRATE_HIGHATOMIC, &movable_pages);
	}
}

static inline int64_t get_page_from_freelist(struct zone *zone, int64_t gfp, int64_t order, int64_t alloc_flags)
{
	if (!(alloc_flags & ALLOC_NO_WATERMARKS)) {
		int64_t mark = zone->wmark[alloc_flags & ALLOC_WMARK_MASK] + zone->watermark_boost;
		if (!zone_watermark_fast(zone, order, mark, alloc_flags))
			return -1;
	}
	int64_t pfn = rmqueue(zone, order, gfp_migratetype(zone, gfp), alloc_flags);
	if (pfn != -1 && order > 0 && alloc_flags & ALLOC_HIGHATOMIC)
		reserve_highatomic_pageblock(zone, pfn);
	return pfn;
}

static __attribute__((noinline)) int64_t alloc_pages_slowpath(struct zone *zone, int64_t gfp, int64_t order)
{
	int64_t alloc_flags = ALLOC_WMARK_MIN | (gfp & (GFP_HIGH | GFP_KSWAPD_RECLAIM));

	if (unlikely(zone->slowpath != 1))
		__builtin_trap();
	if (!(gfp & (GFP_DIRECT_RECLAIM | GFP_NOMEMALLOC))) {
		alloc_flags |= ALLOC_NON_BLOCK;
		if (order > 0 && gfp & GFP_HIGH)
			alloc_flags |= ALLOC_HIGHATOMIC;
	}
	return get_page_from_freelist(zone, gfp, order, alloc_flags);
}

static inline int64_t alloc_pages(struct zone *zone, int64_t gfp, int64_t order)
{
	if (order >= MAX_ORDER)
		return -1;
	int64_t pfn = get_page_from_freelist(zone, gfp, order, ALLOC_WMARK_LOW | (gfp & GFP_KSWAPD_RECLAIM));
	if (unlikely(pfn == -1) && zone->slowpath)
		pfn = alloc_pages_slowpath(zone, gfp, order);
	return pfn;
}

static inline void free_pages(struct zone *zone, int64_t pfn, int64_t order)
{
	memset(zone->lru + pfn, 0, (size_t)1 << order);
	if (order <= PAGE_ALLOC_COSTLY_ORDER && unlikely(zone->pcp_high != 0 || zone->pcp_count != 0))
		__builtin_trap();
	free_one_page(zone, pfn, order, get_pageblock_migratetype(zone, pfn), FPI_NONE);
}

static inline void folio_add_lru(struct zone *zone, int64_t pfn, int64_t order)
{
	memset(zone->lru + pfn, 1, (size_t)1 << order);
}

static inline void free_pages_exact(struct zone *zone, int64_t pfn, int64_t pages)
{
	if (unlikely(zone->pcp_high != 0 || zone->pcp_count != 0))
		__builtin_trap();
	memset(zone->lru + pfn, 0, (size_t)pages);
	free_one_page_run(zone, pfn, pages, FPI_NONE);
}

static inline int64_t alloc_pages_exact(struct zone *zone, bool tail, int64_t pages, int64_t gfp)
{
	int64_t order = 0;

	while ((int64_t)1 << order < pages)
		order++;
	int64_t pfn = alloc_pages(zone, gfp, order);
	if (pfn == -1)
		return -1;
	int64_t leftover = ((int64_t)1 << order) - pages;
	if (tail)
		free_one_page_run(zone, pfn + pages, leftover, FPI_TO_TAIL);
	else
		free_pages_exact(zone, pfn + pages, leftover);
	return pfn;
}

static int64_t int_sqrt(int64_t x)
{
	int64_t root = 0, bit = (int64_t)1 << 40;

	while (bit > x)
		bit >>= 2;
	for (; bit; bit >>= 2) {
		if (x >= root + bit) {
			x -= root + bit;
			root = (root >> 1) + bit;
		} else {
			root >>= 1;
		}
	}
	return root;
}

static void setup_per_zone_wmarks(struct zone *zone)
{
	int64_t minimum = zone->min_free_kbytes >> (zone->page_shift - 10);
	int64_t step = zone->managed_pages * WATERMARK_SCALE_FACTOR / 10000;

	if (step < minimum >> 2)
		step = minimum >> 2;
	zone->watermark_boost = 0;
	for (int mark = 0; mark < 4; mark++)
		zone->wmark[mark] = minimum + mark * step;
}

static void calculate_min_free_kbytes(struct zone *zone)
{
	int64_t pages = zone->managed_pages - (zone->wmark[2] + zone->watermark_boost);
	int64_t kbytes = int_sqrt(((pages > 0 ? pages : 0) << (zone->page_shift - 10)) * 16);

	zone->min_free_kbytes = kbytes < 128 ? 128 : kbytes > 262144 ? 262144 : kbytes;
}

/* The zone [0, end_pfn) with nothing handed over, as make_zone() and build_all_zonelists(). */
static void reset_zone(struct zone *zone, int64_t end_pfn, int64_t memmap_pages, int64_t page_shift)
{
	int32_t *next = zone->next, *prev = zone->prev;
	int8_t *order = zone->order, *pageblock = zone->pageblock;
	uint8_t *lru = zone->lru;
	int64_t pages = zone->pages;

	memset(order, -1, (size_t)pages);
	memset(lru, 0, (size_t)pages);
	for (int64_t head = pages; head < pages + NR_LISTS; head++)
		next[head] = prev[head] = (int32_t)head;
	memset(pageblock, MIGRATE_MOVABLE, (size_t)(pages >> PAGEBLOCK_ORDER));
	*zone = (struct zone){
		.next = next, .prev = prev, .order = order, .lru = lru, .pageblock = pageblock, .pages = pages,
		.end_pfn = end_pfn, .pcp_batch = 1, .min_free_kbytes = 1024, .slowpath = 1, .page_shift = page_shift,
		.mobility_disabled = end_pfn - memmap_pages < PAGEBLOCK_NR_PAGES * MIGRATE_TYPES,
	};
}

/* reserved: `rows` pairs of first page and pages, which stay with memblock. */
static void memblock_free_all(struct zone *zone, const int64_t *reserved, int64_t rows)
{
	int64_t pfn = 0;

	for (int64_t row = 0; row <= rows; row++) {
		int64_t end = row < rows ? reserved[2 * row] : zone->end_pfn;
		if (pfn < end) {
			zone->managed_pages += end - pfn;
			free_one_page_run(zone, pfn, end - pfn, FPI_TO_TAIL);
		}
		if (row < rows)
			pfn = reserved[2 * row] + reserved[2 * row + 1];
	}
}

static void destroy_zone(struct zone *zone)
{
	if (!zone)
		return;
	free(zone->next);
	free(zone->prev);
	free(zone->order);
	free(zone->lru);
	free(zone->pageblock);
	free(zone);
}

/* NULL if there is no memory. */
static struct zone *make_zone(int64_t end_pfn, int64_t memmap_pages, int64_t page_shift)
{
	struct zone *zone = calloc(1, sizeof(*zone));
	int64_t pages = (end_pfn + PAGEBLOCK_NR_PAGES - 1) & ~(int64_t)(PAGEBLOCK_NR_PAGES - 1);

	if (!zone)
		return NULL;
	zone->pages = pages;
	zone->next = calloc((size_t)(pages + NR_LISTS), sizeof(int32_t));
	zone->prev = calloc((size_t)(pages + NR_LISTS), sizeof(int32_t));
	zone->order = malloc((size_t)pages);
	zone->lru = malloc((size_t)pages);
	zone->pageblock = malloc((size_t)(pages >> PAGEBLOCK_ORDER));
	if (!zone->next || !zone->prev || !zone->order || !zone->lru || !zone->pageblock) {
		destroy_zone(zone);
		return NULL;
	}
	reset_zone(zone, end_pfn, memmap_pages, page_shift);
	return zone;
}

#endif
