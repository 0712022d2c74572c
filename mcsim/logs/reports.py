"""The reader of memory reports: page allocation failures, nommu's, the OOM killer's, and show_mem() without a request.

A report begins with the line of a request (or with Mem-Info where nothing was asked) and gathers what follows until the
next begins. nommu prints one request twice: `page allocation failure`, then `Allocation of length`; both are one
report, which keeps the first list. A line is found by what is in it, not by where it begins; statistics and lists go on
in the next line if that looks like it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from mcsim.logs.lines import Line
from mcsim.logs.values import FAILURE, LOADER, MEMORY, NOMMU, OOM, Report, Zone

QUIET = 60  # lines that no reader knows: then a report has ended
MOST_ORDERS = 64
MOST_ZONES = 64  # in one report

NAME = r"(?:Node (\d{1,4}),? +)?\b(DMA32|DMA|Normal|HighMem|Movable|Device)"
ZONE = re.compile(rf"(?<![\w-]){NAME} free:(?=\d)")
LIST = re.compile(rf"(?<![\w-]){NAME}: *(?=\d+\*\d+[kK]B|empty|$)")
MORE_LIST = re.compile(r"^(?:\d+\*\d+[kK]B|\([A-Z]+\)|=|\.\.\.|\d+[kK]B$)")
NODE = re.compile(r"Node \d+ (?=active_anon:|hugepages_)")
KILOBYTES = re.compile(r"([A-Za-z_]+(?:\([a-z]+\))?):(\d{1,15})[kK]B")
PAGES = re.compile(r"(?<![\w)])([A-Za-z_]+(?:\([a-z]+\))?):(\d{1,15})(?![\w*])")
RESERVE = re.compile(r"(?:lowmem_reserve|protections)\[\]:((?: \d{1,15})+)")
BLOCKS = re.compile(r"(\d{1,15})\*(\d{1,12})[kK]B(?: \(([A-Z]+)\))?")
TOTAL = re.compile(r"= *(\d{1,15})[kK]B")
NAMES_OF_COUNTS = (
    "active_anon inactive_anon isolated_anon active_file inactive_file isolated_file unevictable dirty writeback "
    "unstable slab_reclaimable slab_unreclaimable slab mapped shmem pagetables sec_pagetables bounce free free_pcp "
    "free_cma kernel_misc_reclaimable active inactive"
)
COUNTS = frozenset(NAMES_OF_COUNTS.split())
TAIL = (
    ("pagecache", re.compile(r"(\d{1,15}) total pagecache pages"), "pagecache"),
    ("RAM", re.compile(r"(\d{1,15}) pages (?:of )?RAM"), "ram"),
    ("reserved", re.compile(r"(\d{1,15}) (?:pages reserved|reserved pages)"), "reserved"),
    ("free pages", re.compile(r"(?:^|RAM )(\d{1,15}) free pages"), "free_count"),
    ("cma reserved", re.compile(r"(\d{1,15}) pages cma reserved"), "cma_reserved"),
    ("Free pages", re.compile(r"Free pages: *(\d{1,15})kB"), ""),
    (
        "",
        re.compile(
            r"(?<!\S)-?\d{1,15} (?:slab pages|pages shared|pages non-shared|pages swap cached|pages in (?:swap cache|"
            r"pagetable cache)|pages HighMem|pages hwpoisoned|pages of HIGHMEM|highmem pages)"
        ),
        "",
    ),
)

HEADER = re.compile(r"page allocation failure[.:] *order:(-?\d{1,3}), *mode:(0x[0-9a-f]{1,16})?(.*)")
KILLER = re.compile(r"oom-killer: *gfp_mask=(0x[0-9a-f]{1,16})?(.*?), *order=(-?\d{1,3})")
OLD_KILLER = re.compile(r"^oom-killer: gfp_mask=(0x[0-9a-f]{1,16})()()$")
NAMES = re.compile(r"^\(([A-Za-z_|0-9]+)\)")
LENGTH = re.compile(r"Allocation of length (\d{1,20}) from process (\d{1,10})(?: \((.{0,64}?)\))? failed")
CPU = re.compile(r"\bP[Ii][Dd]: (\d{1,10}),? [Cc]omm: (.{0,64}?)(?:,? (?:Not tainted|Tainted:)(.*))?$")
ITS_RELEASE = re.compile(r"(?<![\w.])(\d{1,2}\.\d{1,3}[^\s)]*)")
RELEASE = re.compile(r"^(\d{1,2}\.\d{1,3}\S*)")
GAVE_UP = re.compile(
    r"Unable to allocate RAM for process [a-z/]+, errno -?\d+|couldn't execute it \(error -12\)|"
    r"Failed to execute \S+ \(error -12\)"
)
WARNING = re.compile(
    r"WARNING: .*mm/page_alloc\.c:\d+ +(?:$|0x|\[<|__alloc_pages(?:_nodemask|_noprof)?\+|__alloc_frozen\w+\+)"
)
TRACE = re.compile(
    r"\+0x[0-9a-f]+|\[<|^Call [Tt]race|^Stack|^[0-9a-f ]{8,}$|^Hardware name|per-cpu:|\bhigh \d+, batch|^CPU +\d+: hi:|"
    r"^Tainted:|^ ?Modules linked|-+\[|^0x[0-9a-f]+$"
)
# What says that a layout is younger or older than the watermark rule of 4.4.
YOUNG = ("nodemask=", "boost:", "reserved_highatomic:", "writepending:", "kernel_misc_reclaimable:")
OLD = ("pages_scanned:", "Free pages:", "failure. order", "per-cpu:", "pages of RAM")


@dataclass
class ZoneDraft:
    """A zone while its lines come."""

    name: str
    node: int | None
    kb: dict[str, int] = field(default_factory=dict)
    reserve: tuple[int, ...] = ()
    text: str | None = None  # of the list

    def zone(self) -> Zone:
        """The zone as far as it has come."""
        found = [(int(count), int(size), letters) for count, size, letters in BLOCKS.findall(self.text or "")]
        total = TOTAL.search(self.text or "")
        blocks, letters, whole = _by_order(found)
        whole = complete = whole and total is not None
        sum_kb = sum(count * size for count, size, _ in found)
        if total is not None and not whole:
            complete = sum_kb == int(total[1])  # what is left out are noughts
        return Zone(
            self.name,
            self.node,
            self.kb,
            {},
            self.reserve,
            blocks if found else None,
            letters,
            {},
            found[0][1] if found else None,
            int(total[1]) if total else None,
            complete or not found,
            whole,
        )


def _by_order(found: list[tuple[int, int, str]]) -> tuple[tuple[int, ...], tuple[str, ...], bool]:
    """Blocks and letters of each order, and whether no order is missing among them."""
    blocks: dict[int, int] = {}
    letters: dict[int, str] = {}
    for count, size, letter in found:
        ratio = size // found[0][1] if found[0][1] else 0
        order = ratio.bit_length() - 1
        if ratio != 1 << max(order, 0) or size != found[0][1] * ratio or order >= MOST_ORDERS or order in blocks:
            continue
        blocks[order], letters[order] = count, letter
    orders = range(max(blocks, default=-1) + 1)
    return (
        tuple(blocks.get(order, 0) for order in orders),
        tuple(letters.get(order, "") for order in orders),
        len(blocks) == len(orders) == len(found),
    )


@dataclass
class Dump:
    """What one show_mem() prints."""

    zones: dict[tuple[int | None, str], ZoneDraft] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def has(self, key: tuple[int | None, str], part: str) -> bool:
        """Whether a zone has its statistics ("kb") or its list ("text") already."""
        return key in self.zones and bool(getattr(self.zones[key], part))


@dataclass
class Draft:
    """A report while its lines come. After the first dump of a request further ones go nowhere."""

    line: int
    kind: str
    time: float | None = None
    release: str | None = None
    process: str | None = None
    pid: int | None = None
    length: int | None = None
    order: int | None = None
    gfp: int | None = None
    gfp_names: tuple[str, ...] = ()
    dumps: list[Dump] = field(default_factory=lambda: [Dump()])
    hints: set[str] = field(default_factory=set)
    warned: bool = False
    consequences: list[str] = field(default_factory=list)

    @property
    def dump(self) -> Dump:
        """The one that is printed now."""
        return self.dumps[-1]

    def report(self, release: str | None) -> Report:
        """The report as far as it has come; `release`: of the kernel that runs."""
        first = next((dump for dump in self.dumps if dump.zones), self.dumps[0])
        counts = {**self.dumps[-1].counts, **first.counts}
        return Report(
            self.line,
            self.kind,
            self.time,
            self.release or release,
            self.process,
            self.pid,
            self.length,
            self.order,
            self.gfp,
            self.gfp_names,
            tuple(zone.zone() for zone in first.zones.values()),
            counts,
            frozenset(self.hints),
            self.warned,
            tuple(self.consequences),
        )


class ReportReader:
    """Takes line after line; `done` gets every report when it has ended."""

    def __init__(self, done: Callable[[Report], None], wanted: Callable[[], bool] = lambda: True) -> None:
        """With no report open; `wanted`: whether more than the first line of the next one is needed."""
        self.skips = False
        self._wanted = wanted
        self.draft: Draft | None = None
        self.release: str | None = None  # of the kernel that runs
        self._done = done
        self._zone: ZoneDraft | None = None  # whose statistics go on
        self._list: ZoneDraft | None = None  # whose list goes on
        self._waits = ""  # the beginning of a line that is broken
        self._waits_from = 0
        self._wants_release = False
        self._warned = 0  # the line of the kernel's warning that an order is too large
        self._quiet = 0
        # A word that is in the line, and who reads it.
        self._readers: tuple[tuple[str, Callable[[Line], bool]], ...] = (
            ("page allocation failure", self._header),
            ("oom-killer", self._killer),
            ("Allocation of length", self._length),
            ("omm: ", self._cpu),
            (" free:", self._zone_line),
            ("*", self._list_line),
            ("empty", self._list_line),
            ("_reserve[]", self._reserve),
            ("protections[]", self._reserve),
            ("Mem-", self._mem_info),
            ("Show Memory", self._show_memory),
            ("errno", self._gave_up),
            ("rror -12", self._gave_up),
            ("mm/page_alloc.c", self._warning),
            ("pages", self._tail),
            (":", self._statistics),
        )

    @property
    def open(self) -> bool:
        """Whether lines are waited for."""
        return (self.draft is not None and not self.skips) or bool(self._waits) or bool(self._warned)

    def take(self, line: Line) -> bool:
        """Read one line; whether it is understood."""
        if self._waits:
            line = Line(self._waits_from, line.time, f"{self._waits} {line.text}")
            self._waits = ""
        elif self._is_broken(line.text):
            self._waits, self._waits_from = line.text, line.number
            return True
        if self._read(line):
            self._quiet = 0
            return True
        self._quiet += 1
        if self._quiet > QUIET:
            self.end()
        return False

    def end(self) -> None:
        """No line of the open report will come."""
        self._close()
        self._warned = 0

    def new_kernel(self, release: str | None) -> None:
        """Another boot begins."""
        self.end()
        self.release = release

    def _is_broken(self, text: str) -> bool:
        """Whether the line of a request goes on in the next."""
        if "page allocation failure" in text:
            return HEADER.search(text) is None
        if "Allocation of length" in text:
            return LENGTH.search(text) is None
        if "invoked oom-killer" in text:
            return KILLER.search(text) is None
        return text.endswith("page allocation")

    def _read(self, line: Line) -> bool:
        text = line.text
        if not text:
            return False
        for word, reader in self._readers:
            if word in text and reader(line):
                return True
        return self.draft is not None and self._goes_on(text)

    def _begin(self, draft: Draft) -> None:
        self._close()
        self.draft = draft
        self.skips = not self._wanted()

    def _close(self) -> None:
        if self.draft is not None:
            self._done(self.draft.report(self.release))
        self.draft = self._zone = self._list = None
        self.skips = False
        self._wants_release = False
        self._quiet = 0

    def _open_dump(self, line: Line, begins: bool = False) -> Draft:
        """The report that a line of show_mem() belongs to; `begins`: it is there already in the open one."""
        if self.draft is None or (begins and self.draft.dump.zones):
            self._begin(Draft(line.number, MEMORY, line.time))
        assert self.draft is not None
        self._hints(line.text)
        return self.draft

    def _hints(self, text: str) -> None:
        if self.draft is not None and not self.draft.hints:
            self.draft.hints.update("since 4.4" for word in YOUNG if word in text)
            self.draft.hints.update("before 4.4" for word in OLD if word in text)

    # Lines of requests

    def _header(self, line: Line) -> bool:
        found = HEADER.search(line.text)
        if found is None:
            return False
        names = NAMES.search(found[3])
        order = int(found[1])
        self._begin(
            Draft(
                line.number,
                FAILURE,
                line.time,
                process=_comm(line.text[: found.start()]),
                order=order if order >= 0 else None,
                gfp=int(found[2], 16) if found[2] else None,
                gfp_names=tuple(names[1].split("|")) if names else (),
            )
        )
        if names and self.draft:
            self.draft.hints.add("since 4.4")
        self._hints(line.text)
        self._cpu(line)  # where lines are joined
        return True

    def _killer(self, line: Line) -> bool:
        found = KILLER.search(line.text) or OLD_KILLER.search(line.text)
        if found is None:
            return False
        names = NAMES.search(found[2])
        order = int(found[3] or 0)
        self._begin(
            Draft(
                line.number,
                OOM,
                line.time,
                process=_comm(line.text[: found.start()].replace(" invoked ", "")),
                order=order if order >= 0 else None,  # -1: somebody has pressed a key
                gfp=int(found[1], 16) if found[1] else None,
                gfp_names=tuple(names[1].split("|")) if names else (),
            )
        )
        if names and self.draft:
            self.draft.hints.add("since 4.4")
        return True

    def _length(self, line: Line) -> bool:
        found = LENGTH.search(line.text)
        if found is None:
            return False
        length, pid = int(found[1]), int(found[2])
        draft = self.draft
        if draft is not None and draft.kind == FAILURE and draft.length is None and draft.pid in (None, pid):
            draft.length, draft.pid, draft.process = length, pid, draft.process or found[3]
            if draft.dump.zones:
                draft.dumps.append(Dump())
            self._zone = self._list = None
            return True
        self._begin(Draft(line.number, NOMMU, line.time, process=found[3], pid=pid, length=length))
        assert self.draft is not None
        self.draft.warned, self._warned = bool(self._warned), 0
        return True

    def _cpu(self, line: Line) -> bool:
        found = CPU.search(line.text)
        if found is None:
            return False
        release = ITS_RELEASE.search(found[3] or "")
        if release:
            self.release = release[1]
        draft = self.draft
        if draft is not None and not draft.dump.zones and draft.kind in (FAILURE, OOM):
            draft.pid = int(found[1]) if draft.pid is None else draft.pid
            draft.process = found[2].strip() or draft.process
            draft.release = release[1] if release else draft.release
            self._wants_release = release is None and found[3] is not None
        return True

    def _warning(self, line: Line) -> bool:
        if WARNING.search(line.text) is None:
            return False
        self._warned = line.number
        return True

    def _gave_up(self, line: Line) -> bool:
        found = GAVE_UP.search(line.text)
        if found is None:
            return False
        if self.draft is None:
            self._begin(Draft(line.number, LOADER, line.time))
        assert self.draft is not None
        if len(self.draft.consequences) < 16:
            self.draft.consequences.append(line.text[:200])
        self._zone = self._list = None
        return True

    # Lines of show_mem()

    def _mem_info(self, line: Line) -> bool:
        if re.search(r"Mem-[Ii]nfo:", line.text) is None:
            return False
        self._open_dump(line, begins=True)
        self._zone = self._list = None
        self._statistics(line)
        return True

    def _show_memory(self, line: Line) -> bool:
        self._begin(Draft(line.number, MEMORY, line.time))
        return True

    def _zone_line(self, line: Line) -> bool:
        found = ZONE.search(line.text)
        if found is None:
            return False
        key = (None if found[1] is None else int(found[1]), found[2])
        dump = self._open_dump(line, begins=self.draft is not None and self.draft.dump.has(key, "kb")).dump
        if key not in dump.zones and len(dump.zones) >= MOST_ZONES:
            return True
        self._zone = dump.zones.setdefault(key, ZoneDraft(found[2], key[0]))
        self._list = None
        self._zone_figures(line.text[found.start() :])
        self._reserve(line)
        return True

    def _zone_figures(self, text: str) -> None:
        if self._zone is not None:
            for name, value in KILOBYTES.findall(text):
                self._zone.kb.setdefault(name.lower(), int(value))

    def _list_line(self, line: Line) -> bool:
        found = LIST.search(line.text)
        if found is None or (self.draft is None and "*" not in line.text):
            return False
        key = (None if found[1] is None else int(found[1]), found[2])
        dump = self._open_dump(line, begins=self.draft is not None and self.draft.dump.has(key, "text")).dump
        if key not in dump.zones and len(dump.zones) >= MOST_ZONES:
            return True
        self._list = dump.zones.setdefault(key, ZoneDraft(found[2], key[0]))
        self._list.text = line.text[found.end() :]
        self._zone = None
        if "pages" in line.text:
            self._tail(line)
        return True

    def _reserve(self, line: Line) -> bool:
        found = RESERVE.search(line.text)
        if found is None:
            return False
        if self._zone is not None:
            self._zone.reserve = tuple(map(int, found[1].split()))[:MOST_ORDERS]
        return True

    def _tail(self, line: Line) -> bool:
        known = False
        for word, pattern, name in TAIL:
            found = pattern.search(line.text) if word in line.text else None
            if found is None or (self.draft is None and name == "free_count"):  # of somebody's notes
                continue
            draft = self._open_dump(line)
            if name:
                draft.dump.counts.setdefault(name, int(found[1]))
            self._zone = self._list = None
            known = True
        return known

    def _statistics(self, line: Line) -> bool:
        """Counters in pages (of the machine), in kB (of the zone whose line goes on, or of a node)."""
        if self.draft is None:
            return False
        if NODE.search(line.text):
            self._zone = self._list = None
            return True
        known = False
        for name, value in PAGES.findall(line.text):
            if name.lower() in COUNTS:
                self.draft.dump.counts.setdefault(name.lower(), int(value))
                known = True
        if KILOBYTES.search(line.text):
            self._zone_figures(line.text)
            known = True
        if known:
            self._hints(line.text)
        return known

    def _goes_on(self, text: str) -> bool:
        """Whether a line continues one of the open report, or is of its call trace."""
        assert self.draft is not None
        if self._wants_release:
            found = RELEASE.search(text)
            self._wants_release = False
            if found:
                self.draft.release = self.release = found[1]
                return True
        if self._list is not None and self._list.text is not None and MORE_LIST.search(text):
            self._list.text = f"{self._list.text} {text}"[:4096]
            return True
        self._hints(text)
        return TRACE.search(text) is not None or "all_unreclaimable?" in text


def _comm(text: str | None) -> str | None:
    """The name of a process in front of a header, where a console may have printed something before it."""
    name = (text or "").rpartition(": ")[2].strip(" :")
    return name[:64] or None
