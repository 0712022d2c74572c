"""`mcsim verify`."""

from __future__ import annotations

from pathlib import Path

import click

EXIT_DIFFERS = 1
SHOWN = 10  # boots that differ


@click.command(
    epilog="Exit code 0: all equal. 1: a boot differs. 2: bad input. The SHA-256 is that of all stored boots: two "
    "folders with the same one hold the same outcomes, however they came about."
)
@click.argument("result", type=click.Path(path_type=Path))
@click.option("--sample", type=int, default=200, show_default=True, metavar="N", help="So many boots.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="S", help="Of the sample.")
@click.option("--workload", metavar="PATH", help="Where the file of the workload is now, if it has been moved.")
def verify(result: Path, sample: int, seed: int, workload: str | None) -> None:
    """Simulate a random sample of the boots stored in RESULT once more and compare them bit for bit.

    \b
    Example:
      mcsim verify results/mail-2022 --sample 1000
    """
    from mcsim.run.progress import for_stderr
    from mcsim.run.store import Store
    from mcsim.run.verify import verify as verify_store

    store = Store.open(result)
    found = verify_store(store, sample, seed, workload, for_stderr())
    if not found.same_kernels:
        click.echo("The boots were stored by other kernels than those of this mcsim.", err=True)
    for one in found.differences[:SHOWN]:
        fields = ", ".join(f"{name} {stored} stored, {now} now" for name, (stored, now) in one.fields.items())
        click.echo(f"boot {one.boot} of {one.task.label}: {fields}")
    equal = found.compared - len(found.differences)
    click.echo(f"{equal:,} of {found.compared:,} boots equal, out of {found.stored:,}; SHA-256 {store.content_hash()}")
    if found.differences:
        click.get_current_context().exit(EXIT_DIFFERS)
