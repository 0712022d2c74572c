"""python -m tests.fuzz: how many damaged inputs, what became of them; exit code 1 if any of them is a finding."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.supervisor import BATCH, FINDINGS, LIMIT, VERDICTS, Batch, Supervisor, Tally
from tests.fuzz.worker import attempt

PACKAGE = "tests.fuzz.targets"
TARGETS = (
    "experiment",
    "timing",
    "workload",
    "program",
    "recording",
    "vectors",
    "counts",
    "result",
    "journal",
    "options",
    "logs",
)
# Of 100 inputs so many are Hypothesis' (which makes a finding small) and atheris' (which follows coverage). The rest
# are counted: a finding among these is made again from its number alone.
SHARES = {"hypothesis": 10, "atheris": 15}


def main(arguments: Sequence[str] | None = None) -> int:
    """Try inputs and print what became of them."""
    options = _parser().parse_args(arguments)
    if options.replay:
        return replay(options.replay)
    modules = [name if "." in name else f"{PACKAGE}.{name}" for name in options.target or TARGETS]
    if options.only is not None:
        batches = [Batch(module, "counted", options.only, 1) for module in modules]
    else:
        engines = (options.engine,) if options.engine else ("counted", *SHARES)
        missing = [
            engine for engine in ("hypothesis", "atheris") if engine in engines and not importlib.util.find_spec(engine)
        ]
        for engine in missing:
            print(f"{engine} is not installed: its inputs are counted ones instead")
        batches = plan(modules, options.inputs, [engine for engine in engines if engine not in missing] or ["counted"])
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mcsim-fuzz-") as scratch:
        supervisor = Supervisor(
            Path(scratch),
            options.findings,
            options.seed,
            workers=options.workers,
            limit=options.limit,
            bounds=options.boundscheck,
        )
        tally = supervisor.run(batches)
    print(page(tally, time.monotonic() - started))
    return 0 if tally.clean else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=20_000, metavar="N", help="so many in all [20000]")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of all inputs [0]")
    parser.add_argument("--target", action="append", metavar="T", help=f"one of {', '.join(TARGETS)} [all]; repeatable")
    parser.add_argument("--engine", choices=("counted", *SHARES), help="where decisions come from [all, shared out]")
    parser.add_argument("--only", type=int, metavar="I", help="input I of the target alone (of engine counted)")
    parser.add_argument("--replay", type=Path, metavar="FOLDER", help="a finding once more, here, with its traceback")
    parser.add_argument(
        "--findings", type=Path, default=Path("build/fuzz"), metavar="DIR", help="where they go [build/fuzz]"
    )
    parser.add_argument("--limit", type=float, default=LIMIT, metavar="SECONDS", help=f"for one input [{LIMIT:g}]")
    parser.add_argument(
        "--workers", type=int, default=len(os.sched_getaffinity(0)), metavar="N", help="[one per processor]"
    )
    parser.add_argument(
        "--boundscheck",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="check every index in the kernels [yes]",
    )
    return parser


def plan(modules: Sequence[str], inputs: int, engines: Sequence[str]) -> list[Batch]:
    """So many inputs in all, dealt out by SHARE and engine. What takes longest begins first."""
    targets = {name: importlib.import_module(name) for name in modules}
    total = sum(target.SHARE for target in targets.values())
    batches = []
    left = inputs
    for place, (name, target) in enumerate(targets.items(), 1):
        count = left if place == len(targets) else inputs * target.SHARE // total
        left -= count
        usable = [engine for engine in engines if engine in target.ENGINES] or ["counted"]
        parts = {engine: count * SHARES[engine] // 100 for engine in usable if engine in SHARES and len(usable) > 1}
        rest = next((engine for engine in usable if engine not in parts), usable[0])
        parts[rest] = count - sum(parts.values())
        for engine, number in parts.items():
            step = min(BATCH, 40 * target.SHARE)
            batches += [Batch(name, engine, first, min(step, number - first)) for first in range(0, number, step)]
    return sorted(batches, key=lambda batch: targets[batch.module].SHARE)


def page(tally: Tally, seconds: float) -> str:
    """The table, the findings, and a last line for who only reads that."""
    width = max(len(name) for name in (*tally.verdicts, "target"))
    heads = (
        "inputs",
        *VERDICTS[:2],
        *(
            f"{name}s" if name in ("traceback", "hang") else f"{name}es" if name == "crash" else name
            for name in FINDINGS
        ),
    )
    lines = [f"{'target':<{width}}" + "".join(f"{head:>12}" for head in heads)]
    rows = {
        name: [sum(each.values()), *(each[verdict] for verdict in VERDICTS)] for name, each in tally.verdicts.items()
    }
    rows["all"] = [sum(column) for column in zip(*rows.values(), strict=True)]
    lines += [f"{name:<{width}}" + "".join(f"{number:>12,}" for number in row) for name, row in rows.items()]
    lines.append(f"{seconds:.0f} s")
    for key, number in sorted(tally.kinds.items()):
        lines.append(f"{number:>8,} x {' '.join(key)}: {', '.join(map(str, tally.kept.get(key, [])))}")
    _, *counts = rows["all"]
    found = dict(zip(VERDICTS, counts, strict=True))
    lines.append(
        f"fuzz: {rows['all'][0]:,} inputs, {found['traceback']} tracebacks, {found['hang']} hangs, "
        f"{found['crash']} crashes, {found['wrong']} wrong"
    )
    return "\n".join(lines)


def replay(finding: Path) -> int:
    """Have the input of a finding read once more, in this process."""
    import shutil

    name = finding.resolve().name.partition("-")[0]
    module = importlib.import_module(f"{PACKAGE}.{name}")
    with tempfile.TemporaryDirectory(prefix="mcsim-fuzz-") as scratch:
        corpus, folder = Path(scratch) / "corpus", Path(scratch) / "input"
        corpus.mkdir()
        getattr(module, "prepare", lambda corpus: None)(corpus)
        shutil.copytree(finding / "input", folder, symlinks=True)
        verdict, kind, text = attempt(module, corpus, folder, json.loads((finding / "case.json").read_text()))
        os.chdir("/")
    print(f"{text}{verdict} {kind}")
    return 0 if verdict in VERDICTS[:2] else 1


if __name__ == "__main__":
    sys.exit(main())
