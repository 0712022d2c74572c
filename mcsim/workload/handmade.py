"""Workloads written by hand: a TOML file, compiled to the same program as a recorded boot (docs/workloads.md).

The CPU time inside the kernel is not in the file: each step takes what its board says (`[steps]`, in timer counts). Nor
is what a step asks of the page allocator besides mappings: argument pages and kernel stacks. The slabs that recorded
tasks take now and then (OP_COPY_PROCESS) are left out.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import BeforeValidator, Field, ValidationError

from mcsim import files
from mcsim.errors import UserError, did_you_mean
from mcsim.kernels.boot import program as flat
from mcsim.kernels.linux.binfmt_flat import FLAT_FLAG_RAM
from mcsim.kernels.linux.gfp import GFP_KERNEL
from mcsim.kernels.linux.slub import MAPLE_NODE
from mcsim.model.board import LARGEST_MAX_ORDER, Board, Steps
from mcsim.model.section import CarriedError, Section, user_error
from mcsim.model.units import SIZE_SYNTAX, parse_size
from mcsim.workload.check import MAX_LANES, check_program
from mcsim.workload.program import RecordedProgram, read_gaps

# gfp flags as the recordings have them: argument pages of an exec, kernel stacks.
GFP_ARGUMENTS = 0x100DC2
GFP_STACK = 0x400DC0

MAX_SIZE = 1 << 30
MAX_MAPPING_STEPS = 1000  # recordings have 300
MAX_US = 600_000_000
MAX_SECONDS = 10_000  # CPU time and sleep of all processes together
MAX_STEPS = 50_000
MAX_BLOCKS = 100_000  # of the pre-init phase
NEVER = 0  # the event that is never signalled
POOL_WORKQUEUES = 2  # objects of the maple nodes' merged cache that workqueue_init_early() takes first
NAME_SYNTAX = "a text in quotes"


def _size(value: object) -> int:
    try:
        size = parse_size(value)
    except UserError as error:
        raise CarriedError(error) from None
    if size > MAX_SIZE:
        raise CarriedError(UserError(f"{value!r} is too large", valid="at most '1G'"))
    return size


Bytes = Annotated[int, BeforeValidator(_size)]


class Image(Section):
    """`[images.NAME]`: a program file (bFLT), as load_flat_file() of the kernel reads its header."""

    text: Bytes = Field(description=SIZE_SYNTAX)
    data: Bytes = Field(default=0, description=SIZE_SYNTAX)
    bss: Bytes = Field(default=0, description=SIZE_SYNTAX)
    stack: Bytes = Field(default=8 << 10, description=SIZE_SYNTAX)
    relocations: int = Field(default=0, ge=0, le=1 << 24, description="a whole number, 4 bytes each")
    ram: bool = Field(default=True, description="true (text and data in one mapping) or false (the text is shared)")

    @property
    def mapped(self) -> int:
        """Bytes of both mappings."""
        return self.text + self.data + max(self.bss + self.stack, 4 * self.relocations)


class PageRequests(Section):
    """One row of `pre_init.pages`: blocks that the kernel takes for good before it starts the first process."""

    order: int = Field(ge=0, lt=LARGEST_MAX_ORDER, description="a whole number from 0, below the board's max_order")
    count: int = Field(ge=1, le=100_000, description="a whole number from 1 to 100000")


class PreInit(Section):
    """`[pre_init]`."""

    pages: list[Any] = Field(default_factory=list, description="a list of { order = N, count = N }")


class Process(Section):
    """`[[process]]`."""

    name: str = Field(min_length=1, description="a name of its own, in quotes")
    steps: list[Any] = Field(description="a list of steps such as { do = 'run', us = 300 }")


class Run(Section):
    """CPU time in user mode."""

    do: Literal["run"]
    us: int = Field(ge=0, le=MAX_US, description=f"microseconds, a whole number from 0 to {MAX_US}")


class Exec(Section):
    """execve(): a new, empty memory, then the image's mappings."""

    do: Literal["exec"]
    image: str = Field(description="the NAME of a table [images.NAME], in quotes")


class Mmap(Section):
    """mmap(), private and anonymous or the text of a file, which processes share."""

    do: Literal["mmap"]
    length: Bytes = Field(description=SIZE_SYNTAX)
    file: str | None = Field(default=None, min_length=1, description="the name of a file, in quotes")
    name: str | None = Field(default=None, min_length=1, description="a name for munmap, in quotes")


