"""Who owns each page when a boot ends, and which owners keep blocks from being whole.

Linux notes the owner with each allocation (mm/page_owner.c). Here nothing is noted while boots run: what the workload
holds, the mappings, the object caches and the free lists at the end of a boot tell it afterwards.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mcsim.kernels.boot.batch import draw_recordings, end_boot
from mcsim.kernels.boot.boot import (
    FAILED_NOTHING,
    RESULT_CLASS,
    RESULT_ORDER,
    TASK_SLAB_PAGES,
    Boot,
    begin_boot,
)
from mcsim.kernels.boot.program import (
    IMAGE_BSS,
    IMAGE_DATA,
    IMAGE_FLAGS,
    IMAGE_RELOCS,
    IMAGE_STACK,
    IMAGE_TEXT,
    KIND,
    LANE_END,
    LANE_FIRST,
    LANE_STACK,
    OP_COPY_PROCESS,
    OP_EXEC,
    OP_PAGE_ALLOC,
    PRE_A,
    PRE_B,
    PRE_C,
    PRE_FREE_INITMEM,
    PRE_KIND,
    PRE_KMEM_CACHE_ALLOC,
    PRE_PAGE_ALLOC,
    PRE_PAGE_FREE,
    PRE_PAGE_FREE_PART,
    RECORDING_LANE,
    RECORDING_LANE_END,
    RECORDING_MMS,
    A,
    B,
    C,
    Program,
)
from mcsim.kernels.boot.sched import Sched, Timing
from mcsim.kernels.jit.compile import kernel
from mcsim.kernels.linux.binfmt_flat import DATA_START_OFFSET, FLAT_FLAG_GZIP, FLAT_FLAG_RAM, flat_extra
from mcsim.kernels.linux.gfp import GFP_ACCOUNT, GFP_HARDWALL, GFP_NORETRY, GFP_NOWARN, GFP_ZERO
from mcsim.kernels.linux.machine import MAX_ORDER_LIMIT
from mcsim.kernels.linux.nommu import (
    MM_MMAP,
    NONE,
    REGION_END,
    REGION_START,
    REGION_TOP,
    VMA_NEXT,
    VMA_REGION,
    address_to_pfn,
)
from mcsim.kernels.linux.page_alloc import ZONE_END_PFN, Zone
from mcsim.kernels.linux.slub import MAPLE_NODE, PAGE_FAILURES, PFN

# Owners of a page.
FREE = 0
KERNEL_IMAGE = 1
BOOT_TABLES = 2  # memory map, hash tables: what memblock never handed over
PRE_INIT = 3  # what the kernel took before it started /init, but for page cache and kernel stacks
SLAB = 4  # this and the following since then
BULK_PAGES = 5
OTHER_PAGES = 6  # requests of no kind listed here
PAGE_CACHE = 7
KERNEL_STACK = 8
ARGUMENTS = 9
MAPLE_NODES = 10
MAPPING_SLABS = 11  # vm_area_struct, vm_region
TASK_SLABS = 12
PROCESS_IMAGE = 13
MAPPING = 14  # every other mapping
UNKNOWN = 15
OWNERS = 16
SETS = 1 << OWNERS - 1  # of owners other than FREE
NOBODY = 255  # not yet claimed

# GFP bits that tell kinds of requests apart (include/linux/gfp_types.h, 6.1). allocate_slab() adds NOWARN and NORETRY
# to what it is asked for; argument pages are GFP_HIGHUSER | ZERO, page cache without ZERO, pipes with ACCOUNT; kernel
# stacks are GFP_KERNEL_ACCOUNT | ZERO. Pages of alloc_pages_bulk() stand in a program with no GFP bits at all.
GFP_SLAB = GFP_NOWARN | GFP_NORETRY

# Columns of Blame.owner.
PAGES = 0  # in blocks
BLOCKS_ALONE = 1  # blocks of which nobody else holds a page
BLOCKS_SHARED = 2  # blocks of which others hold pages, too
BOOTS_ALONE = 3  # boots with at least one block of the former kind
PAGES_ALONE = 4  # pages in such blocks
ALONE_SQUARED = 5  # sums over boots of the squares of a boot's figures
SHARED_SQUARED = 6
PAGES_SQUARED = 7
OWNER_COLUMNS = 8

# Columns of Blame.boots.
FAILURES = 0
BLOCKS = 1  # blocks of the order in the zone
FEWEST = 2  # pages missing in the block that lacks the fewest
FEWEST_SQUARED = 3
BOOT_COLUMNS = 4


class PageOwners(NamedTuple):
    """Work space for one machine.

    owner: uint8[pages of the zone], who holds a page. lane: int32[pages], for which process, as a row of
    `Program.lane`, -1 for none. mm_lane: int32[mms], the lane that made an mm by exec. mm_image: int64[mms, 2], pages
    of the mappings of its image. held: int64[OWNERS], pages of one block. holders: int64[pages], the set of owners of
    each block.
    """

    owner: NDArray[np.uint8]
    lane: NDArray[np.int32]
    mm_lane: NDArray[np.int32]
    mm_image: NDArray[np.int64]
    held: NDArray[np.int64]
    holders: NDArray[np.int64]


class Blame(NamedTuple):
    """Sums over failing boots, by the order that the failing request asked for; all int64.

    The first index is an order, below MAX_ORDER_LIMIT. owner: [orders, OWNERS, OWNER_COLUMNS]. together: [orders, SETS,
    2], blocks of which just this set of owners holds pages (bit `owner` - 1), and the sum over boots of the squares of
    the number in a boot. boots: [orders, BOOT_COLUMNS]. contradictions: [1], pages that two claimed, or that were
    claimed and free: 0. row, [OWNERS, 3], one
    boot's alone, shared and pages, and sets, [SETS], one boot's blocks, are work space.
    """

    owner: NDArray[np.int64]
    together: NDArray[np.int64]
    boots: NDArray[np.int64]
    row: NDArray[np.int64]
    sets: NDArray[np.int64]
    contradictions: NDArray[np.int64]


def make_page_owners(program: Program, zone: Zone) -> PageOwners:
    """Work space for boots of a program in a zone."""
    pages = int(zone.scalar[ZONE_END_PFN])
    mms = int(program.recording[:, RECORDING_MMS].max())
    return PageOwners(
        owner=np.zeros(pages, np.uint8),
        lane=np.full(pages, -1, np.int32),
        mm_lane=np.full(mms, -1, np.int32),
        mm_image=np.zeros((mms, 2), np.int64),
        held=np.zeros(OWNERS, np.int64),
        holders=np.zeros(pages, np.int64),
    )


def make_blame() -> Blame:
    """Sums over no boot."""
    return Blame(
        owner=np.zeros((MAX_ORDER_LIMIT, OWNERS, OWNER_COLUMNS), np.int64),
        together=np.zeros((MAX_ORDER_LIMIT, SETS, 2), np.int64),
        boots=np.zeros((MAX_ORDER_LIMIT, BOOT_COLUMNS), np.int64),
        row=np.zeros((OWNERS, 3), np.int64),
        sets=np.zeros(SETS, np.int64),
        contradictions=np.zeros(1, np.int64),
    )


@kernel
def owner_of_request(gfp: int) -> int:
    """What a block is for that the workload asked for with these GFP bits."""
    if gfp == 0:
        return BULK_PAGES
    if gfp & GFP_SLAB == GFP_SLAB:
        return SLAB
    if gfp & GFP_HARDWALL and not gfp & GFP_ACCOUNT:
        return ARGUMENTS if gfp & GFP_ZERO else PAGE_CACHE
    if gfp & GFP_ACCOUNT and gfp & GFP_ZERO and not gfp & GFP_HARDWALL:
        return KERNEL_STACK
    return OTHER_PAGES


@kernel
def claim(found: PageOwners, pfn: int, pages: int, owner: int, lane: int) -> int:
    """Note the owner of `pages` pages from `pfn` on; the number of those that have one already."""
    twice = 0
    for page in range(pfn, pfn + pages):
        if found.owner[page] != NOBODY:
            twice += 1
        found.owner[page] = owner
        found.lane[page] = lane
    return twice


@kernel
def release(found: PageOwners, pfn: int, pages: int) -> None:
    """Nobody owns these pages any more."""
    for page in range(pfn, pfn + pages):
        found.owner[page] = NOBODY


@kernel
def claim_reserved(boot: Boot, found: PageOwners) -> None:
    """What memblock did not hand over; all else belongs to nobody."""
    end = found.owner.shape[0]
    reserved = boot.memory.zone.machine.reserved
    image = reserved[0, 0] + reserved[0, 1] if reserved.shape[0] else 0
    for page in range(end):
        found.owner[page] = KERNEL_IMAGE if page < image else BOOT_TABLES
        found.lane[page] = -1
    page = 0
    while page < end:
        order = int(boot.fresh_zone.order[page])
        if order < 0:
            page += 1
        else:
            release(found, page, 1 << order)
            page += 1 << order


@kernel
def claim_pre_init(boot: Boot, program: Program, phase: int, found: PageOwners) -> int:
    """The pre-init phase's requests, as far as the boot got (Boot.pre_handle must have been -1 before it)."""
    twice = 0
    for row in range(program.pre_init_range[phase, 0], program.pre_init_range[phase, 1]):
        kind = program.pre_init[row, PRE_KIND]
        a = np.int64(program.pre_init[row, PRE_A])
        b = np.int64(program.pre_init[row, PRE_B])
        c = np.int64(program.pre_init[row, PRE_C])
        if kind == PRE_PAGE_ALLOC:
            if boot.pre_handle[a, 0] < 0:
                return twice
            owner = owner_of_request(c)
            if owner != PAGE_CACHE and owner != KERNEL_STACK:
                owner = PRE_INIT
            twice += claim(found, boot.pre_handle[a, 0], 1 << b, owner, -1)
        elif kind == PRE_PAGE_FREE:
            release(found, boot.pre_handle[a, 0], 1 << boot.pre_handle[a, 1])
        elif kind == PRE_PAGE_FREE_PART:
            release(found, boot.pre_handle[a, 0] + b, c)
        elif kind == PRE_FREE_INITMEM:
            release(found, b, c)
        elif kind == PRE_KMEM_CACHE_ALLOC and boot.memory.slub.scalar[a, PAGE_FAILURES] > 0:
            return twice
    return twice


