"""What the HTML report says: `SECTIONS` are functions from a `View` of a result to a part of the page.

A section is made of parts (tables, pictures, sentences, code) that hold plain text; `page/report.html.jinja` sets them.
A further section is a further function in the list.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

from mcsim.errors import UserError
from mcsim.model.units import format_size, parse_size
from mcsim.report import figures, mail, text
from mcsim.report.comparison import p_relation, p_words, rate
from mcsim.report.verdict import alone, how_sure, listed, points, verdict
from mcsim.stats.intervals import interval
from mcsim.stats.verdicts import DIFFERS
from mcsim.store.summary import CLASSES
from mcsim.studies.compare import POOLED, compare, compare_counts

if TYPE_CHECKING:
    import polars as pl

    from mcsim.model.board import Board
    from mcsim.store.result import Result

PANELS_FROM = 4  # so many lines in one picture, and each gets a panel of its own, too
CHANGED_BY = "# changed by "  # a setting of the command line, noted in the file by `mcsim.model.experiment.parse`
BOOTS_BLAMED = 1000  # failing boots that are looked at again, of each variant


@dataclass(frozen=True)
class Cell:
    """What stands in a table; `key` is what it is sorted by, `style` one of its own, never from a user."""

    text: str
    key: float | str | None = None
    style: str = ""


@dataclass(frozen=True)
class Table:
    """A table in a box of its own, sorted by a click on a column; the first column names the row.

    A column is one of numbers, set to the right, if its cells have numbers to be sorted by.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    heat: bool = False
    kind: str = field(default="table", init=False)

    def numeric(self, column: int) -> bool:
        """Whether it is one of numbers."""
        keys = [row[column].key for row in self.rows if row[column].text not in ("", "-")]
        return bool(keys) and all(isinstance(key, int | float) for key in keys)


@dataclass(frozen=True)
class Picture:
    """An SVG element; `title` above, `width` decides who sees it: both, wide, narrow."""

    svg: str
    title: str = ""
    width: str = "both"


@dataclass(frozen=True)
class Gallery:
    """Pictures side by side, as many as fit, and a caption; `legend`: swatches with words."""

    pictures: Sequence[Picture]
    caption: str
    legend: Sequence[tuple[str, str]] = ()
    kind: str = field(default="gallery", init=False)


@dataclass(frozen=True)
class Lines:
    """Paragraphs, or points of a list."""

    texts: Sequence[str]
    points: bool = False
    kind: str = field(default="lines", init=False)


@dataclass(frozen=True)
class Code:
    """Text as it is: commands, files. `closed`: the words to click on to see it."""

    text: str
    closed: str = ""
    kind: str = field(default="code", init=False)


Part: TypeAlias = Table | Gallery | Lines | Code


@dataclass(frozen=True)
class Section:
    """A part of the page: `name` is its anchor, `title` its heading and what the contents call it."""

    name: str
    title: str
    parts: Sequence[Part]


@dataclass
class View:
    """A result as the sections look at it."""

    result: Result
    baseline: str
    level: float
    workload: str | None = None  # where it is now; None: where it was

    @cached_property
    def summary(self) -> pl.DataFrame:
        """One row a cell."""
        return self.result.summary(self.level)

    @cached_property
    def groups(self) -> list[list[str]]:
        """Variants that fail in the same boots."""
        return text.equal_groups(self.result)

    @cached_property
    def peeking(self) -> bool:
        """Whether a rule that looked at the boots ended cells."""
        return bool(self.result.ended())

    @cached_property
    def comparison(self) -> pl.DataFrame:
        """Every variant against the baseline."""
        return compare(self.result, self.baseline, level=self.level, peeking=self.peeking)


