"""Slow plain twin of kernels/linux/slub.py: slabs are Python objects with lists, pages are numbers from a list.

Written from the description of SLUB without SMP, not from the kernel file. Free lists are stacks.
"""


class NoMemoryError(Exception):
    """No slab page, or the budget is spent."""


class Slab:
    def __init__(self, page, objects):
        self.page = page
        self.total = objects
        self.free = list(range(objects - 1, -1, -1))


class TwinCache:
    """One cache. `take_page() -> page or None` and `give_page(page)` are the page allocator."""

    def __init__(self, size, page_size, take_page, give_page):
        self.objects = page_size // size
        self.min_partial = min(10, max(5, (size.bit_length() - 1) // 2))
        self.take_page = take_page
        self.give_page = give_page
        self.current = None
        self.partial = []
        self.slabs = set()
        self.budget = None

    def alloc(self):
        """Returns (slab, index)."""
        if self.budget == 0:
            raise NoMemoryError
        if self.current is None or not self.current.free:
            self.current = None
            if self.partial:
                self.current = self.partial.pop(0)
            else:
                page = self.take_page()
                if page is None:
                    raise NoMemoryError
                self.current = Slab(page, self.objects)
                self.slabs.add(self.current)
        if self.budget is not None:
            self.budget -= 1
        return self.current, self.current.free.pop()

    def free(self, slab, *indices):
        """Indices of one slab, given back together; the first is the next to be handed out."""
        full = not slab.free
        slab.free.extend(reversed(indices))
        if slab is self.current:
            return
        if len(slab.free) == slab.total and len(self.partial) >= self.min_partial:
            if not full:
                self.partial.remove(slab)
            self.slabs.remove(slab)
            self.give_page(slab.page)
        elif full:
            self.partial.append(slab)

    def free_bulk(self, objects):
        """Slab by slab from the end of the list; a pass ends at the third object of another slab."""
        rest = list(objects)
        while rest:
            slab = rest[-1][0]
            same, foreign, position = [], 0, len(rest)
            while position and foreign < 3:
                position -= 1
                if rest[position][0] is slab:
                    same.insert(0, rest[position][1])
                else:
                    foreign += 1
            # the kernel swaps a taken object with the last one that stays
            rest = remove_by_swaps(rest, slab, len(rest) - position)
            self.free(slab, *reversed(same))

    def alloc_bulk(self, count):
        taken = []
        try:
            for _ in range(count):
                taken.append(self.alloc())
        except NoMemoryError:
            self.free_bulk(taken)
            raise
        return taken

    @property
    def in_use(self):
        return sum(slab.total - len(slab.free) for slab in self.slabs)


def remove_by_swaps(objects, slab, reach):
    """`objects` without those of `slab` among the last `reach`.

    Each object taken changes places with the last one not taken yet, so foreign objects move towards the
    front in a rotated order.
    """
    rest = list(objects)
    end = len(rest) - 1
    for position in range(len(rest) - 2, len(rest) - reach - 1, -1):
        if rest[position][0] is slab:
            end -= 1
            rest[position], rest[end] = rest[end], rest[position]
    return rest[:end]
