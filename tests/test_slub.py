"""Object caches: which object, which page, when a page comes and goes. Facts from mm/slub.c without SMP."""

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mcsim.kernels.linux.gfp import GFP_KERNEL, GFP_NOWAIT
from mcsim.kernels.linux.page_alloc import WMARK_HIGH, WMARK_MIN, alloc_pages, free_pages, make_zone, nr_free_pages
from mcsim.kernels.linux.slub import (
    ALLOCATIONS,
    BUDGET,
    EVENT_OBJECT_ALLOC,
    EVENT_OBJECT_FREE,
    EVENT_SLAB_ALLOC,
    EVENT_SLAB_FREE,
    FREES,
    MAPLE_NODE,
    MIN_PARTIAL,
    NR_PARTIAL,
    OBJECTS,
    OBJECTS_PEAK,
    OBJECTS_PER_SLAB,
    PAGE_FAILURES,
    PAGES,
    PAGES_PEAK,
    ROW_FAILURES,
    VM_AREA_STRUCT,
    VM_REGION,
    kmem_cache_alloc,
    kmem_cache_alloc_bulk,
    kmem_cache_free,
    kmem_cache_free_bulk,
    make_slub,
    object_offset,
    object_pfn,
    reset_slub,
)
from mcsim.kernels.probe.invariants import check_slub
from tests.machines import machine, policy
from tests.twin_slub import NoMemoryError, TwinCache


def zone_with(pages):
    """A zone in which exactly `pages` single pages are to be had."""
    zone = make_zone(0, 1024, machine(), policy())
    for pfn in range(pages):
        free_pages(zone, pfn, 0)
    return zone


def alloc(slub, zone, cache=MAPLE_NODE, gfp=GFP_KERNEL):
    return int(kmem_cache_alloc(slub, zone, cache, gfp))


def take(slub, zone, count, cache=MAPLE_NODE):
    return [alloc(slub, zone, cache) for _ in range(count)]


@pytest.fixture
def zone():
    return zone_with(64)


@pytest.fixture
def slub():
    return make_slub(machine(), max_slabs=32, log_events=1000)


def test_an_8_kb_page_holds_32_nodes_120_vmas_and_186_regions(slub):
    assert slub.geometry[:, OBJECTS_PER_SLAB].tolist() == [32, 120, 186]
    assert slub.geometry[:, MIN_PARTIAL].tolist() == [5, 5, 5]


def holding(*sizes, page_size=8192):
    """A machine with objects of these sizes."""
    return machine(page_size=page_size, object_sizes=np.array(sizes, np.int64))


def test_a_4_kb_page_holds_half_as_many(zone):
    slub = make_slub(machine(page_size=4096))
    assert slub.geometry[:, OBJECTS_PER_SLAB].tolist() == [16, 60, 93]
    assert take(slub, zone, 17) == list(range(17))
    assert slub.scalar[MAPLE_NODE, PAGES] == 2


def test_min_partial_grows_with_the_object_and_is_at_most_10():
    assert make_slub(holding(2048, 8192, 1 << 22, page_size=1 << 26)).geometry[:, MIN_PARTIAL].tolist() == [5, 6, 10]


@pytest.mark.parametrize("size", [0, 1296, 2048, 8192, 920])
def test_an_object_that_linux_puts_into_larger_slabs_is_refused(size):
    with pytest.raises(ValueError, match="do not live in single pages"):
        make_slub(holding(size))


def test_a_new_slab_hands_out_its_objects_ascending(slub, zone):
    assert take(slub, zone, 40) == list(range(40))
    assert slub.scalar[MAPLE_NODE, PAGES] == 2


def test_the_object_freed_last_is_handed_out_first(slub, zone):
    objects = take(slub, zone, 10)
    for obj in (objects[3], objects[7], objects[1]):
        kmem_cache_free(slub, zone, MAPLE_NODE, obj)
    assert take(slub, zone, 4) == [objects[1], objects[7], objects[3], 10]


def test_an_object_lies_in_its_slabs_page(slub, zone):
    objects = take(slub, zone, 150, VM_AREA_STRUCT)
    pages = {int(object_pfn(slub, VM_AREA_STRUCT, obj)) for obj in objects}
    assert len(pages) == 2
    assert object_offset(slub, VM_AREA_STRUCT, objects[121]) == 68
    assert all(alloc_pages(zone, GFP_KERNEL, 0) not in pages for _ in range(62))


def test_a_full_slab_joins_the_tail_of_the_partial_list_with_its_first_free(slub, zone):
    objects = take(slub, zone, 3 * 32 + 1)
    kmem_cache_free(slub, zone, MAPLE_NODE, objects[40])  # second slab
    kmem_cache_free(slub, zone, MAPLE_NODE, objects[5])  # first slab, behind it
    take(slub, zone, 31)  # uses up the cpu slab
    assert take(slub, zone, 2) == [objects[40], objects[5]]


def test_the_exhausted_cpu_slab_still_takes_frees_until_the_next_allocation(slub, zone):
    objects = take(slub, zone, 32)
    kmem_cache_free(slub, zone, MAPLE_NODE, objects[9])
    assert slub.scalar[MAPLE_NODE, NR_PARTIAL] == 0
    assert alloc(slub, zone) == objects[9]


