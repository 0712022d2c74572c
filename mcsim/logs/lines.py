"""Lines of a log as the kernel has printed them: without what consoles, loggers, mailers and browsers put around them.

Memory holds a block of the file at a time. Blocks without any word that a reader knows are passed over as a whole,
unless a report is open; that makes large logs quick.
"""

from __future__ import annotations

import codecs
import quopri
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import IO, NamedTuple

BLOCK = 1 << 16  # bytes
LONGEST = 1 << 16  # bytes of a line of the file; what is longer comes in parts
LONGEST_LINE = 1 << 12  # characters of a line of the kernel
LONGEST_SOFT = 40  # lines that a mailer may have made of one
MAILER = 80  # columns: a soft line break ("=") stands before that

# What begins another report, or another boot.
REQUESTS = (b"page allocation", b"llocation of length", b"oom-killer", b"Show Memory", b"Linux version", b"=\n")
# One of these is in every first line that a reader knows.
WORDS = (
    b"page allocation",
    b"llocation of length",
    b"oom-killer",
    b"Out of memory",
    b"deadlocked on memory",
    b"Mem-",
    b"Show Memory",
    b" free:",
    b"*4kB",
    b"*8kB",
    b"*16kB",
    b"*32kB",
    b"*64kB",
    b"allocate RAM",
    b"rror -12)",
    b"Linux version",
    b"Machine model",
    b"Memory:",
    b"Memory available",
    b"[mem 0x",
    b"hash table entries",
    b"memblock_reserve",
    b"mobility grouping",
    b"used for memmap",
    b"SLUB:",
    b"Brought up",
    b"Freeing ",
    b"mm/page_alloc.c",
    b", zone",
    b"buddyinfo",
    b"Page block order",
    b"pages RAM",
    b"pages of RAM",
    b"=\n",  # of a mail: the words may be broken
)

PREFIX = re.compile(
    r"""\s*(?:
      >+(?=\s|$|>|\[|<)                                                # quoted mail
    | <\d{1,3}>                                                        # level of printk
    | \[\s*(?P<seconds>\d{1,9}\.\d{1,9})\]                             # time since boot
    | \[(?P<date>[A-Z][a-z]{2}\ [A-Z][a-z]{2}\ [\s\d]\d\ \d\d:\d\d:\d\d\ \d{4})\]   # dmesg -T
    | \[\s*[TC]\d+\]                                                   # caller of printk
    | \[\d+:\s*[^\]\[]{1,40}:\s*\d+\]                                  # vendors: [3: Binder:9343_3:22875]
    | \(\d+\)\[\d+:[^\]\[]{1,40}\]                                     # vendors: (0)[1:swapper]
    | [A-Z][a-z]{2}\ [\s\d]\d\ (?P<clock>\d\d:\d\d:\d\d)(?:\.\d+)?\ \S+\ kernel:    # syslog
    | (?P<iso>\d{4}-\d\d-\d\d[T\ ]\d\d:\d\d:\d\d)\S*\ \S+\ kernel:
    | (?:kern|user|daemon)\s*:\s*[a-z]+\s*:                            # dmesg -x
    | kernel:
    | 0\d{4}(?=\s)
    )""",
    re.VERBOSE,
)
# A line that another one was printed into: the second begins with a level or a time.
INSIDE = re.compile(r"(?<=.)(?=<\d>(?:\[|\w))|(?<=[^\s<>])\s*(?=(?:<\d>)?\[ *\d{1,6}\.\d{6}\])")
ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|\][^\x07]{0,256}\x07|.)?")
CONTROLS = dict.fromkeys([*range(32), *range(127, 160)], " ")
ENTITIES = (("&lt;", "<"), ("&gt;", ">"), ("&nbsp;", " "), ("&quot;", '"'), ("&#39;", "'"), ("&amp;", "&"))
LIST_TOTAL = re.compile(rb"\s*\d{1,15}[kK]B\s*$")
# Where lines that were joined are cut again: before what begins a line of a report.
CUT = re.compile(
    r"""(?<=[^\s>]\s)(?:
      Mem-[Ii]nfo:
    | Node\ \d+\ (?:active_anon:|(?:DMA32|DMA|Normal|HighMem|Movable)(?:\ free:\d|:\ (?:\d+\*\d|empty)))
    | (?:DMA32|DMA|Normal|HighMem|Movable)(?:\ free:\d|:\ (?:\d+\*\d|empty))
    | Allocation\ of\ length\ \d
    | Unable\ to\ allocate\ RAM
    )""",
    re.VERBOSE,
)


class Line(NamedTuple):
    """One line of a kernel; `time`: seconds, since boot or of a clock, None where it has none."""

    number: int
    time: float | None
    text: str


