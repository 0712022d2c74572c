"""A result folder: the frozen experiment, what it belongs to, records of its runs, and immutable chunks of outcomes.

Layout::

    manifest.json             what the folder belongs to: experiment, hashes of kernels and workload; never changed
    experiment.toml           the experiment file as it was read
    experiment.json           the same as canonical JSON, with its tasks
    records/run-<id>.json     one call of `mcsim run`: versions, CPU, times, rules that ended tasks, boots stored
    records/check-<id>.json   one call of `mcsim check results`: what was checked
    chunks/<task>/<first>-<last>.parquet    outcomes of boots first..last (both included) of one task

Each file is written under another name and then renamed, so that a file with its right name is whole, and by one
process alone: two runs at once need no lock, on no file system. A chunk carries two SHA-256: that of its task and
values, which does not depend on the version of the Parquet writer, and that of its bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcsim import files
from mcsim.errors import UserError
from mcsim.model.experiment import MAX_BOOTS, Experiment, Task, canonical_json, sha256
from mcsim.model.units import format_size
from mcsim.store import documents
from mcsim.store.documents import START_AFRESH
from mcsim.store.ranges import Ranges, union, without

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

FORMAT = 3  # of the folder
DAMAGED = "delete this file and run the same command again: it simulates the same boots"
MAX_CHUNK = 1 << 16  # boots
MAX_CHUNK_BYTES = 16 << 20  # of its file
SECONDS_UNTIL_DEAD = 24 * 3600  # after which a temporary file of another machine has no writer any more

# The columns of a chunk are those of boot.batch.OUTCOME (said again here, because that module is slow to import),
# each with its type and the range of its values.
COLUMNS = {
    "boot": ("int64", 0, MAX_BOOTS - 1),
    "recording": ("int16", 0, 2**15 - 1),
    "pre_init": ("int16", 0, 2**15 - 1),
    "failed": ("int8", 0, 1),
    "failure_class": ("int8", 0, 4),
    "order": ("int8", -1, 10),
    "process": ("int32", -1, 2**31 - 1),
    "time_us": ("int64", 0, 2**63 - 1),
    "free_pages": ("int32", 0, 2**31 - 1),
    "largest_free_order": ("int8", -1, 10),
    "boot_factor": ("int32", 0, 2**31 - 1),
}

_CHUNK = re.compile(r"(\d{8,10})-(\d{8,10})\.parquet")
_WRITER = re.compile(r"\.(.+)\.(\d{1,9})\.\d+\.tmp")  # mcsim.files.temporary_name: file and machine, process, thread
_SEAL = b"sha256 of this file, these digits being 0: "
_ZEROS = b"0" * 64


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
        self._frozen: tuple[Experiment, list[Task]] | None = None
        self._sound: set[Path] = set()  # chunks that this process has written, or read and found whole

    @classmethod
    def open(cls, path: str | Path) -> Store:
        """An existing result folder, whose documents are whole and agree with each other."""
        store = cls(Path(path))
        if not _is_there(store.path / "manifest.json"):
            raise UserError("is not a result folder", file=path, valid="a folder that `mcsim run` made")
        store.tasks()
        return store

    def create_or_check(self, experiment: Experiment, identity: Identity, tasks: Sequence[Task]) -> bool:
        """Make the folder for this identity, or check that it is one. True if results may be there.

        A folder whose making was cut off is completed: the manifest is its first file.
        """
        document = {
            "experiment": experiment.document(),
            "tasks": {task.id: task.definition() for task in tasks},
        }
        frozen = {
            "experiment.toml": experiment.source.encode(),
            "experiment.json": canonical_json(document).encode() + b"\n",
        }
        manifest = self.path / "manifest.json"
        there = _is_there(manifest)
        if not there:
            self._refuse_foreign_files(frozen)
            with files.written(self.path):
                self.path.mkdir(parents=True, exist_ok=True)
                self.write_identity({"format": FORMAT, **identity.document()})
        self._check(identity)
        for name, content in frozen.items():
            if not _is_there(self.path / name):
                with files.written(self.path / name):
                    _create(self.path / name, content)
        self.tasks()
        for folder in (self.path, self.path / "records", *_entries(self.path / "chunks")):
            for temporary in dead_temporaries(folder):
                files.discard(temporary)
        return there

    def _refuse_foreign_files(self, frozen: Mapping[str, bytes]) -> None:
        """A folder without manifest may hold nothing but what a run leaves that was killed while it made it."""
        refusal = UserError("exists and is not a result folder", file=self.path, valid="a new or an empty folder")
        try:
            self.path.lstat()
            if not self.path.is_dir():
                raise refusal
            for path in self.path.iterdir():
                ours = frozen.get(path.name)
                if ours is not None and path.is_file():
                    known = files.read_bytes(path) == ours
                elif path.name == "chunks" and path.is_dir():
                    known = all(each.is_dir() or _WRITER.fullmatch(each.name) is not None for each in path.rglob("*"))
                else:
                    known = _WRITER.fullmatch(path.name) is not None
                if not known and not _is_there(self.path / "manifest.json"):  # which another run may just have made
                    raise refusal
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            raise _unreadable(error, self.path) from None

    def _check(self, identity: Identity) -> None:
        manifest = self.identity()
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

    def identity(self) -> dict[str, Any]:
        """What the folder belongs to, as plain values: format, experiment, kernels, workload."""
        return documents.read_document(self.path / "manifest.json", documents.Manifest, FORMAT)

    def write_identity(self, identity: Mapping[str, Any]) -> None:
        """Write the manifest, unless there is one. Raises OSError."""
        _create(self.path / "manifest.json", _json(identity))

    def manifest(self) -> dict[str, Any]:
        """What the folder belongs to, and what its records say, as plain values.

        runs: the calls of `mcsim run`, in the order in which they began. ended: which rule ended which task.
        verified: the calls of `mcsim check results`.
        """
        runs = self.run_records()
        checks = [
            documents.read_document(path, documents.CheckRecord)
            for path in _entries(self.path / "records")
            if path.name.startswith("check-") and path.suffix == ".json"
        ]
        return {
            **self.identity(),
            "runs": runs,
            "ended": ended(runs),
            "verified": sorted(checks, key=lambda check: (check["when"], check["id"])),
        }

    def run_records(self) -> list[dict[str, Any]]:
        """The records of runs, in the order in which they began."""
        records = []
        for path in _entries(self.path / "records"):
            if path.name.startswith("run-") and path.suffix == ".json":
                records.append(documents.read_document(path, documents.RunRecord))
        return sorted(records, key=lambda record: (record["started"], record["id"]))

    def write_record(self, kind: str, record: Mapping[str, Any]) -> None:
        """Write, or replace, the record `record["id"]` of a run ("run") or a check ("check")."""
        path = self.path / "records" / f"{kind}-{record['id']}.json"
        with files.written(path):
            path.parent.mkdir(exist_ok=True)
            files.write_atomically(path, _json(record))

    def experiment(self) -> Experiment:
        """The frozen experiment, with the seed it was run with."""
        return self._read_frozen()[0]

    def tasks(self) -> list[Task]:
        """All cells of the frozen experiment."""
        return self._read_frozen()[1]

    def _read_frozen(self) -> tuple[Experiment, list[Task]]:
        if self._frozen is None:
            manifest = self.identity()
            path = self.path / "experiment.json"
            experiment, definitions = documents.read_experiment(path, self.texts()["experiment.toml"])
            tasks = experiment.tasks(manifest["workload"])
            canonical = json.loads(canonical_json(experiment.canonical()))
            for key, there, here in differences(manifest["experiment"], canonical, "experiment"):
                what = f"{shorten(here)} here, {shorten(there)} in manifest.json"
                raise UserError(what, file=path, key=key, valid=START_AFRESH)
            for key, there, here in differences(definitions, {task.id: task.definition() for task in tasks}, "tasks"):
                what = f"{shorten(there)}, and {shorten(here)} as this mcsim makes it of the experiment"
                raise UserError(what, file=path, key=key, valid=START_AFRESH)
            known = {self.folder(task).name for task in tasks}
            for folder in _entries(self.path / "chunks"):
                if folder.name not in known and _entries(folder):
                    raise UserError("belongs to no cell of the experiment", file=folder, valid="without this folder")
            self._frozen = experiment, tasks
        return self._frozen

    def texts(self) -> dict[str, str]:
        """The files of the frozen experiment, by name."""
        found = {}
        for name in ("experiment.json", "experiment.toml"):
            if not _is_there(self.path / name):
                valid = "the same `mcsim run` again completes the folder"
                raise UserError("is missing", file=self.path / name, valid=valid)
            found[name] = files.read_text(self.path / name, valid=START_AFRESH)
        return found

    def workload_source(self) -> str:
        """What `mcsim.workload.load` took when the experiment was read: a name, or where the file was."""
        self.tasks()
        return str(json.loads(self.texts()["experiment.json"])["experiment"]["workload_source"])

    def folder(self, task: Task) -> Path:
        """Where the chunks of a task lie."""
        return self.path / "chunks" / task.id[:16]

    def chunks(self, task: Task) -> list[tuple[int, int, Path]]:
        """The chunks of a task as (first boot, last boot, file), ascending."""
        found = []
        for path in _entries(self.folder(task)):
            if path.suffix != ".parquet" or path.name.startswith("."):
                continue
            match = _CHUNK.fullmatch(path.name)
            first, last = (int(match[1]), int(match[2])) if match else (1, 0)
            if path.name != _chunk_name(first, last) or not first <= last < first + MAX_CHUNK:
                raise UserError("is not the name of a chunk", file=path, valid="<first>-<last>.parquet; " + DAMAGED)
            found.append((first, last, path))
        return sorted(found)

    def ranges(self, task: Task) -> Ranges:
        """The boots of a task that are stored: each chunk is believed when it has been read once."""
        chunks = self.chunks(task)
        for first, last, path in chunks:
            if path not in self._sound:
                self._read_chunk(task, first, last, path)
        return union((first, last) for first, last, _ in chunks)

    def missing(self, task: Task, boots: int) -> Ranges:
        """The boots below `boots` that are not stored, as (first, last)."""
        return without([(0, boots - 1)], self.ranges(task))

    def write(self, task: Task, outcomes: NDArray[np.void]) -> Path:
        """Store the outcomes of consecutive boots as one chunk."""
        import polars as pl

        assert outcomes.dtype.names is not None
        return self.write_frame(task, pl.DataFrame({name: outcomes[name] for name in outcomes.dtype.names}))

    def write_frame(self, task: Task, frame: pl.DataFrame) -> Path:
        """Store a data frame of consecutive boots as one chunk."""
        path = self.folder(task) / _chunk_name(int(frame["boot"][0]), int(frame["boot"][-1]))
        metadata = {"task": task.id, "sha256": content_hash(frame, task.id), "seal": (_SEAL + _ZEROS).decode()}
        packed = io.BytesIO()
        frame.write_parquet(packed, metadata=metadata)
        with files.written(path):
            path.parent.parent.mkdir(exist_ok=True)  # not the whole folder, should somebody have removed it
            path.parent.mkdir(exist_ok=True)
            files.write_atomically(path, _sealed(packed.getvalue()))
        self._sound.add(path)
        return path

    def read(self, task: Task) -> pl.DataFrame:
        """All stored outcomes of a task, one row a boot, in the order of boots; each chunk is checked completely."""
        import polars as pl

        chunks = self.chunks(task)
        frames = [self._read_chunk(task, *chunk) for chunk in chunks]
        if not frames:
            return pl.DataFrame()
        rows = pl.concat(frames)
        if all(one[1] < other[0] for one, other in pairwise(chunks)):
            return rows
        # Two runs at the same time may have stored the same boots, with the same outcomes.
        rows = rows.unique().sort("boot")
        twice = rows.filter(rows["boot"].is_duplicated())
        if twice.height:
            what = f"boot {twice['boot'][0]} of {task.label} is stored twice, with two outcomes"
            valid = "delete this folder and run the same command again: it simulates the same boots"
            raise UserError(what, file=self.folder(task), valid=valid)
        return rows

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

    def _read_chunk(self, task: Task, first: int, last: int, path: Path) -> pl.DataFrame:
        import polars as pl

        content = files.read_bytes(path, limit=MAX_CHUNK_BYTES, valid=DAMAGED)
        # Before anything is parsed: what reads Parquet ends the whole process on some damaged files.
        if not _is_whole(content):
            raise UserError("is damaged: its checksum is wrong", file=path, valid=DAMAGED)
        try:
            metadata = pl.read_parquet_metadata(io.BytesIO(content))
            frame = pl.read_parquet(io.BytesIO(content), n_rows=last - first + 2)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # pyo3's PanicException is no Exception
            reason = str(error).partition("\n")[0][:200]
            raise UserError(f"is damaged: {reason}", file=path, valid=DAMAGED) from None
        if metadata.get("task") != task.id:
            raise UserError("belongs to another task", file=path, valid=DAMAGED)
        problem = _problem(frame, first, last)
        if metadata.get("sha256") != content_hash(frame, task.id):
            problem = "its checksum is wrong"
        if problem:
            raise UserError(f"is damaged: {problem}", file=path, valid=DAMAGED)
        self._sound.add(path)
        return frame


def _problem(frame: pl.DataFrame, first: int, last: int) -> str | None:
    """What is wrong with the outcomes of boots `first` to `last`, if anything is."""
    import numpy as np

    kinds = {name: str(frame[name].dtype).lower() for name in frame.columns}
    if list(kinds.items()) != [(name, kind) for name, (kind, _, _) in COLUMNS.items()]:
        return "its columns are not those of outcomes"
    if any(frame[name].null_count() for name in COLUMNS):
        return "it lacks values"
    if not np.array_equal(frame["boot"].to_numpy(), np.arange(first, last + 1)):
        return f"it does not hold boots {first} to {last}, each once"
    for name, (_, least, most) in COLUMNS.items():
        low, high = (int(frame[name].to_numpy().min()), int(frame[name].to_numpy().max()))
        if low < least or high > most:
            return f"{name} = {low if low < least else high} is out of range"
    return None


def content_hash(frame: pl.DataFrame, task_id: str) -> str:
    """SHA-256 (hexadecimal) over the task and all values, column by column as little-endian integers."""
    digest = hashlib.sha256(task_id.encode())
    for name in frame.columns:
        values = frame[name].to_numpy()
        values = values.astype(values.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{name}:{values.dtype.str}:{len(values)};".encode() + values.tobytes())
    return digest.hexdigest()


def ended(runs: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Which rule ended which task, after these runs in this order.

    Once a rule has looked at the outcomes of a task and ended it, no later run takes that mark away: its number of
    boots was not fixed beforehand, whoever adds more.
    """
    marks: dict[str, tuple[str, int]] = {}
    for run in runs:
        for task in run["unfinished"]:
            if task in marks and not _looked(marks[task][0]):
                del marks[task]
        for task, words in run["ended"].items():
            before, boots = marks.get(task, ("", 0))
            kept = _looked(before) and not _looked(words)
            # More boots were there before than this run asked for.
            kept = kept or (before.startswith("max_boots") and words.startswith("max_boots") and boots > run["boots"])
            if not kept:
                marks[task] = words, run["boots"]
    return {task: words for task, (words, _) in sorted(marks.items())}


