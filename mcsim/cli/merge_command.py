"""`mcsim merge`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(
    short_help="One result out of parts, or of runs on many machines",
    epilog="The union is the same, byte for byte, in whatever order the results are named and however often. Folders "
    "of another experiment, workload or kernels are refused, and so are two outcomes of one boot. That a part is "
    "missing is said here and in every report; the exit code stays 0.",
)
@click.argument("results", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RESULT...")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), metavar="DIR", help="A new folder.")
def merge(results: tuple[Path, ...], out: Path) -> None:
    """Put results of one experiment together: the parts of `mcsim run --shard`, or runs on several machines.

    \b
    Examples:
      mcsim merge results/mail-2022-*of16 -o results/mail-2022
      mcsim merge here/mail-2022 there/mail-2022 -o results/both
    """
    import mcsim

    union = mcsim.merge(results, out)
    boots = sum(union.outcomes_of(task).height for task in {task.id: task for task in union.tasks}.values())
    click.echo(f"{out}: {boots:,} boots of {len(results)} results, SHA-256 {union.store.content_hash()}")
    for sentence in union.missing():
        click.echo(sentence, err=True)
