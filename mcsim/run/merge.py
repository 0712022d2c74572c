"""The union of result folders: parts of a run, or runs on several machines.

The outcome is written anew, in chunks of a fixed grid, so that it is the same folder, byte for byte, whatever the order
of the sources, however often one is named, and however they were cut into chunks.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from mcsim.errors import UserError
from mcsim.model.experiment import Task
from mcsim.run.store import Store, differences, shorten

if TYPE_CHECKING:
    import polars as pl

CHUNK = 1 << 16  # boots of a chunk in the union
IDENTITY = ("format", "experiment", "kernels", "workload")


def merge(sources: Sequence[Path], out: Path) -> Store:
    """Write the union of the result folders `sources` to the new folder `out`; it appears when it is whole."""
    if not sources:
        raise UserError("nothing to merge", key="RESULT", valid="one result folder or more")
    stores = [Store.open(path) for path in sources]
    for store in stores[1:]:
        _refuse_foreign(stores[0], store)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError("exists", file=out, key="--out", valid="a new or an empty folder")
    whole = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        _write(stores, Store(whole))
        whole.replace(out)
    except OSError as error:
        raise UserError(f"cannot be written: {error.strerror}", file=out, valid="a writable folder") from None
    finally:
        shutil.rmtree(whole, ignore_errors=True)
    return Store(out)


def _refuse_foreign(one: Store, other: Store) -> None:
    left, right = ({key: store.manifest().get(key) for key in IDENTITY} for store in (one, other))
    found = [
        f"{key}: {shorten(there)} in {one.path}, {shorten(here)} in {other.path}"
        for key, there, here in differences(
            {key: left.get(key) for key in IDENTITY}, {key: right.get(key) for key in IDENTITY}
        )
    ]
    if found:
        raise UserError(
            "are not of the same run\n  " + "\n  ".join(found),
            file=f"{one.path} and {other.path}",
            valid="results of one experiment, seed, workload and version of the kernels",
        )


def _write(stores: Sequence[Store], union: Store) -> None:
    # Two files that ask the same may differ in title, comments and boots: the one that asks for most boots stands.
    chief = max(stores, key=lambda store: (store.experiment().boots, sorted(store.texts().items())))
    (union.path / "chunks").mkdir(parents=True)
    for name, text in chief.texts().items():
        (union.path / name).write_text(text, encoding="utf-8")
    manifests = [store.manifest() for store in stores]
    runs = {json.dumps(run, sort_keys=True): run for manifest in manifests for run in manifest["runs"]}
    union.write_manifest(
        {
            **{key: manifests[0][key] for key in IDENTITY},
            "ended": _ended(chief.tasks(), stores),
            "runs": [runs[key] for key in sorted(runs, key=lambda key: (runs[key]["started"], key))],
        }
    )
    for task in {task.id: task for task in chief.tasks()}.values():
        for frame in _on_grid(_union(task, stores)):
            union.write_frame(task, frame)


def _ended(tasks: Sequence[Task], stores: Sequence[Store]) -> dict[str, str]:
    """Which rule ended which task: of several answers that of the folder whose boots go furthest."""
    answers: dict[str, tuple[int, str]] = {}
    for store in stores:
        rules = store.manifest().get("ended", {})
        for task in tasks:
            if task.id in rules:
                furthest = max((last for _, last, _ in store.chunks(task)), default=-1)
                answers[task.id] = max(answers.get(task.id, (-2, "")), (furthest, rules[task.id]))
    return {task: words for task, (_, words) in answers.items()}


def _union(task: Task, stores: Sequence[Store]) -> pl.DataFrame:
    """All boots of a task that any of the folders holds; those that several hold must be the same."""
    import polars as pl

    frames = [frame for frame in (store.read(task) for store in stores) if frame.height]
    if not frames:
        return pl.DataFrame()
    rows = pl.concat(frames).unique().sort("boot")
    twice = rows.filter(rows["boot"].is_duplicated())
    if twice.height:
        boot = int(twice["boot"][0])
        sides = [
            f"{store.path}: {store.read(task).filter(pl.col('boot') == boot).row(0, named=True)}"
            for store in stores
            if boot in store.read(task).get_column("boot")
        ]
        raise UserError(
            f"boot {boot} of {task.label} has two outcomes\n  " + "\n  ".join(sides),
            valid="mcsim verify tells which of the folders is wrong",
        )
    return rows


def _on_grid(rows: pl.DataFrame) -> list[pl.DataFrame]:
    """The rows in runs of consecutive boots, cut at multiples of CHUNK."""
    if rows.height == 0:
        return []
    import numpy as np

    boots = rows["boot"].to_numpy()
    cuts = np.flatnonzero((np.diff(boots) != 1) | (boots[1:] % CHUNK == 0)) + 1
    edges = [0, *cuts.tolist(), len(boots)]
    return [rows.slice(first, last - first) for first, last in pairwise(edges)]
