"""The flat program of a workload: what the lanes of a boot ask of the kernel, as rows of int32.

A lane is a process. Its row in `lane` names its range of rows in `op`; each row is one request, the CPU time before it
and where on the way the kernel may switch to another task. Several recordings lie one after another in the same arrays;
the starts of each stand in `recording`. The pre-init phase (everything before the kernel starts /init) is a plain list
of page requests in recorded order, in `pre_init`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# Columns of `op`.
KIND = 0
FLAGS = 1
GAP = 2  # CPU time before the request, in counts of the machine's timer
A = 3
B = 4
C = 5
OP_COLUMNS = 6

# Kinds of request. The first group places pages, the second only moves lanes.
OP_PAGE_ALLOC = 0  # A handle, B order, C gfp
OP_PAGE_FREE = 1  # A handle: gives back the whole block
OP_EXEC = 2  # A mm, B image: load_flat_file()
OP_MMAP = 3  # A mm, B length in bytes, C mapping (a name for later requests, -1 if none), anonymous
OP_MMAP_FILE = 4  # the same of a file, read-only and shareable; FLAGS >> MMAP_FILE_SHIFT is its number
OP_MUNMAP = 5  # A mapping, B first page, C pages: all of it or a part, which splits or shrinks it
OP_EXIT_MMAP = 6  # A mm
OP_COPY_PROCESS = 7  # A handle of the kernel stack, B its order (0), C its gfp: a new task, which may need new slabs
LAST_PAGE_OP = OP_COPY_PROCESS

OP_NOP = 16  # CPU time only
OP_FORK = 17  # A child lane; its kernel stack is a request before
OP_WAIT = 18  # A event, B count: goes on once the event's count has reached B
OP_SIGNAL = 19  # A event, B count to add
OP_SLEEP = 20  # A number of the following tick that ends the sleep
OP_EXIT_NOTIFY = 21  # A event: the lane is a zombie, its parent may reap it
OP_RELEASE_TASK = 22  # A child lane, reaped
OP_DEAD = 23  # the last switch away
OP_LOGIN = 24  # the boot has reached its prompt
OP_EXEC_DELAY = 25  # the artificial noise of the recorded boots, if asked for: A counts, B ticks of sleep (0 none)

# Bits of FLAGS.
GAP_USER = 1  # the CPU time before the request is spent in user mode: a reschedule is honoured at once
RESCHED_AFTER = 4  # return to user mode or cond_resched() right after the request
CALL_RCU = 8  # the request queues an RCU callback
MMAP_FILE_SHIFT = 8

# Columns of `lane`.
LANE_FIRST = 0
LANE_END = 1
LANE_STACK = 2  # handle of the kernel stack's page, -1 if it was there before
LANE_PID = 3
LANE_COLUMNS = 4

# Columns of `image`: the arguments of load_flat_file(), in bytes (relocations: a number).
IMAGE_TEXT = 0
IMAGE_DATA = 1
IMAGE_BSS = 2
IMAGE_STACK = 3
IMAGE_RELOCS = 4
IMAGE_FLAGS = 5  # of the header: FLAT_FLAG_RAM or FLAT_FLAG_GZIP put text and data in one mapping
IMAGE_FILE = 6  # number of the file, for sharing
IMAGE_COLUMNS = 7

# Columns and kinds of `pre_init`.
PRE_KIND = 0
PRE_A = 1
PRE_B = 2
PRE_C = 3
PRE_COLUMNS = 4

PRE_PAGE_ALLOC = 0  # A handle, B order, C gfp
PRE_PAGE_FREE = 1  # A handle
PRE_PAGE_FREE_PART = 2  # A handle, B first page, C pages: a part of a block, page by page (ramfs trims a file)
PRE_FREE_INITMEM = 3  # B first page, C pages: absolute
PRE_KMEM_CACHE_ALLOC = 4  # A cache, B objects that are never given back
PRE_WATERMARKS = 5  # setup_per_zone_wmarks()
PRE_TASKS = 6  # A tasks alive when the phase ends; the pages of their caches were requests of it

# Why a boot has neither an end nor an outcome. Most of it depends on the order in which the lanes' requests come, so no
# look at the program alone can tell; that the first four happen means that the program itself is wrong.
RIGHT = 0
STUCK = 1  # every lane waits for another
REAPED_EARLY = 2  # a lane is reaped before it was forked
NO_ADDRESS_SPACE = 3  # a mapping, or the end of one, in an mm before its exec or after its exit
NO_MAPPING = 4  # a munmap before the mmap or after the mm's exit
REFUSED = 5  # do_mmap() or do_munmap() says -EINVAL
TOO_LONG = 6  # more than MAX_TICKS or MAX_QUEUE_STEPS of kernels/boot/sched.py
NODES_SHORT = 7  # a store into a maple tree ran out of preallocated nodes: Linux crashes, the model has no more to say
ROWS_SHORT = 8  # more slabs than this simulator has rows for: `slabs_for` of kernels/boot/boot.py is wrong

# Columns of `recording`.
RECORDING_LANE = 0
RECORDING_LANE_END = 1
RECORDING_HANDLES = 2
RECORDING_EVENTS = 3
RECORDING_MMS = 4
RECORDING_MAPPINGS = 5
RECORDING_COLUMNS = 6


class Program(NamedTuple):
    """A mixture of recordings as the kernels read it; every array is C-contiguous int32 and never written.

    op: (requests, OP_COLUMNS). lane: (lanes, LANE_COLUMNS), op ranges absolute. image: (images, IMAGE_COLUMNS).
    recording: (recordings, RECORDING_COLUMNS), lane ranges absolute, counts of handles, events, mms, mappings.
    pre_init: (requests, PRE_COLUMNS). pre_init_range: (phases, 3), first and end row of each, number of handles.
    """

    op: NDArray[np.int32]
    lane: NDArray[np.int32]
    image: NDArray[np.int32]
    recording: NDArray[np.int32]
    pre_init: NDArray[np.int32]
    pre_init_range: NDArray[np.int32]
