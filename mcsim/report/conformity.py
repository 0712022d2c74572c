"""What a comparison found, as text for a terminal or a mail."""

from collections.abc import Sequence
from pathlib import Path

from mcsim.fidelity.allocators.vectors import Conformity, Mismatch, shown
from mcsim.files import one_line

HEADINGS = ("sequences", "operations", "mismatches")
NAMED_OPERATIONS = {0: "none yet: the state before the first", -1: "none: the state after the last"}


def labels(paths: Sequence[Path]) -> list[str]:
    """The names of the files, or their paths where two files have the same name."""
    names = [path.name for path in paths]
    return [one_line(name) for name in (names if len(set(names)) == len(names) else map(str, paths))]


def table(found: Sequence[tuple[str, Conformity]], complete: bool = True) -> str:
    """One line per file, the sums, and a sentence that says whether all is well.

    `complete` is false if not everything that was to be compared has been.
    """
    rows = [(label, one.sequences, one.operations, len(one.mismatches)) for label, one in found]
    sums = [sum(column) for column in zip(*(row[1:] for row in rows), strict=True)]
    files = f"{len(rows)} file{'s' if len(rows) > 1 else ''}"
    width = max(len(text) for text in ("file", files, *(row[0] for row in rows)))
    lines = ["  ".join([f"{'file':<{width}}", *HEADINGS])]
    for label, *counts in [*rows, (files, *sums)]:
        columns = [f"{count:>{len(heading)},}" for count, heading in zip(counts, HEADINGS, strict=True)]
        lines.append("  ".join([f"{label:<{width}}", *columns]))
    differ = sum(bool(one.mismatches) for _, one in found)
    if differ:
        verdict = f"{differ} of {files} differ{'s' if differ == 1 else ''}."
    else:
        verdict = "All match."
    if not complete:
        verdict = f"Ended early. So far: {verdict[0].lower()}{verdict[1:]}"
    return "\n".join([*lines, "", verdict])


def first_mismatch(label: str, found: Conformity) -> str:
    """The first mismatch of a file: where, what was expected, what came."""
    first = found.mismatches[0]
    more = len(found.mismatches) - 1
    names = [*first.expected]
    width = max(len(name) for name in ("operation", *names))
    lines = [
        f"{label}: the first mismatch{f', {more:,} more follow' if more else ''}",
        f"  {'sequence':<{width}}  {first.sequence}",
        f"  {'operation':<{width}}  {operation(first)}",
    ]
    for name in names:
        lines.append(f"  {name:<{width}}  expected {shown(first.expected[name])}, got {shown(first.got[name])}")
    return "\n".join(map(one_line, lines))


def operation(mismatch: Mismatch) -> str:
    """The number of an operation and what it is."""
    if mismatch.request is None:
        return NAMED_OPERATIONS[mismatch.operation]
    return f"{mismatch.operation}: {shown(mismatch.request)}"