def test_a_failed_page_leaves_the_old_slab_dropped(slub):
    zone = zone_with(1)
    objects = take(slub, zone, 33)
    assert objects[32] == -1
    assert slub.scalar[MAPLE_NODE, PAGE_FAILURES] == 1
    kmem_cache_free(slub, zone, MAPLE_NODE, objects[0])
    assert slub.scalar[MAPLE_NODE, NR_PARTIAL] == 1
    assert alloc(slub, zone) == objects[0]
    check_slub(slub)


def test_empty_slabs_stay_while_fewer_than_five_are_partial(slub, zone):
    objects = take(slub, zone, 8 * 32)  # the eighth slab is the cpu slab
    for obj in objects[: 7 * 32]:
        kmem_cache_free(slub, zone, MAPLE_NODE, obj)
    # slabs 1 to 4 stay empty; from the fifth on each goes when its last object comes back
    assert slub.scalar[MAPLE_NODE, NR_PARTIAL] == 4
    assert slub.scalar[MAPLE_NODE, PAGES] == 5
    check_slub(slub)


def test_the_cpu_slab_is_never_given_back(slub, zone):
    objects = take(slub, zone, 7 * 32)
    for obj in objects:
        kmem_cache_free(slub, zone, MAPLE_NODE, obj)
    assert slub.scalar[MAPLE_NODE, PAGES] == 5
    assert alloc(slub, zone) == objects[-1]


def test_bulk_gives_the_objects_that_single_calls_give(slub, zone):
    twin = make_slub(machine(), max_slabs=32)
    twin_zone = zone_with(64)
    out = np.zeros(100, np.int64)
    assert kmem_cache_alloc_bulk(slub, zone, MAPLE_NODE, GFP_KERNEL, 100, out) == 100
    assert out.tolist() == take(twin, twin_zone, 100)


def test_a_failing_bulk_call_keeps_nothing(slub):
    zone = zone_with(2)
    out = np.zeros(100, np.int64)
    assert kmem_cache_alloc_bulk(slub, zone, MAPLE_NODE, GFP_KERNEL, 65, out) == 0
    assert slub.scalar[MAPLE_NODE, OBJECTS] == 0
    check_slub(slub)
    assert kmem_cache_alloc_bulk(slub, zone, MAPLE_NODE, GFP_KERNEL, 64, out) == 64


def test_after_a_bulk_free_the_last_of_the_array_is_handed_out_first(slub, zone):
    out = np.array(take(slub, zone, 10), np.int64)
    kmem_cache_free_bulk(slub, zone, MAPLE_NODE, 10, out)
    assert take(slub, zone, 10) == list(reversed(range(10)))


def test_the_budget_lets_so_many_objects_through(slub, zone):
    slub.scalar[MAPLE_NODE, BUDGET] = 3
    assert take(slub, zone, 5) == [0, 1, 2, -1, -1]
    assert alloc(slub, zone, VM_REGION) == 0, "the budget is one cache's"
    slub.scalar[MAPLE_NODE, BUDGET] = -1
    assert alloc(slub, zone) == 3


def test_too_few_rows_are_reported_and_no_page_is_taken(zone):
    slub = make_slub(machine(), max_slabs=1)
    assert take(slub, zone, 33)[-1] == -1
    assert slub.scalar[MAPLE_NODE, ROW_FAILURES] == 1
    assert slub.scalar[MAPLE_NODE, PAGE_FAILURES] == 0
    assert nr_free_pages(zone) == 63


@pytest.mark.parametrize("gfp", [GFP_KERNEL, GFP_NOWAIT])
def test_a_slab_page_is_not_taken_below_the_marks(gfp):
    zone = zone_with(64)
    zone.scalar[WMARK_MIN : WMARK_HIGH + 1] = 64
    slub = make_slub(machine(), max_slabs=4)
    assert alloc(slub, zone, gfp=gfp) == -1
    assert slub.scalar[MAPLE_NODE, PAGE_FAILURES] == 1
    zone.scalar[WMARK_MIN] = 63  # the second look, at the min mark, finds it
    assert alloc(slub, zone, gfp=gfp) == 0


def test_the_log_names_what_was_taken_and_given_back_in_order(slub, zone):
    obj = alloc(slub, zone, VM_REGION)
    kmem_cache_free(slub, zone, VM_REGION, obj)
    pfn = int(object_pfn(slub, VM_REGION, obj))
    assert slub.log[1 : 1 + slub.log[0, 0]].tolist() == [
        [EVENT_SLAB_ALLOC, VM_REGION, pfn, 0],
        [EVENT_OBJECT_ALLOC, VM_REGION, obj, 0],
        [EVENT_OBJECT_FREE, VM_REGION, obj, 0],
    ]


def test_reset_forgets_everything(slub, zone):
    take(slub, zone, 100)
    slub.scalar[MAPLE_NODE, BUDGET] = 0
    reset_slub(slub)
    check_slub(slub)
    assert take(slub, zone_with(9), 3) == [0, 1, 2]