def answer_section(view: View) -> Section:
    """The verdict in one sentence, then a sentence for each variant."""
    names = list(dict.fromkeys(view.summary["variant"]))
    if len(names) == 1:
        return Section("answer", "Answer", [Lines([alone(view.summary)])])
    found = verdict(view.comparison, view.baseline, view.groups)
    trust = (
        "All this is about the number of simulated boots; how far the model is from real boots comes on top ('How far "
        "to trust it', below)."
    )
    sure = [how_sure(view.comparison)] if view.comparison.height else []
    parts: list[Part] = [
        Lines([found.answer]),
        Lines(found.points, points=True),
        Lines([" ".join(filter(None, [*sure, found.open, trust]))]),
    ]
    described = [each for each in view.result.experiment.variants if each.description]
    if described:
        lines = "\n".join(f"{each.name}: {each.description}" for each in described)
        parts.append(Code(lines, closed="What the variants are"))
    return Section("answer", "Answer", parts)


def p_oom_section(view: View) -> Section:
    """P(OOM) against RAM, with interval bands."""
    groups = view.groups
    parts: list[Part] = []
    pictures = [
        Picture(figures.svg(figures.overlay(view.summary, groups, size), f"p-{width}", "P(OOM) against RAM"), "", width)
        for width, size in (("wide", figures.WIDE), ("narrow", figures.NARROW))
    ]
    legend = [
        (figures.svg(figures.swatch(number), f"swatch-{number}", ""), " = ".join(group))
        for number, group in enumerate(groups)
    ]
    parts.append(
        Gallery(
            pictures,
            f"{text.sample_size(view.summary)} boots a point; bands: exact (Clopper-Pearson) "
            f"{text.percent(view.level)} intervals, each by itself. RAM sizes stand at equal steps; // marks a gap. "
            "'=': variants that fail in exactly the same boots share a line.",
            legend,
        )
    )
    if len(groups) >= PANELS_FROM:
        panels = [
            Picture(
                figures.svg(figures.alone(view.summary, groups, number), f"panel-{number}", " = ".join(group)),
                " = ".join(group),
            )
            for number, group in enumerate(groups)
        ]
        parts.append(Gallery(panels, "Each line by itself, the others in grey."))
    return Section("p-oom", "P(OOM) against RAM", parts)


def heat_map_section(view: View) -> Section:
    """Variant x RAM, coloured by P(OOM), and the numbers behind it."""
    rows = {(row["variant"], row["ram"]): row for row in view.summary.iter_rows(named=True)}
    sizes = list(dict.fromkeys(view.summary.sort("ram_bytes")["ram"]))
    table = [
        [Cell(name), *(_heat(rows.get((name, size))) for size in sizes)]
        for name in dict.fromkeys(view.summary["variant"])
    ]
    caption = (
        "P(OOM) in per cent. '<' and '>': no boot or every boot failed; the figure is the bound of the exact "
        f"{text.percent(view.level)} interval."
    )
    level = text.percent(view.level)
    columns = ["variant", "RAM", "boots", "failed", "P(OOM), %", "exact, from", "to", "sequence, from", "to"]
    cells = [
        [
            Cell(row["variant"]),
            Cell(row["ram"], row["ram_bytes"]),
            Cell(f"{row['boots']:,}", row["boots"]),
            Cell(f"{row['failures']:,}", row["failures"]),
            Cell(_per_cent(row, ""), row["p"]),
            *(
                Cell(f"{100 * row[name]:.2f}", row[name])
                for name in ("exact_low", "exact_high", "sequence_low", "sequence_high")
            ),
        ]
        for row in text.by_variant(view.summary, view.result).iter_rows(named=True)
    ]
    parts: list[Part] = [
        Table(caption, ["variant", *sizes], table, heat=True),
        Table(
            f"All cells, P(OOM) in per cent; a click on a column sorts. Intervals at {level}: exact (Clopper-Pearson); "
            "confidence sequence, which holds although the number of boots may have been chosen by looking.",
            columns,
            cells,
        ),
    ]
    ended = [*text.ended_early(view.result), *view.result.missing()]
    return Section("cells", "Variant by RAM", [*parts, Lines(ended)] if ended else parts)


