"""Mappings without an MMU: what each call takes and gives back, in order, under every kernel.

A sequence of events is written in words: +R -R a region object, +V -V a VMA object, +M -M a maple node,
+P113/7 pages of a mapping (113 kept of a block of order 7), -P113 pages given back, and !R !V !M !P for
what was asked for and not got. "4+M" stands for four of them.
"""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mcsim.kernels.linux import machine as facts
from tests.machines import machine, policy
from tests.plain_kernels import plain_kernels
from tests.twin_nommu import RefusedError, TwinNommu

plain = plain_kernels(
    "linux.page_alloc",
    "linux.slub",
    "linux.maple_tree",
    "linux.nommu",
    "linux.binfmt_flat",
    "probe.invariants",
)
nommu_c, slub_c, maple_c, page_c = plain.nommu, plain.slub, plain.maple_tree, plain.page_alloc
ENOMEM, EINVAL = -12, -22
NO_FILE = nommu_c.NO_FILE
PAGE = 8192
BASE = 0x40000000
IMAGE = (818816, 768, 10904, 8192, 24805)  # text, data, bss, stack, relocations of the measured busybox
M, V, R = slub_c.MAPLE_NODE, slub_c.VM_AREA_STRUCT, slub_c.VM_REGION

NAMES = ("pre-maple", "maple-naive", "tail-free", "prealloc-early", "mail-both", "linux-6.1.y", "linux-6.6")
VARIANTS = {name: policy(name) for name in NAMES}
NAIVE, PREALLOC_EARLY = VARIANTS["maple-naive"], VARIANTS["prealloc-early"]
LINUX_6_1, LINUX_6_6 = VARIANTS["linux-6.1.y"], VARIANTS["linux-6.6"]


class Machine:
    """One zone with everything on it, and the calls under one policy."""

    def __init__(self, policy, pages=2048, mms=4):
        self.policy = policy
        board = machine()
        self.zone = page_c.make_zone(0, pages, board, policy)
        page_c.free_pages_exact(self.zone, 0, pages)
        self.slub = slub_c.make_slub(board, max_slabs=16, log_events=4000)
        self.maple = maple_c.make_maple(board.pointer_bits, nodes=16 * 32, trees=mms)
        self.nommu = nommu_c.make_nommu(self.slub, mms)
        self.memory = nommu_c.Memory(self.zone, self.slub, self.maple, self.nommu)
        for mm in range(mms):
            self.call(nommu_c.mm_init, mm)

    def call(self, function, *arguments):
        result = function(self.memory, *arguments)
        return None if result is None else int(result)

    def mmap(self, pages, mm=0, file=NO_FILE, pgoff=0):
        flags = 0 if file == NO_FILE else nommu_c.VM_MAYSHARE
        return self.call(nommu_c.do_mmap, mm, pages * PAGE, file, flags, pgoff)

    def munmap(self, address, pages, mm=0):
        return self.call(nommu_c.do_munmap, mm, address, pages * PAGE)

    def exit(self, mm=0):
        return self.call(nommu_c.exit_mmap, mm)

    def grace_period(self):
        maple_c.rcu_do_batch(self.maple, self.slub, self.zone, self.maple.scalar[maple_c.RCU_PENDING])

    def vmas(self, mm=0):
        rows, vma = [], int(self.nommu.mm[mm, nommu_c.MM_MMAP])
        while vma != -1:
            rows.append(vma)
            vma = int(self.nommu.vma[vma, nommu_c.VMA_NEXT])
        return rows

    def tree(self, mm=0):
        """(first, last, VMA) of every range in the tree."""
        ranges, index = [], 0
        maple_c.mas_init(self.maple, 1, mm, 0, 0)
        while entry := int(maple_c.mas_find(self.maple, 1, 2**32 - 1)):
            state = self.maple.state[1]
            ranges.append((int(state[maple_c.INDEX]), int(state[maple_c.LAST]), entry - 1))
            index += 1
        return ranges

    def held(self):
        """Objects out of the caches: nodes, VMAs, regions."""
        return tuple(self.slub.scalar[:, slub_c.OBJECTS].tolist())

    def free_pages(self):
        """Free pages, those of slabs counted as free."""
        return int(page_c.nr_free_pages(self.zone) + self.slub.scalar[:, slub_c.PAGES].sum())

    def budget(self, cache, objects):
        self.slub.scalar[cache, slub_c.BUDGET] = objects

    def have_slab_pages(self):
        """Pages for 96 objects of each cache, so that only mappings can go without."""
        for cache in (M, V, R):
            objects = [slub_c.kmem_cache_alloc(self.slub, self.zone, cache, 0xCC0) for _ in range(96)]
            for obj in objects:
                slub_c.kmem_cache_free(self.slub, self.zone, cache, obj)

    def leave_no_block_of_order(self, order):
        while page_c.largest_free_order(self.zone) >= order:
            assert page_c.alloc_pages(self.zone, 0xCC0, page_c.largest_free_order(self.zone)) >= 0
        # some single pages must be left for slabs
        page_c.free_pages(self.zone, 0, order - 1)

    def failure(self):
        return tuple(self.nommu.scalar[nommu_c.FAILURES : nommu_c.BUGS + 1].tolist())

    def forget_events(self):
        self.slub.log[0, 0] = 0

    def events(self):
        names = {M: "M", V: "V", R: "R"}
        words = []
        for event, subject, _, number in self.slub.log[1 : 1 + self.slub.log[0, 0]].tolist():
            if event == slub_c.EVENT_OBJECT_ALLOC:
                words.append("+" + names[subject])
            elif event == slub_c.EVENT_OBJECT_FREE:
                words.append("-" + names[subject])
            elif event == slub_c.EVENT_OBJECT_FAIL:
                words.append("!" + names[subject])
            elif event == nommu_c.EVENT_PAGES_ALLOC:
                words.append(f"+P{number}/{subject}")
            elif event == nommu_c.EVENT_PAGES_FREE:
                words.append(f"-P{number}")
            elif event == nommu_c.EVENT_PAGES_FAIL:
                words.append(f"!P{number}/{subject}")
        short = []
        for word in words:
            if short and short[-1][1] == word:
                short[-1][0] += 1
            else:
                short.append([1, word])
        return " ".join(word if count == 1 else f"{count}{word}" for count, word in short)


