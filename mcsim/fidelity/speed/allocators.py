"""The allocators beside their C twins: buddy pairs, maple stores and loads, a recorded boot.

Requests are drawn once, with a fixed seed, and both sides get the same ones.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcsim.fidelity.speed.boots import board
from mcsim.fidelity.speed.figure import Figure, Settings, Side, in_turn, timed
from mcsim.fidelity.speed.twins import CHECKOUT, Twins

if TYPE_CHECKING:
    from mcsim.kernels.linux.machine import Machine

SEED = 20220601
REQUESTS = 1 << 16  # drawn, and repeated
REQUESTS_OF_LARGE_ZONES = 1 << 18
BUDDY_MB = 32
GROWTH_MB = (64, 256, 1024, 4096)
MIXED_ORDERS = 8
OCCUPANCY = 0.7
EXACT_PAGES = 129
MAPLE_RANGES = (20, 50, 1000, 10_000)
STRIDE, LENGTH = 65_536, 32_768  # of the ranges, in bytes: no range touches the next
MAX_SLABS = 256
RECORDING = CHECKOUT / "tests" / "data" / "recordings" / "C_M3_64MB_j2_c.npz"


def machine_of(ram_mb: int) -> Machine:
    """The board with so much RAM, of which memblock keeps nothing."""
    import numpy as np

    from mcsim.fidelity.replay import machine_with

    return machine_with(board(), ram_mb << 20, np.zeros((0, 2), np.int64))


def zone_of(ram_mb: int) -> Any:
    """A zone of so much RAM, all of it free, with its marks set."""
    from mcsim.kernels.linux.machine import NO_POLICY
    from mcsim.kernels.linux.memblock import memblock_free_all
    from mcsim.kernels.linux.page_alloc import (
        build_all_zonelists,
        calculate_min_free_kbytes,
        make_zone,
        setup_per_zone_wmarks,
    )

    machine = machine_of(ram_mb)
    zone = make_zone(0, machine.ram_pages, machine, NO_POLICY)
    build_all_zonelists(zone)
    memblock_free_all(zone)
    calculate_min_free_kbytes(zone)
    setup_per_zone_wmarks(zone)
    return zone


def pages_of(machine: Machine) -> tuple[int, int, int]:
    """What the zones of twins are made from: its pages, those of its struct pages, log2 of the bytes of a page."""
    return machine.ram_pages, machine.memmap_pages, machine.page_shift


def twin_zone(twins: Twins, stack: ExitStack, ram_mb: int) -> Any:
    """The same of the twin, until the stack is left."""
    zone = twins.make("zone", *pages_of(machine_of(ram_mb)))
    stack.callback(twins.call, "zone_destroy", zone)
    return zone


def buddy_single(name: str, settings: Settings, twins: Twins | None) -> Figure:
    """Single pages, each freed at once: each pair splits and merges all the way."""
    from mcsim.kernels.linux.gfp import GFP_KERNEL
    from mcsim.kernels.probe import bench

    zone = zone_of(BUDDY_MB)

    def ours(repeats: int) -> tuple[float, Any]:
        return timed(lambda: bench.buddy_single(zone, GFP_KERNEL, repeats * REQUESTS))

    with ExitStack() as stack:
        twin: Side | None = None
        if twins is not None:
            other, library = twin_zone(twins, stack, BUDDY_MB), twins

            def twin(repeats: int) -> tuple[float, Any]:
                return timed(lambda: library.call("buddy_single", other, GFP_KERNEL, repeats * REQUESTS))

        return in_turn(name, "pairs", REQUESTS, settings, ours, twin)


def buddy_mixed(name: str, settings: Settings, twins: Twins | None, ram_mb: int = BUDDY_MB) -> Figure:
    """Blocks of orders 0 to 7, equally likely, at 70 % occupancy: each request frees random ones until it fits."""
    import numpy as np

    from mcsim.kernels.linux.gfp import GFP_KERNEL
    from mcsim.kernels.probe import bench

    rng = np.random.default_rng(SEED)
    requests = REQUESTS if ram_mb == BUDDY_MB else REQUESTS_OF_LARGE_ZONES
    orders = rng.integers(0, MIXED_ORDERS, requests).astype(np.int32)
    picks = rng.integers(0, 2**31, requests).astype(np.int32)
    limit = int(machine_of(ram_mb).ram_pages * OCCUPANCY)
    zone, blocks = zone_of(ram_mb), np.zeros((limit, 2), np.int32)

    def ours(repeats: int) -> tuple[float, Any]:
        return timed(lambda: bench.buddy_mixed(zone, GFP_KERNEL, limit, orders, picks, repeats, blocks))

    with ExitStack() as stack:
        twin: Side | None = None
        if twins is not None:
            other, library = twin_zone(twins, stack, ram_mb), twins
            held = np.zeros((limit, 2), np.int32)

            def twin(repeats: int) -> tuple[float, Any]:
                arguments = (other, GFP_KERNEL, limit, orders, picks, requests, repeats, held)
                return timed(lambda: library.call("buddy_mixed", *arguments))

        return in_turn(name, "pairs", requests, settings, ours, twin)


def buddy_exact(name: str, settings: Settings, twins: Twins | None, by_page: bool = False) -> Figure:
    """alloc_pages_exact() of 1 to 129 pages, each freed at once; `by_page`: the twin frees every page by itself."""
    import numpy as np

    from mcsim.kernels.linux.gfp import GFP_KERNEL
    from mcsim.kernels.probe import bench

    pages = np.random.default_rng(SEED).integers(1, EXACT_PAGES + 1, REQUESTS).astype(np.int32)
    zone = zone_of(BUDDY_MB)

    def ours(repeats: int) -> tuple[float, Any]:
        return timed(lambda: bench.buddy_exact(zone, GFP_KERNEL, pages, repeats))

    with ExitStack() as stack:
        twin: Side | None = None
        if twins is not None:
            other, library = twin_zone(twins, stack, BUDDY_MB), twins
            function = "buddy_exact_by_page" if by_page else "buddy_exact"

            def twin(repeats: int) -> tuple[float, Any]:
                return timed(lambda: library.call(function, other, GFP_KERNEL, pages, REQUESTS, repeats))

        return in_turn(name, "pairs", REQUESTS, settings, ours, twin)


class Trees:
    """One maple tree of ours and its twin, with the same ranges in them: half of `2 * ranges` that there may be."""

    def __init__(self, ranges: int, twins: Twins | None, stack: ExitStack, layout: int) -> None:
        """Both filled, one range after the other in random order."""
        import numpy as np

        from mcsim.kernels.linux.maple_tree import make_maple, mas_init, mt_init
        from mcsim.kernels.linux.slub import MAPLE_NODE, MIN_PARTIAL, OBJECT_SIZE, OBJECTS_PER_SLAB, make_slub

        rng = np.random.default_rng(SEED)
        self.fill = rng.permutation(np.arange(0, 2 * ranges, 2)).astype(np.int32)
        self.picks = rng.integers(0, 2 * ranges, REQUESTS).astype(np.int32)
        machine = machine_of(BUDDY_MB)
        self.slub = make_slub(machine, MAX_SLABS)
        nodes = MAX_SLABS * int(self.slub.geometry[MAPLE_NODE, OBJECTS_PER_SLAB])
        self.maple = make_maple(layout, nodes, 1, 1)
        mt_init(self.maple, 0, 0)
        mas_init(self.maple, 0, 0, 0, 0)
        self.zone = zone_of(BUDDY_MB)
        self.present = np.zeros(2 * ranges, np.uint8)
        self.stack = np.zeros(nodes, np.int64)
        self.twins = twins
        if twins is not None:
            cache = self.slub.geometry[MAPLE_NODE, [OBJECT_SIZE, MIN_PARTIAL]].tolist()
            self.other = twins.make("maple", layout, *pages_of(machine), *cache, MAX_SLABS)
            stack.callback(twins.call, "maple_destroy", self.other)
            self.other_present = self.present.copy()
            self.twin_store(self.fill, 0, 1)
        self.store(self.fill, 0, 1)

    def store(self, picks: Any, preallocate: int, repeats: int) -> int:
        """Ours: what is picked is stored, or erased if it is there; the checksum."""
        from mcsim.kernels.probe import bench

        arguments = (self.maple, self.slub, self.zone, preallocate, picks, repeats, STRIDE, LENGTH, self.present)
        return int(bench.maple_store(*arguments))

    def twin_store(self, picks: Any, preallocate: int, repeats: int) -> int:
        """The same of the twin."""
        assert self.twins is not None
        arguments = (self.other, preallocate, picks, len(picks), repeats, STRIDE, LENGTH, self.other_present)
        return int(self.twins.call("maple_store", *arguments))

    def checksum(self) -> int:
        """Of our whole tree: which node is where and what is in it."""
        from mcsim.kernels.probe import bench

        return int(bench.maple_checksum(self.maple, self.stack))

    def twin_checksum(self) -> int:
        """The same of the twin."""
        assert self.twins is not None
        return int(self.twins.call("maple_checksum", self.other, self.stack))


def maple_store(
    name: str, settings: Settings, twins: Twins | None, ranges: int, preallocate: int, layout: int = 32
) -> Figure:
    """Ranges stored and erased at random at steady state, with or without mas_preallocate() before each."""
    with ExitStack() as stack:
        trees = Trees(ranges, twins, stack, layout)

        def ours(repeats: int) -> tuple[float, Any]:
            seconds, result = timed(lambda: trees.store(trees.picks, preallocate, repeats))
            return seconds, (result, trees.checksum())

        def twin(repeats: int) -> tuple[float, Any]:
            seconds, result = timed(lambda: trees.twin_store(trees.picks, preallocate, repeats))
            return seconds, (result, trees.twin_checksum())

        return in_turn(name, "stores", REQUESTS, settings, ours, twin if twins is not None else None)


def maple_load(name: str, settings: Settings, twins: Twins | None, ranges: int, layout: int = 32) -> Figure:
    """Loads of random indices, of which every second one holds something."""
    from mcsim.kernels.probe import bench

    with ExitStack() as stack:
        trees = Trees(ranges, twins, stack, layout)

        def ours(repeats: int) -> tuple[float, Any]:
            return timed(lambda: bench.maple_load(trees.maple, trees.picks, repeats, STRIDE))

        def twin(repeats: int) -> tuple[float, Any]:
            assert twins is not None
            return timed(lambda: twins.call("maple_load", trees.other, trees.picks, REQUESTS, repeats, STRIDE))

        return in_turn(name, "loads", REQUESTS, settings, ours, twin if twins is not None else None)


def replay(name: str, settings: Settings, twins: Twins | None, recording: Path = RECORDING) -> Figure:
    """All page requests of a recorded boot. Equal must be every answer, and the recorded ones."""
    import numpy as np

    from mcsim.fidelity.replay import hand_over, read_events
    from mcsim.kernels.linux.slub import MAPLE_NODE, MIN_PARTIAL, OBJECT_SIZE, make_slub
    from mcsim.kernels.probe import replay as kernel

    recorded = read_events(recording, board())
    events, machine = recorded.event, recorded.machine

    def fresh() -> tuple[Any, ...]:
        blocks = -(-machine.ram_pages >> machine.pageblock_order)
        page = np.full(blocks << machine.pageblock_order, kernel.PAGE_FREE, np.int32)
        for first, count in machine.reserved:
            page[first : first + count] = kernel.PAGE_RESERVED
        objects = np.full(recorded.objects, -1, np.int64)
        return page, objects, np.zeros(recorded.objects, np.int64), np.zeros_like(recorded.answer)

    def ours(repeats: int) -> tuple[float, Any]:
        total = 0.0
        for _ in range(repeats):
            zone, cache = hand_over(recorded), make_slub(machine)
            state = fresh()
            arguments = (zone, cache, events, recorded.answer, 0, len(events), *state)
            total += timed(partial(kernel.replay_events, *arguments))[0]
        return total, state[-1].tobytes()

    with ExitStack() as stack:
        twin: Side | None = None
        if twins is not None:
            library, slub = twins, make_slub(machine)
            cache = slub.geometry[MAPLE_NODE, [OBJECT_SIZE, MIN_PARTIAL]].tolist()
            other = library.make("replay_machine", *pages_of(machine), *cache, slub.slab.shape[1])
            stack.callback(library.call, "replay_destroy", other)
            reserved = machine.reserved

            def twin(repeats: int) -> tuple[float, Any]:
                total = 0.0
                for _ in range(repeats):
                    library.call("replay_reset", other, *pages_of(machine), reserved, len(reserved))
                    state = fresh()
                    arguments = (other, events, recorded.answer, len(events), *state)
                    total += timed(partial(library.call, "replay_events", *arguments))[0]
                return total, state[-1].tobytes()

        return in_turn(name, "replays", 1, settings, ours, twin)
