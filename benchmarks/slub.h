/* C twin of kernels/linux/slub.py: one cache, the same arrays. */
#ifndef SLUB_H
#define SLUB_H

#include "page_alloc.h"

enum { NONE = -1 };

struct slab {
	int32_t pfn, inuse, freelist, next, prev, unused;
};

struct slub {
	struct slab *slab;
	int32_t *next_object;
	int64_t max_slabs, per_slab, object_size, min_partial;
	int64_t cpu_slab, partial_head, partial_tail, nr_partial, unused_rows, budget;
	int64_t objects, objects_peak, pages, pages_peak, allocations, frees, page_failures, row_failures;
};

static void reset_slub(struct slub *slub)
{
	slub->cpu_slab = slub->partial_head = slub->partial_tail = NONE;
	slub->nr_partial = 0;
	slub->unused_rows = slub->max_slabs;
	slub->budget = -1;
	slub->objects = slub->objects_peak = slub->pages = slub->pages_peak = 0;
	slub->allocations = slub->frees = slub->page_failures = slub->row_failures = 0;
	for (int64_t row = 0; row < slub->max_slabs; row++)
		slub->slab[row] = (struct slab){ .pfn = NONE, .freelist = NONE, .unused = (int32_t)(slub->max_slabs - 1 - row) };
}

static void destroy_slub(struct slub *slub)
{
	if (!slub)
		return;
	free(slub->slab);
	free(slub->next_object);
	free(slub);
}

/* NULL if there is no memory. */
static struct slub *make_slub(int64_t object_size, int64_t page_size, int64_t min_partial, int64_t max_slabs)
{
	struct slub *slub = calloc(1, sizeof(*slub));

	if (!slub)
		return NULL;
	slub->max_slabs = max_slabs;
	slub->object_size = object_size;
	slub->per_slab = page_size / object_size;
	slub->min_partial = min_partial;
	slub->slab = calloc((size_t)max_slabs, sizeof(*slub->slab));
	slub->next_object = calloc((size_t)(max_slabs * slub->per_slab), sizeof(*slub->next_object));
	if (!slub->slab || !slub->next_object) {
		destroy_slub(slub);
		return NULL;
	}
	reset_slub(slub);
	return slub;
}

static void add_partial(struct slub *slub, int64_t row)
{
	int64_t tail = slub->partial_tail;

	slub->slab[row].prev = (int32_t)tail;
	slub->slab[row].next = NONE;
	if (tail == NONE)
		slub->partial_head = row;
	else
		slub->slab[tail].next = (int32_t)row;
	slub->partial_tail = row;
	slub->nr_partial++;
}

static void remove_partial(struct slub *slub, int64_t row)
{
	int64_t before = slub->slab[row].prev, after = slub->slab[row].next;

	if (before == NONE)
		slub->partial_head = after;
	else
		slub->slab[before].next = (int32_t)after;
	if (after == NONE)
		slub->partial_tail = before;
	else
		slub->slab[after].prev = (int32_t)before;
	slub->nr_partial--;
}

static __attribute__((noinline)) int64_t allocate_slab(struct slub *slub, struct zone *zone, int64_t gfp)
{
	if (slub->unused_rows == 0) {
		slub->row_failures++;
		return NONE;
	}
	int64_t pfn = alloc_pages(zone, gfp | GFP_NOWARN | GFP_NORETRY, 0);
	if (pfn < 0)
		pfn = alloc_pages(zone, gfp, 0);
	if (pfn < 0) {
		slub->page_failures++;
		return NONE;
	}
	int64_t row = slub->slab[--slub->unused_rows].unused;
	int64_t first = row * slub->per_slab, last = first + slub->per_slab - 1;
	for (int64_t object = first; object < last; object++)
		slub->next_object[object] = (int32_t)(object + 1);
	slub->next_object[last] = NONE;
	slub->slab[row].pfn = (int32_t)pfn;
	slub->slab[row].inuse = 0;
	slub->slab[row].freelist = (int32_t)first;
	if (++slub->pages > slub->pages_peak)
		slub->pages_peak = slub->pages;
	return row;
}

static void discard_slab(struct slub *slub, struct zone *zone, int64_t row)
{
	int64_t pfn = slub->slab[row].pfn;

	slub->slab[row].pfn = NONE;
	slub->slab[slub->unused_rows++].unused = (int32_t)row;
	slub->pages--;
	free_pages(zone, pfn, 0);
}

static int64_t new_cpu_slab(struct slub *slub, struct zone *zone, int64_t gfp)
{
	int64_t row = slub->partial_head;

	slub->cpu_slab = NONE;
	if (row != NONE)
		remove_partial(slub, row);
	else
		row = allocate_slab(slub, zone, gfp);
	slub->cpu_slab = row;
	return row;
}

static inline int64_t kmem_cache_alloc(struct slub *slub, struct zone *zone, int64_t gfp)
{
	if (slub->budget == 0)
		return -1;
	int64_t row = slub->cpu_slab;
	if (row == NONE || slub->slab[row].freelist == NONE) {
		row = new_cpu_slab(slub, zone, gfp);
		if (row == NONE)
			return -1;
	}
	int64_t object = slub->slab[row].freelist;
	slub->slab[row].freelist = slub->next_object[object];
	slub->slab[row].inuse++;
	if (slub->budget > 0)
		slub->budget--;
	slub->allocations++;
	if (++slub->objects > slub->objects_peak)
		slub->objects_peak = slub->objects;
	return object;
}

static inline void put_objects(struct slub *slub, struct zone *zone, int64_t row, int64_t head, int64_t tail, int64_t count)
{
	struct slab *slab = &slub->slab[row];
	bool was_full = slab->freelist == NONE;

	slub->next_object[tail] = slab->freelist;
	slab->freelist = (int32_t)head;
	slab->inuse -= (int32_t)count;
	slub->objects -= count;
	slub->frees += count;
	if (row == slub->cpu_slab)
		return;
	if (slab->inuse == 0 && slub->nr_partial >= slub->min_partial) {
		if (!was_full)
			remove_partial(slub, row);
		discard_slab(slub, zone, row);
	} else if (was_full) {
		add_partial(slub, row);
	}
}

static inline void kmem_cache_free(struct slub *slub, struct zone *zone, int64_t object)
{
	put_objects(slub, zone, object / slub->per_slab, object, object, 1);
}

static void kmem_cache_free_bulk(struct slub *slub, struct zone *zone, int64_t count, int64_t *objects)
{
	int64_t per_slab = slub->per_slab;

	for (int64_t left = count; left > 0;) {
		int64_t position = left - 1, same = position, taken = 1;
		int64_t head = objects[position], tail = head, row = head / per_slab;
		int lookahead = 3;
		while (position > 0) {
			int64_t object = objects[--position];
			if (object / per_slab == row) {
				slub->next_object[tail] = (int32_t)object;
				tail = object;
				taken++;
				same--;
				objects[position] = objects[same];
				objects[same] = object;
			} else if (--lookahead == 0) {
				break;
			}
		}
		put_objects(slub, zone, row, head, tail, taken);
		left = same;
	}
}

static int64_t kmem_cache_alloc_bulk(struct slub *slub, struct zone *zone, int64_t gfp, int64_t count, int64_t *out)
{
	for (int64_t index = 0; index < count; index++) {
		int64_t object = kmem_cache_alloc(slub, zone, gfp);
		if (object < 0) {
			kmem_cache_free_bulk(slub, zone, index, out);
			return 0;
		}
		out[index] = object;
	}
	return count;
}

#endif
