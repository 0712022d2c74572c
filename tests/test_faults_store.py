"""Result folders survive kills, full disks and other runs; what is damaged, edited or missing is told."""

import io
import json
import math
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import stand_in
from conftest import SMALL, small

import mcsim
from mcsim import files
from mcsim.cli import run_cli
from mcsim.errors import UserError
from mcsim.fidelity.results import found_with
from mcsim.kernels.boot import batch
from mcsim.run import engine
from mcsim.simulator import simulator
from mcsim.store import store as store_module
from mcsim.store.documents import read_document
from mcsim.store.ranges import in_words, union, without
from mcsim.store.result import Result
from mcsim.store.shard import BLOCK
from mcsim.store.store import COLUMNS, Store, content_hash, dead_temporaries

pytestmark = pytest.mark.usefixtures("stand_in_kernel")


def made(**options: Any) -> Result:
    return mcsim.run(small(), out="here", workers=1, **options)


def rewrite(path: Path, change: Callable[[pl.DataFrame], pl.DataFrame], task: str | None = None) -> None:
    """Edit a chunk so that its checksums are right: a SHA-256 is no secret."""
    frame = change(pl.read_parquet(path))
    task = pl.read_parquet_metadata(path)["task"] if task is None else task
    seal = (store_module._SEAL + store_module._ZEROS).decode()
    packed = io.BytesIO()
    frame.write_parquet(packed, metadata={"task": task, "sha256": content_hash(frame, task), "seal": seal})
    path.write_bytes(store_module._sealed(packed.getvalue()))


def first_chunk(result: Result) -> Path:
    return result.store.chunks(result.tasks[0])[0][2]


def edit(name: str, change: Callable[[dict[str, Any]], object]) -> None:
    path = Path("here") / name
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def run_record(result: Result) -> str:
    (name,) = (path.name for path in (result.path / "records").glob("run-*"))
    return f"records/{name}"


