"""`mcsim check speed`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mcsim.fidelity.speed.figure import Figure, Settings
    from mcsim.fidelity.speed.jobs import Job
    from mcsim.fidelity.speed.twins import Twins

EXIT_MISSED = 1


@click.command(
    short_help="How fast it is, beside the same in C",
    epilog="Exit code: 0 done; 1 ours and a C twin differ, or, with --gate, a target is missed; "
    "2 bad input, or, with --gate, no C twins. The C twins need a C compiler and a checkout of mcsim.",
)
@click.option(
    "--json", "file", type=click.Path(path_type=Path), metavar="FILE", help="Write all rounds (needs pyperf)."
)
@click.option("--gate", is_flag=True, help="Exit with 1 if a target is missed.")
@click.option("--only", multiple=True, metavar="NAME", help="Only benchmarks whose names begin so (repeatable).")
@click.option("--quick", is_flag=True, help="Very short: whether all works, not how fast it is.")
@click.pass_context
def speed(context: click.Context, file: Path | None, gate: bool, only: tuple[str, ...], quick: bool) -> None:
    """How fast are the kernels, beside the same algorithms in C, and whole boots?

    Ours and the C twin (benchmarks/*.c, compiled now) are run in turn, their results compared in every round.
    docs/performance.md says how it is measured.

    \b
    Examples:
      mcsim check speed                          all of it, some minutes; best on an idle machine
      mcsim check speed --only buddy --only maple-store
      mcsim check speed --gate --json today.json
    """
    from mcsim.errors import UserError
    from mcsim.fidelity.speed import record
    from mcsim.fidelity.speed.figure import QUICK, ResultsDifferError, Settings
    from mcsim.fidelity.speed.jobs import jobs, select
    from mcsim.report import speed

    if gate and quick:
        raise UserError(
            "go not together: so short a measurement says nothing", key="--gate, --quick", valid="one of them"
        )
    selected = select(only, jobs(), quick)
    if file is not None:
        record.check(file)
    twins, reason = compiled() if any(job.twinned for job in selected) else (None, "")
    if reason:
        click.echo(f"no C twins: {reason}\nours alone is measured", err=True)
    settings = QUICK if quick else Settings()
    measured: list[tuple[Job, Figure]] = []
    differ = ""
    try:
        measure(selected, settings, twins, measured)
    except ResultsDifferError as error:
        differ = str(error)
    finally:
        # Also where Ctrl-C ended it: what was measured is not lost.
        if measured:
            click.echo(heading(twins))
            click.echo(speed.table(measured))
            if file is not None:
                notes = {"c_compiler": twins.version} if twins else {}
                record.write(file, [figure for _, figure in measured], notes)
    if differ:
        click.echo(differ, err=True)
        context.exit(EXIT_MISSED)
    if gate:
        if speed.unjudged(measured):
            raise UserError(f"not measured: {', '.join(speed.unjudged(measured))}", key="--gate", valid="C twins")
        if speed.missed(measured):
            click.echo(f"missed: {', '.join(speed.missed(measured))}", err=True)
            context.exit(EXIT_MISSED)


def compiled() -> tuple[Twins | None, str]:
    """The C twins, or why there are none."""
    from mcsim.fidelity.speed.twins import NoTwinsError, Twins

    try:
        return Twins(), ""
    except NoTwinsError as error:
        return None, str(error)


def measure(selected: list[Job], settings: Settings, twins: Twins | None, measured: list[tuple[Job, Figure]]) -> None:
    """Run the jobs; each figure is added to `measured` when it is there."""
    from mcsim.run.progress import for_stderr

    with for_stderr("benchmarks") as progress:
        progress.say("measuring; kernels that have never run here are compiled first")
        progress.start(len(selected))
        for job in selected:
            measured.append((job, job.measure(settings, twins)))
            progress.advance(1, job.name)


def heading(twins: Twins | None) -> str:
    """What it was measured with, and what disturbs."""
    processors = len(os.sched_getaffinity(0))
    lines = [f"processors: {processors}, load in the last minute: {os.getloadavg()[0]:.1f}"]
    if twins:
        lines.append(f"C twins: {twins.version.split(' -')[0]}, -O3 -march=native")
    return "\n".join(lines) + "\n"
