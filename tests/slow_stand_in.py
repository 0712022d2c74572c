"""The stand-in for the kernels at the speed of a boot, and a command line that runs on it, to be interrupted.

python slow_stand_in.py run small.toml --workers 2

With KILLED_AT_CHUNK=N in the environment, all its processes are killed when one of them begins its N-th chunk, though
not before any chunk is stored.
"""

import itertools
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import stand_in

SECONDS = 0.002  # per boot

chunks = itertools.count(1)


def stored() -> int:
    return len(list(Path().glob("*/chunks/*/*.parquet")))


STORED_BEFORE = stored()


def simulate(task: Any, source: str, first: int, count: int) -> Any:
    if next(chunks) == int(os.environ.get("KILLED_AT_CHUNK", "0")):
        while stored() == STORED_BEFORE:
            time.sleep(0.01)
        os.killpg(0, signal.SIGKILL)
    time.sleep(SECONDS * count)
    return stand_in.simulate(task, source, first, count)


if __name__ == "__main__":
    import slow_stand_in  # under its name, so that worker processes find the function

    from mcsim.cli import main
    from mcsim.run import compiling, engine
    from mcsim.simulator import simulator
    from mcsim.studies.explain import blame

    simulator.simulate, simulator.load_workload = slow_stand_in.simulate, stand_in.load_workload
    blame.of_boots = stand_in.of_boots
    compiling.compiled_marker = lambda what: None
    engine.CHUNK_SECONDS, engine.MAX_CHUNK = 0.1, 32
    main(sys.argv[1:])
