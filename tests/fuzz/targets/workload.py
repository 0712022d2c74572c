"""Workloads written by hand: what is accepted boots, twice the same."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from mcsim.model.experiment import load
from mcsim.model.shipped import shipped_folder
from mcsim.simulator import simulator
from tests.fuzz.choices import Choices
from tests.fuzz.mutate import gentle_document, hostile_text, other_bytes, other_document, toml
from tests.fuzz.oracle import check_outcomes, demand
from tests.machines import BOARD

SHARE = 24
ENGINES = ("counted", "hypothesis", "atheris")

SMALL = """
[images.tool]
text = "120K"
data = "4K"
bss = "20K"
relocations = 300
ram = false
[pre_init]
pages = [{ order = 0, count = 60 }, { order = 1, count = 4 }]
[[process]]
name = "init"
steps = [{ do = "exec", image = "tool" }, { do = "alloc", order = 1, name = "a" }, { do = "spawn", process = "child" },
  { do = "run", us = 300 }, { do = "free", name = "a" }, { do = "wait", process = "child" }, { do = "login" }]
[[process]]
name = "child"
steps = [{ do = "run", us = 100 }, { do = "exec", image = "tool" }, { do = "mmap", length = "64K", name = "m" },
  { do = "munmap", name = "m", first = 2, pages = 2 }, { do = "mmap", file = "libc", length = "64K", name = "t" },
  { do = "sleep", ticks = 3 }, { do = "munmap", name = "t" }, { do = "exit" }]
"""


def prepare(corpus: Path) -> None:
    """Nothing is needed but compiled kernels, so that no input waits for them."""
    (corpus / "small.toml").write_text(SMALL)
    boots_alike(str(corpus / "small.toml"), {"variant": 0, "ram": 0})


def make(choices: Choices, corpus: Path, folder: Path) -> dict[str, Any]:
    text = SMALL if choices.chance(80) else (shipped_folder() / "workloads" / "mmap-storm.toml").read_text()
    kind = choices.below(10)
    if kind < 8:
        bend = gentle_document if kind < 4 else other_document
        text = toml(bend(choices, tomllib.loads(text)))
    elif kind == 8:
        text = hostile_text(choices, text)
    content = text.encode(errors="surrogatepass")
    (folder / "workload.toml").write_bytes(other_bytes(choices, content) if kind == 9 else content)
    return {"variant": choices.below(7), "ram": choices.below(5)}


def run(corpus: Path, folder: Path, case: dict[str, Any]) -> None:
    boots_alike(str(folder / "workload.toml"), case)


def boots_alike(source: str, case: dict[str, Any]) -> None:
    """Load a workload and boot it, twice."""
    from mcsim import workload

    loaded = workload.load(source, BOARD)
    for array in loaded.arrays:
        demand(str(array.dtype) == "int32" and array.flags.c_contiguous, f"an array of {array.dtype}")
    tasks = load("mail-2022").tasks(loaded.digest)
    task = [each for each in tasks if each.variant == tasks[case["variant"]].variant][3 * case["ram"] % 16]
    simulator.load_workload.cache_clear()
    once = simulator.simulate(task, source, 0, 3)
    check_outcomes(once, 0, task.ram // task.board.machine.page_size)
    demand(once.tobytes() == simulator.simulate(task, source, 0, 3).tobytes(), "the same boots end in two ways")
    for outcome in once:
        loaded.process_name(int(outcome["recording"]), int(outcome["process"]))
