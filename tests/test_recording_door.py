"""Recordings are checked whole when they are read; import destroys nothing; no number leads out of an array."""

import gzip
import io
import os
import zipfile
from contextlib import suppress

import numpy as np
import pytest
from conftest import RECORDINGS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcsim.cli import run_cli
from mcsim.errors import UserError
from mcsim.fidelity.replay import read_events, replay
from mcsim.files import MAX_TEXT
from mcsim.workload import recording as door
from mcsim.workload.check import check_program
from mcsim.workload.extract import extract
from mcsim.workload.program import RecordedProgram
from mcsim.workload.recording import COLUMNS, FAILED, Record, largest_of, read_columns, read_recording
from tests.machines import BOARD

NAME = "N_V0_64MB_j0_a"
GOOD = RECORDINGS / f"{NAME}.npz"
OTHER = RECORDINGS / "C_M3_64MB_j2_c.npz"
SYMBOLS = RECORDINGS / "symbols_N.csv"
EXAMPLES = int(os.environ.get("MCSIM_EXAMPLES", "200"))


def arrays_of(path=GOOD):
    with np.load(path) as archive:
        return {name: archive[name].copy() for name in archive.files}


WHOLE = arrays_of()


def written(folder, arrays, name=NAME):
    """A recording of these arrays, its symbol table beside it."""
    path = folder / f"{name}.npz"
    np.savez(path, **arrays)
    (folder / "symbols_N.csv").write_bytes(SYMBOLS.read_bytes())
    return path


def changed(folder, change):
    arrays = {name: array.copy() for name, array in WHOLE.items()}
    change(arrays)
    return written(folder, arrays)


def nth(kind, n=0, **fields):
    """Index of the n-th record of a type whose columns have these values."""
    rows = WHOLE["type"] == kind
    for name, value in fields.items():
        rows &= WHOLE[name] == value
    return int(np.flatnonzero(rows)[n])


def columns_of(path):
    return read_columns(path, BOARD)


def recording_of(path):
    return read_recording(path, BOARD)


def refusal(read, path):
    with pytest.raises(UserError) as caught:
        read(path)
    assert str(caught.value.file) == str(path)
    assert "\x1b" not in str(caught.value)
    return caught.value


# -- columns and header -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "column", [name for name, largest in largest_of(BOARD).items() if largest not in (255, 2**16 - 1)]
)
@pytest.mark.parametrize("wrong", [-1, "largest"])
def test_every_number_of_a_column_is_in_its_range(column, wrong, tmp_path):
    value = largest_of(BOARD)[column] + 1 if wrong == "largest" else wrong

    def change(arrays):
        arrays[column] = arrays[column].astype(np.int64)
        arrays[column][777] = value

    error = refusal(columns_of, changed(tmp_path, change))
    assert error.key == f"record 777, column {column}"
    assert error.valid == f"a whole number from 0 to {largest_of(BOARD)[column]}"


def test_a_column_cut_to_small_signed_integers_is_refused(tmp_path):
    """Return addresses that lost their upper half made a program that crashed the boot."""
    error = refusal(columns_of, changed(tmp_path, lambda a: a.update(b=a["b"].astype(np.int16))))
    assert error.key.endswith("column b")


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, ">u4", np.int32])
def test_the_type_of_a_column_changes_nothing_if_its_numbers_are_valid(dtype, tmp_path):
    path = changed(tmp_path, lambda a: a.update(order=a["order"].astype(dtype), jiffies=a["jiffies"].astype(dtype)))
    columns = read_columns(path, BOARD)[0]
    for name in COLUMNS:
        assert columns[name].dtype == WHOLE[name].dtype
        assert np.array_equal(columns[name], WHOLE[name])


@pytest.mark.parametrize("dtype", [bool, float, "c16", "U3", object])
def test_a_column_that_is_not_of_integers_is_refused(dtype, tmp_path):
    refusal(columns_of, changed(tmp_path, lambda a: a.update(mt=a["mt"].astype(dtype))))


