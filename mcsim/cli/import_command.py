"""`mcsim import`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(
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
@click.option("--pre-init-only", is_flag=True, help="Keep only the phase before the kernel starts /init.")
def import_command(recordings: tuple[Path, ...], out: Path, symbols: Path | None, pre_init_only: bool) -> None:
    """Extract programs from recorded boots (ENV_VARIANT_RAMMB_jJITTER_LETTER.npz), one file each.

    A folder of programs is a workload: `[workload] file = "FOLDER"` in an experiment.

    \b
    Example:
      mcsim import boots/C_V0_64MB_j0_a.npz boots/C_V3_64MB_j0_b.npz --out my-board
    """
    from mcsim.errors import UserError
    from mcsim.trace.extract import extract
    from mcsim.trace.recording import read_recording

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot be made: {error.strerror}", file=out, key="--out", valid="a folder") from None
    click.echo(f"{'program':<20} {'pre-init':>8} {'lanes':>6} {'requests':>8}  source SHA-256")
    for path in recordings:
        program = extract(read_recording(path, symbols))
        if pre_init_only:
            program = program.pre_init_only()
        program.save(out / f"{program.name}.npz")
        counts = f"{len(program.pre_init):>8} {len(program.lane):>6} {len(program.op):>8}"
        click.echo(f"{program.name:<20} {counts}  {program.sha256[:16]}")