def differences_section(view: View) -> Section | None:
    """Forest plots of paired differences, and their table."""
    frame = view.comparison
    if frame.height == 0:
        return None
    rows = list(frame.iter_rows(named=True))
    shown = figures.differing_blocks(frame)
    parts: list[Part] = []
    level = text.percent(view.level)
    kind = (
        f"confidence sequences at {level}, corrected for {len(rows)} rows"
        if view.peeking
        else f"score (Tango) intervals at {level} each; p: exact McNemar, adjusted for {len(rows)} rows (Holm)"
    )
    words = (
        f"Less than 0: fewer boots fail than with {view.baseline}. Grey band: differences of up to "
        f"{100 * rows[0]['delta']:g} points, which would not matter."
    )
    meaning = (
        "Differences in points of per cent. better, worse: boots in which the variant fails less, or more, than "
        f"{view.baseline}. All sizes: their mean; a boot is one unit, since it is the same boot at every size."
    )
    how = f"The same boots under both variants; lines: {kind}."
    if shown:
        reach = figures.reach([row for _, block in shown for row in block])
        pictures = []
        for number, (names, block) in enumerate(shown):
            label, title = f"{listed(names)} less {view.baseline}", " = ".join(names)
            for width in ("both",) if len(shown) > 1 else ("wide", "narrow"):
                drawn = figures.forest(block, reach, 9.4 if width == "wide" else 3.6)
                pictures.append(Picture(figures.svg(drawn, f"forest-{number}-{width}", label), title, width))
        legend = [
            (figures.svg(figures.verdict_swatch(word), f"verdict-{word}", ""), word) for word in figures.VERDICT_STYLE
        ]
        parts.append(Gallery(pictures, f"{words} {how}", legend))
    else:
        parts.append(Lines([f"Not one boot of any variant differs from {view.baseline}.", how]))
    equal = sorted(set(frame["variant"]) - {name for names, _ in shown for name in names})
    if equal and shown:
        parts.append(Lines([f"Not drawn, since not one boot differs from {view.baseline}: {listed(equal)}."]))
    columns = [
        "variant",
        "RAM",
        "boots",
        "P(OOM), %",
        f"{view.baseline}, %",
        "difference",
        "from",
        "to",
        "better",
        "worse",
    ]
    columns += ["adjusted p", "verdict"]
    sizes = dict(zip(view.summary["ram"], view.summary["ram_bytes"], strict=True))
    cells = [
        [
            Cell(row["variant"]),
            Cell("all sizes" if row["ram"] == POOLED else row["ram"], sizes.get(row["ram"], 0)),
            Cell(f"{row['boots']:,}", row["boots"]),
            Cell(_compared(row), row["p"]),
            Cell(_compared(row, "baseline_failures"), row["baseline_p"]),
            *(Cell(f"{100 * row[name]:+.2f}", row[name]) for name in ("difference", "low", "high")),
            Cell(f"{row['better']:,}", row["better"]),
            Cell(f"{row['worse']:,}", row["worse"]),
            Cell(p_words(row["adjusted"]), row["adjusted"]),
            Cell(row["verdict"]),
        ]
        for row in rows
    ]
    parts.append(Table(f"Every variant against {view.baseline}. {how} {meaning}", columns, cells))
    return Section("differences", f"Differences from {view.baseline}", parts)


def more_ram_section(view: View) -> Section | None:
    """Where more RAM is significantly worse, and why."""
    from mcsim.studies.monotonic import rises

    found = rises(view.result, view.level, view.peeking)
    if found.height == 0:
        return None
    pairs = dict.fromkeys(zip(found["smaller"], found["larger"], strict=True))
    told = []
    for _, larger in pairs:
        own = {row["variant"]: row for row in found.iter_rows(named=True) if row["larger"] == larger}
        for group in view.groups:
            names = [name for name in group if name in own]
            if names:
                told.append(_rise(names, own[names[0]]))
    parts: list[Part] = [Lines(told, points=True)]
    board = view.result.experiment.board
    whole = [larger for _, larger in pairs if _ends_with_a_pageblock(larger, board)]
    rest = [larger for _, larger in pairs if not _ends_with_a_pageblock(larger, board)]
    # The experiment that shows it was made with the shipped workload.
    why = "Why" if mail.belongs_beside(view.result.experiment) else "Probably why"
    if whole:
        parts.append(
            Lines(
                [
                    f"{why}: {listed(whole)} {'is a multiple' if len(whole) == 1 else 'are multiples'} of "
                    f"{format_size(_pageblock_bytes(board))}, so the zone ends with a whole pageblock. The kernel may "
                    "then move all free pages of that last pageblock to the list that small requests are served from "
                    "(move_freepages_block()), and they chip away at its large blocks. If the zone ends inside a "
                    "pageblock, a guard forbids the move, and what is free there is kept for process images: so a "
                    "little less RAM can be better (docs/results/non-monotonic.md has the experiment that shows it)."
                ]
            )
        )
    if rest:
        parts.append(Lines([f"Why {listed(rest)} is worse than the size before it is not explained by that rule."]))
    return Section("more-ram", "Why more RAM is worse here", parts)


