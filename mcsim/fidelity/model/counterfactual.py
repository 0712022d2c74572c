"""Recorded boots once more: without noise under their own variant and RAM, and in recorded order on other machines.

A program knows the record of each of its requests and of each task and kernel stack that went back. Placed in that
order, every page lands where the recording has it (tests/test_extract.py), so that the order stands for the recording:

- the simulated order of a boot without timing noise is compared with it (`compare_order`);
- on another RAM size or under the other tail policy it answers what this very boot would have done there
  (`fails_in_recorded_order`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from mcsim.errors import UserError, did_you_mean
from mcsim.fidelity.model.recorded_kernels import NEW, OLD, TAILS, recorded_variants
from mcsim.files import is_file
from mcsim.kernels.boot import program as flat
from mcsim.kernels.boot.boot import RESULT_ROW, RESULT_WRONG, Boot, make_boot, place_boot
from mcsim.kernels.boot.sched import (
    EXEC_DELAY_RECORDED,
    STREAM_LENGTH,
    STREAM_RCU_QS,
    STREAM_RCU_RUN,
    STREAM_STACK_FREE,
    STREAM_TASK_FREE,
    WRONG,
    WRONG_ROW,
    Sched,
    Timing,
    make_sched,
    run_boot,
)
from mcsim.kernels.linux.maple_tree import LAYOUT_32
from mcsim.kernels.linux.policy import Policy
from mcsim.simulator.simulator import lognormal_factors, why_wrong
from mcsim.workload.mixture import recordings_folder
from mcsim.workload.program import RecordedProgram, mix

ALLOCATIONS = (flat.OP_PAGE_ALLOC, flat.OP_COPY_PROCESS, flat.OP_EXEC, flat.OP_MMAP)

OTHER_RAM = (30, 31, 32, 33, 34, 35)
TAIL_VARIANTS = {OLD: "V0", NEW: "V3"}  # only the tail policy matters for where pages go
# Failures of the 21 recordings of environment C in recorded order. A prototype, written independently, counted the same
# but for 12 at 34 MB under the old tail: it freed the pages of an exiting process in the order of the recording, where
# the kernel frees them by address, which is another order on another machine. C_M1_64MB_j2_c then fails.
EXPECTED_ENVIRONMENT = "C"
EXPECTED_PROGRAMS = 21
EXPECTED_FAILURES = {OLD: (10, 0, 20, 17, 13, 5), NEW: (4, 0, 12, 2, 2, 0)}
MIN_EQUAL = 0.95  # median over the recordings
MAX_OUT_OF_ORDER = 0.0005


def without_noise(program: RecordedProgram) -> Timing:
    """Gaps, artificial delays and the phase of the clock as they were recorded."""
    as_it_was = lognormal_factors(0.0)
    return Timing(as_it_was, as_it_was, EXEC_DELAY_RECORDED, program.first_tick)


class Bench:
    """One program on the machines it is to be placed on.

    Free lists are int64[11], free blocks of each order; streams are int64 rows of the program's `op`, with
    STREAM_TASK_FREE where a dead task goes back and STREAM_STACK_FREE - lane where its kernel stack does.
    """

    def __init__(self, program: RecordedProgram) -> None:
        """A bench for `program`, which must have lanes."""
        self.program = program
        self.arrays = mix([program])
        self.sched: Sched = make_sched(self.arrays)

    @cached_property
    def recorded_stream(self) -> NDArray[np.int64]:
        """Page requests, and what RCU gave back, in recorded order, up to the login prompt and with it."""
        program = self.program
        kinds = program.op[:, flat.KIND]
        login = int(np.flatnonzero(kinds == flat.OP_LOGIN)[0])
        rows = np.flatnonzero(kinds <= flat.LAST_PAGE_OP)
        stacks = STREAM_STACK_FREE - program.stack_free[:, 1].astype(np.int64)
        tasks = np.full(len(program.task_free), STREAM_TASK_FREE)
        what = np.concatenate([rows, stacks, tasks])
        when = np.concatenate([program.record[rows], program.stack_free[:, 0], program.task_free])
        order = np.argsort(when, kind="stable")
        before = order[when[order] < program.record[login]]
        return np.append(what[before], login)

    def place_recorded(self, variant: str, ram_mb: int) -> tuple[bool, NDArray[np.int64]]:
        """Place the recorded order after the program's own pre-init phase: whether it reaches login, and free lists."""
        stream = self.recorded_stream
        # Tree nodes go back after every request: the recorded kernels had run these callbacks when they mapped again.
        passed = np.column_stack(
            [stream, np.full(len(stream), STREAM_RCU_QS), np.full(len(stream), STREAM_RCU_RUN)]
        ).ravel()
        self.sched.stream[: len(passed)] = passed
        self.sched.clock[STREAM_LENGTH] = len(passed)
        return self._place(variant, ram_mb)

    def run_without_noise(self) -> NDArray[np.int64]:
        """The simulated order without timing noise, as a stream."""
        if not run_boot(self.arrays, without_noise(self.program), self.sched, np.uint64(0), np.uint64(0), 0):
            clock = self.sched.clock
            raise UserError(why_wrong(int(clock[WRONG]), int(clock[WRONG_ROW])), file=self.program.name)
        return self.sched.stream[: self.sched.clock[STREAM_LENGTH]].astype(np.int64)

    def place_simulated(self, variant: str, ram_mb: int) -> tuple[bool, NDArray[np.int64]]:
        """Place what `run_without_noise` gave last: whether it reaches login, and free lists."""
        return self._place(variant, ram_mb)

    def _place(self, variant: str, ram_mb: int) -> tuple[bool, NDArray[np.int64]]:
        policy: Policy = recorded_variants()[variant].policies.for_kernels()
        boot: Boot = make_boot(self.arrays, ram_mb, LAYOUT_32)
        booted = place_boot(boot, self.arrays, policy, self.sched, 0, 0)
        if boot.result[RESULT_WRONG] != flat.RIGHT:
            why, row = int(boot.result[RESULT_WRONG]), int(boot.result[RESULT_ROW])
            raise UserError(why_wrong(why, row), file=self.program.name)
        return bool(booted), boot.zone.nr_free.copy()


