"""How far to trust a result, and how to make it again."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from mcsim.report import mail, text
from mcsim.report.sections.parts import Code, Lines, Part, Section
from mcsim.studies.findings import Findings

if TYPE_CHECKING:
    pass


CHANGED_BY = "# changed by "  # a setting of the command line, noted in the file by `mcsim.model.experiment.parse`


def trust_section(view: Findings) -> Section:
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


def again_section(view: Findings) -> Section:
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


def _commands(view: Findings) -> list[str]:
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
