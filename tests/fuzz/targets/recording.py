"""Recordings and their symbol tables: imported programs boot, and a replay ends."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from mcsim.fidelity.replay import replay
from mcsim.workload.extract import extract
from mcsim.workload.recording import read_recording
from tests.fuzz.choices import Choices
from tests.fuzz.mutate import archive, hostile_text, other_array, other_bytes
from tests.fuzz.oracle import demand
from tests.fuzz.targets.workload import boots_alike
from tests.machines import BOARD

SHARE = 1
ENGINES = ("counted",)  # an input takes too long for the others

DATA = Path(__file__).parents[2] / "data" / "recordings"
NAME = "N_V0_64MB_j0_a"


def prepare(corpus: Path) -> None:
    shutil.copy(DATA / f"{NAME}.npz", corpus)
    shutil.copy(DATA / "symbols_N.csv", corpus)
    for again in (True, False):  # compiled, too
        run(corpus, corpus, {"variant": 0, "ram": 0, "replay": again})


def make(choices: Choices, corpus: Path, folder: Path) -> dict[str, Any]:
    symbols = (corpus / "symbols_N.csv").read_bytes()
    source = corpus / f"{NAME}.npz"
    kind = choices.below(10)
    if kind == 0:
        symbols = other_bytes(choices, symbols)
    if kind == 1:
        symbols = hostile_text(choices, symbols.decode()).encode(errors="surrogatepass")
    if kind == 2:
        content = other_bytes(choices, source.read_bytes())
    else:
        with np.load(source) as loaded:
            arrays = {each: loaded[each] for each in loaded.files}
        for _ in range(choices.times()):
            each = choices.pick(list(arrays))
            arrays[each] = other_array(choices, arrays[each])
        if kind == 3:  # a row goes, comes twice, or changes its place
            order = np.arange(max(map(len, arrays.values())) if all(each.ndim for each in arrays.values()) else 1)
            place, other = choices.below(len(order)), choices.below(len(order))
            order[[place, other]] = order[[other, place]] if choices.chance(50) else place
            arrays = {
                each: values if each == "header" or values.ndim != 1 or len(values) != len(order) else values[order]
                for each, values in arrays.items()
            }
        content = archive(choices, arrays)
    (folder / f"{NAME}.npz").write_bytes(content)
    (folder / "symbols_N.csv").write_bytes(symbols)
    return {"variant": choices.below(7), "ram": choices.below(5), "replay": choices.chance(40)}


def run(corpus: Path, folder: Path, case: dict[str, Any]) -> None:
    path = folder / f"{NAME}.npz"
    before = path.read_bytes()
    if case["replay"]:
        found = replay(path, BOARD)
        demand(0 <= found.mismatches <= found.events, f"{found.mismatches} of {found.events} events differ")
        return
    program = extract(read_recording(path, BOARD))
    program.save(folder / "program.npz", BOARD)
    demand(path.read_bytes() == before, "the recording has been changed")
    boots_alike(str(folder / "program.npz"), case)
