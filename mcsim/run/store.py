"""A result folder: the frozen experiment, a manifest, and immutable chunks of outcomes.

Layout::

    experiment.toml           the experiment file as it was read
    experiment.json           the same as canonical JSON, with its tasks
    manifest.json             versions, CPU, hashes, times of every run, and which rule ended which task
    chunks/<task>/<first>-<last>.parquet    outcomes of boots first..last (both included) of one task

A chunk is written under another name and then renamed, so that a file with its right name is whole. It
carries the SHA-256 of its values, which is checked on reading and does not depend on the version of the
Parquet writer.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcsim.errors import UserError
from mcsim.model.experiment import Experiment, Task, canonical_json, sha256
from mcsim.model.units import format_size

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

FORMAT = 1  # of the folder
START_AFRESH = "another folder with --out, or delete this one"

_CHUNK = re.compile(r"(\d+)-(\d+)\.parquet")


@dataclass(frozen=True)
class Identity:
    """What a result folder belongs to; runs with another identity may not add to it."""

    experiment: dict[str, Any]
    workload: str
    kernels: str

    def document(self) -> dict[str, Any]:
        """As plain values."""
        return {"experiment": self.experiment, "kernels": self.kernels, "workload": self.workload}


class Store:
    """One result folder. Several processes may write chunks at the same time."""

    def __init__(self, path: Path) -> None:
        """The folder at `path`, which need not exist yet."""
        self.path = path

    @classmethod
    def open(cls, path: str | Path) -> Store:
        """An existing result folder."""
        store = cls(Path(path))
        if not (store.path / "manifest.json").is_file():
            raise UserError("is not a result folder", file=path, valid="a folder that `mcsim run` made")
        return store

    def create_or_check(self, experiment: Experiment, identity: Identity, tasks: Sequence[Task]) -> bool:
        """Make the folder for this identity, or check that it is one. True if results may be there."""
        if (self.path / "manifest.json").exists():
            self._check(identity)
            return True
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise UserError("exists and is not a result folder", file=self.path, valid="a new or an empty folder")
        document = {
            "experiment": experiment.document(),
            "tasks": {task.id: task.definition() for task in tasks},
        }
        try:
            (self.path / "chunks").mkdir(parents=True, exist_ok=True)
            write_atomically(self.path / "experiment.toml", experiment.source.encode())
            write_atomically(self.path / "experiment.json", canonical_json(document).encode() + b"\n")
            # Last: a folder with a manifest is whole.
            self.write_manifest({"format": FORMAT, **identity.document(), "runs": []})
        except OSError as error:
            what = f"cannot be written: {error.strerror}"
            raise UserError(what, file=self.path, valid="a writable folder") from None
        return False

    def _check(self, identity: Identity) -> None:
        manifest = self.manifest()
        if manifest.get("format") != FORMAT:
            what = f"has format {manifest.get('format')!r}, this mcsim writes {FORMAT}"
            raise UserError(what, file=self.path, valid=START_AFRESH)
        wanted = identity.document()
        differing = [
            f"{key}: {shorten(there)} there, {shorten(here)} here"
            for key, there, here in differences(
                {key: manifest.get(key) for key in wanted}, json.loads(canonical_json(wanted))
            )
        ]
        if differing:
            raise UserError(
                "holds results of another experiment or of other kernels\n  " + "\n  ".join(differing),
                file=self.path,
                valid=START_AFRESH,
            )

    def manifest(self) -> dict[str, Any]:
        """The manifest as plain values."""
        path = self.path / "manifest.json"
        try:
            document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return document
        except (OSError, ValueError) as error:
            raise UserError(f"cannot be read: {error}", file=path, valid=START_AFRESH) from None

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Replace the manifest."""
        text = json.dumps(manifest, indent=2, sort_keys=True) + "\n"
        write_atomically(self.path / "manifest.json", text.encode())

    def experiment(self) -> Experiment:
        """The frozen experiment, with the seed it was run with."""
        path = self.path / "experiment.json"
        try:
            source = (self.path / "experiment.toml").read_text(encoding="utf-8")
            document = json.loads(path.read_text(encoding="utf-8"))["experiment"]
            return Experiment.from_document(document, source, str(path))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"cannot be read: {error}", file=path, valid=START_AFRESH) from None

    def texts(self) -> dict[str, str]:
        """The files of the frozen experiment, by name."""
        names = ("experiment.json", "experiment.toml")
        try:
            return {name: (self.path / name).read_text(encoding="utf-8") for name in names}
        except (OSError, ValueError) as error:
            raise UserError(f"cannot be read: {error}", file=self.path, valid=START_AFRESH) from None

    def workload_source(self) -> str:
        """What `mcsim.workload.load` took when the experiment was read: a name, or where the file was."""
        document = json.loads(self.texts()["experiment.json"])["experiment"]
        return str(document.get("workload_source", document["workload"]))

    def tasks(self) -> list[Task]:
        """All cells of the frozen experiment."""
        return self.experiment().tasks(self.manifest()["workload"])

    def folder(self, task: Task) -> Path:
        """Where the chunks of a task lie."""
        return self.path / "chunks" / task.id[:16]

    def chunks(self, task: Task) -> list[tuple[int, int, Path]]:
        """The chunks of a task as (first boot, last boot, file), ascending."""
        folder = self.folder(task)
        found = []
        for path in folder.iterdir() if folder.is_dir() else ():
            match = _CHUNK.fullmatch(path.name)
            if match:
                found.append((int(match[1]), int(match[2]), path))
        return sorted(found)

    def missing(self, task: Task, boots: int) -> list[tuple[int, int]]:
        """The boots below `boots` that are not stored, as (first, last)."""
        gaps = []
        next_boot = 0
        for first, last, _ in self.chunks(task):
            if first > next_boot:
                gaps.append((next_boot, min(first, boots) - 1))
            next_boot = max(next_boot, last + 1)
            if next_boot >= boots:
                break
        if next_boot < boots:
            gaps.append((next_boot, boots - 1))
        return gaps

    def write(self, task: Task, outcomes: NDArray[np.void]) -> Path:
        """Store the outcomes of consecutive boots as one chunk."""
        import polars as pl

        assert outcomes.dtype.names is not None
        return self.write_frame(task, pl.DataFrame({name: outcomes[name] for name in outcomes.dtype.names}))

    def write_frame(self, task: Task, frame: pl.DataFrame) -> Path:
        """Store a data frame of consecutive boots as one chunk."""
        first, last = int(frame["boot"][0]), int(frame["boot"][-1])
        path = self.folder(task) / f"{first:08d}-{last:08d}.parquet"
        metadata = {"task": task.id, "sha256": content_hash(frame, task.id)}
        temporary = _temporary(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            frame.write_parquet(temporary, metadata=metadata)
            temporary.replace(path)
        except OSError as error:
            what = f"cannot be written: {error.strerror or error}"
            raise UserError(what, file=path, valid="a writable folder, and room on the disk") from None
        finally:
            temporary.unlink(missing_ok=True)
        return path

    def read(self, task: Task) -> pl.DataFrame:
        """All stored outcomes of a task, one row a boot, in the order of boots; checksums are checked."""
        import polars as pl

        frames = [self._read_chunk(task, path) for _, _, path in self.chunks(task)]
        if not frames:
            return pl.DataFrame()
        # Two runs at the same time may have stored the same boots, with the same outcomes.
        return pl.concat(frames).unique(subset="boot", keep="first", maintain_order=True).sort("boot")

    def failing(self, task: Task) -> NDArray[np.int64]:
        """The numbers of the stored boots of a task that failed, ascending."""
        import numpy as np

        frame = self.read(task)
        if frame.height == 0:
            return np.zeros(0, dtype=np.int64)
        return frame.filter(frame["failed"] != 0)["boot"].to_numpy()

    def content_hash(self) -> str:
        """SHA-256 (hexadecimal) of all outcomes: the same for the same boots, however they are cut into chunks."""
        digest = hashlib.sha256()
        for task in sorted({task.id: task for task in self.tasks()}.values(), key=lambda each: each.id):
            frame = self.read(task)
            if frame.height:
                digest.update(content_hash(frame, task.id).encode())
        return digest.hexdigest()

    def _read_chunk(self, task: Task, path: Path) -> pl.DataFrame:
        import polars as pl

        advice = "delete this file and run the same command again: it simulates the same boots"
        try:
            metadata = pl.read_parquet_metadata(path)
            frame = pl.read_parquet(path, memory_map=False, hive_partitioning=False)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise UserError(f"is damaged: {error}", file=path, valid=advice) from None
        if metadata.get("task") != task.id:
            raise UserError("belongs to another task", file=path, valid=advice)
        if metadata.get("sha256") != content_hash(frame, task.id):
            raise UserError("is damaged: its checksum is wrong", file=path, valid=advice)
        return frame


def content_hash(frame: pl.DataFrame, task_id: str) -> str:
    """SHA-256 (hexadecimal) over the task and all values, column by column as little-endian integers."""
    digest = hashlib.sha256(task_id.encode())
    for name in frame.columns:
        values = frame[name].to_numpy()
        values = values.astype(values.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{name}:{values.dtype.str}:{len(values)};".encode() + values.tobytes())
    return digest.hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is either the old one or the new one, never a part."""
    temporary = _temporary(path)
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    # The name of the machine, too: many of them may write to one network file system.
    writer = f"{platform.node()}.{os.getpid()}.{threading.get_ident()}"
    return path.with_name(f".{path.name}.{writer}.tmp")


def differences(there: Any, here: Any, key: str = "") -> Iterable[tuple[str, Any, Any]]:
    """The keys (dotted) at which two plain documents differ, with both values."""
    if isinstance(there, dict) and isinstance(here, dict):
        for name in sorted(there.keys() | here.keys()):
            yield from differences(there.get(name), here.get(name), f"{key}.{name}" if key else name)
    elif there != here:
        yield key, there, here


def shorten(value: Any) -> str:
    """A plain value in at most 60 characters, for messages."""
    if isinstance(value, list) and value and all(isinstance(each, int) for each in value):
        value = " ".join(format_size(each) for each in value)
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:24]}... (hash {sha256(text)[:8]})"
