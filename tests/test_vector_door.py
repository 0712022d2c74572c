"""Vectors are checked whole before a kernel sees them: no number leads out of an array, none into a hang."""

import copy
import gzip
import json
import lzma
import os
from pathlib import Path

import numpy as np
import pytest
from conftest import DATA
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcsim.cli import run_cli
from mcsim.errors import UserError
from mcsim.fidelity import allocators as conform
from mcsim.fidelity.allocators import buddy, maple, vectors
from mcsim.fidelity.allocators.maple import Indices
from mcsim.fidelity.model.score import PROBABILITIES, predictive
from mcsim.files import csv_of, csv_safe
from mcsim.model.counts import MAX_COUNT, read_counts
from mcsim.report.conformity import first_mismatch, labels

pytestmark = pytest.mark.compact

EXAMPLES = int(os.environ.get("MCSIM_EXAMPLES", "200"))
COUNTS_HEADER = "env,variant,ram_mb,jitter,boots,failures,use\n"


def vectors_of(name):
    with gzip.open(DATA / f"{name}_subset.jsonl.gz", "rt") as lines:
        return [json.loads(line) for line in lines]


BUDDY, MAPLE = vectors_of("buddy"), vectors_of("maple")
SHORT = [vector for vector in BUDDY + MAPLE if len(vector["ops"]) < 120]


def one(which, name):
    return copy.deepcopy(next(vector for vector in which if vector["id"] == name))


# -- limits ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress])
def test_a_line_longer_than_any_vector_is_refused_before_it_is_all_there(pack, monkeypatch, tmp_path):
    monkeypatch.setattr(vectors, "MAX_LINE", 10_000)
    path = tmp_path / "v.jsonl"
    path.write_bytes(pack(b'{"config": "nommu", "id": "' + b"a" * 20_000 + b'"}\n'))
    with pytest.raises(UserError, match="is longer than 9 kB") as caught:
        conform.look_into(path)
    assert caught.value.key == "line 1"


def test_vectors_may_be_packed_with_xz(tmp_path):
    path = tmp_path / "v.jsonl.xz"
    path.write_bytes(lzma.compress(json.dumps(MAPLE[1]).encode()))
    assert conform.check_file(path).passed


@pytest.mark.parametrize("pages", [0, -1, 2**24 + 1, 2**31, 2**63, 10**30])
def test_memory_beyond_the_largest_zone_is_refused_with_the_largest(pages):
    with pytest.raises(UserError, match="a whole number from 1 to 16777216") as caught:
        conform.check_line(json.dumps(dict(BUDDY[0], pages=pages)))
    assert caught.value.key == "pages"


def test_digests_and_dumps_that_would_never_end_are_refused():
    vector = one(BUDDY, "corner/init-hole/nommu")
    vector.update(pages=1 << 24, digest_every=1, ops=[["n"]] * 200, res=[0] * 200)
    with pytest.raises(UserError, match=f"digests and dumps would look at {200 << 24} pages") as caught:
        conform.check_line(json.dumps(vector))
    assert caught.value.key == "ops"
    vector.update(digest_every=0, ops=[["d"]] * 200)
    with pytest.raises(UserError, match="digests and dumps would look at"):
        conform.check_line(json.dumps(vector))


def test_digests_of_trees_that_would_never_end_are_refused(monkeypatch):
    vector = one(MAPLE, "corner/n2-then-exit/32/rcu")
    vector.update(shape_every=1, digest_every=1)
    monkeypatch.setattr(vectors, "MAX_LOOKS", len(vector["ops"]) ** 2)
    with pytest.raises(UserError, match="entries"):
        conform.check_line(json.dumps(vector))


@pytest.mark.parametrize("at_once", [1, 1 << 13, 1 << 40])
def test_how_many_operations_are_run_at_once_changes_no_answer(at_once, monkeypatch):
    monkeypatch.setattr(buddy, "AT_ONCE", at_once)
    monkeypatch.setattr(maple, "AT_ONCE", at_once)
    for vector in SHORT[::4]:
        assert conform.check_line(json.dumps(vector)).passed


