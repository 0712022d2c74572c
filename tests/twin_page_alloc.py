"""A slow, plain model of the buddy allocator: Python lists, nothing shared with the kernels.

Written from the rules of mm/page_alloc.c (Linux 6.1), not from kernels/linux/page_alloc.py. Page numbers are
relative to a pageblock boundary; a pageblock is a block of the largest order, which is max_order - 1; types are
0 unmovable, 1 movable, 2 reclaimable, 3 highatomic.
"""

FALLBACKS = {0: (2, 1), 1: (2, 0), 2: (0, 1)}


class TwinZone:
    """One zone. `lists[order][type]` and `pcp[list]` are Python lists, head first."""

    def __init__(self, start, end, reserved, *, mobility_off, mmu=False, max_order=11):
        self.start, self.end = start, end
        self.max_order, self.top, self.block = max_order, max_order - 1, 2 ** (max_order - 1)
        self.lists = [[[] for _ in range(4)] for _ in range(max_order)]
        self.free = {}  # first page of a free block -> (order, type of the list it is on)
        self.types = {block: int(block * self.block >= start) for block in range(-(-end // self.block))}
        self.mobility_off = mobility_off
        self.mmu = mmu
        self.lru = set()
        self.pcp = [[] for _ in range(12)]  # (page, type to go back to)
        self.high, self.batch, self.free_factor = 0, 1, 0
        self.marks = [0, 0, 0, 0]
        self.boost = 0
        self.highatomic = 0
        self.reclaim_active = False
        self.slow_min = self.slow_unreserve = self.slow_no_marks = False
        taken = {page for first, count in reserved for page in range(first, first + count)}
        self.managed = end - start - len(taken)
        page = start
        while page < end:
            order = self.top
            while page % 2**order or any(p in taken or p >= end for p in range(page, page + 2**order)):
                order -= 1
                if order < 0:
                    break
            if order < 0:
                page += 1
                continue
            self.free_block(page, order, self.type_of(page), to_tail=True)
            page += 2**order

    # Lists

    def type_of(self, page):
        return self.types[page // self.block]

    def set_type(self, page, kind):
        self.types[page // self.block] = 0 if self.mobility_off and kind < 3 else kind

    def insert(self, page, order, kind, to_tail):
        self.free[page] = (order, kind)
        entries = self.lists[order][kind]
        entries.insert(len(entries) if to_tail else 0, page)

    def remove(self, page):
        order, kind = self.free.pop(page)
        self.lists[order][kind].remove(page)
        return order

    def move_to_tail(self, page, kind):
        self.insert(page, self.remove(page), kind, to_tail=True)

    def nr_free(self):
        return sum(2**order for order, _ in self.free.values())

    def is_free(self, page, order):
        return page in self.free and self.free[page][0] == order

    # Freeing

    def free_block(self, page, order, kind, to_tail=False):
        while order < self.top and self.is_free(page ^ 2**order, order):
            self.remove(page ^ 2**order)
            page = min(page, page ^ 2**order)
            order += 1
        if order < self.top - 1:
            parent = page - page % 2 ** (order + 1)
            to_tail = to_tail or self.is_free(parent ^ 2 ** (order + 1), order + 1)
        self.insert(page, order, kind, to_tail)

    def free_pages(self, page, order):
        self.lru -= set(range(page, page + 2**order))
        kind = self.type_of(page)
        if order > 3:
            self.free_block(page, order, kind)
            return
        index = 3 * order + (kind if kind < 3 else 1)
        self.pcp[index].insert(0, (page, kind))
        count = self.pcp_count()
        whole = self.free_factor > 0 and order > 0
        if whole or self.high == 0:
            high = 0
        else:
            high = min(4 * self.batch, self.high) if self.reclaim_active else self.high
        if count < high:
            return
        if whole:
            flush = count
        elif high < self.batch:
            flush = 1
        else:
            flush = self.batch * 2**self.free_factor
            if flush < high - self.batch and self.free_factor < 5:
                self.free_factor += 1
            flush = min(max(flush, self.batch), high - self.batch)
        self.flush(flush, index)

    def pcp_count(self):
        return sum(len(pages) * 2 ** (i // 3) for i, pages in enumerate(self.pcp))

    def flush(self, count, index):
        count = min(count, self.pcp_count())
        while count > 0:
            while self.pcp[index] and count > 0:
                page, kind = self.pcp[index].pop()
                self.free_block(page, index // 3, kind)
                count -= 2 ** (index // 3)
            index = (index + 1) % 12

    def drain(self):
        self.flush(self.pcp_count(), 0)

    # Allocating

    def take_smallest(self, order, kind):
        for current in range(order, self.max_order):
            if self.lists[current][kind]:
                page = self.lists[current][kind][0]
                self.remove(page)
                for half in range(current - 1, order - 1, -1):
                    self.insert(page + 2**half, half, kind, to_tail=False)
                return page
        return None

    def source(self, order, kind):
        return next((other for other in FALLBACKS[kind] if self.lists[order][other]), None)

    def steal(self, order, kind):
        orders = [o for o in range(self.top, order - 1, -1) if self.source(o, kind) is not None]
        if not orders:
            return False
        found = orders[0]
        whole = found >= self.top // 2 or kind != 1 or self.mobility_off
        if not whole and found > order:
            found = orders[-1]
            whole = found >= self.top // 2
        page = self.lists[found][self.source(found, kind)][0]
        old = self.type_of(page)
        if old == 3:
            self.move_to_tail(page, kind)
            return True
        if found == self.top:
            self.set_type(page, kind)
            self.move_to_tail(page, kind)
            return True
        if self.managed >= 4 * self.block and self.marks[2] * 3 // 2 > 0:
            self.boost = min(self.boost + self.block, max(self.block, self.marks[2] * 3 // 2))
        moved, movable = self.move_pageblock(page, kind) if whole else (0, 0)
        if not moved:
            self.move_to_tail(page, kind)
            return True
        alike = movable if kind == 1 else (self.block - moved - movable if old == 1 else 0)
        if moved + alike >= self.block // 2 or self.mobility_off:
            self.set_type(page, kind)
        return True

    def move_pageblock(self, page, kind):
        first = page - page % self.block
        last = first + self.block
        if last > self.end:
            return 0, 0
        if first < self.start:
            first = page
        blocks = sorted(p for p in self.free if first <= p < last)
        moved = sum(2 ** self.free[p][0] for p in blocks)
        for block in blocks:
            self.move_to_tail(block, kind)
        return moved, sum(first <= p < last for p in self.lru)

    def take(self, order, kind):
        while True:
            page = self.take_smallest(order, kind)
            if page is not None or not self.steal(order, kind):
                return page

    def take_pcp(self, order, kind):
        self.free_factor //= 2
        index = 3 * order + kind
        if not self.pcp[index]:
            for _ in range(max(self.batch >> order, 2) if self.batch > 1 else 1):
                page = self.take(order, kind)
                if page is None:
                    break
                self.pcp[index].append((page, kind))
        return self.pcp[index].pop(0)[0] if self.pcp[index] else None

    def mark_ok(self, order, mark, *, high=False, non_block=False, highatomic=False):
        usable = self.nr_free() - (2**order - 1)
        if not (high or non_block or highatomic):
            usable -= self.highatomic
        if high:
            mark -= mark // 2
            if non_block:
                mark -= mark // 4
        if usable <= mark:
            return False
        kinds = range(4 if highatomic else 3)
        return order == 0 or any(self.lists[o][kind] for o in range(order, self.max_order) for kind in kinds)

    def attempt(self, order, kind, mark, *, high=False, non_block=False, highatomic=False, no_marks=False):
        rights = {"high": high, "non_block": non_block, "highatomic": highatomic}
        if not no_marks:
            passed = self.mark_ok(order, self.marks[mark] + self.boost, **rights)
            if not passed and order == 0 and high and mark == 0 and self.boost:
                passed = self.mark_ok(order, self.marks[0], **rights)
            if not passed:
                return None
        page = self.take_pcp(order, kind) if order <= 3 else None
        if page is None and highatomic:
            page = self.take_smallest(order, 3)
        if page is None:
            page = self.take(order, kind)
        if page is None and (non_block or (no_marks and not self.mmu)):
            page = self.take_smallest(order, 3)
        room = self.highatomic < self.managed // 100 + self.block
        if page is not None and highatomic and room and self.type_of(page) != 3:
            self.highatomic += self.block
            self.types[page // self.block] = 3
            self.move_pageblock(page, 3)
        return page

    def unreserve(self, kind):
        if self.highatomic <= self.block:
            return
        for order in range(self.max_order):
            if self.lists[order][3]:
                page = self.lists[order][3][0]
                if self.type_of(page) == 3:
                    self.highatomic -= self.block
                self.set_type(page, kind)
                if self.move_pageblock(page, kind)[0]:
                    return

    def alloc_pages(self, order, kind=0, *, high=False, reclaim=True, memalloc=True):
        """`kind` is the type asked for; `high`, `reclaim`, `memalloc`: what the GFP bits allow."""
        if order >= self.max_order:
            return None
        if self.mobility_off:
            kind = 0
        page = self.attempt(order, kind, 1)
        non_block = not reclaim and memalloc
        rights = {"high": high, "non_block": non_block, "highatomic": non_block and high and order > 0}
        if page is None and self.slow_min:
            page = self.attempt(order, kind, 0, **rights)
        if page is None and self.slow_unreserve:
            self.unreserve(kind)
            self.drain()
            page = self.attempt(order, kind, 0, **rights)
        if page is None and self.slow_no_marks:
            page = self.attempt(order, kind, 0, **rights, no_marks=True)
        return page

    def alloc_pages_exact(self, pages, kind=0, *, to_tail):
        order = (pages - 1).bit_length()
        first = self.alloc_pages(order, kind)
        if first is not None:
            for page in range(first + pages, first + 2**order):
                if to_tail:
                    self.free_block(page, 0, self.type_of(page), to_tail=True)
                else:
                    self.free_pages(page, 0)
        return first

    def free_pages_exact(self, page, pages):
        for one in range(page, page + pages):
            self.free_pages(one, 0)

    def set_marks(self, minimum):
        step = max(minimum // 4, self.managed // 1000)
        self.marks = [minimum + i * step for i in range(4)]
        self.boost = 0
