"""The maple tree against a plain twin, and its own claims."""

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from plain_kernels import plain_kernels
from twin_maple_tree import FEWEST, HIGHEST, SLOTS, TwinTree, count_nodes, ranges_of

from mcsim.kernels.linux.machine import PREALLOC_TOPUP_ALLOWED, PREALLOC_TOPUP_FORBIDDEN
from tests.machines import machine as machine_with
from tests.machines import policy

GFP_KERNEL = 0xCC0
ENOMEM = 12

PLAIN = plain_kernels("linux.maple_tree", "linux.slub", "linux.page_alloc", "linux.memblock", "probe.invariants")
tree_code, slub_code = PLAIN.maple_tree, PLAIN.slub


class Machine:
    """Trees of one layout with a cache and a zone, in plain Python."""

    def __init__(self, layout=32, rcu=0, topup=PREALLOC_TOPUP_FORBIDDEN):
        self.layout = layout
        facts = machine_with(pointer_bits=layout, reserved=np.zeros((0, 2), np.int64))
        self.maple = tree_code.make_maple(facts.pointer_bits, 512, 2, 2)
        self.slub = slub_code.make_slub(facts, max_slabs=16)
        self.zone = PLAIN.page_alloc.make_zone(0, 1024, facts, policy(prealloc_topup=topup))
        PLAIN.memblock.memblock_free_all(self.zone)
        tree_code.mt_init(self.maple, 0, rcu)
        tree_code.mas_init(self.maple, 0, 0, 0, 0)

    @property
    def parts(self):
        return self.maple, self.slub, self.zone

    @property
    def objects(self):
        return int(self.slub.scalar[slub_code.MAPLE_NODE, slub_code.OBJECTS])

    @property
    def held(self):
        return int(self.maple.state[0, tree_code.ALLOCATED])

    @property
    def height(self):
        return int(self.maple.tree[0, tree_code.HEIGHT])

    def set_budget(self, budget):
        self.slub.scalar[slub_code.MAPLE_NODE, slub_code.BUDGET] = budget

    def preallocate(self):
        tree_code.mas_init(self.maple, 0, 0, 0, 0)
        return tree_code.mas_preallocate(*self.parts, 0, GFP_KERNEL)

    def preallocate_range(self, first, last, value):
        tree_code.mas_init(self.maple, 0, 0, first, last)
        return tree_code.mas_preallocate_range(*self.parts, 0, value, GFP_KERNEL)

    def store_prealloc(self, first, last, value):
        tree_code.mas_set_range(self.maple, 0, first, last)
        return tree_code.mas_store_prealloc(*self.parts, 0, value)

    def store(self, first, last, value):
        tree_code.mas_init(self.maple, 0, 0, first, last)
        return tree_code.mas_store_gfp(*self.parts, 0, value, GFP_KERNEL)

    def pending_nodes(self):
        """Nodes that queued callbacks will give back."""
        scalar, ring = self.maple.scalar, self.maple.callback
        total = 0
        for number in range(scalar[tree_code.RCU_PENDING]):
            kind, node = ring[(scalar[tree_code.RCU_HEAD] + number) % len(ring)].tolist()
            total += 1 if kind == tree_code.CALLBACK_NODE else count_nodes(self.maple, node)
        return total


INDICES = st.one_of(st.integers(0, 150), st.integers(0, 40).map(lambda page: page * 8192))
RANGES = st.tuples(INDICES, INDICES).map(lambda pair: (min(pair), max(pair)))
VALUES = st.integers(0, 9)


