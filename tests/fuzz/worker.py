"""Tries inputs of one target in a process that may die: says the number of each before it, and how it ended after it.

python -m tests.fuzz.worker MODULE CORPUS SCRATCH ENGINE SEED FIRST COUNT

Lines on the standard output, JSON: [number] before an input, [number, verdict, kind, text] after it. The input's
folder, SCRATCH/input, and what else belongs to it, SCRATCH/case.json, are there when it is tried.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import resource
import shutil
import sys
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

MEMORY = 8 << 30  # bytes of address space of a worker; most of it is reserved by libraries and never touched
ACCEPTED, REFUSED, TRACEBACK, WRONG = "accepted", "refused", "traceback", "wrong"


class FoundError(Exception):
    """Tells Hypothesis that it may look for a smaller input."""


class Worker:
    """Tries one input after another."""

    def __init__(self, module: ModuleType, corpus: Path, scratch: Path, say: Callable[[Any], None]) -> None:
        self.module, self.corpus, self.say = module, corpus, say
        self.folder, self.case = scratch / "input", scratch / "case.json"
        self.found = scratch / "found"
        self.number = 0

    def try_one(self, choices: Any) -> bool:
        """Make an input, have it read, tell how that ended; False for a finding."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        case = self.module.make(choices, self.corpus, self.folder)  # Hypothesis may give up here
        number, self.number = self.number, self.number + 1
        self.case.write_text(json.dumps(case))
        self.say([number])
        verdict, kind, text = attempt(self.module, self.corpus, self.folder, case)
        if verdict in (ACCEPTED, REFUSED):
            self.say([number, verdict, "", ""])
            return True
        # Before the next input takes its place; the supervisor takes what it wants.
        shutil.copytree(self.folder, self.found / str(number) / "input", symlinks=True, dirs_exist_ok=True)
        shutil.copy(self.case, self.found / str(number))
        self.say([number, verdict, kind, text])
        return False


def attempt(module: ModuleType, corpus: Path, folder: Path, case: dict[str, Any]) -> tuple[str, str, str]:
    """Have one input read: the verdict; of a finding, where it came from and what it says."""
    from mcsim import files
    from mcsim.errors import UserError
    from tests.fuzz.oracle import WrongAnswerError, check_message

    os.chdir(folder)
    try:
        try:
            module.run(corpus, folder, case)
            return ACCEPTED, "", ""
        except UserError as error:
            check_message(error)
            return REFUSED, "", ""
    except WrongAnswerError as error:
        return (
            WRONG,
            re.sub(r"\d+", "#", files.printable(str(error)).replace("\n", " "))[:70],
            traceback.format_exc()[-5000:],
        )
    except BaseException as error:  # Rust panics, SystemExit and KeyboardInterrupt are findings, too
        return TRACEBACK, _where(error, type(error).__name__), traceback.format_exc()[-5000:]


def _where(error: BaseException, name: str) -> str:
    """The kind of a finding: type, and the innermost lines of ours."""
    frames = [each for each in traceback.extract_tb(error.__traceback__) if "/site-packages/" not in each.filename]
    ours = [each for each in frames if "/mcsim/" in each.filename or "/kernels/" in each.filename] or frames
    return f"{name} in {Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else name


def counted(worker: Worker, seed: int, first: int, count: int) -> None:
    """Inputs that are functions of the seed, the target and their number."""
    from tests.fuzz.choices import Choices

    name = worker.module.__name__.rpartition(".")[2]
    for number in range(first, first + count):
        worker.number = number
        worker.try_one(Choices.counted(seed, name, number))


def hypothesis(worker: Worker, seed: int, first: int, count: int) -> None:
    """Inputs of Hypothesis; after a finding it looks for a smaller one."""
    from hypothesis import HealthCheck, Phase, given, settings, strategies
    from hypothesis import seed as seeded
    from hypothesis.errors import Flaky

    from tests.fuzz.choices import Choices

    worker.number = first

    @seeded(seed * 1_000_003 + first)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
        report_multiple_bugs=False,
    )
    @given(strategies.data())
    def look(data: Any) -> None:
        if not worker.try_one(Choices.drawn(data)):
            raise FoundError

    with suppress(FoundError, Flaky):  # told already; the supervisor starts the next worker with the rest
        look()


def atheris(worker: Worker, seed: int, first: int, count: int) -> None:
    """Inputs of libFuzzer, which follows the coverage of mcsim's Python. It ends the process."""
    import atheris as engine

    from tests.fuzz.choices import Choices

    worker.number = first
    options = [
        f"-runs={count}",
        f"-seed={seed * 1_000_003 + first + 1}",
        "-rss_limit_mb=0",
        "-timeout=100000",
        "-len_control=0",
        "-max_len=512",
    ]

    def look(content: bytes) -> None:
        worker.try_one(Choices.covering(content))

    engine.Setup([sys.argv[0], *options], look)
    engine.Fuzz()


ENGINES = {"counted": counted, "hypothesis": hypothesis, "atheris": atheris}


def load(name: str, engine: str) -> ModuleType:
    """The module of a target, with mcsim's readers watched where atheris is to follow them."""
    if engine != "atheris":
        return importlib.import_module(name)
    import atheris as coverage

    # Not to be watched: Numba compiles the first, and the others do not survive being imported by an input.
    for needed in (
        "mcsim.kernels.boot.batch",
        "scipy.stats",
        "scipy.optimize",
        "polars",
        "pydantic",
        "matplotlib.pyplot",
        "joblib",
    ):
        importlib.import_module(needed)
    with coverage.instrument_imports(include=["mcsim"]):
        return importlib.import_module(name)


def main(name: str, corpus: str, scratch: str, engine: str, seed: int, first: int, count: int) -> None:
    # What readers print is not what the supervisor reads.
    told = os.fdopen(os.dup(1), "w", buffering=1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)

    def say(values: Any) -> None:
        told.write(json.dumps(values) + "\n")

    os.environ["MPLBACKEND"] = "agg"
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.filterwarnings("error", category=RuntimeWarning)
    module = load(name, engine)
    if count == 0:
        getattr(module, "prepare", lambda corpus: None)(Path(corpus))
        return
    worker = Worker(module, Path(corpus), Path(scratch), say)
    ENGINES[engine](worker, seed, first, count)


if __name__ == "__main__":
    main(*sys.argv[1:5], *map(int, sys.argv[5:]))  # type: ignore[arg-type,misc]
