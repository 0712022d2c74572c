"""The report as one HTML file that needs nothing else: no network, no server.

What comes from a user is text everywhere: the template escapes it, and a policy in the page lets only the page's own
script run.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from mcsim.report.sections import SECTIONS
from mcsim.studies.findings import Findings


def html(found: Findings) -> str:
    """The page."""
    from markupsafe import Markup

    sections = [section for make in SECTIONS if (section := make(found)) is not None]
    environment = _environment()
    files = {name: environment.loader.get_source(environment, f"report.{name}")[0] for name in ("css", "js")}
    script = base64.b64encode(hashlib.sha256(files["js"].encode()).digest()).decode()
    page = environment.get_template("report.html.jinja").render(
        title=found.result.experiment.title or found.result.experiment.name,
        question=question(found),
        sections=sections,
        style=Markup(files["css"]),
        script=Markup(files["js"]),
        script_hash=script,
        trusted=Markup,
    )
    return page + "\n"


def question(found: Findings) -> str:
    """What the page answers."""
    experiment = found.result.experiment
    names, sizes = set(found.summary["variant"]), found.summary.sort("ram_bytes")["ram"].unique(maintain_order=True)
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
