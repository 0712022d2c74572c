"""Workloads written by hand: what they compile to, what is refused and how, and what their requests take and give."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcsim.errors import UserError
from mcsim.kernels.boot import boot as boots
from mcsim.kernels.boot import program as flat
from mcsim.kernels.boot.sched import STREAM_STACK_FREE, Timing, make_sched, run_boot
from mcsim.kernels.linux import nommu, slub
from mcsim.kernels.linux.maple_tree import RCU_PENDING, rcu_do_batch
from mcsim.kernels.linux.nommu import exit_mmap
from mcsim.kernels.linux.page_alloc import MANAGED_PAGES, nr_free_pages
from mcsim.kernels.linux.slub import ALLOCATIONS, MAPLE_NODE, OBJECTS, PAGES, VM_AREA_STRUCT, VM_REGION
from mcsim.kernels.probe.invariants import check_nommu, check_slub, check_zone
from mcsim.model.failures import FAILURES
from mcsim.model.release import shipped_variants
from mcsim.model.shipped import shipped_folder
from mcsim.simulator.simulator import lognormal_factors
from mcsim.workload.handmade import POOL_WORKQUEUES, read_workload
from mcsim.workload.program import RecordedProgram, mix
from tests.kernel_boots import outcomes_of
from tests.machines import BOARD, machine, policy

STORM = shipped_folder() / "workloads" / "mmap-storm.toml"
SEED = 7
BOOTS = 20
TIMING = Timing(lognormal_factors(0.15), lognormal_factors(0.3), 0)
BITS = (32, 64)
TICK = BOARD.clock.timer_counts_per_tick

SMALL = """
[images.tool]
text = "40K"

[[process]]
name = "init"
steps = [
    { do = "exec", image = "tool" },
    { do = "spawn", process = "child" },
    { do = "wait", process = "child" },
    { do = "login" },
]

[[process]]
name = "child"
steps = [
    { do = "exec", image = "tool" },
    { do = "mmap", length = "64K", name = "heap" },
    { do = "munmap", name = "heap" },
    { do = "alloc", order = 1, name = "buffer" },
    { do = "free", name = "buffer" },
    { do = "exit" },
]
"""


def read(tmp_path: Path, text: str) -> RecordedProgram:
    path = tmp_path / "own.toml"
    path.write_text(text, encoding="utf-8")
    return read_workload(path, BOARD)


def one_process(tmp_path: Path, *steps: str, more: str = "") -> RecordedProgram:
    """A program whose pid 1 runs a small image, then the steps, then logs in."""
    every = ["do = 'exec', image = 'tool'", *steps, "do = 'login'"]
    rows = "\n".join(f"    {{ {step} }}," for step in every)
    text = f"{more}\n[images.tool]\ntext = '40K'\n[[process]]\nname = 'init'\nsteps = [\n{rows}\n]"
    return read(tmp_path, text)


def kinds(program: RecordedProgram, lane: int) -> list[int]:
    """The kinds of a lane's requests, without those that only pass time."""
    first, end = program.lane[lane, : flat.LANE_END + 1]
    return [int(kind) for kind in program.op[first:end, flat.KIND] if kind != flat.OP_NOP]


