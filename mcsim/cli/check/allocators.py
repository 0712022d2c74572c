"""`mcsim check allocators`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mcsim.fidelity.allocators import Conformity, VectorFile


@click.command(
    short_help="Ours against vectors of the kernel's own code",
    epilog="Exit code 0: all match. 1: something differs. 2: a file that cannot be read or is no file of vectors.",
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
def allocators(files: tuple[Path, ...]) -> None:
    """Compare page allocator and maple tree with vectors made by the real kernel code.

    A file has one sequence a line, as JSON, plain, gzip or xz: how memory or trees are made, operations, and what the
    kernel's code did. Equal must be every page, every list in order, every count of nodes, every shape of a tree.

    \b
    Example:
      mcsim check allocators golden/*.jsonl.gz
    """
    from mcsim.fidelity.allocators import Conformity, look_into
    from mcsim.report.conformity import first_mismatch, labels, table

    vectors = [look_into(path) for path in files]
    found = [(label, Conformity()) for label in labels(files)]
    complete = False
    try:
        compare(vectors, found)
        complete = True
    finally:
        # Also where a bad line or Ctrl-C ended it: what was compared is not lost.
        compared = [(label, one) for label, one in found if one.sequences]
        if compared:
            click.echo(table(compared, complete))
        for label, one in compared:
            if one.mismatches:
                click.echo("\n" + first_mismatch(label, one))
    if not all(one.passed for _, one in found):
        click.get_current_context().exit(1)


def compare(vectors: Sequence[VectorFile], found: Sequence[tuple[str, Conformity]]) -> None:
    """Run all vectors and add what is found to what is there, so that it is there if an error ends this."""
    from mcsim.fidelity.allocators import check_lines
    from mcsim.run.compiling import compiling
    from mcsim.run.progress import for_stderr

    with for_stderr("sequences") as progress:
        for first in {each.kind: each for each in reversed(vectors)}.values():
            with compiling(f"allocators-{first.kind}", progress):
                next(check_lines(first.path))
        progress.start(sum(each.sequences for each in vectors))
        for each, (label, total) in zip(vectors, found, strict=True):
            for one in check_lines(each.path):
                total += one
                progress.advance(1, label)