def steps(machine, function):
    """The events of one call, and its result."""
    machine.forget_events()
    result = function()
    return machine.events(), result


def each(table):
    return pytest.mark.parametrize(("variant", "expected"), table.items())


# The calls that succeed


@each(
    {
        "pre-maple": "+R +V +P113/7",
        "maple-naive": "+R +V +P113/7 +M",
        "tail-free": "+R +V +P113/7 +M",
        "prealloc-early": "+M +R +V +P113/7",
        "mail-both": "+M +R +V +P113/7",
        "linux-6.1.y": "+R +V +M +P113/7",
        "linux-6.6": "+R +V +P113/7 +M",
    }
)
def test_the_first_mapping_of_an_mm(variant, expected):
    machine = Machine(VARIANTS[variant])
    assert steps(machine, lambda: machine.mmap(113))[0] == expected


@each(
    {
        "pre-maple": "+R +V +P2/1",
        "maple-naive": "+R +V +P2/1",
        "prealloc-early": "4+M +R +V +P2/1 4-M",
        "linux-6.1.y": "+R +V 4+M +P2/1 3-M",  # in RCU mode one node replaces the old one
        "linux-6.6": "+R +V +P2/1 +M",
    }
)
def test_the_second_mapping_of_an_mm(variant, expected):
    machine = Machine(VARIANTS[variant])
    machine.mmap(113)
    assert steps(machine, lambda: machine.mmap(2))[0] == expected


@each(
    {
        "pre-maple": "-P113 -R -V",
        "maple-naive": "-P113 -R -V",
        "prealloc-early": "4+M 4-M -P113 -R -V",
        "linux-6.1.y": "4+M 3-M -P113 -R -V",
        "linux-6.6": "+M -P113 -R -V",
    }
)
def test_unmapping_one_of_two(variant, expected):
    machine = Machine(VARIANTS[variant])
    image = machine.mmap(113)
    machine.mmap(2)
    machine.grace_period()
    assert steps(machine, lambda: machine.munmap(image, 113)) == (expected, 0)
    assert len(machine.vmas()) == 1