class TestChunks:
    def test_have_the_columns_of_an_outcome(self) -> None:
        assert {name: kind for name, (kind, _, _) in COLUMNS.items()} == {
            name: batch.OUTCOME[name].name for name in batch.OUTCOME.names or ()
        }
        assert list(COLUMNS) == list(batch.OUTCOME.names or ())

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda f: f.filter(f["failed"] == 0), "does not hold boots 0 to"),
            (lambda f: f.with_columns(boot=f["boot"] * 0), "does not hold boots 0 to"),
            (lambda f: f.reverse(), "does not hold boots 0 to"),
            (lambda f: pl.concat([f, f]), "its checksum is wrong"),
            (lambda f: f.with_columns(failed=f["failed"] * 5), "failed = 5 is out of range"),
            (lambda f: f.with_columns(failed=f["failed"] * -1), "failed = -1 is out of range"),
            (lambda f: f.with_columns(failure_class=f["failure_class"] + 4), "failure_class = 5 is out of range"),
            (lambda f: f.with_columns(order=f["order"] + 9), "order = 16 is out of range"),
            (lambda f: f.with_columns(time_us=f["time_us"] - 1), "time_us = -1 is out of range"),
            (lambda f: f.drop("boot"), "columns are not those"),
            (lambda f: f.drop("failed"), "columns are not those"),
            (lambda f: f.with_columns(more=f["boot"]), "columns are not those"),
            (lambda f: f.with_columns(failed=f["failed"].cast(pl.Int64)), "columns are not those"),
            (lambda f: f.with_columns(failed=f["failed"].cast(pl.Float64)), "columns are not those"),
            (lambda f: f.select(reversed(f.columns)), "columns are not those"),
            (
                lambda f: f.with_columns(failed=pl.when(pl.col("boot") == 3).then(None).otherwise(pl.col("failed"))),
                "lacks values",
            ),
        ],
    )
    def test_edited_with_right_checksums_are_refused_by_whoever_reads_and_by_a_run(
        self, change: Callable[[pl.DataFrame], pl.DataFrame], words: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        result = made()
        path = first_chunk(result)
        rewrite(path, change)
        there = set(result.path.rglob("*"))
        Path("small.toml").write_text(SMALL)
        for command in (
            ["report", "here"],
            ["check", "results", "here"],
            ["run", "small.toml", "--out", "here", "--boots", "120"],
            ["compare", "here", "--baseline", "maple-naive"],
            ["merge", "here", "-o", "there"],
        ):
            assert run_cli(command) == 2, command
            said = capsys.readouterr().err
            assert path.name in said
            assert words in said
            assert "delete this file" in said
        assert set(result.path.rglob("*")) == there, "nothing was simulated"

    def test_renamed_are_refused(self, capsys: pytest.CaptureFixture[str]) -> None:
        result = made()
        path = first_chunk(result)
        path.rename(path.with_name("00000100-00000115.parquet"))
        Path("small.toml").write_text(SMALL)
        for command in (["run", "small.toml", "--boots", "120", "--out", "here"], ["check", "results", "here"]):
            assert run_cli(command) == 2
            assert "it does not hold boots 100 to 115" in capsys.readouterr().err

    @pytest.mark.parametrize(
        "name", ["0-15.parquet", "00000015-00000000.parquet", "0000000000-0009999999.parquet", "copy.parquet"]
    )
    def test_of_no_name_of_a_chunk_are_refused(self, name: str) -> None:
        result = made()
        path = first_chunk(result)
        path.rename(path.with_name(name))
        with pytest.raises(UserError, match="is not the name of a chunk"):
            mcsim.load("here").summary()

    def test_of_the_same_boots_with_other_outcomes_are_refused(self) -> None:
        result = made()
        store, task = result.store, result.tasks[0]
        frame = store.read(task).slice(5, 3)
        store.write_frame(task, frame)
        assert store.read(task).height == 100
        store.write_frame(task, frame.with_columns(free_pages=frame["free_pages"] + 1))
        with pytest.raises(UserError, match="boot 5 of maple-naive at 31M is stored twice, with two outcomes"):
            store.read(task)

    def test_with_any_byte_changed_or_cut_off_are_refused_before_they_are_parsed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        result = made()
        path = first_chunk(result)
        good = path.read_bytes()

        def never(*_: object, **__: object) -> None:
            raise AssertionError("parsed")

        monkeypatch.setattr(pl, "read_parquet", never)
        chance = random.Random(1)
        seal = range(good.index(store_module._SEAL), good.index(store_module._SEAL) + len(store_module._SEAL))
        for place in {chance.randrange(len(good)) for _ in range(300)} - set(seal):
            path.write_bytes(good[:place] + bytes([good[place] ^ 255]) + good[place + 1 :])
            with pytest.raises(UserError, match="is damaged: its checksum is wrong"):
                mcsim.load("here").summary()

    def test_whose_reader_panics_are_one_message(self, monkeypatch: pytest.MonkeyPatch) -> None:
        result = made()

        class Panic(BaseException):  # as pyo3_runtime.PanicException
            pass

        def panic(*_: object, **__: object) -> None:
            raise Panic("called `Option::unwrap()` on a `None` value")

        monkeypatch.setattr(pl, "read_parquet", panic)
        with pytest.raises(UserError, match="is damaged: called"):
            result.store.read(result.tasks[0])

    def test_in_a_folder_of_no_cell_are_refused(self) -> None:
        result = made()
        shutil.copytree(first_chunk(result).parent, "here/chunks/0123456789abcdef")
        with pytest.raises(UserError, match="0123456789abcdef: belongs to no cell"):
            mcsim.load("here")

    def test_are_read_once_by_a_run_that_looks_for_gaps(self, monkeypatch: pytest.MonkeyPatch) -> None:
        result = made()
        store, read = Store(result.path), []
        original = Store._read_chunk
        monkeypatch.setattr(Store, "_read_chunk", lambda *given: (read.append(given[-1]), original(*given))[1])
        for _ in range(3):
            assert store.missing(result.tasks[0], 100) == []
        assert len(read) == len(store.chunks(result.tasks[0]))


class TestDocuments:
    @pytest.mark.parametrize("key", ["format", "experiment", "kernels", "workload"])
    @pytest.mark.parametrize("value", [None, [], {}, -1, "x" * 70, "remove"])
    def test_a_manifest_without_a_key_or_with_another_type_is_one_message(
        self, key: str, value: object, capsys: pytest.CaptureFixture[str]
    ) -> None:
        made()
        edit("manifest.json", lambda it: it.pop(key) if value == "remove" else it.update({key: value}))
        Path("small.toml").write_text(SMALL)
        for command in (
            ["report", "here", "--format", "csv"],
            ["check", "results", "here"],
            ["merge", "here", "-o", "c"],
            ["run", "small.toml", "--out", "here", "--boots", "200"],
        ):
            assert run_cli(command) == 2
            said = capsys.readouterr().err
            assert "here" in said
            assert key in said

    @pytest.mark.parametrize(
        ("change", "key"),
        [
            (lambda it: it.pop("started"), "started"),
            (lambda it: it.update(versions={}), "versions.cpu"),
            (lambda it: it.update(versions={**it["versions"], "numpy": 3}), "versions.numpy"),
            (lambda it: it.update(boots="many"), "boots"),
            (lambda it: it.update(shard="3/1x"), "shard"),
            (lambda it: it.update(shard="3/1"), "--shard"),
            (lambda it: it.update(ended={"x": "y"}), "ended"),
            (lambda it: it.update(stored={"a" * 64: [[0]]}), "stored"),
            (lambda it: it.update(stored={"a" * 64: [[-1, 2]]}), "stored"),
            (lambda it: it.update(foreign=1), "foreign"),
            (lambda it: it.update(backend="\ud800"), "half a character"),
        ],
    )
    def test_a_record_of_a_run_likewise(
        self, change: Callable[[dict[str, Any]], object], key: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        edit(run_record(made()), change)
        assert run_cli(["report", "here"]) == 2
        said = capsys.readouterr().err
        assert "run-" in said or key == "--shard"
        assert key in said

    @pytest.mark.parametrize("name", ["manifest.json", "experiment.json", "records"])
    @pytest.mark.parametrize(
        "content", [b"", b"{", b'{"a":' * 50000, b"[" * 900 + b"]" * 900, b"\xff", b"[]", b"3", b"null"]
    )
    def test_damaged_ones_are_one_message(self, name: str, content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
        result = made()
        path = Path("here", run_record(result) if name == "records" else name)
        path.write_bytes(content)
        for command in (
            ["report", "here", "--format", "csv"],
            ["check", "results", "here"],
            ["merge", "here", "-o", "c"],
        ):
            assert run_cli(command) == 2
            assert path.name in capsys.readouterr().err

    def test_a_folder_of_another_format_is_told_so(self) -> None:
        made()
        edit("manifest.json", lambda it: it.update(format=1, runs=[]))
        with pytest.raises(UserError, match="here: has format 1, this mcsim writes 3") as caught:
            mcsim.load("here")
        assert "--out" in str(caught.value)

    def test_policies_exchanged_in_experiment_json_are_noticed_by_everyone(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        made()

        def exchange(document: dict[str, Any]) -> None:
            policies = document["experiment"]["variants"]
            policies["maple-naive"], policies["tail-free"] = policies["tail-free"], policies["maple-naive"]

        edit("experiment.json", exchange)
        Path("small.toml").write_text(SMALL)
        for command in (["report", "here"], ["check", "results", "here"], ["run", "small.toml", "--out", "here"]):
            assert run_cli(command) == 2
            assert "experiment.json: experiment.variants.maple-naive" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("seed", 4),
            ("seed", "4"),
            ("seed", True),
            ("ram", [32 << 20]),
            ("ram", [31 << 20, 31 << 20]),
            ("ram", ["31M"]),
            ("ram", [1]),
            ("board", {"name": "m5208evb"}),
            ("board", {}),
            ("board", []),
            ("boots", 0),
            ("boots", 1e300),
            ("order", ["tail-free"]),
            ("order", []),
            ("descriptions", {}),
            ("timing", {"gap_sigma": 0.2}),
            ("timing", {"gap_sigma": "x"}),
            ("stop", {"half_life": 1}),
            ("stop", None),
            ("skipped", [["tail-free", 31 << 20]]),
            ("skipped", [[1]]),
            ("workload", "S"),
            ("workload_source", "S"),
            ("title", 3),
            ("name", "other"),
        ],
    )
    def test_another_experiment_is_noticed(self, key: str, value: object, capsys: pytest.CaptureFixture[str]) -> None:
        made()
        edit("experiment.json", lambda it: it["experiment"].update({key: value}))
        assert run_cli(["report", "here", "--format", "csv"]) == 2
        said = capsys.readouterr().err
        assert "experiment.json: experiment." in said
        assert key in said

    def test_another_definition_of_a_task_is_noticed(self) -> None:
        result = made()
        edit("experiment.json", lambda it: it["tasks"][result.tasks[0].id].update(model_version=1))
        with pytest.raises(UserError, match=r"tasks\.[0-9a-f]{64}\.model_version: 1, and 3 as this mcsim makes it"):
            mcsim.load("here")

    def test_text_that_is_no_text_is_one_message(self, capsys: pytest.CaptureFixture[str]) -> None:
        made()
        Path("here/experiment.toml").write_bytes(b"\xff\xfe")
        assert run_cli(["report", "here"]) == 2
        Path("here/experiment.toml").unlink()
        assert run_cli(["report", "here"]) == 2
        assert "experiment.toml" in capsys.readouterr().err

    @pytest.mark.parametrize("name", ["x" * 300, "/".join(["x" * 200] * 30)])
    @pytest.mark.parametrize(
        "command", [["report"], ["check", "results"], ["run", "small.toml", "--out"], ["merge", "here", "-o"]]
    )
    def test_names_that_no_folder_can_have_are_one_message(
        self, name: str, command: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        Path("small.toml").write_text(SMALL)
        if command[0] == "merge":
            made()
        assert run_cli([*command, name]) == 2
        assert "mcsim: " in capsys.readouterr().err

    def test_a_name_with_a_nul_in_it_is_one_message(self) -> None:
        made()
        for use in (mcsim.load, lambda name: mcsim.run(small(), out=name), lambda name: mcsim.merge(["here"], name)):
            with pytest.raises(UserError):
                use("a\0b")

    def test_numbers_of_any_size_are_one_message(self, tmp_path: Path) -> None:
        path = tmp_path / "manifest.json"
        path.write_text('{"format": ' + "9" * 4000 + "}")
        with pytest.raises(UserError, match=r"has format 9{20}, "):
            read_document(path, store_module.documents.Manifest, 2)


def finish_at(count: int, folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run `mcsim run small.toml` in a process that kills itself at its `count`-th change in `folder`."""
    script = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(stand_in.__file__).parent)!r})
import stand_in
from mcsim.run import compiling, engine
from mcsim.simulator import simulator
simulator.simulate, simulator.load_workload = stand_in.simulate, stand_in.load_workload
compiling.compiled_marker = lambda what: None
folder, left = {str(folder)!r}, [{count}]
def hook(event, arguments):
    if event not in ("open", "os.rename", "os.mkdir", "os.remove", "os.link"):
        return
    if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
        return
    if isinstance(arguments[0], str | os.PathLike) and os.path.abspath(arguments[0]).startswith(folder):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
import mcsim
from mcsim.model import experiment
loaded = experiment.load("small.toml")
sys.addaudithook(hook)
{code}
"""
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
def test_a_run_killed_while_it_makes_its_folder_is_continued_by_the_same_command(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(SMALL)
    whole = mcsim.run(small(), out="whole")
    run = "mcsim.run(loaded, out='cut', workers=1)"
    killed = 0
    for number in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18):
        shutil.rmtree("cut", ignore_errors=True)
        done = finish_at(number, tmp_path / "cut", run)
        killed += done.returncode == -signal.SIGKILL
        again = mcsim.run(small(), out="cut")
        assert again.summary().equals(whole.summary()), number
        assert again.missing() == []
        assert not list(again.path.rglob(".*")), number
    assert killed == 14


class TestFolders:
    def test_what_a_killed_maker_leaves_is_no_obstacle_and_anything_else_is(self, tmp_path: Path) -> None:
        made()
        for extra in ("thesis.txt", "chunks/thesis.txt", ".profile"):
            folder = tmp_path / extra.replace("/", "-")
            (folder / "chunks" / "0123456789abcdef").mkdir(parents=True)
            for name in ("experiment.toml", "experiment.json"):
                shutil.copy(Path("here") / name, folder)
            (folder / f".manifest.json.{'host'}.1.2.tmp").write_bytes(b"{")
            (folder / extra).write_text("mine")
            with pytest.raises(UserError, match="exists and is not a result folder"):
                mcsim.run(small(), out=folder)
            assert (folder / extra).read_text() == "mine"
            (folder / extra).unlink()
            assert mcsim.run(small(), out=folder).summary()["boots"].to_list() == [100] * 4

    def test_a_file_of_the_user_with_a_name_of_ours_is_not_overwritten(self, tmp_path: Path) -> None:
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "experiment.toml").write_text("# my own")
        with pytest.raises(UserError, match="exists and is not a result folder"):
            mcsim.run(small(), out="mine")
        assert (tmp_path / "mine" / "experiment.toml").read_text() == "# my own"

    def test_temporary_files_of_dead_writers_go_and_those_of_others_stay(self, tmp_path: Path) -> None:
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        host = store_module.platform.node()
        dead, alive = tmp_path / f".a.json.{host}.{gone.pid}.5.tmp", tmp_path / f".a.json.{host}.{os.getpid()}.5.tmp"
        there, old = tmp_path / ".a.json.elsewhere.1.5.tmp", tmp_path / ".b.json.elsewhere.1.5.tmp"
        for path in (dead, alive, there, old, tmp_path / "a.tmp", tmp_path / ".profile"):
            path.write_text("")
        os.utime(old, (1e9, 1e9))
        assert set(dead_temporaries(tmp_path)) == {dead, old}

    def test_two_runs_of_different_experiments_that_make_one_folder_at_once_do_not_mix(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = small(SMALL.replace("seed = 3", "seed = 4"))
        original = Store._refuse_foreign_files

        def late(self: Store, frozen: Any) -> None:  # between its look and its first file another run makes the folder
            original(self, frozen)
            monkeypatch.setattr(Store, "_refuse_foreign_files", original)
            mcsim.run(other, out="here", workers=1)

        monkeypatch.setattr(Store, "_refuse_foreign_files", late)
        with pytest.raises(UserError, match=r"experiment\.seed: 4 there, 3 here"):
            made()
        assert mcsim.load("here").summary()["boots"].to_list() == [100] * 4

    def test_a_folder_removed_during_a_run_is_one_message(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def remove(task: Any, source: str, first: int, count: int) -> Any:
            shutil.rmtree("here", ignore_errors=True)
            return stand_in.simulate(task, source, first, count)

        monkeypatch.setattr(simulator, "simulate", remove)
        with pytest.raises(UserError, match="cannot be written: No such file"):
            made()
        monkeypatch.setattr(simulator, "simulate", stand_in.simulate)
        assert made().summary()["boots"].to_list() == [100] * 4


class TestDisk:
    @pytest.mark.parametrize("kilobytes", [1, 2, 4])
    def test_files_that_may_not_grow_are_one_message_and_nothing_is_lost(self, kilobytes: int, tmp_path: Path) -> None:
        (tmp_path / "small.toml").write_text(SMALL)
        limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({kilobytes << 10}, {kilobytes << 10}))\n"
        main = "from mcsim.cli import main\nmain(['run', 'small.toml', '--out', 'here', '--workers', '1'])"
        done = finish_at(-1, tmp_path / "here", limit + main)
        assert done.returncode == 2, done.stderr
        assert "cannot be written: File too large" in done.stderr
        assert "room on the disk" in done.stderr
        assert "Traceback" not in done.stderr
        assert made().summary().equals(mcsim.run(small(), out="whole").summary())

    @pytest.mark.parametrize("number", [0, 1, 2, 5, 28, 29])
    def test_full_at_any_write_is_one_message_and_the_same_command_continues(
        self, number: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = mcsim.run(small(), out="whole")
        monkeypatch.setattr(engine, "MAX_CHUNK", 16)  # so 28 chunks, and the record before and after them
        left = [number]
        original = Path.replace

        def full(path: Path, target: Path) -> Path:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(28, "No space left on device")
            return original(path, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", full)
            with pytest.raises(UserError, match=r"cannot be written: No space left on device\s+valid: .*room on"):
                made()
        assert not list(Path().rglob(".*.tmp"))
        assert made().summary().equals(whole.summary())

    def test_the_first_error_is_the_one_that_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object) -> None:
            raise UserError("the first")

        def also(*_: object) -> None:
            raise UserError("the second")

        monkeypatch.setattr(Store, "write", fail)
        monkeypatch.setattr(engine, "_end", also)
        with pytest.raises(UserError, match="the first"):
            made()

    def test_a_check_that_cannot_be_written_down_is_told_and_counts(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        made()

        def read_only(path: Path, content: bytes) -> None:
            raise OSError(30, "Read-only file system")

        monkeypatch.setattr(files, "write_atomically", read_only)
        assert run_cli(["check", "results", "here"]) == 0
        assert "could not be written down: " in capsys.readouterr().err


def begin_and_end(path: str, times: int) -> None:
    """In a process of its own: so many runs begin and end."""
    store = Store(Path(path))
    for _ in range(times):
        facts = {"boots": 1, "workers": 1, "backend": "threads", "cells": 1, "shard": "1/1", "stop": {}}
        record = engine._begin(store, **facts)
        watch: Any = SimpleNamespace(active=[], ended={"a" * 64: "max_failures: 3 failures in 100 boots"})
        engine._end(store, record, watch)


def test_no_record_of_runs_that_begin_and_end_at_once_is_lost() -> None:
    result = made()
    context = multiprocessing.get_context("fork" if hasattr(os, "fork") else "spawn")
    processes = [context.Process(target=begin_and_end, args=(str(result.path), 60)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    manifest = mcsim.load("here").manifest
    assert len(manifest["runs"]) == 181
    assert all(run["finished"] for run in manifest["runs"])
    assert manifest["ended"]["a" * 64] == "max_failures: 3 failures in 100 boots"


class TestRules:
    def test_the_mark_of_a_rule_that_looked_outlives_runs_without_rules(self) -> None:
        text = SMALL.replace("boots = 100", "boots = 1000")
        ruled = mcsim.run(small(text + "[stop]\nmax_failures = 20\n"), out="here")
        marks = ruled.manifest["ended"]
        looked = {task for task, words in marks.items() if words.startswith("max_failures")}
        assert looked
        again = mcsim.run(small(text), boots=200, out="here")
        later = mcsim.run(small(text), boots=1200, out="here")
        for result in (again, later, mcsim.merge(["here"], "merged")):
            assert all(result.manifest["ended"][task] == marks[task] for task in looked)
            assert any("max_failures" in sentence for sentence in result.ended())

    def test_the_mark_is_kept_though_the_run_is_killed_before_it_ends(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(engine, "_end", lambda *_: None)  # as after SIGKILL
            mcsim.run(small(SMALL + "[stop]\nmax_failures = 5\n"), out="here", boots=1000)
        assert mcsim.load("here").manifest["runs"][0]["finished"] is None
        result = made(boots=200)
        assert any((result.rule(task) or "").startswith("max_failures") for task in result.tasks)

    def test_a_run_for_fewer_boots_says_nothing_of_a_cell_that_has_more(self) -> None:
        made(variants=["maple-naive"])
        result = made(boots=50)
        rules = {task.variant: result.rule(task) for task in result.tasks}
        assert rules == {"maple-naive": "max_boots: 100 boots", "tail-free": "max_boots: 50 boots"}


class TestMissing:
    def test_of_a_whole_folder_nothing_is(self) -> None:
        assert made().missing() == []
        assert made(boots=50).missing() == []
        assert mcsim.merge(["here"], "merged").missing() == []

    def test_a_chunk_that_was_taken_away_is_named_and_gives_exit_code_1(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        result = made()
        path = result.store.chunks(result.tasks[0])[-1][2]
        first, last, _ = result.store.chunks(result.tasks[0])[-1]
        path.unlink()
        assert run_cli(["check", "results", "here"]) == 1
        words = f"Gone, though runs have stored them: boots {first}..{last} of maple-naive at 31M"
        assert words in capsys.readouterr().out
        assert mcsim.load("here").manifest["verified"][-1]["gone"] == last - first + 1
        for form in ("text", "markdown", "csv", "html"):
            assert run_cli(["report", "here", "--format", form]) == 0
            said = capsys.readouterr()
            told = Path("here/report.html").read_text() if form == "html" else said.out + said.err
            assert words in " ".join(told.split())
        made()
        assert run_cli(["check", "results", "here"]) == 0

    def test_failing_boots_that_were_cut_out_are_named(self, capsys: pytest.CaptureFixture[str]) -> None:
        """As a cheat would do it: chunks named after the boots that are left, and the records changed, too."""
        result = made()
        store = result.store
        task = next(task for task in result.tasks if 0 < len(store.failing(task)) < 50)
        frame = store.read(task)
        for _, _, path in store.chunks(task):
            path.unlink()
        good = frame.filter(frame["failed"] == 0)
        for first, last in union((boot, boot) for boot in good["boot"]):
            store.write_frame(task, frame.slice(first, last - first + 1))
        kept = [list(each) for each in store.ranges(task)]
        edit(run_record(result), lambda it: it["stored"].update({task.id: kept}))
        assert run_cli(["check", "results", "here"]) == 1
        assert f"({100 - good.height:,} in all)" in capsys.readouterr().out
        edit(run_record(result), lambda it: it.update(complete=False))
        assert f"({good['boot'].max() + 1 - good.height:,} in all)" in " ".join(mcsim.load("here").missing())

    def test_a_part_of_a_run_is_told_and_so_is_a_union_without_one(self, capsys: pytest.CaptureFixture[str]) -> None:
        parts = [mcsim.run(small(), boots=3 * BLOCK, shard=f"{number}/3") for number in (1, 2, 3)]
        assert parts[0].missing() == ["Part 1/3 of a run alone: the boots of the other parts are not here."]
        names = [str(part.path) for part in parts]
        assert run_cli(["merge", names[0], names[2], "-o", "two"]) == 0
        said = capsys.readouterr()
        assert "8,000 boots of 2 results" in said.out
        assert f"Not here: boots {BLOCK}..{2 * BLOCK - 1} of maple-naive at 31M" in said.err
        assert "No run of these parts is here: 2/3." in said.err
        assert mcsim.load("two").summary()["boots"].to_list() == [2000] * 4
        assert any("2/3" in sentence for sentence in mcsim.load("two").missing())
        # The last block of a cell is of another part, too: a gap at the end is one.
        assert "boots 2000..2999 of" in " ".join(mcsim.merge(names[:2], "begin").missing())
        assert mcsim.merge(names, "all").missing() == []
        assert mcsim.run(small(), boots=3 * BLOCK, out="two").missing() == []

    def test_a_part_that_has_whole_cells_is_told_when_it_is_missing(self) -> None:
        text = SMALL + "[stop]\nmax_failures = 20\n"
        parts = [mcsim.run(small(text), shard=f"{number}/2").path for number in (1, 2)]
        assert "Part 1/2" in mcsim.load(parts[0]).missing()[0]
        assert mcsim.merge(parts, "all").missing() == []
        third = [mcsim.run(small(text), shard=f"{number}/3", out=f"p{number}").path for number in (1, 2, 3)]
        assert (
            mcsim.merge([third[0], third[2]], "some")
            .missing()[0]
            .startswith("Not here: any boot of maple-naive at 32M")
        )

    def test_what_an_interrupted_run_has_not_simulated_is_no_loss(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        calls: list[int] = []

        def interrupted(*given: Any) -> Any:
            calls.append(1)
            if len(calls) == 4:
                raise KeyboardInterrupt
            return stand_in.simulate(*given)

        with monkeypatch.context() as patch:
            patch.setattr(simulator, "simulate", interrupted)
            with pytest.raises(KeyboardInterrupt):
                made()
        assert mcsim.load("here").missing() == []
        boots = sum(mcsim.load("here").summary()["boots"])
        assert run_cli(["check", "results", "here"]) == 0
        assert f"Not simulated yet: {400 - boots} boots" in capsys.readouterr().out


class TestVerify:
    def test_finds_any_edit_among_all_boots(self, capsys: pytest.CaptureFixture[str]) -> None:
        result = made(boots=1500)
        path = result.store.chunks(result.tasks[3])[-1][2]
        rewrite(path, lambda f: f.with_columns(time_us=f["time_us"] + (f["boot"] == 1499).cast(pl.Int64)))
        assert run_cli(["check", "results", "here", "--sample", "all"]) == 1
        said = capsys.readouterr().out
        assert "boot 1499 of tail-free at 32M: time_us 1499001 stored, 1499000 now" in said
        assert "5,999 of 6,000 boots equal" in said
        assert "probability" not in said

    @pytest.mark.parametrize(("stored", "edited", "compared"), [(400, 4, 50), (400, 1, 50), (50, 20, 40), (9, 3, 9)])
    def test_the_probability_is_the_hypergeometric_one(self, stored: int, edited: int, compared: int) -> None:
        exact = 1 - math.comb(stored - edited, compared) / math.comb(stored, compared)
        assert found_with(stored, edited, compared) == pytest.approx(exact, rel=1e-12)

    def test_the_probability_is_the_rate_at_which_edits_are_found(self) -> None:
        chance = np.random.default_rng(1)
        found = sum(chance.choice(400, 50, replace=False).min() < 4 for _ in range(4000))
        # 3.5 standard deviations of a binomial: wrong once in 2,000 seeds
        assert found / 4000 == pytest.approx(found_with(400, 4, 50), abs=3.5 * math.sqrt(0.25 / 4000))

    def test_the_folder_says_what_was_checked(self) -> None:
        result = made()
        rewrite(first_chunk(result), lambda f: f.with_columns(free_pages=f["free_pages"] + 1))
        assert run_cli(["check", "results", "here", "--sample", "all", "--seed", "5"]) == 1
        assert run_cli(["check", "results", "here", "--sample", "7"]) in (0, 1)
        first, second = mcsim.load("here").manifest["verified"]
        assert (first["compared"], first["stored"], first["seed"], second["compared"]) == (400, 400, 5, 7)
        assert first["differences"] == len(pl.read_parquet(first_chunk(result)))
        assert first["kernels"] == simulator.kernel_hash()
        assert first["sha256"] == mcsim.load("here").store.content_hash()
        assert mcsim.merge(["here"], "merged").manifest["verified"] == []

    @pytest.mark.parametrize("sample", ["0", "-1", "x", "", "1e3", "9" * 30])
    def test_no_number_of_boots_is_bad_input(self, sample: str, capsys: pytest.CaptureFixture[str]) -> None:
        made()
        assert run_cli(["check", "results", "here", "--sample", sample]) == 2
        assert "--sample: " in capsys.readouterr().err


class TestMerge:
    def test_a_killed_merge_leaves_nothing_that_the_next_does_not_remove(self, tmp_path: Path) -> None:
        made()
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        left = tmp_path / f".c.{store_module.platform.node()}.{gone.pid}.7.tmp"
        (left / "chunks").mkdir(parents=True)
        mcsim.merge(["here"], "c")
        assert not left.exists()

    def test_a_full_disk_is_one_message_and_leaves_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        made()

        def full(path: Path, target: Path) -> Path:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "replace", full)
        with pytest.raises(UserError, match="cannot be written: No space left on device"):
            mcsim.merge(["here"], "c")
        assert [path.name for path in Path().iterdir()] == ["here"]

    def test_a_copy_made_during_a_run_adds_nothing_to_the_whole(self) -> None:
        result = made()
        shutil.copytree("here", "copy")
        edit(
            run_record(result).replace("records", "../copy/records"), lambda it: it.update(finished=None, boots_done=3)
        )
        for order in (["here", "copy"], ["copy", "here"]):
            shutil.rmtree("c", ignore_errors=True)
            (run,) = mcsim.merge(order, "c").manifest["runs"]
            assert run["boots_done"] == 400


class TestRanges:
    def test_are_sets_of_numbers(self) -> None:
        chance = random.Random(2)
        for _ in range(300):
            one, other = (
                union((first, first + chance.randrange(5)) for first in chance.sample(range(40), chance.randrange(6)))
                for _ in range(2)
            )
            left, right = ({n for first, last in each for n in range(first, last + 1)} for each in (one, other))
            assert {n for first, last in without(one, other) for n in range(first, last + 1)} == left - right
            assert union([*one, *other]) == union((n, n) for n in left | right)

    def test_in_words(self) -> None:
        assert in_words([(1, 1), (3, 9)]) == "1, 3..9"
        assert in_words([(n, n) for n in range(0, 12, 2)]) == "0, 2, 4, 6 and 2 more ranges"