def _rise(names: Sequence[str], row: dict[str, Any]) -> str:
    before, after = (_bounded(row[f"{size}_failures"], row["boots"], row["level"]) for size in ("smaller", "larger"))
    p = "" if row["adjusted"] is None else f", adjusted p {p_relation(row['adjusted'])}"
    kind = "interval" if row["adjusted"] is not None else "confidence sequence"
    return (
        f"{row['larger']} is worse than {row['smaller']}: {listed(names)} {'fails' if len(names) == 1 else 'fail'} in "
        f"{after} % of boots instead of {before} %, {points(row['difference'])} points more "
        f"({text.percent(row['level'])} {kind} {points(row['low'])} to {points(row['high'])}, the same "
        f"{row['boots']:,} boots{p})."
    )


def failures_section(view: View) -> Section:
    """What could not be had, by variant."""
    names = list(CLASSES.values())
    counted = view.summary.select("variant", "boots", "failures", *names)
    sums = counted.group_by("variant", maintain_order=True).sum()
    rows = [
        [
            Cell(row["variant"]),
            Cell(f"{row['boots']:,}", row["boots"]),
            Cell(f"{row['failures']:,}", row["failures"]),
            *(Cell(f"{row[name]:,}", row[name]) for name in names),
        ]
        for row in sums.iter_rows(named=True)
    ]
    total = int(sums["failures"].sum())
    seen = [name for name in names if int(sums[name].sum())]
    meaning = {
        "contiguous": "no block large enough in one piece for a process image or a mapping",
        "slab": "no page for a slab of small objects",
        "maple_node": "no page for the nodes of a maple tree",
        "other_page": "no page for anything else",
    }
    if not total:
        words = f"No boot failed, of {int(sums['boots'].sum()):,}."
    elif len(seen) == 1:
        words = f"All {total:,} failures are of one class, {seen[0].replace('_', ' ')}: {meaning[seen[0]]}."
    else:
        counts = "; ".join(f"{name.replace('_', ' ')} {int(sums[name].sum()):,} ({meaning[name]})" for name in seen)
        words = f"Of {total:,} failures: {counts}."
    columns = ["variant", "boots", "failed", *(name.replace("_", " ") for name in names)]
    caption = "Failures by what could not be had, summed over RAM sizes."
    return Section("failures", "Failure classes", [Lines([words]), Table(caption, columns, rows)])


def blame_section(view: View) -> Section | None:
    """Whose pages keep blocks from being whole when boots fail, at the size where variants differ most."""
    from mcsim.simulator.simulator import kernel_hash
    from mcsim.studies.explain.blame import of_boots

    result = view.result
    if not view.summary["failures"].sum():
        return None
    if result.manifest["kernels"] != kernel_hash():
        words = (
            "These boots were simulated by other kernels than those of this mcsim, so they cannot be looked at again."
        )
        return Section("blame", "Who pins the blocks", [Lines([words])])
    source = workload_of(result, view.workload)
    if source is None:
        words = (
            f"The workload is not where it was, or has changed: {result.experiment.workload}; "
            f"`mcsim report {result.path} --workload WHERE` makes this section."
        )
        return Section("blame", "Who pins the blocks", [Lines([words])])
    size = _size_to_blame(view)
    found: dict[str, pl.DataFrame] = {}
    for task in result.tasks:
        group = next((group for group in view.groups if group[0] == task.variant), None)
        if group is None or format_size(task.ram) != size:
            continue
        outcomes = result.outcomes_of(task)
        failing = outcomes["boot"].filter(outcomes["failed"] != 0).to_list() if outcomes.height else []
        if failing:
            frame = of_boots(task, source, failing[:BOOTS_BLAMED], level=view.level)
            name = view.baseline if view.baseline in group else group[0]
            found[name] = frame.filter(frame["order"] == frame["order"].max())
    return Section("blame", "Who pins the blocks", [_blame_words(size), _blame_table(found, size, view.level)])