def _looked(words: str) -> bool:
    """Whether a rule is one that looks at outcomes."""
    return words.partition(":")[0] not in ("", "max_boots", "wall_seconds")


def _chunk_name(first: int, last: int) -> str:
    return f"{first:08d}-{last:08d}.parquet"


def _sealed(content: bytes) -> bytes:
    """The file with its own SHA-256 in the place that is kept for it; its length stays."""
    place = content.rindex(_SEAL) + len(_SEAL)
    return content[:place] + hashlib.sha256(content).hexdigest().encode() + content[place + len(_ZEROS) :]


def _is_whole(content: bytes) -> bool:
    """Whether a file is what it was when it was sealed; True if it has no seal."""
    place = content.rfind(_SEAL)
    if place < 0:
        return True
    place += len(_SEAL)
    blank = content[:place] + _ZEROS + content[place + len(_ZEROS) :]
    return content[place : place + len(_ZEROS)] == hashlib.sha256(blank).hexdigest().encode()


def _json(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()


def _is_there(path: Path) -> bool:
    """Whether there is such a file; UserError where the system does not say."""
    try:
        return path.is_file()
    except (OSError, ValueError) as error:
        raise _unreadable(error, path.parent) from None


def _unreadable(error: Exception, path: Path) -> UserError:
    return UserError(f"cannot be read: {getattr(error, 'strerror', None) or error}", file=path)


def _entries(folder: Path) -> list[Path]:
    """What lies in a folder, in the order of names; nothing if it is not there."""
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise _unreadable(error, folder) from None


def _create(path: Path, content: bytes) -> None:
    """Write a file that is not there yet, whole or not at all; one that another process has made meanwhile stays.

    Raises OSError.
    """
    temporary = files.temporary_name(path)
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)  # unlike a renaming, it refuses where there is a file
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            if not path.exists():
                temporary.replace(path)
    finally:
        files.discard(temporary)


def dead_temporaries(folder: Path) -> Iterator[Path]:
    """What killed writers have left in a folder: those of this machine, and after a day those of any."""
    for path in _entries(folder):
        writer = _WRITER.fullmatch(path.name)
        if writer is None:
            continue
        age = 0.0
        with suppress(OSError):
            age = time.time() - path.lstat().st_mtime
        here = writer[1].endswith(f".{platform.node()}")
        if age > SECONDS_UNTIL_DEAD or (here and not _is_alive(int(writer[2]))):
            yield path


def _is_alive(process: int) -> bool:
    """Whether a process of this machine runs, or may run."""
    if os.name != "posix":
        return True  # elsewhere the question would end it
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        return True
    return True


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
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= 60 else f"{text[:24]}... (hash {sha256(text)[:8]})"
