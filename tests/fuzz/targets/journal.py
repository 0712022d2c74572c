"""The journal of `mcsim rare`: an estimate out of an edited one is a probability, and the true one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import mcsim
from tests.fuzz.choices import Choices
from tests.fuzz.mutate import hostile_text, other_bytes, other_document
from tests.fuzz.oracle import demand
from tests.fuzz.targets import result

SHARE = 6
ENGINES = ("counted", "hypothesis")

ARGUMENTS = {"variant": "tail-free", "ram": "36M", "repetitions": 5, "boots": 20, "workers": 1}


def prepare(corpus: Path) -> None:
    result.write_experiment(corpus)
    found = mcsim.rare(corpus / "small.toml", out=corpus / "rare", **ARGUMENTS)  # type: ignore[arg-type]
    (corpus / "truth.json").write_text(json.dumps(found.estimate.p))


def make(choices: Choices, corpus: Path, folder: Path) -> dict[str, Any]:
    shutil.copytree(corpus / "rare", folder / "rare")
    if choices.chance(5):
        return {}  # untouched: accepted
    (path,) = (folder / "rare").glob("*.jsonl")
    lines = path.read_text().splitlines()
    kind = choices.below(10)
    if kind < 7:
        place = choices.below(len(lines))
        lines[place] = json.dumps(other_document(choices, json.loads(lines[place])))
    elif kind == 7:
        path.write_text(hostile_text(choices, "\n".join(lines)))
        return {}
    content = ("\n".join(lines) + "\n").encode()
    path.write_bytes(other_bytes(choices, content) if kind > 7 else content)
    return {}


def run(corpus: Path, folder: Path, case: dict[str, Any]) -> None:
    found = mcsim.rare(corpus / "small.toml", out=folder / "rare", **ARGUMENTS)  # type: ignore[arg-type]
    p, low, high, _ = found.estimate
    demand(0.0 <= low <= high <= 1.0 and 0.0 <= p <= 1.0, f"P(OOM) {p}, {low} .. {high}")
    demand(p == json.loads((corpus / "truth.json").read_text()), f"P(OOM) {p} out of an edited journal")
