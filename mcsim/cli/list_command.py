"""`mcsim list`."""

from __future__ import annotations

import textwrap

import click


@click.command(short_help="Experiments, variants and workloads that come along", name="list")
def list_command() -> None:
    """Print the experiments, variants, boards and workloads that come with mcsim."""
    from mcsim.errors import UserError
    from mcsim.files import printable
    from mcsim.model.board import shipped_board
    from mcsim.model.experiment import load, recorded_board, shipped
    from mcsim.model.release import shipped_variants
    from mcsim.model.shipped import shipped_files
    from mcsim.workload import load as load_workload
    from mcsim.workload import shipped_workloads

    click.echo("Experiments (mcsim run NAME)")
    for name, path in shipped().items():
        try:
            title = load(path).title
        except UserError as error:
            title = str(error)
        click.echo(printable(_entry(name, title)))
    click.echo("\nVariants (experiment.variants, or based_on in [variants.NAME])")
    for variant in shipped_variants().values():
        commits = f" [{', '.join(variant.commits)}]" if variant.commits else ""
        click.echo(_entry(variant.name, variant.description + commits))
    click.echo("\nBoards (machine.board)")
    for name in shipped_files("boards"):
        board = shipped_board(name)
        click.echo(printable(_entry(name, f"{board.description}; RAM {board.sizes()}")))
    click.echo("\nWorkloads (workload.recordings)")
    for name in shipped_workloads():
        try:
            words = load_workload(name, recorded_board(name)).describe()
        except UserError as error:
            words = str(error)
        click.echo(printable(_entry(name, words)))


def _entry(name: str, words: str) -> str:
    return textwrap.fill(words, 100, initial_indent=f"  {name:<16}", subsequent_indent=" " * 18) or f"  {name}"