def workload_of(result: Result, given: str | None = None) -> str | None:
    """What `mcsim.workload.load` takes for the workload of the stored boots: what it took then, or `given`.

    None if another one is there now, or none. UserError if `given` is another one.
    """
    from mcsim.simulator import simulator

    source, wanted = result.experiment.workload if given is None else given, result.manifest["workload"]
    try:
        digest = simulator.load_workload(source, result.experiment.board).digest
    except UserError as error:
        if given is None:
            return None
        raise error.at(key="--workload") from None
    if digest != wanted and given is not None:
        what = f"is not the workload of the stored boots: {digest[:12]} here, {wanted[:12]} there"
        raise UserError(what, file=given, key="--workload", valid="where it is now")
    return source if digest == wanted else None


def _size_to_blame(view: View) -> str:
    """Where the largest difference is; without any, where most boots fail."""
    rows = [row for row in view.comparison.iter_rows(named=True) if row["ram"] != POOLED and row["difference"]]
    if rows:
        return str(max(rows, key=lambda row: abs(row["difference"]))["ram"])
    return str(view.summary.sort("failures")["ram"][-1])


def _blame_words(size: str) -> Lines:
    return Lines(
        [
            f"At {size}, at the moment of the failing request: a block is whole if all its pages are free. An owner "
            "pins a block alone if nobody else holds a page of it; without these pages there the request could have "
            "been served.",
            "One failing boot in pictures: mcsim explain; all owners and sets of owners: mcsim explain --boots N.",
        ]
    )


def _blame_table(found: dict[str, pl.DataFrame], size: str, level: float) -> Table:
    columns = ["owner"]
    cells: dict[str, list[Cell]] = {}
    for frame in found.values():
        for owner in frame["owner"]:
            cells.setdefault(owner, [Cell(owner)])
    samples = []
    for name, frame in found.items():
        columns += [f"{name}: blocks alone", "interval"]
        rows = {row["owner"]: row for row in frame.iter_rows(named=True)}
        samples.append(f"{frame['failures'][0]:,} of {name}, order {frame['order'][0]}, {frame['blocks'][0]} blocks")
        for owner, line in cells.items():
            row = rows.get(owner)
            if row is None:
                line += [Cell("-"), Cell("-")]
            else:
                low = row["alone_low"]
                between = "-" if low is None else f"{low:.2f} to {row['alone_high']:.2f}"
                line += [Cell(f"{row['alone']:.2f}", row["alone"]), Cell(between, low)]
    lines = sorted(cells.values(), key=lambda line: -max(float(cell.key or 0.0) for cell in line[1::2]))
    caption = (
        f"Blocks that an owner pins alone at {size}: mean per failing boot, and its {text.percent(level)} interval "
        f"(Student's t). Failing boots, the first of each: {'; '.join(samples)}. Of variants that fail alike "
        "one is shown."
    )
    return Table(caption, columns, lines)


def mail_section(view: View) -> Section | None:
    """The mail's figures beside ours."""
    if not mail.belongs_beside(view.result.experiment):
        return None
    at = {(row["variant"], row["ram"]): row for row in view.summary.iter_rows(named=True)}
    rows = []
    for figure in mail.FIGURES:
        low, high = interval(figure.failures, figure.boots, view.level)
        ours = at.get((figure.variant, mail.RAM))
        rows.append(
            [
                Cell(figure.variant),
                Cell(f"{figure.failures} of {figure.boots}", figure.failures / figure.boots),
                Cell(_per_cent(ours, ""), ours["p"]) if ours else Cell("-"),
                Cell(f"{100 * low:.1f} to {100 * high:.1f}", low),
                Cell(_interval(ours), ours["exact_low"]) if ours else Cell("-"),
                Cell(figure.words),
            ]
        )
    columns = ["stands for", "mail", f"ours, {mail.RAM}", "mail, interval", "ours, interval", "in the mail"]
    booting = [
        f"{size}: 'boots' in the mail, ours {_per_cent(at['maple-naive', size])} of boots fail"
        for size in mail.BOOTING
        if ("maple-naive", size) in at
    ]
    words = (
        f"{mail.SOURCE}; {mail.USERLAND}. Failed boots as counted in the mail, ours in per cent; exact "
        f"(Clopper-Pearson) {text.percent(view.level)} intervals in per cent."
    )
    if booting:
        words += f" maple-naive at {'; at '.join(booting)}."
    return Section("mail", "The mail's figures", [Table(words, columns, rows)])