class Munmap(Section):
    """munmap() of a mapping or of a part of it."""

    do: Literal["munmap"]
    name: str = Field(description="the name of a mapping of this process, in quotes")
    first: int | None = Field(default=None, ge=0, description="the first page to go, a whole number from 0 on")
    pages: int | None = Field(default=None, ge=1, description="how many pages are to go, a whole number from 1 on")


class Alloc(Section):
    """A block of 2^order pages for the kernel itself."""

    do: Literal["alloc"]
    order: int = Field(ge=0, lt=LARGEST_MAX_ORDER, description="a whole number from 0, below the board's max_order")
    name: str | None = Field(default=None, min_length=1, description="a name for free, in quotes")


class Free(Section):
    """Gives back what alloc took."""

    do: Literal["free"]
    name: str = Field(description="the name of a block of this process, in quotes")


class Spawn(Section):
    """vfork(): goes on when the child has its own memory or has exited."""

    do: Literal["spawn"]
    process: str = Field(description="the name of a [[process]], in quotes")


class Wait(Section):
    """wait4() for the end of a child."""

    do: Literal["wait"]
    process: str = Field(description="the name of a process that this one has spawned, in quotes")


class Sleep(Section):
    """Sleeps for a number of ticks of the clock."""

    do: Literal["sleep"]
    ticks: int = Field(ge=1, le=1_000_000, description="a whole number from 1 to 1000000")


class Exit(Section):
    """The end of the process."""

    do: Literal["exit"]


class Login(Section):
    """The prompt: the boot has succeeded."""

    do: Literal["login"]


STEPS: Mapping[str, type[Section]] = {
    "run": Run,
    "exec": Exec,
    "mmap": Mmap,
    "munmap": Munmap,
    "alloc": Alloc,
    "free": Free,
    "spawn": Spawn,
    "wait": Wait,
    "sleep": Sleep,
    "exit": Exit,
    "login": Login,
}
LAST_STEPS = (Exit, Login)


class WorkloadFile(Section):
    """A whole workload file."""

    images: dict[str, Any] = Field(description="tables [images.NAME]")
    process: list[Any] = Field(min_length=1, description="tables [[process]], the first one is pid 1")
    pre_init: dict[str, Any] = Field(default_factory=dict, description="a table: pages")
    board: str | None = Field(
        default=None, description="the board of experiments that name none: a shipped one, or the path of a board file"
    )


def read_workload(path: Path, board: Board) -> RecordedProgram:
    """Read, check and compile a workload file for a board.

    Raises UserError: a file that cannot be read, and anything in it that is not valid.
    """
    content = files.read_bytes(path)
    values = files.parse_toml(files.read_text(path), path)
    try:
        return _compile(values, board, path.stem, hashlib.sha256(content).hexdigest())
    except UserError as error:
        raise error.at(file=path) from None


S = TypeVar("S", bound=Section)


def _section(model: type[S], value: object, place: str) -> S:
    """A checked table; `place` is its key."""
    if not isinstance(value, dict):
        raise UserError(f"{value!r} is not a table", key=place, valid=f"a table: {', '.join(model.model_fields)}")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise user_error(error, model, (place,) if place else ()) from None


def _one_of(name: str, known: Iterable[str], what: str, key: str, valid: str) -> None:
    """Refuse a name that is not known."""
    known = list(known)
    if name not in known:
        raise UserError(f"{name!r} is not {what}{did_you_mean(name, known)}", key=key, valid=valid)


@dataclass
class _Step:
    """A checked step and its key."""

    step: Section
    key: str


@dataclass
class _Checked:
    """A process with checked steps; `vfork` and `zombie` are its events."""

    name: str
    key: str
    lane: int
    steps: list[_Step]

    @property
    def vfork(self) -> int:
        return 2 * self.lane + 1

    @property
    def zombie(self) -> int:
        return 2 * self.lane + 2

    def has(self, *kinds: type[Section]) -> bool:
        """Whether one of its steps is of one of these kinds."""
        return any(isinstance(each.step, kinds) for each in self.steps)


