"""Which conclusions hang on the timing model: the last part of docs/results/timing.md (`make results`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from docs.fill import fill
from docs.results.laboratory import Laboratory
from mcsim.model.experiment import Timing, workload_timing
from mcsim.simulator.simulator import kernel_timing

PAGE = Path(__file__).with_name("timing.md")
BOOTS = 1000
SIZES = (31, 32, 35)
TAILS = {"old": "maple-naive", "new": "tail-free"}
PAIR = ("linux-6.1.y", "linux-6.6")


def settings() -> dict[str, Timing]:
    """Timings by name: the fitted one, each part of it halved and doubled, and that of the counted boots."""
    fitted = workload_timing("C")
    base = fitted.timing
    assert fitted.host_load is not None
    loaded = {"boot_median": fitted.host_load.boot_median, "boot_sigma": fitted.host_load.boot_sigma}
    return {
        "as fitted": base,
        "gap_sigma / 2": base.model_copy(update={"gap_sigma": base.gap_sigma / 2}),
        "gap_sigma x 2": base.model_copy(update={"gap_sigma": base.gap_sigma * 2}),
        "boot_sigma / 2": base.model_copy(update={"boot_sigma": base.boot_sigma / 2}),
        "boot_sigma x 2": base.model_copy(update={"boot_sigma": base.boot_sigma * 2}),
        "boot_median / 2": base.model_copy(update={"boot_median": base.boot_median / 2}),
        "boot_median x 2": base.model_copy(update={"boot_median": base.boot_median * 2}),
        "host load": base.model_copy(update=loaded),
    }


def simulate(laboratory: Laboratory, timing: Timing) -> dict[tuple[int, int, str], Any]:
    """Which boots fail, by RAM size, jitter and tail; and how often the two late kernels differ, under jitter 0."""
    found = {}
    for jitter in (0, 2):
        laboratory.timing = kernel_timing(timing.model_copy(update={"jitter": jitter}))
        for ram_mb in SIZES:
            machine = laboratory.machine(ram_mb)
            for name, variant in (*TAILS.items(), *((each, each) for each in PAIR)):
                outcomes = laboratory.outcomes(laboratory.boot(machine, variant), BOOTS)
                found[ram_mb, jitter, name] = outcomes["failed"] == 1
    return found


def conclusions(found: dict[tuple[int, int, str], Any]) -> dict[str, bool]:
    """What the other pages conclude, and whether it holds here."""
    p = {key: float(failed.mean()) for key, failed in found.items()}
    return {
        "the new tail fails less often at each size": all(
            p[ram, jitter, "new"] < p[ram, jitter, "old"] for ram in SIZES for jitter in (0, 2)
        ),
        "32 MB is worse than 31 and 35 MB": all(
            p[32, jitter, tail] > max(p[31, jitter, tail], p[35, jitter, tail]) for jitter in (0, 2) for tail in TAILS
        ),
        "artificial noise lowers P at 35 MB, old tail": p[35, 2, "old"] < p[35, 0, "old"],
        "6.6 and 6.1 fail in the same boots": all(
            np.array_equal(found[ram, jitter, PAIR[0]], found[ram, jitter, PAIR[1]])
            for ram in SIZES
            for jitter in (0, 2)
        ),
    }


def main() -> None:
    """Simulate all settings and fill the page."""
    laboratory = Laboratory()
    columns = [(ram, jitter, tail) for tail in TAILS for ram in SIZES for jitter in (0, 2)]
    heads = " | ".join(f"{ram}M {tail} j{jitter}" for ram, jitter, tail in columns)
    lines = [f"| timing | {heads} |", "|---|" + "---|" * len(columns)]
    held: dict[str, list[str]] = {}
    for name, timing in settings().items():
        found = simulate(laboratory, timing)
        cells = " | ".join(f"{100 * found[column].mean():.1f}" for column in columns)
        lines.append(f"| {name} | {cells} |")
        for conclusion, holds in conclusions(found).items():
            held.setdefault(conclusion, [])
            if not holds:
                held[conclusion].append(name)
    fill(PAGE, "sensitivity", "\n".join(lines) + f"\n\n({BOOTS:,} boots a cell; jN: jitter N.)")
    verdicts = [
        f"- {conclusion[0].upper()}{conclusion[1:]}: "
        + ("holds under all of them." if not failing else f"**does not hold** under {', '.join(failing)}.")
        for conclusion, failing in held.items()
    ]
    fill(PAGE, "conclusions", "\n".join(verdicts))


if __name__ == "__main__":
    main()
