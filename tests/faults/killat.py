"""A command of mcsim that is killed at a file event: python -m tests.faults.killat N FOLDER ARGUMENTS...

SIGKILL before the N-th event (a file opened for writing, renamed or removed, a folder made) below FOLDER, or beside it.
With N = 0 it lives, and the last line of its standard error is their number.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

EVENTS = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def main(number: int, folder: str, arguments: list[str]) -> int:
    """Run the command to its end or to the event."""
    seen = 0

    def hook(event: str, values: tuple[Any, ...]) -> None:
        nonlocal seen
        if event not in EVENTS or isinstance(values[0], int):
            return
        try:
            path = os.path.abspath(os.fsdecode(values[0]))  # noqa: PTH100 - pathlib opens files itself
        except (TypeError, ValueError):
            return
        # What is renamed to FOLDER when it is whole lies beside it, and bears its name, too.
        if os.path.basename(folder) not in path:  # noqa: PTH119
            return
        if event == "open" and not (isinstance(values[2], int) and values[2] & WRITING):
            return
        seen += 1
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    from mcsim.cli import run_cli

    code = run_cli(arguments)
    print(seen, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), os.path.abspath(sys.argv[2]), sys.argv[3:]))  # noqa: PTH100