@each(
    {
        "pre-maple": "-P113 -R -V",
        "maple-naive": "-M -P113 -R -V",
        "prealloc-early": "4+M 5-M -P113 -R -V",
        "linux-6.1.y": "4+M 4-M -P113 -R -V",
        "linux-6.6": "-P113 -R -V",  # an exact fit needs no node
    }
)
def test_unmapping_the_last_mapping_empties_the_tree(variant, expected):
    machine = Machine(VARIANTS[variant])
    image = machine.mmap(113)
    assert steps(machine, lambda: machine.munmap(image, 113)) == (expected, 0)
    machine.grace_period()
    assert machine.held() == (0, 0, 0)


@each(
    {
        "pre-maple": "-P2 -R -V -P113 -R -V",
        "maple-naive": "-P2 -R -V -M -P113 -R -V",
        "prealloc-early": "-P2 -R -V -P113 -R -V -M",
        "linux-6.1.y": "-P2 -R -V -P113 -R -V",  # the node goes with an RCU callback
        "linux-6.6": "-P2 -R -V -P113 -R -V",
    }
)
def test_exit_goes_ascending_and_then_destroys_the_tree(variant, expected):
    machine = Machine(VARIANTS[variant])
    machine.mmap(2)
    machine.mmap(113)
    machine.grace_period()
    assert steps(machine, machine.exit) == (expected, 0)
    assert machine.nommu.mm[0].tolist() == [-1, 0, 0]
    machine.grace_period()
    assert machine.held() == (0, 0, 0)
    assert machine.free_pages() == 2048


@each(
    {
        "pre-maple": "+R +V -P3",
        "maple-naive": "+R +V -M +M -P3",  # the NULL over the only range empties the tree
        "prealloc-early": "+R +V 4+M 4-M 4+M 4-M 4+M 4-M -P3",
        # the first store of the split replaces the node, the second only a pointer
        "linux-6.1.y": "+R +V 4+M 3-M 4+M 3-M 4+M 3-M -P3",
    }
)
def test_unmapping_the_middle_splits_then_shrinks_the_upper_part(variant, expected):
    machine = Machine(VARIANTS[variant])
    start = machine.mmap(16)
    machine.grace_period()
    words, result = steps(machine, lambda: machine.munmap(start + 4 * PAGE, 3))
    assert result == 0
    assert words == expected
    spans = [machine.nommu.vma[vma, :2].tolist() for vma in machine.vmas()]
    assert spans == [[start, start + 4 * PAGE], [start + 7 * PAGE, start + 16 * PAGE]]


def test_6_6_stores_the_new_part_and_one_null():
    machine = Machine(LINUX_6_6)
    start = machine.mmap(16)
    machine.grace_period()
    words, result = steps(machine, lambda: machine.munmap(start + 4 * PAGE, 3))
    assert result == 0
    # region, VMA, one node for the new part's store; one node for the NULL; the pages
    assert words == "+R +V 2+M -P3"
    assert [entry[2] for entry in machine.tree()] == machine.vmas()


@each(
    {
        "pre-maple": "-P3",
        "maple-naive": "-M +M -P3",  # the tree is empty between the two stores
        "prealloc-early": "4+M 5-M +M -P3",
        "linux-6.1.y": "4+M 4-M +M -P3",
        "linux-6.6": "-P3",  # moving a border between two neighbours needs no node, even in RCU mode
    }
)
@pytest.mark.parametrize("end", ["head", "tail"])
def test_cutting_an_end_shrinks(variant, expected, end):
    machine = Machine(VARIANTS[variant])
    start = machine.mmap(16)
    machine.grace_period()
    cut = start if end == "head" else start + 13 * PAGE
    words, result = steps(machine, lambda: machine.munmap(cut, 3))
    assert result == 0
    assert words == expected
    (vma,) = machine.vmas()
    assert machine.nommu.vma[vma, 0] == (start + 3 * PAGE if end == "head" else start)
    assert machine.nommu.vma[vma, 1] - machine.nommu.vma[vma, 0] == 13 * PAGE


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_measured_image_is_one_mapping_of_113_pages_of_order_7(variant):
    machine = Machine(VARIANTS[variant])
    words, address = steps(
        machine,
        lambda: machine.call(plain.binfmt_flat.load_flat_file, 0, *IMAGE, plain.binfmt_flat.FLAT_FLAG_GZIP, 3),
    )
    assert "+P113/7" in words
    assert words.count("P") == 1
    assert address == BASE + machine.nommu.region[0, 0] - BASE
    assert machine.nommu.mm[0, nommu_c.MM_TOTAL_VM] == 113


