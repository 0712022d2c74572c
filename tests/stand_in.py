"""A stand-in for the kernels, so that tests of the engine, the store and the report take seconds.

Each boot fails by a coin whose bias depends on the cell alone and whose toss depends on (seed, boot) alone:
as in the real thing, a boot is a function of its task and number, and every variant meets the same boot.
"""

import hashlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from mcsim.run import compiling
from mcsim.simulator import simulator
from mcsim.studies.explain import blame

if TYPE_CHECKING:
    import pytest
    from numpy.typing import NDArray

OUTCOME = np.dtype(
    [
        ("boot", "i8"),
        ("recording", "i2"),
        ("pre_init", "i2"),
        ("failed", "i1"),
        ("failure_class", "i1"),
        ("order", "i1"),
        ("process", "i4"),
        ("time_us", "i8"),
        ("free_pages", "i4"),
        ("largest_free_order", "i1"),
        ("boot_factor", "i4"),
    ]
)

WORKLOAD = SimpleNamespace(digest="ab" * 32, arrays=None, process_name=lambda recording, pid: "run-parts")


def load_workload(source: str, board: Any) -> Any:
    return WORKLOAD


def use_stand_in(monkeypatch: "pytest.MonkeyPatch", folder: Path) -> None:
    """Run everything on the stand-in, in `folder`."""
    monkeypatch.setattr(simulator, "simulate", simulate)
    monkeypatch.setattr(simulator, "load_workload", load_workload)
    monkeypatch.setattr(blame, "of_boots", of_boots)
    monkeypatch.setattr(compiling, "compiled_marker", lambda what: None)
    monkeypatch.chdir(folder)


def of_boots(task: Any, source: str, boot_numbers: Any, *, level: float) -> Any:
    """Two owners: page cache, in every boot alike, and kernel stacks."""
    import polars as pl

    common = {"variant": task.variant, "order": 7, "failures": len(boot_numbers), "blocks": 32}
    cache = {"owner": "page cache", "alone": 2.0, "alone_low": None, "alone_high": None}
    stacks = {"owner": "kernel stacks", "alone": 0.25, "alone_low": 0.125, "alone_high": 0.375}
    return pl.DataFrame([{**common, **each} for each in (cache, stacks)])


def disguise(result: Any, name: str, evil: str) -> Any:
    """Put hostile text in the place of a variant's name, and into title, descriptions and file.

    No folder with such names is read, so it is done behind the door: the page holds all the same.
    """
    variants = tuple(
        replace(each, name=evil if each.name == name else each.name, description=f"Words {evil}")
        for each in result.experiment.variants
    )
    source = f"# File {evil}\n{result.experiment.source}"
    result.experiment = replace(result.experiment, title=f"Title {evil}", source=source, variants=variants)
    result.tasks = [replace(task, variant=evil if task.variant == name else task.variant) for task in result.tasks]
    return result


def chance(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48


def fail(outcomes: Any, failed: "NDArray[np.bool_]") -> None:
    """Let these boots fail, and no others: for want of a block of order 7."""
    outcomes["failed"], outcomes["failure_class"], outcomes["order"] = failed, failed, 7 * failed


def simulate(task: Any, source: str, first: int, count: int) -> Any:
    outcomes = np.zeros(count, dtype=OUTCOME)
    tail = task.policies.exact_tail
    bias = chance(f"{task.ram} {tail}") * (2.0 if tail == "head" else 0.5)
    for number in range(count):
        boot = first + number
        failed = chance(f"{task.seed} {boot}") < bias
        outcome = outcomes[number]
        outcome["boot"], outcome["recording"], outcome["pre_init"] = boot, boot % 12, boot % 7
        outcome["failed"] = outcome["failure_class"] = failed
        outcome["order"], outcome["process"], outcome["time_us"] = 7 * failed, 40 + boot % 50, 1000 * boot
        outcome["free_pages"], outcome["largest_free_order"] = 600, 6 if failed else 8
        outcome["boot_factor"] = (1 << 20) * (1 + boot % 3)
    return outcomes
