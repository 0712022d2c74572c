"""Options of the command line, sizes and durations: numbers at and beyond all limits."""

from __future__ import annotations

import contextlib
import io
import re
import shutil
from pathlib import Path
from typing import Any

from mcsim.cli import run_cli
from mcsim.errors import UserError
from mcsim.model.units import format_size, parse_duration, parse_size, parse_sizes
from mcsim.store.shard import Shard
from tests.fuzz.choices import Choices
from tests.fuzz.mutate import REAL, TEXTS, WHOLE, other_text
from tests.fuzz.oracle import check_printed, demand
from tests.fuzz.targets import result

SHARE = 40
ENGINES = ("counted", "hypothesis", "atheris")

SMALL = ("--variant", "maple-naive", "--ram", "33M")
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("plan", "--p1=0.3", "--p2=0.2", "--power=0.8", "--level=0.95", "--rows=1"),
    ("plan", "--p1=0.3", "--p2=0.2", "--paired", "--discordant=0.2", "--power=0.8", "--level=0.95", "--rows=1"),
    ("plan", "--p1=0.3", "--half-width=0.05", "--level=0.95"),
    ("plan", "--upper=0.01", "--level=0.95"),
    ("compare", "RESULT", "--baseline=maple-naive", "--delta=0.02", "--level=0.95", "--ram=33M"),
    ("compare", "RESULT", "--baseline=maple-naive", "--peeking", "--gate", "--level=0.95"),
    ("report", "RESULT", "--format=csv", "--level=0.95"),
    ("report", "RESULT", "--format=markdown", "--level=0.95"),
    ("check", "results", "RESULT", "--sample=5", "--seed=0"),
    ("run", "EXPERIMENT", *SMALL, "--boot=3", "--seed=1"),
    ("run", "EXPERIMENT", *SMALL, "--boot=3", "-v"),
    ("run", "EXPERIMENT", "--out=RESULT", "--boots=40", "--shard=1/1", "--workers=1"),
    ("run", "EXPERIMENT", "--out=RESULT", "--boots=40", "--half-width=0.4", "--max-failures=40", "--workers=1"),
    ("run", "EXPERIMENT", "--out=RESULT", "--boots=40", "--relative-half-width=9", "--wall-time=30s", "--workers=1"),
    (
        "min-ram",
        "EXPERIMENT",
        "--variant=maple-naive",
        "--ram=33M",
        "--p=0.5",
        "--level=0.95",
        "--boots=40",
        "--out=MIN-RAM",
        "--workers=1",
    ),
    ("list",),
)
# More than the stored boots would be simulated: nothing here is about that.
MOST_BOOTS = 60
PARSERS = ("size", "sizes", "duration", "shard")


def prepare(corpus: Path) -> None:
    result.prepare(corpus)
    run_cli(["min-ram", str(corpus / "small.toml"), *COMMANDS[-2][2:-2], f"--out={corpus / 'min-ram'}", "--workers=1"])


def make(choices: Choices, corpus: Path, folder: Path) -> dict[str, Any]:
    if choices.chance(40):
        text = choices.pick(("32M", "28M..40M step 1M", "32M,33M", "1h30m", "90s", "3/16", "8K", "1G"))
        return {"parser": choices.pick(PARSERS), "text": other_text(choices, text)}
    words = list(choices.pick(COMMANDS))
    for _ in range(choices.times()):
        place = choices.below(len(words))
        name, equals, value = words[place].partition("=")
        if equals and name not in ("--out", "--workers"):
            number = str(choices.pick(REAL)) if "." in value or choices.chance(30) else str(choices.pick(WHOLE))
            near = (
                str(float(value) * choices.pick((0.5, 1.5, 1e-3, -1.0)))
                if re.fullmatch(r"\d+(\.\d+)?", value)
                else value
            )
            words[place] = (
                f"{name}={choices.pick((number, number, near, other_text(choices, value), choices.pick(TEXTS)[:200]))}"
            )
        elif place and choices.chance(10):
            words[place] = choices.pick(TEXTS)[:200]
    for name in ("result", "min-ram"):  # a run adds to its folder: to one of this input alone
        if words[0] in ("run", "min-ram"):
            shutil.copytree(corpus / name, folder / name)
    return {"words": [word.replace("\0", "") for word in words]}  # no system hands a NUL to a command


def run(corpus: Path, folder: Path, case: dict[str, Any]) -> None:
    if "parser" in case:
        _parse(case["parser"], case["text"])
        return
    words = []
    for word in case["words"]:
        name, _, value = word.partition("=")
        if name == "--boots" and value.strip().isdigit() and int(value) > MOST_BOOTS:
            return
        if word.startswith("--out="):
            word = f"--out={folder / value.lower()}"
        words.append({"RESULT": str(corpus / "result"), "EXPERIMENT": str(corpus / "small.toml")}.get(word, word))
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run_cli(words)
    check_printed(code, out.getvalue(), err.getvalue())
    demand(not re.search(r"(?<![\w.])(nan|inf)\b", out.getvalue()), f"printed: {out.getvalue()[:300]!r}")
    if code == 2:
        raise UserError(err.getvalue().strip().replace("\n", "\n  ") or "?")


def _parse(parser: str, text: str) -> None:
    if parser == "size":
        demand(parse_size(format_size(parse_size(text))) == parse_size(text), "a size that is not what it was")
    elif parser == "sizes":
        sizes = parse_sizes(text)
        demand(0 < len(sizes) <= 10_000 and list(sizes) == sorted(set(sizes)) and sizes[0] > 0, f"{sizes[:3]}")
    elif parser == "duration":
        demand(0.0 < parse_duration(text) < 1e12, f"{parse_duration(text)}")
    else:
        shard = Shard.parse(text)
        demand(1 <= shard.number <= shard.of, f"{shard}")
