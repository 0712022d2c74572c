"""The answer in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mcsim.report.sections.parts import Code, Lines, Part, Section
from mcsim.report.verdict import alone, how_sure, verdict
from mcsim.studies.findings import Findings

if TYPE_CHECKING:
    pass


def answer_section(view: Findings) -> Section:
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
