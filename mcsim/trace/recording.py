"""A page-exact recording of a real boot: reading its columns and resolving its code addresses.

The format is that of docs/recordings.md: one entry a record in program order, as columns of a NumPy archive.
"""

import csv
import hashlib
import io
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mcsim.errors import UserError

COUNTS_PER_TICK = 13021  # the PIT reloads with 13020 and counts down to 0
NS_PER_COUNT = 768
COLUMNS = ("type", "order", "mt", "flags", "pfn", "pid", "irq", "jiffies", "pit", "a", "b", "c", "d")
HEADER_WORDS = 32
HEADER_MAGIC = 0x54524C47
NAME = re.compile(r"(?P<environment>[A-Z]+)_(?P<variant>\w+?)_(?P<ram>\d+)MB_j(?P<jitter>\d)_(?P<letter>\w)")

Columns = Mapping[str, NDArray[np.integer]]  # by the names of COLUMNS, all of one length


class Record(IntEnum):
    """Record types that are read here."""

    BFREE = 1
    BALLOC = 2
    PALLOC = 5
    PFREE = 6
    ALLOC = 8
    FREE = 10
    FUNREF = 11
    CORE = 14
    KSWAPD = 16
    ZONE = 18
    MMAP_B = 21
    MMAP_E = 22
    EXITMM_B = 25
    FPS = 27
    MPRIV = 29
    MA_ALLOC = 30
    MA_FREE = 31
    SLAB = 34
    COMM = 37
    FORK = 38
    EXIT = 39
    FLAT = 40
    AREQ = 41
    SWITCH = 60
    WAKE = 61
    WAKENEW = 62
    VFORK = 63
    WAIT4 = 65
    EXITP = 66
    NSLEEP = 67
    STIMEO = 68
    PIPE = 69
    TICK = 72
    EXEC = 76
    EXECRET = 78
    CALLRCU = 80


@dataclass(frozen=True)
class Recording:
    """One recorded boot.

    columns: the arrays of COLUMNS, all of one length. time: int64, timer counts since boot, not decreasing.
    """

    name: str
    environment: str
    variant: str
    ram_mb: int
    jitter: int
    sha256: str
    base_pfn: int
    page_size: int
    columns: Columns
    time: NDArray[np.int64]
    symbols: Mapping[int, str]

    def text(self, index: int) -> str:
        """The 16 characters that a record carries in its columns a..d."""
        return text_of(self.columns, index)

    def symbol(self, column: str, index: int) -> str:
        """The kernel function of the code address in a column of a record; empty if it is not known."""
        return self.symbols.get(int(self.columns[column][index]), "")

    @property
    def has_scheduler_records(self) -> bool:
        """Whether switches and wake-ups were recorded too: only then can lanes be extracted."""
        return bool(np.any(self.columns["type"] == Record.SWITCH))


def text_of(columns: Columns, index: int) -> str:
    """The 16 characters that a record carries in its columns a..d."""
    words = b"".join(int(columns[c][index]).to_bytes(4, "big") for c in "abcd")
    return words.replace(b"\0", b"").decode("latin-1")


def read_recording(path: Path, symbols: Path | None = None) -> Recording:
    """Read a recording and the symbol table beside it (symbols_ENVIRONMENT.csv).

    Raises UserError where a file is missing, is no recording, or its name does not say what was recorded.
    """
    match = NAME.fullmatch(path.stem)
    if match is None:
        raise UserError(
            f"the name {path.stem!r} does not say what was recorded",
            file=path,
            valid="ENVIRONMENT_VARIANT_RAMMB_jJITTER_LETTER.npz, for example C_V0_64MB_j0_a.npz",
        )
    columns, header, sha256 = read_columns(path)
    return Recording(
        name=path.stem,
        environment=match["environment"],
        variant=match["variant"],
        ram_mb=int(match["ram"]),
        jitter=int(match["jitter"]),
        sha256=sha256,
        base_pfn=int(header[14]),
        page_size=int(header[10]),
        columns=columns,
        time=_time(columns["jiffies"], columns["pit"]),
        symbols=_read_symbols(symbols or path.parent / f"symbols_{match['environment']}.csv"),
    )


def read_columns(path: Path) -> tuple[Columns, NDArray[np.integer], str]:
    """The columns of a recording's file, all of one length, its header, and the file's SHA-256.

    Raises UserError where the file is missing or is no recording.
    """
    wanted = (*COLUMNS, "header")
    try:
        content = path.read_bytes()
        if not zipfile.is_zipfile(io.BytesIO(content)):
            raise UserError("not a recording", file=path, valid="a NumPy archive (.npz)")
        with np.load(io.BytesIO(content)) as archive:
            missing = [name for name in wanted if name not in archive.files]
            arrays = {name: archive[name] for name in wanted if name not in missing}
    except FileNotFoundError:
        raise UserError("no such file", file=path) from None
    except (OSError, EOFError, ValueError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"not a recording: {error}", file=path, valid="a NumPy archive (.npz)") from None
    if missing:
        raise UserError(f"columns are missing: {', '.join(missing)}", file=path, valid=", ".join(wanted))
    header = arrays.pop("header")
    shapes = {array.shape for array in arrays.values()}
    whole = all(np.issubdtype(array.dtype, np.integer) for array in (header, *arrays.values()))
    if not whole or len(shapes) != 1 or len(shapes.pop()) != 1 or header.shape != (HEADER_WORDS,):
        raise UserError(
            "not a recording: its columns do not fit together",
            file=path,
            valid=f"columns of integers, all of one length, and a header of {HEADER_WORDS}",
        )
    if int(header[0]) != HEADER_MAGIC:
        raise UserError(
            f"not a recording: its header begins with {int(header[0]):#x}", file=path, valid=hex(HEADER_MAGIC)
        )
    return arrays, header, hashlib.sha256(content).hexdigest()


def _time(jiffies: NDArray[np.integer], pit: NDArray[np.integer]) -> NDArray[np.int64]:
    """Timer counts since boot. With interrupts off the timer can reload before jiffies is advanced."""
    time = jiffies.astype(np.int64) * COUNTS_PER_TICK + (COUNTS_PER_TICK - 1) - pit.astype(np.int64)
    late = np.maximum.accumulate(time) - time > COUNTS_PER_TICK // 2
    time[late] += COUNTS_PER_TICK
    return np.maximum.accumulate(time)


def _read_symbols(path: Path) -> dict[int, str]:
    try:
        with path.open(newline="") as file:
            return {int(row["return_address"], 16): row["function"] for row in csv.DictReader(file)}
    except FileNotFoundError:
        raise UserError("no such file: the recording's symbol table", file=path) from None
    except (KeyError, ValueError) as error:
        raise UserError(f"not a symbol table: {error}", file=path, valid="columns return_address,function") from None