@dataclass(frozen=True)
class Comparison:
    """One recording beside its program run without noise.

    equal_live_sets: share of order-7 allocations at which the same images live as in the recording. out_of_order: share
    of pairs of allocations that come in the other order. Free lists: free blocks of order 0 to 10 at login.
    """

    name: str
    environment: str
    order7_allocations: int
    equal_live_sets: float
    out_of_order: float
    recorded_free_lists: tuple[int, ...]
    simulated_free_lists: tuple[int, ...]


def compare_order(bench: Bench) -> Comparison:
    """Run a program without noise under its own variant and RAM and compare it with its recording."""
    program = bench.program
    wanted = live_sets(program, bench.recorded_stream)
    _, recorded_lists = bench.place_recorded(program.variant, program.ram_mb)
    stream = bench.run_without_noise()
    got = live_sets(program, stream)
    _, simulated_lists = bench.place_simulated(program.variant, program.ram_mb)
    rows = stream[stream >= 0]
    allocations = rows[np.isin(program.op[rows, flat.KIND], ALLOCATIONS)]
    return Comparison(
        name=program.name,
        environment=program.environment,
        order7_allocations=len(wanted),
        equal_live_sets=sum(got.get(mm) == alive for mm, alive in wanted.items()) / max(1, len(wanted)),
        out_of_order=pairs_out_of_order(program.record[allocations]),
        recorded_free_lists=tuple(recorded_lists.tolist()),
        simulated_free_lists=tuple(simulated_lists.tolist()),
    )


def live_sets(program: RecordedProgram, stream: NDArray[np.int64]) -> dict[int, frozenset[int]]:
    """Address space -> those whose images are alive when it gets its own; an image is an order-7 region."""
    alive: set[int] = set()
    sets: dict[int, frozenset[int]] = {}
    rows = stream[stream >= 0]
    for kind, mm in program.op[rows][:, [flat.KIND, flat.A]].tolist():
        if kind == flat.OP_EXEC:
            sets[mm] = frozenset(alive)
            alive.add(mm)
        elif kind == flat.OP_EXIT_MMAP:
            alive.discard(mm)
    return sets


def pairs_out_of_order(values: NDArray[np.integer]) -> float:
    """Share of the pairs of different values of which the larger one comes first."""
    count = len(values)
    later_is_smaller = np.triu(values[:, None] > values[None, :], 1)
    return float(later_is_smaller.sum() / max(1, count * (count - 1) // 2))


def fails_in_recorded_order(bench: Bench, variant: str, ram_mb: int) -> bool:
    """Whether the recorded order, on this RAM under this variant, fails before the login prompt."""
    return not bench.place_recorded(variant, ram_mb)[0]


@dataclass(frozen=True)
class RecordedOrder:
    """How many of an environment's recordings fail before login in recorded order, at each of OTHER_RAM."""

    environment: str
    tail: str
    programs: int
    failures: tuple[int, ...]


def recorded_orders(benches: Sequence[Bench]) -> list[RecordedOrder]:
    """One entry an environment and tail policy."""
    orders = []
    for environment in dict.fromkeys(bench.program.environment for bench in benches):
        group = [bench for bench in benches if bench.program.environment == environment]
        for tail in TAILS:
            failures = (
                sum(fails_in_recorded_order(each, TAIL_VARIANTS[tail], ram) for each in group) for ram in OTHER_RAM
            )
            orders.append(RecordedOrder(environment, tail, len(group), tuple(failures)))
    return orders


def judged(order: RecordedOrder) -> bool:
    """Whether there is an independent count of the same recordings to compare with."""
    return (order.environment, order.programs) == (EXPECTED_ENVIRONMENT, EXPECTED_PROGRAMS)


def medians(comparisons: Sequence[Comparison]) -> tuple[float, float]:
    """Over recordings: share of equal live sets, share of pairs out of order."""
    return median(each.equal_live_sets for each in comparisons), median(each.out_of_order for each in comparisons)


def programs(names: Sequence[str] = ()) -> list[RecordedProgram]:
    """The named programs (files, or shipped ones by name); all shipped ones with lanes if none is named."""
    shipped = {path.stem: path for path in sorted(recordings_folder().glob("*/*.npz"))}
    found = []
    for name in names or shipped:
        path = shipped.get(name, Path(name))
        if not is_file(path):
            valid = f"a program file (.npz), or a shipped program: {', '.join(shipped)}"
            raise UserError(f"no such program: {name!r}{did_you_mean(name, shipped)}", key="RECORDING", valid=valid)
        program = RecordedProgram.read(path)
        if not program.has_lanes:
            if names:
                raise UserError("holds a pre-init phase only", file=path, valid="a program with a user phase")
            continue
        if program.variant not in recorded_variants():
            valid = ", ".join(recorded_variants())
            raise UserError(f"was recorded under an unknown variant {program.variant!r}", file=path, valid=valid)
        found.append(program)
    return found
