"""A program that a kernel must not see is refused at load, with the place; what only the order tells ends the boot."""

import dataclasses
import json
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from conftest import RECORDINGS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutated_programs import (
    TIMING,
    first_of,
    mutated,
    outcome_of,
    recorded,
    save_unchecked,
    storm,
    with_cells,
)

from mcsim.cli import run_cli
from mcsim.errors import UserError
from mcsim.kernels.boot import program as flat
from mcsim.kernels.boot.batch import OUTCOME, WrongProgramError, run_boots, slices
from mcsim.kernels.boot.boot import SLABS, make_boot, slabs_for
from mcsim.kernels.boot.sched import make_sched, run_boot
from mcsim.kernels.linux import binfmt_flat
from mcsim.model.experiment import Task, Timing
from mcsim.model.experiment import load as load_experiment
from mcsim.simulator import simulator
from mcsim.simulator.population import Population
from mcsim.simulator.walk import Walk
from mcsim.workload import check, load
from mcsim.workload.check import check_program
from mcsim.workload.extract import extract
from mcsim.workload.program import RecordedProgram, mix
from tests.kernel_boots import outcomes_of
from tests.machines import BOARD, machine, policy

RECORDED = recorded()
STORM = storm()
BIG = 2**30


def row_of(program: RecordedProgram, kind: int, place: int = 0) -> int:
    return int(np.flatnonzero(program.op[:, flat.KIND] == kind)[place])


def pre_row(kind: int, place: int = 0) -> int:
    return int(np.flatnonzero(RECORDED.pre_init[:, flat.PRE_KIND] == kind)[place])


def op(program: RecordedProgram, kind: int, column: int, value: int, place: int = 0) -> RecordedProgram:
    """The program with one cell of its first (or another) request of a kind changed."""
    return with_cells(program, "op", (row_of(program, kind, place), column, value))


def pre(kind: int, column: int, value: int, place: int = 0) -> RecordedProgram:
    return with_cells(RECORDED, "pre_init", (pre_row(kind, place), column, value))


def lane(row: int, column: int, value: int) -> RecordedProgram:
    return with_cells(RECORDED, "lane", (row, column, value))


def copied(program: RecordedProgram, kind: int, column: int, one: int = 0, other: int = 1) -> RecordedProgram:
    """A request of a kind does with its column what an earlier one of the kind does."""
    return op(program, kind, column, int(program.op[row_of(program, kind, one), column]), other)


def a_wait_that_ends() -> RecordedProgram:
    """The last request of a lane waits for an event that comes."""
    last = int(RECORDED.lane[RECORDED.op[RECORDED.lane[:, flat.LANE_END] - 1, flat.KIND] == flat.OP_WAIT][0, 1]) - 1
    event = int(RECORDED.op[row_of(RECORDED, flat.OP_SIGNAL), flat.A])
    return with_cells(RECORDED, "op", (last, flat.A, event), (last, flat.B, 1))


