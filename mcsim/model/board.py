"""Boards: what a machine is, as a file. Nothing else in mcsim knows a fact of one.

A shipped board is named in an experiment (`[machine] board = "NAME"`), a board of one's own by its path.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic.json_schema import SkipJsonSchema

from mcsim.errors import UserError, did_you_mean
from mcsim.files import is_file
from mcsim.model.section import CarriedError, Section, WholeNumber, read_section
from mcsim.model.shipped import shipped_files
from mcsim.model.units import SIZE_SYNTAX, SIZES_SYNTAX, format_size, parse_size, parse_sizes

LARGEST_MAX_ORDER = 15  # that kernels have room for (kernels/linux/machine.py)
MAX_PAGES = 1 << 20  # of RAM that kernels have room for
MAX_RANGES = 1000
SLAB_OBJECTS = 8  # in a slab, at least (calculate_order)


def _bytes(value: object) -> object:
    """A size as people write it, or a whole number of bytes."""
    if type(value) is int:
        return value
    try:
        return parse_size(value)
    except UserError as error:
        raise CarriedError(error) from None


def _many_bytes(value: object) -> tuple[int, ...]:
    if isinstance(value, list | tuple) and all(type(each) is int for each in value):
        return tuple(value)
    try:
        return parse_sizes(value)
    except UserError as error:
        raise CarriedError(error) from None


def _rows(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _pairs(value: object) -> object:
    return (
        tuple(tuple(each) if isinstance(each, list) else each for each in value) if isinstance(value, list) else value
    )


TEXT = WithJsonSchema({"type": ["string", "integer"]})
Size = Annotated[int, BeforeValidator(_bytes), TEXT]
Sizes = Annotated[tuple[int, ...], BeforeValidator(_many_bytes), WithJsonSchema({"type": ["string", "array"]})]
Count = Annotated[int, Field(ge=0, le=1 << 30)]


class MachineTable(Section):
    """`[machine]`: pages, pointers, orders."""

    page_size: Size = Field(ge=1 << 10, le=1 << 16, description="1K to 64K, a power of two")
    pointer_bits: Annotated[Literal[32, 64], WholeNumber] = Field(
        description="32 or 64; decides the slots of a maple node (32 in a leaf, or 16), and what the other sizes can be"
    )
    sizeof_struct_page: int = Field(ge=28, le=256, description="bytes, a whole number of pointers: at least 7 of them")
    max_order: int = Field(
        ge=4,
        le=LARGEST_MAX_ORDER,
        description=f"MAX_ORDER as before 6.4: orders 0 to max_order - 1; 4 to {LARGEST_MAX_ORDER}",
    )
    pageblock_order: int = Field(description="max_order - 1: there are no huge pages without an MMU")
    ram_start: int = Field(ge=0, lt=1 << 47, description="the first byte of RAM, on the boundary of a pageblock")
    thread_size_order: int = Field(ge=0, le=4, description="the order of a kernel stack (THREAD_SIZE), 0 to 4")
    nr_trim_pages: int = Field(
        ge=0,
        le=1 << 20,
        description="vm.nr_trim_pages: leftovers of a mapping go back if they are so many pages; 0: never",
    )
    min_free_kbytes: int | None = Field(
        default=None,
        ge=0,
        le=1 << 20,
        description="vm.min_free_kbytes where it is set by hand; without it the kernel computes it",
    )


class Clock(Section):
    """`[clock]`: the tick, and the timer that times programs."""

    hz: int = Field(ge=24, le=1000, description="CONFIG_HZ, 24 to 1000")
    sched_clock: Literal["jiffies"] = Field(description="'jiffies' (run times are seen in whole ticks)")
    timer_ns: int = Field(ge=1, le=1_000_000, description="nanoseconds of one count of the timer that times programs")
    timer_counts_per_tick: int = Field(ge=1, le=1 << 30, description="counts in a tick: 10^9 / hz / timer_ns, to 1 %")


class Slab(Section):
    """A cache of which mcsim simulates each object."""

    size: int = Field(ge=8, le=4096, description="bytes of an object, alignment included")
    order: Annotated[Literal[0], WholeNumber] = Field(description="0: slabs of these caches are single pages")


class Slabs(Section):
    """`[slabs]`."""

    maple_node: Slab = Field(description="a table: size (256), order")
    vm_area_struct: Slab = Field(description="a table: size, order")
    vm_region: Slab = Field(description="a table: size, order")


class TaskSlab(Section):
    """A cache of which each task has one object."""

    objects: int = Field(ge=1, le=4096, description="objects in a slab")
    order: int = Field(ge=0, le=3, description="the order of a slab, 0 to 3")


class Tasks(Section):
    """`[tasks]`."""

    task_struct: TaskSlab = Field(description="a table: objects, order")
    sighand_cache: TaskSlab = Field(description="a table: objects, order")
    signal_cache: TaskSlab = Field(description="a table: objects, order")


class Ram(Section):
    """`[ram]`: sizes for which the hand-over of memory is known."""

    smallest: Size = Field(description=SIZE_SYNTAX)
    largest: Size = Field(description=SIZE_SYNTAX)
    step: Size = Field(description=SIZE_SYNTAX)
    measured: Sizes = Field(default=(), description=f"{SIZES_SYNTAX}: where it was read on the real board")


class Initmem(Section):
    """`[initmem]`: init text and data inside the kernel's image, handed over before the first program runs."""

    first_page: Count = Field(description="page, counted from the start of RAM")
    pages: Count = Field(description="pages")


