"""The doors: files that come in are read here within limits, files that go out are written here whole or not at all.

Whatever is wrong with a file is one UserError that names it. No other module opens a file of a user.
"""

from __future__ import annotations

import gzip
import io
import json
import lzma
import os
import platform
import re
import threading
import tokenize
import tomllib
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mcsim.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

# Far above what any real file needs, far below what harms a machine (bytes).
MAX_TEXT = 16 << 20  # TOML, JSON, CSV
MAX_LINE = 64 << 20  # of a file that is read line by line
MAX_LINES = 16 << 30  # of all lines of such a file, unpacked
MAX_DEPTH = 64  # tables within tables, parts of a dotted key
MAX_ARCHIVE = 512 << 20  # a NumPy archive, packed
MAX_ARRAYS = 1 << 30  # its arrays, unpacked

GZIP_MAGIC = b"\x1f\x8b"
XZ_MAGIC = b"\xfd7zXZ\x00"
# A key of more parts than that. The reader of Python takes a time that grows with their square, so it is not asked.
_LONG_KEY = re.compile(
    r"""(?<![\w"'-])(?:(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*){%d}""" % MAX_DEPTH  # noqa: UP031 - braces
)
READ_ERRORS = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError)


# Reading


def is_file(path: str | Path) -> bool:
    """Whether there is such a file; False too for a name that no file can have."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):  # too long; a NUL in it
        return False


def is_folder(path: str | Path) -> bool:
    """Whether there is such a folder; False too for a name that no folder can have."""
    try:
        return Path(path).is_dir()
    except (OSError, ValueError):
        return False


def is_same_file(one: str | Path, other: str | Path) -> bool:
    """Whether both are there and are one file, by whatever names."""
    try:
        return Path(one).samefile(other)
    except (OSError, ValueError):
        return False


def read_bytes(path: str | Path, *, limit: int = MAX_TEXT, valid: str | None = None) -> bytes:
    """The content of a file of at most `limit` bytes."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(limit + 1)
    except FileNotFoundError:
        raise UserError("no such file", file=path, valid=valid) from None
    except (OSError, ValueError) as error:
        raise UserError(f"cannot be read: {_reason(error)}", file=path, valid=valid) from None
    if len(content) > limit:
        raise UserError(f"is larger than {in_bytes(limit)}", file=path, valid=valid)
    return content


def read_text(path: str | Path, *, limit: int = MAX_TEXT, valid: str | None = None) -> str:
    """The content of a file in UTF-8; a byte order mark is passed over, ends of lines are `\\n`."""
    content = read_bytes(path, limit=limit, valid=valid)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"is not UTF-8 text (byte {error.start})", file=path, valid=valid) from None
    return text.replace("\r\n", "\n")


def parse_toml(text: str, path: str | Path) -> dict[str, Any]:
    """The values of a TOML text, whose whole numbers have 64 bits at most; `path` is for messages."""
    valid = "TOML, as in key = 'text'"
    if _LONG_KEY.search(text):
        raise UserError(f"not valid TOML: a key of more than {MAX_DEPTH} parts", file=path, valid=valid)
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _toml_error(error, text, path, valid) from None
    except RecursionError:
        raise UserError("not valid TOML: nested too deeply", file=path, valid=valid) from None
    except ValueError as error:  # a number of thousands of digits, a date that does not exist
        what = str(error).partition(";")[0]
        raise UserError(f"not valid TOML: {what}", file=path, valid=valid) from None
    _check_values(values, path, valid)
    return values


def _check_values(values: dict[str, Any], path: str | Path, valid: str) -> None:
    """Refuse what Python reads and cannot print: deep tables, and whole numbers of thousands of digits in base 16."""
    inner: list[Any] = [values]
    for _ in range(MAX_DEPTH):
        tables = [each.values() if isinstance(each, dict) else each for each in inner if isinstance(each, dict | list)]
        inner = [each for table in tables for each in table]
        if any(type(each) is int and not -(1 << 63) <= each < 1 << 63 for each in inner):
            raise UserError("not valid TOML: a whole number of more than 64 bits", file=path, valid=valid)
        if not inner:
            return
    raise UserError("not valid TOML: nested too deeply", file=path, valid=valid)


