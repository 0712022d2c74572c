"""Vectors of the real kernel code, of both kinds: plain, gzip and xz."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mcsim.fidelity.allocators import check_file, look_into
from mcsim.files import read_lines
from tests.fuzz.choices import Choices
from tests.fuzz.mutate import hostile_text, other_bytes, other_document, packed
from tests.fuzz.oracle import demand

SHARE = 20
ENGINES = ("counted", "hypothesis")

DATA = Path(__file__).parents[2] / "data"
LONGEST = 2500  # bytes of a vector that is taken


def prepare(corpus: Path) -> None:
    for kind in ("buddy", "maple"):
        lines = [line.decode() for _, line in read_lines(DATA / f"{kind}_subset.jsonl.gz") if len(line) < LONGEST]
        (corpus / f"{kind}.json").write_text(json.dumps(lines[:20]))
        (corpus / kind).write_text(lines[0])
        check_file(corpus / kind)  # compiled, too


def make(choices: Choices, corpus: Path, folder: Path) -> dict[str, Any]:
    known = json.loads((corpus / choices.pick(("buddy.json", "maple.json"))).read_text())
    lines = [choices.pick(known) for _ in range(choices.pick((1, 1, 2)))]
    place, kind = choices.below(len(lines)), choices.below(10)
    if kind < 7:
        vector = json.loads(lines[place])
        given = {name: value for name, value in vector.items() if name not in ("res", "init")}
        if choices.chance(80):
            changed = other_document(choices, given)
            vector = {**vector, **changed} if isinstance(changed, dict) else changed
        else:
            vector = other_document(choices, vector)
        lines[place] = json.dumps(vector, ensure_ascii=False)
    elif kind == 7:
        lines[place] = hostile_text(choices, lines[place])
    content = "\n".join(lines).encode(errors="surrogatepass")
    if kind == 8:
        content = other_bytes(choices, content)
    content = packed(choices, content)
    (folder / "vectors").write_bytes(other_bytes(choices, content) if kind == 9 else content)
    return {}


def run(corpus: Path, folder: Path, case: dict[str, Any]) -> None:
    seen = look_into(folder / "vectors")
    found = check_file(folder / "vectors")
    demand(found.sequences == seen.sequences > 0, f"{found.sequences} of {seen.sequences} sequences")
    demand(len(found.mismatches) <= 2 * found.sequences + found.operations, f"{len(found.mismatches)} differences")
