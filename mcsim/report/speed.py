"""The table that `mcsim check speed` prints."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from mcsim.fidelity.speed.figure import BYTES, SECONDS, Figure
from mcsim.fidelity.speed.jobs import Job
from mcsim.fidelity.speed.targets import Target, target_of, verdict

NAME, VALUE, OTHER, RATIO, SPREAD = 23, 10, 10, 6, 7
LEGEND = """\
ours, beside: medians of the rounds; M/s, k/s: million, thousand a
second of CPU time; s: seconds by the clock on the wall. ratio: median
of the rounds' ratios, above 1 where ours is faster or smaller. spread:
between its quartiles (of ours, where there is no ratio)."""


def table(measured: Sequence[tuple[Job, Figure]]) -> str:
    """All figures, one a line, at most 72 columns."""
    lines = [
        f"{'benchmark':<{NAME}}{'ours':>{VALUE}}{'beside':>{OTHER}}{'ratio':>{RATIO}}{'spread':>{SPREAD}}  target",
    ]
    heading = ""
    for job, figure in measured:
        if job.heading != heading:
            heading = job.heading
            lines.append(f"-- {heading}")
        lines.append(row(figure))
    return "\n".join([*lines, "", LEGEND])


def row(figure: Figure) -> str:
    """One line of the table."""
    other, ratio = "-", "-"
    if figure.other:
        other = amount(figure.other_value, figure.unit)
        ratio = f"{figure.ratio:.2f}"
    middle = figure.ratio if figure.other else median(figure.values)
    low, high = figure.spread
    spread = f"{100 * (high - low) / middle:.0f} %"
    ours = amount(figure.value, figure.unit)
    line = f"{figure.name:<{NAME}}{ours:>{VALUE}}{other:>{OTHER}}{ratio:>{RATIO}}{spread:>{SPREAD}}"
    return f"{line}  {said(figure)}".rstrip()


def amount(value: float, unit: str) -> str:
    """A value with its unit: `12.7 M/s`, `0.21 s`, `210 MB`."""
    if unit == SECONDS:
        return f"{value:.2f} s"
    if unit == BYTES:
        return f"{value / 2**20:.0f} MB"
    if value >= 1e6:
        return f"{value / 1e6:.2f} M/s"
    return f"{value / 1e3:.2f} k/s"


def said(figure: Figure) -> str:
    """What is said of the target."""
    target = target_of(figure.name)
    if target is None:
        return ""
    met = verdict(figure)
    return f"{wanted(target, figure.unit)} {'not seen' if met is None else 'met' if met else 'missed'}"


def wanted(target: Target, unit: str) -> str:
    """`>=0.95`, `<=2.00`, in the unit that the value is shown in."""
    low = target.low > 0
    limit = target.low if low else target.high
    shown = f"{limit:.2f}" if target.of_ratio else amount(limit, unit).split()[0]
    return f"{'>=' if low else '<='}{shown}"


def missed(measured: Sequence[tuple[Job, Figure]]) -> list[str]:
    """The names of the figures that miss their targets."""
    return [figure.name for _, figure in measured if verdict(figure) is False]


def unjudged(measured: Sequence[tuple[Job, Figure]]) -> list[str]:
    """The names of the figures that have a target, but whose other side was not measured."""
    return [figure.name for _, figure in measured if target_of(figure.name) and verdict(figure) is None]
