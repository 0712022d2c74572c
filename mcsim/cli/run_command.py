"""`mcsim run`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command(epilog="A size is written 32M; several cells: repeat --variant and --ram, or --ram '30M..33M step 1M'.")
@click.argument("experiment")
@click.option("--boots", type=int, metavar="N", help="Boots per cell, instead of the number in the file.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Result folder [default: results/NAME].")
@click.option("--workers", type=int, metavar="N", help="Workers [default: one per processor].")
@click.option(
    "--backend",
    type=click.Choice(["threads", "processes"]),
    default="threads",
    show_default=True,
    help="What a worker is; outcomes are the same.",
)
@click.option("--variant", "variants", multiple=True, metavar="V", help="Only this variant (repeatable).")
@click.option("--ram", multiple=True, metavar="R", help="Only this RAM size (repeatable).")
@click.option("--seed", type=int, metavar="S", help="Another seed than that of the file.")
@click.option("--boot", type=int, metavar="K", help="Simulate boot K alone and print its outcome; nothing is stored.")
@click.option("-v", "--verbose", is_flag=True, help="Print details.")
def run(
    experiment: str,
    boots: int | None,
    out: Path | None,
    workers: int | None,
    backend: Any,
    variants: tuple[str, ...],
    ram: tuple[str, ...],
    seed: int | None,
    boot: int | None,
    verbose: bool,
) -> None:
    """Run EXPERIMENT (a file, or the name of a shipped one), or go on where it ended.

    \b
    Examples:
      mcsim run mail-2022 --boots 200
      mcsim run my.toml --out /tmp/try --ram 32M --variant maple-naive
      mcsim run mail-2022 --variant maple-naive --ram 32M --boot 17 -v
    """
    from mcsim.model.experiment import load

    loaded = load(experiment)
    if seed is not None:
        loaded = loaded.with_seed(seed)
    if boot is not None:
        from mcsim.cli.one_boot import print_boot

        print_boot(loaded, variants, ram, boot, verbose)
        return

    import mcsim
    from mcsim.report.text import page
    from mcsim.report.write import write
    from mcsim.run.progress import for_stderr

    folder = Path("results") / loaded.name if out is None else out
    if verbose:
        click.echo(f"experiment {loaded.path}, results in {folder}", err=True)
    try:
        result = mcsim.run(
            loaded,
            boots=boots,
            out=folder,
            workers=workers,
            backend=backend,
            variants=variants,
            ram=ram,
            progress=for_stderr(),
        )
    except KeyboardInterrupt:
        click.echo(
            f"Interrupted. Finished boots are kept in {folder}; the same command continues.\n"
            f"What is there so far: mcsim report {folder}",
            err=True,
        )
        raise
    click.echo(page(result))
    paths = write(result)
    click.echo("written: " + ", ".join(str(path) for path in paths), err=True)
