"""One boot explained: who owns which page, the kernel's report, timeline, map, and where two variants part."""

import functools
import re
import xml.etree.ElementTree
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import matplotlib.image
import numpy as np
import pytest

import mcsim
from mcsim.cli import run_cli
from mcsim.errors import UserError
from mcsim.kernels.boot import page_owner
from mcsim.kernels.boot import program as flat
from mcsim.kernels.linux import nommu, page_alloc, slub
from mcsim.kernels.linux.gfp import GFP_ATOMIC, GFP_KERNEL
from mcsim.model.experiment import load
from mcsim.report import divergence, mem_info, page_map
from mcsim.report.blocks import table
from mcsim.report.explanation import Explanation
from mcsim.simulator import simulator
from mcsim.simulator.values import OWNERS
from mcsim.simulator.walk import Walk, free_list
from mcsim.studies.explain import selection
from mcsim.studies.explain.blocks import blocks_of
from mcsim.studies.explain.divergence import diverge
from mcsim.studies.explain.one_boot import explain
from mcsim.studies.explain.timeline import Timeline
from tests.machines import BOARD, machine

CELLS = (("maple-naive", "32M"), ("tail-free", "32M"), ("linux-6.1.y", "33M"), ("maple-naive", "31M"))
SOURCE = "C"


@functools.cache
def task(variant, ram):
    return selection.one_task(load("mail-2022"), variant, ram)


def finished(variant, ram, boot):
    walk = Walk(task(variant, ram), SOURCE, boot)
    walk.finish()
    return walk


@functools.cache
def explained(variant="maple-naive", ram="33M", boot=0, other="tail-free"):
    return Explanation.of(explain(task(variant, ram), SOURCE, boot, None if other is None else task(other, ram)))


class TestWalk:
    @pytest.mark.parametrize(("variant", "ram"), CELLS)
    def test_ends_as_the_same_boot_of_a_run(self, variant, ram) -> None:
        for outcome in simulator.simulate(task(variant, ram), SOURCE, 0, 10):
            walk = finished(variant, ram, int(outcome["boot"]))
            ending = walk.ending()
            assert (walk.recording, walk.phase) == (outcome["recording"], outcome["pre_init"])
            assert ending.failed == outcome["failed"]
            assert ending.failed_class == outcome["failure_class"]
            assert ending.event.time_us == outcome["time_us"]
            assert page_alloc.nr_free_pages(walk.boot.memory.zone) == outcome["free_pages"]
            if ending.failed:
                assert (ending.order, ending.event.process.pid) == (outcome["order"], outcome["process"])

    def test_needs_the_order_of_an_image_where_nothing_fails(self) -> None:
        ending = finished("maple-naive", "64M", 0).ending()
        assert (ending.failed, ending.order, ending.event.words) == (False, 7, "login prompt")


