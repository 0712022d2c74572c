"""Kernel logs (mcsim diagnose): public reports as mailers, consoles and fuzzers leave them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from mcsim.logs.diagnosis import Given, diagnose_all
from mcsim.logs.document import SCHEMA, document, of_file
from mcsim.logs.reader import read_file
from mcsim.logs.trend import trend
from mcsim.report.diagnosis import Told, page
from tests.fuzz.choices import Choices
from tests.fuzz.mutate import TEXTS, WHOLE, hostile_text, other_bytes, packed
from tests.fuzz.oracle import demand

SHARE = 40
ENGINES = ("counted", "hypothesis", "atheris")

LOGS = sorted((Path(__file__).resolve().parents[2] / "data" / "logs").glob("*.txt"))
GIVEN = (
    Given(),
    Given("3.19"),
    Given("6.12"),
    Given(page_size=65536),
    Given(max_order=4),
    Given(fit=218 << 10),
    Given(fit=1),
)


def make(choices: Choices, corpus: Path, folder: Path) -> dict[str, Any]:
    lines = choices.pick(LOGS).read_text(encoding="utf-8").splitlines()
    for _ in range(2 * choices.times()):
        _bend(choices, lines)
    text = "\n".join(lines) + "\n"
    kind = choices.below(10)
    if kind == 0:
        text = hostile_text(choices, text[:20_000])
    content = text.encode(choices.pick(("utf-8", "utf-8", "utf-8", "utf-16")), errors="surrogatepass")
    if kind in (1, 2, 3):
        content = other_bytes(choices, content)
    (folder / "log").write_bytes(packed(choices, content) if kind == 4 else content)
    return {"given": choices.below(len(GIVEN))}


def _bend(choices: Choices, lines: list[str]) -> None:
    """Change one line, or the order of some."""
    place, other = choices.below(len(lines)), choices.below(len(lines))
    line = lines[place]
    numbers = [found.span() for found in re.finditer(r"\d+", line)]
    kind = choices.below(9)
    if kind == 8:  # what makes a careless pattern slow
        start, length = choices.below(len(line) + 1), 1 + choices.below(20)
        lines[place] = (
            line[:start] + (line[start : start + length] or " ") * choices.pick((2, 100, 10_000)) + line[start:]
        )
    elif kind < 3 and numbers:
        start, end = choices.pick(numbers)
        lines[place] = line[:start] + str(choices.pick(WHOLE)) + line[end:]
    elif kind == 3:
        lines[place] = choices.pick(("> ", "<4>", "[ 1.000000] ", "\x1b[31m", "host kernel: ")) + line
    elif kind == 4:
        cut = choices.below(len(line) + 1)
        lines[place : place + 1] = [line[:cut], line[cut:]]
    elif kind == 5:
        lines[place] = f"{line} {lines[other]}"[:100_000]
    elif kind == 6:
        lines[place], lines[other] = lines[other], lines[place]
    else:
        lines[place] = line[: choices.below(len(line) + 1)] + choices.pick(TEXTS)[:500]


def run(corpus: Path, folder: Path, case: dict[str, Any]) -> None:
    import jsonschema

    log = read_file(folder / "log", unread=True)
    diagnoses = diagnose_all(log, GIVEN[case["given"]])
    found = trend(diagnoses)
    whole = document([of_file("log", log, diagnoses, found)])
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(json.dumps(whole, allow_nan=False)))
    text = page([Told("log", log, diagnoses, found)] * 2, unread=True)
    demand(all(each.isprintable() or each == "\n" for each in text), "an escape reaches the terminal")
    demand(max(map(len, text.splitlines())) <= 72, "a line of more than 72 columns")
    for each in diagnoses:
        demand(each.verdict is None or bool(each.why), f"{each.verdict} without arithmetic")
        demand(each.largest_kb is None or each.blocks is not None, "a largest block of no list")
