"""Result folders that were edited, with right checksums: the tables of what is accepted are the true ones."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import polars as pl

import mcsim
from mcsim.fidelity.results import verify
from mcsim.model.shipped import shipped_folder
from mcsim.run.progress import Silent
from mcsim.store.result import Result
from mcsim.store.store import Store
from tests.fuzz.choices import Choices
from tests.fuzz.mutate import WHOLE, hostile_text, other_bytes, other_document
from tests.fuzz.oracle import check_table, demand

SHARE = 8
ENGINES = ("counted", "hypothesis")

EXPERIMENT = """
[experiment]
name = "small"
title = "a small result"
variants = ["maple-naive", "tail-free"]
ram = ["33M", "34M"]
boots = 40
[machine]
board = "m5208evb"
[workload]
file = "small.npz"
"""


def prepare(corpus: Path) -> None:
    """A result of one program, of which some boots fail in each cell."""
    write_experiment(corpus)
    result = mcsim.run(corpus / "small.toml", out=corpus / "result", workers=1)
    mcsim.run(corpus / "small.toml", out=corpus / "other", boots=20, workers=1)
    truth = {
        task.id[:16]: [task.variant, task.ram, result.outcomes_of(task)["failed"].to_list()] for task in result.tasks
    }
    (corpus / "truth.json").write_text(json.dumps(truth))


def write_experiment(corpus: Path) -> None:
    """The experiment file and its program."""
    shutil.copy(shipped_folder() / "recordings" / "C" / "C_V0_64MB_j2_c.npz", corpus / "small.npz")
    (corpus / "small.toml").write_text(EXPERIMENT)


def make(choices: Choices, corpus: Path, folder: Path) -> dict[str, Any]:
    result = folder / "result"
    shutil.copytree(corpus / "result", result)
    for path in result.glob("*.*"):  # what was printed: nobody reads it
        if path.name not in ("manifest.json", "experiment.json", "experiment.toml"):
            path.unlink()
    chunks = sorted(result.rglob("*.parquet"))
    for again in range(choices.pick((1, 1, 1, 1, 1, 2, 2, 0))):
        kind = choices.below(14)
        chunk = choices.pick(chunks)
        if kind < 5:
            path = result / choices.pick(
                ("manifest.json", "manifest.json", "experiment.json", "experiment.json", "experiment.toml")
            )
            _bend_text(choices, path)
        elif kind < 9 and not again:  # what has been damaged has no rows to be edited
            if chunk.is_file():
                _edit_rows(choices, chunk)
        elif kind == 9:
            if chunk.is_file():
                chunk.write_bytes(other_bytes(choices, chunk.read_bytes()))
        else:
            _move_file(choices, chunk, chunks)
    return {"what": choices.pick(("verify", "verify", "summary", "compare", "merge"))}


def _bend_text(choices: Choices, path: Path) -> None:
    text = path.read_text()
    try:
        document = json.loads(text)
    except ValueError:  # it is TOML, or bent already
        document = None
    if document and isinstance(document, dict) and choices.chance(80):
        inner = choices.pick(list(document))
        if choices.chance(70) and inner != "runs":
            document[inner] = other_document(choices, document[inner])
        else:
            document = other_document(choices, document)
        content = json.dumps(document).encode()
    else:
        content = hostile_text(choices, text).encode(errors="surrogatepass")
    path.write_bytes(other_bytes(choices, content) if choices.chance(10) else content)


def _edit_rows(choices: Choices, chunk: Path) -> None:
    """Other rows under the old name, checksum right: SHA-256 is no secret."""
    frame = pl.read_parquet(chunk, memory_map=False)
    name, row, kind = (
        choices.pick(("failed", "failed", "boot", choices.pick(frame.columns))),
        choices.below(frame.height),
        choices.below(9),
    )
    if kind < 3:
        values = frame[name].to_list()
        values[row] = 1 - values[row] if choices.chance(40) else choices.pick(WHOLE) % 128
        frame = frame.with_columns(pl.Series(name, values, frame[name].dtype))
    elif kind == 3:
        frame = frame.filter(pl.col("failed") != choices.below(2))
    elif kind == 4:
        frame = pl.concat([frame[:row], frame[row + 1 :]])
    elif kind == 5:
        frame = pl.concat([frame, frame[row : row + 1]])
    elif kind == 6:
        frame = frame.with_columns(pl.col(name).cast(choices.pick((pl.Int64, pl.Float64, pl.String))))
    elif kind == 7:
        frame = frame.drop(name)
    else:
        frame = frame.with_columns(pl.when(pl.col("boot") == row).then(None).otherwise(pl.col(name)).alias(name))
    write_chunk(chunk, frame)


def write_chunk(chunk: Path, frame: pl.DataFrame) -> None:
    """Write rows over a chunk with the checksum that mcsim would give them, as far as it can."""
    from mcsim.store import store

    metadata = dict(pl.read_parquet_metadata(chunk))
    with contextlib.suppress(Exception):  # mcsim has no checksum for such rows: the old one, then
        metadata["sha256"] = store.content_hash(frame, metadata["task"])
    frame.write_parquet(chunk, metadata={name: text for name, text in metadata.items() if not name.startswith("ARROW")})


def _move_file(choices: Choices, chunk: Path, chunks: list[Path]) -> None:
    if not chunk.is_file():
        return
    first, last = map(int, re.findall(r"\d+", chunk.stem))
    shift = choices.pick((1, 8, 40, 100, 10**9))
    renamed = chunk.with_name(f"{first + shift:08d}-{last + shift:08d}.parquet")
    kind = choices.below(6)
    if kind == 0:
        chunk.unlink()
    elif kind == 1:
        chunk.rename(renamed)
    elif kind == 2:
        shutil.copy(chunk, renamed)
    elif kind == 3:
        other = choices.pick(chunks)
        if other.is_file() and other != chunk:
            content = chunk.read_bytes()
            chunk.write_bytes(other.read_bytes())
            other.write_bytes(content)
    elif kind == 4:
        chunk.rename(
            chunk.with_name(
                choices.pick(("0-0.parquet", "99999999999999999999-0.parquet", "x.parquet", "-1-3.parquet"))
            )
        )
    else:
        chunk.unlink()
        chunk.mkdir()


def run(corpus: Path, folder: Path, case: dict[str, Any]) -> None:
    what = case["what"]
    if what == "merge":
        union = mcsim.merge([folder / "result", corpus / "other"], folder / "union")
        _check_true(corpus, union, folder / "union")
        return
    result = mcsim.load(folder / "result")
    check_table(result.summary())
    if what == "compare":
        mcsim.compare(result, baseline="maple-naive")
    elif what == "verify":
        source = str(corpus / "small.npz")
        found = verify(Store.open(folder / "result"), 1000, 0, source, Silent())
        if not found.differences and found.same_kernels:
            _check_true(corpus, result, folder / "result")


def _check_true(corpus: Path, result: Result, folder: Path) -> None:
    """The table is that of the boots which the names of the chunks promise, as they were."""
    told = {
        (row["variant"], row["ram_bytes"]): (row["boots"], row["failures"])
        for row in result.summary().iter_rows(named=True)
    }
    for task, (variant, ram, failed) in json.loads((corpus / "truth.json").read_text()).items():
        covered: set[int] = set()
        for path in (folder / "chunks" / task).glob("*-*.parquet"):
            first, last = map(int, re.findall(r"\d+", path.stem))
            covered |= set(range(first, min(last + 1, len(failed))))
        if covered:
            wanted = (len(covered), sum(failed[boot] for boot in covered))
            found = told.get((variant, ram), (0, 0))
            demand(
                found == wanted,
                f"{variant} at {ram >> 20}M: {found[1]} of {found[0]} failed, in truth {wanted[1]} of {wanted[0]}",
            )
