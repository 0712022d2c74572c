"""Replay of recorded boots: what must be equal is compared, and whatever differs is found."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import RECORDINGS, ROOT, TRUTH

from mcsim.cli import run_cli
from mcsim.errors import UserError
from mcsim.fidelity import replay as replays
from mcsim.fidelity.replay import run
from mcsim.kernels.boot import program as flat
from mcsim.kernels.linux.page_alloc import FPI_TO_TAIL
from mcsim.kernels.probe.replay import EVENT_ALLOC, EVENT_FREE, FLAGS, KIND
from mcsim.workload.program import RecordedProgram
from mcsim.workload.recording import Record
from tests.machines import BOARD, machine

SHIPPED = ROOT / "experiments" / "recordings" / "C"
WITHOUT_NETWORK = RECORDINGS / "N_V0_64MB_j0_a.npz"  # tree in RCU mode: nodes are freed one by one
WITH_BOTH_FIXES = RECORDINGS / "C_M3_64MB_j2_c.npz"  # no RCU: nodes are freed in bulk; leftovers go to the tail


def replay(path):
    return replays.replay(path, BOARD)


def read_events(path):
    return replays.read_events(path, BOARD)


def changed(tmp_path, change, source=WITHOUT_NETWORK):
    """A copy of a recording with other columns or header."""
    with np.load(source) as archive:
        columns = {name: archive[name].copy() for name in archive.files}
    change(columns)
    path = tmp_path / "changed.npz"
    np.savez(path, **columns)
    return path


def nth(columns, kind, n=0, **fields):
    """Index of the n-th record of a type whose columns have these values."""
    rows = columns["type"] == kind
    for name, value in fields.items():
        rows &= columns[name] == value
    return np.flatnonzero(rows)[n]


@pytest.mark.compact
@pytest.mark.parametrize(
    ("path", "allocations", "frees", "nodes"),
    [(WITHOUT_NETWORK, 984, 9381, 282), (WITH_BOTH_FIXES, 1485, 12649, 789)],
    ids=lambda value: value.stem if isinstance(value, Path) else "",
)
def test_every_answer_of_a_recorded_boot_comes_out_again(path, allocations, frees, nodes):
    found = replay(path)
    assert (found.allocations, found.frees, found.nodes) == (allocations, frees, nodes)
    assert found.mismatches == 0
    assert found.first is None
    assert found.hand_over_as_computed
    assert found.recorded_free_counts is None, "there is no index beside the recordings in tests/"
    assert found.passed


CHANGES = {
    "page taken": lambda c: c["pfn"].__setitem__(nth(c, Record.BALLOC, 300), c["pfn"][nth(c, Record.BALLOC, 300)] ^ 1),
    "request for pages ends": lambda c: c["c"].__setitem__(nth(c, Record.ALLOC, 200), 17),
    "watermarks set": lambda c: c["b"].__setitem__(nth(c, Record.ZONE, order=0), 1),
    "mobility decided": lambda c: c["b"].__setitem__(nth(c, Record.ZONE, order=1), 1),
    "maple node taken": lambda c: c["a"].__setitem__(nth(c, Record.MA_ALLOC, -1), 0x40000000),
}


@pytest.mark.parametrize("event", CHANGES)
def test_a_changed_answer_is_found_and_named(event, tmp_path):
    found = replay(changed(tmp_path, CHANGES[event]))
    assert found.mismatches > 0
    assert not found.passed
    assert found.first.event == event
    assert found.first.recorded != found.first.replayed


@pytest.mark.parametrize(("column", "answer"), [("a", 0), ("b", 1), ("c", 2), ("mt", 3)])
def test_of_a_freed_page_the_merged_block_its_order_its_end_of_the_list_and_its_type_are_compared(
    column, answer, tmp_path
):
    def change(columns):
        columns[column][nth(columns, Record.BFREE, 4000, flags=0)] ^= 1

    first = replay(changed(tmp_path, change)).first
    assert first.event == "page freed"
    assert [r == o for r, o in zip(first.recorded, first.replayed, strict=True)] == [i != answer for i in range(4)]


def test_one_wrong_page_does_not_make_the_rest_meaningless(tmp_path):
    """A page that is never freed had another name in the recording: nothing else differs."""

    def change(columns):
        kinds, pfns = columns["type"], columns["pfn"]
        taken = np.flatnonzero((kinds == Record.BALLOC) & (columns["order"] == 0))
        kept = [
            i
            for i in taken[100:]
            if not ((pfns == pfns[i]) & np.isin(kinds, (Record.BALLOC, Record.BFREE)))[i + 1 :].any()
        ]
        pfns[kept[0]] = columns["header"][14] + 1  # a page of the kernel image, never handed over

    assert replay(changed(tmp_path, change)).mismatches == 1


def test_the_first_difference_is_shown_between_the_lists_before_and_after_it(tmp_path):
    first = replay(changed(tmp_path, CHANGES["page taken"])).first
    taken = first.replayed[0]
    assert any(pages and pages[0] == taken for pages in first.before.values()) or first.before != first.after
    free_before = sum(len(pages) << int(name.split(".")[0]) for name, pages in first.before.items())
    free_after = sum(len(pages) << int(name.split(".")[0]) for name, pages in first.after.items())
    assert free_before == free_after + 1, "one page of order 0 was taken"


@pytest.mark.parametrize("node", range(3))
def test_node_addresses_depend_on_the_order_in_which_a_bulk_is_freed(node, tmp_path):
    """Two nodes of one bulk free in the other order: a later allocation gets the other one."""

    def change(columns):
        free = (columns["type"] == Record.MA_FREE) & (columns["order"] == 1)
        pairs = np.flatnonzero(free[:-1] & free[1:])
        i = pairs[10 * node]
        columns["a"][[i, i + 1]] = columns["a"][[i + 1, i]]

    assert replay(changed(tmp_path, change, WITH_BOTH_FIXES)).first.event == "maple node taken"


def test_the_blocks_that_memblock_hands_over_are_those_of_the_recording(tmp_path):
    def change(columns):  # of a block of 1,024 pages only the first
        columns["order"][nth(columns, Record.CORE, order=10)] = 0

    found = replay(changed(tmp_path, change))
    assert not found.hand_over_as_computed


def test_a_recording_of_a_size_that_the_board_cannot_have_comes_out_again(tmp_path):
    """What is handed over is in the recording: the rule of the board is not asked."""
    small = BOARD.model_copy(update={"ram": BOARD.ram.model_copy(update={"largest": 32 << 20, "measured": ()})})
    found = replays.replay(WITHOUT_NETWORK, small)
    assert found.passed
    assert not found.hand_over_as_computed


# -- free lists at the end ---------------------------------------------------------------------------------------


def with_index(tmp_path, *lines):
    path = tmp_path / WITHOUT_NETWORK.name
    path.write_bytes(WITHOUT_NETWORK.read_bytes())
    (tmp_path / "index.jsonl").write_text("".join(line + "\n" for line in lines))
    return path


def test_free_lists_at_the_end_are_compared_with_the_index_beside_the_recording(tmp_path):
    counts = replay(WITHOUT_NETWORK).free_counts
    other = json.dumps({"name": "C_V0_32MB_j0_a", "free_counts_end": [1] * 11})
    path = with_index(tmp_path, other, json.dumps({"name": path_stem(), "free_counts_end": counts}))
    assert replay(path).passed
    counts[0] += 1
    path = with_index(tmp_path, other, json.dumps({"name": path_stem(), "free_counts_end": counts}))
    found = replay(path)
    assert found.mismatches == 0
    assert not found.passed
    assert run_cli(["check", "recordings", str(path)]) == 1


def path_stem():
    return WITHOUT_NETWORK.stem


def test_an_index_that_says_nothing_of_the_recording_is_no_obstacle(tmp_path):
    assert replay(with_index(tmp_path, '{"name": "another"}')).passed
    assert replay(with_index(tmp_path, json.dumps({"name": path_stem()}))).passed


@pytest.mark.parametrize("line", ["not json", "[1, 2]", '{"name": "N_V0_64MB_j0_a", "free_counts_end": ["x"]}'])
def test_an_index_that_is_none_is_refused(line, tmp_path):
    with pytest.raises(UserError, match=r"not JSON|not an index of recordings") as caught:
        replay(with_index(tmp_path, line))
    assert caught.value.file.endswith("index.jsonl:1")


# -- what is no recording ----------------------------------------------------------------------------------------


def set_header(word, value):
    return lambda columns: columns["header"].__setitem__(word, value)


def set_last(kind, column, value):
    return lambda columns: columns[column].__setitem__(nth(columns, kind, -1), value)


def hand_over_twice(columns):
    core = np.flatnonzero(columns["type"] == Record.CORE)
    columns["pfn"][core[1]] = columns["pfn"][core[0]]
    columns["order"][core[1]] = columns["order"][core[0]]


def free_a_node_twice(columns):
    columns["a"][nth(columns, Record.MA_FREE, 5)] = 0x40000100


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_header(3, 5), "5 records were lost"),
        (set_header(10, 4096), "pages of 4096 bytes"),
        (set_header(9, 12345), "12345 bytes of RAM"),
        (set_header(9, 32 << 20), "is about a block"),
        (set_header(14, 0), "is about a block"),
        (set_header(0, 7), "its header begins with 0x7"),
        (set_last(Record.BFREE, "order", 200), "is about a block of order 200"),
        (set_last(Record.BALLOC, "pfn", 5), "is about a block of order 0 at page 5"),
        (hand_over_twice, "handed over twice"),
        (free_a_node_twice, "frees a maple node that was not taken"),
        (lambda c: c["type"].__setitem__(c["type"] == Record.CORE, 0), "no memory is handed over"),
        (lambda c: c.update(pfn=c["pfn"][:-1]), "do not fit together"),
        (lambda c: c.update(a=c["a"].astype(float)), "do not fit together"),
        (lambda c: c.update(header=c["header"][:20]), "do not fit together"),
    ],
)
def test_a_recording_that_cannot_be_replayed_is_refused(change, message, tmp_path):
    path = changed(tmp_path, change)
    with pytest.raises(UserError, match=message) as caught:
        read_events(path)
    assert caught.value.file == str(path)


def test_events_name_pages_and_addresses_from_the_start_of_ram():
    recorded = read_events(WITHOUT_NETWORK)
    assert recorded.ram == 64 << 20
    assert recorded.answer[:, 0].max() < (64 << 20)
    assert recorded.event[:, 1].max() < (64 << 20) // BOARD.machine.page_size
    assert (np.diff(recorded.record) >= 0).all()


# -- the command ---------------------------------------------------------------------------------------------------


def test_the_command_prints_a_line_for_each_recording_and_a_sum(capsys):
    assert run_cli(["check", "recordings", str(WITHOUT_NETWORK), str(WITH_BOTH_FIXES)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:7] == ["recording", "RAM", "events", "allocs", "frees", "nodes", "differ"]
    assert lines[1].split() == ["N_V0_64MB_j0_a", "64M", "11914", "984", "9381", "282", "0", "rule", "not", "known"]
    assert lines[3].split() == ["2", "28852", "2469", "22030", "1071", "0"]


def test_the_command_takes_a_folder(tmp_path, capsys):
    assert run_cli(["check", "recordings", str(RECORDINGS)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["2", "28852", "2469", "22030", "1071", "0"]
    assert run_cli(["check", "recordings", str(tmp_path)]) == 2
    assert "no recording in this folder" in capsys.readouterr().err


def test_the_command_shows_the_first_difference_and_ends_with_1(tmp_path, capsys):
    path = changed(tmp_path, CHANGES["page taken"])
    assert run_cli(["check", "recordings", str(WITHOUT_NETWORK), str(path)]) == 1
    out = capsys.readouterr().out
    assert "changed: the first difference is at record" in out
    assert "page taken" in out
    assert "<--" in out
    assert "before:" in out
    assert "after:" in out


def test_the_command_ends_with_2_and_one_message_for_a_bad_file_and_keeps_what_it_has_printed(tmp_path, capsys):
    path = tmp_path / "note.npz"
    path.write_text("no recording")
    assert run_cli(["check", "recordings", str(WITHOUT_NETWORK), str(path)]) == 2
    captured = capsys.readouterr()
    assert "N_V0_64MB_j0_a" in captured.out
    assert captured.err == f"mcsim: {path}: not a NumPy archive (.npz), or damaged\n  valid: a recording (.npz)\n"


@pytest.mark.skipif(not (TRUTH / "truth").is_dir(), reason="the full set of recordings is not here")
def test_all_recordings_come_out_again():
    paths = sorted(TRUTH.glob("truth/recordings*/*.npz"))
    assert len(paths) > 60
    for path in paths:
        found = replay(path)
        assert found.passed, f"{path}: {found.mismatches} differ, first {found.first}"
        assert found.recorded_free_counts is not None


# -- the same requests on another machine --------------------------------------------------------------------------

# Of the 21 recordings at 64 MB with network, how many fail before login in recorded order: an independent prototype.
FAILURES_ELSEWHERE = {
    "old tail": {30: 10, 31: 0, 32: 20, 33: 17, 34: 12, 35: 5},
    "new tail": {30: 4, 31: 0, 32: 12, 33: 2, 34: 2, 35: 0},
}


def fails_elsewhere(path, ram_mb, fpi_flags):
    """Whether a recorded page request before login fails at another RAM size, leftovers freed with these flags."""
    program = RecordedProgram.read(SHIPPED / path.name, BOARD)
    login = program.record[program.op[:, flat.KIND] == flat.OP_LOGIN][0]
    recorded = read_events(path)
    before = recorded.record < login
    event, record = recorded.event[before], recorded.record[before]
    with np.load(path) as archive:
        types, failed, irq = (archive[name] for name in ("type", "flags", "irq"))
    inside = np.cumsum(((types == 12) & (failed == 0)).astype(int) - (types == 13))[record] > 0
    event[inside & (irq[record] == 0) & (event[:, KIND] == EVENT_FREE), FLAGS] = fpi_flags
    other = machine(ram_mb)
    elsewhere = recorded._replace(ram=ram_mb << 20, machine=other, event=event, answer=recorded.answer[before])
    answers = run(elsewhere, len(event), pages=recorded.machine.ram_pages)[1]
    return bool((answers[event[:, KIND] == EVENT_ALLOC, 0] == -1).any())


@pytest.mark.skipif(not (TRUTH / "truth").is_dir(), reason="the full set of recordings is not here")
@pytest.mark.parametrize(("tail", "fpi_flags"), [("old tail", 0), ("new tail", FPI_TO_TAIL)])
def test_recorded_requests_fail_at_other_ram_sizes_as_an_independent_model_has_it(tail, fpi_flags):
    paths = sorted((TRUTH / "truth" / "recordings-sched").glob("C_*_64MB_*.npz"))
    assert len(paths) == 21
    found = {ram: sum(fails_elsewhere(path, ram, fpi_flags) for path in paths) for ram in FAILURES_ELSEWHERE[tail]}
    assert found == FAILURES_ELSEWHERE[tail]