class Request(Section):
    """What the kernel asks memblock for while it boots."""

    name: str = Field(default="", max_length=80, description="one line: what for")
    memory_map: bool = Field(default=False, description="true: struct pages of RAM, in whole pageblocks")
    pages: int | None = Field(default=None, ge=1, le=MAX_PAGES, description="so many pages")
    hash_scale: int | None = Field(
        default=None, ge=8, le=30, description="a hash table of one bucket per 2^scale bytes of RAM"
    )
    bucket_bytes: int = Field(default=0, ge=0, le=64, description="bytes of a bucket of that table")
    give_back: str | None = Field(default=None, description="the name of an earlier request, which is given back")

    @model_validator(mode="after")
    def _is_one_thing(self) -> Request:
        kinds = (self.memory_map, self.pages is not None, self.hash_scale is not None, self.give_back is not None)
        if sum(kinds) != 1:
            raise CarriedError(UserError("is not one request", valid="one of memory_map, pages, hash_scale, give_back"))
        if (self.hash_scale is None) == (self.bucket_bytes > 0):
            raise CarriedError(UserError("bucket_bytes and hash_scale belong together", valid="both of them"))
        return self


class Kept(Section):
    """What memblock keeps at one size of RAM."""

    ram: Size = Field(description=SIZE_SYNTAX)
    ranges: Annotated[tuple[tuple[Count, Count], ...], BeforeValidator(_pairs)] = Field(
        max_length=MAX_RANGES, description="a list of [first page, pages], ascending, from the start of RAM"
    )


class Memblock(Section):
    """`[memblock]`: what is not handed over, by a rule or size by size."""

    image_pages: int | None = Field(
        default=None, ge=1, le=MAX_PAGES, description="pages of the kernel's image, from the start of RAM"
    )
    requests: Annotated[tuple[Request, ...], BeforeValidator(_rows)] = Field(
        default=(),
        max_length=100,
        description="a list of tables: requests in order, each takes the highest pages that fit",
    )
    reserved: Annotated[tuple[Kept, ...], BeforeValidator(_rows)] = Field(
        default=(), max_length=MAX_RANGES, description="a list of { ram = ..., ranges = [[first page, pages], ...] }"
    )

    @model_validator(mode="after")
    def _is_one_way(self) -> Memblock:
        if (self.image_pages is None) == (not self.reserved) or (self.requests and self.reserved):
            raise CarriedError(
                UserError("needs a rule, or ranges by size of RAM", valid="image_pages and requests, or reserved")
            )
        return self


class Softirq(Section):
    """`[softirq]`: CPU time of ksoftirqd."""

    counts: Count = Field(description="timer counts of a run")
    counts_per_task: Count = Field(description="timer counts more for each dead task in it")


class Noise(Section):
    """`[noise]`: delays that recordings were made with, at each exec (`timing.jitter = 2`)."""

    delay_counts: Count = Field(description="a delay below so many timer counts")
    sleep_ticks: int = Field(ge=0, le=1000, description="then, for one in two, a sleep of 0 to sleep_ticks - 1 ticks")