class TestCompile:
    def test_the_example_says_where_it_comes_from(self) -> None:
        program = read_workload(STORM, BOARD)
        assert program.name == "mmap-storm"
        assert program.sha256 == hashlib.sha256(STORM.read_bytes()).hexdigest()
        assert (program.environment, program.variant, program.ram_mb, program.jitter) == ("handmade", "-", 0, 0)
        assert program.names == ("init", "shell", "grow", "share", "reader", "punch", "trim")
        assert program.has_lanes and len(program.record) == len(program.op)

    def test_the_example_survives_a_file(self, tmp_path: Path) -> None:
        program = read_workload(STORM, BOARD)
        program.save(tmp_path / "program.npz", BOARD)
        again = RecordedProgram.read(tmp_path / "program.npz", BOARD)
        assert np.array_equal(again.op, program.op) and again.names == program.names

    def test_lanes_have_the_requests_of_recorded_processes_in_order(self, tmp_path: Path) -> None:
        program = read(tmp_path, SMALL)
        f = flat
        exec_ = [f.OP_PAGE_ALLOC, f.OP_SIGNAL, f.OP_EXEC, f.OP_PAGE_FREE]
        spawn = [f.OP_PAGE_ALLOC, f.OP_FORK, f.OP_WAIT]
        first_exec = [each for each in exec_ if each != f.OP_SIGNAL]
        assert kinds(program, 0) == [*first_exec, *spawn, f.OP_WAIT, f.OP_RELEASE_TASK, f.OP_LOGIN, f.OP_WAIT]
        own = [f.OP_MMAP, f.OP_MUNMAP, f.OP_PAGE_ALLOC, f.OP_PAGE_FREE]
        assert kinds(program, 1) == [*exec_, *own, f.OP_EXIT_MMAP, f.OP_EXIT_NOTIFY, f.OP_DEAD]

    def test_the_parent_takes_the_kernel_stack_of_its_child_before_the_fork(self, tmp_path: Path) -> None:
        program = read(tmp_path, SMALL)
        assert program.lane[0, flat.LANE_STACK] == -1
        row = int(np.flatnonzero(program.op[:, flat.KIND] == flat.OP_FORK)[0])
        assert program.op[row, flat.A] == 1
        assert tuple(program.op[row - 1, [flat.KIND, flat.A]]) == (flat.OP_PAGE_ALLOC, program.lane[1, flat.LANE_STACK])

    def test_a_second_exec_gives_the_old_memory_back_first(self, tmp_path: Path) -> None:
        program = one_process(tmp_path, "do = 'exec', image = 'tool'")
        assert kinds(program, 0)[3:7] == [flat.OP_PAGE_ALLOC, flat.OP_EXIT_MMAP, flat.OP_EXEC, flat.OP_PAGE_FREE]
        assert program.mms == 2

    def test_a_child_that_exits_without_exec_lets_go_of_its_parent(self, tmp_path: Path) -> None:
        text = SMALL.split('[[process]]\nname = "child"')[0] + "[[process]]\nname = 'child'\nsteps = [{ do = 'exit' }]"
        program = read(tmp_path, text)
        assert kinds(program, 1) == [flat.OP_SIGNAL, flat.OP_EXIT_NOTIFY, flat.OP_DEAD]

    def test_pre_init_has_at_least_what_every_kernel_does(self, tmp_path: Path) -> None:
        least = read(tmp_path, SMALL)
        assert least.pre_init.tolist() == [
            [flat.PRE_KMEM_CACHE_ALLOC, MAPLE_NODE, 2, 0],
            [flat.PRE_WATERMARKS, 0, 0, 0],
            [flat.PRE_FREE_INITMEM, 0, 417, 79],
        ]
        more = read(tmp_path, "[pre_init]\npages = [{ order = 3, count = 2 }]\n" + SMALL)
        assert more.pre_init[2:4, : flat.PRE_B + 1].tolist() == [
            [flat.PRE_PAGE_ALLOC, 0, 3],
            [flat.PRE_PAGE_ALLOC, 1, 3],
        ]
        assert more.pre_init_handles == 2

    def test_munmap_without_a_part_takes_every_piece_that_is_left(self, tmp_path: Path) -> None:
        program = one_process(
            tmp_path,
            "do = 'mmap', length = '64K', name = 'a'",
            "do = 'munmap', name = 'a', first = 2, pages = 1",
            "do = 'munmap', name = 'a', first = 7",
            "do = 'munmap', name = 'a', pages = 1",
            "do = 'munmap', name = 'a'",
        )
        rows = program.op[program.op[:, flat.KIND] == flat.OP_MUNMAP]
        assert rows[:, [flat.B, flat.C]].tolist() == [[2, 1], [7, 1], [0, 1], [1, 1], [3, 4]]

    def test_times_are_counts_of_768_ns(self, tmp_path: Path) -> None:
        program = one_process(tmp_path, "do = 'run', us = 768")
        assert 1000 in program.op[:, flat.GAP]