class MapleAgainstTwin(RuleBasedStateMachine):
    """Any order of stores and erases: the twin's ranges, a sound tree, no node lost."""

    @initialize(layout=st.sampled_from((32, 64)), rcu=st.booleans(), fill=st.integers(0, 120))
    def start(self, layout, rcu, fill):
        self.machine = Machine(layout, int(rcu))
        self.twin = TwinTree()
        for number in range(fill):
            self.machine.store(number * 1000, number * 1000 + 499, number + 1)
            self.twin.store(number * 1000, number * 1000 + 499, number + 1)

    @rule(where=RANGES, value=VALUES)
    def store(self, where, value):
        assert self.machine.store(*where, value) == 0
        self.twin.store(*where, value)

    @rule(where=RANGES, value=VALUES)
    def store_with_preallocated_nodes(self, where, value):
        assert self.machine.preallocate() == 0
        assert self.machine.store_prealloc(*where, value) == 0
        self.twin.store(*where, value)

    @rule(where=RANGES, value=VALUES)
    def store_with_nodes_for_the_range(self, where, value):
        assert self.machine.preallocate_range(*where, value) == 0
        assert self.machine.store_prealloc(*where, value) == 0
        self.twin.store(*where, value)

    @rule(first=INDICES)
    def store_to_the_end(self, first):
        last = HIGHEST[self.machine.layout]
        assert self.machine.store(first, last, 7) == 0
        self.twin.store(first, last, 7)

    @rule(index=INDICES)
    def erase(self, index):
        tree_code.mas_init(self.machine.maple, 0, 0, index, index)
        assert tree_code.mas_erase(*self.machine.parts, 0) == self.twin.erase(index)

    @rule(where=RANGES)
    def search(self, where):
        maple = self.machine.maple
        tree_code.mas_init(maple, 0, 0, where[0], where[0])
        assert tree_code.mas_find(maple, 0, where[1]) == self.twin.find(*where)
        assert tree_code.mtree_load(maple, 0, where[1]) == self.twin.load(where[1])

    @rule(budget=st.integers(0, 12))
    def preallocation_fails(self, budget):
        wanted = 1 + 3 * self.machine.height
        self.machine.set_budget(budget)
        error = self.machine.preallocate()
        self.machine.set_budget(-1)
        assert error == (0 if budget >= wanted else -ENOMEM)
        assert self.machine.held == (wanted if budget >= wanted else 0)
        tree_code.mas_destroy(*self.machine.parts, 0)

    @rule(where=RANGES, value=VALUES)
    def store_fails_or_succeeds_without_nodes(self, where, value):
        self.machine.set_budget(0)
        error = self.machine.store(*where, value)
        self.machine.set_budget(-1)
        assert error in (0, -ENOMEM)
        if error == 0:
            self.twin.store(*where, value)

    @rule(count=st.integers(0, 30))
    def run_callbacks(self, count):
        tree_code.rcu_do_batch(*self.machine.parts, count)

    @rule(rcu=st.booleans())
    def destroy(self, rcu):
        tree_code.mt_destroy(*self.machine.parts, 0)
        tree_code.mt_init(self.machine.maple, 0, int(rcu))
        self.twin = TwinTree()

    @invariant()
    def ranges_structure_and_nodes_agree(self):
        if not hasattr(self, "machine"):
            return
        machine = self.machine
        nodes = PLAIN.invariants.check_tree(machine.maple, 0)
        assert ranges_of(machine.maple, 0) == self.twin.ranges
        assert machine.objects == nodes + machine.pending_nodes() + machine.held
        assert machine.held == 0
        assert machine.maple.scalar[tree_code.NODE_SHORTAGE] == 0


