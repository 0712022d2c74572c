"""A word to the user while kernels are compiled for the first time."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mcsim.files import is_file
from mcsim.run.progress import Progress


@contextmanager
def compiling(what: str, progress: Progress) -> Iterator[None]:
    """Around the first call of the kernels called `what`: they are compiled, or loaded from the cache."""
    marker = compiled_marker(what)
    if marker is None or is_file(marker):
        yield
        return
    progress.say("compiling kernels, once per version and machine; this takes a while ...")
    started = time.monotonic()
    yield
    progress.say(f"compiled in {time.monotonic() - started:.0f} s")
    with suppress(OSError):
        marker.touch()


def compiled_marker(what: str) -> Path | None:
    """A file beside the compiled kernels that is there once they all are; None where nothing is compiled."""
    import numba

    from mcsim.kernels.jit.cache import cache_directory

    config: Any = numba.config  # its attributes are set at run time
    if config.DISABLE_JIT:
        return None
    # Where nothing is kept, a file that is never there.
    return (cache_directory() or Path(os.devnull)) / f"complete-{what}"