def test_an_image_run_in_place_shares_its_text_with_the_next_process():
    machine = Machine(LINUX_6_1)
    load = plain.binfmt_flat.load_flat_file
    first = machine.call(load, 0, *IMAGE, 0, 3)
    assert first == machine.call(load, 1, *IMAGE, 0, 3)
    assert machine.held()[1:] == (4, 3)
    assert machine.exit(0) == 0
    assert machine.mmap(100, mm=2, file=3) == first
    for mm in (1, 2):
        machine.exit(mm)
    assert machine.free_pages() == 2048


def test_an_image_without_room_for_its_data_leaves_no_text_behind():
    machine = Machine(LINUX_6_1, pages=1024)
    machine.leave_no_block_of_order(4)
    words, result = steps(
        machine, lambda: machine.call(plain.binfmt_flat.load_flat_file, 0, 4 * PAGE, 20 * PAGE, 0, 0, 0, 0, 3)
    )
    assert result == ENOMEM
    assert "+P4/2" in words
    assert words.endswith("-P4 -R -V")
    assert machine.vmas() == []


@pytest.mark.parametrize(("trim", "kept"), [(0, 8), (1, 5), (3, 5), (4, 8)])
def test_the_surplus_is_trimmed_if_it_reaches_trim_pages(trim, kept):
    machine = Machine(LINUX_6_1._replace(trim_pages=trim))
    words, start = steps(machine, lambda: machine.mmap(5))
    assert f"+P{kept}/3" in words
    assert machine.free_pages() == 2048 - kept
    words, result = steps(machine, lambda: machine.munmap(start + 4 * PAGE, 1))
    assert result == 0
    assert words.endswith(f"-P{kept - 4}"), "what lies behind the end goes with a cut tail"
    machine.exit()
    assert machine.free_pages() == 2048


@pytest.mark.parametrize(("variant", "from_leftovers"), [("maple-naive", True), ("tail-free", False)])
def test_the_node_after_the_pages_takes_a_leftover_page_only_when_freed_to_the_head(variant, from_leftovers):
    machine = Machine(VARIANTS[variant])
    page_c.alloc_pages(machine.zone, 0xCC0, 0)  # with the slab pages of region and VMA: one single page stays free
    start = nommu_c.address_to_pfn(machine.memory, machine.mmap(113))
    page = slub_c.object_pfn(machine.slub, M, 0)
    assert (start + 113 <= page < start + 128) == from_leftovers


def test_nodes_before_the_pages_take_no_leftover_page():
    machine = Machine(PREALLOC_EARLY)
    start = nommu_c.address_to_pfn(machine.memory, machine.mmap(113))
    assert slub_c.object_pfn(machine.slub, M, 0) < start


@each(
    {
        "pre-maple": "+R +V -R",
        "maple-naive": "+R +V -R +M",
        "prealloc-early": "+M +R +V -R",
        "linux-6.1.y": "+R +V +M -R",
        "linux-6.6": "+R +V -R +M",
    }
)
def test_a_sharing_mapping_gives_its_region_back_before_the_store(variant, expected):
    machine = Machine(VARIANTS[variant])
    address = machine.mmap(10, mm=0, file=7)
    assert steps(machine, lambda: machine.mmap(4, mm=1, file=7, pgoff=3)) == (expected, address + 3 * PAGE)
    words, _ = steps(machine, lambda: machine.exit(0))
    assert "P" not in words, "the pages have another user"
    machine.exit(1)
    assert machine.free_pages() == 2048


# The calls that are refused


