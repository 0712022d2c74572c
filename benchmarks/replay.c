/* C twin of kernels/probe/replay.py: the page requests of a recorded boot, once more. */
#include "slub.h"

enum {
	EVENT_ALLOC,
	EVENT_ALLOC_RETURNS,
	EVENT_ALLOC_FAILS,
	EVENT_FREE,
	EVENT_WMARKS,
	EVENT_MOBILITY,
	EVENT_KSWAPD,
	EVENT_OBJECT_ALLOC,
	EVENT_OBJECT_FREE,
	PAGE_FREE = -1,
	PAGE_RESERVED = -2,
	PAGE_NONE = -3,
	HEAD = 0,
	TAIL = 1,
	BETWEEN = 2,
};

struct event {
	int64_t kind, first, order, flags;
};

struct machine {
	struct zone *zone;
	struct slub *slub;
};

void twin_replay_destroy(struct machine *machine)
{
	if (!machine)
		return;
	destroy_zone(machine->zone);
	destroy_slub(machine->slub);
	free(machine);
}

struct machine *twin_replay_machine(int64_t pages, int64_t memmap_pages, int64_t page_shift, int64_t node_size,
				    int64_t min_partial, int64_t max_slabs)
{
	struct machine *machine = calloc(1, sizeof(*machine));

	if (!machine)
		return NULL;
	machine->zone = make_zone(pages, memmap_pages, page_shift);
	machine->slub = make_slub(node_size, (int64_t)1 << page_shift, min_partial, max_slabs);
	if (!machine->zone || !machine->slub) {
		twin_replay_destroy(machine);
		return NULL;
	}
	return machine;
}

/* As memblock leaves it. */
void twin_replay_reset(struct machine *machine, int64_t pages, int64_t memmap_pages, int64_t page_shift,
		       const int64_t *reserved, int64_t rows)
{
	reset_zone(machine->zone, pages, memmap_pages, page_shift);
	memblock_free_all(machine->zone, reserved, rows);
	reset_slub(machine->slub);
}

static bool is_block(const int32_t *page, int64_t first, int64_t order)
{
	int32_t own = page[first];
	int32_t step = own == PAGE_RESERVED ? 0 : 1;
	bool whole = true;

	if (own != PAGE_RESERVED && (own < 0 || own & ((1 << order) - 1)))
		return false;
	for (int32_t i = 0; i < 1 << order; i++)
		whole &= page[first + i] == own + i * step;
	return whole;
}

static int64_t end_of_list(const struct zone *zone, int64_t block, int64_t order, int64_t migratetype, int64_t expected)
{
	int64_t head = free_area(zone, order, migratetype);
	bool at_head = zone->next[head] == block, at_tail = zone->prev[head] == block;

	if (at_head && at_tail)
		return expected;
	return at_head ? HEAD : at_tail ? TAIL : BETWEEN;
}

static void replay_alloc(struct zone *zone, int32_t *page, const struct event *event, int64_t *answer)
{
	int64_t pfn = alloc_pages(zone, event->flags, event->order);
	int64_t migratetype = gfp_migratetype(zone, event->flags);

	if (pfn >= 0 && migratetype == MIGRATE_MOVABLE)
		folio_add_lru(zone, pfn, event->order);
	for (int64_t i = 0; i < (int64_t)1 << event->order; i++)
		page[event->first + i] = (int32_t)(pfn >= 0 ? pfn + i : PAGE_NONE);
	answer[0] = pfn;
	answer[1] = migratetype;
}

static void replay_free(struct zone *zone, int32_t *page, const struct event *event, int64_t expected_end, int64_t *answer)
{
	int64_t first = event->first, order = event->order;

	answer[0] = -1;
	if (is_block(page, first, order)) {
		int64_t pfn = page[first];
		if (pfn == PAGE_RESERVED) {
			pfn = first;
			zone->managed_pages += (int64_t)1 << order;
		}
		answer[3] = get_pageblock_migratetype(zone, pfn);
		if (event->flags & FPI_TO_TAIL)
			free_one_page(zone, pfn, order, answer[3], FPI_TO_TAIL);
		else
			free_pages(zone, pfn, order);
		for (int64_t merged = order; merged < MAX_ORDER; merged++) {
			int64_t block = pfn & ~(((int64_t)1 << merged) - 1);
			if (zone->order[block] == merged) {
				answer[0] = block;
				answer[1] = merged;
				answer[2] = end_of_list(zone, block, merged, answer[3], expected_end);
			}
		}
	}
	for (int64_t i = first; i < first + ((int64_t)1 << order); i++)
		page[i] = PAGE_FREE;
}

static void replay_object_frees(struct machine *machine, const int64_t *objects, const struct event *events, int64_t i,
				int64_t *bulk)
{
	int64_t first = i, count = 0;

	if (events[i].flags)
		return;
	while (first > 0 && events[first - 1].kind == EVENT_OBJECT_FREE && events[first - 1].flags)
		first--;
	for (int64_t j = first; j <= i; j++) {
		int64_t object = objects[events[j].first];
		if (object >= 0)
			bulk[count++] = object;
	}
	kmem_cache_free_bulk(machine->slub, machine->zone, count, bulk);
}

/* events: rows of struct event; expected, answers: rows of four; page, objects, bulk as in kernels/probe/replay.py. */
void twin_replay_events(struct machine *machine, const struct event *events, const int64_t (*expected)[4], int64_t count,
			int32_t *page, int64_t *objects, int64_t *bulk, int64_t (*answers)[4])
{
	struct zone *zone = machine->zone;
	struct slub *slub = machine->slub;

	for (int64_t i = 0; i < count; i++) {
		const struct event *event = &events[i];
		int64_t *answer = answers[i];
		switch (event->kind) {
		case EVENT_ALLOC:
			replay_alloc(zone, page, event, answer);
			break;
		case EVENT_ALLOC_RETURNS:
			answer[0] = zone->nr_free_pages;
			break;
		case EVENT_ALLOC_FAILS:
			answer[0] = alloc_pages(zone, event->flags, event->order);
			answer[1] = zone->nr_free_pages;
			if (answer[0] >= 0)
				free_pages(zone, answer[0], event->order);
			break;
		case EVENT_FREE:
			replay_free(zone, page, event, expected[i][2], answer);
			break;
		case EVENT_WMARKS:
			calculate_min_free_kbytes(zone);
			setup_per_zone_wmarks(zone);
			for (int mark = 0; mark < 3; mark++)
				answer[mark] = zone->wmark[mark];
			answer[3] = zone->managed_pages;
			break;
		case EVENT_MOBILITY:
			answer[0] = zone->min_free_kbytes;
			answer[1] = zone->mobility_disabled;
			break;
		case EVENT_KSWAPD:
			kswapd(zone);
			break;
		case EVENT_OBJECT_ALLOC: {
			int64_t object = kmem_cache_alloc(slub, zone, event->flags);
			objects[event->first] = object;
			answer[0] = -1;
			if (object >= 0)
				answer[0] = ((int64_t)slub->slab[object / slub->per_slab].pfn << zone->page_shift) +
					    object % slub->per_slab * slub->object_size;
			break;
		}
		case EVENT_OBJECT_FREE:
			replay_object_frees(machine, objects, events, i, bulk);
			break;
		}
	}
}
