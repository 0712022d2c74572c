"""`mcsim check statistics`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mcsim.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mcsim.fidelity.statistics import Check

EXIT_FAILED = 1
VARIANT, RAM = "tail-free", ("32M", "33M")  # of mail-2022: P about 0.5 and 0.3
SEEDS = (1, 2)
MOST = 1_000_000


@click.command(
    short_help="How often verdicts and intervals are wrong",
    epilog="Exit code: 0 no check is wrong more often than it may be, 1 some check is, 2 bad input.",
)
@click.option("--tables", type=int, default=400, show_default=True, metavar="N", help="Comparisons of simulated boots.")
@click.option("--boots", type=int, default=100, show_default=True, metavar="N", help="Boots of each comparison.")
@click.option(
    "--trials", type=int, default=1000, show_default=True, metavar="N", help="Trials of checks on made-up failures."
)
@click.option("--seed", type=int, default=20220601, show_default=True, metavar="S", help="Seed of made-up failures.")
@click.pass_context
def statistics(context: click.Context, tables: int, boots: int, trials: int, seed: int) -> None:
    """How often are the verdicts of `mcsim compare` wrong, and how often does a confidence sequence miss?

    A/A: one kernel is simulated under two seeds (mail-2022, tail-free) and compared with itself, in many blocks of
    boots: any difference found is a false alarm.

    \b
    Example:
      mcsim check statistics
    """
    import numpy as np

    from mcsim.fidelity import statistics as checks

    for key, value in (("--tables", tables), ("--boots", boots), ("--trials", trials)):
        if not 1 <= value <= MOST:
            raise UserError(f"{value} is out of range", key=key, valid=f"a whole number from 1 to {MOST}")
    if seed < 0:
        raise UserError(f"{seed} is out of range", key="--seed", valid="a whole number from 0")
    rng = np.random.default_rng(seed)
    first, second = (simulated(each, tables * boots) for each in SEEDS)
    _print(
        f"A/A, {VARIANT} under two seeds at {' and '.join(RAM)}, {boots} boots a table",
        real := checks.blocks(first, second, boots),
        head=True,
    )
    _print("verdicts on made-up failures, 300 boots", verdicts := checks.verdicts(rng, trials))
    looks = [
        *(checks.sequence_misses(rng, p, trials) for p in (0.5, 0.1, 0.01)),
        checks.difference_misses(rng, 0.3, 0.6, trials),
        checks.plain_misses(rng, 0.5, trials),
    ]
    _print(f"{checks.LOOKS:,} looks, one every {checks.STEP} boots", looks)
    if not all(check.passed for check in [*real, *verdicts, *looks]):
        context.exit(EXIT_FAILED)


def simulated(seed: int, boots: int) -> NDArray[np.bool_]:
    """Failures of simulated boots, bool[len(RAM), boots]; nothing is kept."""
    import tempfile

    import numpy as np

    import mcsim
    from mcsim.model.experiment import select, shipped
    from mcsim.run.progress import for_stderr
    from mcsim.studies.study import first_boots

    with tempfile.TemporaryDirectory() as folder:
        result = mcsim.run(
            shipped()["mail-2022"],  # whatever file of this name is in the current folder
            boots=boots,
            out=Path(folder) / "result",
            variants=[VARIANT],
            ram=RAM,
            seed=seed,
            progress=for_stderr(),
        )
        tasks = select(result.tasks, [VARIANT], RAM)
        return np.array([first_boots(result.store, task, boots)["failed"].to_numpy() == 1 for task in tasks])


def _print(title: str, checks: list[Check], head: bool = False) -> None:
    if head:
        click.echo(f"{'':<38}{'trials':>7}{'wrong':>6}{'exact 95 %':>17}")
    click.echo(title)
    for check in checks:
        low, high = check.interval
        said = "" if check.allowed == float("inf") else "ok" if check.passed else "WRONG"
        bounds = f"{100 * low:.2f} .. {100 * high:.2f} %"
        click.echo(f"  {check.name:<36}{check.trials:>7}{check.errors:>6}{bounds:>17} {said}".rstrip())
