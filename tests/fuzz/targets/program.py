"""Programs of recorded boots (.npz): what is accepted boots, twice the same, with every index checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from mcsim.kernels.boot.program import GAP, B
from mcsim.model.shipped import shipped_folder
from tests.fuzz.choices import Choices
from tests.fuzz.mutate import archive, hostile_text, other_array, other_bytes, other_document
from tests.fuzz.targets.workload import boots_alike
from tests.machines import BOARD

SHARE = 20
ENGINES = ("counted", "hypothesis", "atheris")

SOURCES = ("N/N_V0_64MB_j0_b.npz", "C/C_V1_64MB_j2_c.npz", "N/pre-init/first/N_V0_64MB_j0_a.npz")


def prepare(corpus: Path) -> None:
    """One of the sources is a program by hand: it is small, so that more of it is hit. And kernels are compiled."""
    from mcsim.workload.handmade import read_workload

    read_workload(shipped_folder() / "workloads" / "mmap-storm.toml", BOARD).save(corpus / "small.npz", BOARD)
    boots_alike(str(corpus / "small.npz"), {"variant": 0, "ram": 0})


def make(choices: Choices, corpus: Path, folder: Path) -> dict[str, Any]:
    name = choices.pick((*SOURCES, None, None))
    source = corpus / "small.npz" if name is None else shipped_folder() / "recordings" / name
    kind = choices.below(20)
    if kind == 0:
        content = other_bytes(choices, source.read_bytes())
    else:
        with np.load(source) as loaded:
            arrays = {each: loaded[each] for each in loaded.files}
        facts = json.loads(arrays.pop("facts").tobytes())
        if kind < 7:
            facts = other_document(choices, facts)
        text = json.dumps(facts)
        if kind == 1:
            text = hostile_text(choices, text)
        if kind > 14 and arrays["op"].size:  # gently: what is accepted boots in another way
            for _ in range(choices.times() * 4):
                column, row = choices.pick((GAP, GAP, B)), choices.below(arrays["op"].shape[1])
                value = int(arrays["op"][column, row])
                arrays["op"][column, row] = choices.below(2 * abs(value) + 2)
        elif kind > 5:
            for _ in range(choices.times()):
                each = choices.pick(
                    ("op", "op", "op", "lane", "lane", "pre_init", "image", "record", "stack_free", "task_free")
                )
                arrays[each] = other_array(choices, arrays[each])
        arrays["facts"] = np.frombuffer(text.encode(errors="surrogatepass"), np.uint8)
        content = archive(choices, arrays)
    (folder / "program.npz").write_bytes(content)
    return {"variant": choices.below(7), "ram": choices.below(5)}


def run(corpus: Path, folder: Path, case: dict[str, Any]) -> None:
    boots_alike(str(folder / "program.npz"), case)
