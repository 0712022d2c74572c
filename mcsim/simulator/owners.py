"""What the owners of kernels/boot/page_owner.py are called, and how maps show them."""

from __future__ import annotations

from typing import NamedTuple

from mcsim.kernels.boot import page_owner


class Owner(NamedTuple):
    """`name` for tables, `letter` for maps in a terminal, `colour` for pictures."""

    number: int
    name: str
    letter: str
    colour: str


# Colours that stand beside each other often are those of Okabe and Ito, told apart by colour-blind readers; what was
# there before /init and never goes is grey.
OWNERS = (
    Owner(page_owner.FREE, "free", ".", "#FFFFFF"),
    Owner(page_owner.KERNEL_IMAGE, "kernel image", "K", "#4D4D4D"),
    Owner(page_owner.BOOT_TABLES, "boot tables", "T", "#6E6E6E"),
    Owner(page_owner.PRE_INIT, "kernel before init", "k", "#9A9A9A"),
    Owner(page_owner.SLAB, "slabs", "S", "#7B3FA0"),
    Owner(page_owner.BULK_PAGES, "bulk pages (network)", "n", "#D55E00"),
    Owner(page_owner.OTHER_PAGES, "other kernel pages", "o", "#8C510A"),
    Owner(page_owner.PAGE_CACHE, "page cache", "c", "#009E73"),
    Owner(page_owner.KERNEL_STACK, "kernel stacks", "s", "#CC79A7"),
    Owner(page_owner.ARGUMENTS, "argument pages", "a", "#000000"),
    Owner(page_owner.MAPLE_NODES, "maple nodes", "m", "#F0E442"),
    Owner(page_owner.MAPPING_SLABS, "VMAs and regions", "v", "#C6DB86"),
    Owner(page_owner.TASK_SLABS, "task slabs", "t", "#0072B2"),
    Owner(page_owner.PROCESS_IMAGE, "process images", "P", "#A6D5F5"),
    Owner(page_owner.MAPPING, "other mappings", "h", "#E69F00"),
    Owner(page_owner.UNKNOWN, "not accounted for", "?", "#FF00FF"),
)
BEFORE_INIT = (page_owner.KERNEL_IMAGE, page_owner.BOOT_TABLES, page_owner.PRE_INIT)
# Whose pages belong to one process each.
OF_A_PROCESS = (page_owner.KERNEL_STACK, page_owner.ARGUMENTS, page_owner.PROCESS_IMAGE, page_owner.MAPPING)


def owner_set(bits: int) -> tuple[str, ...]:
    """The names of a set of owners, see `mcsim.kernels.boot.page_owner.Blame.together`."""
    return tuple(each.name for each in OWNERS if each.number and bits >> (each.number - 1) & 1)
