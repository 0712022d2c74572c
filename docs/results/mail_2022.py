"""What the mail's own boots can tell, and where ours agree with them: docs/results/mail-2022.md (`make results`)."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import fisher_exact

import mcsim
from docs.fill import ROOT, fill
from mcsim.fidelity.model.predict import Weights
from mcsim.fidelity.model.predict import interval as interval_of_draws
from mcsim.model.units import format_size
from mcsim.report.mail import FIGURES, MailFigure
from mcsim.simulator.simulator import load_workload
from mcsim.stats.intervals import interval
from mcsim.store.result import Result

HERE = Path(__file__).parent
NAME = "mail-2022"
COMPATIBLE = 0.05
COLOURS = {"pre-maple": "#000000", "maple-naive": "#D55E00", "tail-free": "#0072B2", "mail-both": "#009E73"}
MARKERS = {"pre-maple": "o", "maple-naive": "s", "tail-free": "^", "mail-both": "D"}


def joint_p(draws: list[NDArray[np.float64]], figures: tuple[MailFigure, ...] = FIGURES) -> float:
    """Predictive probability of all results of the four series of boots that are no more likely than the mail's.

    The draws of P of the variants belong together (they rest on the same recordings), so the probability of a result is
    the mean over draws of the product of four binomial probabilities. Every result is enumerated.
    """
    each = [predictive_by_draw(figure.boots, p) for figure, p in zip(figures, draws, strict=True)]
    a, b, c, d = each
    probability = np.einsum("it,jt,kt,lt->ijkl", a, b, c, d, optimize=True) / len(draws[0])
    observed = probability[tuple(figure.failures for figure in figures)]
    return min(1.0, float(probability[probability <= observed * (1 + 1e-7)].sum()))


def predictive_by_draw(boots: int, draws: NDArray[np.float64]) -> NDArray[np.float64]:
    """float64[boots + 1, draws]: Binomial(boots, P) for each draw of P."""
    from scipy.stats import binom

    return np.asarray(binom.pmf(np.arange(boots + 1)[:, None], boots, draws[None, :]))


def predictions(result: Result) -> dict[tuple[str, int], Any]:
    """Predicted P by variant and RAM (bytes)."""
    arrays: Any = load_workload(result.experiment.workload, result.experiment.board).arrays
    weights = Weights(len(arrays.recording), len(arrays.pre_init_range))
    found = {}
    for figure, ram in itertools.product(FIGURES, result.experiment.ram):
        boots = result.outcomes(figure.variant, ram)
        columns = (boots[name].to_numpy() for name in ("recording", "pre_init", "failed"))
        found[figure.variant, ram] = weights.predict(*columns)
    return found


def table(result: Result, found: dict[tuple[str, int], Any]) -> tuple[str, list[str]]:
    """A row a RAM size: our P of the four variants, and the joint p; and the sizes that are compatible."""
    names = [figure.variant for figure in FIGURES]
    lines = ["| RAM | " + " | ".join(names) + " | joint p | |", "|---|" + "---|" * (len(names) + 2)]
    observed = [f"{figure.failures}/{figure.boots}" for figure in FIGURES]
    lines.append("| mail, 32M | " + " | ".join(observed) + " | | |")
    compatible = []
    for ram in result.experiment.ram:
        p = joint_p([found[name, ram].draws for name in names])
        cells = []
        for name in names:
            low, high = interval_of_draws(found[name, ram].draws)
            cells.append(f"{found[name, ram].p:.3f} ({low:.3f} .. {high:.3f})")
        if p >= COMPATIBLE:
            compatible.append(format_size(ram))
        mark = "compatible" if p >= COMPATIBLE else ""
        lines.append(f"| {format_size(ram)} | " + " | ".join(cells) + f" | {p:.2g} | {mark} |")
    return "\n".join(lines), compatible


def fisher() -> str:
    """Fisher's exact test between the mail's own series."""
    pairs = [(0, 1, "maple tree"), (1, 2, "page_alloc fix"), (2, 3, "nommu fix, on top"), (1, 3, "both fixes")]
    lines = ["| what changes | from | to | Fisher's exact p, two-sided |", "|---|---|---|---|"]
    for first, second, what in pairs:
        a, b = FIGURES[first], FIGURES[second]
        counts = [[each.failures, each.boots - each.failures] for each in (a, b)]
        p = float(fisher_exact(counts).pvalue)
        lines.append(f"| {what} | {a.failures}/{a.boots} | {b.failures}/{b.boots} | {p:.3g} |")
    return "\n".join(lines)


def draw(result: Result, found: dict[tuple[str, int], Any], compatible: list[str]) -> Figure:
    """Our P against RAM with intervals; bands: exact intervals of the mail's figures; marked: compatible sizes."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    panels: Any = figure.subplots(1, len(FIGURES), sharey=True)
    sizes = [ram for ram in result.experiment.ram if ram <= 40 << 20]
    place = np.arange(len(sizes))
    for panel, mail in zip(panels, FIGURES, strict=True):
        name = mail.variant
        p = np.array([found[name, ram].p for ram in sizes])
        bounds = np.array([interval_of_draws(found[name, ram].draws) for ram in sizes])
        low, high = interval(mail.failures, mail.boots)
        panel.axhspan(low, high, color="#999999", alpha=0.25, linewidth=0)
        panel.axhline(mail.failures / mail.boots, color="#777777", linewidth=1, linestyle="--")
        panel.fill_between(place, bounds[:, 0], bounds[:, 1], color=COLOURS[name], alpha=0.25, linewidth=0)
        panel.plot(place, p, color=COLOURS[name], marker=MARKERS[name], markersize=4)
        for number, ram in enumerate(sizes):
            if format_size(ram) in compatible:
                panel.axvspan(number - 0.4, number + 0.4, ymax=0.03, color="#E69F00", linewidth=0)
        panel.set_title(f"{name}\nmail: {mail.failures}/{mail.boots}", fontsize=10, loc="left")
        panel.set_xticks(place[::2], [format_size(ram)[:-1] for ram in sizes[::2]])
        panel.set_xlabel("RAM in MB")
    panels[0].set_ylabel("P(OOM)")
    return figure


def main() -> None:
    """Run the experiment (or go on with it), then fill the page."""
    result = mcsim.run(NAME, out=ROOT / "results" / NAME)
    found = predictions(result)
    rows, compatible = table(result, found)
    page = HERE / "mail-2022.md"
    fill(page, "table", rows)
    fill(page, "fisher", fisher())
    verdict = f"Compatible with all four figures together: **{', '.join(compatible) or 'no size'}**."
    fill(page, "verdict", verdict)
    draw(result, found, compatible).savefig(HERE / "mail-2022.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
