"""How long a user waits: the command line itself, first numbers with and without compiled kernels.

Seconds by the clock on the wall, of processes of their own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from mcsim.errors import UserError
from mcsim.fidelity.speed.figure import SECONDS, Figure, Settings

COMMAND = (sys.executable, "-m", "mcsim")
VARIANT, RAM = "maple-naive", "32M"
RUN = ("run", "mail-2022", "--variant", VARIANT, "--ram", RAM, "--boots", "16")
VERSION_ROUNDS = 9
WARM_ROUNDS = 3


def command_line(name: str, settings: Settings) -> Figure:
    """`mcsim --version`, start of Python included."""
    rounds = 2 if settings.quick else VERSION_ROUNDS
    return Figure(name, SECONDS, tuple(seconds_of("--version") for _ in range(rounds)))


def seconds_of(*arguments: str) -> float:
    """Of a whole command."""
    start = time.monotonic()
    output_of([*COMMAND, *arguments])
    return time.monotonic() - start


def output_of(command: Sequence[str]) -> str:
    """What a command prints. Raises UserError if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"`{' '.join(command)}` fails:\n{done.stderr.strip()}")
    return done.stdout


def warm(name: str, settings: Settings) -> Figure:
    """To the first figure that `mcsim run` prints, with the kernels in the cache."""
    with tempfile.TemporaryDirectory(prefix="mcsim-bench-") as folder:
        first_figure(Path(folder) / "before", None)
        rounds = 1 if settings.quick else WARM_ROUNDS
        return Figure(name, SECONDS, tuple(first_figure(Path(folder) / str(n), None) for n in range(rounds)))


def cold(name: str, settings: Settings) -> Figure:
    """The same with an empty cache: once, as it takes long."""
    with tempfile.TemporaryDirectory(prefix="mcsim-bench-") as folder:
        return Figure(name, SECONDS, (first_figure(Path(folder) / "run", Path(folder) / "cache"),))


def first_figure(out: Path, cache: Path | None) -> float:
    """Seconds until `mcsim run` prints the line of its cell; `cache` is where compiled kernels are kept, if given.

    Raises UserError if it prints none.
    """
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if cache is not None:
        environment["XDG_CACHE_HOME"] = str(cache)
        environment.pop("NUMBA_CACHE_DIR", None)
    command = [*COMMAND, *RUN, "--cells", "--out", str(out)]
    start = time.monotonic()
    said, seconds = "", None
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        for said in process.stdout:
            if seconds is None and said.startswith(VARIANT):
                seconds = time.monotonic() - start
    if seconds is None:
        raise UserError(f"`{' '.join(command)}` prints no figure; the last that it says: {said.strip()}")
    return seconds
