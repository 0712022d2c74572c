"""`mcsim report`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(
    epilog="text: the files are made anew from the stored boots, too. csv: the whole summary table (one row per "
    "variant and RAM size), nothing is written; the same boots give the same bytes."
)
@click.argument("result", type=click.Path(path_type=Path))
@click.option("--level", type=float, default=0.95, show_default=True, metavar="L", help="Level of the intervals.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "csv"]),
    default="text",
    show_default=True,
    help="What goes to the standard output.",
)
def report(result: Path, level: float, form: str) -> None:
    """Print the table of RESULT (a folder that `mcsim run` made) and write table, report and plots into it.

    \b
    Examples:
      mcsim report results/mail-2022
      mcsim report results/mail-2022 --format csv > table.csv
    """
    import mcsim
    from mcsim.report.text import page
    from mcsim.report.write import write

    loaded = mcsim.load(result)
    if form == "csv":
        click.echo(loaded.summary(level).write_csv(), nl=False)
        return
    paths = write(loaded, level)
    click.echo(page(loaded, level))
    click.echo("written: " + ", ".join(str(path) for path in paths), err=True)