def real_boots_section(view: View) -> Section | None:
    """Failure counts of real boots beside ours, where the workload is the one that was counted."""
    from pathlib import Path

    from mcsim.model.counts import open_counts_file, read_counts

    experiment = view.result.experiment
    if not mail.belongs_beside(experiment):
        return None
    environment = Path(experiment.workload).name
    try:
        read = read_counts(open_counts_file(), [environment], [each.name for each in experiment.variants])
    except UserError:  # none of this environment
        return None
    frame = compare_counts(view.result, read.cells, level=view.level)
    if frame.height == 0:
        return None
    rows = list(frame.iter_rows(named=True))
    sizes = dict(zip(view.summary["ram"], view.summary["ram_bytes"], strict=True))
    cells = []
    for row in rows:
        low, high = interval(row["failures"], row["boots"], view.level)
        ours = (row["baseline_failures"], row["baseline_boots"])
        cells.append(
            [
                Cell(row["variant"]),
                Cell(row["ram"], sizes[row["ram"]]),
                Cell(f"{row['failures']} of {row['boots']}", row["p"]),
                Cell(_bounded(*ours, view.level), row["baseline_p"]),
                Cell(f"{100 * low:.1f} to {100 * high:.1f}", low),
                Cell(f"{100 * row['difference']:+.1f}", row["difference"]),
                Cell(p_words(row["adjusted"]), row["adjusted"]),
                Cell(row["baseline"]),
            ]
        )
    differing = sum(row["verdict"] == DIFFERS for row in rows)
    worst = min(rows, key=lambda row: row["p_value"])
    boots = sum(row["boots"] for row in rows)
    words = (
        f"{boots:,} real boots of the same programs on the same board (emulated), {len(rows)} kernels and RAM sizes: "
        f"{differing or 'none'} of them {'differ' if differing > 1 else 'differs'} significantly from ours. So few "
        "boots a cell cannot show that they agree within a point or two, either: see the intervals. Farthest apart: "
        f"{worst['variant']} at {worst['ram']}, {worst['failures']} of {worst['boots']} counted, "
        f"{_bounded(worst['baseline_failures'], worst['baseline_boots'], view.level)} % ours "
        f"(adjusted p {p_relation(worst['adjusted'])}). The model's timing was fitted on some of these cells; "
        "docs/validation.md says which, has more boots, and pools kernels that must fail alike. Never pooled with ours."
    )
    columns = ["kernel", "RAM", "counted", "ours, %", "counted, interval", "difference", "adjusted p", "ours is"]
    caption = (
        "Failures of real boots (experiments/counts/real-boots.csv) beside simulated ones, in per cent and points. "
        f"Interval: exact, {text.percent(view.level)}. p: Fisher's exact test, adjusted for {len(rows)} rows (Holm). "
        "The same: mcsim compare RESULT --counts real-boots.csv"
    )
    return Section("real-boots", "Real boots", [Lines([words]), Table(caption, columns, cells)])


def trust_section(view: View) -> Section:
    """What the intervals hold, and what they do not."""
    texts = [
        *text.method(view.summary, view.level)[:2],
        "The allocators give the answers of the kernel's own code on test vectors and on recorded boots, page by page "
        "(mcsim check allocators, mcsim check recordings; docs/fidelity.md). What is drawn at random, approximated and "
        "left out: docs/model.md.",
        "Not in the intervals: that there are few recordings, and that real boots differ from the model. Predictions "
        "beside counts of real boots, with that error in the interval: mcsim check model, docs/validation.md.",
        "A result is about this workload, board and timing. Another userland needs another amount of memory, which "
        "moves everything along the RAM axis: look at several sizes, not at one.",
    ]
    return Section("trust", "How far to trust it", [Lines(texts, points=True)])


