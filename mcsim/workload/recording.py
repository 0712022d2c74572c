"""A page-exact recording of a real boot: reading its columns and resolving its code addresses.

The format is that of docs/recordings.md: one entry a record in program order, as columns of a NumPy archive.
"""

import csv
import hashlib
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcsim.errors import UserError
from mcsim.files import arrays_of, read_bytes, read_text
from mcsim.kernels.linux.gfp import GFP_MOVABLE_MASK
from mcsim.kernels.linux.page_alloc import MIGRATE_TYPES
from mcsim.model.board import Board

WORD = 2**32 - 1
# The columns of a recording, with the largest number that each may hold.
LARGEST = {
    "type": 255,
    "order": 255,
    "mt": MIGRATE_TYPES - 1,
    "flags": 255,
    "pfn": WORD,
    "pid": 2**16 - 1,
    "irq": 1,
    "jiffies": 2**16 - 1,
    "pit": WORD,  # below the counts of a tick
    "a": WORD,
    "b": WORD,
    "c": WORD,
    "d": WORD,
}
COLUMNS = tuple(LARGEST)
MAX_RECORDS = 5_000_000  # 50 times what a boot of several minutes has
MAX_RECORDING = 40 * MAX_RECORDS  # bytes, packed or unpacked: a record has 31
FAILED = WORD  # the page frame number of a request that got nothing
GFP_BITS = 28  # of Linux 6.1
HEADER_WORDS = 32
HEADER_MAGIC = 0x54524C47
VALID = "a recording (.npz)"
ADDRESS = re.compile(r"(0x)?[0-9a-fA-F]{1,8}")
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


# Records about a block of pages, and where those that ask for pages have their GFP flags.
BLOCK_RECORDS = (
    Record.BFREE,
    Record.BALLOC,
    Record.PALLOC,
    Record.PFREE,
    Record.ALLOC,
    Record.FREE,
    Record.FUNREF,
    Record.CORE,
)
GFP_COLUMNS = {"a": (Record.AREQ, Record.ALLOC), "b": (Record.MA_ALLOC,)}


@dataclass(frozen=True)
class Recording:
    """One recorded boot.

    columns: the arrays of COLUMNS, all of one length. time: int64, timer counts since boot, not decreasing.
    """

    name: str
    path: Path
    environment: str
    variant: str
    ram_mb: int
    jitter: int
    sha256: str
    base_pfn: int
    board: Board
    columns: Columns
    time: NDArray[np.int64]
    symbols: Mapping[int, str]

    def text(self, index: int) -> str:
        """The 16 characters that a record carries in its columns a..d."""
        return text_of(self.columns, index)

    def symbol(self, column: str, index: int) -> str:
        """The kernel function of the code address in a column of a record; empty if it is not known."""
        return self.symbols.get(int(self.columns[column][index]), "")

    def error(self, index: int, what: str, valid: str | None = None) -> UserError:
        """The error of a record that does not go with those before it."""
        return UserError(what, file=self.path, key=f"record {index}", valid=valid)

    @property
    def has_scheduler_records(self) -> bool:
        """Whether switches and wake-ups were recorded too: only then can lanes be extracted."""
        return bool(np.any(self.columns["type"] == Record.SWITCH))


def text_of(columns: Columns, index: int) -> str:
    """The 16 characters that a record carries in its columns a..d."""
    words = b"".join(int(columns[c][index]).to_bytes(4, "big") for c in "abcd")
    return words.replace(b"\0", b"").decode("latin-1")


