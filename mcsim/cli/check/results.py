"""`mcsim check results`."""

from __future__ import annotations

from pathlib import Path

import click

EXIT_DIFFERS = 1
SHOWN = 10  # boots that differ


@click.command(
    short_help="Stored boots once more, bit for bit",
    epilog="Exit code 0: all equal. 1: a boot differs, or boots that a run has stored are gone. 2: bad input, damage. "
    "The SHA-256 is that of all stored boots: two folders with the same one hold the same outcomes, however they came "
    "about. What was checked is written down in the folder (records/check-*.json).",
)
@click.argument("result", type=click.Path(path_type=Path))
@click.option("--sample", default="200", show_default=True, metavar="N", help="So many boots, or all.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="S", help="Of the sample.")
@click.option("--workload", metavar="PATH", help="Where the file of the workload is now, if it has been moved.")
def results(result: Path, sample: str, seed: int, workload: str | None) -> None:
    """Check RESULT: its files, that no boot is missing, and a random sample of its boots, bit for bit.

    The boots of the sample are simulated once more. How likely an edit would have been found is printed.

    \b
    Examples:
      mcsim check results results/mail-2022 --sample 1000
      mcsim check results results/mail-2022 --sample all
    """
    from mcsim.errors import UserError
    from mcsim.fidelity.results import record
    from mcsim.fidelity.results import verify as verify_store
    from mcsim.run.progress import for_stderr
    from mcsim.store.coverage import Coverage
    from mcsim.store.store import Store

    store = Store.open(result)
    found = verify_store(store, _boots(sample), seed, workload, for_stderr())
    if not found.same_kernels:
        click.echo("The boots were stored by other kernels than those of this mcsim.", err=True)
    for one in found.differences[:SHOWN]:
        fields = ", ".join(f"{name} {stored} stored, {now} now" for name, (stored, now) in one.fields.items())
        click.echo(f"boot {one.boot} of {one.task.label}: {fields}")
    if len(found.differences) > SHOWN:
        click.echo(f"and {len(found.differences) - SHOWN:,} more boots")
    coverage = Coverage(store)
    for sentence in [*coverage.sentences(), *coverage.never_run()]:
        click.echo(sentence)
    equal = found.compared - len(found.differences)
    click.echo(f"{equal:,} of {found.compared:,} boots equal, out of {found.stored:,}; SHA-256 {found.sha256}")
    if not found.differences and found.compared < found.stored:
        part = max(1, found.stored // 100)
        click.echo(
            f"An edit of {part:,} of these boots (1 %) would have been found with probability "
            f"{found.found_with(part):.2g}, of a single one with {found.found_with(1):.2g}; --sample all finds any."
        )
    try:
        record(store, found)
    except UserError as error:
        click.echo(f"The check could not be written down: {error}", err=True)
    if found.differences or found.gone:
        click.get_current_context().exit(EXIT_DIFFERS)


def _boots(sample: str) -> int | None:
    """A number of boots; None for all."""
    from mcsim.errors import UserError

    if sample == "all":
        return None
    if not sample.strip("-").isdecimal() or not sample.isascii() or len(sample) > 12:
        raise UserError(f"{sample!r} is not a number of boots", key="--sample", valid="a whole number from 1, or all")
    return int(sample)
