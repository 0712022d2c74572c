"""`mcsim report`."""

from __future__ import annotations

from pathlib import Path

import click

from mcsim.cli import options


@click.command(
    short_help="Table, plots and page of a result, made again",
    epilog="text: all files are made anew from the stored boots, too (table.txt, table.csv, report.md, report.html, "
    "p_oom.png, p_oom.svg). markdown, csv (the whole summary table, one row per variant and RAM size): nothing is "
    "written. html, png: report.html or p_oom.png alone is written, and its path printed. The same boots give the same "
    "bytes. docs/report.md says how to read report.html.",
)
@click.argument("result", type=click.Path(path_type=Path))
@options.level
@click.option(
    "--baseline",
    metavar="V",
    help="The variant that all others are compared with [default: maple-naive, else the first].",
)
@click.option(
    "--workload",
    metavar="PATH",
    help="Where the file of the workload is now, if it has been moved: report.html looks at failing boots again.",
)
@click.option("--cells", "with_cells", is_flag=True, help="Also print a line per cell, as table.txt has it.")
@options.output(forms=["text", "markdown", "csv", "html", "png"], text="What is printed, or written.")
def report(result: Path, level: float, baseline: str | None, workload: str | None, with_cells: bool, form: str) -> None:
    """Print table and answer of RESULT (a folder that `mcsim run` made); write table, report and plots into it.

    \b
    Examples:
      mcsim report results/mail-2022
      mcsim report results/mail-2022 --format html --baseline tail-free
      mcsim report results/mail-2022 --format csv > table.csv
    """
    import mcsim
    from mcsim.errors import UserError
    from mcsim.files import csv_of
    from mcsim.report import screen, write
    from mcsim.studies.findings import findings, workload_of

    if with_cells and form != "text":
        raise UserError(f"does not go with --format {form}", key="--cells", valid="--format text")
    loaded = mcsim.load(result)
    for key, value in (("--baseline", baseline), ("--workload", workload)):
        if value is not None and form not in ("text", "html"):
            raise UserError(f"does not go with --format {form}", key=key, valid="--format text or html")
    if workload is not None:
        workload_of(loaded, workload)  # another one is told at once
    if form == "csv":
        click.echo(csv_of(loaded.summary(level)), nl=False)
        for sentence in loaded.missing():
            click.echo(sentence, err=True)
    elif form == "markdown":
        click.echo(write.markdown(loaded, level), nl=False)
    elif form == "html":
        click.echo(str(write.write_html(findings(loaded, level, baseline, workload))))
    elif form == "png":
        click.echo(str(write.write_png(loaded, level)))
    else:
        found = findings(loaded, level, baseline, workload)
        paths = write.write(found)
        click.echo(screen.table(loaded, level, with_cells))
        click.echo(screen.written(paths), err=True)
        click.echo(screen.answer(found), nl=False)