def read_recording(path: Path, board: Board, symbols: Path | None = None) -> Recording:
    """Read a recording of a board and the symbol table beside it (symbols_ENVIRONMENT.csv).

    Raises UserError where a file is missing, is no recording, or its name does not say what was recorded.
    """
    path = Path(path)
    match = NAME.fullmatch(path.stem)
    if match is None:
        raise UserError(
            f"the name {path.stem!r} does not say what was recorded",
            file=path,
            valid="ENVIRONMENT_VARIANT_RAMMB_jJITTER_LETTER.npz, for example C_V0_64MB_j0_a.npz",
        )
    columns, header, sha256 = read_columns(path, board)
    if int(match["ram"]) << 20 != int(header[9]):
        what = f"the name says {match['ram']} MB of RAM, the recording {int(header[9]) >> 20}"
        raise UserError(what, file=path, valid="the name that it was recorded under")
    return Recording(
        name=path.stem,
        path=path,
        environment=match["environment"],
        variant=match["variant"],
        ram_mb=int(match["ram"]),
        jitter=int(match["jitter"]),
        sha256=sha256,
        base_pfn=int(header[14]),
        board=board,
        columns=columns,
        time=_time(columns["jiffies"], columns["pit"], board.clock.timer_counts_per_tick),
        symbols=_read_symbols(symbols or path.parent / f"symbols_{match['environment']}.csv"),
    )


def largest_of(board: Board) -> dict[str, int]:
    """The largest number that each column may hold; the timer counts down, so it never shows a whole tick."""
    return {**LARGEST, "pit": board.clock.timer_counts_per_tick - 1}