def changed(old: str, new: str) -> str:
    assert SMALL.count(old) == 1, old
    return SMALL.replace(old, new)


CHILD = 'name = "child"'
MMAP = '{ do = "mmap", length = "64K", name = "heap" },'
EXEC = '{ do = "exec", image = "tool" },\n    ' + MMAP
MUNMAP = '{ do = "munmap", name = "heap" },'
FREE = '{ do = "free", name = "buffer" },'
SPAWN = '{ do = "spawn", process = "child" },'
WAIT = '{ do = "wait", process = "child" },'
LOGIN = '{ do = "login" },'
EXIT = '{ do = "exit" },'
TWO_MORE = """
[[process]]
name = "a"
steps = [{ do = "exec", image = "tool" }, { do = "spawn", process = "b" }, { do = "exit" }]
[[process]]
name = "b"
steps = [{ do = "exec", image = "tool" }, { do = "spawn", process = "a" }, { do = "exit" }]
"""
# What is wrong, the file, the key it is said of, a word of what is said and one of what is valid.
REFUSED = [
    ("no TOML", "[images", "", "not valid TOML", "TOML"),
    ("unknown table", "[image.tool]\n" + SMALL, "image", "did you mean 'images'", "images, process, pre_init"),
    ("no process", "[images.tool]\ntext = '8K'", "process", "missing", "[[process]]"),
    ("no name", changed(CHILD, ""), "process[2].name", "missing", "in quotes"),
    ("no steps", SMALL + "[[process]]\nname = 'x'", "process.x.steps", "missing", "a list of steps"),
    ("size without unit", changed('"40K"', "40"), "images.tool.text", "no unit", "'8K'"),
    ("wrong unit", changed('"40K"', '"40k"'), "images.tool.text", "unknown unit", "'8K'"),
    ("too large", changed('"40K"', '"2G"'), "images.tool.text", "too large", "at most"),
    ("unknown key", changed('text = "40K"', 'text = "40K"\nbbs = "8K"'), "images.tool.bbs", "mean 'bss'", "bss"),
    ("not a flag", changed('text = "40K"', 'text = "40K"\nram = 1'), "images.tool.ram", "", "true"),
    ("no do", changed(FREE, '{ name = "x" },'), "process.child.steps[5].do", "missing", "run, exec, mmap"),
    ("unknown step", changed('"munmap"', '"unmap"'), "process.child.steps[3].do", "did you mean 'munmap'", "mmap"),
    ("no step", changed(FREE, "1,"), "process.child.steps[5]", "1 is not a step", "{ do ="),
    ("key of another step", changed(MUNMAP, '{ do = "munmap", of = "heap" },'),
     ".steps[3].of", "unknown key", "name, first"),
    ("unknown key of a step", changed(EXIT, '{ do = "exit", code = 1 },'), ".steps[6].code", "unknown key", "do"),
    ("no image", changed(EXEC, '{ do = "exec" },' + MMAP),
     "process.child.steps[1].image", "missing", "[images.NAME]"),
    ("unknown image", changed(EXEC, '{ do = "exec", image = "tol" },' + MMAP),
     "process.child.steps[1].image", "did you mean 'tool'", "tool"),
    ("too many blocks", SMALL + "[pre_init]\npages = [{ order = 0, count = 60000 }, { order = 1, count = 60000 }]",
     "pre_init.pages[2]", "too many blocks", "100000 in all rows"),
    ("too long", changed(FREE, FREE + "{ do = 'sleep', ticks = 600000 }," * 2), ".steps[7]", "too long", "10000 s"),
    ("too many steps", changed(FREE, FREE + "{ do = 'run', us = 1 }," * 50_000), "child.steps", "too many", "50000"),
    ("order too high", changed("order = 1", "order = 11"), "process.child.steps[4].order", "11", "0 to 10"),
    ("mmap before exec", changed(EXEC, '{ do = "run", us = 1 },' + MMAP),
     "process.child.steps[2]", "memory of its parent", "exec"),
    ("unmapped twice", changed(MUNMAP, MUNMAP * 2), "process.child.steps[4].name", "not mapped any more", "mmap step"),
    ("unmapped, unknown", changed(MUNMAP, '{ do = "munmap", name = "hep" },'),
     "process.child.steps[3].name", "did you mean 'heap'", "heap"),
    ("beyond the mapping", changed(MUNMAP, '{ do = "munmap", name = "heap", first = 7, pages = 2 },'),
     "process.child.steps[3].first", "pages 7 to 8", "pages 0 to 7"),
    ("part that is gone", changed(MUNMAP, '{ do = "munmap", name = "heap", first = 3, pages = 2 },' * 2),
     "process.child.steps[4].first", "pages 3 to 4", "pages 0 to 2, 5 to 7"),
    ("part of a file", changed(MMAP + "\n    " + MUNMAP,
     '{ do = "mmap", length = "64K", name = "heap", file = "f" }, { do = "munmap", name = "heap", pages = 1 },'),
     "process.child.steps[3]", "no parts", "without first and pages"),
    ("file twice", changed(MMAP, '{ do = "mmap", length = "64K", file = "f" },' * 2 + MMAP),
     "process.child.steps[3].file", "mapped already", "munmap"),
    ("file of two lengths", changed(SPAWN, '{ do = "mmap", length = "8K", file = "f" },' + SPAWN)
     .replace(MMAP, '{ do = "mmap", length = "64K", file = "f", name = "heap" },'),
     "process.child.steps[2].length", "another length", "1 pages of 8K"),
    ("image as file", changed(MMAP, '{ do = "mmap", length = "64K", file = "tool" },' + MMAP),
     "process.child.steps[2].file", "is an image", "another file"),
    ("name in use", changed(MMAP, MMAP * 2), "process.child.steps[3].name", "there already", "not in use"),
    ("freed twice", changed(FREE, FREE * 2), "process.child.steps[6].name", "freed already", "alloc step"),
    ("freed, unknown", changed(FREE, '{ do = "free", name = "heap2" },'), ".steps[5].name", "not a block", "buffer"),
    ("never spawned", changed(SPAWN, "").replace(WAIT, ""), "process.child", "never started", "'spawn'"),
    ("spawned twice", changed(SPAWN, SPAWN * 2), "process.init.steps[3].process", "spawned already", "child"),
    ("unknown process", changed(SPAWN, '{ do = "spawn", process = "chid" },'),
     "process.init.steps[2].process", "did you mean 'child'", "child"),
    ("spawns pid 1", changed(FREE, '{ do = "spawn", process = "init" },'), ".steps[5].process", "pid 1", "child"),
    ("parents in a circle", SMALL + TWO_MORE, "process.a", "a, b only spawn each other", "first process"),
    ("name twice", SMALL + "[[process]]\nname = 'child'\nsteps = []", "process.child.name", "there twice", "own"),
    ("child that keeps its parent", SMALL.split(CHILD)[0] + "name = 'child'\nsteps = [{ do = 'run', us = 1 }]",
     "process.init.steps[2].process", "lets go", "exec or exit"),
    ("wait before spawn", changed(SPAWN, ""). replace(LOGIN, SPAWN + LOGIN),
     "process.init.steps[2].process", "spawned before", "a spawn step"),
    ("waited twice", changed(WAIT, WAIT * 2), "process.init.steps[4].process", "waited for already", "spawn"),
    ("wait for no exit", changed(EXIT, ""), "process.init.steps[3].process", "never exits", "exit step"),
    ("no login", changed(LOGIN, ""), "process", "no process logs in", "{ do = 'login' }"),
    ("two logins", changed(EXIT, LOGIN), "process.child.steps[6]", "login already", "one step"),
    ("steps after exit", changed(EXIT, EXIT + FREE), "process.child.steps[6]", "steps follow", "last"),
    ("exit of pid 1", changed(WAIT, "").replace(LOGIN, "-").replace(EXIT, LOGIN).replace("-", EXIT),
     "process.init.steps[3]", "pid 1", "other"),
    ("no exec first", changed('{ do = "exec", image = "tool" },\n    { do = "spawn"', '{ do = "spawn"'),
     "process.init.steps[1]", "does not begin with exec", "do = 'exec'"),
    ("too many mappings", changed(MMAP, MMAP + '{ do = "mmap", length = "8K" },' * 1000),
     "process", "too many", "at most"),
    ("pre_init of another kind", "pre_init = 'minimal'\n" + SMALL, "pre_init", "'minimal'", "a table"),
    ("unknown pre_init", "[pre_init]\npage = []\n" + SMALL, "pre_init.page", "did you mean 'pages'", "pages"),
    ("no count", "[pre_init]\npages = [{ order = 1 }]\n" + SMALL, "pre_init.pages[1].count", "missing", "1 to 100000"),
]  # fmt: skip