@each(
    {
        "pre-maple": "+R +V -R -V",
        "maple-naive": "+R +V -R -V",
        "prealloc-early": "+M +R +V -M -R -V",
        "linux-6.1.y": "+R +V +M -M -R -V",
        "linux-6.6": "+R +V -R -V",
    }
)
def test_a_partial_overlap_with_a_region_of_the_file_is_einval_and_gives_all_back(variant, expected):
    machine = Machine(VARIANTS[variant])
    machine.mmap(10, mm=0, file=7)
    assert steps(machine, lambda: machine.mmap(10, mm=1, file=7, pgoff=3)) == (expected, EINVAL)
    assert machine.failure()[0] == 0, "no step went without what it asked for"


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_munmap_refuses_has_no_effect(variant):
    machine = Machine(VARIANTS[variant])
    start = machine.mmap(8)
    text = machine.mmap(4, file=1)
    machine.forget_events()
    assert machine.munmap(BASE + 2000 * PAGE, 1) == EINVAL, "nothing there"
    assert machine.munmap(start, 0) == EINVAL
    assert machine.munmap(start, 9) == EINVAL, "behind its end"
    assert machine.munmap(start - PAGE if start > BASE else start + 7 * PAGE, 2) == EINVAL
    assert machine.munmap(start + 100, 2) == EINVAL, "not at a page"
    assert machine.munmap(text + PAGE, 1) == EINVAL, "a file's mapping goes whole"
    assert machine.munmap(text, 3) == EINVAL
    split = machine.call(nommu_c.split_vma, 0, machine.vmas()[-1 if text > start else 0], text + PAGE, 1)
    assert split == ENOMEM
    assert machine.mmap(0) == EINVAL
    assert machine.events() == ""


# The calls that fail


def fail(policy, cache=None, budget=0, before=0, call=None):
    """One failing mmap of 113 pages after `before` mappings; events, result, objects lost, failure record."""
    machine = Machine(policy)
    for _ in range(before):
        machine.mmap(1)
    machine.grace_period()
    if cache is None:
        machine.leave_no_block_of_order(7)
    else:
        machine.budget(cache, budget)
    held = machine.held()
    free = machine.free_pages()
    words, result = steps(machine, lambda: (call or machine.mmap)(113))
    lost = tuple(after - was for after, was in zip(machine.held(), held, strict=True))
    return words, result, lost, free - machine.free_pages(), machine.failure()


NOTHING = (0, 0, 0)
MAPPING = (1, nommu_c.FAILED_MAPPING, 7, 113, -1, 0)


@pytest.mark.parametrize(
    ("variant", "errors", "before", "events", "lost"),
    [
        ("pre-maple", 0, 0, "+R +V !P113/7 -R -V", NOTHING),
        ("maple-naive", 0, 0, "+R +V !P113/7 -R -V", NOTHING),
        ("prealloc-early", 0, 0, "+M +R +V !P113/7 -R -V", (1, 0, 0)),
        ("mail-both", 0, 1, "4+M +R +V !P113/7 -R -V", (4, 0, 0)),
        ("mail-both", 3, 1, "4+M +R +V !P113/7 4-M -R -V", NOTHING),
        ("linux-6.1.y", 1, 1, "+R +V 4+M !P113/7 -R -V", (4, 0, 0)),
        ("linux-6.1.y", 2, 1, "+R +V 4+M !P113/7 -R -V", (4, 0, 0)),
        ("linux-6.1.y", 3, 1, "+R +V 4+M !P113/7 4-M -R -V", NOTHING),
        ("linux-6.6", 3, 1, "+R +V !P113/7 -R -V", NOTHING),
    ],
)
def test_mmap_without_pages(variant, errors, before, events, lost):
    policy = VARIANTS[variant]._replace(error_paths=errors)
    assert fail(policy, before=before) == (events, ENOMEM, lost, 0, MAPPING)


@each(
    {
        "pre-maple": "!R",
        "maple-naive": "!R",
        "prealloc-early": "+M !R -M",
        "linux-6.1.y": "!R",
        "linux-6.6": "!R",
    }
)
def test_mmap_without_a_region(variant, expected):
    record = (1, nommu_c.FAILED_SLAB_PAGE, 0, 1, R, 0)
    assert fail(VARIANTS[variant], R) == (expected, ENOMEM, NOTHING, 0, record)


@each(
    {
        "pre-maple": "+R !V -R",
        "maple-naive": "+R !V -R",
        "prealloc-early": "+M +R !V -M -R",
        "linux-6.1.y": "+R !V -R",
        "linux-6.6": "+R !V -R",
    }
)
def test_mmap_without_a_vma(variant, expected):
    record = (1, nommu_c.FAILED_SLAB_PAGE, 0, 1, V, 0)
    assert fail(VARIANTS[variant], V) == (expected, ENOMEM, NOTHING, 0, record)


