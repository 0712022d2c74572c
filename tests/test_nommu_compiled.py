"""The compiled mappings do what the plain ones do: the same random calls, the same events in order."""

import random

import numpy as np
import pytest

from mcsim.kernels import linux
from mcsim.kernels.linux import binfmt_flat  # noqa: F401 (and all that it imports)
from mcsim.kernels.linux.machine import (
    MAPLE_RCU_OFF,
    MAPLE_RCU_ON,
    PREALLOC_TOPUP_ALLOWED,
    PREALLOC_TOPUP_FORBIDDEN,
)
from tests.machines import machine
from tests.test_nommu import IMAGE, VARIANTS, plain

PAGE = 8192
CALLS = 60


def run(package, policy, seed):
    """All events of some random calls, with the results, the failure record and the free pages."""
    nommu_c, slub_c, maple_c, page_c = package.nommu, package.slub, package.maple_tree, package.page_alloc
    board = machine(ram_start=0x20000000)
    zone = page_c.make_zone(0, 1024, board, policy)
    page_c.free_pages_exact(zone, 0, 1024)
    slub = slub_c.make_slub(board, max_slabs=16, log_events=8000)
    maple = maple_c.make_maple(board.pointer_bits, nodes=16 * 32, trees=3)
    nommu = nommu_c.make_nommu(slub, 3)
    memory = nommu_c.Memory(zone, slub, maple, nommu)
    for mm in range(3):
        nommu_c.mm_init(memory, mm)
    choose = random.Random(seed)
    results = []
    for _ in range(CALLS):
        mm, pages = choose.randrange(3), choose.choice([1, 2, 5, 40, 113])
        action = choose.randrange(8)
        vma = int(nommu.mm[mm, nommu_c.MM_MMAP])
        if action < 3:
            flags, file = choose.choice([(0, -1), (0, -1), (nommu_c.VM_MAYSHARE, 2)])
            results.append(nommu_c.do_mmap(memory, mm, pages * PAGE, file, flags, 0))
        elif action < 4:
            results.append(package.binfmt_flat.load_flat_file(memory, mm, *IMAGE, choose.randrange(2), 5))
        elif action < 6 and vma >= 0:
            start = int(nommu.vma[vma, nommu_c.VMA_START]) + choose.choice([0, 0, 1, 2]) * PAGE
            results.append(nommu_c.do_munmap(memory, mm, start, pages * PAGE))
        elif action < 7:
            results.append(nommu_c.exit_mmap(memory, mm))
            nommu_c.mm_init(memory, mm)
        else:
            maple_c.rcu_do_batch(maple, slub, zone, maple.scalar[maple_c.RCU_PENDING])
    events = slub.log[1 : 1 + slub.log[0, 0]]
    return results, events, nommu.scalar, slub.scalar, zone.next


@pytest.mark.parametrize("variant", VARIANTS)
def test_compiled_equals_plain(variant):
    for seed in range(3):
        expected = run(plain, VARIANTS[variant], seed)
        got = run(linux, VARIANTS[variant], seed)
        assert len(expected[1]) > CALLS
        for one, other in zip(expected, got, strict=True):
            assert np.array_equal(one, other)


@pytest.mark.parametrize("rcu", [MAPLE_RCU_OFF, MAPLE_RCU_ON])
@pytest.mark.parametrize("variant", ["prealloc-early", "mail-both", "linux-6.1.y", "linux-6.6"])
def test_a_store_that_is_preallocated_in_full_tops_up_nothing(variant, rcu):
    """So it does not matter to the recorded kernels V2, M2 and M3 (mcsim/model/recorded_kernels.py) whether it may."""
    for seed in range(10):
        allowed, forbidden = (
            run(linux, VARIANTS[variant]._replace(prealloc_topup=topup, maple_rcu=rcu), seed)
            for topup in (PREALLOC_TOPUP_ALLOWED, PREALLOC_TOPUP_FORBIDDEN)
        )
        for one, other in zip(allowed, forbidden, strict=True):
            assert np.array_equal(one, other)