def blocks(file: IO[bytes]) -> Iterator[bytes]:
    """The content in blocks of whole lines, about BLOCK bytes each; a line that is longer comes in parts."""
    head = file.read(2)
    if head in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):  # of a console of Windows
        name = "utf-16-le" if head == codecs.BOM_UTF16_LE else "utf-16-be"
        decoder = codecs.getincrementaldecoder(name)(errors="replace")
        parts: Iterator[bytes] = (
            decoder.decode(part).encode(errors="replace") for part in iter(lambda: file.read(BLOCK), b"")
        )
        rest = b""
    else:
        parts, rest = iter(lambda: file.read(BLOCK), b""), head
    for part in parts:
        rest += part
        whole, newline, tail = rest.rpartition(b"\n")
        if newline or len(rest) > LONGEST:
            yield whole + newline if newline else rest + b"\n"
            rest = tail if newline else b""
    if rest:
        yield rest


def lines(
    file: IO[bytes], is_open: Callable[[], bool], skips: Callable[[], bool], take_all: bool = False
) -> Iterator[tuple[int, bytes]]:
    """Number (from 1) and bytes of every line that may matter: with a known word, or while `is_open()`.

    While `skips()` only lines that begin another report matter.

    The number of the last line comes with the last pair, which is (number, b"").
    """
    number, held, first, soft = 0, b"", 0, 0
    for block in blocks(file):
        known = [word for word in WORDS if word in block]
        if not (known or held or take_all or is_open()):
            number += block.count(b"\n") + (not block.endswith(b"\n"))
            continue
        few = [word for word in known if word in REQUESTS]
        for raw in block.removesuffix(b"\n").split(b"\n"):
            number += 1
            breaks = raw.endswith((b"=", b"=\r")) and 40 < len(raw) <= MAILER and soft < LONGEST_SOFT
            if held:
                raw, held = _joined(held, raw), b""
            else:
                first, soft = number, 0
            if breaks:
                held, soft = raw.rstrip(b"\r")[:-1], soft + 1
                continue
            if take_all or is_open() or any(word in raw for word in (few if skips() else known)):
                yield first, raw[:LONGEST]
    if held:
        yield first, held[:LONGEST]
    yield number, b""


def _joined(first: bytes, second: bytes) -> bytes:
    """What a soft line break has parted; the second may be quoted as the first is."""
    if first.startswith(b">") and second.startswith(b">"):
        second = second.lstrip(b"> ")
    if LIST_TOTAL.match(second):  # no soft line break, but the end of a free list
        second = b"= " + second
    return first + second


def cleaned(number: int, raw: bytes) -> list[Line]:
    """The kernel's lines in one line of a file: mostly one."""
    text = raw.decode("utf-8", "replace")
    if "=3D" in text:
        text = quopri.decodestring(text.encode()).decode("utf-8", "replace")
    if "&" in text:
        for entity, character in ENTITIES:
            text = text.replace(entity, character)
    if "\x1b" in text:
        text = ESCAPES.sub("", text)
    if not text.isprintable():
        text = text.translate(CONTROLS)
    time = None
    found = []
    for printed in INSIDE.split(text) if "<" in text or text.count("[") > 1 else (text,):
        time_of_part, rest = _without_prefix(printed)
        time = time if time_of_part is None else time_of_part
        found += [Line(number, time, piece.strip()[:LONGEST_LINE]) for piece in _pieces(rest)]
    return found


def _pieces(text: str) -> list[str]:
    """A line, cut where another begins in it."""
    starts = [found.start() for found in CUT.finditer(text)]
    if not starts:
        return [text]
    return [text[start:end] for start, end in zip([0, *starts], [*starts, len(text)], strict=True)]


def _without_prefix(text: str) -> tuple[float | None, str]:
    place, time = 0, None
    while found := PREFIX.match(text, place):
        place = found.end()
        if found["seconds"]:
            time = float(found["seconds"])
        elif time is None:
            time = _clock(found)
    return time, text[place:]


def _clock(found: re.Match[str]) -> float | None:
    """Seconds of a date or of a time of day."""
    try:
        if found["date"]:
            return datetime.strptime(found["date"], "%a %b %d %H:%M:%S %Y").replace(tzinfo=UTC).timestamp()
        if found["iso"]:
            return datetime.fromisoformat(found["iso"]).replace(tzinfo=UTC).timestamp()
        if found["clock"]:
            hours, minutes, seconds = map(int, found["clock"].split(":"))
            return 3600.0 * hours + 60.0 * minutes + seconds
    except (ValueError, OverflowError, OSError):
        pass
    return None
