"""The union of result folders: parts of a run, or runs on several machines.

The outcome is written anew, in chunks of a fixed grid, so that it is the same folder, byte for byte, whatever the order
of the sources, however often one is named, and however they were cut into chunks.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcsim import files
from mcsim.errors import UserError
from mcsim.model.experiment import Task, canonical_json
from mcsim.store.store import Store, dead_temporaries, differences, shorten

if TYPE_CHECKING:
    import polars as pl

CHUNK = 1 << 16  # boots of a chunk in the union


def merge(sources: Sequence[Path], out: Path) -> Store:
    """Write the union of the result folders `sources` to the new folder `out`; it appears when it is whole."""
    if not sources:
        raise UserError("nothing to merge", key="RESULT", valid="one result folder or more")
    stores = [Store.open(path) for path in sources]
    for store in stores[1:]:
        _refuse_foreign(stores[0], store)
    _refuse_what_is_there(out)
    whole = files.temporary_name(out)
    try:
        with files.written(out):
            out.parent.mkdir(parents=True, exist_ok=True)
            for temporary in dead_temporaries(out.parent):
                if temporary.name.startswith(f".{out.name}."):
                    shutil.rmtree(temporary, ignore_errors=True)
            _write(stores, Store(whole))
            whole.replace(out)
    finally:
        shutil.rmtree(whole, ignore_errors=True)
    return Store(out)


def _refuse_what_is_there(out: Path) -> None:
    try:
        out.lstat()
        there = out.is_symlink() or not out.is_dir() or any(out.iterdir())
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        what = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        raise UserError(what, file=out, key="--out", valid="a new or an empty folder") from None
    if there:
        raise UserError("exists", file=out, key="--out", valid="a new or an empty folder")


def _refuse_foreign(one: Store, other: Store) -> None:
    found = [
        f"{key}: {shorten(there)} in {one.path}, {shorten(here)} in {other.path}"
        for key, there, here in differences(one.identity(), other.identity())
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
    union.write_identity(chief.identity())
    for name, text in chief.texts().items():
        files.write_atomically(union.path / name, text.encode())
    for record in _records(stores):
        union.write_record("run", record)
    for task in {task.id: task for task in chief.tasks()}.values():
        for frame in _on_grid(_union(task, stores)):
            union.write_frame(task, frame)


def _records(stores: Sequence[Store]) -> list[dict[str, Any]]:
    """The records of all runs, each once: of a folder that was copied during a run, that in which the run got furthest.

    Of a merged folder nothing has been verified yet, so there are no records of that.
    """
    found: dict[str, dict[str, Any]] = {}
    for record in (record for store in stores for record in store.run_records()):
        found[record["id"]] = max(found.get(record["id"], record), record, key=_how_far)
    return list(found.values())


def _how_far(record: dict[str, Any]) -> tuple[bool, int, str]:
    return record["finished"] is not None, record["boots_done"], canonical_json(record)


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
            valid="mcsim check results tells which of the folders is wrong",
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