@pytest.mark.parametrize(
    ("word", "value", "message"),
    [
        (0, 1, "header begins with 0x1"),
        (3, 1, "1 records were lost"),
        (9, 0, "0 bytes of RAM"),
        (9, 65 << 20, "the name says 64 MB of RAM, the recording 65"),
        (9, (64 << 20) + 1, "bytes of RAM"),
        (10, 4096, "pages of 4096"),
        (11, 12, "MAX_ORDER 12"),
        (12, 9, "pageblock_order 9"),
        (14, 131073, "RAM that begins at page 131073"),
        (14, 2**32 - 1024, "RAM that begins at page"),
    ],
)
def test_a_header_of_another_machine_or_of_a_loss_is_refused(word, value, message, tmp_path):
    error = refusal(recording_of, changed(tmp_path, lambda a: a["header"].__setitem__(word, value)))
    assert message in str(error)


def cell(column, index, value):
    return lambda arrays: arrays[column].__setitem__(index, value)


BLOCK = "is about a block of order"


@pytest.mark.parametrize("kind", door.BLOCK_RECORDS)
def test_a_block_lies_in_the_ram_whatever_record_it_is_of(kind, tmp_path):
    i = nth(kind, flags=0) if kind != Record.CORE else nth(kind)
    base, pages = int(WHOLE["header"][14]), int(WHOLE["header"][9]) // 8192
    order = int(WHOLE["order"][i])
    for column, value in (("order", 11), ("order", 255), ("pfn", base - (1 << order)), ("pfn", base + pages)):
        error = refusal(columns_of, changed(tmp_path, cell(column, i, value)))
        assert BLOCK in error.what
        assert error.key == f"record {i}"


def test_a_block_is_aligned(tmp_path):
    i = nth(Record.BFREE, order=3)
    assert BLOCK in refusal(columns_of, changed(tmp_path, cell("pfn", i, WHOLE["pfn"][i] + 1))).what


@pytest.mark.parametrize(("column", "value"), [("flags", 1), ("flags", 2), ("pfn", FAILED)])
def test_a_request_either_fails_or_has_a_page(column, value, tmp_path):
    error = refusal(columns_of, changed(tmp_path, cell(column, nth(Record.ALLOC, 9), value)))
    assert "a request that ends with flags" in error.what


@pytest.mark.parametrize(("kind", "column"), [(Record.AREQ, "a"), (Record.ALLOC, "a"), (Record.MA_ALLOC, "b")])
@pytest.mark.parametrize("gfp", [0x18, 1 << 28, 2**32 - 1])
def test_requests_ask_for_one_migratetype(kind, column, gfp, tmp_path):
    error = refusal(columns_of, changed(tmp_path, cell(column, nth(kind, 5), gfp)))
    assert error.what == f"asks with GFP flags {gfp}"


@pytest.mark.parametrize("jiffies", [0, 2**16 - 1])
def test_a_clock_that_goes_back_is_refused(jiffies, tmp_path):
    assert "the clock goes back" in refusal(columns_of, changed(tmp_path, cell("jiffies", 40_000, jiffies))).what


def test_an_unknown_type_of_record_is_passed_over(tmp_path):
    def change(arrays):
        arrays["type"][WHOLE["type"] == 52] = 200

    assert replay(changed(tmp_path, change), BOARD).passed


# -- bombs ----------------------------------------------------------------------------------------------------------


