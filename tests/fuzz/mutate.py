"""What is done to an input: typed values exchanged, documents bent, arrays and archives damaged."""

from __future__ import annotations

import copy
import gzip
import io
import json
import lzma
import math
import re
import warnings
import zipfile
from typing import Any

import numpy as np

from tests.fuzz.choices import Choices

BOMB = gzip.compress(bytes(70 << 20))  # a line above what a line may have

WHOLE = (
    0,
    1,
    -1,
    2,
    7,
    10,
    31,
    64,
    127,
    128,
    255,
    256,
    4096,
    32767,
    32768,
    65535,
    65536,
    10**6,
    2**30,
    2**31 - 1,
    2**31,
)
WHOLE += (-(2**31), 2**32 - 1, 2**32, 2**53, 2**63 - 1, 2**63, -(2**63), 2**64, 10**30, 10**400)
REAL = (0.0, -0.0, 0.5, 1.0, 1e-9, 5e-324, 1e-320, 1e300, 1.7976931348623157e308, -1.0, 0.9999999999999999, 1e16)
REAL += (math.nan, math.inf, -math.inf)
TEXTS = (
    "",
    " ",
    "0",
    "-1",
    "x",
    "C",
    "N",
    "..",
    "../x",
    "/",
    ".",
    "~",
    "/proc/self/mem",
    "/dev/zero",
    "a\0b",
    "\x1b]0;pwn\x07",
)
TEXTS += (
    "\n",
    "a\nb",
    "\u202e",
    "\ud7ff",
    "日本語",
    "é" * 300,
    "x" * 300,
    "x" * 100_000,
    "=cmd|'/c'!A0",
    "<script>",
    "%s",
    "{0}",
)
TEXTS += (
    "32M",
    "33M",
    "1K",
    "999999999999999G",
    "28M..40M step 1K",
    "1M..1G step 1M",
    "1h",
    "999999h",
    "maple-naive",
    "1e999",
)


def other_value(choices: Choices, value: Any) -> Any:
    """A value in the place of `value`: near it, an extreme of its type, or of another type."""
    kind = choices.below(10)
    if type(value) is bool and kind < 6:
        return not value
    if type(value) is int and kind < 6:
        return (
            value + choices.pick((1, -1, 2, -value, value, 255, 1 << 16, -(1 << 31)))
            if kind < 3
            else choices.pick(WHOLE)
        )
    if type(value) is float and kind < 6:
        return value * choices.pick((-1.0, 0.0, 2.0, 1e-9, 1e9)) if kind < 3 else choices.pick(REAL)
    if type(value) is str and kind < 6:
        return other_text(choices, value)
    if isinstance(value, list) and kind < 6:
        return other_list(choices, value)
    if isinstance(value, dict) and kind < 6:
        return other_table(choices, value)
    return choices.pick(
        (*(choices.pick(each) for each in (WHOLE, REAL, TEXTS)), True, [], {}, [value], {"x": value}, None)
    )


def other_text(choices: Choices, text: str) -> str:
    """A text that differs a little, or not a little."""
    place = choices.below(len(text) + 1)
    return choices.pick(
        (
            choices.pick(TEXTS),
            text[:place] + choices.pick(TEXTS)[:50] + text[place:],
            text[:place],
            text * 2,
            text.swapcase(),
            text[:place] + chr(choices.below(0xD800)) + text[place + 1 :],
            f" {text} ",
        )
    )


def other_list(choices: Choices, values: list[Any]) -> list[Any]:
    """A list with an element less, twice, elsewhere, or very many."""
    place = choices.below(len(values) + 1)
    return choices.pick(
        (
            [],
            values[:place],
            values[:place] + values[place + 1 :],
            values + values[-1:],
            values[::-1],
            values * choices.pick((2, 10, 1000)) if len(values) < 100 else values,
            [*values[:place], choices.pick(TEXTS), *values[place:]],
        )
    )


def other_table(choices: Choices, table: dict[str, Any]) -> dict[str, Any]:
    """A table with a key less, more, or under another name."""
    names = list(table)
    kind = choices.below(4) if names else 0
    if kind == 0:
        return {**table, choices.pick(TEXTS): choices.pick((choices.pick(WHOLE), choices.pick(TEXTS), {}, []))}
    name = choices.pick(names)
    rest = {each: value for each, value in table.items() if each != name}
    if kind == 1:
        return rest
    if kind == 2:
        return {**rest, other_text(choices, name): table[name]}
    return {**table, name: copy.deepcopy(table[choices.pick(names)])}


