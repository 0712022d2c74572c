"""Real boots beside ours: the mail, and counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mcsim.report import mail, text
from mcsim.report.comparison import p_relation, p_words
from mcsim.report.sections.parts import Cell, Lines, Section, Table
from mcsim.report.sections.rates import between, bounded, per_cent
from mcsim.stats.intervals import interval
from mcsim.stats.verdicts import DIFFERS
from mcsim.studies.findings import Findings

if TYPE_CHECKING:
    pass


def mail_section(view: Findings) -> Section | None:
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
                Cell(per_cent(ours, ""), ours["p"]) if ours else Cell("-"),
                Cell(f"{100 * low:.1f} to {100 * high:.1f}", low),
                Cell(between(ours), ours["exact_low"]) if ours else Cell("-"),
                Cell(figure.words),
            ]
        )
    columns = ["stands for", "mail", f"ours, {mail.RAM}", "mail, interval", "ours, interval", "in the mail"]
    booting = [
        f"{size}: 'boots' in the mail, ours {per_cent(at['maple-naive', size])} of boots fail"
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


def real_boots_section(view: Findings) -> Section | None:
    """Failure counts of real boots beside ours, where the workload is the one that was counted."""
    frame = view.counted
    if frame is None:
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
                Cell(bounded(*ours, view.level), row["baseline_p"]),
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
        f"{bounded(worst['baseline_failures'], worst['baseline_boots'], view.level)} % ours "
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
