"""Differences from the baseline, and from the next smaller RAM size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mcsim.model.board import Board
from mcsim.model.units import format_size, parse_size
from mcsim.report import figures, mail, text
from mcsim.report.comparison import p_relation, p_words
from mcsim.report.sections.parts import Cell, Gallery, Lines, Part, Picture, Section, Table
from mcsim.report.sections.rates import bounded, compared
from mcsim.report.verdict import listed, points
from mcsim.studies.compare import POOLED
from mcsim.studies.findings import Findings

if TYPE_CHECKING:
    pass


def differences_section(view: Findings) -> Section | None:
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
            Cell(compared(row), row["p"]),
            Cell(compared(row, "baseline_failures"), row["baseline_p"]),
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


def more_ram_section(view: Findings) -> Section | None:
    """Where more RAM is significantly worse, and why."""
    found = view.rises
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
    before, after = (bounded(row[f"{size}_failures"], row["boots"], row["level"]) for size in ("smaller", "larger"))
    p = "" if row["adjusted"] is None else f", adjusted p {p_relation(row['adjusted'])}"
    kind = "interval" if row["adjusted"] is not None else "confidence sequence"
    return (
        f"{row['larger']} is worse than {row['smaller']}: {listed(names)} {'fails' if len(names) == 1 else 'fail'} in "
        f"{after} % of boots instead of {before} %, {points(row['difference'])} points more "
        f"({text.percent(row['level'])} {kind} {points(row['low'])} to {points(row['high'])}, the same "
        f"{row['boots']:,} boots{p})."
    )


def _pageblock_bytes(board: Board) -> int:
    return board.machine.page_size << board.machine.pageblock_order


def _ends_with_a_pageblock(ram: str, board: Board) -> bool:
    return parse_size(ram) % _pageblock_bytes(board) == 0
