"""Programs with one thing changed at random, and what becomes of them: for tests and for `make fuzz`."""

import dataclasses
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcsim.errors import UserError
from mcsim.kernels.boot import program as flat
from mcsim.kernels.boot.batch import OUTCOME, WrongProgramError, run_boots
from mcsim.kernels.boot.boot import make_boot
from mcsim.kernels.boot.sched import EXEC_DELAY_DRAWN, Timing, make_sched
from mcsim.model.shipped import shipped_folder
from mcsim.simulator.simulator import lognormal_factors
from mcsim.workload.check import check_program
from mcsim.workload.handmade import read_workload
from mcsim.workload.program import RecordedProgram, mix
from tests.machines import BOARD, machine, policy

ARRAYS = ("pre_init", "op", "lane", "image", "stack_free", "task_free", "record")
NUMBERS = ("pre_init_handles", "handles", "events", "mms", "mappings")
EXTREMES = (-(2**31), -(2**30), -2, -1, 0, 1, 2, 7, 10, 11, 255, 8192, 2**16, 2**20, 2**30, 2**31 - 1)
SEED = 11
BOOTS = 3
TIMING = Timing(lognormal_factors(0.15), lognormal_factors(0.3), EXEC_DELAY_DRAWN)


def recorded() -> RecordedProgram:
    """A shipped program."""
    return RecordedProgram.read(shipped_folder() / "recordings" / "C" / "C_V0_64MB_j0_a.npz", BOARD)


def storm() -> RecordedProgram:
    """A program with mappings of files, and parts of mappings that go."""
    return read_workload(shipped_folder() / "workloads" / "mmap-storm.toml", BOARD)


def with_cells(program: RecordedProgram, array: str, *cells: tuple[Any, Any, int]) -> RecordedProgram:
    """The same program, its cells (row, column) of one array changed."""
    changed = getattr(program, array).copy()
    for row, column, value in cells:
        changed[row, column] = value
    return dataclasses.replace(program, **{array: changed})


def mutated(program: RecordedProgram, random: Random) -> RecordedProgram:
    """One number changed, or two requests exchanged, or a request made like another."""
    kind = random.random()
    if kind < 0.05:
        name = random.choice(NUMBERS)
        value = random.choice([*EXTREMES, getattr(program, name) - 1, getattr(program, name) + 1])
        return dataclasses.replace(program, **{name: value})
    name = random.choice(("op", "op", "op", *ARRAYS))
    array: NDArray[Any] = getattr(program, name).copy()
    if not len(array):
        return program
    row, other = random.randrange(len(array)), random.randrange(len(array))
    if kind < 0.15:
        array[[row, other]] = array[[other, row]]
    elif kind < 0.2:
        array[row] = array[other]
    elif kind < 0.3 and name == "op":  # the next request of a lane before this one
        array[[row - 1, row]] = array[[row, row - 1]]
    else:
        cells = array.reshape(len(array), -1)
        column = random.randrange(cells.shape[1])
        old = int(cells[row, column])
        near = [max(-(2**31), old - 1), min(2**31 - 1, old + 1), int(cells[other, column])]
        cells[row, column] = random.choice([*EXTREMES, *near * 4, random.getrandbits(31)])
    return dataclasses.replace(program, **{name: array})


def outcome_of(program: RecordedProgram, variant: str = "linux-6.1.y", ram_mb: int = 32, look: Any = None) -> str:
    """ "refused", "wrong" (a boot has no outcome) or "runs", if its boots are the same alone and in a batch.

    `look`, if given, is called with the memory of a boot (kernels/boot/boot.py: Boot) that has an outcome.
    """
    try:
        check_program(program, BOARD)
    except UserError:
        return "refused"
    arrays = mix([program])
    board = machine(ram_mb)
    sched, boot = make_sched(arrays, board), make_boot(arrays, board, policy(variant))

    def run(first: int, count: int) -> list[Any]:
        outcomes = np.zeros(count, OUTCOME)
        try:
            run_boots(arrays, TIMING, sched, boot, SEED, first, outcomes)
        except WrongProgramError as error:
            return [(error.why, error.row)]
        if look is not None:
            look(boot)
        return list(outcomes.tolist())

    batch = run(0, BOOTS)
    if len(batch) < BOOTS:
        alone = [run(number, 1)[0] for number in range(BOOTS)]
        assert batch[0] in alone, "a boot is wrong in a batch only"
        return "wrong"
    for number in range(BOOTS):
        sched, boot = make_sched(arrays, board), make_boot(arrays, board, policy(variant))
        assert run(number, 1) == [batch[number]], "a boot depends on those before it"
    return "runs"


def first_of(program: RecordedProgram, kind: int) -> int:
    """The row of the first request of a kind."""
    return int(np.flatnonzero(program.op[:, flat.KIND] == kind)[0])


def save_unchecked(program: RecordedProgram, path: Path, **changed: Any) -> Path:
    """A file as `save` writes it, whatever is in it; `changed` are arrays as they stand there (columns for rows)."""
    import json

    from mcsim.workload import program as module

    facts = {f.name: getattr(program, f.name) for f in dataclasses.fields(program) if f.name not in ARRAYS}
    text = json.dumps({"format": module.FORMAT, **facts}).encode()
    arrays = {name: getattr(program, name).T for name in ARRAYS}
    content = {"facts": np.frombuffer(text, np.uint8), **arrays, **changed}
    np.savez_compressed(path, **{name: array for name, array in content.items() if array is not None})
    return path
