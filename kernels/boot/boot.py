"""One boot: the requests that kernels/boot/sched.py put in order, placed on the pages of one machine under one variant.

A boot fails at the first request that gets no memory; what would follow depends on it, so the boot ends there.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mcsim.kernels.boot.program import (
    FLAGS,
    IMAGE_BSS,
    IMAGE_DATA,
    IMAGE_FILE,
    IMAGE_FLAGS,
    IMAGE_RELOCS,
    IMAGE_STACK,
    IMAGE_TEXT,
    KIND,
    LANE_END,
    LANE_FIRST,
    LANE_STACK,
    MMAP_FILE_SHIFT,
    NO_ADDRESS_SPACE,
    NO_MAPPING,
    NODES_SHORT,
    OP_COPY_PROCESS,
    OP_EXEC,
    OP_EXIT_MMAP,
    OP_MMAP,
    OP_MMAP_FILE,
    OP_MUNMAP,
    OP_PAGE_ALLOC,
    OP_PAGE_FREE,
    PRE_A,
    PRE_B,
    PRE_C,
    PRE_FREE_INITMEM,
    PRE_KIND,
    PRE_KMEM_CACHE_ALLOC,
    PRE_PAGE_ALLOC,
    PRE_PAGE_FREE,
    PRE_PAGE_FREE_PART,
    PRE_TASKS,
    PRE_WATERMARKS,
    RECORDING_HANDLES,
    RECORDING_LANE,
    RECORDING_LANE_END,
    RECORDING_MAPPINGS,
    RECORDING_MMS,
    REFUSED,
    RIGHT,
    ROWS_SHORT,
    A,
    B,
    C,
    Program,
)
from mcsim.kernels.boot.sched import (
    STREAM_LENGTH,
    STREAM_RCU_QS,
    STREAM_RCU_RUN,
    STREAM_STACK_FREE,
    STREAM_TASK_FREE,
    Sched,
)
from mcsim.kernels.jit.compile import kernel
from mcsim.kernels.linux.binfmt_flat import load_flat_file
from mcsim.kernels.linux.gfp import GFP_KERNEL, GFP_MOVABLE
from mcsim.kernels.linux.machine import Machine, Policy
from mcsim.kernels.linux.maple_tree import (
    NODE_SHORTAGE,
    RCU_DONE,
    RCU_PENDING,
    make_maple,
    nodes_of_stores,
    rcu_do_batch,
    reset_maple,
)
from mcsim.kernels.linux.memblock import free_initmem, memblock_free_all
from mcsim.kernels.linux.nommu import (
    EINVAL,
    FAILED_CLASS,
    FAILED_ORDER,
    FAILURES,
    NO_FILE,
    VM_MAYSHARE,
    Memory,
    do_mmap,
    do_munmap,
    exit_mmap,
    make_nommu,
    mm_init,
    reset_nommu,
)
from mcsim.kernels.linux.page_alloc import (
    WATERMARK_BOOST,
    Zone,
    alloc_pages,
    build_all_zonelists,
    calculate_min_free_kbytes,
    copy_zone,
    folio_add_lru,
    free_pages,
    free_pages_exact,
    kswapd,
    make_zone,
    setup_per_zone_wmarks,
)
from mcsim.kernels.linux.slub import (
    MAPLE_NODE,
    OBJECTS_PER_SLAB,
    ROW_FAILURES,
    Slub,
    copy_slub,
    kmem_cache_alloc,
    make_slub,
    reset_slub,
)

# Failure classes; the first three are those of kernels/linux/nommu.py.
FAILED_NOTHING = 0
FAILED_OTHER_PAGE = 4  # a page that the workload asked for itself

SLABS = 64  # pages per object cache, at least: enough for all recordings

# The caches of which each task has one object. These are counted only: a slab is taken when all objects
# are in use and, as there are never more than min_partial (5) of them, never given back. All three objects of a dead
# task are counted as free once RCU has freed the task; its signal handlers really go back when it is reaped.
TASK_SLAB_GFP = GFP_KERNEL
# Indices of Boot.tasks.
TASKS_ALIVE = 0
TASK_SLAB_PAGES = 1  # taken for these slabs since /init was started
TASK_STRUCT_ROOM = 2
SIGHAND_ROOM = 3
SIGNAL_ROOM = 4
TASKS_SIZE = 5

NOT_ALLOCATED = -1
FREED_EARLY = -2

# Indices of Boot.result.
RESULT_CLASS = 0
RESULT_ORDER = 1
RESULT_POSITION = 2  # in the stream; -1 in the pre-init phase
RESULT_WRONG = 3  # not RIGHT: the boot has no outcome (kernels/boot/program.py says why), whatever the others say
RESULT_ROW = 4  # of `op`, where that is known, else -1
RESULT_SIZE = 5

# Values of Boot.mm_state.
MM_NOT_MADE = 0
MM_LIVE = 1
MM_GONE = 2


class Boot(NamedTuple):
    """The memory of one machine while it boots; fresh_*: after the hand-over of memblock; init_*: as /init starts.

    handle, pre_handle: int64 (n, 2), first page and order of each block that the workload asked for. mapping: int64
    (n, 2), mm and address (bytes) of each named mapping, -1 before its mmap. mm_state: int64, MM_*. tasks: int64, tasks
    alive, pages of their slabs, and the objects that fit into these. result: int64, why the boot ended.
    """

    memory: Memory
    fresh_zone: Zone
    init_zone: Zone
    init_slub: Slub
    handle: NDArray[np.int64]
    pre_handle: NDArray[np.int64]
    mapping: NDArray[np.int64]
    mm_state: NDArray[np.int64]
    tasks: NDArray[np.int64]
    init_tasks: NDArray[np.int64]
    result: NDArray[np.int64]


def build_zone(machine: Machine, policy: Policy) -> Zone:
    """The zone of a machine, right after memblock's hand-over."""
    zone = make_zone(0, machine.ram_pages, machine, policy)
    build_all_zonelists(zone)
    memblock_free_all(zone)
    return zone


