"""The fuzzers themselves: a fuzzer that cannot fail proves nothing."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from mcsim import files
from mcsim.errors import UserError
from tests.fuzz.__main__ import main, page, plan
from tests.fuzz.choices import Choices
from tests.fuzz.mutate import archive, other_document, packed, places, toml
from tests.fuzz.oracle import WrongAnswerError, check_message
from tests.fuzz.supervisor import Batch, Supervisor, Tally
from tests.fuzz.worker import attempt

BROKEN = """
import os, signal, time
from mcsim.errors import UserError
from tests.fuzz.oracle import demand
SHARE, ENGINES = 1, ("counted", "hypothesis", "atheris")
def make(choices, corpus, folder):
    (folder / "file").write_text("content")
    return {"number": choices.below(20), "rare": choices.below(1000)}
def run(corpus, folder, case):
    number = case["number"]
    if number == WRONG: demand(False, "it says 2.81")
    if number == TRACEBACK: {}["key"]
    if number == EXIT: raise SystemExit(0)
    if case["rare"] == HANG: time.sleep(3600)
    if number == CRASH: os.kill(os.getpid(), signal.SIGSEGV)
    if number == ESCAPE: raise UserError("")
    if number % 2: raise UserError("is refused", file="file", valid="another")
WRONG, TRACEBACK, EXIT, HANG, CRASH, ESCAPE = None, None, None, None, None, None
"""


def fuzz_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faults: str, engine: str = "counted") -> Tally:
    """What becomes of 100 inputs of a reader with these faults."""
    name = f"broken_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(BROKEN + faults)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    supervisor = Supervisor(scratch, tmp_path / "findings", 0, workers=1, limit=1.0)
    return supervisor.run([Batch(name, engine, 0, 100)])


def test_a_reader_without_faults_is_clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tally = fuzz_broken(tmp_path, monkeypatch, "")
    assert tally.clean
    assert tally.total("accepted") + tally.total("refused") == 100
    assert min(tally.total("accepted"), tally.total("refused")) > 30
    assert page(tally, 1.0).endswith("fuzz: 100 inputs, 0 tracebacks, 0 hangs, 0 crashes, 0 wrong")


def test_tracebacks_and_wrong_answers_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tally = fuzz_broken(tmp_path, monkeypatch, "TRACEBACK, WRONG, EXIT, ESCAPE = 7, 8, 9, 10")
    found = {kind: verdict for _, verdict, kind in tally.kinds}
    assert sorted(found.values()) == ["traceback", "traceback", "wrong", "wrong"]
    assert any(kind.startswith("KeyError in broken_") for kind in found)
    assert any(kind.startswith("SystemExit") for kind in found)
    assert "it says #.#" in found
    assert not tally.clean
    assert sum(each.total() for each in tally.verdicts.values()) == 100


def test_a_finding_is_kept_with_its_input_and_how_to_make_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tally = fuzz_broken(tmp_path, monkeypatch, "TRACEBACK = 7")
    ((kept, *_),) = tally.kept.values()
    assert (kept / "input" / "file").read_text() == "content"
    assert json.loads((kept / "case.json").read_text())["number"] == 7
    number = int(kept.name.rpartition("-")[2])
    assert f"--only {number}" in (kept / "finding.txt").read_text()
    assert "KeyError" in (kept / "finding.txt").read_text()
    name = kept.name.partition("-")[0]
    assert Choices.counted(0, name, number).below(20) == 7


def test_a_crash_is_one_inputs_and_the_rest_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tally = fuzz_broken(tmp_path, monkeypatch, "CRASH = 7")
    assert tally.total("crash") > 0
    assert sum(each.total() for each in tally.verdicts.values()) == 100
    ((name, verdict, kind),) = tally.kinds
    assert (verdict, kind) == ("crash", "signal 11")
    assert json.loads((tally.kept[name, verdict, kind][0] / "case.json").read_text())["number"] == 7


def test_a_hang_is_one_inputs_and_the_rest_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Not one of the first: they may take longer, as kernels are loaded.
    choices = Choices.counted(0, f"broken_{tmp_path.name.replace('-', '_')}", 60)
    choices.below(20)
    tally = fuzz_broken(tmp_path, monkeypatch, f"HANG = {choices.below(1000)}")
    assert tally.total("hang") == 1
    assert sum(each.total() for each in tally.verdicts.values()) == 100


def test_hypothesis_finds_and_makes_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tally = fuzz_broken(
        tmp_path, monkeypatch, "base = run\ndef run(c, f, case):\n    if case['number'] > 10: {}['key']", "hypothesis"
    )
    assert tally.total("traceback") > 0
    ((key, places_kept),) = tally.kept.items()
    assert key[1] == "traceback"
    assert 11 in [json.loads((kept / "case.json").read_text())["number"] for kept in places_kept]


def test_atheris_follows_what_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("atheris", reason="needs atheris")
    tally = fuzz_broken(tmp_path, monkeypatch, "TRACEBACK = 0", "atheris")
    assert tally.total("traceback") > 0
    assert sum(each.total() for each in tally.verdicts.values()) == 100


def test_a_broken_reader_of_mcsim_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The door for TOML lets through what the parser raises."""
    from tests.fuzz.targets import workload

    def run(corpus: Path, folder: Path, case: dict[str, object]) -> None:
        import tomllib

        tomllib.loads((folder / "workload.toml").read_bytes().decode())

    monkeypatch.setattr(workload, "run", run)
    found = set()
    for number in range(500):
        folder = tmp_path / str(number)
        folder.mkdir()
        case = workload.make(Choices.counted(0, "workload", number), tmp_path, folder)
        verdict, kind, _ = attempt(workload, tmp_path, folder, case)
        found.add(kind.partition(" ")[0] if verdict == "traceback" else verdict)
    os.chdir(tmp_path)
    assert {"TOMLDecodeError", "UnicodeDecodeError", "RecursionError", "accepted"} <= found


