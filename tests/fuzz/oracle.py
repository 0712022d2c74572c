"""What may come out of a reader: one readable message, or an answer that is sane. All else is a finding."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mcsim import files
from mcsim.errors import UserError

LONGEST = 5_000  # characters of a message
EXIT_CODES = (0, 1, 2, 3)  # 3: undecided; 70, an unforeseen error, is a finding


class WrongAnswerError(Exception):
    """The reader took the input and what it says of it cannot be, or is not what it must be."""


def demand(holds: bool, what: str) -> None:
    """Raise WrongAnswerError unless it holds."""
    if not holds:
        raise WrongAnswerError(what)


def check_message(error: UserError) -> None:
    """A message is one line, and lines that belong to it are set in; nothing in it moves a terminal's cursor."""
    text = files.printable(str(error))
    demand(bool(error.what.strip()), "the message is empty")
    demand(len(text) <= LONGEST, f"a message of {len(text):,} characters")
    demand(all(line.startswith("  ") for line in text.split("\n")[1:]), f"a message of several lines: {text[:300]!r}")


def check_printed(code: Any, out: str, err: str) -> None:
    """What a command has printed and its exit code."""
    trace = re.search(r"its traceback is in (\S+)", err)
    told = Path(trace[1]).read_text() if trace else err
    demand(code in EXIT_CODES, f"exit code {code}: {err.splitlines()[0] if err else ''}\n{told[-3000:]}")
    demand("Traceback" not in err, f"a traceback: {err[-300:]!r}")
    for text in (out, err):
        demand(
            files.printable(text).replace(" ", "") == text.replace("\t", "").replace(" ", ""),
            f"control characters: {text[-300:]!r}",
        )
    demand(code != 2 or bool(err.strip()), "exit code 2 without a word")
    demand(code == 2 or bool(out.strip() or err.strip()), f"exit code {code} without a word")


def check_outcomes(outcomes: Any, first: int, pages: int) -> None:
    """Boots that were simulated."""
    demand(outcomes["boot"].tolist() == list(range(first, first + len(outcomes))), "boots of other numbers")
    demand(set(outcomes["failed"].tolist()) <= {0, 1}, "failed is neither 0 nor 1")
    for name, low, high in (
        ("free_pages", 0, pages),
        ("largest_free_order", -1, 31),
        ("failure_class", 0, 4),
        ("order", -1, 31),
        ("time_us", 0, 2**63 - 1),
        ("boot_factor", 1, 2**31 - 1),
    ):
        values = outcomes[name]
        demand(bool(((values >= low) & (values <= high)).all()), f"{name} is {values.tolist()}")


def check_table(table: Any) -> None:
    """A summary: no probability outside of 0 to 1, no interval that does not hold its estimate."""
    for row in table.iter_rows(named=True):
        demand(0 <= row["failures"] <= row["boots"], f"{row['failures']} failures of {row['boots']} boots")
        if row["boots"]:
            low, p, high = row["exact_low"], row["p"], row["exact_high"]
            demand(0.0 <= low <= p <= high <= 1.0, f"P(OOM) {p}, {low} .. {high}")


def listing(folder: Path) -> dict[str, int]:
    """The files below a folder and their sizes."""
    return {str(path.relative_to(folder)): path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()}