def test_a_shortage_of_nodes_ends_a_sequence_wherever_it_is_cut(monkeypatch):
    monkeypatch.setattr(maple, "AT_ONCE", 1)
    vector = one(MAPLE, "corner/n2-then-exit/64/rcu")
    ops = [["ps", 0, 20 * i, 20 * i + 9, i + 1] for i in range(8)]
    vector["ops"] = [*ops, ["s2", 0, 36, 39, 500, 88, 107, 501], ["wk", 0]]
    vector["res"] = [[None] * 13] * len(vector["ops"])
    found = conform.check_line(json.dumps(vector))
    assert found.mismatches[-1].operation == 9


def test_an_index_is_the_number_that_it_stands_for_among_many_pieces():
    numbers = [n << 50 for n in range(1, 1 << 14)]
    indices = Indices(numbers, 2**64 - 1, 2**63 - 2)
    assert len(indices.pieces()) > 1000
    assert [indices.number_of(indices.of[number]) for number in numbers[::97]] == numbers[::97]


# -- any damage -----------------------------------------------------------------------------------------------------

NUMBERS = [-1, 0, 1, 2, 3, 5, 11, 31, 1023, 1024, 4095, 4096, 10**5, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**48, 2**62]
WRONG = st.one_of(
    st.sampled_from([None, True, *NUMBERS, 2**63, 2**64 - 1, 2**65, -(2**63), 10**40, 1.5, "x", "", [], {}, [0], [[]]]),
    st.integers(-(2**70), 2**70),
    st.integers(0, 40),
)


@st.composite
def damaged_vectors(draw):
    """A vector in which one to four fields, operands, answers or whole operations are something else."""
    vector = copy.deepcopy(draw(st.sampled_from(SHORT)))
    header = [key for key in vector if key not in ("ops", "res", "init", "final")]
    for _ in range(draw(st.sampled_from([1, 1, 2, 4]))):
        place = draw(st.sampled_from(["header", "operand", "operand", "operand", "operation", "answer", "state"]))
        row = draw(st.integers(0, len(vector["ops"]) - 1))
        wrong = draw(WRONG)
        if place == "header":
            vector[draw(st.sampled_from(header))] = wrong
        elif place == "operand" and type(vector["ops"][row]) is list and vector["ops"][row]:
            operation = vector["ops"][row]
            operation[draw(st.integers(0, len(operation) - 1))] = wrong
        elif place == "operation":
            vector["ops"][row] = draw(st.sampled_from([wrong, *vector["ops"]]))
        elif place == "answer":
            vector["res"][row] = wrong
        else:
            key = draw(st.sampled_from([key for key in ("init", "final") if key in vector] or header))
            vector[key] = wrong
    return vector


@given(damaged_vectors())
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
def test_any_damage_to_a_vector_is_refused_or_compared_to_the_end(vector):
    try:
        found = conform.check_line(json.dumps(vector))
        assert found.sequences == 1
    except UserError as error:
        assert error.valid or "memory" in error.what


# -- what reaches the terminal ----------------------------------------------------------------------------------------

HOSTILE = "\x1b]0;pwned\x07\nAll match.\x9b\u202e\x7f"


def test_what_a_vector_says_reaches_the_terminal_in_printable_words(tmp_path, capsys):
    vector = one(BUDDY, "corner/init-hole/nommu")
    vector["id"] = HOSTILE
    vector["init"] = {HOSTILE: HOSTILE, **vector["init"]}
    vector["res"][0] = HOSTILE
    path = tmp_path / f"a{HOSTILE}.jsonl"
    path.write_text(json.dumps(vector))
    assert run_cli(["check", "allocators", str(path)]) == 1
    out = capsys.readouterr().out
    assert all(each.isprintable() or each == "\n" for each in out)
    assert "\nAll match." not in out
    assert "\\x1b]0;pwned" in out


