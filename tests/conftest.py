"""What many tests share: where data lies, one small experiment, and how a session of pytest goes."""

import importlib
import os
import pkgutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from subprocess import Popen
from typing import Any

import numba
import pytest
import stand_in
from numba.core.dispatcher import Dispatcher

import mcsim.kernels
from mcsim.model import experiment

TESTS = Path(__file__).parent
ROOT = TESTS.parent
DATA = TESTS / "data"
RECORDINGS = DATA / "recordings"
# The full sets of recordings and vectors, of which DATA has a part: beside the checkout, or where MCSIM_TRUTH says.
TRUTH = Path(os.environ.get("MCSIM_TRUTH") or ROOT.parent / "shared")

# The command line on a stand-in for the kernels that is as slow as they are.
SLOW_MCSIM = (sys.executable, str(TESTS / "slow_stand_in.py"))
# Seconds after which a process hangs, however busy the machine is: as long as anything is waited for.
HANGS = 300.0

TWO = ("maple-naive", "tail-free")
THREE = (*TWO, "mail-both")


def small_text(variants: tuple[str, ...] = TWO, ram: str = "31M 32M", boots: int = 100) -> str:
    """The small experiment as a file, with these cells and boots."""
    names, sizes = ('", "'.join(words) for words in (variants, ram.split()))
    return f"""
[experiment]
name = "small"
variants = ["{names}"]
ram = ["{sizes}"]
boots = {boots}
seed = 3
[workload]
recordings = "C"
"""


SMALL = small_text()


def small(text: str = SMALL) -> experiment.Experiment:
    """The small experiment, or what this text makes of it."""
    return experiment.parse(text, "small.toml")


def wait_until(reached: Callable[[], object], process: "Popen[Any]") -> None:
    """Wait for what a process does."""
    deadline = time.monotonic() + HANGS
    while not reached():
        assert process.poll() is None, "it has ended"
        assert time.monotonic() < deadline, "it hangs"
        time.sleep(0.02)


@pytest.fixture
def stand_in_kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Boots of the stand-in for the kernels, in a folder of the test's own."""
    stand_in.use_stand_in(monkeypatch, tmp_path)


# -- how a session goes --------------------------------------------------------------------------------------------


def files(names: str) -> tuple[str, ...]:
    return tuple(f"test_{name}" for name in names.split())


# Each worker takes the next file when it has done one. First those that take longest, so that no worker has a long one
# at the end; beside one that compiles many kernels, one that compiles none or others.
FIRST = files(
    "boot recording_door rare faults_store check shard bench report blame faults nommu_compiled dask conform "
    "cli explain workers handmade stop sched validate program_door"
)

# Files whose tests run no kernel, nor does a process that they start: make test-bounds leaves them out, as there is no
# index to check. Kernels refuse to be called where they run.
WITHOUT_KERNELS = files(
    "browser cli compare counts dask diagnose docs faults_store files html merge min_ram model plan progress report "
    "run selftest sensitivity sequences shard stats stop structure toml_door verify wheel words workers"
)

# Why a test may be skipped; reasons that only begin so are meant, too. Any other fails the session.
SKIPS = {
    "the full set of recordings is not here": "never in a clone: MCSIM_TRUTH names a folder that has them",
    "the full set of kernel vectors is not here": "never in a clone: MCSIM_TRUTH names a folder that has them",
    "indices are checked under make test-bounds only": "not in make test and make test-plain",
    "as boots are compiled": "not in make test-bounds and make test-plain",
    "nothing is compiled": "not in make test-plain",
    "takes an hour without the compiler": "not in make test-plain",
    "Sphinx comes with `make docs`": "after make docs",
    "compiles for minutes: make test-fallback": "in make test-fallback",
    "needs chromium": "where apt-get install chromium chromium-driver was run",
    "no C twins: no C compiler is found": "where there is gcc or clang",
    "needs openssl, to make a certificate": "where there is openssl",
    "needs atheris": "where there is a wheel of it: Linux on x86_64, Python before 3.14",
    "needs mcsim[dask]": "where it is installed: requirements.lock has it",
    "only root can give": "as root",
    "needs POSIX signals": "not on Windows",
    "needs a pseudo-terminal": "not on Windows",
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files in order; mark those without kernels, so that -m can leave them out."""
    places = {name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(FIRST)))
    for item in items:
        if item.path.stem in WITHOUT_KERNELS:
            item.add_marker(pytest.mark.without_kernels)


@pytest.fixture(scope="module", autouse=True)
def _kernels_refuse(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.path.stem not in WITHOUT_KERNELS or numba.config.DISABLE_JIT:
        yield
        return
    with refusing() as called:
        yield
    assert called == []


@contextmanager
def refusing() -> Iterator[list[str]]:
    """No kernel can be called; the names of those that were, as an error may go unheard."""
    called: list[str] = []

    def refuse(kernel: Dispatcher, *_: object, **__: object) -> None:
        called.append(kernel.__name__)
        raise AssertionError(f"{kernel.__name__} runs in a file of WITHOUT_KERNELS")

    kinds = {kernel: type(kernel) for kernel in kernels()}
    for kernel, kind in kinds.items():
        kernel.__class__ = type("Refusing", (kind,), {"__call__": refuse})
    try:
        yield called
    finally:
        for kernel, kind in kinds.items():
            kernel.__class__ = kind


@cache
def kernels() -> set[Dispatcher]:
    """All kernels that there are."""
    names = [each.name for each in pkgutil.walk_packages(mcsim.kernels.__path__, "mcsim.kernels.")]
    there = [each for name in names for each in vars(importlib.import_module(name)).values()]
    return {each for each in there if isinstance(each, Dispatcher)}


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail if a test was skipped that should not be. With workers, their parent hears of all of them."""
    unknown = [reason for reason in skipped(session.config) if not is_known(reason)]
    if unknown and not hasattr(session.config, "workerinput"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        print(f"\nskipped for a reason that tests/conftest.py does not list: {'; '.join(unknown)}", file=sys.stderr)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say what was skipped, and where it runs."""
    for reason, count in skipped(config).items():
        where = next((where for known, where in SKIPS.items() if reason.startswith(known)), "NOT LISTED")
        terminalreporter.write_line(f"skipped: {count} ({reason}); run {where}")


def skipped(config: pytest.Config) -> Counter[str]:
    """How often for which reason."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    reports = reporter.stats.get("skipped", []) if reporter else []
    return Counter(each.longrepr[2].removeprefix("Skipped: ") for each in reports)


def is_known(reason: str) -> bool:
    """Whether the list has it."""
    return reason.startswith(tuple(SKIPS))