def with_member(folder, name, shape, descr, content):
    """The recording with another array for one of its own: this header, and so much data."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": descr, "fortran_order": False, "shape": shape})
    path = folder / GOOD.name
    with zipfile.ZipFile(GOOD) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for member in source.namelist():
            target.writestr(member, header.getvalue() + content if member == f"{name}.npy" else source.read(member))
    return path


def test_an_archive_that_unpacks_to_more_than_a_recording_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(door, "MAX_RECORDING", 8 << 20)
    path = with_member(tmp_path, "a", (2 << 20,), "<i8", bytes(16 << 20))
    assert path.stat().st_size < 200_000
    assert "more than any file of its kind needs" in refusal(columns_of, path).what


def test_a_header_that_claims_more_than_is_there_is_refused(tmp_path):
    assert "damaged" in refusal(columns_of, with_member(tmp_path, "a", (2**40, 6), "<i4", b"")).what


def test_more_records_than_any_boot_has_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(door, "MAX_RECORDS", 1000)
    assert refusal(columns_of, changed(tmp_path, lambda arrays: None)).valid == "at most 1000"


@pytest.mark.parametrize("at", range(0, 100_000, 9973))
def test_one_flipped_byte_is_refused_or_changes_nothing(at, tmp_path):
    content = bytearray(GOOD.read_bytes())
    content[at % len(content)] ^= 0x41
    path = tmp_path / GOOD.name
    path.write_bytes(content)
    try:
        assert np.array_equal(read_columns(path, BOARD)[0]["pfn"], WHOLE["pfn"])
    except UserError as error:
        assert str(error.file) == str(path)


def test_an_archive_that_is_packed_in_another_way_is_one_message(tmp_path):
    path = tmp_path / GOOD.name
    with zipfile.ZipFile(path, "w") as target:
        target.writestr("type.npy", b"no array")
        target.writestr("note.txt", b"")
    refusal(columns_of, path)


# -- symbol table ---------------------------------------------------------------------------------------------------

HEAD = b"return_address,function\n"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"return_address\n0x40\n",
        HEAD + b"0x40\n",
        HEAD + b"zz,schedule\n",
        HEAD + b"-1,schedule\n",
        HEAD + b"0x4_0,schedule\n",
        HEAD + b"0x123456789,schedule\n",
        HEAD + b"0x40,one\n0x40,two\n",
        HEAD + b"0x40,\0\n" + b'"',
        HEAD + b"\xff,x\n",
        HEAD + b"0x40," + b"x" * 200_000 + b"\n",
        HEAD + b"0x40,x\n" * (MAX_TEXT // 7),
    ],
)
def test_a_table_that_is_none_of_symbols_is_refused_by_name(content, tmp_path):
    path = written(tmp_path, WHOLE)
    table = tmp_path / "symbols_N.csv"
    table.write_bytes(content)
    if content:
        with pytest.raises(UserError) as caught:
            read_recording(path, BOARD)
        assert str(caught.value.file).startswith(str(table))
    else:
        assert read_recording(path, BOARD).symbols == {}


# -- extraction -----------------------------------------------------------------------------------------------------


def last_column_of(kind, column, value, n=0, **fields):
    return cell(column, nth(kind, n, **fields), value)


def two_forks_of_one_pid(arrays):
    arrays["pfn"][nth(Record.FORK, -1)] = WHOLE["pfn"][nth(Record.FORK, -2)]


def init_memory_beyond_the_image(arrays):
    cut = read_cut()
    arrays["pfn"][cut] = arrays["header"][14] + 5000


def init_memory_twice(arrays):
    cut = read_cut()
    arrays["pfn"][cut] = arrays["header"][14] + 417


def read_cut():
    recording = read_recording(GOOD, BOARD)
    frees = np.flatnonzero(WHOLE["type"] == Record.FREE)
    return max(int(i) for i in frees if recording.symbol("a", int(i)) == "free_reserved_area")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (two_forks_of_one_pid, "is forked that is there"),
        (init_memory_beyond_the_image, "init memory is freed at page 5000"),
        (init_memory_twice, "init memory is freed at page 417"),
        (last_column_of(Record.FLAT, "b", 2**32 - 1, 5), "an image of"),
        (last_column_of(Record.MPRIV, "a", 2**32 - 1, 40), "bytes are mapped"),
        (last_column_of(Record.MPRIV, "a", 0, 40), "0 bytes are mapped"),
        (last_column_of(Record.MPRIV, "flags", 1, 40), "this boot runs out of memory"),
        (last_column_of(Record.WAKENEW, "pfn", 1, -1), "begins to run a second time"),
        (last_column_of(Record.EXITMM_B, "b", 4, 3), "an address space goes that has no image"),
        (last_column_of(Record.EXITP, "pfn", 1, -1, order=1), "is released"),
        (lambda arrays: arrays["a"].__setitem__(WHOLE["type"] == Record.PIPE, 7), None),
    ],
)
def test_a_record_that_does_not_go_with_those_before_it_is_named(change, message, tmp_path):
    path = changed(tmp_path, change)
    try:
        check_program(extract(read_recording(path, BOARD)), BOARD)
    except UserError as error:
        assert message is not None
        assert message in error.what
        assert error.key.startswith("record ")
        assert str(error.file) == str(path)
    else:
        assert message is None


def test_a_boot_that_never_comes_to_its_prompt_is_refused(tmp_path):
    unborn = (Record.WAKENEW, Record.EXITP)
    path = changed(tmp_path, lambda arrays: arrays["type"].__setitem__(np.isin(WHOLE["type"], unborn), 0))
    assert "does not come to its login prompt" in refusal(lambda path: extract(read_recording(path, BOARD)), path).what
    assert not extract(read_recording(path, BOARD), pre_init_only=True).has_lanes


def test_a_recording_that_ends_behind_any_record_is_refused_or_extracted(tmp_path):
    for length in (1, 2, 500, read_cut() + 1, read_cut() + 2, read_cut() + 3, 30_000, 55_000):
        cut = {name: array if name == "header" else array[:length] for name, array in WHOLE.items()}
        path = written(tmp_path, cut)
        try:
            check_program(extract(read_recording(path, BOARD)), BOARD)
        except UserError as error:
            assert str(error.file) == str(path) or length > 30_000


# -- any damage -----------------------------------------------------------------------------------------------------

# What is damaged: the beginning for replay, and for extraction the records that it reads. Both take less time.
BEGINNING = {name: array if name == "header" else array[:20_000] for name, array in WHOLE.items()}
UNREAD = (Record.BFREE, Record.BALLOC, Record.CORE, Record.MA_ALLOC, Record.MA_FREE, 52, 12, 13, 70, 71, 72, 73, 74, 75)
READ = {name: array if name == "header" else array[~np.isin(WHOLE["type"], UNREAD)] for name, array in WHOLE.items()}
NUMBERS = st.one_of(
    st.sampled_from([0, 1, 2, 3, 4, 10, 11, 417, 131072, 131072 + 417, 139263, 2**16 - 1, 2**31, 2**32 - 1]),
    st.integers(0, 2**32 - 1),
)


@st.composite
def damages(draw, arrays):
    """One to three cells with other numbers that a file can hold: of a record of any type, from any place."""
    kinds = sorted({int(kind) for kind in np.unique(arrays["type"])} & {int(kind) for kind in Record})
    cells = []
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        rows = np.flatnonzero(arrays["type"] == draw(st.sampled_from(kinds)))
        index = int(rows[draw(st.integers(0, len(rows) - 1))])
        column = draw(st.sampled_from(COLUMNS))
        if draw(st.booleans()):  # another cell's number: it is more often a valid one
            value = int(arrays[column][rows[draw(st.integers(0, len(rows) - 1))]])
        else:
            value = draw(NUMBERS) % (int(np.iinfo(arrays[column].dtype).max) + 1)
        cells.append((column, index, value))
    return cells


def damaged(folder, arrays, cells):
    copy = {name: array.copy() for name, array in arrays.items()}
    for column, index, value in cells:
        copy[column][index] = value
    return written(folder, copy)


def any_damage(examples):
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


@given(damages(BEGINNING))
@any_damage(EXAMPLES)
def test_any_damaged_cells_are_refused_or_replayed_to_the_end(tmp_path, cells):
    path = damaged(tmp_path, BEGINNING, cells)
    try:
        assert replay(path, BOARD).events > 4000
    except UserError as error:
        assert str(error.file) == str(path)


@given(damages(READ))
@any_damage(EXAMPLES // 20)  # a second each
def test_any_damaged_cells_are_refused_or_give_a_program_whose_check_is_one_message(tmp_path, cells):
    path = damaged(tmp_path, READ, cells)
    try:
        program = extract(read_recording(path, BOARD))
    except UserError as error:
        assert str(error.file) == str(path)
        return
    with suppress(UserError):
        check_program(program, BOARD)


# -- import ---------------------------------------------------------------------------------------------------------


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


@pytest.fixture
def boots(tmp_path, monkeypatch):
    """A folder with two recordings and their symbol tables, which is the current one."""
    folder = tmp_path / "boots"
    folder.mkdir()
    for source in RECORDINGS.iterdir():
        (folder / source.name).write_bytes(source.read_bytes())
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    "arguments",
    [
        [GOOD.name],
        [GOOD.name, "--out", "."],
        [OTHER.name, GOOD.name, "--out", "../boots"],
        [GOOD.name, "--pre-init-only", "--out", "link"],
    ],
)
def test_import_never_writes_over_the_recording_that_it_reads(arguments, boots, capsys):
    (boots / "link").symlink_to(boots)
    before = contents(boots)
    assert run_cli(["import", *arguments]) == 2
    assert "would be overwritten, and is read" in capsys.readouterr().err
    assert contents(boots) == before


def test_import_knows_an_input_by_another_name(boots, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    os.link(boots / GOOD.name, tmp_path / "out" / GOOD.name)
    assert run_cli(["import", GOOD.name, "--out", str(tmp_path / "out")]) == 2
    assert "would be overwritten" in capsys.readouterr().err
    assert (tmp_path / "out" / GOOD.name).read_bytes() == GOOD.read_bytes()


@pytest.mark.parametrize("there", [b"notes", OTHER.read_bytes(), "program", "folder", "dangling link"])
def test_import_leaves_alone_what_is_no_older_program_of_the_same_recording(there, boots, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    target = out / GOOD.name
    if there == "program":
        assert run_cli(["import", OTHER.name, "--out", str(out)]) == 0
        (out / OTHER.name).rename(target)
    elif there == "folder":
        target.mkdir()
    elif there == "dangling link":
        target.symlink_to(tmp_path / "nowhere")
    else:
        target.write_bytes(there)
    before = contents(out)
    assert run_cli(["import", GOOD.name, OTHER.name, "--out", str(out)]) == 2
    assert "is there, and is no program of this recording" in capsys.readouterr().err
    assert contents(out) == before
    assert not (tmp_path / "nowhere").exists()


def test_import_replaces_an_older_program_of_the_same_recording(boots, capsys):
    assert run_cli(["import", GOOD.name, "--pre-init-only", "--out", "out"]) == 0
    assert run_cli(["import", GOOD.name, "--out", "out"]) == 0
    assert RecordedProgram.read(boots / "out" / GOOD.name, BOARD).has_lanes
    assert [path.name for path in (boots / "out").iterdir()] == [GOOD.name]


def test_import_writes_nothing_if_one_of_the_recordings_is_wrong(boots, capsys):
    (boots / OTHER.name).write_bytes(OTHER.read_bytes()[:-100])
    assert run_cli(["import", GOOD.name, OTHER.name, "--out", "out"]) == 2
    assert capsys.readouterr().out == ""
    assert not (boots / "out").exists()


def test_import_refuses_two_recordings_of_one_name(boots, tmp_path, capsys):
    copy = tmp_path / GOOD.name
    copy.write_bytes(GOOD.read_bytes())
    assert run_cli(["import", GOOD.name, str(copy), "--out", "out"]) == 2
    assert "are of one name" in capsys.readouterr().err


def test_import_into_a_file_or_where_nothing_can_be_written_is_one_message(boots, capsys):
    (boots / "file").write_text("")
    for out in ("file", "file/below", "x" * 300, "/proc/nowhere"):
        assert run_cli(["import", GOOD.name, "--out", out]) == 2
        err = capsys.readouterr().err
        assert "cannot be written" in err
        assert "Traceback" not in err


# -- what beside a recording --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        b"\xff",
        b"[" * 100_000,
        b'{"name": "N_V0_64MB_j0_a", "free_counts_end": [1e999]}',
        b'{"name": "N_V0_64MB_j0_a", "free_counts_end": [1, 2]}',
        b'{"name": "N_V0_64MB_j0_a", "free_counts_end": "' + b"1" * 11 + b'"}',
        b'{"name": "N_V0_64MB_j0_a", "free_counts_end": [true,1,1,1,1,1,1,1,1,1,1]}',
        b'{"name": 1' + b"0" * 5000 + b"}",
    ],
)
def test_an_index_of_anything_else_is_one_message(line, tmp_path):
    path = written(tmp_path, WHOLE)
    (tmp_path / "index.jsonl").write_bytes(line + b"\n")
    with pytest.raises(UserError) as caught:
        read_events(path, BOARD)
    assert "index.jsonl" in str(caught.value.file)


def test_a_gzip_file_is_no_recording(tmp_path):
    path = tmp_path / GOOD.name
    path.write_bytes(gzip.compress(GOOD.read_bytes()))
    refusal(columns_of, path)


def test_control_characters_of_a_file_name_do_not_reach_the_terminal(tmp_path, capsys):
    path = tmp_path / "a\x1b[31m\n.npz"
    path.write_bytes(GOOD.read_bytes())
    assert run_cli(["check", "recordings", str(path)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "a\\x1b[31m" in out
