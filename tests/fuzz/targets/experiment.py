"""Experiment files and --set: what is accepted has tasks, survives its own document, and boots."""

from __future__ import annotations

import contextlib
import json
import tomllib
from pathlib import Path
from typing import Any

from mcsim.model.experiment import Experiment, canonical_json, load
from mcsim.model.settings import Setting
from mcsim.model.shipped import shipped_folder
from mcsim.simulator import simulator
from tests.fuzz.choices import Choices
from tests.fuzz.mutate import TEXTS, hostile_text, other_bytes, other_document, other_text, other_value, toml
from tests.fuzz.oracle import check_outcomes, demand

SHARE = 50
ENGINES = ("counted", "hypothesis", "atheris")

BASE = """
[experiment]
name = "small"
title = "a title"
variants = ["maple-naive", "my-fix"]
ram = ["32M", "34M..36M step 1M"]
boots = 20
seed = 1
[machine]
board = "m5208evb"
min_free_kbytes = 700
[workload]
file = "program.npz"
[timing]
gap_sigma = 0.15
boot_sigma = 0.3
boot_median = 1.0
jitter = 0
tick_phase = "uniform"
[sweep]
only = [{ variant = "maple-naive", ram = "32M" }, { variant = "my-fix" }]
exclude = [{ variant = "my-fix", ram = "35M" }]
[stop]
max_failures = 10
half_width = 0.1
decided = "maple-naive"
delta = 0.05
wall_time = "1h30m"
level = 0.95
[variants.my-fix]
based_on = "maple-naive"
description = "a fix"
exact_tail = "tail"
trim_pages = 1
"""
KEYS = (
    "experiment.boots",
    "experiment.seed",
    "experiment.ram",
    "timing.gap_sigma",
    "timing.boot_median",
    "stop.level",
    "x",
    "a.b.c",
)
PROGRAM = shipped_folder() / "recordings" / "N" / "N_V0_64MB_j0_a.npz"


def prepare(corpus: Path) -> None:
    texts = [path.read_text() for path in sorted(shipped_folder().glob("*.toml"))]
    (corpus / "texts.json").write_text(json.dumps([BASE, *(text for text in texts if "file =" not in text)]))
    (corpus / "program.npz").symlink_to(PROGRAM)
    (corpus / "experiment.toml").write_text(BASE)
    with contextlib.chdir(corpus):  # compiled, too
        run(corpus, corpus, {"settings": []})


def make(choices: Choices, corpus: Path, folder: Path) -> dict[str, Any]:
    (folder / "program.npz").symlink_to(PROGRAM)
    text = BASE if choices.chance(70) else choices.pick(json.loads((corpus / "texts.json").read_text()))
    kind = choices.below(10)
    if kind < 6:
        text = toml(other_document(choices, tomllib.loads(text)))
    elif kind < 8:
        text = hostile_text(choices, text)
    content = text.encode(errors="surrogatepass")
    if kind == 8:
        content = other_bytes(choices, content)
    (folder / "experiment.toml").write_bytes(content)
    settings = []
    for _ in range(choices.pick((0, 0, 0, 1, 2))):
        value = other_value(choices, choices.pick((1, 0.5, "32M", ["32M"])))
        text = json.dumps(value, ensure_ascii=False) if choices.chance(60) else str(value)
        settings.append(
            f"{other_text(choices, choices.pick(KEYS)) if choices.chance(30) else choices.pick(KEYS)}={text}"
        )
    if choices.chance(2):
        settings.append(choices.pick(TEXTS))
    return {"settings": settings}


def run(corpus: Path, folder: Path, case: dict[str, Any]) -> None:
    experiment = load("experiment.toml", [Setting.of(text) for text in case["settings"]])
    tomllib.loads(experiment.source)
    document = json.loads(canonical_json(experiment.document()))
    again = Experiment.from_document(document, experiment.source, "again")
    workload = simulator.load_workload(experiment.workload, experiment.board)
    tasks = experiment.tasks(workload.digest)
    demand(bool(tasks), "no task")
    demand(
        [task.id for task in tasks] == [task.id for task in again.tasks(workload.digest)],
        "its document is of other tasks",
    )
    timing = simulator.kernel_timing(experiment.timing)
    demand(int(timing.boot_factor.min()) > 0, f"a boot in no time: median {experiment.timing.boot_median}")
    task = tasks[experiment.seed % len(tasks)]
    check_outcomes(simulator.simulate(task, experiment.workload, 0, 2), 0, task.ram // task.board.machine.page_size)