@kernel
def image_pages(boot: Boot, program: Program, image: int, part: int) -> int:
    """Pages of an image's only or first (0) and second (1) mapping, see load_flat_file(); 0 if there is none."""
    row = program.image[image]
    extra = flat_extra(np.int64(row[IMAGE_BSS]), np.int64(row[IMAGE_STACK]), np.int64(row[IMAGE_RELOCS]))
    length = int(row[IMAGE_DATA] + extra) + DATA_START_OFFSET
    if row[IMAGE_FLAGS] & (FLAT_FLAG_RAM | FLAT_FLAG_GZIP):
        length = 0 if part == 1 else length + int(row[IMAGE_TEXT])
    elif part == 0:
        length = int(row[IMAGE_TEXT])
    page_size = boot.memory.zone.machine.page_size
    return int((length + page_size - 1) // page_size)


@kernel
def claim_handles(boot: Boot, program: Program, recording: int, found: PageOwners) -> int:
    """What processes hold by requests of their own. Notes on the way which process made which mm."""
    twice = 0
    first = np.int64(program.recording[recording, RECORDING_LANE])
    end = np.int64(program.recording[recording, RECORDING_LANE_END])
    for mm in range(program.recording[recording, RECORDING_MMS]):
        found.mm_lane[mm] = -1
    for lane in range(first, end):
        for row in range(program.lane[lane, LANE_FIRST], program.lane[lane, LANE_END]):
            kind = program.op[row, KIND]
            a = np.int64(program.op[row, A])
            if kind == OP_PAGE_ALLOC and boot.handle[a, 0] >= 0:
                owner = owner_of_request(np.int64(program.op[row, C]))
                twice += claim(found, boot.handle[a, 0], 1 << boot.handle[a, 1], owner, lane)
            elif kind == OP_COPY_PROCESS and boot.handle[a, 0] >= 0:
                twice += claim(found, boot.handle[a, 0], 1 << boot.handle[a, 1], KERNEL_STACK, -1)
            elif kind == OP_EXEC:
                found.mm_lane[a] = lane
                image = np.int64(program.op[row, B])
                found.mm_image[a, 0] = image_pages(boot, program, image, 0)
                found.mm_image[a, 1] = image_pages(boot, program, image, 1)
    # A stack belongs to the child, whichever process asked for it.
    for lane in range(first, end):
        handle = np.int64(program.lane[lane, LANE_STACK])
        if handle >= 0 and boot.handle[handle, 0] >= 0:
            found.lane[boot.handle[handle, 0]] = lane
    return twice


@kernel
def claim_mappings(boot: Boot, program: Program, recording: int, found: PageOwners) -> int:
    """Regions of all processes, surplus pages too; a shared one counts for the first process that has it."""
    twice = 0
    nommu = boot.memory.nommu
    page_size = boot.memory.zone.machine.page_size
    for mm in range(program.recording[recording, RECORDING_MMS]):
        vma = np.int64(nommu.mm[mm, MM_MMAP])
        while vma != NONE:
            region = nommu.vma[vma, VMA_REGION]
            start = nommu.region[region, REGION_START]
            pfn = address_to_pfn(boot.memory, start)
            pages = (nommu.region[region, REGION_TOP] - start) // page_size
            # An image that is not trimmed keeps its surplus pages: its end tells its size.
            used = (nommu.region[region, REGION_END] - start + page_size - 1) // page_size
            owner = MAPPING
            if used == found.mm_image[mm, 0] or used == found.mm_image[mm, 1]:
                owner = PROCESS_IMAGE
            if found.owner[pfn] != PROCESS_IMAGE and found.owner[pfn] != MAPPING:
                twice += claim(found, pfn, pages, owner, found.mm_lane[mm])
            vma = np.int64(nommu.vma[vma, VMA_NEXT])
    return twice


@kernel
def claim_slabs(boot: Boot, found: PageOwners) -> int:
    """Pages of the object caches that are simulated."""
    twice = 0
    for cache in range(boot.memory.slub.slab.shape[0]):
        for row in range(boot.memory.slub.slab.shape[1]):
            pfn = np.int64(boot.memory.slub.slab[cache, row, PFN])
            if pfn >= 0:
                twice += claim(found, pfn, 1, MAPLE_NODES if cache == MAPLE_NODE else MAPPING_SLABS, -1)
    return twice


@kernel
def claim_the_rest(boot: Boot, found: PageOwners) -> int:
    """Free pages, and those of tasks' slabs, which no request names: all that is left must be theirs."""
    twice = 0
    page = 0
    end = found.owner.shape[0]
    while page < end:
        order = int(boot.memory.zone.order[page])
        if order < 0:
            page += 1
        else:
            twice += claim(found, page, 1 << order, FREE, -1)
            page += 1 << order
    left = 0
    for page in range(end):
        left += 1 if found.owner[page] == NOBODY else 0
    owner = TASK_SLABS if left == boot.tasks[TASK_SLAB_PAGES] else UNKNOWN
    for page in range(end):
        if found.owner[page] == NOBODY:
            found.owner[page] = owner
    return twice


@kernel
def find_page_owners(boot: Boot, program: Program, recording: int, phase: int, found: PageOwners) -> int:
    """Fill `found` for a boot as it stands: each page of the zone gets one owner.

    Boot.pre_handle must have been -1 before the boot began. Returns the number of contradictions (pages that two
    claim, or that are claimed and free), which is 0 unless the model is wrong. Pages that nobody claims although they
    are not free, other than those of tasks' slabs, are UNKNOWN: none, but after a store that ran out of nodes.
    A mapping is a process image if it has the size of one; a heap mapping of the same size would be taken for one.
    """
    claim_reserved(boot, found)
    twice = claim_pre_init(boot, program, phase, found)
    twice += claim_handles(boot, program, recording, found)
    twice += claim_mappings(boot, program, recording, found)
    twice += claim_slabs(boot, found)
    return int(twice + claim_the_rest(boot, found))


@kernel
def add_block(found: PageOwners, blame: Blame, order: int, first: int) -> int:
    """Count one block; the pages that are missing in it."""
    for owner in range(OWNERS):
        found.held[owner] = 0
    for page in range(first, first + (1 << order)):
        found.held[found.owner[page]] += 1
    owners = 0
    for owner in range(1, OWNERS):
        if found.held[owner] > 0:
            owners |= 1 << owner - 1
    found.holders[first >> order] = owners
    blame.sets[owners] += 1
    for owner in range(1, OWNERS):
        if found.held[owner] == 0:
            continue
        blame.row[owner, 2] += found.held[owner]
        if owners == 1 << owner - 1:
            blame.row[owner, 0] += 1
            blame.owner[order, owner, PAGES_ALONE] += found.held[owner]
        else:
            blame.row[owner, 1] += 1
    return int((1 << order) - found.held[FREE])


@kernel
def add_boot(found: PageOwners, blame: Blame, order: int) -> None:
    """Count the blocks of one failing boot, whose owners have been found."""
    blame.row[:, :] = 0
    blocks = found.owner.shape[0] >> order
    fewest = 1 << order
    for block in range(blocks):
        fewest = min(fewest, add_block(found, blame, order, block << order))
    for owner in range(1, OWNERS):
        alone = blame.row[owner, 0]
        shared = blame.row[owner, 1]
        pages = blame.row[owner, 2]
        sums = blame.owner[order, owner]
        sums[PAGES] += pages
        sums[BLOCKS_ALONE] += alone
        sums[BLOCKS_SHARED] += shared
        sums[BOOTS_ALONE] += 1 if alone > 0 else 0
        sums[ALONE_SQUARED] += alone * alone
        sums[SHARED_SQUARED] += shared * shared
        sums[PAGES_SQUARED] += pages * pages
    for block in range(blocks):
        owners = found.holders[block]
        count = blame.sets[owners]  # of the boot; 0 if an earlier block has told it
        blame.together[order, owners, 0] += count
        blame.together[order, owners, 1] += count * count
        blame.sets[owners] = 0
    boots = blame.boots[order]
    boots[FAILURES] += 1
    boots[BLOCKS] += blocks
    boots[FEWEST] += fewest
    boots[FEWEST_SQUARED] += fewest * fewest


@kernel
def blame_boots(
    program: Program,
    timing: Timing,
    sched: Sched,
    boot: Boot,
    found: PageOwners,
    blame: Blame,
    seed: Any,
    numbers: Any,
    outcomes: Any,
) -> int:
    """Simulate the boots of `numbers` (int64) and add those that fail to `blame`; the number that went through.

    `outcomes`: as many records (kernels/boot/batch.py: OUTCOME).
    """
    for i in range(numbers.shape[0]):
        boot.pre_handle[:, 0] = -1
        draw_recordings(program, sched, seed, numbers[i], outcomes[i : i + 1])
        recording = np.int64(outcomes[i]["recording"])
        phase = np.int64(outcomes[i]["pre_init"])
        ready = begin_boot(boot, program, phase)
        if not end_boot(program, timing, sched, boot, ready, seed, numbers[i], outcomes[i]):
            return i
        if boot.result[RESULT_CLASS] == FAILED_NOTHING:
            continue
        blame.contradictions[0] += find_page_owners(boot, program, recording, phase, found)
        add_boot(found, blame, boot.result[RESULT_ORDER])
    return numbers.shape[0]