class TestRefused:
    @pytest.mark.parametrize(
        ("text", "key", "what", "valid"), [row[1:] for row in REFUSED], ids=[r[0] for r in REFUSED]
    )
    def test_with_file_key_and_what_is_valid(self, tmp_path: Path, text: str, key: str, what: str, valid: str) -> None:
        with pytest.raises(UserError) as caught:
            read(tmp_path, text)
        error = caught.value
        assert error.file == str(tmp_path / "own.toml")
        assert (error.key or "").endswith(key)
        assert what in error.what
        assert error.valid and valid in error.valid
        assert str(error).startswith(error.file)

    def test_a_file_that_cannot_be_read(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="no such file"):
            read_workload(tmp_path / "none.toml", BOARD)
        (tmp_path / "own.toml").write_bytes(b"\xff")
        with pytest.raises(UserError, match="UTF-8"):
            read_workload(tmp_path / "own.toml", BOARD)


def run_one(program: flat.Program, ram_mb: int, bits: int, variant: str, number: int) -> tuple[boots.Boot, bool]:
    """One boot, to its end."""
    board = machine(ram_mb, pointer_bits=bits)
    boot, sched = boots.make_boot(program, board, policy(variant)), make_sched(program, board)
    assert run_boot(program, TIMING, sched, SEED, number, 0)
    return boot, bool(boots.place_boot(boot, program, sched, 0, 0))


