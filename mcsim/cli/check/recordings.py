"""`mcsim check recordings`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mcsim.files import is_folder, one_line

if TYPE_CHECKING:
    from mcsim.fidelity.replay import Difference, Replay

SHOWN_PAGES = 10  # of each free list


@click.command(
    short_help="Recorded boots once more, page by page",
    epilog="Exit code 0: all equal. 1: something differs. 2: a file that is no recording. "
    "Free lists at the end are compared where an index.jsonl beside the recording has them.",
)
@click.argument("recordings", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RECORDING...")
def recordings(recordings: tuple[Path, ...]) -> None:
    """Replay recorded boots, page by page, and compare.

    All page requests are made again, from the hand-over of memory on. Equal must be: every page, where a freed page
    ends up (merged block, head or tail of which list), free pages after each request, watermarks, and the address of
    every maple node. `memory` says whether the memory that was handed over is what mcsim computes for this RAM size
    (rule) or another kernel's, taken from the recording (recorded).

    \b
    Examples:
      mcsim check recordings boots/C_V0_32MB_j0_a.npz
      mcsim check recordings boots                        all recordings in a folder
    """
    from mcsim.fidelity.replay import replay as replay_recording
    from mcsim.model.board import board_or_only

    board, recordings = board_or_only(None), files_of(recordings)
    twice = len({path.stem for path in recordings}) < len(recordings)
    labels = [one_line(f"{path.parent.name}/{path.stem}" if twice else path.stem) for path in recordings]
    width = max(len("recording"), *(len(label) for label in labels))
    click.echo(
        f"{'recording':<{width}} {'RAM':>4} {'events':>7} {'allocs':>6} {'frees':>6} {'nodes':>6} {'differ':>6}"
        f"  {'memory':<8}  lists at end"
    )
    found: list[Replay] = []
    for path, label in zip(recordings, labels, strict=True):
        one = replay_recording(path, board)
        found.append(one)
        click.echo(
            f"{label:<{width}} {one.ram_mb:>3}M {one.events:>7} {one.allocations:>6} {one.frees:>6} {one.nodes:>6}"
            f" {one.mismatches:>6}  {'rule' if one.hand_over_as_computed else 'recorded':<8}  {lists_at_end(one)}"
        )
    total = [sum(column) for column in zip(*(counts(one) for one in found), strict=True)]
    click.echo(f"{len(found):<{width}} {'':>4} {total[0]:>7} {total[1]:>6} {total[2]:>6} {total[3]:>6} {total[4]:>6}")
    for one, label in zip(found, labels, strict=True):
        if one.first is not None:
            click.echo(f"\n{label}: {context(one.first)}")
    if not all(one.passed for one in found):
        click.get_current_context().exit(1)


def files_of(paths: tuple[Path, ...]) -> tuple[Path, ...]:
    """The recordings named, and those in folders named. Raises UserError for a folder without any."""
    from mcsim.errors import UserError

    found: list[Path] = []
    for path in paths:
        inside = sorted(path.glob("*.npz")) if is_folder(path) else [path]
        if not inside:
            raise UserError("no recording in this folder", file=path, valid="a folder with NumPy archives (.npz)")
        found += inside
    return tuple(found)


def counts(one: Replay) -> tuple[int, int, int, int, int]:
    """What the last line of the table sums."""
    return one.events, one.allocations, one.frees, one.nodes, one.mismatches


def lists_at_end(one: Replay) -> str:
    """Whether as many blocks of each order are free at the end as in the recording."""
    if one.recorded_free_counts is None:
        return "not known"
    if one.recorded_free_counts == one.free_counts:
        return "equal"
    return f"{one.free_counts}, recorded {one.recorded_free_counts}"


def context(first: Difference) -> str:
    """The first difference in words, with the free lists before and after: only those that are not the same."""
    lines = [f"the first difference is at record {first.record}, {first.event}"]
    lines += [
        f"  {name}: recorded {recorded}, replayed {replayed}{'' if recorded == replayed else '   <--'}"
        for name, recorded, replayed in zip(first.answers, first.recorded, first.replayed, strict=True)
    ]
    lines.append("  free lists that change, head first (order.migratetype: pages)")
    for name in sorted({*first.before, *first.after}, key=lambda name: [int(part) for part in name.split(".")]):
        before, after = first.before.get(name, []), first.after.get(name, [])
        if before != after:
            lines += [f"    {name:>4} before: {pages(before)}", f"    {'':>4} after:  {pages(after)}"]
    if first.before == first.after:
        lines.append("    none")
    return "\n".join(lines)


def pages(entries: list[int]) -> str:
    """The first few entries of a list and how many there are."""
    shown = " ".join(map(str, entries[:SHOWN_PAGES]))
    return f"{shown or '-'}{' ...' if len(entries) > SHOWN_PAGES else ''} ({len(entries)})"