class TestOwners:
    @pytest.mark.parametrize(("variant", "ram"), CELLS)
    def test_are_a_partition_of_all_pages(self, variant, ram) -> None:
        """Each page has one owner; the counts are those of the parts of the model that hold pages."""
        for boot in range(5):
            walk = finished(variant, ram, boot)
            memory = walk.snapshot()  # RuntimeError if two claim a page
            counts = np.bincount(memory.owner, minlength=page_owner.OWNERS)
            assert len(memory.owner) == task(variant, ram).ram // 8192
            assert len(counts) == page_owner.OWNERS
            assert counts[page_owner.UNKNOWN] == 0
            assert counts[page_owner.FREE] == page_alloc.nr_free_pages(walk.boot.memory.zone)
            pages = walk.boot.memory.slub.scalar[:, slub.PAGES]
            assert counts[page_owner.MAPLE_NODES] == pages[slub.MAPLE_NODE]
            assert counts[page_owner.MAPPING_SLABS] == pages[slub.VM_AREA_STRUCT] + pages[slub.VM_REGION]
            reserved = counts[page_owner.KERNEL_IMAGE] + counts[page_owner.BOOT_TABLES]
            assert reserved == machine(int(ram[:-1])).reserved[:, 1].sum() - BOARD.initmem.pages
            mapped = counts[page_owner.PROCESS_IMAGE] + counts[page_owner.MAPPING]
            assert mapped == walk.boot.memory.nommu.mm[:, nommu.MM_TOTAL_VM].sum()
            assert counts[page_owner.PROCESS_IMAGE] % 113 == 0

    @pytest.mark.parametrize(("variant", "ram", "boot"), [("maple-naive", "32M", 0), ("tail-free", "33M", 0)])
    def test_are_those_seen_when_the_pages_were_taken(self, variant, ram, boot) -> None:
        """A slow twin: which pages go at each event, and what that event can have taken them for."""
        walk = Walk(task(variant, ram), SOURCE, boot)
        memory = walk.snapshot()
        possible = [{int(each)} for each in memory.owner]
        free = memory.owner == page_owner.FREE
        while not walk.ended:
            row = int(walk._sched.stream[walk.position])
            walk.step()
            now = np.zeros(len(free), bool)
            for first in np.flatnonzero(walk.boot.memory.zone.order >= 0):
                now[first : first + (1 << int(walk.boot.memory.zone.order[first]))] = True
            for pfn in np.flatnonzero(now & ~free):
                possible[pfn] = {page_owner.FREE}
            taken = np.flatnonzero(free & ~now)
            for pfn in taken:
                possible[pfn] = self.what_for(walk.program.op[row], len(taken))
            free = now
        memory = walk.snapshot()
        wrong = [pfn for pfn, owner in enumerate(memory.owner) if owner not in possible[pfn]]
        assert wrong == []

    def what_for(self, op, pages):
        kind = int(op[flat.KIND])
        slabs = {page_owner.MAPLE_NODES, page_owner.MAPPING_SLABS}
        if kind == flat.OP_PAGE_ALLOC:
            kinds = {
                0: page_owner.BULK_PAGES,
                0x100DC2: page_owner.ARGUMENTS,
                0x140CC0: page_owner.PAGE_CACHE,
                0x140CC2: page_owner.PAGE_CACHE,
                0x500CC2: page_owner.OTHER_PAGES,
            }
            return {kinds.get(int(op[flat.C]), page_owner.SLAB)}
        if kind == flat.OP_COPY_PROCESS:
            return {page_owner.KERNEL_STACK, page_owner.TASK_SLABS} if pages > 1 else {page_owner.KERNEL_STACK}
        return {page_owner.PROCESS_IMAGE, *slabs} if kind == flat.OP_EXEC else {page_owner.MAPPING, *slabs}

    def test_of_a_process_are_named(self) -> None:
        memory = finished("maple-naive", "32M", 0).snapshot()
        images = memory.owner == page_owner.PROCESS_IMAGE
        assert (memory.lane[images] >= 0).all()
        assert "init (1)" in {str(memory.processes[lane]) for lane in memory.lane[images]}

    def test_hold_when_the_kernel_itself_runs_out(self, tmp_path: Path) -> None:
        """The pre-init phase fails half-way through its requests; the first boots may have left others behind."""
        path = tmp_path / "greedy.toml"
        path.write_text(
            "pre_init.pages = [{ order = 3, count = 100 }, { order = 9, count = 50 }]\n"
            "images.init = { text = '500K' }\n"
            "[[process]]\nname = 'init'\nsteps = [{ do = 'exec', image = 'init' }, { do = 'login' }]\n"
        )
        walk = Walk(task("maple-naive", "32M"), str(path), 0)
        assert (walk.ended, walk.ending().event.position, walk.ending().order) == (True, -1, 9)
        counts = np.bincount(walk.snapshot().owner, minlength=page_owner.OWNERS)
        got = (28528 // 8 - 800) // 512  # blocks of order 9 at most
        assert counts[page_owner.PRE_INIT] in {800 + 512 * blocks for blocks in range(1, got + 1)}
        assert counts[page_owner.UNKNOWN] == counts[page_owner.TASK_SLABS] == 0


class TestMemInfo:
    # A line of a real report (Linux 6.1.192 on the m5208evb with 35 MB).
    REAL = (
        "DMA: 12*8kB (UME) 6*16kB (UME) 10*32kB (UME) 8*64kB (UME) 8*128kB (UME) 18*256kB (UE) 16*512kB (UME) "
        "0*1024kB 0*2048kB 0*4096kB 0*8192kB = 14848kB"
    )

    def test_prints_free_lists_as_the_kernel_does(self) -> None:
        free = np.zeros((BOARD.machine.max_order, page_alloc.MIGRATE_TYPES), np.int64)
        for order, blocks in enumerate([(4, 4, 4), (2, 2, 2), (8, 1, 1), (6, 1, 1), (2, 3, 3), (9, 0, 9), (5, 5, 6)]):
            free[order, [page_alloc.MIGRATE_UNMOVABLE, page_alloc.MIGRATE_MOVABLE, page_alloc.MIGRATE_RECLAIMABLE]] = (
                blocks
            )
        assert mem_info.free_list_line(replace(explained().memory, free=free)) == self.REAL

    @pytest.mark.parametrize(("variant", "ram"), CELLS)
    def test_sums_agree(self, variant, ram) -> None:
        for boot in range(5):
            memory = finished(variant, ram, boot).snapshot()
            lines = mem_info.mem_info(memory)
            total = sum(int(n) * int(kb) for n, kb in re.findall(r"(\d+)\*(\d+)kB", lines[5]))
            free = int(re.search(r"^ free:(\d+)", lines[1])[1])
            assert int(re.search(r"= (\d+)kB", lines[5])[1]) == total == 8 * free
            assert f"DMA free:{total}kB boost:0kB" in lines[3]
            present, managed = (int(re.search(rf"{word}:(\d+)kB", lines[3])[1]) for word in ("present", "managed"))
            assert lines[6:] == [
                f"{present // 8} pages RAM",
                "0 pages HighMem/MovableOnly",
                f"{(present - managed) // 8} pages reserved",
            ]

    def test_does_not_print_sums_that_contradict_each_other(self) -> None:
        memory = explained().memory
        for changed in (
            replace(memory, free=memory.free + 1),
            replace(memory, owner=np.where(memory.owner == page_owner.SLAB, page_owner.FREE, memory.owner)),
            replace(memory, free_order=np.full_like(memory.free_order, -1)),
        ):
            with pytest.raises(RuntimeError, match="free pages"):
                mem_info.show_free_areas(changed)

    def test_tells_a_failing_exec_as_the_kernel_does(self) -> None:
        found = explained()
        lines = mem_info.failure_report(found.ending, found.memory)
        assert lines[0] == "exe: page allocation failure: order:7, mode:0xcc0(GFP_KERNEL), nodemask=(null)"
        assert lines[1:3] == ["CPU: 0 PID: 100 Comm: exe", "Mem-Info:"]
        assert "nommu: Allocation of length 925696 from process 100 (exe) failed" in lines
        assert lines[-1] == "binfmt_flat: Unable to allocate RAM for process text/data, errno -12"

    def test_tells_other_endings_as_the_kernel_does(self) -> None:
        found = explained()
        small = replace(found.ending, order=0, length=0, is_exec=False)
        first = mem_info.failure_report(small, found.memory)[0]
        assert first == "exe invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0"
        atomic = mem_info.failure_report(replace(small, gfp=GFP_ATOMIC), found.memory)[0]
        assert atomic.startswith("exe: page allocation failure: order:0, mode:0xa20(GFP_ATOMIC)")
        assert "BUG_ON" in mem_info.failure_report(replace(small, stopped=True), found.memory)[0]
        assert mem_info.failure_report(replace(found.ending, failed_class=0), found.memory)[0] == "Mem-Info:"

    def test_prints_watermarks_that_are_set(self) -> None:
        memory = explained().memory
        zone = memory.zone._replace(min=84, low=105, high=126)
        assert "boost:0kB min:672kB low:840kB high:1008kB res" in mem_info.mem_info(replace(memory, zone=zone))[3]

    def test_names_gfp_bits(self) -> None:
        for gfp, words in {
            GFP_KERNEL: "GFP_KERNEL",
            0x400DC0: "GFP_KERNEL_ACCOUNT|__GFP_ZERO",
            0x100DC2: "GFP_HIGHUSER|__GFP_ZERO",
            0x12CC0: "GFP_KERNEL|__GFP_NOWARN|__GFP_NORETRY",
            0: "none",
            1 << 28: "0x10000000",
        }.items():
            assert mem_info.gfp_words(gfp) == words


class TestTimeline:
    def test_ends_where_the_boot_ends(self) -> None:
        found = explained()
        line = found.timeline
        lengths = {
            len(each) for each in (line.time_us, line.free_pages, line.largest_order, line.blocks, line.processes)
        }
        assert lengths == {found.ending.event.position + 2}
        assert line.free_pages[-1] == (found.memory.owner == page_owner.FREE).sum()
        assert (line.blocks[-1], line.largest_order[-1]) == (0, 6)
        assert line.time_us == sorted(line.time_us)

    def test_in_text_shows_the_least_of_each_span(self) -> None:
        line = Timeline(7, BOARD.machine.page_size, time_us=[0, 10, 20, 90, 100])
        assert line.in_steps([5, 3, 4, 9, 9], 10) == [5, 3, 3, 4, 4, 4, 4, 4, 4, 4]
        assert line.in_steps([5, 3, 4, 9, 9], 10, highest=True) == [5, 5, 4, 4, 4, 4, 4, 4, 4, 9]

    def test_counts_blocks_inside_larger_ones(self) -> None:
        walk = Walk(task("maple-naive", "32M"), SOURCE, 0)
        line = Timeline(7, BOARD.machine.page_size)
        line.note(walk)
        assert line.blocks[0] == sum(not each.missing for each in blocks_of(walk.snapshot(), 7))


class TestMap:
    def test_has_one_letter_a_page(self) -> None:
        memory = explained().memory
        letters = page_map.letters(memory, 7)
        assert len(letters) == memory.pages
        counts = np.bincount(memory.owner, minlength=len(OWNERS))
        for each in OWNERS[1:]:
            assert letters.count(each.letter) == counts[each.number]
        assert letters.count(".") + letters.count(page_map.LARGE) == counts[page_owner.FREE]
        assert len({each.letter for each in OWNERS} | {page_map.LARGE}) == len(OWNERS) + 1

    @pytest.mark.parametrize("width", [72, 200])
    def test_in_a_terminal_holds_every_page_once(self, width) -> None:
        memory = explained().memory
        lines = [each.plain for each in page_map.text(memory, 7, width)]
        assert max(map(len, lines)) <= width
        unfolded = ""
        for line in lines:
            first, cells = line[:7], line[7:]
            assert int(first) == len(unfolded)
            folded = re.fullmatch(r"(.) x (\d+)", cells)
            unfolded += folded[1] * int(folded[2]) if folded else cells
        assert unfolded == page_map.letters(memory, 7)

    @pytest.mark.parametrize(("ram", "order"), [("32M", 7), ("33M", 0), ("33M", 10)])
    def test_can_be_drawn_for_every_order(self, tmp_path: Path, ram, order) -> None:
        memory = finished("maple-naive", ram, 0).snapshot()
        page_map.draw(memory, order, "$ not math _ %").savefig(tmp_path / "map.png", dpi=40)
        assert_not_blank(tmp_path / "map.png")


def assert_not_blank(path: Path) -> None:
    pixels = matplotlib.image.imread(path)[::3, ::3, :3].reshape(-1, 3)
    assert len(np.unique((pixels * 255).astype(int), axis=0)) > 20
    assert (pixels < 0.9).any(axis=1).mean() > 0.02


class TestBlocks:
    def test_account_for_every_page(self) -> None:
        memory = explained().memory
        blocks = blocks_of(memory, 7)
        assert [each.first for each in blocks] == list(range(0, memory.pages, 128))
        assert sum(each.missing for each in blocks) == (memory.owner != page_owner.FREE).sum()

    def test_are_whole_where_the_free_lists_say_so(self) -> None:
        walk = Walk(task("tail-free", "33M"), SOURCE, 0)
        for _ in range(1500):
            walk.step()
        whole = {each.first for each in blocks_of(walk.snapshot(), 7) if not each.missing}
        listed = set()
        for order in range(7, BOARD.machine.max_order):
            for migratetype in range(page_alloc.MIGRATE_TYPES):
                for first in free_list(walk.boot.memory.zone, order, migratetype):
                    listed |= set(range(first, first + (1 << order), 128))
        assert whole == listed != set()

    def test_table_names_the_nearest_first(self) -> None:
        lines = table(explained().blocks)
        assert lines[1] == "    896 .. 1023        12  bulk pages (network) 12"
        assert max(map(len, lines)) <= 72


class TestDivergence:
    def test_is_the_first_that_brute_force_finds(self) -> None:
        """All lists, entry by entry, after the first n events, from scratch for each n."""
        found = explained().divergence

        def after(variant, events):
            walk = Walk(task(variant, "33M"), SOURCE, 0)
            for _ in range(events):
                walk.step()
            zone = walk.boot.memory.zone
            lists = [[free_list(zone, order, kind) for kind in range(4)] for order in range(BOARD.machine.max_order)]
            return lists, zone.order.tolist()

        first_lists = first_pages = None
        for events in range(found.first_pages.event.position + 2):
            (lists, pages), (other_lists, other_pages) = (after(name, events) for name in ("maple-naive", "tail-free"))
            if first_lists is None and lists != other_lists:
                first_lists = events - 1
            if first_pages is None and pages != other_pages:
                first_pages = events - 1
        assert (first_lists, first_pages) == (found.first_lists.event.position, found.first_pages.event.position)
        assert first_lists < first_pages

    def test_is_the_mails_at_the_first_image(self) -> None:
        """The old tail puts the leftovers at the head of the lists, the new one at their end."""
        parting = explained().divergence.first_lists
        assert parting.event.words == "exec: maps an image of 113 pages"
        assert all(each.blocks[0] == each.blocks[1][::-1] for each in parting.lists)

    def test_tells_what_comes_of_it(self) -> None:
        found = explained().divergence
        words = "\n".join(divergence.text(found))
        assert [each.failed for each in found.endings] == [True, False]
        assert "tail-free reaches the login prompt" in words
        assert "maple-naive has 0 whole" in words
        assert max(map(len, words.splitlines())) <= 72

    def test_is_none_between_equals(self) -> None:
        one, other = (Walk(task("tail-free", "33M"), SOURCE, 3) for _ in range(2))
        found = diverge(one, other)
        assert found.first_lists is None
        assert "do the same in this boot" in " ".join(divergence.text(found))


def contents(folder: Path) -> dict[str, bytes]:
    """Of its files, but for SVG: Matplotlib names clip paths by where they lie in memory."""
    return {path.name: b"" if path.suffix == ".svg" else path.read_bytes() for path in folder.iterdir()}


class TestCommand:
    EXPLAIN = ("explain", "mail-2022", "--variant", "maple-naive", "--ram", "33M")

    def test_writes_text_and_pictures(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run_cli([*self.EXPLAIN, "--boot", "0", "--compare", "tail-free", "--out", str(tmp_path / "new")]) == 0
        printed = capsys.readouterr().out
        assert printed == (tmp_path / "new" / "explain.txt").read_text() == explained().page()
        names = ("map", "timeline", "map-tail-free")
        for name in names:
            assert_not_blank(tmp_path / "new" / f"{name}.png")
            assert xml.etree.ElementTree.parse(tmp_path / "new" / f"{name}.svg").getroot().tag.endswith("svg")
        assert len(list((tmp_path / "new").iterdir())) == 1 + 2 * len(names)

    def test_is_72_columns_wide_but_for_the_kernels_lines(self) -> None:
        kernels = re.compile(r"DMA|Node 0|nommu:|binfmt_flat:|\S+: page allocation failure")
        for line in explained().page().splitlines():
            assert len(line) <= 72 or kernels.match(line)

    def test_takes_the_first_boot_that_fails(self) -> None:
        found = mcsim.explain("mail-2022", variant="linux-6.1.y", ram="33M")
        outcomes = simulator.simulate(task("linux-6.1.y", "33M"), SOURCE, 0, 100)
        assert found.number == outcomes["failed"].argmax() > 0

    def test_shows_a_boot_that_did_not_fail(self) -> None:
        page = mcsim.explain("mail-2022", variant="tail-free", ram="33M", boot=0).page()
        assert "reached the login prompt" in page
        assert "page allocation failure" not in page
        assert "Mem-Info:" in page

    def test_explains_a_workload_written_by_hand(self) -> None:
        page = mcsim.explain("mmap-storm", variant="maple-naive", ram="24M", boot=0, compare="linux-6.6").page()
        assert "init (1)" in page

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["explain", "mail-2022", "--ram", "33M"], "Missing option '--variant'. valid: pre-maple, "),
            (["explain", "mail-2022", "--variant", "tail-free"], "Missing option '--ram'. valid: 28M, "),
            (["explain", "mail-2022", "--variant", "tail-fre", "--ram", "33M"], "did you mean 'tail-free'"),
            (["explain", "mail-2022", "--variant", "tail-free", "--ram", "33"], "--ram: '33' has no unit"),
            (["explain", "mail-2022", "--variant", "tail-free", "--ram", "27M"], "not a RAM size of this experiment"),
            (["explain", "mail-2022", "--variant", "tail-free", "--ram", "31M..33M step 1M"], "more than one size"),
            ([*EXPLAIN, "--boot", "-1"], "--boot: -1 is out of range"),
            ([*EXPLAIN, "--compare", "maple-naive"], "--compare: 'maple-naive' is the same variant"),
            ([*EXPLAIN, "--compare", "tail-fre"], "did you mean 'tail-free'"),
            ([*EXPLAIN, "--set", "timing.gap_sigm=1"], "gap_sigm"),
            (["explain", "nothing"], "no such experiment"),
        ],
    )
    def test_refuses_bad_input(self, words, message, capsys: pytest.CaptureFixture[str]) -> None:
        assert run_cli(words) == 2
        assert message in capsys.readouterr().err

    def test_refuses_a_folder_that_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(UserError, match="cannot be written"):
            explained().save(tmp_path / "file")

    def test_writes_over_no_file_of_another_but_over_its_own(self, tmp_path: Path) -> None:
        (tmp_path / "map.png").write_text("kept")
        with pytest.raises(UserError, match=r"map\.png: --out: exists and is not of mcsim explain"):
            explained().save(tmp_path)
        (tmp_path / "explain.txt").write_text("boot 3, as I see it")
        with pytest.raises(UserError, match=r"explain\.txt: --out: exists and is not of mcsim explain"):
            explained().save(tmp_path)
        assert (tmp_path / "map.png").read_text() == "kept"
        explained().save(tmp_path / "own")
        before = contents(tmp_path / "own")
        (tmp_path / "own" / "map.png").unlink()
        (tmp_path / "own" / "map.png").symlink_to(tmp_path / "map.png")
        explained().save(tmp_path / "own")
        assert before == contents(tmp_path / "own")
        assert (tmp_path / "map.png").read_text() == "kept"

    def test_no_control_character_of_a_process_name_reaches_the_terminal(self) -> None:
        walk = Walk(task("tail-free", "33M"), SOURCE, 0)
        names = replace(walk.workload.user_phases[walk.recording], names=("in\x1b]0;pwned\x07\nit",))
        walk.workload = SimpleNamespace(user_phases=[names] * len(walk.workload.user_phases))
        first = int(walk.program.recording[walk.recording, flat.RECORDING_LANE])
        assert walk.process(first).name == "in\\x1b]0;pwned\\x07 it"

    def test_says_where_no_boot_fails(self) -> None:
        with pytest.raises(UserError, match="none of the first 1000 boots"):
            mcsim.explain("mail-2022", variant="tail-free", ram="64M")
