"""Rare failures: what docs/results/rare.md shows (`make results`)."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import mcsim
from docs.fill import ROOT, fill, quoted
from mcsim.cli.rare_command import page
from mcsim.model.experiment import load
from mcsim.model.units import parse_size
from mcsim.run.progress import PlainLines
from mcsim.stats.intervals import interval
from mcsim.studies.rare import Rare

PAGE = Path(__file__).with_name("rare.md")
CELLS = (  # and how many plain boots
    ("mail-2022", "tail-free", "35M", 20_000),
    ("mail-2022", "maple-naive", "42M", 20_000),
    ("mail-2022", "maple-naive", "43M", 200_000),
    ("rare", "maple-naive", "42M", 3_000_000),
)
REPETITIONS, BOOTS = 10, 50
RARE = ("rare", "maple-naive", "43M")
RARE_PLAIN = 20_000_000
RARE_REPETITIONS, RARE_BOOTS = 10, 400


def plain(name: str, variant: str, ram: str, boots: int) -> int:
    """How many of the plain boots fail."""
    experiment = dataclasses.replace(load(name), ram=(parse_size(ram),), name=f"{name}-plain-{variant}-{ram}")
    result = mcsim.run(
        experiment,
        boots=boots,
        variants=[variant],
        out=ROOT / "results" / experiment.name,
        progress=PlainLines(sys.stderr),
    )
    return int((result.outcomes(variant, ram)["failed"].to_numpy()[:boots] != 0).sum())


def split(experiment: str, variant: str, ram: str, repetitions: int, boots: int) -> Rare:
    """The same by splitting."""
    return mcsim.rare(
        experiment,
        variant=variant,
        ram=ram,
        repetitions=repetitions,
        boots=boots,
        out=ROOT / "results" / f"{experiment}-rare",
        progress=PlainLines(sys.stderr),
    )


def agreement() -> str:
    """A row for each cell: plain boots beside splitting."""
    lines = [
        "| cell | plain: failed | P | exact 95 % | splitting: P | 95 % | boots | plain boots for its error |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, variant, ram, boots in CELLS:
        failed = plain(name, variant, ram, boots)
        low, high = interval(failed, boots)
        found = split(name, variant, ram, REPETITIONS, BOOTS)
        p = found.estimate
        lines.append(
            f"| {name}, {variant}, {ram} | {failed} of {boots:,} | {failed / boots:.2e} | {low:.2e} .. {high:.2e} "
            f"| {p.p:.2e} | {p.low:.2e} .. {p.high:.2e} | {found.boots:,} | {found.plain_boots:,.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Simulate what is missing and fill the page."""
    fill(PAGE, "agreement", agreement())
    found = split(*RARE, RARE_REPETITIONS, RARE_BOOTS)
    fill(PAGE, "rare", quoted(page(found, RARE[0])))
    failed = plain(*RARE, RARE_PLAIN)
    low, high = interval(failed, RARE_PLAIN)
    rate = f"{failed / RARE_PLAIN:.2g}, exact 95 % {low:.2g} .. {high:.2g}"
    fill(PAGE, "plain", f"Of {RARE_PLAIN:,} plain boots of this cell {failed} failed: {rate}.")


if __name__ == "__main__":
    main()
