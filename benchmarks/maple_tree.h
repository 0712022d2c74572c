/*
 * C twin of kernels/linux/maple_tree.py: the same algorithm on the same arrays, for one tree that is not in RCU mode, with one
 * state. What only RCU mode does is not here, but the question whether it is on.
 */
#ifndef MAPLE_TREE_H
#define MAPLE_TREE_H

#include "slub.h"

enum {
	ENOMEM_ = 12,
	GFP_NOWAIT = GFP_KSWAPD_RECLAIM,
	MAPLE_LEAF_64 = 1,
	MAPLE_RANGE_64 = 2,
	MAPLE_ARANGE_64 = 3,
	MT_FLAGS_ALLOC_RANGE = 1,
	MT_FLAGS_USE_RCU = 2,
	PIVOT = 0, /* planes of a node and of the big node */
	SLOT = 1,
	GAP = 2,
	HEAD = 3,
	TYPE = 0, /* columns of HEAD */
	END = 1,
	MARKED = 2,
	PLANES = 4,
	HELD_NODES = 128,
	LEFT = 0, /* paths */
	RIGHT = 1,
	WALK = 3,
	MAX_HEIGHT = 16,
	BIG_SLOTS = 256,
};

enum store_type {
	WR_STORE_ROOT,
	WR_NEW_ROOT,
	WR_EXACT_FIT,
	WR_SPANNING_STORE,
	WR_SPLIT_STORE,
	WR_REBALANCE,
	WR_SLOT_STORE,
	WR_NODE_STORE,
};

struct step {
	int64_t node, offset, min, max;
};

struct replaced {
	int64_t node, level, low;
};

struct maple {
	int64_t *node; /* [nodes + 1][PLANES][width] */
	int64_t nodes, width;
	int64_t root, root_entry, height, flags;
	/* the state */
	int64_t index, last, prealloc, allocated;
	int64_t wr_first, wr_last, wr_level, wr_offset, wr_offset_end, wr_low;
	int64_t held[HELD_NODES];
	int64_t index_max, slots[4], min_slots[4];
	int64_t big_count, replaced_count, destroy_count, parts, cut[3], prealloc_topup, node_shortage;
	struct step path[4][MAX_HEIGHT + 1];
	int64_t cover_min[MAX_HEIGHT + 1], cover_max[MAX_HEIGHT + 1];
	int64_t big[3][BIG_SLOTS];
	struct replaced replaced[16 * MAX_HEIGHT];
	int64_t objects[HELD_NODES];
	int64_t destroy[16 * MAX_HEIGHT * 32];
};

static inline int64_t *plane(const struct maple *maple, int64_t node, int64_t which)
{
	return maple->node + (node * PLANES + which) * maple->width;
}

