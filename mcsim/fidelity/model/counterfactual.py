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
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from mcsim.errors import UserError, did_you_mean
from mcsim.files import is_file
from mcsim.kernels.boot import program as flat
from mcsim.model.board import board_or_only, load_board
from mcsim.model.experiment import workload_timing
from mcsim.model.recorded_kernels import NEW, OLD, TAILS, recorded_variants
from mcsim.model.release import Policies
from mcsim.simulator.single_program import SingleProgram
from mcsim.workload.mixture import recordings_folder
from mcsim.workload.program import RecordedProgram

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


def policies_of(variant: str) -> Policies:
    """Those of a recorded kernel."""
    return recorded_variants()[variant].policies


def compare_order(single: SingleProgram) -> Comparison:
    """Run a program without noise under its own variant and RAM and compare it with its recording."""
    program = single.program
    policies = policies_of(program.variant)
    wanted = live_sets(program, single.recorded_stream)
    _, recorded_lists = single.place_recorded(policies, program.ram_mb)
    stream = single.run_without_noise()
    got = live_sets(program, stream)
    _, simulated_lists = single.place_simulated(policies, program.ram_mb)
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


def fails_in_recorded_order(single: SingleProgram, variant: str, ram_mb: int) -> bool:
    """Whether the recorded order, on this RAM under this variant, fails before the login prompt."""
    return not single.place_recorded(policies_of(variant), ram_mb)[0]


@dataclass(frozen=True)
class RecordedOrder:
    """How many of an environment's recordings fail before login in recorded order, at each of OTHER_RAM."""

    environment: str
    tail: str
    programs: int
    failures: tuple[int, ...]


def recorded_orders(recorded: Sequence[SingleProgram]) -> list[RecordedOrder]:
    """One entry an environment and tail policy."""
    orders = []
    for environment in dict.fromkeys(each.program.environment for each in recorded):
        group = [each for each in recorded if each.program.environment == environment]
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


def programs(names: Sequence[str] = ()) -> list[SingleProgram]:
    """The named programs (files, or shipped ones by name); all shipped ones with lanes if none is named.

    Each on the board that its folder says, or else on the only one that is shipped.
    """
    shipped = {path.stem: path for path in sorted(recordings_folder().glob("*/*.npz"))}
    found = []
    for name in names or shipped:
        path = shipped.get(name, Path(name))
        if not is_file(path):
            valid = f"a program file (.npz), or a shipped program: {', '.join(shipped)}"
            raise UserError(f"no such program: {name!r}{did_you_mean(name, shipped)}", key="RECORDING", valid=valid)
        said = workload_timing(str(path.parent)).board
        board = board_or_only(None) if said is None else load_board(said, path.parent)
        program = RecordedProgram.read(path, board)
        if not program.has_lanes:
            if names:
                raise UserError("holds a pre-init phase only", file=path, valid="a program with a user phase")
            continue
        if program.variant not in recorded_variants():
            valid = ", ".join(recorded_variants())
            raise UserError(f"was recorded under an unknown variant {program.variant!r}", file=path, valid=valid)
        found.append(SingleProgram(program, board))
    return found
