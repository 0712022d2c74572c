"""A board and a variant as the kernels take them: records of numbers."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from mcsim.model.board import Board
from mcsim.model.release import Policies

if TYPE_CHECKING:
    from mcsim.kernels.linux.machine import Machine, Policy


@lru_cache(maxsize=1024)
def machine_of(board: Board, ram: int) -> Machine:
    """A board with `ram` bytes. UserError if it cannot have so many."""
    import numpy as np

    from mcsim.kernels.linux.machine import Machine

    board.check_ram(ram)
    facts, clock, tasks, slabs = board.machine, board.clock, board.tasks, board.slabs
    sizes = np.array([slabs.maple_node.size, slabs.vm_area_struct.size, slabs.vm_region.size], np.int64)
    reserved = np.array(board.reserved(ram), np.int64).reshape(-1, 2)
    return Machine(
        page_shift=facts.page_size.bit_length() - 1,
        page_size=facts.page_size,
        pointer_bits=facts.pointer_bits,
        max_order=facts.max_order,
        pageblock_order=facts.pageblock_order,
        mmu=0,
        ram_start=facts.ram_start,
        ram_pages=ram // facts.page_size,
        memmap_pages=board.memmap_pages(ram),
        min_free_kbytes=-1 if facts.min_free_kbytes is None else facts.min_free_kbytes,
        thread_size_order=facts.thread_size_order,
        task_structs=tasks.task_struct.objects,
        task_struct_order=tasks.task_struct.order,
        sighands=tasks.sighand_cache.objects,
        sighand_order=tasks.sighand_cache.order,
        signals=tasks.signal_cache.objects,
        signal_order=tasks.signal_cache.order,
        timer_ns=clock.timer_ns,
        tick_counts=clock.timer_counts_per_tick,
        tick_us=1_000_000 // clock.hz,
        softirq_counts=board.softirq.counts if board.softirq else 0,
        softirq_counts_task=board.softirq.counts_per_task if board.softirq else 0,
        noise_delay_counts=board.noise.delay_counts if board.noise else 0,
        noise_sleep_ticks=board.noise.sleep_ticks if board.noise else 0,
        object_sizes=sizes,
        reserved=reserved,
    )


def policy_of(policies: Policies) -> Policy:
    """The policies of a variant on its board (`Policies.on`).

    A word of a policy is the kernels' constant of that name: `exact_tail = "head"` is EXACT_TAIL_HEAD.
    """
    from mcsim.kernels.linux import machine

    values = policies.model_dump()
    words = {name: value for name, value in values.items() if isinstance(value, str)}
    codes = {name: getattr(machine, f"{name}_{word}".upper().replace("-", "_")) for name, word in words.items()}
    return machine.Policy(**{**values, **codes})