def _compile(values: dict[str, Any], board: Board, name: str, sha256: str) -> RecordedProgram:
    file = _section(WorkloadFile, values, "")
    if board.steps is None:
        what = f"the board {board.name} does not say how long the steps of such a workload take"
        raise UserError(what, valid="a table [steps] in its file")
    images = {each: _section(Image, table, f"images.{each}") for each, table in file.images.items()}
    processes = _check_processes(file.process, board)
    _check_family(processes)
    pre_init, pre_init_handles = _pre_init(_section(PreInit, file.pre_init, "pre_init"), board)
    program = RecordedProgram(
        name=name,
        environment="handmade",
        variant="-",
        ram_mb=0,
        jitter=0,
        sha256=sha256,
        pre_init=pre_init,
        pre_init_handles=pre_init_handles,
    )
    _Compiler(images, processes, board, board.steps).compile_into(program)
    check_program(program, board)
    return program


def _pre_init(table: PreInit, board: Board) -> tuple[np.ndarray, int]:
    """Rows of PRE_COLUMNS and the number of handles."""
    rows = [
        (flat.PRE_KMEM_CACHE_ALLOC, MAPLE_NODE, POOL_WORKQUEUES, 0),
        (flat.PRE_WATERMARKS, 0, 0, 0),
    ]
    handles = 0
    for number, value in enumerate(table.pages, 1):
        request = _section(PageRequests, value, f"pre_init.pages[{number}]")
        _check_order(request.order, board, f"pre_init.pages[{number}].order")
        if handles + request.count > MAX_BLOCKS:
            valid = f"a count of at most {MAX_BLOCKS} in all rows together"
            raise UserError("too many blocks", key=f"pre_init.pages[{number}]", valid=valid)
        for _ in range(request.count):
            rows.append((flat.PRE_PAGE_ALLOC, handles, request.order, GFP_KERNEL))
            handles += 1
    if board.initmem:
        rows.append((flat.PRE_FREE_INITMEM, 0, board.initmem.first_page, board.initmem.pages))
    return np.array(rows, np.int32), handles


def _check_order(order: int, board: Board, key: str) -> None:
    """Refuse an order that the board does not have."""
    most = board.machine.max_order - 1
    if order > most:
        raise UserError(f"order {order} is more than this board has", key=key, valid=f"a whole number from 0 to {most}")


# -- what can be said about the processes without running them --------------------------------------------------


def _check_processes(tables: list[Any], board: Board) -> dict[str, _Checked]:
    """The processes by name, each step checked by itself."""
    processes: dict[str, _Checked] = {}
    mapping_steps = number_of_steps = 0
    seconds = 0.0
    if len(tables) > MAX_LANES:
        raise UserError(f"{len(tables)} processes are too many", key="process", valid=f"at most {MAX_LANES}")
    for lane, table in enumerate(tables):
        given = table.get("name") if isinstance(table, dict) else None
        key = f"process.{given}" if isinstance(given, str) and given else f"process[{lane + 1}]"
        process = _section(Process, table, key)
        if process.name in processes:
            raise UserError(f"{process.name!r} is there twice", key=f"{key}.name", valid="a name of its own")
        number_of_steps += len(process.steps)
        if number_of_steps > MAX_STEPS:
            valid = f"at most {MAX_STEPS} steps of all processes together"
            raise UserError("too many steps", key=f"{key}.steps", valid=valid)
        steps = [_step(value, f"{key}.steps[{number}]") for number, value in enumerate(process.steps, 1)]
        for each in steps[:-1]:
            if isinstance(each.step, LAST_STEPS):
                raise UserError("steps follow it", key=each.key, valid="exit or login as the last step")
        for each in steps:
            seconds += each.step.us / 1e6 if isinstance(each.step, Run) else 0
            seconds += each.step.ticks / board.clock.hz if isinstance(each.step, Sleep) else 0
            if seconds > MAX_SECONDS:
                valid = f"at most {MAX_SECONDS} s of run and sleep in all processes together"
                raise UserError("makes the boot too long", key=each.key, valid=valid)
        mapping_steps += sum(isinstance(each.step, Exec | Mmap | Munmap) for each in steps)
        processes[process.name] = _Checked(process.name, key, lane, steps)
    if mapping_steps > MAX_MAPPING_STEPS:
        raise UserError(
            f"{mapping_steps} steps that map and unmap are too many",
            key="process",
            valid=f"at most {MAX_MAPPING_STEPS} exec, mmap and munmap steps in all",
        )
    return processes