def _toml_error(error: tomllib.TOMLDecodeError, text: str, path: str | Path, valid: str) -> UserError:
    place = re.search(r"\(at line (\d+), column \d+\)", str(error))
    lines = text.splitlines()
    number = int(place[1]) if place else len(lines)
    line = lines[number - 1].strip() if 0 < number <= len(lines) else ""
    shown = f" in: {line if len(line) <= 120 else line[:116] + ' ...'}" if line else ""
    what = re.sub(r" \(at .*\)$", "", str(error))
    return UserError(f"not valid TOML: {what}{shown}", file=path, key=f"line {number}", valid=valid)


def parse_json(text: str | bytes, path: str | Path, valid: str | None = None) -> Any:
    """The value of a JSON text, whose numbers are finite; `path` is for messages."""

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is not a number of JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except RecursionError:
        raise UserError("not JSON: nested too deeply", file=path, valid=valid) from None
    except ValueError as error:
        what = str(error).partition(";")[0]
        raise UserError(f"not JSON: {what}", file=path, valid=valid) from None


def read_lines(
    path: str | Path, *, limit: int = MAX_LINES, line_limit: int = MAX_LINE, valid: str | None = None
) -> Iterator[tuple[int, bytes]]:
    """Number (from 1) and content of every line, its end included, of a plain, gzip or xz file.

    Memory holds one line at a time; lines above `line_limit` bytes and files above `limit`, both unpacked, are errors.
    """
    number, total = 0, 0
    try:
        with open_packed(path) as file:
            while line := file.readline(line_limit + 1):
                number += 1
                total += len(line)
                if len(line) > line_limit:
                    raise UserError(
                        f"is longer than {in_bytes(line_limit)}", file=path, key=f"line {number}", valid=valid
                    )
                if total > limit:
                    raise UserError(f"is larger than {in_bytes(limit)} when unpacked", file=path, valid=valid)
                yield number, line
    except FileNotFoundError:
        raise UserError("no such file", file=path, valid=valid) from None
    except READ_ERRORS as error:
        what = f"cannot be read behind line {number}: {_reason(error)}"
        raise UserError(what, file=path, valid=valid) from None


@contextmanager
def readable(path: str | Path, valid: str | None = None) -> Iterator[None]:
    """Around whatever reads `path`: what the system refuses, and what cannot be unpacked, is a UserError."""
    try:
        yield
    except FileNotFoundError:
        raise UserError("no such file", file=path, valid=valid) from None
    except READ_ERRORS as error:
        raise UserError(f"cannot be read: {_reason(error)}", file=path, valid=valid) from None


def open_packed(path: str | Path) -> IO[bytes]:
    """A file to read from, unpacked if its first bytes say gzip or xz. Raises OSError."""
    file = Path(path).open("rb")  # noqa: SIM115 - the caller closes it
    magic = file.peek(len(XZ_MAGIC))
    if magic.startswith(GZIP_MAGIC):
        return gzip.open(file)  # type: ignore[return-value]  # a GzipFile reads bytes
    if magic.startswith(XZ_MAGIC):
        return lzma.open(file)
    return file


def read_arrays(path: str | Path, *, limit: int = MAX_ARRAYS, valid: str | None = None) -> dict[str, NDArray[Any]]:
    """The arrays of a NumPy archive (.npz) by name: numbers only, all together at most `limit` bytes when unpacked.

    Nothing is believed before it is there: an array is made when as many bytes as its header says have been unpacked.
    """
    return arrays_of(read_bytes(path, limit=MAX_ARCHIVE, valid=valid), path, limit=limit, valid=valid)


def arrays_of(
    content: bytes, path: str | Path, *, limit: int = MAX_ARRAYS, valid: str | None = None
) -> dict[str, NDArray[Any]]:
    """`read_arrays` of a file that has been read already; `path` is for messages."""
    arrays: dict[str, NDArray[Any]] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                if name in arrays:
                    raise ValueError(f"array {name!r} is there twice")
                array, taken = _read_array(archive, member, limit)
                arrays[name] = array
                limit -= taken
    except UserError as error:
        raise error.at(file=path) from None
    except zipfile.BadZipFile:
        raise UserError("not a NumPy archive (.npz), or damaged", file=path, valid=valid) from None
    except (*READ_ERRORS, SyntaxError, tokenize.TokenError, TypeError, KeyError, RuntimeError, MemoryError) as error:
        # RuntimeError: encrypted; NotImplementedError, one of them: packed in a way that is not known here.
        what = f"not a NumPy archive (.npz), or damaged: {_reason(error)}"
        raise UserError(what, file=path, valid=valid) from None
    return arrays


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, limit: int) -> tuple[NDArray[Any], int]:
    """One array and how many bytes it took. Raises what READ_ERRORS and UserError say."""
    import numpy as np

    with archive.open(member) as packed:
        content = packed.read(limit + 1)
    if len(content) > limit:
        raise UserError("holds more than any file of its kind needs", valid=f"arrays of {in_bytes(limit)} at most")
    # NumPy's own reader is not asked: it believes the header, and makes the array before it has read any of it.
    file = io.BytesIO(content)
    shape, fortran_order, dtype = _read_header(file)
    if dtype.kind not in "biuf":
        raise ValueError(f"{member.filename}: no array of numbers")
    if any(length < 0 for length in shape):
        raise ValueError(f"{member.filename}: shape {shape}")
    items = 1
    for length in shape:
        items *= length
    data = content[file.tell() :]
    if items * dtype.itemsize != len(data):
        raise ValueError(f"{member.filename}: {len(data)} bytes for {items} numbers of {dtype}")
    array = np.frombuffer(data, dtype).reshape(shape[::-1] if fortran_order else shape)
    return (array.T if fortran_order else array), len(content)