def test_an_input_is_a_function_of_seed_target_and_number(tmp_path: Path) -> None:
    from tests.fuzz.targets import timing

    def make(seed: int, number: int, name: str) -> bytes:
        folder = tmp_path / name
        folder.mkdir()
        timing.make(Choices.counted(seed, "timing", number), tmp_path, folder)
        return (folder / "timing.toml").read_bytes()

    assert make(1, 5, "a") == make(1, 5, "b")
    assert len({make(1, 5, "c"), make(2, 5, "d"), make(1, 6, "e")}) == 3


def test_every_target_gets_its_inputs_and_none_is_lost() -> None:
    from tests.fuzz.__main__ import PACKAGE, TARGETS

    modules = [f"{PACKAGE}.{name}" for name in TARGETS]
    for engines in (["counted"], ["counted", "hypothesis", "atheris"], ["hypothesis"]):
        batches = plan(modules, 20_000, engines)
        assert sum(batch.count for batch in batches) == 20_000
        assert {batch.module for batch in batches} == set(modules)
        covered = [
            (batch.module, batch.engine, number)
            for batch in batches
            for number in range(batch.first, batch.first + batch.count)
        ]
        assert len(set(covered)) == 20_000


def test_a_message_is_one_line_and_what_belongs_to_it() -> None:
    check_message(UserError("is none", file="x\x1b", valid="a\n  b"))
    endless, broken = UserError("is none"), UserError("is none")
    endless.args, broken.args = ("x" * 30_000,), ("a\nb",)
    for bad in (UserError(""), broken, endless):
        with pytest.raises(WrongAnswerError):
            check_message(bad)


def test_mutations_reach_every_place_and_toml_says_what_it_can() -> None:
    import tomllib

    document = {"a": 1, "t": {"x": [1, {"y": 2.5}], "z": "text\x7f\n"}}
    assert tomllib.loads(toml(document)) == document
    assert len(places(document)) == 8
    changed = {json.dumps(other_document(Choices.counted(0, "x", number), document)) for number in range(200)}
    assert len(changed) > 100
    assert document == {"a": 1, "t": {"x": [1, {"y": 2.5}], "z": "text\x7f\n"}}


def test_archives_are_mostly_whole_and_sometimes_not() -> None:
    arrays = {"a": np.arange(10, dtype=np.int32), "b": np.zeros((2, 3), np.uint8)}
    whole = 0
    for number in range(200):
        content = archive(Choices.counted(0, "archive", number), arrays)
        try:
            read = files.arrays_of(content, "file", limit=1 << 20)
            whole += all(np.array_equal(read.get(name), array) for name, array in arrays.items())
        except UserError:
            pass
    assert 100 < whole < 190
    assert len({packed(Choices.counted(0, "p", number), b"text")[:6] for number in range(60)}) >= 3


def test_the_command_prints_its_table_and_tells_by_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    (tmp_path / "broken_command.py").write_text(BROKEN)
    # A name with a dot is a module of one's own.
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "broken.py").write_text(BROKEN + "TRACEBACK = 7")
    (tmp_path / "own" / "fine.py").write_text(BROKEN)
    options = ["--inputs", "80", "--engine", "counted", "--findings", str(tmp_path / "found"), "--workers", "1"]
    assert main(["--target", "own.fine", *options]) == 0
    assert capsys.readouterr().out.endswith("fuzz: 80 inputs, 0 tracebacks, 0 hangs, 0 crashes, 0 wrong\n")
    assert main(["--target", "own.broken", *options]) == 1
    assert "traceback KeyError in broken.py" in capsys.readouterr().out
