"""Write the report of a result folder into that folder."""

from __future__ import annotations

from pathlib import Path

from mcsim.errors import UserError
from mcsim.report import mail, plot, text
from mcsim.result import Result
from mcsim.stats.intervals import interval


def write(result: Result, level: float = 0.95) -> list[Path]:
    """Write table.txt, table.csv, report.md, p_oom.png and p_oom.svg; return their paths."""
    summary = result.summary(level)
    if summary.height == 0:
        raise UserError("holds no boots yet", file=result.path, valid="run the experiment first")
    folder = result.path
    title = result.experiment.title or result.experiment.name
    try:
        (folder / "table.txt").write_text(text.page(result, level), encoding="utf-8")
        summary.write_csv(folder / "table.csv")
        (folder / "report.md").write_text(markdown(result, level), encoding="utf-8")
        figure = plot.draw(summary, text.equal_groups(result), title, plot.note(summary, result.experiment.seed, level))
        pictures = plot.save(figure, folder / "p_oom")
    except OSError as error:
        raise UserError(f"cannot be written: {error.strerror}", file=folder, valid="a writable folder") from None
    return [folder / "table.txt", folder / "table.csv", folder / "report.md", *pictures]


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
    summary = result.summary(level)
    experiment = result.experiment
    boots = max(summary["boots"])
    lines = [
        f"# {_plain(experiment.title or experiment.name)}",
        "",
        "![P(OOM) against RAM](p_oom.svg)",
        "",
        *_matrix(result, level),
        "",
        *(f"- {line}" for line in text.same_boots(result)),
        f"- Failures: {text.classes(summary)}.",
        *(f"- {line}" for line in text.method(summary, level)),
        "",
        *(_mail(level) if mail.belongs_beside(experiment) else []),
        "## Variants",
        "",
        *(f"- `{each.name}`: {_plain(each.description)}" for each in experiment.variants),
        "",
        "## Provenance",
        "",
        *(f"- {_plain(line)}" for line in text.provenance(result)),
        "- outcomes per boot: `chunks/`, experiment as it was read: `experiment.toml`, versions and times: "
        "`manifest.json`",
        "",
        f"Again: `mcsim run {experiment.name} --seed {experiment.seed} --boots {boots}`"
        " (same seed, same outcomes, whatever the number of workers)",
        "",
    ]
    return "\n".join(lines)


def _matrix(result: Result, level: float) -> list[str]:
    summary = result.summary(level)
    names = list(dict.fromkeys(summary["variant"]))
    cells = {(row["variant"], row["ram"]): row for row in summary.iter_rows(named=True)}
    sizes = list(dict.fromkeys(summary.sort("ram_bytes")["ram"]))
    lines = ["| RAM | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
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


def _plain(words: str) -> str:
    """Text of a user so that Markdown and HTML show it as it is."""
    for sign in "\\`*_{}[]<>#|":
        words = words.replace(sign, "\\" + sign)
    return words