@each(
    {
        "prealloc-early": "!M",
        "linux-6.1.y": "+R +V !M -R -V",
        "linux-6.6": "+R +V +P113/7 !M -P113 -R -V",
    }
)
def test_mmap_without_nodes_to_preallocate(variant, expected):
    record = (1, nommu_c.FAILED_NODE, 0, 1, M, 0)
    assert fail(VARIANTS[variant], M) == (expected, ENOMEM, NOTHING, 0, record)


@pytest.mark.parametrize(("budget", "nodes"), [(1, "+M !M -M"), (2, "2+M !M 2-M"), (3, "3+M !M 3-M")])
def test_nodes_of_a_preallocation_that_falls_short_go_back(budget, nodes):
    words, result, lost, pages, _ = fail(LINUX_6_1, M, budget, before=1)
    assert words == f"+R +V {nodes} -R -V"
    assert (result, lost, pages) == (ENOMEM, NOTHING, 0)


@pytest.mark.parametrize("variant", ["maple-naive", "tail-free"])
def test_a_store_without_preallocation_and_without_a_node_stops_the_kernel(variant):
    record = (1, nommu_c.FAILED_NODE, 0, 1, M, 1)
    assert fail(VARIANTS[variant], M) == ("+R +V +P113/7 !M", ENOMEM, (0, 1, 1), 113, record)


def test_a_slab_page_that_is_not_to_be_had_is_told_apart_from_a_mapping():
    machine = Machine(LINUX_6_1, pages=1024)
    while page_c.alloc_pages(machine.zone, 0xCC0, 0) >= 0:
        pass
    assert machine.mmap(1) == ENOMEM
    assert machine.failure() == (1, nommu_c.FAILED_SLAB_PAGE, 0, 1, R, 0)
    assert machine.slub.scalar[R, slub_c.PAGE_FAILURES] == 1


def test_only_the_first_failure_is_described_and_all_are_counted():
    machine = Machine(LINUX_6_1)
    machine.leave_no_block_of_order(7)
    assert machine.mmap(113) == machine.mmap(200) == ENOMEM
    assert machine.failure() == (2, nommu_c.FAILED_MAPPING, 7, 113, -1, 0)
    nommu_c.reset_nommu(machine.nommu)
    assert machine.failure() == (0, 0, 0, 0, -1, 0)


@pytest.mark.parametrize("errors", range(4))
@pytest.mark.parametrize("variant", ["mail-both", "linux-6.1.y"])
def test_munmap_without_nodes_keeps_the_vma_only_when_fixed(variant, errors):
    machine = Machine(VARIANTS[variant]._replace(error_paths=errors))
    start = machine.mmap(113)
    (vma,) = machine.vmas()
    machine.budget(M, 0)
    words, result = steps(machine, lambda: machine.munmap(start, 113))
    assert result == ENOMEM
    if errors == facts.ERROR_PATHS_FIXED:
        assert (words, machine.vmas()) == ("!M", [vma])
    else:
        assert (words, machine.vmas()) == ("!M -P113 -R -V", [])
    assert machine.tree() == [(start, start + 113 * PAGE - 1, vma)], "the tree still names it"
    machine.budget(M, -1)
    machine.exit()
    machine.grace_period()
    assert machine.held() == NOTHING
    assert machine.free_pages() == 2048


@pytest.mark.parametrize(
    ("variant", "errors", "cache", "events", "lost"),
    [
        ("pre-maple", 0, R, "!R", NOTHING),
        ("pre-maple", 0, V, "+R !V -R", NOTHING),
        ("linux-6.1.y", 3, R, "!R", NOTHING),
        ("linux-6.1.y", 3, V, "+R !V -R", NOTHING),
        ("linux-6.1.y", 3, M, "+R +V !M -V -R", NOTHING),
        ("linux-6.6", 3, M, "+R +V !M -V -R", NOTHING),
        ("linux-6.1.y", 1, R, "4+M !R", (4, 0, 0)),
        ("linux-6.1.y", 1, V, "4+M +R !V -R", (4, 0, 0)),
        ("mail-both", 0, M, "+R +V !M", (0, 1, 1)),
    ],
)
def test_a_failing_split(variant, errors, cache, events, lost):
    machine = Machine(VARIANTS[variant]._replace(error_paths=errors))
    start = machine.mmap(16)
    machine.grace_period()
    held, tree = machine.held(), machine.tree()
    machine.budget(cache, 0)
    assert steps(machine, lambda: machine.munmap(start + 4 * PAGE, 3)) == (events, ENOMEM)
    assert tuple(now - was for now, was in zip(machine.held(), held, strict=True)) == lost
    assert machine.tree() == tree
    (vma,) = machine.vmas()
    kept = 12 if errors == facts.ERROR_PATHS_AS_MAILED and cache == M else 16
    assert machine.nommu.vma[vma, 1] - machine.nommu.vma[vma, 0] == kept * PAGE


