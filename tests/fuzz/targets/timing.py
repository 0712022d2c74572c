"""The timing.toml of a folder of programs."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from mcsim.model.experiment import workload_timing
from mcsim.model.shipped import shipped_folder
from tests.fuzz.choices import Choices
from tests.fuzz.mutate import hostile_text, other_bytes, other_document, toml
from tests.fuzz.oracle import demand

SHARE = 30
ENGINES = ("counted", "hypothesis", "atheris")


def make(choices: Choices, corpus: Path, folder: Path) -> dict[str, Any]:
    text = (shipped_folder() / "recordings" / choices.pick(("C", "N")) / "timing.toml").read_text()
    kind = choices.below(10)
    if kind < 7:
        text = toml(other_document(choices, tomllib.loads(text)))
    elif kind < 9:
        text = hostile_text(choices, text)
    content = text.encode(errors="surrogatepass")
    (folder / "timing.toml").write_bytes(other_bytes(choices, content) if kind == 9 else content)
    return {}


def run(corpus: Path, folder: Path, case: dict[str, Any]) -> None:
    found = workload_timing(str(folder))
    load = found.host_load
    if load is not None:
        demand(
            0.0 < load.within_sigma < load.boot_sigma <= 2.0,
            f"within_sigma {load.within_sigma}, boot_sigma {load.boot_sigma}",
        )
        demand(0.0 < load.boot_median <= 10.0, f"boot_median {load.boot_median}")
    demand(0.0 <= found.timing.gap_sigma <= 2.0, f"gap_sigma {found.timing.gap_sigma}")
    demand(1e-3 <= found.timing.boot_median <= 10.0, f"boot_median {found.timing.boot_median}")
