"""The shipped board and releases as kernels take them, with what a test changes."""

from typing import Any

from mcsim.kernels.linux.machine import Machine, Policy
from mcsim.model.board import shipped_board
from mcsim.model.release import shipped_variants
from mcsim.simulator.machine import machine_of, policy_of

BOARD = shipped_board("m5208evb")


def machine(ram_mb: int = 32, **changes: Any) -> Machine:
    """The board with so much RAM; what follows from a changed page size or MAX_ORDER is changed as well."""
    if "page_size" in changes:
        changes = {"page_shift": changes["page_size"].bit_length() - 1, **changes}
    if "max_order" in changes:
        changes = {"pageblock_order": changes["max_order"] - 1, **changes}
    return machine_of(BOARD, ram_mb << 20)._replace(**changes)


def policy(variant: str = "linux-6.1.y", **changes: int) -> Policy:
    """A shipped release on the board; `changes` are codes of kernels/linux/machine.py."""
    return policy_of(shipped_variants()[variant].policies.on(BOARD))._replace(**changes)
