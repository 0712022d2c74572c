"""The policies of a kernel variant: each names one change of the kernel, and a kernel function branches on it.

No kernel knows a variant's name, only these values.
"""

from typing import NamedTuple

VMA_INDEX_RBTREE = 0  # before the maple tree: linked list and rbtree inside the VMA, no node is ever allocated
VMA_INDEX_MAPLE = 1

EXACT_TAIL_HEAD = 0  # leftovers of alloc_pages_exact() freed by free_page(): usually handed out next
EXACT_TAIL_TAIL = 1  # df48a5f7a3bb: __free_pages_ok(page, 0, FPI_TO_TAIL)

MMAP_PREALLOC_NOWAIT = 0  # no preallocation: nodes taken GFP_NOWAIT inside the store, after the pages
MMAP_PREALLOC_MAILED = 1  # the mail of 1 June 2022: nodes first, then region, VMA, pages
MMAP_PREALLOC_EARLY = 2  # 8220543df148 as merged (6.1): region, VMA, nodes, pages
MMAP_PREALLOC_LATE_RANGED = 3  # b5df09226450 (6.6): region, VMA, pages, then nodes sized for the range

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
    split: int
    exit_mmap: int
    error_paths: int
    maple_rcu: int
    trim_pages: int  # sysctl_nr_trim_pages: 0 never trims, N trims when at least N pages are left over
