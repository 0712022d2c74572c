"""Failure counts of real boots (CSV)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mcsim.model.counts import open_counts_file, read_counts
from tests.fuzz.choices import Choices
from tests.fuzz.mutate import TEXTS, WHOLE, hostile_text, other_bytes, other_text
from tests.fuzz.oracle import demand

SHARE = 40
ENGINES = ("counted", "hypothesis", "atheris")


def make(choices: Choices, corpus: Path, folder: Path) -> dict[str, Any]:
    text = open_counts_file().read_text()
    header, *lines = text.splitlines()
    rows = [line.split(",") for line in [header, *(choices.pick(lines) for _ in range(choices.below(12)))]]
    kind = choices.below(10)
    if kind < 7:
        for _ in range(choices.times()):
            row = choices.pick(rows)
            place = choices.below(len(row))
            row[place] = choices.pick(
                (str(choices.pick(WHOLE)), choices.pick(TEXTS), other_text(choices, row[place]), f'"{row[place]}')
            )
    text = "\n".join(",".join(row) for row in rows) + "\n"
    if kind == 7:
        text = hostile_text(choices, text)
    content = text.encode(choices.pick(("utf-8", "utf-8", "utf-8-sig", "utf-16")), errors="surrogatepass")
    (folder / "counts.csv").write_bytes(other_bytes(choices, content) if kind > 7 else content)
    return {}


def run(corpus: Path, folder: Path, case: dict[str, Any]) -> None:
    found = read_counts(folder / "counts.csv", ["C", "N"])
    demand(bool(found.cells), "no cell")
    demand(len({cell.place for cell in found.cells}) == len(found.cells), "a cell twice")
    for cell in found.cells:
        demand(0 <= cell.failures <= cell.boots < 10**9 and cell.boots > 0, f"{cell.failures} of {cell.boots}")
        demand(cell.place.environment in ("C", "N") and cell.place.jitter in (0, 2), f"{cell.place}")