def make_boot(program: Program, machine: Machine, policy: Policy) -> Boot:
    """Memory for boots of a program on a machine under a policy."""
    slabs = slabs_for(program, machine)
    slub = make_slub(machine, slabs)
    nodes = slabs * int(slub.geometry[MAPLE_NODE, OBJECTS_PER_SLAB])
    mms = int(program.recording[:, RECORDING_MMS].max())
    return Boot(
        memory=Memory(
            zone=make_zone(0, machine.ram_pages, machine, policy),
            slub=slub,
            maple=make_maple(machine.pointer_bits, nodes, mms),
            nommu=make_nommu(slub, mms),
        ),
        fresh_zone=build_zone(machine, policy),
        init_zone=make_zone(0, machine.ram_pages, machine, policy),
        init_slub=make_slub(machine, slabs),
        handle=np.zeros((int(program.recording[:, RECORDING_HANDLES].max()), 2), np.int64),
        pre_handle=np.zeros((int(program.pre_init_range[:, 2].max()), 2), np.int64),
        mapping=np.zeros((max(1, int(program.recording[:, RECORDING_MAPPINGS].max())), 2), np.int64),
        mm_state=np.zeros(mms, np.int64),
        tasks=np.zeros(TASKS_SIZE, np.int64),
        init_tasks=np.zeros(TASKS_SIZE, np.int64),
        result=np.zeros(RESULT_SIZE, np.int64),
    )