def test_a_split_before_the_mail_stops_the_kernel_when_a_store_needs_a_node():
    machine = Machine(NAIVE)
    start = machine.mmap(16)
    machine.budget(M, 0)  # the NULL empties the tree, the next store needs a node
    assert machine.munmap(start + 4 * PAGE, 3) == ENOMEM
    assert machine.failure() == (1, nommu_c.FAILED_NODE, 0, 1, M, 1)


@pytest.mark.parametrize(("budget", "vmas"), [(0, 1), (4, 0)])
def test_a_shrink_that_gets_nodes_for_the_first_store_only_loses_the_vma(budget, vmas):
    machine = Machine(LINUX_6_1)
    start = machine.mmap(16)
    machine.grace_period()
    machine.budget(M, budget)
    assert machine.munmap(start, 3) == ENOMEM
    assert len(machine.vmas()) == len(machine.tree()) == vmas
    assert machine.held()[1:] == (1, 1)
    assert machine.free_pages() == 2048 - 16


@pytest.mark.parametrize("new_below", [0, 1])
@pytest.mark.parametrize("variant", VARIANTS)
def test_both_parts_of_a_split_are_in_list_and_tree(variant, new_below):
    machine = Machine(VARIANTS[variant]._replace(trim_pages=0))
    start = machine.mmap(13)
    (old,) = machine.vmas()
    assert machine.call(nommu_c.split_vma, 0, old, start + 5 * PAGE, new_below) == 0
    assert machine.vmas().index(old) == new_below
    plain.invariants.check_nommu(machine.memory)
    if variant != "pre-maple":
        middle, end = start + 5 * PAGE, start + 13 * PAGE
        lower, upper = machine.vmas()
        assert machine.tree() == [(start, middle - 1, lower), (middle, end - 1, upper)]
    assert machine.free_pages() == 2048 - 16
    machine.exit()
    machine.grace_period()
    assert machine.held() == NOTHING
    assert machine.free_pages() == 2048


# Random calls