def places(document: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values in a document, itself included."""
    found = [above]
    inside: Any = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in inside:
        found += places(value, (*above, key))
    return found


def other_document(choices: Choices, document: Any) -> Any:
    """A copy of a document with some of its values exchanged."""
    document = copy.deepcopy(document)
    for _ in range(choices.times()):
        path = choices.pick(places(document))
        if not path:
            document = other_value(choices, document) if choices.chance(5) else document
            continue
        holder = document
        for key in path[:-1]:
            holder = holder[key]
        holder[path[-1]] = other_value(choices, holder[path[-1]])
    return document


def gentle_document(choices: Choices, document: Any) -> Any:
    """A copy with other whole numbers and sizes, none of them wild: mostly accepted, so that what follows is tried."""
    document = copy.deepcopy(document)
    for _ in range(choices.times()):
        path = choices.pick(places(document))
        holder = document
        for key in path[:-1]:
            holder = holder[key]
        value = holder[path[-1]] if path else None
        if type(value) is int:
            holder[path[-1]] = choices.below(2 * abs(value) + 2)
        elif isinstance(value, str) and re.fullmatch(r"\d+K", value):
            holder[path[-1]] = f"{1 + choices.below(2 * int(value[:-1]))}K"
        elif isinstance(value, list) and value:
            place, other = choices.below(len(value)), choices.below(len(value))
            value[place], value[other] = value[other], value[place]
    return document


# Texts and bytes


def other_bytes(choices: Choices, content: bytes) -> bytes:
    """Bytes with flipped bits, cut off, doubled, or with something foreign inside."""
    damaged = bytearray(content)
    for _ in range(choices.times()):
        size = len(damaged)
        if not size:
            break
        place, length = choices.below(size), choices.pick((1, 1, 2, 4, 16, 64, size))
        kind = choices.below(6)
        if kind == 0:
            damaged[place] ^= 1 << choices.below(8)
        elif kind == 1:
            damaged[place] = choices.pick((0, 1, 0x7F, 0x80, 0xFF, 0x0A, 0x1B, 0x22, 0x5B, 0x7B))
        elif kind == 2:
            del damaged[place : place + length]
        elif kind == 3:
            damaged[place:place] = damaged[place : place + length]
        elif kind == 4:
            damaged[place : place + length] = bytes(min(length, size - place))
        else:
            damaged[place:place] = choices.pick(TEXTS)[:500].encode()
    return bytes(damaged)


def hostile_text(choices: Choices, text: str) -> str:
    """A text format bent as a whole: nested without end, numbers without end, lines twice, other ends of lines."""
    lines = text.splitlines()
    place = choices.below(len(lines) + 1)
    number = choices.pick(("9" * 5000, "1e999", "nan", "0x10", "-1", "1_0"))
    deep = choices.pick((10, 500, 20_000))
    opening, closing = choices.pick((("[", "]"), ('{"a":', "0}"), ("{a=", "0}"), ('"', '"')))
    return choices.pick(
        (
            re.sub(r"(?<=[:= ])\d+\b", f"{opening * deep}{closing * deep}", text, count=1),
            opening * deep + closing * deep,
            re.sub(r"\d+", number, text, count=place),
            "\n".join([*lines[:place], *lines[place:][:1], *lines[place:]]),
            "\n".join(lines[:place]),
            text.replace("\n", "\r\n"),
            text.replace("\n", "\r"),
            "\ufeff" + text,
            text.replace('"', "", 1 + place),
            text + "\n" * deep,
            text * choices.pick((2, 20)),
        )
    )


def toml(document: Any) -> str:
    """A document as TOML, as far as TOML can say it."""
    if not isinstance(document, dict):
        return f"value = {_toml_value(document)}\n"
    plain = [
        f"{_toml_key(name)} = {_toml_value(value)}\n" for name, value in document.items() if not isinstance(value, dict)
    ]
    tables = [
        f"[{_toml_key(name)}]\n" + "".join(f"{_toml_key(key)} = {_toml_value(inner)}\n" for key, inner in value.items())
        for name, value in document.items()
        if isinstance(value, dict)
    ]
    return "".join(plain + tables)


def _toml_key(name: Any) -> str:
    return json.dumps(str(name), ensure_ascii=False).replace("\x7f", "\\u007f")


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml_key(name)} = {_toml_value(inner)}" for name, inner in value.items()) + "}"
    if value is None:
        return "2022-06-01"
    return _toml_key(value)


def packed(choices: Choices, content: bytes) -> bytes:
    """A text as it may come: plain, gzip, xz; in parts, as a bomb of 32 MB, or with something behind it."""
    pack = choices.pick((bytes, bytes, gzip.compress, gzip.compress, gzip.compress, lzma.compress))
    kind = choices.below(50)
    if kind == 0:
        return BOMB
    if kind == 1:
        return pack(content) + pack(content)
    if kind == 2:
        return pack(content) + b"behind it"
    if kind == 3:
        return pack(pack(content))
    return pack(content)


# Arrays and their archives


def other_array(choices: Choices, array: np.ndarray) -> np.ndarray:
    """An array with cells exchanged, rows dropped, doubled or moved, another type, shape or order."""
    array = np.atleast_1d(array).copy()
    kind = choices.below(16)
    if kind < 9 and array.size:
        flat = array.reshape(-1)
        for _ in range(choices.times()):
            place = choices.below(flat.size)
            value = int(flat[place]) if array.dtype.kind in "iub" else 0
            near = value + choices.pick((1, -1, 1 << 8, 1 << 16)) if choices.chance(50) else choices.pick(WHOLE)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                flat[place] = np.array(near % 2**64, dtype=np.uint64).astype(array.dtype)
        return array
    rows = choices.below(array.shape[-1]) if array.ndim and array.shape[-1] else 0
    if kind == 9:
        return array[..., :rows]
    if kind == 10:
        return array[..., rows:]
    if kind == 11:
        return np.concatenate([array, array[..., rows:]], axis=-1)[..., : 1 << 16] if array.ndim else array
    if kind == 12:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return array.astype(
                choices.pick(("<i8", "<f8", "<f4", "i1", "u1", ">i4", "<u4", "<u8", "<c8", "?", "S4", "<M8[s]", "f2"))
            )
    if kind == 13:
        return array[choices.below(array.shape[0]) :] if array.ndim and array.shape[0] else array.reshape(1, -1)
    if kind == 14:
        return choices.pick((array.reshape(-1), array.T, array[..., ::-1], array[None], array[:0], np.array(7)))
    return np.zeros((*array.shape[:-1], choices.pick((0, 1, 100_000))), array.dtype) if array.ndim else array


def npy(array: np.ndarray) -> bytes:
    """An array as NumPy writes it."""
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=False)
    return file.getvalue()


def archive(choices: Choices, arrays: dict[str, np.ndarray]) -> bytes:
    """Arrays as a NumPy archive: mostly whole, else with members damaged, missing, twice, foreign, or a bomb."""
    members = {f"{name}.npy": npy(array) for name, array in arrays.items()}
    kind = choices.below(16)
    name = choices.pick(list(members))
    if kind == 0:
        members[name] = other_bytes(choices, members[name][:200]) + members[name][200:]
    elif kind == 1:
        members[name] = other_bytes(choices, members[name])
    elif kind == 2:
        del members[name]
    elif kind == 3:
        members[choices.pick(("other.npy", "../x.npy", "a\x1bb.npy", "facts", "readme.txt"))] = b"text"
    elif kind == 4:
        shape = choices.pick(((2**40, 6), (130_000_000, 6), (-1,), (2**62, 4), (0, 2**62), ()))
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "<i4", "fortran_order": False, "shape": shape})
        members[name] = header.getvalue() + choices.pick((b"", bytes(64), bytes(8 << 20)))
    packing = choices.pick(
        (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2)
    )
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(file, "w", packing) as out:
            for each, content in members.items():
                out.writestr(each, content)
            if kind == 5:
                out.writestr(name, members[name])
    return other_bytes(choices, file.getvalue()) if kind in (6, 7) else file.getvalue()