def slabs_for(program: Program, machine: Machine) -> int:
    """How many slabs a cache can have in any boot of a program: rows for so many never run out.

    A new slab is taken when all objects of the others are in use, so as many objects as can be in use at a time say how
    many slabs there are. Counted as if nothing were ever given back; and no cache has more slabs than there are pages.
    """
    in_use = np.zeros(3, np.int64)  # by cache
    pre_init = program.pre_init[program.pre_init[:, PRE_KIND] == PRE_KMEM_CACHE_ALLOC]
    np.add.at(in_use, pre_init[:, PRE_A], pre_init[:, PRE_B])  # of all phases together: more than of any
    most = np.zeros(3, np.int64)
    for recording in program.recording:
        first, last = program.lane[[recording[RECORDING_LANE], recording[RECORDING_LANE_END] - 1]]
        op = program.op[first[LANE_FIRST] : last[LANE_END]]
        kind = op[:, KIND]
        is_mmap = (kind == OP_MMAP) | (kind == OP_MMAP_FILE)
        mm_of = np.zeros(max(1, int(recording[RECORDING_MAPPINGS])), np.int64)
        named = op[is_mmap & (op[:, C] >= 0)]
        mm_of[named[:, C]] = named[:, A]
        unmapped = mm_of[op[kind == OP_MUNMAP, A]]
        mapped = np.concatenate([np.repeat(op[kind == OP_EXEC, A], 2), op[is_mmap, A]])
        mms = max(1, int(recording[RECORDING_MMS]))
        mapped_in, unmapped_in = np.bincount(mapped, minlength=mms), np.bincount(unmapped, minlength=mms)
        mappings = mapped_in + unmapped_in  # a part unmapped in the middle makes one two
        # A mapping is stored, and NULL over it at the end. In between, split and shrink make 5 stores at most.
        nodes = nodes_of_stores(machine.pointer_bits, 2 * mapped_in + 6 * unmapped_in, mappings)
        most = np.maximum(most, [nodes, mappings.sum() + 1, mappings.sum() + 1])
    objects = make_slub(machine, 1).geometry[:, OBJECTS_PER_SLAB]
    wanted = int((-(-(in_use + most) // objects)).max())
    return max(SLABS, min(wanted, machine.ram_pages))


@kernel
def reset_boot(boot: Boot) -> None:
    """Back to memblock's hand-over."""
    copy_zone(boot.memory.zone, boot.fresh_zone)
    reset_slub(boot.memory.slub)
    boot.tasks[:] = 0
    reset_processes(boot)


@kernel
def reset_processes(boot: Boot) -> None:
    """No process has run, nothing has failed."""
    reset_maple(boot.memory.maple)
    reset_nommu(boot.memory.nommu)
    boot.handle[:, 0] = NOT_ALLOCATED
    boot.mapping[:] = -1
    boot.mm_state[:] = MM_NOT_MADE
    boot.result[:] = 0
    boot.result[RESULT_ROW] = -1


@kernel
def save_init(boot: Boot) -> None:
    """Keep the memory as it is now, as the kernel starts /init: the same for all boots with this pre-init phase."""
    copy_zone(boot.init_zone, boot.memory.zone)
    copy_slub(boot.init_slub, boot.memory.slub)
    for i in range(TASKS_SIZE):
        boot.init_tasks[i] = boot.tasks[i]


@kernel
def restore_init(boot: Boot) -> None:
    """Back to what `save_init` kept."""
    copy_zone(boot.memory.zone, boot.init_zone)
    copy_slub(boot.memory.slub, boot.init_slub)
    for i in range(TASKS_SIZE):
        boot.tasks[i] = boot.init_tasks[i]
    reset_processes(boot)


@kernel
def wrong(boot: Boot, why: int, row: int) -> None:
    """Note that the boot has no outcome."""
    boot.result[RESULT_WRONG] = why
    boot.result[RESULT_ROW] = row


@kernel
def check_capacity(boot: Boot) -> None:
    """Note if a request has failed not for want of memory, but because the simulator can go no further."""
    rows = 0
    for cache in range(boot.memory.slub.scalar.shape[0]):
        rows += boot.memory.slub.scalar[cache, ROW_FAILURES]
    if boot.result[RESULT_WRONG] == RIGHT:
        if rows != 0:
            wrong(boot, ROWS_SHORT, -1)
        elif boot.memory.maple.scalar[NODE_SHORTAGE] != 0:
            wrong(boot, NODES_SHORT, -1)


@kernel
def fail(boot: Boot, failed_class: int, order: int, position: int) -> bool:
    """Note why the boot ends. Always False, for the caller to return."""
    boot.result[RESULT_CLASS] = failed_class
    boot.result[RESULT_ORDER] = order
    boot.result[RESULT_POSITION] = position
    check_capacity(boot)
    return False


@kernel
def alloc_block(boot: Boot, gfp: int, order: int) -> int:
    """A block that the workload asks for itself; pfn or -1."""
    pfn = alloc_pages(boot.memory.zone, gfp, order)
    if pfn >= 0 and gfp & GFP_MOVABLE:
        folio_add_lru(boot.memory.zone, pfn, order)
    return pfn


@kernel
def run_pre_init(boot: Boot, program: Program, phase: int) -> bool:
    """The page requests before the kernel starts /init, in recorded order. False if one of them fails."""
    zone = boot.memory.zone
    for row in range(program.pre_init_range[phase, 0], program.pre_init_range[phase, 1]):
        kind = program.pre_init[row, PRE_KIND]
        a = np.int64(program.pre_init[row, PRE_A])
        b = np.int64(program.pre_init[row, PRE_B])
        c = np.int64(program.pre_init[row, PRE_C])
        if kind == PRE_PAGE_ALLOC:
            pfn = alloc_block(boot, c, b)
            if pfn < 0:
                return fail(boot, FAILED_OTHER_PAGE, b, -1)
            boot.pre_handle[a, 0] = pfn
            boot.pre_handle[a, 1] = b
        elif kind == PRE_PAGE_FREE:
            free_pages(zone, boot.pre_handle[a, 0], boot.pre_handle[a, 1])
        elif kind == PRE_PAGE_FREE_PART:
            free_pages_exact(zone, boot.pre_handle[a, 0] + b, c)
        elif kind == PRE_FREE_INITMEM:
            free_initmem(zone, b, c)
        elif kind == PRE_KMEM_CACHE_ALLOC:
            for _ in range(b):
                if kmem_cache_alloc(boot.memory.slub, zone, a, 0) < 0:
                    return fail(boot, FAILED_OTHER_PAGE, 0, -1)
        elif kind == PRE_WATERMARKS:
            calculate_min_free_kbytes(zone)
            setup_per_zone_wmarks(zone)
        elif kind == PRE_TASKS:
            start_tasks(boot, a)
        work_off_boost(zone)
    return True


@kernel
def work_off_boost(zone: Zone) -> None:
    """kswapd, which a boosted watermark wakes, runs soon and has nothing to reclaim: the boost is gone at once."""
    if zone.scalar[WATERMARK_BOOST] != 0:
        kswapd(zone)


@kernel
def take_block(boot: Boot, handle: int, order: int, gfp: int) -> bool:
    """OP_PAGE_ALLOC. A block whose giving back came first (another lane did it) is not taken at all."""
    if boot.handle[handle, 0] == FREED_EARLY:
        return True
    pfn = alloc_block(boot, gfp, order)
    if pfn < 0:
        return False
    boot.handle[handle, 0] = pfn
    boot.handle[handle, 1] = order
    return True


@kernel
def start_tasks(boot: Boot, alive: int) -> None:
    """PRE_TASKS: tasks that the pre-init phase left, their slabs filled up in order."""
    machine = boot.memory.zone.machine
    boot.tasks[TASKS_ALIVE] = alive
    boot.tasks[TASK_STRUCT_ROOM] = (alive + machine.task_structs - 1) // machine.task_structs * machine.task_structs
    boot.tasks[SIGHAND_ROOM] = (alive + machine.sighands - 1) // machine.sighands * machine.sighands
    boot.tasks[SIGNAL_ROOM] = (alive + machine.signals - 1) // machine.signals * machine.signals


@kernel
def take_task_object(boot: Boot, room: int, objects: int, order: int) -> bool:
    """An object for the task just counted, from a new slab if the old ones are full. False if there is no page.

    Without a block of `order` the slab is a single page, with its share of the objects (allocate_slab() of mm/slub.c).
    """
    if boot.tasks[TASKS_ALIVE] <= boot.tasks[room]:
        return True
    if alloc_pages(boot.memory.zone, TASK_SLAB_GFP, order) < 0:
        if alloc_pages(boot.memory.zone, TASK_SLAB_GFP, 0) < 0:
            return False
        objects >>= order
        order = 0
    boot.tasks[TASK_SLAB_PAGES] += 1 << order
    boot.tasks[room] += objects
    return True


@kernel
def copy_process(boot: Boot, handle: int, gfp: int) -> bool:
    """OP_COPY_PROCESS: task_struct, kernel stack, signal handlers, signals, in the kernel's order."""
    machine = boot.memory.zone.machine
    boot.tasks[TASKS_ALIVE] += 1
    return (
        take_task_object(boot, TASK_STRUCT_ROOM, machine.task_structs, machine.task_struct_order)
        and take_block(boot, handle, machine.thread_size_order, gfp)
        and take_task_object(boot, SIGHAND_ROOM, machine.sighands, machine.sighand_order)
        and take_task_object(boot, SIGNAL_ROOM, machine.signals, machine.signal_order)
    )


@kernel
def give_block(boot: Boot, handle: int) -> None:
    """OP_PAGE_FREE."""
    if boot.handle[handle, 0] == NOT_ALLOCATED:
        boot.handle[handle, 0] = FREED_EARLY
        return
    free_pages(boot.memory.zone, boot.handle[handle, 0], boot.handle[handle, 1])
    boot.handle[handle, 0] = NOT_ALLOCATED


@kernel
def exec_image(boot: Boot, program: Program, mm: int, row: int) -> int:
    """OP_EXEC: a new address space, then the image's mappings. RIGHT, or why that cannot be."""
    boot.mm_state[mm] = MM_LIVE
    mm_init(boot.memory, mm)
    image = program.image[row]
    address = load_flat_file(
        boot.memory,
        mm,
        np.int64(image[IMAGE_TEXT]),
        np.int64(image[IMAGE_DATA]),
        np.int64(image[IMAGE_BSS]),
        np.int64(image[IMAGE_STACK]),
        np.int64(image[IMAGE_RELOCS]),
        np.int64(image[IMAGE_FLAGS]),
        np.int64(image[IMAGE_FILE]),
    )
    return REFUSED if address == -EINVAL else RIGHT


@kernel
def map_pages(boot: Boot, mm: int, length: int, mapping: int, file: int, flags: int) -> int:
    """OP_MMAP and OP_MMAP_FILE. RIGHT, or why that cannot be."""
    if boot.mm_state[mm] != MM_LIVE:
        return NO_ADDRESS_SPACE
    address = do_mmap(boot.memory, mm, length, file, flags, 0)
    if mapping >= 0:
        boot.mapping[mapping, 0] = mm
        boot.mapping[mapping, 1] = address
    return REFUSED if address == -EINVAL else RIGHT


@kernel
def unmap_pages(boot: Boot, mapping: int, first: int, pages: int) -> int:
    """OP_MUNMAP. RIGHT, or why that cannot be."""
    mm = boot.mapping[mapping, 0]
    if mm < 0 or boot.mm_state[mm] != MM_LIVE:
        return NO_MAPPING
    page_size = boot.memory.zone.machine.page_size
    start = boot.mapping[mapping, 1] + first * page_size
    error = do_munmap(boot.memory, mm, start, pages * page_size)
    return REFUSED if error == -EINVAL else RIGHT


@kernel
def end_address_space(boot: Boot, mm: int) -> int:
    """OP_EXIT_MMAP. RIGHT, or why that cannot be."""
    if boot.mm_state[mm] != MM_LIVE:
        return NO_ADDRESS_SPACE
    boot.mm_state[mm] = MM_GONE
    exit_mmap(boot.memory, mm)
    return RIGHT


@kernel
def place_request(boot: Boot, program: Program, row: int) -> bool:
    """One request of a lane; False if a page of its own was not to be had (mappings note that in Nommu.scalar).

    False too, and noted (see RESULT_WRONG), if the request makes no sense when it comes.
    """
    kind = program.op[row, KIND]
    a = np.int64(program.op[row, A])
    b = np.int64(program.op[row, B])
    c = np.int64(program.op[row, C])
    if kind == OP_PAGE_ALLOC:
        return take_block(boot, a, b, c)
    if kind == OP_COPY_PROCESS:
        return copy_process(boot, a, c)
    why = RIGHT
    if kind == OP_PAGE_FREE:
        give_block(boot, a)
    elif kind == OP_EXEC:
        why = exec_image(boot, program, a, b)
    elif kind == OP_MMAP:
        why = map_pages(boot, a, b, c, NO_FILE, 0)
    elif kind == OP_MMAP_FILE:
        why = map_pages(boot, a, b, c, np.int64(program.op[row, FLAGS]) >> MMAP_FILE_SHIFT, VM_MAYSHARE)
    elif kind == OP_MUNMAP:
        why = unmap_pages(boot, a, b, c)
    elif kind == OP_EXIT_MMAP:
        why = end_address_space(boot, a)
    if why != RIGHT:
        wrong(boot, why, row)
        return False
    return True


@kernel
def begin_boot(boot: Boot, program: Program, phase: int) -> bool:
    """Memory as the kernel starts /init, after the pre-init phase. False if that fails (see Boot.result)."""
    reset_boot(boot)
    return bool(run_pre_init(boot, program, phase))


@kernel
def place_entry(boot: Boot, program: Program, sched: Sched, recording: int, position: int) -> bool:
    """One entry of the stream. False if the boot fails there (see Boot.result)."""
    what = np.int64(sched.stream[position])
    if what >= 0:
        if not place_request(boot, program, what):
            return fail(boot, FAILED_OTHER_PAGE, np.int64(program.op[what, B]), position)
        if boot.memory.nommu.scalar[FAILURES] != 0:
            scalar = boot.memory.nommu.scalar
            return fail(boot, scalar[FAILED_CLASS], scalar[FAILED_ORDER], position)
        work_off_boost(boot.memory.zone)
    elif what == STREAM_RCU_QS:
        boot.memory.maple.scalar[RCU_DONE] = boot.memory.maple.scalar[RCU_PENDING]
    elif what == STREAM_RCU_RUN:
        rcu_do_batch(boot.memory.maple, boot.memory.slub, boot.memory.zone, boot.memory.maple.scalar[RCU_DONE])
        boot.memory.maple.scalar[RCU_DONE] = 0
    elif what == STREAM_TASK_FREE:
        boot.tasks[TASKS_ALIVE] -= 1
    else:
        first_lane = np.int64(program.recording[recording, RECORDING_LANE])
        give_block(boot, np.int64(program.lane[first_lane + STREAM_STACK_FREE - what, LANE_STACK]))
    return True


@kernel
def place_boot(boot: Boot, program: Program, sched: Sched, recording: int, phase: int) -> bool:
    """Place a whole boot, pre-init phase and stream. True if it reaches its login prompt; else see Boot.result."""
    if not begin_boot(boot, program, phase):
        return False
    for position in range(sched.clock[STREAM_LENGTH]):  # noqa: SIM110 (Numba has no all())
        if not place_entry(boot, program, sched, recording, position):
            return False
    return True