def _read_header(file: io.BytesIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    import numpy as np

    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(file)
    raise ValueError(f"version {version} of the array format")


# Writing


@contextmanager
def written(path: str | Path, valid: str = "a writable place, with room on the disk") -> Iterator[None]:
    """Around whatever writes to `path`: what the system refuses is a UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot be written: {_reason(error)}", file=path, valid=valid) from None


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is either the old one or the new one, never a part; a link is replaced, not followed.

    Raises OSError.
    """
    with beside(path, content) as temporary:
        temporary.replace(path)


def write_new(path: Path, content: bytes) -> None:
    """Write a file that is not there yet, whole or not at all. Raises FileExistsError and other OSErrors."""
    with beside(path, content) as temporary:
        try:
            os.link(temporary, path)  # unlike a renaming, it replaces nothing
        except FileExistsError:
            raise
        except OSError:  # a file system without links
            with path.open("xb") as file:
                file.write(content)


def write_each(contents: Mapping[Path, bytes]) -> list[Path]:
    """Write files as `write_atomically` does, and the folders that they need; return their paths.

    UserError if one cannot be written.
    """
    for path, content in contents.items():
        with written(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content)
    return list(contents)


@contextmanager
def beside(path: Path, content: bytes) -> Iterator[Path]:
    """The content in a file beside `path`, to be renamed or linked; what is left of it goes. Raises OSError."""
    temporary = temporary_name(path)
    discard(temporary)  # of a process of the same number that was killed; or a link that somebody has put there
    try:
        with temporary.open("xb") as file:
            file.write(content)
        yield temporary
    finally:
        discard(temporary)


def discard(temporary: Path) -> None:
    """Remove a file that was to be renamed, if it is there and the system lets us."""
    with suppress(OSError):  # the folder may have become read-only: what stopped the writing is the message, not this
        temporary.unlink(missing_ok=True)


def temporary_name(path: Path) -> Path:
    """Under which name a file is written before it is renamed: hidden, and of this thread alone."""
    # The name of the machine, too: many of them may write to one network file system.
    writer = f"{platform.node()}.{os.getpid()}.{threading.get_ident()}"
    return path.with_name(f".{path.name}.{writer}.tmp")


# Words


def printable(text: str) -> str:
    """A text of a file or of a user as a terminal may have it: control characters but line ends as `\\x1b`."""
    return "".join(each if each.isprintable() or each == "\n" else _escaped(each) for each in text)


def one_line(text: str) -> str:
    """`printable`, without ends of lines: for a cell of a table, a heading, a name."""
    return " ".join(printable(text).split("\n"))


def csv_safe(text: str) -> str:
    """A text as a cell of a CSV file: one line that no spreadsheet takes for a formula."""
    words = one_line(text)
    return f"'{words}" if words.lstrip()[:1] in ("=", "+", "-", "@") else words


def csv_of(frame: pl.DataFrame) -> str:
    """A data frame as CSV, its texts `csv_safe`."""
    import polars as pl

    texts = pl.col(pl.String).map_elements(csv_safe, return_dtype=pl.String)
    return frame.with_columns(texts).write_csv()


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode() if character != "\t" else " "


def in_bytes(number: int) -> str:
    """A limit in words: `16 MB`."""
    for power, unit in ((30, "GB"), (20, "MB"), (10, "kB")):
        if number >= 1 << power:
            return f"{number >> power} {unit}"
    return f"{number} bytes"


def _reason(error: BaseException) -> str:
    """What an exception says, without the path that the message names anyway."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).partition("\n")[0] or type(error).__name__