class Steps(Section):
    """`[steps]`: CPU time, in timer counts, of the steps of a workload written by hand (docs/workloads.md)."""

    arguments: Count = Field(description="from the entry of execve() to the argument page")
    release: Count = Field(description="from there to the release of the old memory")
    exec: Count = Field(description="from there to the mapping of the image")
    bprm: Count = Field(description="from the argument page's end to user mode")
    replace: Count = Field(description="as `release`, where a program of its own is replaced")
    stack: Count = Field(description="from the entry of fork to the kernel stack")
    fork: Count = Field(description="of a fork")
    vfork: Count = Field(description="of a vfork")
    mmap: Count = Field(description="from the entry of mmap() to its request")
    syscall: Count = Field(description="from a request back to user mode")
    wait: Count = Field(description="of wait()")
    release_task: Count = Field(description="of release_task()")
    exit_mmap: Count = Field(description="from the entry of exit() to exit_mmap()")
    exit_notify: Count = Field(description="of exit_notify()")
    dead: Count = Field(description="from there to the last switch away")
    read_per_kb: Count = Field(description="reading 1 KB of an image and relocating it")
    clear_per_kb: Count = Field(description="clearing 1 KB")


class Sources(Section):
    """`[sources]`: where the values of each table come from: measured, read from a log, inferred."""

    machine: str
    clock: str
    slabs: str
    tasks: str
    ram: str
    memblock: str
    initmem: str = ""
    softirq: str = ""
    noise: str = ""
    steps: str = ""