MALFORMED: dict[str, tuple[RecordedProgram, str, str]] = {
    "no kind": (with_cells(RECORDED, "op", (5, flat.KIND, 9)), "op, request 5", "kind"),
    "flags": (with_cells(RECORDED, "op", (5, flat.FLAGS, 2)), "op, request 5", "flags"),
    "a gap below 0": (with_cells(RECORDED, "op", (5, flat.GAP, -1)), "op, request 5", "gap"),
    "a handle": (op(RECORDED, flat.OP_PAGE_ALLOC, flat.A, BIG, 3), "op, request", f"handle {BIG}"),
    "handles too few": (dataclasses.replace(RECORDED, handles=1), "op, request", "handle"),
    "an order": (op(RECORDED, flat.OP_PAGE_ALLOC, flat.B, 11), "op, request", "order 11"),
    "gfp": (op(RECORDED, flat.OP_PAGE_ALLOC, flat.C, -1), "op, request", "gfp -1"),
    "movable and reclaimable": (op(RECORDED, flat.OP_PAGE_ALLOC, flat.C, 0x18), "op, request", "gfp"),
    "a block taken twice": (copied(RECORDED, flat.OP_PAGE_ALLOC, flat.A), "op, request", "second time"),
    "a block given back twice": (copied(RECORDED, flat.OP_PAGE_FREE, flat.A), "op, request", "second time"),
    "a stack of an order": (op(RECORDED, flat.OP_COPY_PROCESS, flat.B, 1), "op, request", "order 1"),
    "a stack given back": (
        op(RECORDED, flat.OP_PAGE_FREE, flat.A, int(RECORDED.lane[3, flat.LANE_STACK])), "op, request", "stack",
    ),
    "an image": (op(RECORDED, flat.OP_EXEC, flat.B, BIG), "op, request", "image"),
    "an mm": (op(RECORDED, flat.OP_MMAP, flat.A, -1), "op, request", "address space -1"),
    "an mm made twice": (copied(RECORDED, flat.OP_EXEC, flat.A), "op, request", "second time"),
    "an mm ended twice": (copied(RECORDED, flat.OP_EXIT_MMAP, flat.A), "op, request", "second time"),
    "an mm that nobody makes": (
        dataclasses.replace(op(RECORDED, flat.OP_MMAP, flat.A, RECORDED.mms), mms=RECORDED.mms + 1),
        "op, request", "address space",
    ),
    "a length": (op(RECORDED, flat.OP_MMAP, flat.B, 0), "op, request", "length 0"),
    "a mapping": (op(STORM, flat.OP_MMAP, flat.C, STORM.mappings), "op, request", "mapping"),
    "a mapping made twice": (copied(STORM, flat.OP_MMAP, flat.C, 1, 2), "op, request", "second time"),
    "an unknown mapping unmapped": (op(STORM, flat.OP_MUNMAP, flat.A, -1), "op, request", "mapping -1"),
    "pages outside the mapping": (op(STORM, flat.OP_MUNMAP, flat.C, 1000), "op, request", "page"),
    "no page unmapped": (op(STORM, flat.OP_MUNMAP, flat.C, 0), "op, request", "page"),
    "an event": (op(RECORDED, flat.OP_WAIT, flat.A, RECORDED.events), "op, request", "event"),
    "an event signalled": (op(RECORDED, flat.OP_SIGNAL, flat.A, -1), "op, request", "event"),
    "a count": (op(RECORDED, flat.OP_SIGNAL, flat.B, -5), "op, request", "count"),
    "a lane forked": (op(RECORDED, flat.OP_FORK, flat.A, len(RECORDED.lane)), "op, request", "lane"),
    "the first lane forked": (op(RECORDED, flat.OP_FORK, flat.A, 0), "op, request", "lane 0"),
    "a lane forked twice": (copied(RECORDED, flat.OP_FORK, flat.A), "op, request", "second time"),
    "a lane reaped twice": (copied(RECORDED, flat.OP_RELEASE_TASK, flat.A), "op, request", "second time"),
    "a lane outside": (lane(7, flat.LANE_END, BIG), "lane", "requests"),
    "an empty lane": (lane(7, flat.LANE_END, int(RECORDED.lane[7, flat.LANE_FIRST])), "lane", "requests"),
    "a lane before the array": (lane(0, flat.LANE_FIRST, -1), "lane", "requests"),
    "a pid": (lane(7, flat.LANE_PID, 0), "lane, request 7", "pid"),
    "a pid twice": (lane(7, flat.LANE_PID, 1), "lane, request 7", "second time"),
    "no stack": (lane(7, flat.LANE_STACK, -1), "lane, request 7", "stack"),
    "a stack twice": (lane(7, flat.LANE_STACK, int(RECORDED.lane[8, flat.LANE_STACK])), "lane", "second time"),
    "a lane that does not end": (op(RECORDED, flat.OP_DEAD, flat.KIND, flat.OP_NOP), "lane", "does not end it"),
    "a last wait that ends": (a_wait_that_ends(), "lane", "does not end it"),
    "requests after death": (op(RECORDED, flat.OP_NOP, flat.KIND, flat.OP_DEAD), "op, request", "follow"),
    "no login": (op(RECORDED, flat.OP_LOGIN, flat.KIND, flat.OP_NOP), "op", "0 requests log in"),
    "two logins": (op(RECORDED, flat.OP_NOP, flat.KIND, flat.OP_LOGIN), "op", "2 requests log in"),
    "a size": (with_cells(RECORDED, "image", (0, flat.IMAGE_BSS, -8192)), "image, request 0", "bss"),
    "relocations": (with_cells(RECORDED, "image", (0, flat.IMAGE_RELOCS, BIG)), "image, request 0", "relocations"),
    "an image of nothing": (
        with_cells(STORM, "image", *[(0, column, 0) for column in range(5)]), "op, request", "image 0",
    ),
    "too long a sleep": (op(STORM, flat.OP_SLEEP, flat.A, BIG), "op, request", "sleep"),
    "too much CPU time": (
        with_cells(RECORDED, "op", *[(row, flat.GAP, 2**31 - 1) for row in range(13)]), "op", "together",
    ),
    "names too few": (dataclasses.replace(RECORDED, names=("init",)), "length of names", "1 is out of range"),
    "a note on no lane": (with_cells(RECORDED, "stack_free", (0, 1, BIG)), "stack_free", "lane"),
    "pre-init: a kind": (with_cells(RECORDED, "pre_init", (0, flat.PRE_KIND, 7)), "pre_init, request 0", "kind"),
    "pre-init: a handle": (pre(flat.PRE_PAGE_ALLOC, flat.PRE_A, BIG), "pre_init, request", "handle"),
    "pre-init: an order": (pre(flat.PRE_PAGE_ALLOC, flat.PRE_B, -1), "pre_init, request", "order"),
    "pre-init: gfp": (pre(flat.PRE_PAGE_ALLOC, flat.PRE_C, 1 << 26), "pre_init, request", "gfp"),
    "pre-init: given back before": (
        dataclasses.replace(RECORDED, pre_init=np.ascontiguousarray(RECORDED.pre_init[::-1])),
        "pre_init, request", "not taken before",
    ),
    "pre-init: given back twice": (
        pre(flat.PRE_PAGE_FREE, flat.PRE_A, int(RECORDED.pre_init[pre_row(flat.PRE_PAGE_FREE), flat.PRE_A]), 1),
        "pre_init, request", "second time",
    ),
    "pre-init: a part and the whole": (
        pre(flat.PRE_PAGE_FREE, flat.PRE_A,
            int(RECORDED.pre_init[pre_row(flat.PRE_PAGE_FREE_PART), flat.PRE_A]), 50),
        "pre_init, request", "part",
    ),
    "pre-init: a part outside": (pre(flat.PRE_PAGE_FREE_PART, flat.PRE_C, 16), "pre_init, request", "page"),
    "pre-init: init section": (pre(flat.PRE_FREE_INITMEM, flat.PRE_C, 89), "pre_init, request", "page"),
    "pre-init: init section twice": (
        dataclasses.replace(
            RECORDED,
            pre_init=np.vstack([RECORDED.pre_init, RECORDED.pre_init[[pre_row(flat.PRE_FREE_INITMEM)]]]),
        ),
        "pre_init, request", "second time",
    ),
    "pre-init: a cache": (pre(flat.PRE_KMEM_CACHE_ALLOC, flat.PRE_A, 3), "pre_init, request", "cache"),
    "pre-init: objects": (pre(flat.PRE_KMEM_CACHE_ALLOC, flat.PRE_B, BIG), "pre_init, request", "count"),
    "pre-init: tasks": (pre(flat.PRE_TASKS, flat.PRE_A, -1), "pre_init, request", "tasks"),
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_program_is_refused_with_the_place(name: str, tmp_path: Path) -> None:
    program, key, what = MALFORMED[name]
    path = save_unchecked(program, tmp_path / "program.npz")
    with pytest.raises(UserError) as caught:
        load(path, BOARD)
    assert caught.value.file == str(path)
    assert (caught.value.key or "").startswith(key)
    assert what in caught.value.what


def test_a_ring_of_lanes_that_fork_each_other_is_refused() -> None:
    forks = np.flatnonzero(RECORDED.op[:, flat.KIND] == flat.OP_FORK)
    lane_of = np.searchsorted(RECORDED.lane[:, flat.LANE_FIRST], forks, side="right") - 1
    inner = int(np.flatnonzero(lane_of > 0)[0])  # a fork that is not in the first lane
    outer = int(np.flatnonzero(RECORDED.op[forks, flat.A] == lane_of[inner])[0])  # the fork of its lane
    one, other = int(forks[inner]), int(forks[outer])
    exchanged = [(one, flat.A, int(RECORDED.op[other, flat.A])), (other, flat.A, int(RECORDED.op[one, flat.A]))]
    with pytest.raises(UserError, match="never started"):
        check_program(with_cells(RECORDED, "op", *exchanged), BOARD)


def test_pages_unmapped_twice_are_refused() -> None:
    rows = np.flatnonzero(STORM.op[:, flat.KIND] == flat.OP_MUNMAP)
    values, counts = np.unique(STORM.op[rows, flat.A], return_counts=True)
    parts = rows[STORM.op[rows, flat.A] == values[counts > 1][0]]
    again = [(int(parts[1]), column, int(STORM.op[parts[0], column])) for column in (flat.B, flat.C)]
    with pytest.raises(UserError, match="gives back pages for the second time"):
        check_program(with_cells(STORM, "op", *again), BOARD)


def test_the_limits_are_those_of_the_kernels() -> None:
    assert len(machine().object_sizes) == check.CACHES
    assert binfmt_flat.FLAT_FLAG_RAM | binfmt_flat.FLAT_FLAG_GZIP == check.SINGLE_MAPPING
    assert set(simulator.REASONS) == set(range(flat.STUCK, flat.ROWS_SHORT + 1))


# -- files --------------------------------------------------------------------------------------------------------


def refused(path: Path) -> UserError:
    with pytest.raises(UserError) as caught:
        RecordedProgram.read(path, BOARD)
    assert caught.value.file == str(path)
    return caught.value


@pytest.mark.parametrize("dtype", ["<i8", "<f8", ">i4", "<u4", "<i2", "?"])
@pytest.mark.parametrize("name", ["op", "record"])
def test_numbers_of_another_type_are_refused(name: str, dtype: str, tmp_path: Path) -> None:
    other = getattr(RECORDED, name).T.astype(dtype)
    error = refused(save_unchecked(RECORDED, tmp_path / "program.npz", **{name: other}))
    assert error.key == name
    assert error.valid == "<i4 (int32)"


@pytest.mark.parametrize("name", ["op", "record", "lane", "pre_init", "task_free"])
def test_arrays_of_another_shape_are_refused(name: str, tmp_path: Path) -> None:
    for other in (np.zeros((3, 4), "<i4"), np.zeros((6, 1, 1), "<i4"), np.zeros((), "<i4")):
        error = refused(save_unchecked(RECORDED, tmp_path / "program.npz", **{name: other}))
        assert error.key == name
        assert "shape" in error.what


def test_a_missing_array_and_one_too_many_are_refused(tmp_path: Path) -> None:
    assert "missing" in refused(save_unchecked(RECORDED, tmp_path / "program.npz", image=None)).what
    assert "no array" in refused(save_unchecked(RECORDED, tmp_path / "program.npz", more=np.zeros(3))).what


def facts(**changed: Any) -> dict[str, Any]:
    from mcsim.workload.program import _NUMBERS, _TEXTS, FORMAT

    own = {name: getattr(RECORDED, name) for name in (*_NUMBERS, *_TEXTS, "names")}
    return {key: value for key, value in {"format": FORMAT, **own, **changed}.items() if value is not ...}


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("[1, 2]", "not a table"),
        ("[" * 100_000, "nested too deeply"),
        ("nonsense", "not JSON"),
        (json.dumps(facts(variant=...)), "facts.variant: is missing"),
        (json.dumps(facts(more=1)), "facts.more: is no fact"),
        (json.dumps(facts(handles=-1)), "facts.handles"),
        (json.dumps(facts(handles=2**40)), "facts.handles"),
        (json.dumps(facts(handles=8.5)), "facts.handles"),
        (json.dumps(facts(handles=True)), "facts.handles"),
        (json.dumps(facts(names=7)), "facts.names"),
        (json.dumps(facts(names=["\x1b[31m"])), "facts.names"),
        (json.dumps(facts(name="a\nb")), "facts.name"),
        (json.dumps(facts(sha256="0" * 300)), "facts.sha256"),
    ],
)
def test_facts_that_are_none_are_refused(content: str, what: str, tmp_path: Path) -> None:
    path = save_unchecked(RECORDED, tmp_path / "program.npz", facts=np.frombuffer(content.encode(), np.uint8))
    assert what in str(refused(path))