def read_columns(path: Path, board: Board) -> tuple[Columns, NDArray[np.integer], str]:
    """The columns of a recording's file, all of one length, its header, and the file's SHA-256.

    Every number is in its range, every page lies in the RAM, no record is lost and the clock does not go back: what
    reads them need not look again. Raises UserError where the file is missing or is no such recording.
    """
    wanted = (*COLUMNS, "header")
    content = read_bytes(path, limit=MAX_RECORDING, valid=VALID)
    arrays = arrays_of(content, path, limit=MAX_RECORDING, valid=VALID)
    missing = [name for name in wanted if name not in arrays]
    if missing:
        raise UserError(f"columns are missing: {', '.join(missing)}", file=path, valid=", ".join(wanted))
    shapes = {arrays[name].shape for name in COLUMNS}
    whole = all(arrays[name].dtype.kind in "iu" for name in wanted)
    if not whole or len(shapes) != 1 or len(shapes.pop()) != 1 or arrays["header"].shape != (HEADER_WORDS,):
        raise UserError(
            "not a recording: its columns do not fit together",
            file=path,
            valid=f"columns of integers, all of one length, and a header of {HEADER_WORDS}",
        )
    if len(arrays["type"]) > MAX_RECORDS:
        raise UserError(f"{len(arrays['type'])} records", file=path, valid=f"at most {MAX_RECORDS}")
    header = _within(path, "header", arrays["header"], WORD)
    _check_header(path, [int(word) for word in header], board)
    columns = {name: _within(path, name, arrays[name], most) for name, most in largest_of(board).items()}
    _check_records(path, columns, board, base=int(header[14]), pages=int(header[9]) // board.machine.page_size)
    return columns, header, hashlib.sha256(content).hexdigest()


def _within(path: Path, name: str, array: NDArray[Any], largest: int) -> NDArray[np.integer]:
    """The column, in the smallest type that holds what it may hold. UserError if a number of it is out of range."""
    wrong = np.flatnonzero((array < 0) | (array > largest))
    if len(wrong):
        place = f"word {wrong[0]} of the header" if name == "header" else f"record {wrong[0]}, column {name}"
        what = f"{int(array[wrong[0]])} is not valid"
        raise UserError(what, file=path, key=place, valid=f"a whole number from 0 to {largest}")
    return array.astype(np.min_scalar_type(largest))


def _check_header(path: Path, header: list[int], board: Board) -> None:
    """UserError unless the header is of a recording without loss, of this board."""
    machine = board.machine
    magic, dropped, ram, page_size, max_order, pageblock_order, base = *header[:4:3], *header[9:13], header[14]
    if magic != HEADER_MAGIC:
        raise UserError(f"not a recording: its header begins with {magic:#x}", file=path, valid=hex(HEADER_MAGIC))
    if dropped:
        raise UserError(f"{dropped} records were lost while it was recorded", file=path, valid="a complete recording")
    known = (machine.page_size, machine.max_order, machine.pageblock_order)
    if (page_size, max_order, pageblock_order) != known:
        raise UserError(
            f"recorded with pages of {page_size} bytes, MAX_ORDER {max_order}, pageblock_order {pageblock_order}",
            file=path,
            valid=f"{known[0]}, {known[1]}, {known[2]} (the board {board.name})",
        )
    if ram == 0 or ram % (1 << 20):
        raise UserError(f"recorded with {ram} bytes of RAM", file=path, valid="whole megabytes")
    pageblock = 1 << machine.pageblock_order
    if base % pageblock or base + ram // machine.page_size > WORD:
        valid = f"a multiple of {pageblock}, with all RAM behind it below {WORD}"
        raise UserError(f"RAM that begins at page {base}", file=path, key="word 14 of the header", valid=valid)


def _check_records(path: Path, columns: Columns, board: Board, base: int, pages: int) -> None:
    """UserError unless all blocks lie in the RAM, requests are such as Linux makes, and the clock does not go back."""
    kind, order, pfn, flags = (columns[name] for name in ("type", "order", "pfn", "flags"))

    def refuse(wrong: NDArray[np.bool_], what: str, valid: str) -> None:
        if wrong.any():
            i = int(np.argmax(wrong))
            numbers = {name: int(column[i]) for name, column in columns.items()}
            raise UserError(what.format(**numbers), file=path, key=f"record {i}", valid=valid)

    is_request = kind == Record.ALLOC
    failed = is_request & (flags == 1)
    refuse(
        is_request & ((flags > 1) | (failed != (pfn == FAILED))),
        "a request that ends with flags {flags} and page {pfn}",
        f"flags 0 and a page, or flags 1 and page {FAILED}",
    )
    of_block = np.isin(kind, BLOCK_RECORDS)
    max_order = board.machine.max_order
    size = np.left_shift(1, np.minimum(order, max_order).astype(np.int64))
    first = pfn.astype(np.int64) - base
    outside = (first < 0) | (first + size > pages) | (first % size != 0)
    refuse(
        of_block & ((order >= max_order) | (outside & ~failed)),
        "is about a block of order {order} at page {pfn}",
        f"aligned blocks of order 0 to {max_order - 1} in {base} .. {base + pages - 1}",
    )
    for column, kinds in GFP_COLUMNS.items():
        gfp = columns[column]
        wrong = (gfp >> GFP_BITS != 0) | (gfp & GFP_MOVABLE_MASK == GFP_MOVABLE_MASK)
        refuse(
            np.isin(kind, kinds) & wrong,
            f"asks with GFP flags {{{column}}}",
            f"flags below 2**{GFP_BITS} of one migratetype",
        )
    jiffies = columns["jiffies"]
    back = np.zeros(len(jiffies), bool)
    back[1:] = jiffies[1:] < jiffies[:-1]
    refuse(back, "the clock goes back to {jiffies} jiffies", "records in the order of time, of 655 seconds at most")


def _time(jiffies: NDArray[np.integer], pit: NDArray[np.integer], counts_per_tick: int) -> NDArray[np.int64]:
    """Counts since boot of a timer that goes down from `counts_per_tick` - 1 to 0.

    With interrupts off the timer can reload before jiffies is advanced.
    """
    time = jiffies.astype(np.int64) * counts_per_tick + (counts_per_tick - 1) - pit.astype(np.int64)
    late = np.maximum.accumulate(time) - time > counts_per_tick // 2
    time[late] += counts_per_tick
    return np.maximum.accumulate(time)


def _read_symbols(path: Path) -> dict[int, str]:
    valid = "the recording's symbol table: columns return_address,function"
    symbols: dict[int, str] = {}
    reader = csv.DictReader(io.StringIO(read_text(path, valid=valid), newline=""), strict=True)
    try:
        for row in reader:
            address, function = row["return_address"], row["function"]
            if not address or not function or not ADDRESS.fullmatch(address):
                raise ValueError(f"{address!r} and {function!r} are not an address and a function")
            if symbols.setdefault(int(address, 16), function) != function:
                raise ValueError(f"{address} is two functions")
    except (KeyError, ValueError, csv.Error) as error:
        what = f"has no column {error}" if isinstance(error, KeyError) else str(error)
        place = f"{path}:{reader.line_num}"
        raise UserError(f"not a symbol table: {what}", file=place, valid=valid) from None
    return symbols
