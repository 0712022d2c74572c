"""`mcsim import`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mcsim.errors import UserError
from mcsim.files import is_file, is_same_file, printable, written

if TYPE_CHECKING:
    from mcsim.model.board import Board
    from mcsim.workload.program import RecordedProgram


@click.command(
    short_help="Programs to boot, from recordings of real boots",
    name="import",
    epilog="A recording without scheduler records gives its pre-init phase only, which mixes with others' user phases.",
)
@click.argument("recordings", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RECORDING...")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path(), show_default="this folder", help="Where programs go."
)
@click.option(
    "--symbols", type=click.Path(path_type=Path), help="Symbol table; else symbols_ENV.csv beside each recording."
)
@click.option("--board", help="Their board: a shipped one, or a board file; without it, the only one that is shipped.")
@click.option("--pre-init-only", is_flag=True, help="Keep only the phase before the kernel starts /init.")
def import_command(
    recordings: tuple[Path, ...], out: Path, symbols: Path | None, board: str | None, pre_init_only: bool
) -> None:
    """Extract programs from recorded boots (ENV_VARIANT_RAMMB_jJITTER_LETTER.npz), one file each.

    A folder of programs is a workload: `[workload] file = "FOLDER"` in an experiment. What is there is not touched,
    but for older programs of the same recordings; nothing is written unless all recordings are right.

    \b
    Example:
      mcsim import boots/C_V0_64MB_j0_a.npz boots/C_V3_64MB_j0_b.npz --out my-board
    """
    from mcsim.model.board import board_or_only
    from mcsim.workload.check import check_program
    from mcsim.workload.extract import extract
    from mcsim.workload.recording import read_recording

    its_board = board_or_only(board)
    targets = places(recordings, out, symbols)
    programs: dict[Path, RecordedProgram] = {}
    for path, target in zip(recordings, targets, strict=True):
        program = extract(read_recording(path, its_board, symbols), pre_init_only)
        try:
            check_program(program, its_board)
        except UserError as error:
            raise error.at(file=path) from None
        check_place(target, program.sha256, its_board)
        programs[target] = program
    with written(out, valid="a folder"):
        out.mkdir(parents=True, exist_ok=True)
    click.echo(f"{'program':<20} {'pre-init':>8} {'lanes':>6} {'requests':>8}  source SHA-256")
    for target, program in programs.items():
        program.save(target, its_board)
        counts = f"{len(program.pre_init):>8} {len(program.lane):>6} {len(program.op):>8}"
        click.echo(f"{printable(program.name):<20} {counts}  {program.sha256[:16]}")


def places(recordings: tuple[Path, ...], out: Path, symbols: Path | None) -> list[Path]:
    """Where the program of each recording goes. UserError if that is an input, or where another one goes."""
    targets = [out / f"{path.stem}.npz" for path in recordings]
    for number, (path, target) in enumerate(zip(recordings, targets, strict=True)):
        for source in (*recordings, *([symbols] if symbols else [])):
            if is_same_file(source, target):
                raise UserError("would be overwritten, and is read", file=target, key="--out", valid="another folder")
        if target in targets[:number]:
            what = f"the programs of {recordings[targets.index(target)]} and {path} are of one name"
            raise UserError(what, file=target, valid="recordings of different names, or one after another")
    return targets


def check_place(target: Path, sha256: str, board: Board) -> None:
    """UserError if there is anything but a program of the same recording, which may be replaced."""
    from mcsim.workload.program import RecordedProgram

    if not os.path.lexists(target):
        return
    valid = "another folder with --out; only an older program of the same recording is replaced"
    try:
        replaced = is_file(target) and RecordedProgram.read(target, board).sha256 == sha256
    except UserError:
        replaced = False
    if not replaced:
        raise UserError("is there, and is no program of this recording", file=target, key="--out", valid=valid)
