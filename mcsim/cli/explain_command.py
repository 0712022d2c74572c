"""`mcsim explain`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(
    epilog="Lines of the kernel's report are as long as the kernel makes them; all else fits 72 columns. Left out of "
    "the report, as the model has no such figures: call trace, LRU, slab and writeback counters. Exit code: 0, or 2 "
    "for bad input."
)
@click.argument("experiment")
@click.option("--variant", metavar="V", help="The kernel variant.")
@click.option("--ram", metavar="R", help="The RAM size.")
@click.option("--boot", type=int, metavar="K", help="Number of the boot [default: the first that fails].")
@click.option("--compare", metavar="V2", help="Another variant: where the same boot takes another course.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Also write text and pictures there.")
@click.option("--seed", type=int, metavar="S", help="Another seed than that of the file.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Replace a key of the file (repeatable).")
def explain(
    experiment: str,
    variant: str | None,
    ram: str | None,
    boot: int | None,
    compare: str | None,
    out: Path | None,
    seed: int | None,
    changes: tuple[str, ...],
) -> None:
    """Why did this boot fail? What its memory looks like then.

    The kernel's report; which pages keep which blocks from being whole; a timeline; a map of memory. A boot that
    reaches its prompt is shown at the prompt.

    \b
    Examples:
      mcsim explain mail-2022 --variant maple-naive --ram 33M
      mcsim explain mail-2022 --variant maple-naive --ram 33M --boot 0 --compare tail-free
      mcsim explain mail-2022 --variant tail-free --ram 32M --boot 4 --out /tmp/boot-4   # maps as PNG and SVG
    """
    from rich.console import Console

    import mcsim
    from mcsim.model.experiment import load
    from mcsim.model.settings import Setting
    from mcsim.run.progress import for_stderr

    found = mcsim.explain(
        load(experiment, [Setting.of(text) for text in changes]),
        variant=variant,
        ram=ram,
        boot=boot,
        compare=compare,
        seed=seed,
        progress=for_stderr(),
    )
    console = Console(highlight=False)
    for line in found.parts(console.width):
        console.print(line, soft_wrap=True)
    if out is not None:
        paths = found.save(out)
        click.echo("written: " + ", ".join(map(str, paths)), err=True)
