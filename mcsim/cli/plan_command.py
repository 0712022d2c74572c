"""`mcsim plan`."""

from __future__ import annotations

import click

from mcsim.cli import options
from mcsim.errors import UserError

MOST_ROWS = 1_000_000


@click.command(
    short_help="How many boots it takes to tell",
    epilog="A comparison of several rows is corrected for their number; --rows plans for the worst of it (Bonferroni).",
)
@click.option("--p1", type=float, metavar="P", help="Expected P(OOM) of one variant.")
@click.option("--p2", type=float, metavar="P", help="That of the other: how many boots show the difference?")
@click.option("--paired", is_flag=True, help="The same boots under both variants, as in mcsim compare.")
@click.option(
    "--discordant", type=float, metavar="Q", help="Share of boots in which just one of the two fails (with --paired)."
)
@click.option("--power", type=float, default=0.8, show_default=True, help="Probability of finding the difference.")
@options.level
@click.option("--rows", type=int, default=1, show_default=True, metavar="N", help="Rows of the comparison to come.")
@click.option("--half-width", type=float, metavar="W", help="How many boots give P +- W? (P: --p1)")
@click.option("--upper", type=float, metavar="U", help="How many boots without a failure show P <= U?")
def plan(
    p1: float | None,
    p2: float | None,
    paired: bool,
    discordant: float | None,
    power: float,
    level: float,
    rows: int,
    half_width: float | None,
    upper: float | None,
) -> None:
    """How many boots does it take: to tell two variants apart, for an interval, or for a bound?

    \b
    Examples:
      mcsim plan --p1 0.30 --p2 0.28 --paired --discordant 0.05
      mcsim plan --p1 0.30 --p2 0.28                    two independent samples, such as real boots
      mcsim plan --p1 0.30 --half-width 0.01
      mcsim plan --upper 0.001
    """
    from mcsim.stats.intervals import check_level

    check_level(level)
    if not 1 <= rows <= MOST_ROWS:
        raise UserError(f"{rows} is out of range", key="--rows", valid=f"a whole number from 1 to {MOST_ROWS}")
    for key, p in (("--p1", p1), ("--p2", p2)):
        if p is not None and not 0.0 <= p <= 1.0:
            raise UserError(f"{p} is out of range", key=key, valid="a number from 0 to 1")
    questions = [p2 is not None, half_width is not None, upper is not None]
    if sum(questions) != 1:
        what = "say what the boots are for" if not any(questions) else "are several questions"
        raise UserError(what, key="--p2, --half-width, --upper", valid="one of them")
    if p1 is None and upper is None:
        raise UserError("is missing", key="--p1", valid="a number from 0 to 1")
    if discordant is not None and not (paired and p2 is not None):
        raise UserError("has no use", key="--discordant", valid="with --p1, --p2 and --paired")
    if p1 is not None and p2 is not None:
        lines = _difference(p1, p2, paired, discordant, power, level, rows)
    elif p1 is not None and half_width is not None:
        lines = _width(p1, half_width, level)
    else:
        assert upper is not None
        lines = _bound(upper, level)
    click.echo("\n".join(lines))


def _difference(
    p1: float, p2: float, paired: bool, discordant: float | None, power: float, level: float, rows: int
) -> list[str]:
    from mcsim.report.text import percent
    from mcsim.stats import plan as planner
    from mcsim.stats.intervals import corrected

    each = corrected(level, rows)
    for_rows = f", corrected for {rows} rows" if rows > 1 else ""
    asked = f"{p1:g} against {p2:g}, power {power:g}, level {percent(level)}{for_rows}"
    if not paired:
        boots, exact = planner.independent_boots(p1, p2, power, each)
        if not exact:
            return [asked, f"about {boots:,} boots of each, independent (Fisher's exact test)"]
        reached = planner.independent_power(p1, p2, boots, each)
        return [asked, f"{boots:,} boots of each, independent (Fisher's exact test; exact power {reached:.4f})"]
    share = planner.unrelated(p1, p2) if discordant is None else discordant
    boots = planner.paired_boots(p1, p2, share, power, each)
    if boots > planner.MOST_EXACT_PAIRED:
        lines = [asked, f"about {boots:,} boots, the same of both (McNemar's exact test)"]
    else:
        reached = planner.paired_power(p1, p2, share, boots, each)
        lines = [asked, f"{boots:,} boots, the same of both (McNemar's exact test; exact power {reached:.4f})"]
    if discordant is None:
        least = planner.paired_boots(p1, p2, abs(p1 - p2), power, each)
        lines.append(f"if failures of the two are unrelated (discordant {share:g}); at best {least:,}")
        lines.append(f"(discordant {abs(p1 - p2):g}). mcsim compare prints the discordant boots of a try.")
    return lines


def _width(p: float, half_width: float, level: float) -> list[str]:
    from mcsim.report.text import percent
    from mcsim.stats import plan as planner

    return [
        f"P = {p:g} +- {half_width:g}, level {percent(level)}, boots:",
        f"{planner.width_boots(p, half_width, level):>12,}  exact interval (Clopper-Pearson)",
        f"{planner.width_boots(p, half_width, level, 'wilson'):>12,}  Wilson interval",
        f"{planner.sequence_boots(p, half_width, level):>12,}  confidence sequence (stopping when it is narrow enough)",
    ]


def _bound(upper: float, level: float) -> list[str]:
    from mcsim.report.text import percent
    from mcsim.stats import plan as planner

    return [
        f"P <= {upper:g} if no boot fails, level {percent(level)}, boots:",
        f"{planner.bound_boots(upper, level):>12,}  two-sided, as the tables print it",
        f"{planner.bound_boots(upper, level, one_sided=True):>12,}  one-sided (the rule of three)",
    ]