def outcomes(program: flat.Program, ram_mb: int, bits: int, variant: str) -> np.ndarray:
    return outcomes_of(program, policy(variant), TIMING, ram_mb=ram_mb, seed=SEED, count=BOOTS, bits=bits)


def pages_out(boot: boots.Boot) -> int:
    """Pages that mappings, object caches and the workload's own blocks hold, by their own books."""
    pages = int(boot.memory.slub.scalar[:, PAGES].sum())
    page_size = boot.memory.zone.machine.page_size
    regions = set()
    for mm in range(boot.memory.nommu.mm.shape[0]):
        vma = int(boot.memory.nommu.mm[mm, nommu.MM_MMAP])
        while vma != nommu.NONE:
            regions.add(int(boot.memory.nommu.vma[vma, nommu.VMA_REGION]))
            vma = int(boot.memory.nommu.vma[vma, nommu.VMA_NEXT])
    for region in regions:
        start, _, top = (int(each) for each in boot.memory.nommu.region[region, :3])
        pages += (top - start) // page_size
    held = boot.handle[boot.handle[:, 0] >= 0]
    return pages + int((1 << held[:, 1]).sum()) + int((1 << boot.pre_handle[:, 1]).sum())


@pytest.fixture(scope="module")
def storm() -> flat.Program:
    return mix([read_workload(STORM, BOARD)])


