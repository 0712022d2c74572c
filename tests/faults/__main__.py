"""python -m tests.faults: how many faults, what was lost; exit code 1 if anything was."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

from tests.faults.kinds import KILLS, KINDS
from tests.faults.world import VERDICTS, CannotBeTriedError, FaultError, Tally, World

NIGHTLY = 100  # from so many kills on, kinds that compile kernels are tried, too, and the others twice as often
Attempt = tuple[str, Callable[[World, int], None], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Try faults and print what became of them."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument(
        "--kills", type=int, default=10, metavar="N", help="so many kills, besides the other faults [10]"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of all faults [0]")
    parser.add_argument("--only", metavar="NAME", help=f"one kind: kill, {', '.join(kind.name for kind in KINDS)}")
    parser.add_argument("--try", type=int, dest="number", metavar="K", help="try K of that kind alone")
    parser.add_argument(
        "--workers", type=int, default=len(os.sched_getaffinity(0)), metavar="N", help="[one per processor]"
    )
    options = parser.parse_args(arguments)
    chosen = plan(options.kills, options.only)
    if options.number is not None:
        chosen = [(name, attempt, options.number) for name, attempt, _ in chosen[:1]]
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mcsim-faults-") as folder:
        world = World(Path(folder), options.seed)
        world.undisturbed()
        tally = try_all(world, chosen, options.workers)
    print(page(tally, time.monotonic() - started))
    return 0 if tally.clean else 1


def plan(kills: int, only: str | None) -> list[Attempt]:
    """Which faults are tried: the kills and every kind, or one kind alone."""
    nightly = kills >= NIGHTLY
    attempts: list[Attempt] = [("kill", KILLS[number % len(KILLS)], number) for number in range(kills)]
    for kind in KINDS:
        if nightly or not kind.nightly or only == kind.name:
            times = kind.tries * (2 if nightly and not kind.nightly else 1)
            attempts += [(kind.name, kind.attempt, number) for number in range(times)]
    return [attempt for attempt in attempts if only in (None, attempt[0])]


def try_all(world: World, attempts: Sequence[Attempt], workers: int) -> Tally:
    """Try them, several at a time."""
    tally, lock = Tally(), Lock()
    for name, _, _ in attempts:
        tally.tries.setdefault(name, Counter())

    def one(chosen: Attempt) -> None:
        name, attempt, number = chosen
        verdict, words = "recovered", ""
        try:
            attempt(world, number)
        except CannotBeTriedError as error:
            tally.skipped[name] = str(error)
            return
        except FaultError as error:
            verdict, words = error.verdict, error.what
        except Exception:
            verdict, words = "wrong", f"the fault could not be made: {traceback.format_exc()}"
        with lock:
            tally.tries[name][verdict] += 1
            if words:
                tally.words.append(f"{name} {number} ({attempt.__name__}): {verdict}: {words}")

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(one, attempts))
    return tally


def page(tally: Tally, seconds: float) -> str:
    """The table, what was found, and a last line for who only reads that."""
    width = max(len(name) for name in (*tally.tries, "fault"))
    heads = ("tries", "recovered", "lost", "wrong", "tracebacks", "hangs")
    lines = [f"{'fault':<{width}}" + "".join(f"{head:>12}" for head in heads)]
    rows = {name: [sum(each.values()), *(each[verdict] for verdict in VERDICTS)] for name, each in tally.tries.items()}
    for name, row in rows.items():
        skipped = f"  not tried: {tally.skipped[name]}" if name in tally.skipped else ""
        lines.append(f"{name:<{width}}" + "".join(f"{number:>12,}" for number in row) + skipped)
    total = [sum(column) for column in zip(*rows.values(), strict=True)]
    lines.append(f"{'all':<{width}}" + "".join(f"{number:>12,}" for number in total))
    lines += [f"{seconds:.0f} s", *tally.words]
    tries, _, lost, wrong, tracebacks, hangs = total
    lines.append(f"faults: {tries:,} faults, {lost} lost, {wrong} wrong, {tracebacks} tracebacks, {hangs} hangs")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