def again_section(view: View) -> Section:
    """Provenance, and the commands that make it all again."""
    result, experiment = view.result, view.result.experiment
    runs = result.manifest["runs"]
    told = [
        f"{run['started'][:19].replace('T', ' ')} UTC: {run['boots_done']:,} boots, {run['workers']} workers "
        f"({run['backend']}), {run['versions']['cpu']}, {run['versions']['platform']}"
        for run in runs
    ]
    parts: list[Part] = [
        Code("\n".join(_commands(view))),
        Lines(text.provenance(result), points=True),
        Code("\n".join(told), closed=f"Runs ({len(runs)})"),
        Code(experiment.source, closed="The experiment file as it was read"),
    ]
    return Section("again", "How to reproduce it, and where it came from", parts)


def _commands(view: View) -> list[str]:
    """How to make it again, as lines for a shell."""
    from mcsim.model.experiment import shipped

    result, experiment = view.result, view.result.experiment
    known = shipped().get(experiment.name)
    if known is not None and known.read_text(encoding="utf-8") == experiment.source:
        file = experiment.name
    else:
        file = str(result.path / "experiment.toml")
    words = ["mcsim", "run", file, "--seed", str(experiment.seed), "--boots", str(max(view.summary["boots"]))]
    cells = set(zip(view.summary["variant"], view.summary["ram"], strict=True))
    if len(cells) < len(result.tasks):
        for option, number in (("--variant", 0), ("--ram", 1)):
            for value in dict.fromkeys(
                cell[number] for cell in zip(view.summary["variant"], view.summary["ram"], strict=True)
            ):
                words += [option, value]
    for line in experiment.source.splitlines():
        if line.startswith(CHANGED_BY):
            option, _, value = line.removeprefix(CHANGED_BY).partition(" ")
            words += [option, value]
    lines = [
        "# the same boots again: same seed, same outcomes, whatever the number of workers",
        shlex.join([*words, "--out", "again"]),
        "# a sample of the stored boots once more, bit for bit",
        shlex.join(["mcsim", "check", "results", str(result.path)]),
        "# this page again",
        shlex.join(["mcsim", "report", str(result.path), "--format", "html", "--baseline", view.baseline]),
    ]
    if not mail.belongs_beside(experiment):
        lines.insert(1, "# (the workload is a file of its own, beside the experiment file: run it from there)")
    return lines


SECTIONS: Sequence[Callable[[View], Section | None]] = (
    answer_section,
    p_oom_section,
    heat_map_section,
    differences_section,
    more_ram_section,
    failures_section,
    blame_section,
    mail_section,
    real_boots_section,
    trust_section,
    again_section,
)


def _per_cent(row: dict[str, Any], sign: str = " %") -> str:
    """P(OOM) of a row of the summary; a bound where none or all of the boots failed."""
    return _bounded(row["failures"], row["boots"], row["level"]) + sign


def _bounded(failures: int, boots: int, level: float) -> str:
    """Per cent, or the bound that none or all of the boots failing allows."""
    return rate(failures, boots, boots, level)


def _compared(row: dict[str, Any], which: str = "failures") -> str:
    """The same for a row of a comparison, which may be of several sizes."""
    return rate(row[which], row["boots"] * row["sizes"], row["boots"], row["level"])


def _interval(row: dict[str, Any]) -> str:
    return f"{100 * row['exact_low']:.2f} to {100 * row['exact_high']:.2f}"


def _pageblock_bytes(board: Board) -> int:
    return board.machine.page_size << board.machine.pageblock_order


def _ends_with_a_pageblock(ram: str, board: Board) -> bool:
    return parse_size(ram) % _pageblock_bytes(board) == 0


def _heat(row: dict[str, Any] | None) -> Cell:
    if row is None:
        return Cell("")
    return Cell(_per_cent(row, ""), row["p"], figures.heat(row["p"]))
