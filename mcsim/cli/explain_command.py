"""`mcsim explain`."""

from __future__ import annotations

from pathlib import Path

import click

from mcsim.cli import options

ONE = "one boot; leave out --boots"
MANY = "many boots, --boots N"


@click.command(
    short_help="Why boots fail: one in full, or whose pages are to blame",
    epilog="Lines of the kernel's report are as long as the kernel makes them; all else fits 72 columns. Left out of "
    "the report, as the model has no such figures: call trace, LRU, slab and writeback counters. Exit code: 0; 2 for "
    "bad input; 130 interrupted, after the table of the boots done until then.",
)
@options.experiment
@options.cell
@click.option("--boot", type=int, metavar="K", help="Number of the one boot [default: the first that fails].")
@click.option("--compare", metavar="V2", help="Another variant: where the same boot takes another course.")
@options.sample("Many boots instead: whose pages break the blocks in those that fail.")
@options.settings
@options.output("Also write text and pictures, or tables, there.", ["text", "csv"], "What is printed of many boots.")
@options.workers
@click.pass_context
def explain(
    context: click.Context,
    experiment: str,
    variant: str,
    ram: str,
    boot: int | None,
    compare: str | None,
    boots: int | None,
    seed: int | None,
    level: float,
    changes: tuple[str, ...],
    out: Path | None,
    form: str,
    workers: int | None,
) -> None:
    """Why does a boot fail? What its memory looks like then.

    One boot: the kernel's report; which pages keep which blocks from being whole; a timeline; a map of memory. A boot
    that reaches its prompt is shown at the prompt.

    Many boots (--boots N): for those that fail, each page of each block of the order asked for is given its owner. All
    N boots are simulated: [stop] of the experiment is not used.

    \b
    Examples:
      mcsim explain mail-2022 --variant maple-naive --ram 33M
      mcsim explain mail-2022 --variant maple-naive --ram 33M --boot 0 --compare tail-free
      mcsim explain mail-2022 --variant tail-free --ram 32M --boot 4 --out boot-4   # pictures, too
      mcsim explain mail-2022 --variant maple-naive --ram 33M --boots 2000
    """
    loaded = options.loaded(experiment, changes, seed)
    if boots is not None:
        options.refuse(context, ONE, "boot", "compare")
        from mcsim.cli.many_boots import print_owners

        print_owners(loaded, variant, ram, boots, level, workers, form, out)
        return
    options.refuse(context, MANY, "level", "workers", "form")
    from rich.console import Console

    import mcsim
    from mcsim.run.progress import for_stderr

    found = mcsim.explain(loaded, variant=variant, ram=ram, boot=boot, compare=compare, progress=for_stderr())
    console = Console(highlight=False)
    for line in found.parts(console.width):
        console.print(line, soft_wrap=True)
    if out is not None:
        paths = found.save(out)
        click.echo("written: " + ", ".join(map(str, paths)), err=True)
