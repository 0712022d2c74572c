"""The C twins: compiled when they are wanted, and called through ctypes."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mcsim.fidelity.speed.boots import board

FLAGS = ("-std=c11", "-O3", "-march=native", "-shared", "-fPIC")
CHECKOUT = Path(__file__).resolve().parents[3]
SOURCES = CHECKOUT / "benchmarks"
COMPILERS = ("gcc", "cc", "clang")

MAKERS = ("twin_zone", "twin_maple", "twin_replay_machine")  # give a pointer to what their destroyers take back
CHECKSUMS = (
    "twin_buddy_single",
    "twin_buddy_mixed",
    "twin_buddy_exact",
    "twin_buddy_exact_by_page",
    "twin_maple_store",
    "twin_maple_load",
    "twin_maple_checksum",
)
SEVERAL = ("twin_zone_destroy", "twin_maple_destroy", "twin_replay_destroy", "twin_replay_reset", "twin_replay_events")


class NoTwinsError(Exception):
    """There are no C twins here; the message says why."""


class Twins:
    """The compiled twins. A method call passes ints as int64, arrays as pointers to their first element."""

    def __init__(self, sources: Path = SOURCES) -> None:
        """Compile them. Raises NoTwinsError where there is no compiler, no source, or where compiling fails."""
        files = sorted(sources.glob("*.c"))
        if not files:
            raise NoTwinsError(
                f"their sources are not in {sources}: they come with a checkout, not with an installed mcsim"
            )
        self.compiler = compiler()
        with tempfile.TemporaryDirectory(prefix="mcsim-bench-") as folder:
            library = Path(folder) / "twins.so"
            orders = f"-DMAX_ORDER={board().machine.max_order}"
            command = [self.compiler, *FLAGS, orders, "-o", str(library), *map(str, files)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise NoTwinsError(f"{' '.join(command)} fails:\n{done.stderr.strip()}")
            self._library = ctypes.CDLL(str(library))
        for name in MAKERS:
            getattr(self._library, name).restype = ctypes.c_void_p
        for name in CHECKSUMS:
            getattr(self._library, name).restype = ctypes.c_int64
        for name in SEVERAL:
            getattr(self._library, name).restype = None

    @property
    def version(self) -> str:
        """What the compiler calls itself, and the flags."""
        said = subprocess.run([self.compiler, "--version"], capture_output=True, text=True, check=False).stdout
        return " ".join([*said.splitlines()[:1], *FLAGS])

    def call(self, name: str, *arguments: Any) -> Any:
        """Call the function twin_NAME."""
        return getattr(self._library, f"twin_{name}")(*passed(arguments))

    def make(self, name: str, *arguments: Any) -> ctypes.c_void_p:
        """What the function twin_NAME makes; MemoryError if it cannot."""
        pointer = self.call(name, *arguments)
        if not pointer:
            raise MemoryError(f"twin_{name}")
        return ctypes.c_void_p(pointer)


def passed(arguments: Sequence[Any]) -> list[Any]:
    """Arguments as C takes them: int64, and pointers."""
    import numpy as np

    converted: list[Any] = []
    for each in arguments:
        if isinstance(each, np.ndarray):
            assert each.flags.c_contiguous, "C reads arrays row by row"
            converted.append(ctypes.c_void_p(each.ctypes.data))
        elif isinstance(each, int):
            converted.append(ctypes.c_int64(each))
        else:
            converted.append(each)
    return converted


def compiler() -> str:
    """The path of $CC, or of the first compiler there is. Raises NoTwinsError where there is none."""
    wanted = os.environ.get("CC")
    for name in (wanted,) if wanted else COMPILERS:
        path = shutil.which(name)
        if path:
            return path
    raise NoTwinsError(f"no C compiler is found ({wanted or ', '.join(COMPILERS)}); CC=... names one")
