"""What `mcsim check model` prints and writes: tables of at most 72 columns, CSV files, the calibration plot."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcsim.fidelity.model.counterfactual import (
    EXPECTED_ENVIRONMENT,
    EXPECTED_FAILURES,
    MAX_OUT_OF_ORDER,
    MIN_EQUAL,
    OTHER_RAM,
    Comparison,
    RecordedOrder,
    judged,
    medians,
)
from mcsim.fidelity.model.predict import Prediction
from mcsim.fidelity.model.score import (
    ALPHA,
    BASELINE_RAM,
    MIN_BOOTS,
    JitterEffect,
    Row,
    Validation,
    tail_orders,
)
from mcsim.files import csv_of, write_each
from mcsim.model.counts import Place
from mcsim.model.experiment import MODEL_VERSION
from mcsim.model.recorded_kernels import TAILS, recorded_variants
from mcsim.report.plot import COLOURS, pictures
from mcsim.report.text import WIDTH, percent
from mcsim.stats.intervals import interval

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEVEL = 0.95
WRITTEN = ("predicted.txt", "predicted.csv", "calibration.png", "calibration.svg")
CROWDED = 0.03  # points of the plot below this have no room for a label


# -- counts -----------------------------------------------------------------------------------------------------


def page(validation: Validation) -> str:
    """The whole text, for a terminal or a mail."""
    rows = validation.rows
    simulated = sorted({row.simulated for row in rows if not row.pooled})
    head = [
        "mcsim check model: predicted P(OOM) beside failure counts of real boots",
        *(
            f"dropped, no workload: environment {name} ({cells} cells, {boots} boots)"
            for name, (cells, boots) in validation.counts.dropped.items()
        ),
    ]
    legend = (
        f"p: exact two-sided predictive p-value. Holm: adjusted over one family, the cells with n >= {MIN_BOOTS} and "
        f"all pooled rows; '-' outside of it. cal: marked for calibration; chk: for checking. '!': adjusted "
        f"p < {ALPHA}. P: {_list(simulated)} simulated boots a cell; its {percent(LEVEL)} "
        "interval holds the error of a finite sample of recordings, too (docs/validation.md)."
    )
    lines = [*head, "", "Tail policies pooled", *table(row for row in rows if row.pooled)]
    lines += ["", "Cells", *table(row for row in rows if not row.pooled), "", legend, "", *summary(validation)]
    return "\n".join(part for line in lines for part in (textwrap.wrap(line, WIDTH) or [""])) + "\n"


def _list(numbers: Sequence[int]) -> str:
    return f"{numbers[0]:,}" if len(numbers) == 1 else f"{numbers[0]:,} to {numbers[-1]:,}"


def table(rows: Iterable[Row]) -> list[str]:
    """A line a row."""
    lines = [f"env what      RAM j use {'k/n':>8} {'obs':>5} {'P':>5} {'95 %':^11} {'p':>5} {'Holm':>5}"]
    previous = None
    for row in rows:
        if previous not in (None, (row.environment, row.jitter)):
            lines.append("")
        previous = row.environment, row.jitter
        use = "cal" if row.calibration else "mix" if row.use == "mixed" else "chk"
        adjusted = "-" if math.isnan(row.adjusted) else _p(row.adjusted)
        mark = "!" if row.adjusted < ALPHA else ""
        lines.append(
            f"{row.environment:<3} {row.name:<8} {row.ram_mb:>3}M {row.jitter} {use} "
            f"{f'{row.failures}/{row.boots}':>8} {row.failures / row.boots:>5.3f} {row.p:>5.3f} "
            f"{row.low:.3f}-{row.high:.3f} {_p(row.p_value):>5} {adjusted:>5}{mark}"
        )
    return lines


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else f"{value:.0e}".replace("e-0", "e-")


def summary(validation: Validation) -> list[str]:
    """Sentences: worst row, log scores, jitter effect, order of the tails, verdict."""
    family = [row for row in validation.rows if not math.isnan(row.adjusted)]
    sentences = []
    for what, rows in (
        ("of all", family),
        ("not calibrated on", [row for row in family if not row.calibration]),
    ):
        if rows:
            worst = min(rows, key=lambda row: (row.adjusted, row.p_value))
            sentences.append(
                f"Worst row {what}: {worst.environment} {worst.name} {worst.ram_mb}M jitter {worst.jitter}, observed "
                f"{worst.failures}/{worst.boots}, predicted {worst.p:.3f}, adjusted p {_p(worst.adjusted)}."
            )
    for what, score in (("all cells", validation.scores), ("check cells", validation.check_scores)):
        if score is not None:
            better = "better than both" if score.best else "not better than both"
            sentences.append(
                f"Log score per boot, {what} ({score.boots:,} boots): model {score.model:.4f}; baselines: overall rate "
                f"{score.overall_rate:.4f}, rate of the tail policy at {BASELINE_RAM}M {score.tail_rate:.4f}: {better}."
            )
    sentences += [_effect(effect) for effect in validation.effects]
    orders = tail_orders(validation.rows)
    told = [order for order in orders if order.same is not None]
    if told:
        wrong = [f"{each.environment} {each.ram_mb}M jitter {each.jitter}" for each in told if not each.same]
        sentences.append(
            f"Tail policies ordered as observed at {len(told) - len(wrong)} of {len(told)} places"
            + (f"; not at {', '.join(wrong)}" if wrong else "")
            + (f" ({len(orders) - len(told)} more with equal observed rates)." if len(orders) > len(told) else ".")
        )
    missed = sum(row.missed for row in validation.rows)
    verdict = "no row that was not calibrated on has an adjusted p below" if validation.passed else "adjusted p below"
    count = "" if validation.passed else f" in {missed} row{'s' if missed > 1 else ''} not calibrated on"
    sentences.append(f"{'PASSED' if validation.passed else 'FAILED'}: {verdict} {ALPHA}{count}.")
    return sentences


def _effect(effect: JitterEffect) -> str:
    (still, still_boots), (noisy, noisy_boots) = effect.observed
    verdict = "present" if effect.present else "not present"
    return (
        f"Jitter at {effect.ram_mb}M, {effect.environment}, {effect.tail} tail: observed {still}/{still_boots} "
        f"without, {noisy}/{noisy_boots} with (Fisher p {_p(effect.p_value)}); predicted difference "
        f"{effect.predicted:.3f} ({effect.low:.3f} to {effect.high:.3f}): the effect is {verdict}."
    )


def frame(rows: Sequence[Row]) -> pl.DataFrame:
    """The rows as a data frame; the columns of predicted.csv."""
    import polars as pl

    return pl.DataFrame(
        [
            {
                "env": row.environment,
                "row": "pooled" if row.pooled else "cell",
                "variant": "+".join(row.variants),
                "tail": row.tail,
                "ram_mb": row.ram_mb,
                "jitter": row.jitter,
                "use": row.use,
                "calibration": row.calibration,
                "boots": row.boots,
                "failures": row.failures,
                "simulated_boots": row.simulated,
                "p": row.p,
                "low": row.low,
                "high": row.high,
                "level": LEVEL,
                "p_value": row.p_value,
                "adjusted": None if math.isnan(row.adjusted) else row.adjusted,
            }
            for row in rows
        ],
        schema_overrides={"adjusted": pl.Float64},
    )


# -- plot -------------------------------------------------------------------------------------------------------


def draw(rows: Sequence[Row]) -> Figure:
    """Observed share against predicted P: tail policies pooled, and cells with enough boots."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 5.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    shown = [row for row in rows if row.boots >= MIN_BOOTS]  # fewer boots would be lines across the whole panel
    _panel(left, [row for row in shown if row.pooled], "tail policies pooled; numbers: RAM in MB", True)
    _panel(right, [row for row in shown if not row.pooled], f"cells, n >= {MIN_BOOTS}", False)
    left.set_ylabel("share of real boots that failed, 95 % (Clopper-Pearson)")
    for panel in (left, right):
        panel.set_xlabel("predicted P(OOM), 95 % (recordings and simulated boots)")
    figure.suptitle("Predicted and observed", fontsize=13, fontweight="bold")
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def _panel(axes: Axes, rows: Sequence[Row], title: str, names: bool) -> None:
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, zorder=0)
    for tail, colour, marker in zip(TAILS, (COLOURS[1], COLOURS[2]), ("o", "s"), strict=True):
        for jitter in (0, 2):
            here = [row for row in rows if (row.tail, row.jitter) == (tail, jitter)]
            if here:
                fill = colour if jitter == 0 else "white"
                style: dict[str, Any] = {"color": colour, "marker": marker, "markerfacecolor": fill}
                _points(axes, here, f"{tail} tail, jitter {jitter}", style)
    if names:
        for row in rows:
            place = (row.p, row.failures / row.boots)
            if max(place) < CROWDED:
                continue
            name = f"{row.environment} {row.ram_mb}" if len({each.environment for each in rows}) > 1 else row.ram_mb
            axes.annotate(f"{name}", place, (4, 4), textcoords="offset points", fontsize=7, color="#444444")
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(-0.03, 1.03)
    axes.set_aspect("equal")
    axes.grid(color="#e5e5e5", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _points(axes: Axes, rows: Sequence[Row], label: str, style: dict[str, Any]) -> None:
    x = [row.p for row in rows]
    y = [row.failures / row.boots for row in rows]
    bounds = [interval(row.failures, row.boots) for row in rows]
    # The interval of the draws need not hold the share itself where that is 0 or 1.
    across = [[max(0.0, row.p - row.low) for row in rows], [max(0.0, row.high - row.p) for row in rows]]
    along = [
        [at - bound.low for at, bound in zip(y, bounds, strict=True)],
        [bound.high - at for at, bound in zip(y, bounds, strict=True)],
    ]
    axes.errorbar(x, y, yerr=along, xerr=across, linestyle="none", elinewidth=0.8, markersize=5, label=label, **style)


# -- files ------------------------------------------------------------------------------------------------------


def write(validation: Validation, folder: Path) -> list[Path]:
    """Write predicted.txt, predicted.csv and calibration.{png,svg} into `folder`; return their paths."""
    contents = {
        folder / "predicted.txt": page(validation).encode(),
        folder / "predicted.csv": csv_of(frame(validation.rows)).encode(),
        **pictures(draw(validation.rows), folder / "calibration"),
    }
    return write_each(contents)


# -- predictions without counts ---------------------------------------------------------------------------------


def prediction_frame(predictions: Mapping[Place, Prediction], kernels: str, workload: str) -> pl.DataFrame:
    """Predictions as a data frame; `kernels` and `workload` are the hashes they rest on."""
    import polars as pl

    order = list(recorded_variants())
    rows = []
    for place in sorted(predictions, key=lambda each: (each.jitter, each.ram_mb, order.index(each.variant))):
        prediction = predictions[place]
        low, high = prediction.interval(LEVEL)
        rows.append(
            {
                "env": place.environment,
                "variant": place.variant,
                "ram_mb": place.ram_mb,
                "jitter": place.jitter,
                "p": prediction.p,
                "low": round(low, 6),
                "high": round(high, 6),
                "simulated_boots": prediction.boots,
                "level": LEVEL,
                "model_version": MODEL_VERSION,
                "kernels": kernels[:16],
                "workload": workload[:16],
            }
        )
    return pl.DataFrame(rows)


def prediction_page(numbers: pl.DataFrame) -> str:
    """The predictions as text: a line a cell."""
    lines = [f"{'env':<4} {'variant':<8} {'RAM':>4} j {'P':>6}  {percent(LEVEL)} interval"]
    lines += [
        f"{row['env']:<4} {row['variant']:<8} {row['ram_mb']:>3}M {row['jitter']} {row['p']:>6.3f}  "
        f"{row['low']:.3f}-{row['high']:.3f}"
        for row in numbers.iter_rows(named=True)
    ]
    return "\n".join(lines) + "\n"


# -- recorded boots once more -----------------------------------------------------------------------------------


def counterfactual_page(comparisons: Sequence[Comparison], orders: Sequence[RecordedOrder]) -> tuple[str, bool]:
    """The table of rung 3 and whether it is within the thresholds."""
    lines = [
        "Recorded programs run without timing noise, under their own variant and",
        "RAM, beside the recording.",
        "",
        f"{'recording':<16} {'equal':>6} {'pairs':>7}  free blocks at login, order 0 to 10",
        f"{'':<16} {'sets %':>6} {'off %':>7}  recorded, then simulated",
    ]
    for each in comparisons:
        recorded, simulated = (
            " ".join(f"{count:2}" for count in counts)
            for counts in (each.recorded_free_lists, each.simulated_free_lists)
        )
        lines.append(f"{each.name:<16} {100 * each.equal_live_sets:>6.1f} {100 * each.out_of_order:>7.3f}  {recorded}")
        lines.append(f"{'':<16} {'':>6} {'':>7}  {simulated}".rstrip())
    verdicts = []
    for environment in sorted({each.environment for each in comparisons}):
        here = [each for each in comparisons if each.environment == environment]
        equal, out_of_order = medians(here)
        name = f"median, {environment} ({len(here)})"
        lines.append(f"{name:<16} {100 * equal:>6.1f} {100 * out_of_order:>7.3f}")
    equal, out_of_order = medians(comparisons)
    lines.append(f"{f'median, all ({len(comparisons)})':<16} {100 * equal:>6.1f} {100 * out_of_order:>7.3f}")
    verdicts.append((f"equal live sets at least {percent(MIN_EQUAL)} (median)", equal >= MIN_EQUAL))
    verdicts.append(
        (f"pairs out of order at most {percent(MAX_OUT_OF_ORDER)} (median)", out_of_order <= MAX_OUT_OF_ORDER)
    )
    lines += [
        "",
        "The recorded order on other RAM sizes, own pre-init phase: recordings",
        "that fail before login.",
        "",
        f"{'env':<4} {'tail':<9} {'of':>3}" + "".join(f"{f'{ram}M':>6}" for ram in OTHER_RAM),
    ]
    for order in orders:
        lines.append(_counts(order.environment, order.tail, order.programs, order.failures))
        if judged(order):
            expected = EXPECTED_FAILURES[order.tail]
            lines.append(_counts("", "expected", order.programs, expected))
            same = order.failures == expected
            verdicts.append((f"recorded order, {EXPECTED_ENVIRONMENT}, {order.tail} tail: as expected", same))
    lines += ["", *(f"{'met   ' if met else 'MISSED'}  {what}" for what, met in verdicts)]
    return "\n".join(lines) + "\n", all(met for _, met in verdicts)


def _counts(environment: str, tail: str, programs: int, failures: Iterable[int]) -> str:
    return f"{environment:<4} {tail:<9} {programs:>3}" + "".join(f"{count:>6}" for count in failures)
