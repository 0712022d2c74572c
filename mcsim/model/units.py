"""Sizes of memory and durations as people write them: `32M`, `28M..40M step 1M`, `1h30m`."""

import re

from mcsim.errors import UserError

UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
MAX_SIZES = 1000  # a range longer than this is a slip, not a question
MAX_LETTERS = 100  # of one size, range or duration; the patterns below take a time that grows with their square
MAX_SECONDS = 365 * 24 * 3600
SIZE_SYNTAX = "a whole number with K, M or G (powers of 1024), in quotes: '8K', '32M', '1G'"
SIZES_SYNTAX = "sizes such as '32M', ranges such as '28M..40M step 1M', or a list of these"

DURATION_SYNTAX = "hours, minutes, seconds, in quotes: '90s', '30m', '1h30m'; at most '8760h'"

_DURATION = re.compile(r"(?=\d)(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,9})s)?")
_SIZE = re.compile(r"(\d{1,15})\s*([A-Za-z]*)")
_RANGE = re.compile(r"(.+?)\s*\.\.\s*(.+?)(?:\s+step\s+(.+))?")


def parse_size(text: object) -> int:
    """Bytes of a size. K, M and G are powers of 1024, as in the kernel's `mem=`."""
    if not isinstance(text, str):
        raise UserError(f"{text!r} has no unit", valid=SIZE_SYNTAX)
    match = _SIZE.fullmatch(text.strip()) if len(text) <= MAX_LETTERS else None
    if match is None:
        raise UserError(f"{text!r} is not a size", valid=SIZE_SYNTAX)
    number, unit = match.groups()
    if unit not in UNITS:
        wrong = f"unknown unit {unit!r} in {text!r}" if unit else f"{text!r} has no unit"
        raise UserError(wrong, valid=SIZE_SYNTAX)
    size = int(number) * UNITS[unit]
    if size <= 0:
        raise UserError(f"{text!r} is not more than 0", valid=SIZE_SYNTAX)
    return size


def parse_sizes(text: object) -> tuple[int, ...]:
    """Bytes of sizes, ranges (both ends included) and lists of them; ascending, each once."""
    parts = text if isinstance(text, list | tuple) else [text]
    sizes: set[int] = set()
    given = 0
    for part in parts:
        pieces = part.split(",") if isinstance(part, str) else [part]
        for piece in pieces:
            given += 1
            sizes.update(_range(piece))
            if given > MAX_SIZES or len(sizes) > MAX_SIZES:
                raise UserError("these are too many sizes", valid=f"at most {MAX_SIZES} sizes")
    if not sizes:
        raise UserError("no size is given", valid=SIZES_SYNTAX)
    return tuple(sorted(sizes))


def _range(piece: object) -> range:
    match = _RANGE.fullmatch(piece.strip()) if isinstance(piece, str) and len(piece) <= MAX_LETTERS else None
    if match is None:
        size = parse_size(piece)
        return range(size, size + 1)
    first, last = parse_size(match[1]), parse_size(match[2])
    if match[3] is None:
        raise UserError(f"the range {piece!r} has no step", valid="'28M..40M step 1M'")
    step = parse_size(match[3])
    if last < first:
        raise UserError(f"the range {piece!r} runs downwards", valid="the smaller size first")
    if (last - first) % step:
        raise UserError(f"the range {piece!r} does not end on a step", valid="(last - first) a multiple of the step")
    if (last - first) // step >= MAX_SIZES:
        raise UserError(f"the range {piece!r} has too many sizes", valid=f"at most {MAX_SIZES} sizes")
    return range(first, last + 1, step)


def parse_duration(text: object) -> float:
    """Seconds of a duration."""
    match = _DURATION.fullmatch(text.strip()) if isinstance(text, str) and len(text) <= MAX_LETTERS else None
    if match is None:
        raise UserError(f"{text!r} is not a duration", valid=DURATION_SYNTAX)
    hours, minutes, seconds = (int(each or 0) for each in match.groups())
    total = 3600 * hours + 60 * minutes + seconds
    if total == 0:
        raise UserError(f"{text!r} is not more than 0", valid=DURATION_SYNTAX)
    if total > MAX_SECONDS:
        raise UserError(f"{text!r} is more than a year", valid=DURATION_SYNTAX)
    return float(total)


def format_size(size: int) -> str:
    """The shortest exact way to write a number of bytes: `32M`, `30720K`; plain bytes if no unit fits."""
    for unit in ("G", "M", "K"):
        if size and size % UNITS[unit] == 0:
            return f"{size // UNITS[unit]}{unit}"
    return str(size)
