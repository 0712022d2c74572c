"""The report as one HTML file that needs nothing else: no network, no server.

What comes from a user is text everywhere: the template escapes it, and a policy in the page lets only the page's own
script run.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcsim.errors import UserError, did_you_mean
from mcsim.report.sections import SECTIONS, View
from mcsim.report.verdict import usual_baseline

if TYPE_CHECKING:
    from mcsim.store.result import Result


def html(result: Result, level: float = 0.95, baseline: str | None = None, workload: str | None = None) -> str:
    """The page. `baseline` is what variants are compared with (default: `usual_baseline`). UserError if it is none."""
    from markupsafe import Markup

    run = set(result.summary(level)["variant"])
    names = [each.name for each in result.experiment.variants if each.name in run]
    if not names:
        raise UserError("holds no boots yet", file=result.path, valid="run the experiment first")
    if baseline is not None and baseline not in names:
        what = f"{baseline!r} is not a variant with boots in this result{did_you_mean(baseline, names)}"
        raise UserError(what, key="--baseline", valid=", ".join(names))
    view = View(result, baseline or usual_baseline(names), level, workload)
    sections = [section for make in SECTIONS if (section := make(view)) is not None]
    environment = _environment()
    files = {name: environment.loader.get_source(environment, f"report.{name}")[0] for name in ("css", "js")}
    script = base64.b64encode(hashlib.sha256(files["js"].encode()).digest()).decode()
    page = environment.get_template("report.html.jinja").render(
        title=result.experiment.title or result.experiment.name,
        question=question(view),
        sections=sections,
        style=Markup(files["css"]),
        script=Markup(files["js"]),
        script_hash=script,
        trusted=Markup,
    )
    return page + "\n"


def question(view: View) -> str:
    """What the page answers."""
    experiment = view.result.experiment
    names, sizes = set(view.summary["variant"]), view.summary.sort("ram_bytes")["ram"].unique(maintain_order=True)
    kernels = f"with which of {len(names)} kernels" if len(names) > 1 else f"with {names.pop()}"
    span = f"at which of {len(sizes)} RAM sizes from {sizes[0]} to {sizes[-1]}" if len(sizes) > 1 else f"at {sizes[0]}"
    return (
        f"How likely is a boot of workload {Path(experiment.workload).name} on {experiment.board.name} to run out "
        f"of contiguous memory, {kernels}, {span}?"
    )


def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("mcsim.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["together"] = lambda words: words.replace(" %", "\N{NO-BREAK SPACE}%")
    return environment