static inline int64_t min64(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static inline int64_t max64(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static inline bool is_leaf(const struct maple *maple, int64_t node)
{
	return plane(maple, node, HEAD)[TYPE] == MAPLE_LEAF_64;
}

/* Nodes held by the state */

static int64_t mas_alloc_nodes(struct maple *maple, struct slub *slub, struct zone *zone, int64_t count, int64_t gfp)
{
	if (maple->allocated == 0) {
		int64_t node = kmem_cache_alloc(slub, zone, gfp);
		if (node < 0)
			return -ENOMEM_;
		maple->held[0] = node;
		maple->allocated = 1;
	}
	int64_t have = maple->allocated;
	if (count > have) {
		if (kmem_cache_alloc_bulk(slub, zone, gfp, count - have, maple->objects) == 0)
			return -ENOMEM_;
		for (int64_t index = have; index < count; index++)
			maple->held[index] = maple->objects[index - have];
		maple->allocated = count;
	}
	return 0;
}

static inline int64_t mas_pop_node(struct maple *maple)
{
	int64_t have = maple->allocated;

	if (unlikely(have == 0)) {
		maple->node_shortage++;
		return maple->nodes;
	}
	maple->allocated = have - 1;
	if (have > 2)
		return maple->held[have - 1];
	int64_t node = maple->held[0];
	maple->held[0] = maple->held[1];
	return node;
}

static inline void mas_destroy(struct maple *maple, struct slub *slub, struct zone *zone)
{
	int64_t have = maple->allocated;

	maple->allocated = 0;
	maple->prealloc = 0;
	if (have > 2) {
		for (int64_t index = 2; index < have; index++)
			maple->objects[index - 2] = maple->held[index];
		kmem_cache_free_bulk(slub, zone, have - 2, maple->objects);
	}
	for (int64_t index = 0; index < min64(have, 2); index++)
		kmem_cache_free(slub, zone, maple->held[index]);
}

static inline void mas_free(struct maple *maple, int64_t node)
{
	if (unlikely(maple->flags & MT_FLAGS_USE_RCU))
		__builtin_trap();
	maple->held[maple->allocated++] = node;
}

static void mt_destroy_walk(struct maple *maple, struct slub *slub, struct zone *zone, int64_t top)
{
	struct step *walk = maple->path[WALK];
	int64_t depth = is_leaf(maple, top) ? -1 : 0;

	walk[0].node = top;
	walk[0].offset = 0;
	while (depth >= 0) {
		int64_t node = walk[depth].node, child = walk[depth].offset;
		int64_t end = plane(maple, node, HEAD)[END];
		const int64_t *slots = plane(maple, node, SLOT);
		if (child > end || is_leaf(maple, slots[0])) {
			for (int64_t offset = 0; offset <= end; offset++)
				maple->objects[offset] = slots[offset];
			kmem_cache_free_bulk(slub, zone, end + 1, maple->objects);
			depth--;
		} else {
			walk[depth].offset = child + 1;
			depth++;
			walk[depth].node = slots[child];
			walk[depth].offset = 0;
		}
	}
	kmem_cache_free(slub, zone, top);
}

static void mte_destroy_walk(struct maple *maple, int64_t node)
{
	if (unlikely(maple->flags & MT_FLAGS_USE_RCU))
		__builtin_trap();
	maple->destroy[maple->destroy_count++] = node;
}

/* Walks */

static inline int64_t mas_walk_path(struct maple *maple, int64_t root, int side, int64_t index)
{
	int64_t node = root, low = 0, high = maple->index_max;

	for (int64_t level = 0;; level++) {
		const int64_t *pivots = plane(maple, node, PIVOT);
		int64_t offset = 0;
		while (pivots[offset] < index)
			offset++;
		maple->path[side][level] = (struct step){ node, offset, low, high };
		if (is_leaf(maple, node))
			return level;
		if (offset > 0)
			low = pivots[offset - 1] + 1;
		high = pivots[offset];
		node = plane(maple, node, SLOT)[offset];
	}
}

static inline int64_t mtree_load(const struct maple *maple, int64_t index)
{
	if (maple->height == 0)
		return index == 0 ? maple->root_entry : 0;
	for (int64_t node = maple->root;;) {
		const int64_t *pivots = plane(maple, node, PIVOT);
		int64_t offset = 0;
		while (pivots[offset] < index)
			offset++;
		int64_t slot = plane(maple, node, SLOT)[offset];
		if (is_leaf(maple, node))
			return slot;
		node = slot;
	}
}

/* Gaps */

static inline int64_t mas_max_gap(const struct maple *maple, int64_t node, int64_t low)
{
	int64_t longest = 0, end = plane(maple, node, HEAD)[END];

	if (is_leaf(maple, node)) {
		const int64_t *pivots = plane(maple, node, PIVOT), *slots = plane(maple, node, SLOT);
		for (int64_t offset = 0; offset <= end; offset++) {
			if (slots[offset] == 0)
				longest = max64(longest, pivots[offset] - low + 1);
			low = pivots[offset] + 1;
		}
	} else {
		const int64_t *gaps = plane(maple, node, GAP);
		for (int64_t offset = 0; offset <= end; offset++)
			longest = max64(longest, gaps[offset]);
	}
	return longest;
}

static inline void mas_update_gap(struct maple *maple, int64_t level)
{
	if (level == 0 || !(maple->flags & MT_FLAGS_ALLOC_RANGE))
		return;
	const struct step *path = maple->path[LEFT];
	int64_t gap = mas_max_gap(maple, path[level].node, path[level].min);
	for (int64_t above = level - 1; above >= 0; above--) {
		int64_t *gaps = plane(maple, path[above].node, GAP);
		if (gaps[path[above].offset] == gap)
			return;
		gaps[path[above].offset] = gap;
		gap = mas_max_gap(maple, path[above].node, 0);
	}
}

/* The big node */

static inline void big_append(struct maple *maple, int64_t pivot, int64_t entry, int64_t gap)
{
	int64_t count = maple->big_count++;

	maple->big[PIVOT][count] = pivot;
	maple->big[SLOT][count] = entry;
	maple->big[GAP][count] = gap;
}

static inline void big_append_slots(struct maple *maple, int64_t node, int64_t first, int64_t last)
{
	for (int which = PIVOT; which <= GAP; which++) {
		const int64_t *from = plane(maple, node, which);
		int64_t *to = maple->big[which] + maple->big_count;
		for (int64_t offset = first; offset <= last; offset++)
			to[offset - first] = from[offset];
	}
	maple->big_count += max64(last - first + 1, 0);
}

static void big_prepend_node(struct maple *maple, int64_t node)
{
	int64_t count = maple->big_count, shift = plane(maple, node, HEAD)[END] + 1;

	for (int which = PIVOT; which <= GAP; which++)
		memmove(maple->big[which] + shift, maple->big[which], (size_t)count * sizeof(int64_t));
	maple->big_count = 0;
	big_append_slots(maple, node, 0, shift - 1);
	maple->big_count = count + shift;
}

static int64_t big_append_child(struct maple *maple, int64_t node, int64_t low)
{
	int64_t high = plane(maple, node, PIVOT)[plane(maple, node, HEAD)[END]];

	big_append(maple, high, node, mas_max_gap(maple, node, low));
	return high;
}

static int64_t mab_mas_cp(struct maple *maple, int64_t kind, int64_t first, int64_t last)
{
	int64_t node = mas_pop_node(maple);

	plane(maple, node, HEAD)[TYPE] = kind;
	plane(maple, node, HEAD)[END] = last - first;
	for (int which = PIVOT; which <= GAP; which++) {
		int64_t *to = plane(maple, node, which);
		for (int64_t offset = 0; offset <= last - first; offset++)
			to[offset] = maple->big[which][first + offset];
	}
	return node;
}

static int64_t mab_no_null_split(const struct maple *maple, int64_t split, int64_t kind, int64_t big_end)
{
	if (kind != MAPLE_LEAF_64 || maple->big[SLOT][split])
		return split;
	if (split < maple->slots[kind] - 1 && big_end - split > maple->min_slots[kind])
		return split + 1;
	return split - 1;
}

static void mab_calc_split(struct maple *maple, int64_t kind)
{
	int64_t slots = maple->slots[kind], end = maple->big_count - 1, split = end / 2;
	bool ends_null = kind == MAPLE_LEAF_64 && maple->big[SLOT][split] == 0;

	if (end >= 2 * slots || (ends_null && end >= 2 * slots - 1)) {
		maple->cut[0] = mab_no_null_split(maple, end / 3, kind, end);
		maple->cut[1] = mab_no_null_split(maple, end / 3 * 2, kind, end);
		maple->cut[2] = end;
		maple->parts = 3;
	} else {
		maple->cut[0] = mab_no_null_split(maple, split, kind, end);
		maple->cut[1] = end;
		maple->parts = 2;
	}
}

static void mas_store_b_node(struct maple *maple, int64_t node, int64_t entry)
{
	int64_t offset = maple->wr_offset, offset_end = maple->wr_offset_end;

	maple->big_count = 0;
	big_append_slots(maple, node, 0, offset - 1);
	if (maple->wr_low < maple->wr_first)
		big_append(maple, maple->wr_first - 1, plane(maple, node, SLOT)[offset], 0);
	big_append(maple, maple->wr_last, entry, 0);
	if (maple->wr_last < plane(maple, node, PIVOT)[offset_end])
		big_append_slots(maple, node, offset_end, offset_end);
}

/* Putting new nodes into the tree */

static void mas_replace(struct maple *maple, int64_t level, int64_t node)
{
	if (level == 0) {
		maple->root = node;
	} else {
		const struct step *above = &maple->path[LEFT][level - 1];
		plane(maple, above->node, SLOT)[above->offset] = node;
	}
	maple->path[LEFT][level].node = node;
}

static void mark_replaced(struct maple *maple, int64_t node, int64_t level, int64_t low)
{
	int64_t *head = plane(maple, node, HEAD);

	if (!head[MARKED]) {
		head[MARKED] = 1;
		maple->replaced[maple->replaced_count++] = (struct replaced){ node, level, low };
	}
}

static void free_replaced(struct maple *maple, int64_t levels)
{
	for (int64_t row = 0; row < maple->replaced_count; row++)
		mas_free(maple, maple->replaced[row].node);
	for (int64_t row = 0; row < maple->replaced_count; row++) {
		int64_t node = maple->replaced[row].node, below = maple->replaced[row].level + 1;
		if (below >= levels)
			continue;
		int64_t low = maple->replaced[row].low, end = plane(maple, node, HEAD)[END];
		const int64_t *slots = plane(maple, node, SLOT), *pivots = plane(maple, node, PIVOT);
		for (int64_t offset = 0; offset <= end; offset++) {
			int64_t child = slots[offset], high = pivots[offset];
			bool inside = low >= maple->cover_min[below] && high <= maple->cover_max[below];
			if (inside && !plane(maple, child, HEAD)[MARKED])
				mte_destroy_walk(maple, child);
			low = high + 1;
		}
	}
	for (int64_t row = 0; row < maple->replaced_count; row++)
		plane(maple, maple->replaced[row].node, HEAD)[MARKED] = 0;
	maple->replaced_count = 0;
}

static void mas_new_top(struct maple *maple, int64_t height)
{
	int64_t kind = maple->flags & MT_FLAGS_ALLOC_RANGE ? MAPLE_ARANGE_64 : MAPLE_RANGE_64;

	maple->root = mab_mas_cp(maple, kind, 0, maple->big_count - 1);
	maple->height = height;
}

/* Splitting */

static int64_t mas_push_data(struct maple *maple, int64_t level, int direction)
{
	const struct step *above = &maple->path[LEFT][level - 1], *step = &maple->path[LEFT][level];
	int64_t offset = above->offset + direction;

	if (offset < 0 || offset > plane(maple, above->node, HEAD)[END])
		return -1;
	int64_t kind = plane(maple, step->node, HEAD)[TYPE];
	int64_t sibling = plane(maple, above->node, SLOT)[offset];
	int64_t slots = maple->slots[kind], sibling_end = plane(maple, sibling, HEAD)[END];
	int64_t total = maple->big_count - 1 + sibling_end;
	int64_t space = 2 * slots - 2 - (kind == MAPLE_LEAF_64) - (step->max == maple->index_max);
	if (total >= space)
		return -1;
	if (direction < 0) {
		mark_replaced(maple, step->node, level, 0);
		mark_replaced(maple, sibling, level, 0);
		big_prepend_node(maple, sibling);
		return mab_no_null_split(maple, slots - 2, kind, maple->big_count - 1);
	}
	mark_replaced(maple, sibling, level, 0);
	mark_replaced(maple, step->node, level, 0);
	big_append_slots(maple, sibling, 0, sibling_end);
	return mab_no_null_split(maple, total - (slots - 2), kind, maple->big_count);
}

static void mas_split(struct maple *maple)
{
	struct step *path = maple->path[LEFT];
	int64_t height = maple->height;

	for (int64_t level = height - 1;;) {
		int64_t old = path[level].node, kind = plane(maple, old, HEAD)[TYPE], end = maple->big_count - 1;
		if (end < maple->slots[kind]) {
			mark_replaced(maple, old, level, 0);
			mas_replace(maple, level, mab_mas_cp(maple, kind, 0, end));
			mas_update_gap(maple, level);
			break;
		}
		int64_t before = 0, behind = 0, split = -1;
		if (level > 0) {
			split = mas_push_data(maple, level, -1);
			if (split >= 0) {
				before = 1;
			} else {
				split = mas_push_data(maple, level, 1);
				behind = split >= 0;
			}
		}
		if (split < 0) {
			mab_calc_split(maple, kind);
			split = maple->cut[0];
			mark_replaced(maple, old, level, 0);
		}
		int64_t left = mab_mas_cp(maple, kind, 0, split);
		int64_t right = mab_mas_cp(maple, kind, split + 1, maple->big_count - 1);
		maple->big_count = 0;
		if (level == 0) {
			big_append_child(maple, right, big_append_child(maple, left, 0) + 1);
			mas_new_top(maple, height + 1);
			break;
		}
		level--;
		int64_t above = path[level].node, offset = path[level].offset, first = offset - before;
		big_append_slots(maple, above, 0, first - 1);
		int64_t start = first == 0 ? path[level].min : plane(maple, above, PIVOT)[first - 1] + 1;
		big_append_child(maple, right, big_append_child(maple, left, start) + 1);
		big_append_slots(maple, above, offset + behind + 1, plane(maple, above, HEAD)[END]);
	}
	free_replaced(maple, 0);
}

/* Rebalancing and spanning stores */

static void mark_side(struct maple *maple, int side, int64_t top, int64_t bottom)
{
	for (int64_t level = bottom; level >= top; level--) {
		const struct step *step = &maple->path[side][level];
		if (step->node != maple->path[1 - side][level].node)
			mark_replaced(maple, step->node, level, step->min);
	}
}

static void shift_side(struct maple *maple, int side, int64_t top, int64_t bottom, int direction)
{
	struct step *path = maple->path[side];

	path[top].offset += direction;
	for (int64_t level = top + 1; level <= bottom; level++) {
		int64_t node = path[level - 1].node, offset = path[level - 1].offset;
		const int64_t *pivots = plane(maple, node, PIVOT);
		int64_t child = plane(maple, node, SLOT)[offset];
		path[level].node = child;
		path[level].offset = direction > 0 ? 0 : plane(maple, child, HEAD)[END];
		path[level].min = offset > 0 ? pivots[offset - 1] + 1 : path[level - 1].min;
		path[level].max = pivots[offset];
	}
}

static void mast_spanning_rebalance(struct maple *maple, int64_t level)
{
	for (int64_t above = level - 1; above >= 0; above--) {
		const struct step *right = &maple->path[RIGHT][above];
		if (right->offset < plane(maple, right->node, HEAD)[END]) {
			mark_side(maple, RIGHT, above + 1, level);
			shift_side(maple, RIGHT, above, level, 1);
			int64_t node = maple->path[RIGHT][level].node;
			big_append_slots(maple, node, 0, plane(maple, node, HEAD)[END]);
			return;
		}
		if (maple->path[LEFT][above].offset > 0) {
			mark_side(maple, LEFT, above + 1, level);
			shift_side(maple, LEFT, above, level, -1);
			big_prepend_node(maple, maple->path[LEFT][level].node);
			return;
		}
	}
}

static void mas_spanning_rebalance(struct maple *maple)
{
	int64_t height = maple->height, level = height - 1;

	for (;;) {
		int64_t kind = plane(maple, maple->path[LEFT][level].node, HEAD)[TYPE];
		if (maple->big_count <= maple->min_slots[kind])
			mast_spanning_rebalance(maple, level);
		const struct step *left = &maple->path[LEFT][level], *right = &maple->path[RIGHT][level];
		int64_t low = left->min;
		bool whole = low == 0 && right->max == maple->index_max;
		mark_replaced(maple, left->node, level, low);
		mark_replaced(maple, right->node, level, right->min);
		maple->cover_min[level] = low;
		maple->cover_max[level] = right->max;
		if (maple->big_count - 1 < maple->slots[kind]) {
			maple->cut[0] = maple->big_count - 1;
			maple->parts = 1;
		} else {
			mab_calc_split(maple, kind);
		}
		int64_t parts = maple->parts, first = 0;
		for (int64_t part = 0; part < parts; part++) {
			int64_t cut_end = maple->cut[part];
			maple->cut[part] = mab_mas_cp(maple, kind, first, cut_end);
			first = cut_end + 1;
		}
		if (whole && parts == 1) {
			maple->root = maple->cut[0];
			maple->height = height - level;
			break;
		}
		maple->big_count = 0;
		if (level > 0) {
			left = &maple->path[LEFT][level - 1];
			big_append_slots(maple, left->node, 0, left->offset - 1);
		}
		for (int64_t part = 0; part < parts; part++)
			low = big_append_child(maple, maple->cut[part], low) + 1;
		if (level == 0) {
			mas_new_top(maple, height + 1);
			break;
		}
		level--;
		right = &maple->path[RIGHT][level];
		big_append_slots(maple, right->node, right->offset + 1, plane(maple, right->node, HEAD)[END]);
	}
	while (level > 0) {
		level--;
		for (int side = LEFT; side <= RIGHT; side++) {
			const struct step *step = &maple->path[side][level];
			mark_replaced(maple, step->node, level, step->min);
		}
		maple->cover_min[level] = 0;
		maple->cover_max[level] = maple->index_max;
	}
	free_replaced(maple, height);
}

static void mas_rebalance(struct maple *maple, int64_t level)
{
	for (int64_t above = 0; above <= level; above++)
		maple->path[RIGHT][above] = maple->path[LEFT][above];
	mast_spanning_rebalance(maple, level);
}

/* Stores */

static inline void mas_wr_extend_null_left(struct maple *maple, int64_t node, int64_t minimum)
{
	const int64_t *slots = plane(maple, node, SLOT), *pivots = plane(maple, node, PIVOT);
	int64_t offset = maple->wr_offset;

	if (slots[offset] == 0) {
		maple->wr_first = maple->wr_low;
	} else if (maple->wr_first == maple->wr_low && offset > 0 && slots[offset - 1] == 0) {
		maple->wr_offset = offset - 1;
		maple->wr_low = offset > 1 ? pivots[offset - 2] + 1 : minimum;
		maple->wr_first = maple->wr_low;
	}
}

static inline void mas_wr_extend_null(struct maple *maple, int64_t node, int64_t minimum)
{
	const int64_t *slots = plane(maple, node, SLOT), *pivots = plane(maple, node, PIVOT);
	int64_t offset_end = maple->wr_offset_end;

	if (slots[offset_end] == 0)
		maple->wr_last = pivots[offset_end];
	if (maple->wr_last == pivots[offset_end] && offset_end != plane(maple, node, HEAD)[END] && slots[offset_end + 1] == 0) {
		maple->wr_offset_end = offset_end + 1;
		maple->wr_last = pivots[offset_end + 1];
	}
	mas_wr_extend_null_left(maple, node, minimum);
}

static inline enum store_type mas_wr_walk(struct maple *maple, int64_t entry)
{
	int64_t first = maple->index, last = maple->last;
	int64_t level = mas_walk_path(maple, maple->root, LEFT, first);
	const struct step *step = &maple->path[LEFT][level];
	const int64_t *pivots = plane(maple, step->node, PIVOT);
	int64_t offset = step->offset;

	maple->wr_first = first;
	maple->wr_last = last;
	maple->wr_level = level;
	maple->wr_offset = offset;
	maple->wr_low = offset > 0 ? pivots[offset - 1] + 1 : step->min;
	if (last > step->max || (last == step->max && entry == 0 && last != maple->index_max))
		return WR_SPANNING_STORE;
	while (pivots[offset] < last)
		offset++;
	maple->wr_offset_end = offset;
	return WR_NODE_STORE;
}

static inline enum store_type mas_wr_store_type(struct maple *maple, int64_t entry)
{
	if (maple->height == 0)
		return WR_STORE_ROOT;
	if (maple->index == 0 && maple->last == maple->index_max)
		return WR_NEW_ROOT;
	if (mas_wr_walk(maple, entry) == WR_SPANNING_STORE)
		return WR_SPANNING_STORE;
	int64_t level = maple->wr_level;
	const struct step *step = &maple->path[LEFT][level];
	const int64_t *pivots = plane(maple, step->node, PIVOT);
	if (entry == 0) {
		mas_wr_extend_null(maple, step->node, step->min);
		if (maple->wr_first == 0 && maple->wr_last == maple->index_max)
			return WR_NEW_ROOT;
	}
	int64_t offset = maple->wr_offset, offset_end = maple->wr_offset_end;
	if (maple->wr_low == maple->wr_first && pivots[offset] == maple->wr_last)
		return WR_EXACT_FIT;
	int64_t end = plane(maple, step->node, HEAD)[END];
	int64_t new_end = end - (offset_end - offset) + (maple->wr_low < maple->wr_first) + (maple->wr_last < pivots[offset_end]);
	int64_t slots = maple->slots[MAPLE_LEAF_64];
	if (new_end >= slots)
		return WR_SPLIT_STORE;
	if (level > 0 && new_end < maple->min_slots[MAPLE_LEAF_64])
		return WR_REBALANCE;
	int64_t size = end - offset_end + offset + 2 + (step->max == maple->index_max);
	if (offset_end == offset + 1 && new_end == end && size < slots)
		return WR_SLOT_STORE;
	return WR_NODE_STORE;
}

static inline int64_t mas_prealloc_calc(const struct maple *maple, int64_t entry, enum store_type store_type)
{
	switch (store_type) {
	case WR_SPANNING_STORE:
	case WR_REBALANCE:
		return 1 + 3 * maple->height;
	case WR_SPLIT_STORE:
		return 1 + 2 * maple->height;
	case WR_STORE_ROOT:
		return maple->last == 0 || entry == 0 ? 0 : 1;
	case WR_NEW_ROOT:
		return entry ? 1 : 0;
	case WR_NODE_STORE:
		return maple->flags & MT_FLAGS_USE_RCU ? 1 : 0;
	default:
		return 0;
	}
}

static void mas_new_root(struct maple *maple, int64_t entry)
{
	mte_destroy_walk(maple, maple->root);
	if (entry) {
		maple->big_count = 0;
		big_append(maple, maple->index_max, entry, 0);
		maple->root = mab_mas_cp(maple, MAPLE_LEAF_64, 0, 0);
		maple->height = 1;
	} else {
		maple->root = -1;
		maple->height = 0;
	}
}

static void mas_store_root(struct maple *maple, int64_t entry)
{
	int64_t first = maple->index, last = maple->last;

	if (last == 0 || entry == 0) {
		if (first == 0)
			maple->root_entry = entry;
		return;
	}
	maple->big_count = 0;
	if (first > 0 && maple->root_entry)
		big_append(maple, 0, maple->root_entry, 0);
	if (first > 1 || (first == 1 && maple->root_entry == 0))
		big_append(maple, first - 1, 0, 0);
	big_append(maple, last, entry, 0);
	if (last < maple->index_max)
		big_append(maple, maple->index_max, 0, 0);
	maple->root = mab_mas_cp(maple, MAPLE_LEAF_64, 0, maple->big_count - 1);
	maple->root_entry = 0;
	maple->height = 1;
}

static enum store_type mas_wr_spanning_store(struct maple *maple, int64_t entry)
{
	int64_t level = maple->wr_level;
	const struct step *left = &maple->path[LEFT][level], *right = &maple->path[RIGHT][level];
	int64_t node = left->node;

	mas_walk_path(maple, maple->root, RIGHT, maple->last < maple->index_max ? maple->last + 1 : maple->index_max);
	int64_t rest = right->offset;
	if (entry == 0) {
		mas_wr_extend_null_left(maple, node, left->min);
		if (plane(maple, right->node, SLOT)[rest] == 0) {
			maple->wr_last = plane(maple, right->node, PIVOT)[rest];
			rest++;
		}
		if (maple->wr_first == 0 && maple->wr_last == maple->index_max)
			return WR_NEW_ROOT;
	}
	maple->wr_offset_end = plane(maple, node, HEAD)[END];
	mas_store_b_node(maple, node, entry);
	if (maple->wr_last < right->max)
		big_append_slots(maple, right->node, rest, plane(maple, right->node, HEAD)[END]);
	return WR_SPANNING_STORE;
}

/* Not in RCU mode the leaf itself is rewritten. */
static inline void mas_wr_node_store(struct maple *maple, int64_t entry)
{
	int64_t node = maple->path[LEFT][maple->wr_level].node;
	int64_t *pivots = plane(maple, node, PIVOT), *slots = plane(maple, node, SLOT);
	int64_t offset = maple->wr_offset, offset_end = maple->wr_offset_end;
	int64_t end = plane(maple, node, HEAD)[END];
	int64_t before = slots[offset], behind = slots[offset_end], high = pivots[offset_end];
	int64_t position = offset + (maple->wr_low < maple->wr_first);
	int64_t tail = position + 1 + (maple->wr_last < high);
	int64_t shift = tail - (offset_end + 1);

	if (shift != 0 && end > offset_end) {
		size_t bytes = (size_t)(end - offset_end) * sizeof(int64_t);
		memmove(pivots + tail, pivots + offset_end + 1, bytes);
		memmove(slots + tail, slots + offset_end + 1, bytes);
	}
	if (position > offset) {
		pivots[offset] = maple->wr_first - 1;
		slots[offset] = before;
	}
	pivots[position] = maple->wr_last;
	slots[position] = entry;
	if (maple->wr_last < high) {
		pivots[position + 1] = high;
		slots[position + 1] = behind;
	}
	plane(maple, node, HEAD)[END] = end + shift;
}

static inline void mas_wr_modify(struct maple *maple, int64_t entry, enum store_type store_type)
{
	int64_t level = maple->wr_level, node = maple->path[LEFT][level].node;

	if (store_type == WR_EXACT_FIT) {
		int64_t *slot = &plane(maple, node, SLOT)[maple->wr_offset];
		bool same = (*slot == 0) == (entry == 0);
		*slot = entry;
		if (same)
			return;
	} else {
		if (unlikely(store_type == WR_NODE_STORE && maple->flags & MT_FLAGS_USE_RCU))
			__builtin_trap();
		mas_wr_node_store(maple, entry);
	}
	mas_update_gap(maple, level);
}

static __attribute__((noinline)) void mas_wr_bnode(struct maple *maple, int64_t entry, enum store_type store_type)
{
	if (store_type == WR_STORE_ROOT) {
		mas_store_root(maple, entry);
		return;
	}
	if (store_type == WR_SPANNING_STORE)
		store_type = mas_wr_spanning_store(maple, entry);
	if (store_type == WR_NEW_ROOT) {
		mas_new_root(maple, entry);
		return;
	}
	if (store_type != WR_SPANNING_STORE) {
		int64_t level = maple->wr_level, node = maple->path[LEFT][level].node;
		mas_store_b_node(maple, node, entry);
		big_append_slots(maple, node, maple->wr_offset_end + 1, plane(maple, node, HEAD)[END]);
		if (store_type == WR_SPLIT_STORE) {
			mas_split(maple);
			return;
		}
		mas_rebalance(maple, level);
	}
	mas_spanning_rebalance(maple);
}

static inline int64_t mas_wr_store_entry(struct maple *maple, struct slub *slub, struct zone *zone, int64_t entry, int64_t gfp)
{
	enum store_type store_type = mas_wr_store_type(maple, entry);
	int64_t count = mas_prealloc_calc(maple, entry, store_type), have = maple->allocated;
	bool asks = have == 0 || maple->prealloc == 0 || maple->prealloc_topup != 0;

	if (have < count && asks && mas_alloc_nodes(maple, slub, zone, count, gfp))
		return -ENOMEM_;
	if (store_type == WR_NODE_STORE || store_type == WR_SLOT_STORE || store_type == WR_EXACT_FIT) {
		mas_wr_modify(maple, entry, store_type);
		return 0;
	}
	mas_wr_bnode(maple, entry, store_type);
	for (int64_t row = 0; row < maple->destroy_count; row++)
		mt_destroy_walk(maple, slub, zone, maple->destroy[row]);
	maple->destroy_count = 0;
	return 0;
}

static inline int64_t mas_store_prealloc(struct maple *maple, struct slub *slub, struct zone *zone, int64_t entry)
{
	int64_t error = mas_wr_store_entry(maple, slub, zone, entry, GFP_NOWAIT | GFP_NOWARN);

	mas_destroy(maple, slub, zone);
	return error;
}

static inline int64_t mas_store_gfp(struct maple *maple, struct slub *slub, struct zone *zone, int64_t entry, int64_t gfp)
{
	int64_t error = mas_wr_store_entry(maple, slub, zone, entry, GFP_NOWAIT | GFP_NOWARN);

	if (error)
		error = mas_wr_store_entry(maple, slub, zone, entry, gfp);
	mas_destroy(maple, slub, zone);
	return error;
}

static inline int64_t mas_preallocate(struct maple *maple, struct slub *slub, struct zone *zone, int64_t gfp)
{
	int64_t count = 1 + 3 * maple->height;

	if (maple->allocated < count && mas_alloc_nodes(maple, slub, zone, count, gfp)) {
		mas_destroy(maple, slub, zone);
		return -ENOMEM_;
	}
	maple->prealloc = 1;
	return 0;
}

static inline void mas_init(struct maple *maple, int64_t first, int64_t last)
{
	maple->prealloc = 0;
	maple->allocated = 0;
	maple->index = first;
	maple->last = last;
}

static inline void mas_set_range(struct maple *maple, int64_t first, int64_t last)
{
	maple->index = first;
	maple->last = last;
}

static void destroy_maple(struct maple *maple)
{
	if (!maple)
		return;
	free(maple->node);
	free(maple);
}

/* An empty tree of mm_init(), RCU mode off; `layout` 32 or 64. NULL if there is no memory. */
static struct maple *make_maple(int64_t layout, int64_t nodes)
{
	static const int64_t slots[2][4] = { { 0, 32, 32, 21 }, { 0, 16, 16, 10 } };
	static const int64_t min_slots[2][4] = { { 0, 14, 14, 9 }, { 0, 6, 6, 4 } };
	struct maple *maple = calloc(1, sizeof(*maple));

	if (!maple)
		return NULL;
	memcpy(maple->slots, slots[layout == 64], sizeof(maple->slots));
	memcpy(maple->min_slots, min_slots[layout == 64], sizeof(maple->min_slots));
	maple->index_max = layout == 64 ? INT64_MAX - 1 : UINT32_MAX;
	maple->width = maple->slots[MAPLE_LEAF_64];
	maple->nodes = nodes;
	maple->node = calloc((size_t)((nodes + 1) * PLANES * maple->width), sizeof(int64_t));
	if (!maple->node) {
		destroy_maple(maple);
		return NULL;
	}
	maple->root = -1;
	maple->flags = MT_FLAGS_ALLOC_RANGE;
	return maple;
}

#endif
