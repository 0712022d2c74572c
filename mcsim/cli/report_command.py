"""`mcsim report`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(epilog="The files are made anew from the stored boots; the table also goes to the standard output.")
@click.argument("result", type=click.Path(path_type=Path))
@click.option("--level", type=float, default=0.95, show_default=True, metavar="L", help="Level of the intervals.")
def report(result: Path, level: float) -> None:
    """Print the table of RESULT (a folder that `mcsim run` made) and write table, report and plots into it.

    \b
    Example:
      mcsim report results/mail-2022
    """
    import mcsim
    from mcsim.report.text import page
    from mcsim.report.write import write

    loaded = mcsim.load(result)
    paths = write(loaded, level)
    click.echo(page(loaded, level))
    click.echo("written: " + ", ".join(str(path) for path in paths), err=True)