class AgainstTwin(RuleBasedStateMachine):
    """Random requests: the same objects of the same pages as the twin, page for page."""

    sizes = (1024, 700)  # 8 and 11 objects in a page: slabs fill and empty often

    @initialize(pages=st.integers(3, 40))
    def start(self, pages):
        self.zone = zone_with(pages)
        self.slub = make_slub(holding(*self.sizes), max_slabs=40, log_events=4000)
        self.pages = set(range(pages))
        self.pending = []
        self.caches = [TwinCache(size, 8192, self.take_page, self.give_page) for size in self.sizes]
        self.held = [[], []]  # per cache: (object, slab, index)
        self.row_of = [{}, {}]  # slab of the twin -> page as the kernel names it

    def take_page(self):
        if not self.pages:
            return None
        return self.pages.pop()

    def give_page(self, page):
        self.pages.add(page)

    def hold(self, cache, obj, slab, index):
        objects = self.caches[cache].objects
        pfn = self.row_of[cache].setdefault(id(slab), int(object_pfn(self.slub, cache, obj)))
        assert pfn == object_pfn(self.slub, cache, obj), "an object of another slab"
        assert obj % objects == index
        self.held[cache].append((obj, slab, index))

    def forget_dead_slabs(self, cache):
        alive = {id(slab) for slab in self.caches[cache].slabs}
        self.row_of[cache] = {key: pfn for key, pfn in self.row_of[cache].items() if key in alive}

    @rule(cache=st.integers(0, 1), count=st.integers(1, 30))
    def allocate(self, cache, count):
        for _ in range(count):
            obj = alloc(self.slub, self.zone, cache)
            try:
                slab, index = self.caches[cache].alloc()
            except NoMemoryError:
                assert obj == -1
                return
            assert obj != -1
            self.hold(cache, obj, slab, index)

    @rule(cache=st.integers(0, 1), count=st.integers(1, 40))
    def allocate_bulk(self, cache, count):
        out = np.zeros(40, np.int64)
        got = kmem_cache_alloc_bulk(self.slub, self.zone, cache, GFP_KERNEL, count, out)
        try:
            objects = self.caches[cache].alloc_bulk(count)
        except NoMemoryError:
            assert got == 0
            self.forget_dead_slabs(cache)
            return
        assert got == count
        for obj, (slab, index) in zip(out.tolist(), objects, strict=False):
            self.hold(cache, obj, slab, index)

    @precondition(lambda self: any(self.held))
    @rule(cache=st.integers(0, 1), data=st.data())
    def free(self, cache, data):
        if not self.held[cache]:
            return
        for _ in range(data.draw(st.integers(1, 20))):
            if self.held[cache]:
                position = data.draw(st.integers(0, len(self.held[cache]) - 1))
                obj, slab, index = self.held[cache].pop(position)
                kmem_cache_free(self.slub, self.zone, cache, obj)
                self.caches[cache].free(slab, index)
        self.forget_dead_slabs(cache)

    @precondition(lambda self: any(self.held))
    @rule(cache=st.integers(0, 1), data=st.data())
    def free_bulk(self, cache, data):
        count = data.draw(st.integers(0, len(self.held[cache])))
        order = data.draw(st.randoms(use_true_random=False))
        order.shuffle(self.held[cache])
        chosen, self.held[cache] = self.held[cache][:count], self.held[cache][count:]
        objects = np.array([obj for obj, _, _ in chosen], np.int64)
        kmem_cache_free_bulk(self.slub, self.zone, cache, count, objects)
        self.caches[cache].free_bulk([(slab, index) for _, slab, index in chosen])
        self.forget_dead_slabs(cache)

    @rule(cache=st.integers(0, 1), budget=st.none() | st.integers(0, 20))
    def set_budget(self, cache, budget):
        self.caches[cache].budget = budget
        self.slub.scalar[cache, BUDGET] = -1 if budget is None else budget

    @invariant()
    def the_same(self):
        if not hasattr(self, "slub"):
            return
        check_slub(self.slub)
        assert nr_free_pages(self.zone) == len(self.pages)
        for cache, twin in enumerate(self.caches):
            scalar = self.slub.scalar[cache]
            assert scalar[OBJECTS] == len(self.held[cache]) == twin.in_use
            assert scalar[PAGES] == len(twin.slabs)
            assert scalar[NR_PARTIAL] == len(twin.partial)
            assert scalar[ALLOCATIONS] - scalar[FREES] == scalar[OBJECTS] <= scalar[OBJECTS_PEAK]
            assert scalar[PAGES] <= scalar[PAGES_PEAK]
        events = self.slub.log[1 : 1 + self.slub.log[0, 0], 0].tolist()
        if self.slub.log[0, 0] < self.slub.log.shape[0] - 1:
            pages = sum(len(twin.slabs) for twin in self.caches)
            assert events.count(EVENT_SLAB_ALLOC) - events.count(EVENT_SLAB_FREE) == pages


AgainstTwin.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestAgainstTwin = AgainstTwin.TestCase