def _step(value: object, key: str) -> _Step:
    valid = ", ".join(STEPS)
    if not isinstance(value, dict):
        raise UserError(f"{value!r} is not a step", key=key, valid="a table such as { do = 'run', us = 300 }")
    if "do" not in value:
        raise UserError("is missing", key=f"{key}.do", valid=valid)
    what = value["do"]
    if not isinstance(what, str):
        raise UserError(f"{what!r} is not a text in quotes", key=f"{key}.do", valid=valid)
    _one_of(what, STEPS, "a step", f"{key}.do", valid)
    return _Step(_section(STEPS[what], value, key), key)


def _check_family(processes: dict[str, _Checked]) -> None:
    """Each process but the first is spawned once, and one of them logs in."""
    first = next(iter(processes.values()))
    children: dict[str, list[str]] = {name: [] for name in processes}
    spawned: dict[str, str] = {}
    for process in processes.values():
        for each in process.steps:
            if not isinstance(each.step, Spawn):
                continue
            child, key = each.step.process, f"{each.key}.process"
            others = ", ".join(name for name in processes if name != first.name) or "no other process is there"
            _one_of(child, processes, "a process", key, others)
            if child == first.name:
                raise UserError(f"{child!r} is pid 1, which the kernel starts", key=key, valid=others)
            if child in spawned:
                raise UserError(f"{child!r} is spawned already by {spawned[child]!r}", key=key, valid=others)
            spawned[child] = process.name
            children[process.name].append(child)
            if not processes[child].has(Exec, Exit):
                raise UserError(f"{child!r} never lets go of its parent", key=key, valid="a process with exec or exit")
    reached = [first.name]
    for name in reached:
        reached += children[name]
    for name, process in processes.items():
        if name not in reached and name not in spawned:
            raise UserError("is never started", key=process.key, valid=f"a step {{ do = 'spawn', process = '{name}' }}")
    lost = [name for name in processes if name not in reached]
    if lost:
        raise UserError(
            f"is never started: {', '.join(lost)} only spawn each other",
            key=processes[lost[0]].key,
            valid="parents that lead back to the first process",
        )
    logins = [each for process in processes.values() for each in process.steps if isinstance(each.step, Login)]
    if len(logins) != 1:
        what = "no process logs in" if not logins else "there is a login already"
        key = "process" if not logins else logins[1].key
        raise UserError(what, key=key, valid="one step { do = 'login' } in the whole file")


# -- lanes ------------------------------------------------------------------------------------------------------


@dataclass
class _Mapping:
    """A named mapping: its number and the pieces still there, in pages, ends excluded."""

    number: int
    pages: int
    file: str | None
    pieces: list[tuple[int, int]]

    def __str__(self) -> str:
        return ", ".join(f"{a} to {b - 1}" if b - a > 1 else str(a) for a, b in self.pieces)


@dataclass
class _Lane:
    """A process while its requests are collected."""

    process: _Checked
    ops: list[tuple[int, ...]] = field(default_factory=list)
    step: list[int] = field(default_factory=list)  # number of the step that each request belongs to
    in_user: bool = True
    stack: int = -1
    mm: int = -1  # -1: it still has the memory of its parent
    mappings: dict[str, _Mapping] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)  # mapped now, by name or not
    blocks: dict[str, int] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)  # names of mappings and blocks that were there
    children: dict[str, bool] = field(default_factory=dict)  # whether it was waited for
    number: int = 0

    def add(self, kind: int, gap: int, a: int = 0, b: int = 0, c: int = 0, flags: int = 0) -> None:
        """One request after `gap` counts."""
        self.ops.append((kind, flags, gap, a, b, c))
        self.step.append(self.number)

    def enter_kernel(self, flags: int = 0) -> None:
        """End the time in user mode."""
        if self.in_user:
            self.add(flat.OP_NOP, 0, flags=flat.GAP_USER | flags)
        self.in_user = False

    def return_to_user(self, gap: int) -> None:
        """Where the kernel may switch to another task."""
        self.add(flat.OP_NOP, gap, flags=flat.RESCHED_AFTER)
        self.in_user = True


def _per_kb(counts: int, size: int) -> int:
    return counts * size // 1024