class AgainstTwin(RuleBasedStateMachine):
    """Random mmap, munmap, split, exit under any kernel: VMAs, regions, pages, tree as the twin says."""

    @initialize(variant=st.sampled_from(sorted(VARIANTS)), trim=st.sampled_from([0, 1, 5]))
    def start(self, variant, trim):
        self.machine = Machine(VARIANTS[variant]._replace(trim_pages=trim), pages=1024, mms=3)
        self.twin = TwinNommu(range(1024), trim)
        self.twin.spaces = {mm: [] for mm in range(3)}
        self.machine.have_slab_pages()
        self.lost_nodes = 0  # as mailed, a failing big allocation loses the nodes

    def page(self, address):
        return (address - BASE) // PAGE

    @rule(mm=st.integers(0, 2), pages=st.integers(1, 20) | st.integers(1, 300))
    def mmap(self, mm, pages):
        self.map_file(mm, pages, None, 0)

    @rule(mm=st.integers(0, 2), pages=st.integers(1, 12), file=st.integers(0, 1), pgoff=st.integers(0, 4))
    def mmap_file(self, mm, pages, file, pgoff):
        if not any(vma.region.file == file for vma in self.twin.spaces[mm]):
            self.map_file(mm, pages, file, pgoff)

    def map_file(self, mm, pages, file, pgoff):
        nodes = 1 + 3 * int(self.machine.maple.tree[mm, maple_c.HEIGHT])
        self.machine.forget_events()
        result = self.machine.mmap(pages, mm, NO_FILE if file is None else file, pgoff)
        if result == EINVAL:
            with pytest.raises(RefusedError):
                self.twin.shared_region(file, pgoff, pages)
        elif result == ENOMEM:
            busy = {int(row[0]) for cache in range(3) for row in self.machine.slub.slab[cache] if row[0] >= 0}
            assert not self.twin.could_get(pages, busy)
            assert "!P" in self.machine.events()
            if self.machine.policy.mmap_prealloc == facts.MMAP_PREALLOC_MAILED:
                self.lost_nodes += nodes
        else:
            self.twin.mmap(mm, pages, self.page(result), file, pgoff)

    @precondition(lambda self: any(self.twin.spaces.values()))
    @rule(data=st.data())
    def munmap(self, data):
        mm = data.draw(st.sampled_from([mm for mm, space in self.twin.spaces.items() if space]))
        vma = data.draw(st.sampled_from(self.twin.spaces[mm]))
        first = data.draw(st.integers(max(0, vma.first - 1), vma.last))
        last = data.draw(st.integers(first + 1, vma.last + 1))
        if data.draw(st.booleans()):
            first, last = vma.first, vma.last
        result = self.machine.munmap(BASE + first * PAGE, last - first, mm)
        if result == 0:
            self.twin.munmap(mm, first, last)
        else:
            assert result == EINVAL
            with pytest.raises(RefusedError):
                self.twin.munmap(mm, first, last)

    @precondition(lambda self: any(self.twin.spaces.values()))
    @rule(data=st.data())
    def split(self, data):
        mm = data.draw(st.sampled_from([mm for mm, space in self.twin.spaces.items() if space]))
        position = data.draw(st.integers(0, len(self.twin.spaces[mm]) - 1))
        vma = self.twin.spaces[mm][position]
        if vma.last - vma.first < 2:
            return
        at = data.draw(st.integers(vma.first + 1, vma.last - 1))
        new_below = data.draw(st.integers(0, 1))
        row = self.machine.vmas(mm)[position]
        result = self.machine.call(nommu_c.split_vma, mm, row, BASE + at * PAGE, new_below)
        if vma.region.file is not None:
            assert result == ENOMEM
        else:
            assert result == 0
            self.twin.split(mm, vma, at)

    @rule(mm=st.integers(0, 2))
    def exit(self, mm):
        assert self.machine.exit(mm) == 0
        self.machine.call(nommu_c.mm_init, mm)
        self.twin.exit(mm)

    @rule()
    def grace_period(self):
        self.machine.grace_period()

    @invariant()
    def the_same(self):
        if not hasattr(self, "machine"):
            return
        machine, twin = self.machine, self.twin
        plain.invariants.check_nommu(machine.memory)
        plain.invariants.check_slub(machine.slub)
        assert machine.nommu.scalar[nommu_c.BUGS] == 0
        assert machine.free_pages() == len(twin.free)
        assert machine.held()[1:] == (sum(map(len, twin.spaces.values())), len(twin.regions()))
        for mm, space in twin.spaces.items():
            rows = machine.vmas(mm)
            spans = [tuple(self.page(x) for x in machine.nommu.vma[vma, :2]) for vma in rows]
            assert spans == [(vma.first, vma.last) for vma in space]
            for row, vma in zip(rows, space, strict=True):
                region = machine.nommu.region[machine.nommu.vma[row, nommu_c.VMA_REGION]]
                first, end, top = (self.page(int(x)) for x in region[:3])
                assert (first, end - first, top - first) == (
                    vma.region.first,
                    vma.region.pages,
                    vma.region.held,
                )
            if machine.policy.vma_index == facts.VMA_INDEX_MAPLE:
                inclusive = [
                    (BASE + vma.first * PAGE, BASE + vma.last * PAGE - 1, row)
                    for row, vma in zip(rows, space, strict=True)
                ]
                assert machine.tree(mm) == inclusive

    def teardown(self):
        if not hasattr(self, "machine"):
            return
        for mm in range(3):
            assert self.machine.exit(mm) == 0
        self.machine.grace_period()
        assert self.machine.held() == (self.lost_nodes, 0, 0), "something is lost"
        assert self.machine.free_pages() == 1024


AgainstTwin.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestAgainstTwin = AgainstTwin.TestCase