TestMapleAgainstTwin = MapleAgainstTwin.TestCase
TestMapleAgainstTwin.settings = settings(
    max_examples=120, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


def filled(count, layout=32, rcu=0, topup=PREALLOC_TOPUP_FORBIDDEN):
    machine = Machine(layout, rcu, topup)
    for number in range(count):
        assert machine.store(8192 * (2 * number + 1), 8192 * (2 * number + 2) - 1, number + 1) == 0
    return machine


@pytest.mark.parametrize(("layout", "separated"), [(32, 15), (64, 7)])
def test_a_process_with_few_mappings_has_one_node(layout, separated):
    assert filled(separated, layout).objects == 1
    assert filled(separated + 1, layout).objects == 3


def test_an_entry_at_index_0_needs_no_node():
    machine = Machine()
    assert machine.store(0, 0, 5) == 0
    assert (machine.objects, tree_code.mtree_load(machine.maple, 0, 0)) == (0, 5)


def test_removing_the_last_range_gives_the_last_node_back():
    machine = filled(1)
    assert machine.store(8192, 16383, 0) == 0
    assert (machine.objects, machine.height) == (0, 0)


@pytest.mark.parametrize(("count", "height"), [(0, 0), (1, 1), (16, 2), (400, 3)])
def test_linux_6_1_preallocates_one_node_and_three_per_level(count, height):
    machine = filled(count)
    assert machine.height == height
    assert machine.preallocate() == 0
    assert machine.held == 1 + 3 * height


def test_linux_6_6_preallocates_for_the_range_that_is_written():
    machine = filled(3, rcu=1)
    plain = filled(3, rcu=0)
    full = filled(15, rcu=0)

    def asked(machine, first, last, value):
        machine.preallocate_range(first, last, value)
        held = machine.held
        tree_code.mas_destroy(*machine.parts, 0)
        return held

    assert asked(Machine(), 8192, 16383, 1) == 1, "the first node"
    assert asked(machine, 0, HIGHEST[32], 1) == 1, "everything"
    assert asked(machine, 8192, 16383, 0) == 0, "exactly one slot"
    assert asked(machine, 8192, 20000, 9) == 0, "a border between two neighbours"
    assert asked(machine, 90000, 99999, 9) == 1, "the node is replaced"
    assert asked(plain, 8192, 12000, 9) == 1, "one more slot"
    assert asked(full, 8192 * 40, 8192 * 41 - 1, 9) == 1 + 2 * 1, "the leaf is full"
    assert asked(filled(40), 8192, 8192 * 70, 9) == 1 + 3 * 2, "several leaves"


@pytest.mark.parametrize(("topup", "error"), [(PREALLOC_TOPUP_FORBIDDEN, -ENOMEM), (PREALLOC_TOPUP_ALLOWED, 0)])
def test_a_store_on_too_few_preallocated_nodes_takes_more_only_where_it_may(topup, error):
    """One node for a store over everything; then another range is stored, for which a full leaf is split."""
    machine = filled(15, topup=topup)
    machine.preallocate_range(0, HIGHEST[32], 9)
    assert machine.held == 1
    assert machine.store_prealloc(8192 * 40, 8192 * 41 - 1, 9) == error
    assert (machine.maple.scalar[tree_code.NODE_SHORTAGE] > 0) == (error != 0)
    if error == 0:
        assert tree_code.mtree_load(machine.maple, 0, 8192 * 40) == 9
        assert machine.objects == 3


def test_destroying_a_tree_in_rcu_mode_is_one_callback():
    machine = filled(40, rcu=1)
    tree_code.rcu_do_batch(*machine.parts, 10_000)
    nodes = machine.objects
    tree_code.mt_destroy(*machine.parts, 0)
    assert (machine.maple.scalar[tree_code.RCU_PENDING], machine.objects) == (1, nodes)
    tree_code.rcu_do_batch(*machine.parts, 1)
    assert machine.objects == 0


@pytest.mark.parametrize("layout", [32, 64])
def test_nodes_have_the_slots_of_linux(layout):
    scalar = tree_code.make_maple(layout).scalar
    for kind in SLOTS[layout]:
        assert scalar[tree_code.SLOTS + kind] == SLOTS[layout][kind]
        assert scalar[tree_code.MIN_SLOTS + kind] == FEWEST[layout][kind]


def test_an_unknown_layout_is_refused():
    with pytest.raises(ValueError, match="layout is 16"):
        tree_code.make_maple(16)
