"""Write the report of a result folder into that folder."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from mcsim.errors import UserError
from mcsim.files import csv_of, one_line, write_each
from mcsim.report import html, mail, plot, text
from mcsim.stats.intervals import interval
from mcsim.store.result import Result
from mcsim.studies.findings import Findings

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write(found: Findings) -> list[Path]:
    """Write table.txt, table.csv, report.md, report.html, p_oom.png and p_oom.svg; return their paths.

    All are made before the first is written.
    """
    result, level = found.result, found.level
    folder = result.path
    contents = {
        folder / "table.txt": _encoded(text.page(result, level)),
        folder / "table.csv": _encoded(csv_of(result.summary(level))),
        folder / "report.md": _encoded(markdown(result, level)),
        folder / "report.html": _encoded(html.html(found)),
        **plot.pictures(_figure(result, level), folder / "p_oom"),
    }
    return write_each(contents)


def write_html(found: Findings) -> Path:
    """Write report.html alone; return its path."""
    (path,) = write_each({found.result.path / "report.html": _encoded(html.html(found))})
    return path


def write_png(result: Result, level: float = 0.95) -> Path:
    """Write p_oom.png alone; return its path."""
    _check_boots(result)
    (path,) = write_each({result.path / "p_oom.png": plot.png(_figure(result, level))})
    return path


def _encoded(page: str) -> bytes:
    return page.encode("utf-8", "backslashreplace")


def _figure(result: Result, level: float) -> Figure:
    summary = result.summary(level)
    title = result.experiment.title or result.experiment.name
    return plot.draw(summary, result.groups, title, plot.note(summary, result.experiment.seed, level))


def _check_boots(result: Result) -> None:
    if result.summary().height == 0:
        raise UserError("holds no boots yet", file=result.path, valid="run the experiment first")


def _mail(level: float) -> list[str]:
    return [
        "## The mail's own figures",
        "",
        f"{mail.SOURCE}; {mail.USERLAND}.",
        "",
        f"| stands for | mail | exact {text.percent(level)} interval | in the mail |",
        "|---|---|---|---|",
        *(
            f"| {each.variant} | {each.failures}/{each.boots} "
            f"| {text.bounds(*interval(each.failures, each.boots, level))} | {each.words} |"
            for each in mail.FIGURES
        ),
        "",
    ]


def markdown(result: Result, level: float = 0.95) -> str:
    """The report as Markdown."""
    _check_boots(result)
    summary = result.summary(level)
    experiment = result.experiment
    again = ["mcsim", "run", experiment.name, "--seed", str(experiment.seed), "--boots", str(max(summary["boots"]))]
    lines = [
        f"# {plain(experiment.title or experiment.name)}",
        "",
        "![P(OOM) against RAM](p_oom.svg)",
        "",
        *_matrix(result, level),
        "",
        *(f"- {line}" for line in text.same_boots(result)),
        f"- Failures: {text.classes(summary)}.",
        *(f"- {line}" for line in text.method(summary, level)),
        *(f"- {plain(line)}" for line in result.missing()),
        "",
        *(_mail(level) if mail.belongs_beside(experiment) else []),
        "## Variants",
        "",
        *(f"- {_code(each.name)}: {plain(each.description)}" for each in experiment.variants),
        "",
        "## Provenance",
        "",
        *(f"- {plain(line)}" for line in text.provenance(result)),
        "- outcomes per boot: `chunks/`, experiment as it was read: `experiment.toml`, versions and times: "
        "`manifest.json`",
        "",
        f"Again: {_code(shlex.join(again))} (same seed, same outcomes, whatever the number of workers)",
        "",
    ]
    return "\n".join(lines)


def _matrix(result: Result, level: float) -> list[str]:
    summary = result.summary(level)
    names = list(dict.fromkeys(summary["variant"]))
    cells = {(row["variant"], row["ram"]): row for row in summary.iter_rows(named=True)}
    sizes = list(dict.fromkeys(summary.sort("ram_bytes")["ram"]))
    lines = ["| RAM | " + " | ".join(map(plain, names)) + " |", "|---|" + "---|" * len(names)]
    for size in sizes:
        row = [size]
        for name in names:
            cell = cells.get((name, size))
            if cell is None:
                row.append("")
                continue
            low, high = cell["exact_low"], cell["exact_high"]
            estimate = text.probability(cell["failures"], cell["boots"], low, high).replace("<", "&lt;")
            row.append(f"{estimate.replace('>', '&gt;')} ({low:.4f} .. {high:.4f})")
        lines.append("| " + " | ".join(row) + " |")
    return lines


def plain(words: str) -> str:
    """Text of a user as one line that Markdown and HTML show as it is."""
    escaped = re.sub(r"[\\`*_{}\[\]<>#|&~]", r"\\\g<0>", one_line(words).strip())
    # What would begin a list, a heading or a rule at the start of a line.
    return re.sub(r"^(\d*)([-+=.)])", r"\1\\\2", escaped)


def _code(words: str) -> str:
    """A name or a command as code; as plain text where its own signs would end that."""
    line = one_line(words)
    return plain(line) if "`" in line else f"`{line}`"
