"""All benchmarks by name, in the order of the table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from mcsim.errors import UserError, did_you_mean
from mcsim.fidelity.speed import allocators, boots, startup
from mcsim.fidelity.speed.figure import Figure, Settings
from mcsim.fidelity.speed.twins import Twins

TWINS = "beside: the C twin"
CELLS = "whole boots on one core"
GROWTH = "beside: one worker; the second chunk; an eighth as many boots"
WAITING = "start-up"


@dataclass(frozen=True)
class Job:
    """One benchmark: the heading it stands under, and what measures it.

    `twinned`: a C twin belongs to it. `slow`: it takes a minute, however short the measurement.
    """

    name: str
    heading: str
    measure: Callable[[Settings, Twins | None], Figure]
    twinned: bool = False
    slow: bool = False


def jobs() -> list[Job]:
    """All that can be measured here."""
    found = [
        _twinned("buddy-single", allocators.buddy_single),
        _twinned("buddy-mixed", allocators.buddy_mixed),
        *(_twinned(f"buddy-mixed-{mb}M", allocators.buddy_mixed, ram_mb=mb) for mb in allocators.GROWTH_MB),
        _twinned("buddy-exact", allocators.buddy_exact),
        _twinned("buddy-exact-by-page", allocators.buddy_exact, by_page=True),
    ]
    for ranges in allocators.MAPLE_RANGES:
        found += [
            _twinned(f"maple-store-{ranges}", allocators.maple_store, ranges=ranges, preallocate=0),
            _twinned(f"maple-prealloc-{ranges}", allocators.maple_store, ranges=ranges, preallocate=1),
            _twinned(f"maple-load-{ranges}", allocators.maple_load, ranges=ranges),
        ]
    if allocators.RECORDING.is_file():
        found.append(_twinned("replay", allocators.replay))
    cells = [(variant, ram) for variant in boots.VARIANTS for ram in boots.RAM]
    cells.append((boots.VARIANTS[0], boots.LARGEST_RAM))
    found += [_alone(f"boots-{each[0]}-{each[1]}", CELLS, boots.whole_boots, *each) for each in cells]
    return [
        *found,
        _alone("workers", GROWTH, boots.two_workers),
        _alone("memory", GROWTH, boots.memory),
        _alone("more-boots", GROWTH, boots.more_boots),
        _alone("start-cli", WAITING, startup.command_line),
        _alone("start-warm", WAITING, startup.warm),
        Job("start-cold", WAITING, lambda settings, _: startup.cold("start-cold", settings), slow=True),
    ]


def _twinned(name: str, measure: Callable[..., Figure], **options: int) -> Job:
    return Job(name, TWINS, partial(measure, name, **options), twinned=True)


def _alone(name: str, heading: str, measure: Callable[..., Figure], *options: str) -> Job:
    return Job(name, heading, lambda settings, _: measure(name, settings, *options))


def select(names: Sequence[str], everything: Sequence[Job], quick: bool) -> list[Job]:
    """The jobs whose names begin with one of `names`; where none is given all, without the slow ones if `quick`.

    UserError for a name that no job has.
    """
    for name in names:
        known = [job.name for job in everything]
        if not name or not any(each.startswith(name) for each in known):
            raise UserError(
                f"{name!r} begins the name of no benchmark{did_you_mean(name, known)}",
                key="--only",
                valid=" ".join(known),
            )
    if names:
        return [job for job in everything if job.name.startswith(tuple(names))]
    return [job for job in everything if not (quick and job.slow)]