def test_labels_and_names_of_a_mismatch_are_one_line_each():
    assert labels([Path(f"{HOSTILE}.gz")])[0].isprintable()
    found = vectors.Conformity(1, 1, [vectors.Mismatch(HOSTILE, 1, [HOSTILE], {HOSTILE: HOSTILE}, {HOSTILE: 1})])
    lines = first_mismatch("file", found).split("\n")
    assert len(lines) == 4
    assert all(line.isprintable() for line in lines)


# -- counts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        COUNTS_HEADER.encode() + b"C,V0,32,0,\0,3,check\n",
        COUNTS_HEADER.encode() + b"C,V0,32,0,5,3,\xff\n",
        COUNTS_HEADER.encode() + b"C,V0,32,0,%d,3,check\n" % (MAX_COUNT + 1),
        COUNTS_HEADER.encode() + b"C,V0,32,0,999999999,3,check\n",
        COUNTS_HEADER.encode() + b"C,V0,32,0,5,3," + b"x" * 200_000 + b"\n",
        COUNTS_HEADER.encode() + b"C,V0,32,0,5,3,\x1b[31m\n",
        b"env,env,variant,ram_mb,jitter,boots,failures,use\nC,N,V0,32,0,5,3,check\n",
        COUNTS_HEADER.encode() * (1 << 19),
    ],
)
def test_counts_that_cannot_be_are_one_message(content, tmp_path):
    path = tmp_path / "counts.csv"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_counts(path, ["C"])
    assert str(caught.value.file).startswith(str(path))


def test_the_probability_of_every_outcome_is_the_same_in_parts(monkeypatch):
    draws = np.linspace(0.001, 0.999, 50)
    whole = predictive(300, draws)
    monkeypatch.setattr("mcsim.fidelity.model.score.PROBABILITIES", 170)
    assert PROBABILITIES > 300 * 50
    assert np.array_equal(predictive(300, draws), whole)


def test_a_text_of_a_file_is_no_formula_in_a_table():
    import polars as pl

    for text in ("=cmd|'/c calc'!A1", "+1", "-1", "@x", " =1"):
        assert csv_safe(text).startswith("'")
    assert csv_safe("check") == "check"
    assert csv_safe("\x1b[31m\n=1") == "\\x1b[31m =1"
    frame = pl.DataFrame({"use": ["=1", "check"], "p": [-0.5, 1.0]})
    assert csv_of(frame) == "use,p\n'=1,-0.5\ncheck,1.0\n"


# -- what validate writes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("there", ["counts", "notes", "folder", "link"])
def test_predictions_are_never_written_over_anything_else(there, tmp_path, capsys):
    table = tmp_path / "table.csv"
    if there == "folder":
        table.mkdir()
    elif there == "link":
        (tmp_path / "notes").write_text("")
        table.symlink_to(tmp_path / "notes")
    else:
        table.write_text(COUNTS_HEADER if there == "counts" else "notes\n")
    before = table.read_text() if table.is_file() else None
    assert run_cli(["check", "model", "--predict", "N", "--csv", str(table), "--out", str(tmp_path / "out")]) == 2
    assert "is there, and holds no predictions" in capsys.readouterr().err
    assert before is None or table.read_text() == before


def test_counts_are_never_written_over(tmp_path, capsys):
    (tmp_path / "predicted.csv").write_text(COUNTS_HEADER + "C,V0,32,0,5,3,check\n")
    counts = tmp_path / "counts.csv"
    counts.hardlink_to(tmp_path / "predicted.csv")
    assert run_cli(["check", "model", "--counts", str(counts), "--out", str(tmp_path)]) == 2
    assert "would be overwritten, and is read" in capsys.readouterr().err
    assert counts.read_text().startswith(COUNTS_HEADER)
