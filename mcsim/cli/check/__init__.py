"""`mcsim check`: what the answers of the other commands rest on, each from its own side."""

from __future__ import annotations

import click

from mcsim.cli.check.allocators import allocators
from mcsim.cli.check.model import model
from mcsim.cli.check.recordings import recordings
from mcsim.cli.check.results import results
from mcsim.cli.check.speed import speed
from mcsim.cli.check.statistics import statistics
from mcsim.cli.menu import Menu


@click.group(
    short_help="Allocators, recordings, model, results, statistics, speed",
    cls=Menu,
    epilog="Exit code of all of them: 0 as it should be, 1 something differs or is worse, 2 bad input.",
)
def check() -> None:
    """Can it be trusted? Each part is held against something that it was not made from.

    \b
    Examples:
      mcsim check allocators golden/*.jsonl.gz
      mcsim check results results/mail-2022
      mcsim check model --counts my-counts.csv
    """


check.add_section("What is checked", allocators, recordings, model, results, statistics, speed)