class _Compiler:
    """Makes the lanes, one process after the other."""

    def __init__(self, images: dict[str, Image], processes: dict[str, _Checked], board: Board, gap: Steps) -> None:
        self.board = board
        self.gap = gap
        self.images = images
        self.image_number = {name: number for number, name in enumerate(images)}
        self.processes = processes
        self.file_number: dict[str, int] = {name: number for number, name in enumerate(images)}
        self.file_pages: dict[str, int] = {}
        self.handles = 0
        self.mms = 0
        self.mappings = 0
        self.lanes = [_Lane(process) for process in processes.values()]

    def compile_into(self, program: RecordedProgram) -> None:
        """Fill in all but the pre-init phase."""
        handlers = {
            Run: self._run,
            Exec: self._exec,
            Mmap: self._mmap,
            Munmap: self._munmap,
            Alloc: self._alloc,
            Free: self._free,
            Spawn: self._spawn,
            Wait: self._wait,
            Sleep: self._sleep,
            Exit: self._exit,
            Login: self._login,
        }
        first = self.lanes[0].process
        if not first.steps or not isinstance(first.steps[0].step, Exec):
            raise UserError(
                "pid 1 does not begin with exec", key=f"{first.key}.steps[1]", valid="{ do = 'exec', image = NAME }"
            )
        self.lanes[0].in_user = False
        for lane in self.lanes:
            for number, each in enumerate(lane.process.steps, 1):
                lane.number = number
                handlers[type(each.step)](lane, each.step, each.key)  # type: ignore[operator]  # step of its kind
            if not lane.process.has(Exit):
                lane.add(flat.OP_WAIT, 0, NEVER, 1, flags=flat.GAP_USER)
        ops = [op for lane in self.lanes for op in lane.ops]
        ends = np.cumsum([len(lane.ops) for lane in self.lanes])
        rows = [
            (end - len(lane.ops), end, lane.stack, number)
            for number, (lane, end) in enumerate(zip(self.lanes, ends, strict=True), 1)
        ]
        program.op = np.array(ops, np.int32).reshape(-1, flat.OP_COLUMNS)
        program.record = np.array([number for lane in self.lanes for number in lane.step], np.int32)
        program.lane = np.array(rows, np.int32).reshape(-1, flat.LANE_COLUMNS)
        program.image = np.array(
            [self._image_row(name, image) for name, image in self.images.items()], np.int32
        ).reshape(-1, flat.IMAGE_COLUMNS)
        program.names = tuple(self.processes)
        program.handles = self.handles
        program.events = 2 * len(self.lanes) + 1
        program.mms = self.mms
        program.mappings = self.mappings

    def _image_row(self, name: str, image: Image) -> tuple[int, ...]:
        flags = FLAT_FLAG_RAM if image.ram else 0
        sizes = (image.text, image.data, image.bss, image.stack, image.relocations)
        return (*sizes, flags, self.file_number[name])

    def _new_handle(self) -> int:
        self.handles += 1
        return self.handles - 1

    def _run(self, lane: _Lane, step: Run, key: str) -> None:
        lane.add(flat.OP_NOP, step.us * 1000 // self.board.clock.timer_ns, flags=flat.GAP_USER)

    def _exec(self, lane: _Lane, step: Exec, key: str) -> None:
        valid = ", ".join(self.images) or "a table [images.NAME], of which there is none"
        _one_of(step.image, self.images, "an image", f"{key}.image", valid)
        image = self.images[step.image]
        arguments = self._new_handle()
        lane.enter_kernel(flat.CALL_RCU)  # the file of the image is opened and closed
        lane.add(flat.OP_PAGE_ALLOC, self.gap.arguments, arguments, 0, GFP_ARGUMENTS)
        if lane.mm >= 0:
            lane.add(flat.OP_EXIT_MMAP, self.gap.replace, lane.mm, flags=flat.RESCHED_AFTER)
        elif lane is not self.lanes[0]:
            lane.add(flat.OP_SIGNAL, self.gap.release, lane.process.vfork, 1)
        lane.gone |= set(lane.mappings)
        lane.mappings.clear()
        lane.files.clear()
        lane.mm = self.mms
        self.mms += 1
        lane.add(flat.OP_EXEC, self.gap.exec, lane.mm, self.image_number[step.image])
        lane.add(flat.OP_NOP, _per_kb(self.gap.clear_per_kb, image.mapped), flags=flat.RESCHED_AFTER)
        *steps, relocating = read_gaps(_per_kb(self.gap.read_per_kb, image.mapped))
        for gap in steps:
            lane.add(flat.OP_NOP, gap, flags=flat.RESCHED_AFTER)
        lane.add(flat.OP_PAGE_FREE, relocating, arguments)
        lane.return_to_user(self.gap.bprm)

    def _need_own_memory(self, lane: _Lane, key: str) -> None:
        if lane.mm < 0:
            raise UserError("the process has the memory of its parent until it execs", key=key, valid="exec before it")

    def _need_new_name(self, lane: _Lane, name: str | None, key: str) -> None:
        if name in lane.mappings or name in lane.blocks:
            raise UserError(f"{name!r} is there already", key=f"{key}.name", valid="a name that is not in use")

    def _mmap(self, lane: _Lane, step: Mmap, key: str) -> None:
        self._need_own_memory(lane, key)
        self._need_new_name(lane, step.name, key)
        pages = -(-step.length // self.board.machine.page_size)
        kind, flags = flat.OP_MMAP, 0
        if step.file is not None:
            kind, flags = flat.OP_MMAP_FILE, self._file(lane, step.file, pages, key) << flat.MMAP_FILE_SHIFT
        number = -1
        if step.name is not None:
            number = self.mappings
            self.mappings += 1
            lane.mappings[step.name] = _Mapping(number, pages, step.file, [(0, pages)])
            lane.gone.discard(step.name)
        lane.enter_kernel()
        lane.add(kind, self.gap.mmap, lane.mm, step.length, number, flags)
        lane.return_to_user(self.gap.syscall + _per_kb(self.gap.clear_per_kb, step.length))

    def _file(self, lane: _Lane, file: str, pages: int, key: str) -> int:
        """The number of a file of which this process is to map all `pages` pages."""
        if file in self.images:
            raise UserError(f"{file!r} is an image", key=f"{key}.file", valid="the name of another file")
        if file in lane.files:
            raise UserError(f"{file!r} is mapped already by this process", key=f"{key}.file", valid="munmap before it")
        # A longer part of a file than the one that another process has mapped would be refused with -EINVAL.
        if self.file_pages.setdefault(file, pages) != pages:
            raise UserError(
                f"{file!r} is mapped with another length elsewhere",
                key=f"{key}.length",
                valid=f"{self.file_pages[file]} pages of {self.board.machine.page_size // 1024}K, as there",
            )
        lane.files.add(file)
        return self.file_number.setdefault(file, len(self.file_number))

    def _munmap(self, lane: _Lane, step: Munmap, key: str) -> None:
        self._need_own_memory(lane, key)
        if step.name not in lane.mappings:
            what = "is not mapped any more" if step.name in lane.gone else "is not a mapping of this process"
            known = list(lane.mappings)
            raise UserError(
                f"{step.name!r} {what}{did_you_mean(step.name, known)}",
                key=f"{key}.name",
                valid=", ".join(known) or "an mmap step with a name before it",
            )
        mapping = lane.mappings[step.name]
        for first, pages in self._parts(mapping, step, key):
            lane.enter_kernel()
            # munmap() lets go of a file; and so the nodes that it frees by RCU meet a quiescent state soon.
            lane.add(flat.OP_MUNMAP, self.gap.mmap, mapping.number, first, pages, flags=flat.CALL_RCU)
            lane.return_to_user(self.gap.syscall)
        if not mapping.pieces:
            del lane.mappings[step.name]
            lane.gone.add(step.name)
            lane.files.discard(mapping.file or "")

    def _parts(self, mapping: _Mapping, step: Munmap, key: str) -> list[tuple[int, int]]:
        """First page and pages of each call; takes them off the mapping's pieces."""
        if step.first is None and step.pages is None:
            pieces, mapping.pieces = mapping.pieces, []
            return [(first, end - first) for first, end in pieces]
        first = step.first or 0
        end = mapping.pages if step.pages is None else first + step.pages
        piece = next((each for each in mapping.pieces if each[0] <= first < end <= each[1]), None)
        if piece is None:
            raise UserError(
                f"pages {first} to {end - 1} of {step.name!r} are not in one piece of it",
                key=f"{key}.first" if step.first is not None else f"{key}.pages",
                valid=f"pages {mapping}",
            )
        if mapping.file is not None and (first, end) != (0, mapping.pages):
            raise UserError("a mapping of a file has no parts", key=key, valid="munmap without first and pages")
        mapping.pieces.remove(piece)
        mapping.pieces += [each for each in ((piece[0], first), (end, piece[1])) if each[0] < each[1]]
        mapping.pieces.sort()
        return [(first, end - first)]

    def _alloc(self, lane: _Lane, step: Alloc, key: str) -> None:
        self._need_new_name(lane, step.name, key)
        _check_order(step.order, self.board, f"{key}.order")
        handle = self._new_handle()
        if step.name is not None:
            lane.blocks[step.name] = handle
            lane.gone.discard(step.name)
        lane.enter_kernel()
        lane.add(flat.OP_PAGE_ALLOC, self.gap.mmap, handle, step.order, GFP_KERNEL)
        lane.return_to_user(self.gap.syscall)

    def _free(self, lane: _Lane, step: Free, key: str) -> None:
        if step.name not in lane.blocks:
            what = "is freed already" if step.name in lane.gone else "is not a block of this process"
            known = list(lane.blocks)
            raise UserError(
                f"{step.name!r} {what}{did_you_mean(step.name, known)}",
                key=f"{key}.name",
                valid=", ".join(known) or "an alloc step with a name before it",
            )
        lane.enter_kernel()
        lane.add(flat.OP_PAGE_FREE, self.gap.mmap, lane.blocks.pop(step.name))
        lane.gone.add(step.name)
        lane.return_to_user(self.gap.syscall)

    def _spawn(self, lane: _Lane, step: Spawn, key: str) -> None:
        child = self.lanes[self.processes[step.process].lane]
        lane.children[step.process] = False
        child.stack = self._new_handle()
        lane.enter_kernel()
        lane.add(flat.OP_PAGE_ALLOC, self.gap.stack, child.stack, self.board.machine.thread_size_order, GFP_STACK)
        lane.add(flat.OP_FORK, self.gap.fork, child.process.lane)
        lane.add(flat.OP_WAIT, self.gap.vfork, child.process.vfork, 1)
        lane.return_to_user(self.gap.syscall)

    def _wait(self, lane: _Lane, step: Wait, key: str) -> None:
        key = f"{key}.process"
        waiting = [name for name, reaped in lane.children.items() if not reaped]
        valid = ", ".join(waiting) or "a spawn step before it"
        _one_of(step.process, lane.children, "a process that this one has spawned before", key, valid)
        if lane.children[step.process]:
            raise UserError(f"{step.process!r} was waited for already", key=key, valid=valid)
        child = self.processes[step.process]
        if not child.has(Exit):
            raise UserError(f"{step.process!r} never exits", key=key, valid="a process with an exit step")
        lane.children[step.process] = True
        lane.enter_kernel()
        lane.add(flat.OP_WAIT, self.gap.wait, child.zombie, 1)
        lane.add(flat.OP_RELEASE_TASK, self.gap.release_task, child.lane)
        lane.return_to_user(self.gap.syscall)

    def _sleep(self, lane: _Lane, step: Sleep, key: str) -> None:
        lane.enter_kernel()
        lane.add(flat.OP_SLEEP, self.gap.syscall, step.ticks)
        lane.return_to_user(self.gap.syscall)

    def _exit(self, lane: _Lane, step: Exit, key: str) -> None:
        if lane is self.lanes[0]:
            raise UserError("pid 1 must not exit", key=key, valid="any other step")
        lane.enter_kernel()
        if lane.mm >= 0:
            lane.add(flat.OP_EXIT_MMAP, self.gap.exit_mmap, lane.mm, flags=flat.RESCHED_AFTER)
        else:
            lane.add(flat.OP_SIGNAL, self.gap.exit_mmap, lane.process.vfork, 1)
        lane.add(flat.OP_EXIT_NOTIFY, self.gap.exit_notify, lane.process.zombie, flags=flat.CALL_RCU)
        lane.add(flat.OP_DEAD, self.gap.dead)

    def _login(self, lane: _Lane, step: Login, key: str) -> None:
        lane.add(flat.OP_LOGIN, 0, flags=flat.GAP_USER)
