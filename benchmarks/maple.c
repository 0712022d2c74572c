/* Benchmarks of the maple tree; the same loops as kernels/probe/bench.py. */
#include "maple_tree.h"

struct machine {
	struct zone *zone;
	struct slub *slub;
	struct maple *maple;
};

void twin_maple_destroy(struct machine *machine)
{
	if (!machine)
		return;
	destroy_zone(machine->zone);
	destroy_slub(machine->slub);
	destroy_maple(machine->maple);
	free(machine);
}

/* A tree that is empty, with the cache of its nodes and the pages for it. */
struct machine *twin_maple(int64_t layout, int64_t pages, int64_t memmap_pages, int64_t page_shift, int64_t node_size,
			   int64_t min_partial, int64_t max_slabs)
{
	struct machine *machine = calloc(1, sizeof(*machine));

	if (!machine)
		return NULL;
	machine->zone = make_zone(pages, memmap_pages, page_shift);
	machine->slub = make_slub(node_size, (int64_t)1 << page_shift, min_partial, max_slabs);
	if (machine->slub)
		machine->maple = make_maple(layout, max_slabs * machine->slub->per_slab);
	if (!machine->zone || !machine->slub || !machine->maple) {
		twin_maple_destroy(machine);
		return NULL;
	}
	memblock_free_all(machine->zone, NULL, 0);
	calculate_min_free_kbytes(machine->zone);
	setup_per_zone_wmarks(machine->zone);
	return machine;
}

/* For each pick, the range of that number is stored if it is not there, else a NULL over it. */
int64_t twin_maple_store(struct machine *machine, int preallocate, const int32_t *pick, int64_t stores, int64_t repeats,
			 int64_t stride, int64_t length, uint8_t *present)
{
	struct maple *maple = machine->maple;
	struct slub *slub = machine->slub;
	struct zone *zone = machine->zone;
	uint64_t sum = 0;

	for (int64_t repeat = 0; repeat < repeats; repeat++) {
		for (int64_t i = 0; i < stores; i++) {
			int64_t range = pick[i], first = (range + 1) * stride;
			present[range] ^= 1;
			int64_t entry = present[range] ? range + 1 : 0;
			mas_set_range(maple, first, first + length - 1);
			if (preallocate) {
				mas_preallocate(maple, slub, zone, GFP_KERNEL);
				mas_store_prealloc(maple, slub, zone, entry);
			} else {
				mas_store_gfp(maple, slub, zone, entry, GFP_KERNEL);
			}
			sum = sum * 31 + (uint64_t)(maple->root + (maple->height << 32) + slub->objects);
		}
	}
	return (int64_t)sum;
}

/* Loads of the first index of each range. */
int64_t twin_maple_load(struct machine *machine, const int32_t *pick, int64_t loads, int64_t repeats, int64_t stride)
{
	uint64_t sum = 0;

	for (int64_t repeat = 0; repeat < repeats; repeat++)
		for (int64_t i = 0; i < loads; i++)
			sum = sum * 31 + (uint64_t)mtree_load(machine->maple, (pick[i] + 1) * stride);
	return (int64_t)sum;
}

/*
 * Checksum of the tree as it is: number, type and last slot of every node, pivots and slots, from the root down.
 * `stack`: room for all nodes.
 */
int64_t twin_maple_checksum(const struct machine *machine, int64_t *stack)
{
	const struct maple *maple = machine->maple;
	uint64_t sum = (uint64_t)maple->height;
	int64_t count = 0;

	if (maple->height > 0)
		stack[count++] = maple->root;
	while (count > 0) {
		int64_t node = stack[--count];
		const int64_t *head = plane(maple, node, HEAD);
		sum = sum * 31 + (uint64_t)node;
		sum = sum * 31 + (uint64_t)head[TYPE];
		for (int64_t offset = 0; offset <= head[END]; offset++) {
			int64_t slot = plane(maple, node, SLOT)[offset];
			sum = sum * 31 + (uint64_t)plane(maple, node, PIVOT)[offset];
			sum = sum * 31 + (uint64_t)slot;
			if (head[TYPE] != MAPLE_LEAF_64)
				stack[count++] = slot;
		}
	}
	return (int64_t)sum;
}