def test_a_flipped_byte_is_one_message(tmp_path: Path) -> None:
    content = bytearray(save_unchecked(RECORDED, tmp_path / "program.npz").read_bytes())
    content[len(content) // 2] ^= 0xFF
    (tmp_path / "flipped.npz").write_bytes(content)
    assert "damaged" in refused(tmp_path / "flipped.npz").what


def test_an_array_that_is_larger_than_any_program_is_refused(tmp_path: Path) -> None:
    huge = np.zeros((flat.OP_COLUMNS, 6_000_000), "<i4")
    assert "holds more" in refused(save_unchecked(RECORDED, tmp_path / "program.npz", op=huge)).what


def test_the_broken_one_of_a_folder_is_named(tmp_path: Path) -> None:
    RECORDED.save(tmp_path / "good.npz", BOARD)
    save_unchecked(dataclasses.replace(RECORDED, mms=0), tmp_path / "other.npz")
    with pytest.raises(UserError) as caught:
        load(tmp_path, BOARD)
    assert caught.value.file == str(tmp_path / "other.npz")


def test_a_folder_of_too_many_requests_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    RECORDED.save(tmp_path / "one.npz", BOARD)
    monkeypatch.setattr("mcsim.workload.mixture.MAX_REQUESTS", len(RECORDED.op))
    with pytest.raises(UserError, match="holds more than can be simulated"):
        load(tmp_path, BOARD)


def test_what_cannot_be_run_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no program that can be run"):
        dataclasses.replace(RECORDED, handles=1).save(tmp_path / "program.npz", BOARD)
    assert not list(tmp_path.iterdir())


def test_what_is_saved_is_read(tmp_path: Path) -> None:
    for program in (RECORDED, STORM, RECORDED.pre_init_only()):
        program.save(tmp_path / "program.npz", BOARD)
        again = RecordedProgram.read(tmp_path / "program.npz", BOARD)
        assert all(
            np.array_equal(getattr(again, field.name), getattr(program, field.name))
            for field in dataclasses.fields(program)
        )
    assert [path.name for path in tmp_path.iterdir()] == ["program.npz"]


def test_a_damaged_recording_is_refused_by_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def damaged(recording: Any, *options: Any) -> RecordedProgram:
        return op(extract(recording, *options), flat.OP_FORK, flat.A, BIG)

    monkeypatch.setattr("mcsim.workload.extract.extract", damaged)
    source = next(RECORDINGS.glob("*.npz"))
    assert run_cli(["import", str(source), "--out", str(tmp_path)]) == 2
    assert f"lane {BIG} is out of range" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.npz"))


# -- what only the order of the requests tells ----------------------------------------------------------------------


def swapped(program: RecordedProgram, one: int, other: int) -> RecordedProgram:
    """Two requests in each other's place."""
    changed = program.op.copy()
    changed[[one, other]] = changed[[other, one]]
    return dataclasses.replace(program, op=changed)


def mmap_before_exec() -> RecordedProgram:
    row = row_of(STORM, flat.OP_EXEC)
    return swapped(STORM, row, int(np.flatnonzero(STORM.op[:, flat.KIND] == flat.OP_MMAP)[0]))


def munmap_before_mmap() -> RecordedProgram:
    row = row_of(STORM, flat.OP_MUNMAP)
    mapping = STORM.op[row, flat.A]
    named = np.isin(STORM.op[:, flat.KIND], (flat.OP_MMAP, flat.OP_MMAP_FILE)) & (STORM.op[:, flat.C] == mapping)
    return swapped(STORM, row, int(np.flatnonzero(named)[0]))


def reaped_before_it_starts() -> RecordedProgram:
    fork = row_of(STORM, flat.OP_FORK, 1)
    child = STORM.op[fork, flat.A]
    reaps = (STORM.op[:, flat.KIND] == flat.OP_RELEASE_TASK) & (STORM.op[:, flat.A] == child)
    return swapped(STORM, fork, int(np.flatnonzero(reaps)[0]))


def waiting_for_ever() -> RecordedProgram:
    rows = np.flatnonzero(STORM.op[:, flat.KIND] == flat.OP_WAIT)
    return with_cells(STORM, "op", *[(int(row), flat.B, 1000) for row in rows])


def other_length_of_a_file() -> RecordedProgram:
    """The second mapping of a file is longer than the first, which others have mapped."""
    rows = np.flatnonzero(STORM.op[:, flat.KIND] == flat.OP_MMAP_FILE)
    files = STORM.op[rows, flat.FLAGS] >> flat.MMAP_FILE_SHIFT
    same = rows[files == np.bincount(files).argmax()]
    return with_cells(STORM, "op", *[(int(row), flat.B, 8192 * (16 + n)) for n, row in enumerate(same)])


WRONG = {
    "mmap before exec": (mmap_before_exec, flat.NO_ADDRESS_SPACE),
    "munmap before mmap": (munmap_before_mmap, flat.NO_MAPPING),
    "reaped before it starts": (reaped_before_it_starts, flat.REAPED_EARLY),
    "waits for ever": (waiting_for_ever, flat.STUCK),
    "a longer part of a shared file": (other_length_of_a_file, flat.REFUSED),
}


def wrong_boot(program: RecordedProgram, variant: str = "linux-6.1.y") -> WrongProgramError:
    check_program(program, BOARD)
    with pytest.raises(WrongProgramError) as caught:
        policies = policy(variant)
        outcomes_of(mix([program]), policies, TIMING, ram_mb=64, seed=1, first=5, count=3)
    return caught.value


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("variant", ["pre-maple", "maple-naive", "linux-6.6"])
def test_a_boot_that_makes_no_sense_has_no_outcome(name: str, variant: str) -> None:
    make, why = WRONG[name]
    error = wrong_boot(make(), variant)
    assert (error.boot, error.why) == (5, why)


def test_a_boot_that_is_too_long_has_no_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = with_cells(STORM, "op", *[(row, flat.GAP, 2**31 - 1) for row in range(11)])
    check_program(slow, BOARD)
    timing = simulator.kernel_timing(Timing(gap_sigma=0, boot_sigma=0, boot_median=10), mix([slow]))
    with pytest.raises(WrongProgramError) as caught:
        policies = policy("pre-maple")
        outcomes_of(mix([slow]), policies, timing, ram_mb=64, seed=1)
    assert caught.value.why == flat.TOO_LONG


def test_times_that_no_number_holds_are_refused() -> None:
    slow = mix([with_cells(STORM, "op", (1, flat.GAP, 2**31 - 1))])
    with pytest.raises(UserError, match="too long to count"):
        simulator.kernel_timing(Timing(gap_sigma=2, boot_sigma=1.3, boot_median=10), slow)
    assert simulator.kernel_timing(Timing(gap_sigma=2, boot_sigma=1.3, boot_median=10), load("C", BOARD).arrays)


def test_nothing_of_an_earlier_boot_decides() -> None:
    """A good program leaves mappings and references behind; the same work space then runs a wrong one."""
    good, bad = mix([STORM]), mix([munmap_before_mmap()])
    work = make_sched(good, machine(64))
    boot = make_boot(good, machine(64), policy("linux-6.1.y"))
    run_boots(good, TIMING, work, boot, 1, 5, np.zeros(2, OUTCOME))
    assert (boot.mapping[:, 0] >= 0).any()
    with pytest.raises(WrongProgramError) as caught:
        run_boots(bad, TIMING, work, boot, 1, 5, np.zeros(1, OUTCOME))
    assert caught.value.row == wrong_boot(munmap_before_mmap()).row


def experiment_of(program: RecordedProgram, folder: Path) -> tuple[Task, str]:
    program.save(folder / "program.npz", BOARD)
    text = '[experiment]\nvariants = ["linux-6.1.y"]\nram = ["64M"]\nboots = 4\n[workload]\nfile = "program.npz"\n'
    text += '[machine]\nboard = "m5208evb"\n'
    (folder / "own.toml").write_text(text)
    experiment = load_experiment(folder / "own.toml")
    return experiment.tasks(load(experiment.workload, experiment.board).digest)[0], experiment.workload


@pytest.mark.parametrize("name", ["munmap before mmap", "waits for ever"])
def test_every_command_refuses_such_a_boot_in_words(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make, why = WRONG[name]
    task, source = experiment_of(make(), tmp_path)
    said = simulator.REASONS[why]
    with pytest.raises(UserError, match=said):
        simulator.simulate(task, source, 0, 1)
    with pytest.raises(UserError, match=said):
        Walk(task, source, 0).finish()
    with pytest.raises(UserError, match=said):
        simulator.simulator_of(task, source).blame(np.array([0, 1]))
    with pytest.raises(UserError, match=said):
        Population(task, source, 2, 0, 0, 3, lambda boots: None).start()
    monkeypatch.chdir(tmp_path)
    assert run_cli(["run", "own.toml", "--workers", "1"]) == 2
    printed = capsys.readouterr().err
    assert said in printed
    assert "boot 0" in printed


def test_the_request_of_such_a_boot_is_named(tmp_path: Path) -> None:
    program = munmap_before_mmap()
    task, source = experiment_of(program, tmp_path)
    with pytest.raises(UserError) as caught:
        simulator.simulate(task, source, 3, 1)
    row = wrong_boot(program).row
    lane = int(np.searchsorted(program.lane[:, flat.LANE_FIRST], row, side="right")) - 1
    assert caught.value.key == f"boot 3: {program.name}, op, request {row} ({program.names[lane]})"


# -- room ---------------------------------------------------------------------------------------------------------


def many_mappings(number: int) -> RecordedProgram:
    """A program whose pid 1 has so many mappings of a page at a time."""
    exec_ = (flat.OP_EXEC, 0, 0, 0, 0, 0)
    login = [(flat.OP_LOGIN, 0, 0, 0, 0, 0), (flat.OP_WAIT, 0, 0, 0, 1, 0)]
    rows = [exec_, *[(flat.OP_MMAP, 0, 0, 0, 8192, -1)] * number, *login]
    return dataclasses.replace(
        STORM,
        op=np.array(rows, np.int32),
        record=np.arange(len(rows), dtype=np.int32),
        lane=np.array([(0, len(rows), -1, 1)], np.int32),
        names=("init",),
        handles=0,
        mms=1,
        mappings=0,
    )


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("variant", ["maple-naive", "linux-6.1.y"])
def test_thousands_of_live_mappings_fit_if_memory_does(variant: str, bits: int) -> None:
    """With room for 64 slabs the simulator itself ran out of VMAs, which was told as a failed boot."""
    program = many_mappings(9_000)
    check_program(program, BOARD)
    policies = policy(variant)
    outcomes = outcomes_of(mix([program]), policies, TIMING, ram_mb=128, seed=1, bits=bits)
    assert outcomes["failed"].tolist() == [0]


def test_room_is_made_for_what_a_program_can_have_at_most() -> None:
    for bits in (32, 64):
        assert slabs_for(load("C", BOARD).arrays, machine(64, pointer_bits=bits)) == SLABS
        assert slabs_for(mix([many_mappings(9_000)]), machine(128, pointer_bits=bits)) > 9_000 // 120
    assert slabs_for(mix([many_mappings(19_000)]), machine(20)) == machine(20).ram_pages


def test_running_out_of_rows_is_no_failure_of_the_boot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcsim.kernels.boot.boot.slabs_for", lambda *_: 2)
    assert wrong_boot(many_mappings(9_000)).why == flat.ROWS_SHORT


@pytest.mark.parametrize("count", [0, 1, 5, 100])
def test_slices_are_all_boots_in_order(count: int) -> None:
    parts = list(slices(count, 16))
    assert [number for part in parts for number in range(count)[part]] == list(range(count))
    assert all(part.stop - part.start <= 16 for part in parts)


# -- one thing changed at random ------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32 - 1), base=st.sampled_from([RECORDED, STORM]))
def test_a_program_with_one_thing_changed_is_refused_or_runs(seed: int, base: RecordedProgram) -> None:
    random = Random(seed)
    variant = random.choice(["maple-naive", "linux-6.1.y", "linux-6.6"])
    assert outcome_of(mutated(base, random), variant) in ("refused", "wrong", "runs")


def test_the_shipped_programs_are_none_of_these() -> None:
    assert outcome_of(RECORDED) == outcome_of(STORM) == "runs"
    assert first_of(STORM, flat.OP_EXEC) < first_of(STORM, flat.OP_MMAP)
    arrays = mix([STORM])
    assert run_boot(arrays, TIMING, make_sched(arrays, machine()), np.uint64(1), np.uint64(0), 0)