class TestBoots:
    @pytest.mark.parametrize("bits", BITS)
    @pytest.mark.parametrize("variant", shipped_variants())
    def test_the_example_boots_with_32_mb(self, storm: flat.Program, variant: str, bits: int) -> None:
        rows = outcomes(storm, 32, bits, variant)
        assert rows["failed"].tolist() == [0] * BOOTS
        assert rows["boot"].tolist() == list(range(BOOTS))
        assert (rows["time_us"] > 50_000).all() and len(set(rows["time_us"])) > 1

    @pytest.mark.parametrize("bits", BITS)
    @pytest.mark.parametrize("variant", shipped_variants())
    def test_only_what_is_still_mapped_is_out_at_the_prompt(self, storm: flat.Program, variant: str, bits: int) -> None:
        for number in range(3):
            boot, booted = run_one(storm, 32, bits, variant, number)
            assert booted
            check_nommu(boot.memory)
            check_slub(boot.memory.slub)
            check_zone(boot.memory.zone)
            # init and shell, each one image in one mapping
            assert sorted(boot.memory.nommu.mm[:, nommu.MM_MAP_COUNT].tolist()) == [0] * 5 + [1, 1]
            assert nr_free_pages(boot.memory.zone) + pages_out(boot) == boot.memory.zone.scalar[MANAGED_PAGES]
            rcu_do_batch(boot.memory.maple, boot.memory.slub, boot.memory.zone, boot.memory.maple.scalar[RCU_PENDING])
            nodes = 0 if variant == "pre-maple" else 2
            assert boot.memory.slub.scalar[:, OBJECTS].tolist() == [POOL_WORKQUEUES + nodes, 2, 2]

    @pytest.mark.parametrize("variant", shipped_variants())
    def test_everything_comes_back_once_the_last_processes_are_gone(self, storm: flat.Program, variant: str) -> None:
        boot, _ = run_one(storm, 32, 32, variant, 0)
        for mm in np.flatnonzero(boot.memory.nommu.mm[:, nommu.MM_MAP_COUNT]):
            exit_mmap(boot.memory, int(mm))
        rcu_do_batch(boot.memory.maple, boot.memory.slub, boot.memory.zone, boot.memory.maple.scalar[RCU_PENDING])
        check_nommu(boot.memory)
        check_slub(boot.memory.slub)
        check_zone(boot.memory.zone)
        assert boot.memory.slub.scalar[:, OBJECTS].tolist() == [POOL_WORKQUEUES, 0, 0]
        assert nr_free_pages(boot.memory.zone) + pages_out(boot) == boot.memory.zone.scalar[MANAGED_PAGES]

    def test_processes_that_run_at_the_same_time_share_the_text_of_an_image_and_of_a_file(self, tmp_path: Path) -> None:
        texts = {"share": "ram = false", "copy": "ram = true"}
        free = {}
        for name, line in texts.items():
            text = changed('text = "40K"', f'text = "80K"\n{line}').replace(EXIT, "").replace(WAIT, "")
            boot, booted = run_one(mix([read(tmp_path, text)]), 32, 32, "linux-6.1.y", 0)
            assert booted
            check_nommu(boot.memory)
            free[name] = nr_free_pages(boot.memory.zone)
        assert free["share"] - free["copy"] == 10

    @pytest.mark.parametrize("variant", shipped_variants())
    def test_a_mapping_that_is_too_large_ends_the_boot_with_its_order(self, tmp_path: Path, variant: str) -> None:
        program = one_process(tmp_path, *["do = 'mmap', length = '4100K'"] * 3)
        rows = outcomes(mix([program]), 17, 32, variant)
        assert rows["failed"].all()
        assert {FAILURES[each].words for each in rows["failure_class"]} == {"contiguous mapping"}
        assert set(rows["order"]) == {10}
        assert set(rows["process"]) == {1}
        assert (rows["free_pages"] > 0).all() and (rows["largest_free_order"] < 10).all()

    def test_a_block_that_is_not_there_ends_the_boot_as_another_page(self, tmp_path: Path) -> None:
        program = one_process(tmp_path, *["do = 'alloc', order = 10"] * 3)
        rows = outcomes(mix([program]), 17, 32, "linux-6.1.y")
        assert {FAILURES[each].words for each in rows["failure_class"]} == {"other page"}
        assert set(rows["order"]) == {10}

    def test_pages_taken_before_pid_1_are_missing_later(self, tmp_path: Path) -> None:
        free = []
        for count in (1, 11):
            program = one_process(tmp_path, more=f"[pre_init]\npages = [{{ order = 2, count = {count} }}]")
            boot, booted = run_one(mix([program]), 32, 32, "maple-naive", 0)
            assert (
                booted and nr_free_pages(boot.memory.zone) + pages_out(boot) == boot.memory.zone.scalar[MANAGED_PAGES]
            )
            free.append(nr_free_pages(boot.memory.zone))
        assert free[0] - free[1] == 40

    def test_a_kernel_stack_comes_back_after_its_process_was_reaped(self, tmp_path: Path) -> None:
        text = changed(LOGIN, '{ do = "sleep", ticks = 5 }, ' + LOGIN)
        recorded = read(tmp_path, text)
        program = mix([recorded])
        sched = make_sched(program, machine())
        assert run_boot(program, TIMING, sched, SEED, 0, 0)
        assert STREAM_STACK_FREE - 1 in sched.stream
        boot, _ = run_one(program, 32, 32, "linux-6.1.y", 0)
        assert boot.handle[recorded.lane[1, flat.LANE_STACK], 0] == boots.NOT_ALLOCATED

    def test_the_smallest_workload_of_the_manual_boots(self, tmp_path: Path) -> None:
        manual = (ROOT / "docs" / "workloads.md").read_text(encoding="utf-8")
        example = next(part for part in manual.split("```") if "[images.busybox]" in part)
        rows = outcomes(mix([read(tmp_path, example.removeprefix("toml"))]), 32, 32, "maple-naive")
        assert rows["failed"].tolist() == [0] * BOOTS

    def test_a_sleep_lasts_so_many_ticks(self, tmp_path: Path) -> None:
        def duration(*steps: str) -> int:
            program = mix([one_process(tmp_path, *steps)])
            sched = make_sched(program, machine())
            exact = Timing(lognormal_factors(0.0), lognormal_factors(0.0), 0)
            assert run_boot(program, exact, sched, SEED, 0, 0)
            return int(sched.stream_time[sched.stream != 0].max())

        slept = duration("do = 'sleep', ticks = 9") - duration()
        assert 8 * TICK < slept <= 9 * TICK


