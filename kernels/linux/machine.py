"""What differs between boards and between kernels: facts of a machine, and policies, each one change of the kernel.

Both are records inside the zone (`Zone.machine`, `Zone.policy`), so that all that see a page see them too. No kernel
knows the name of a board, of a release or of a variant, only these values.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MAX_ORDER_LIMIT = 15  # the largest MAX_ORDER that there is room for

VMA_INDEX_RBTREE = 0  # before the maple tree: linked list and rbtree inside the VMA, no node is ever allocated
VMA_INDEX_MAPLE = 1

EXACT_TAIL_HEAD = 0  # leftovers of alloc_pages_exact() freed by free_page(): usually handed out next
EXACT_TAIL_TAIL = 1  # df48a5f7a3bb: __free_pages_ok(page, 0, FPI_TO_TAIL)

MMAP_PREALLOC_NONE_NOWAIT = 0  # no preallocation: nodes taken GFP_NOWAIT inside the store, after the pages
MMAP_PREALLOC_MAILED = 1  # the mail of 1 June 2022: nodes first, then region, VMA, pages
MMAP_PREALLOC_EARLY = 2  # 8220543df148 as merged (6.1): region, VMA, nodes, pages
MMAP_PREALLOC_LATE_RANGED = 3  # b5df09226450 (6.6): region, VMA, pages, then nodes sized for the range

PREALLOC_TOPUP_FORBIDDEN = 0  # 6.1: a store on preallocated nodes takes no others
PREALLOC_TOPUP_ALLOWED = 1  # 2022: it may ask for more (GFP_NOWAIT)

SPLIT_READD = 0  # delete the old VMA from the tree, add both parts
SPLIT_OVERWRITE = 1  # 8220543df148: one preallocation, two stores over the old range
SPLIT_STORE_NEW = 2  # 6.6: only the new part is stored

EXIT_MMAP_ERASE_EACH = 0  # every VMA is erased from the tree, then the empty tree is destroyed
EXIT_MMAP_DESTROY_TREE = 1  # 8220543df148: no tree store, one __mt_destroy()

ERROR_PATHS_AS_MAILED = 0
ERROR_PATHS_LEAK_SPLIT = 1  # 6.1.0
ERROR_PATHS_LEAK_MMAP = 2  # 6.1.0 to 6.2-rc4
ERROR_PATHS_FIXED = 3  # 7f31cced5724 and 80be727ec872 (6.2-rc5)

MAPLE_RCU_OFF = 0  # 2022 and 6.1.0
MAPLE_RCU_ON = 1  # 6.1.y since April 2023


class Policy(NamedTuple):
    """One variant as the kernels see it; every field is an int64 scalar."""

    vma_index: int
    exact_tail: int
    mmap_prealloc: int
    prealloc_topup: int
    split: int
    exit_mmap: int
    error_paths: int
    maple_rcu: int
    trim_pages: int  # sysctl_nr_trim_pages: 0 never trims, N trims when at least N pages are left over


class Machine(NamedTuple):
    """One board with one size of RAM as the kernels see it; a field is an int64 scalar unless it says otherwise.

    Times in counts are of the timer that times programs. A task's objects are counted by how many a slab holds.
    """

    page_shift: int
    page_size: int  # bytes, 2^page_shift
    pointer_bits: int  # 32 or 64
    max_order: int  # orders 0 to max_order - 1, at most MAX_ORDER_LIMIT
    pageblock_order: int  # max_order - 1: there are no huge pages
    mmu: int  # 0 or 1: CONFIG_MMU, which decides about the size of the per-CPU lists
    ram_start: int  # bytes
    ram_pages: int
    memmap_pages: int  # struct pages of the zone (calc_memmap_size)
    min_free_kbytes: int  # set by hand, -1: the kernel computes it
    thread_size_order: int
    task_structs: int
    task_struct_order: int
    sighands: int
    sighand_order: int
    signals: int
    signal_order: int
    timer_ns: int  # of a count
    tick_counts: int
    tick_us: int  # run time that the task at the tick pays
    softirq_counts: int  # CPU time of a run of ksoftirqd
    softirq_counts_task: int  # and more for each dead task in it
    noise_delay_counts: int  # artificial noise at each exec: a delay below so many counts
    noise_sleep_ticks: int  # then for one in two a sleep below so many ticks
    object_sizes: NDArray[np.int64]  # bytes, by cache (kernels/linux/slub.py)
    reserved: NDArray[np.int64]  # [n, 2] first page and pages of what memblock keeps, ascending and disjoint


def bare_machine(page_size: int, **facts: Any) -> Machine:
    """A machine of which only memory matters, for vectors and recorded requests: no time, no task, one zone.

    Orders 0 to 10, no MMU and pointers of 32 bits, if `facts` say nothing else.
    """
    nothing: dict[str, Any] = dict.fromkeys(Machine._fields, 0)
    size = {"page_shift": page_size.bit_length() - 1, "page_size": page_size}
    usual = size | {"pointer_bits": 32, "max_order": 11, "min_free_kbytes": -1}
    arrays = {"object_sizes": np.zeros(0, np.int64), "reserved": np.zeros((0, 2), np.int64)}
    facts = nothing | usual | arrays | facts
    return Machine(**facts)._replace(pageblock_order=facts["max_order"] - 1)


NO_POLICY = Policy(*[0] * len(Policy._fields))  # for what asks no policy
