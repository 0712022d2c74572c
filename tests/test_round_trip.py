"""What `mcsim explain` prints of a simulated boot is read back by `mcsim diagnose` with the same figures."""

from __future__ import annotations

import pytest

import mcsim
from mcsim.model.experiment import load
from mcsim.report import mem_info
from mcsim.simulator.walk import Ending, Snapshot, Walk
from mcsim.studies.explain import selection

CELLS = (("maple-naive", "32M"), ("tail-free", "33M"), ("linux-6.1.y", "31M"), ("mail-both", "40M"))
BOOTS = 8  # of each cell


def ended(variant: str, ram: str, boot: int) -> tuple[Ending, Snapshot]:
    """How a boot ends, and its memory then."""
    walk = Walk(selection.one_task(load("mail-2022"), variant, ram), "C", boot)
    walk.finish()
    return walk.ending(), walk.snapshot()


def check(ending: Ending, memory: Snapshot) -> None:
    """AssertionError unless the report says what the simulator knows."""
    lines = mem_info.failure_report(ending, memory)
    [report] = mcsim.diagnose("\n".join(lines))["reports"]
    kb = memory.page_size // 1024
    blocks = [int(each) for each in memory.free.sum(axis=1)]
    assert report["page_size"] == memory.page_size
    assert report["max_order"] == len(blocks)
    assert report["free_blocks"] == blocks
    assert report["free_kb"] == memory.zone.free * kb
    assert report["largest_free_kb"] == max((kb << order for order, count in enumerate(blocks) if count), default=0)
    assert report["consistent"] is True
    assert report["zones"][0]["kb"]["managed"] == memory.zone.managed * kb
    if not ending.failed or ending.stopped:
        return
    asked = (report["pid"], report["process"], report["order"], report["bytes"])
    process = ending.event.process
    assert asked == (process.pid, process.name, ending.order, ending.length or None)
    fragmented = memory.zone.free >= 1 << ending.order and not any(blocks[ending.order :])
    assert (report["verdict"] == "fragmented") == fragmented


@pytest.mark.parametrize(("variant", "ram"), CELLS)
def test_the_report_of_a_simulated_boot_is_read_back(variant: str, ram: str) -> None:
    failed = 0
    for boot in range(BOOTS):
        ending, memory = ended(variant, ram, boot)
        check(ending, memory)
        failed += ending.failed
    assert failed > 0 or ram == "40M"