# What the steps of one process take and give, from the order of calls in mm/nommu.c: change of R, V, mapped pages, and
# nodes asked by the kernels that preallocate 1 + 3 * height of them (height 1 here).
CALLS = [
    ("do = 'mmap', length = '100K', name = 'a'", (1, 1, 13), 4),
    ("do = 'mmap', length = '64K', name = 'f', file = 'libc'", (1, 1, 8), 4),
    ("do = 'munmap', name = 'a', first = 5, pages = 2", (1, 1, -2), 4 + 8),  # split, then shrink
    ("do = 'munmap', name = 'a', pages = 2", (0, 0, -2), 8),  # shrink at the head
    ("do = 'munmap', name = 'a', first = 12, pages = 1", (0, 0, -1), 8),  # and at the tail
    ("do = 'munmap', name = 'f'", (-1, -1, -8), 4),
    ("do = 'munmap', name = 'a', first = 7, pages = 5", (-1, -1, -5), 4),
    ("do = 'munmap', name = 'a'", (-1, -1, -3), 4),
]  # fmt: skip
PREALLOCATING = ("prealloc-early", "mail-both", "linux-6.1.0", "linux-6.1.y")


class TestCalls:
    @pytest.mark.parametrize("bits", BITS)
    @pytest.mark.parametrize("variant", shipped_variants())
    def test_take_and_give_what_the_kernel_does(self, tmp_path: Path, variant: str, bits: int) -> None:
        recorded = one_process(tmp_path, *[call[0] for call in CALLS])
        program = mix([recorded])
        boot = boots.make_boot(program, machine(32, pointer_bits=bits), policy(variant))
        boots.reset_boot(boot)
        assert boots.run_pre_init(boot, program, 0)
        seen = []
        for row, kind in enumerate(recorded.op[:, flat.KIND]):
            if kind > flat.LAST_PAGE_OP:
                continue
            before = self.books(boot)
            assert boots.place_request(boot, program, row)
            assert boot.memory.nommu.scalar[nommu.FAILURES] == 0
            check_nommu(boot.memory)
            if kind in (flat.OP_MMAP, flat.OP_MMAP_FILE, flat.OP_MUNMAP):
                seen.append(self.books(boot) - before)
        assert [tuple(each[:3]) for each in seen] == [call[1] for call in CALLS]
        asked = [int(each[3]) for each in seen]
        if variant in PREALLOCATING:
            assert asked == [call[2] for call in CALLS]
        elif variant == "linux-6.6":
            # Sized for the range in RCU mode: one for a changed root leaf (two stores: two), none for a moved border.
            assert asked == [1, 1, 2, 0, 0, 1, 1, 1]
        else:
            assert asked == [0] * len(CALLS)  # one leaf, written in place

    def books(self, boot: boots.Boot) -> np.ndarray:
        scalar = boot.memory.slub.scalar
        mapped = (
            int(boot.memory.zone.scalar[MANAGED_PAGES])
            - nr_free_pages(boot.memory.zone)
            - int(scalar[:, slub.PAGES].sum())
            - int((1 << boot.handle[boot.handle[:, 0] >= 0][:, 1]).sum())
        )
        nodes = scalar[MAPLE_NODE, ALLOCATIONS]
        return np.array([scalar[VM_REGION, OBJECTS], scalar[VM_AREA_STRUCT, OBJECTS], mapped, nodes])