class Board(Section):
    """A board; `name` is the file's."""

    name: SkipJsonSchema[str] = Field(default="", description="(the name of the file)")
    description: str = Field(max_length=200, description="one line")
    machine: MachineTable = Field(description="a table: page_size, pointer_bits, max_order, ...")
    clock: Clock = Field(description="a table: hz, sched_clock, timer_ns, timer_counts_per_tick")
    slabs: Slabs = Field(description="a table: maple_node, vm_area_struct, vm_region")
    tasks: Tasks = Field(description="a table: task_struct, sighand_cache, signal_cache")
    ram: Ram = Field(description="a table: smallest, largest, step, measured")
    initmem: Initmem | None = Field(default=None, description="a table: first_page, pages")
    memblock: Memblock = Field(description="a table: image_pages and requests, or reserved")
    softirq: Softirq | None = Field(default=None, description="a table: counts, counts_per_task (without it: no time)")
    noise: Noise | None = Field(default=None, description="a table: delay_counts, sleep_ticks")
    steps: Steps | None = Field(default=None, description="a table, for workloads written by hand")
    sources: Sources = Field(description="a table: a text for each of the other tables")

    @model_validator(mode="after")
    def _is_whole(self) -> Board:
        _check_pages(self)
        _check_pointers(self)
        _check_clock(self)
        _check_ram(self)
        _check_sources(self)
        return self

    def facts(self) -> dict[str, Any]:
        """What decides outcomes on this board, as plain values: no names, texts, or what was measured.

        Nothing of nr_trim_pages and `[steps]` either: they end up in policies and in workloads.
        """
        values = self.model_dump(mode="json", exclude={"name", "description", "sources", "steps", "ram"})
        del values["machine"]["nr_trim_pages"]
        return values

    def of_recordings(self) -> tuple[Any, ...]:
        """What programs of this board have in them."""
        return self.machine.page_size, self.machine.thread_size_order, self.clock

    def memmap_pages(self, ram: int) -> int:
        """Pages of the struct pages of `ram` bytes (calc_memmap_size)."""
        return -(-ram // self.machine.page_size * self.machine.sizeof_struct_page // self.machine.page_size)

    def reserved(self, ram: int) -> tuple[tuple[int, int], ...]:
        """What memblock keeps with `ram` bytes: first page and pages of each range, ascending and disjoint."""
        if self.memblock.reserved:
            return next(each.ranges for each in self.memblock.reserved if each.ram == ram)
        return _top_down(self, ram)

    def all_ram(self) -> Sequence[int]:
        """Every size of RAM (bytes) that the board can have, ascending."""
        if self.memblock.reserved:
            return tuple(sorted(each.ram for each in self.memblock.reserved))
        return range(self.ram.smallest, self.ram.largest + 1, self.ram.step)

    def sizes(self) -> str:
        """The sizes of RAM that the board can have, in words."""
        if self.memblock.reserved:
            return ", ".join(format_size(each.ram) for each in self.memblock.reserved)
        ram = self.ram
        whole = "whole MB" if ram.step == 1 << 20 else f"in steps of {format_size(ram.step)}"
        return (
            f"{format_size(ram.smallest)} to {format_size(ram.largest)}, {whole} (there the state after boot is known)"
        )

    @property
    def image_pages(self) -> int:
        """Pages of the kernel's image, as far as is known: what init memory can lie in."""
        if self.memblock.image_pages is not None:
            return self.memblock.image_pages
        return self.initmem.first_page + self.initmem.pages if self.initmem else 0

    def check_ram(self, size: int) -> None:
        """Refuse a RAM size (bytes) that this board cannot have."""
        page_size = self.machine.page_size
        if size % page_size:
            what = f"{format_size(size)} is not a multiple of the page size {format_size(page_size)}"
            raise UserError(what, valid=f"multiples of {format_size(page_size)}")
        if size not in self.all_ram():
            what = (
                "is not a whole number of MB"
                if size % self.ram.step and self.ram.step == 1 << 20
                else "of RAM is out of range"
            )
            raise UserError(f"{format_size(size)} {what}", valid=self.sizes())


def _wrong(what: str, key: str, valid: str) -> CarriedError:
    return CarriedError(UserError(f"{key}: {what}", valid=valid))


def _check_pages(board: Board) -> None:
    machine = board.machine
    if machine.page_size & (machine.page_size - 1):
        raise _wrong(f"{machine.page_size} is not a power of two", "machine.page_size", "1K, 2K, 4K, ... 64K")
    if machine.pageblock_order != machine.max_order - 1:
        what = f"{machine.pageblock_order} is not max_order - 1"
        raise _wrong(what, "machine.pageblock_order", f"{machine.max_order - 1}")
    if machine.ram_start % (machine.page_size << machine.pageblock_order):
        what = f"{machine.ram_start:#x} is not on the boundary of a pageblock"
        raise _wrong(
            what, "machine.ram_start", f"multiples of {format_size(machine.page_size << machine.pageblock_order)}"
        )


def _check_pointers(board: Board) -> None:
    """pointer_bits means all of it: the tree, struct page and the objects."""
    pointer = board.machine.pointer_bits // 8
    slabs = board.slabs
    sizes = {
        "machine.sizeof_struct_page": (board.machine.sizeof_struct_page, 7),
        "slabs.vm_area_struct.size": (slabs.vm_area_struct.size, 14),
        "slabs.vm_region.size": (slabs.vm_region.size, 9),
    }
    for key, (size, least) in sizes.items():
        if size % pointer or size < least * pointer:
            what = f"{size} bytes do not go with pointers of {8 * pointer} bits"
            raise _wrong(what, key, f"multiples of {pointer}, at least {least * pointer}")
    if slabs.maple_node.size != 256:
        raise _wrong(f"{slabs.maple_node.size} is not the size of a node", "slabs.maple_node.size", "256")
    for name, slab in slabs:
        page_size = board.machine.page_size
        if page_size // slab.size < SLAB_OBJECTS or page_size % slab.size > page_size // 16:
            what = f"objects of {slab.size} bytes do not live in single pages of {format_size(page_size)}"
            raise _wrong(what, f"slabs.{name}.size", "at least 8 in a page, at most a sixteenth of it wasted")


def _check_clock(board: Board) -> None:
    clock = board.clock
    tick_ns = 1_000_000_000 / clock.hz
    if abs(clock.timer_ns * clock.timer_counts_per_tick - tick_ns) > tick_ns / 100:
        what = f"{clock.timer_counts_per_tick} counts of {clock.timer_ns} ns are not a tick of {tick_ns:.0f} ns"
        raise _wrong(what, "clock.timer_counts_per_tick", "10^9 / hz / timer_ns, to 1 %")


def _check_ram(board: Board) -> None:
    machine, ram = board.machine, board.ram
    if not 0 < ram.smallest <= ram.largest or ram.step <= 0:
        raise _wrong("is no range of sizes", "ram", "smallest <= largest, step above 0")
    sizes = [ram.smallest, ram.largest, ram.step, *ram.measured, *(each.ram for each in board.memblock.reserved)]
    for size in sizes:
        if size % machine.page_size:
            raise _wrong(
                f"{size} is not whole pages", "ram", f"multiples of {format_size(machine.page_size)}, in quotes: '32M'"
            )
    if ram.largest // machine.page_size > MAX_PAGES:
        raise _wrong("is too much", "ram.largest", f"at most {format_size(MAX_PAGES * machine.page_size)}")
    for kept in board.memblock.reserved:
        end = 0
        for first, pages in kept.ranges:
            if first < end or pages == 0 or first + pages > kept.ram // machine.page_size:
                what = f"[{first}, {pages}] at {format_size(kept.ram)} overlaps another range, or RAM's end"
                raise _wrong(what, "memblock.reserved.ranges", "ascending, apart, inside of RAM")
            end = first + pages
    image = board.memblock.image_pages
    if board.initmem and image is not None and board.initmem.first_page + board.initmem.pages > image:
        raise _wrong("is not inside of the kernel's image", "initmem", f"pages 0 to {image - 1}")
    if image is not None:
        _top_down(board, ram.smallest)


def _check_sources(board: Board) -> None:
    for name in Sources.model_fields:
        if getattr(board, name) is not None and not getattr(board.sources, name):
            raise _wrong("is missing", f"sources.{name}", "a text: where the values of this table come from")


def _top_down(board: Board, ram: int) -> tuple[tuple[int, int], ...]:
    """memblock's ranges after all requests: each takes the highest pages that are free and enough."""
    pages = ram // board.machine.page_size
    image = board.memblock.image_pages or 0
    free, taken = [(image, pages)], [(0, image)]
    by_name: dict[str, tuple[int, int]] = {}
    for request in board.memblock.requests:
        if request.give_back is not None:
            if request.give_back not in by_name:
                raise _wrong(
                    f"{request.give_back!r} is not the name of an earlier request", "memblock.requests", "a name"
                )
            first, wanted = by_name.pop(request.give_back)
            taken.remove((first, wanted))
            free = _joined([*free, (first, first + wanted)])
            continue
        wanted = _pages_of(board, request, pages)
        fits = [each for each in free if each[1] - each[0] >= wanted]
        if not fits:
            raise _wrong(
                f"with {format_size(ram)} there is no room for {request.name!r}", "ram.smallest", "a larger size"
            )
        low, high = max(fits)
        free.remove((low, high))
        free = [each for each in [*free, (low, high - wanted)] if each[0] < each[1]]
        taken.append((high - wanted, wanted))
        by_name[request.name] = taken[-1]
    return tuple((low, high - low) for low, high in _joined((first, first + count) for first, count in taken))


def _joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges [low, high), ascending, those that touch made one."""
    joined: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if joined and joined[-1][1] == low:
            joined[-1] = (joined[-1][0], high)
        else:
            joined.append((low, high))
    return joined


def _pages_of(board: Board, request: Request, pages: int) -> int:
    """Pages of a request with so many pages of RAM."""
    machine = board.machine
    page_size = machine.page_size
    if request.pages is not None:
        return request.pages
    if request.memory_map:
        whole = -(-pages >> machine.pageblock_order) << machine.pageblock_order
        return -(-whole * machine.sizeof_struct_page // page_size)
    # alloc_large_system_hash(): RAM less its struct pages, rounded up to whole MB; a power of two of buckets, at least
    # a page of them.
    left = pages * page_size - board.memmap_pages(pages * page_size) * page_size
    whole = -(-left >> 20) << 20
    entries = max(whole >> (request.hash_scale or 0), page_size // request.bucket_bytes)
    return max((1 << (entries - 1).bit_length()) * request.bucket_bytes // page_size, 1)


def load_board(board: str, folder: Path, key: str = "machine.board") -> Board:
    """A shipped board by name, or a file, relative to `folder`. UserError if it is neither, or no board."""
    known = shipped_files("boards")
    path = known.get(board, folder / board)
    if not is_file(path):
        valid = f"{', '.join(known)}, or the path of a board file"
        raise UserError(f"{board!r} is not a board{did_you_mean(board, known)}", key=key, valid=valid)
    return read_board(path)


def read_board(path: Path) -> Board:
    """A board file. UserError, with the file, if it is none."""
    board = read_section(Board, path, "a board file (TOML)")
    if board.name:
        raise UserError("unknown key", file=path, key="name", valid="the name of a board is that of its file")
    return board.model_copy(update={"name": path.stem})


def board_or_only(board: str | None) -> Board:
    """A board as an option names it; without a name, the only one that is shipped. UserError if it is none."""
    known = shipped_files("boards")
    if board is None and len(known) != 1:
        raise UserError("is missing", key="--board", valid=f"{', '.join(known)}, or the path of a board file")
    return load_board(board or next(iter(known)), Path(), key="--board")


@cache
def shipped_board(name: str) -> Board:
    """A shipped board, read once."""
    return read_board(shipped_files("boards")[name])