@st.composite
def mapping_steps(draw: st.DrawFn) -> tuple[list[str], int]:
    """Legal steps of one process, with the pages that are mapped after them."""
    steps = []
    pieces: dict[str, list[tuple[int, int]]] = {}
    files: dict[str, str] = {}  # name of the mapping, by file
    for number in range(draw(st.integers(1, 14))):
        name = draw(st.sampled_from([None, *pieces]))
        if name is None:
            name, pages = f"m{number}", draw(st.integers(1, 20))
            file = draw(st.sampled_from([None, "libc", "libm"]))
            if file is None or file in files:
                steps.append(f"do = 'mmap', length = '{8 * pages}K', name = '{name}'")
            else:
                pages, files[file] = 9, name
                steps.append(f"do = 'mmap', length = '72K', name = '{name}', file = '{file}'")
            pieces[name] = [(0, pages)]
        elif name in files.values() or draw(st.booleans()):
            steps.append(f"do = 'munmap', name = '{name}'")
            del pieces[name]
            files = {file: user for file, user in files.items() if user != name}
        else:
            piece = draw(st.sampled_from(pieces[name]))
            first = draw(st.integers(piece[0], piece[1] - 1))
            end = draw(st.integers(first + 1, piece[1]))
            steps.append(f"do = 'munmap', name = '{name}', first = {first}, pages = {end - first}")
            rest = [each for each in ((piece[0], first), (end, piece[1])) if each[0] < each[1]]
            pieces[name] = sorted([each for each in pieces[name] if each != piece] + rest)
            if not pieces[name]:
                del pieces[name]
    return steps, sum(end - first for each in pieces.values() for first, end in each)


@pytest.fixture(scope="module")
def compiled(storm: flat.Program) -> None:
    """Hypothesis traces each line that runs inside a test: the compiler would take ten times as long there."""
    run_one(storm, 32, 32, "linux-6.1.y", 0)


class TestRandom:
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(mapping_steps(), st.sampled_from([*shipped_variants()]), st.sampled_from([*BITS]))
    def test_what_the_file_leaves_mapped_is_what_the_kernel_has_mapped(
        self, compiled: None, tmp_path: Path, drawn: tuple[list[str], int], variant: str, bits: int
    ) -> None:
        steps, pages = drawn
        boot, booted = run_one(mix([one_process(tmp_path, *steps)]), 32, bits, variant, 0)
        assert booted
        check_nommu(boot.memory)
        check_slub(boot.memory.slub)
        check_zone(boot.memory.zone)
        image = 6  # 40 KB of text and 8 KB of stack
        slabs = int(boot.memory.slub.scalar[:, PAGES].sum())
        assert pages_out(boot) - slabs == image + pages + int((boot.handle[:, 0] >= 0).sum())
        assert nr_free_pages(boot.memory.zone) + pages_out(boot) == boot.memory.zone.scalar[MANAGED_PAGES]
