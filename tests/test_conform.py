"""`mcsim check allocators`: vectors of the real kernel code, vectors of the twins, and files that are none."""

import copy
import gzip
import json
import random
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba
import pytest
from conftest import DATA, TRUTH
from twin_maple_tree import TwinTree
from twin_page_alloc import TwinZone

from mcsim.cli import run_cli
from mcsim.errors import UserError
from mcsim.fidelity import allocators as conform
from mcsim.fidelity.allocators import maple
from mcsim.run import compiling

SUBSETS = [DATA / f"{name}_subset.jsonl.gz" for name in ("buddy", "maple")]
GOLDEN = sorted((TRUTH / "golden").glob("*.jsonl.gz"))

pytestmark = pytest.mark.compact  # but for the full set quick enough without the compiler

Vector = dict[str, Any]
Write = Callable[..., Path]
Capture = pytest.CaptureFixture[str]


def vectors_of(path: Path) -> list[Vector]:
    with gzip.open(path, "rt") as lines:
        return [json.loads(line) for line in lines]


BUDDY, MAPLE = (vectors_of(path) for path in SUBSETS)


def one(vectors: list[Vector], name: str) -> Vector:
    """A copy of the vector with that id."""
    return copy.deepcopy(next(vector for vector in vectors if vector["id"] == name))


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes vectors, texts or bytes to a file in a new folder."""

    def write(*content: Vector | str | bytes, name: str = "vectors.jsonl") -> Path:
        path = tmp_path / name
        parts = [json.dumps(part) + "\n" if isinstance(part, dict) else part for part in content]
        path.write_bytes(b"".join(part.encode() if isinstance(part, str) else part for part in parts))
        return path

    return write


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "compiled_marker", lambda what: None)


# Vectors of the real kernel code


def test_the_subset_of_kernel_vectors_matches(capsys: Capture) -> None:
    assert run_cli(["check", "allocators", *map(str, SUBSETS)]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert [line.split() for line in lines] == [
        ["file", "sequences", "operations", "mismatches"],
        ["buddy_subset.jsonl.gz", "50", "12,294", "0"],
        ["maple_subset.jsonl.gz", "59", "8,271", "0"],
        ["2", "files", "109", "20,565", "0"],
        [],
        ["All", "match."],
    ]
    assert max(map(len, lines)) <= 72
    assert "109 of 109 sequences" in printed.err


@pytest.mark.skipif(not GOLDEN, reason="the full set of kernel vectors is not here")
@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="takes an hour without the compiler")
def test_all_kernel_vectors_match(capsys: Capture) -> None:
    assert run_cli(["check", "allocators", *map(str, GOLDEN)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == ["", "All match."]
    assert max(map(len, lines)) <= 72


def test_the_subset_has_every_kind_of_zone_tree_and_operation_that_the_kernel_vectors_have() -> None:
    assert {(v["config"], v["exact_tail"]) for v in BUDDY} == {(c, t) for c in ("nommu", "mmu") for t in (0, 1)}
    assert {(v["mobility"], v["mobility_off"]) for v in BUDDY} == {(-1, 0), (-1, 1), (0, 1), (1, 0)}
    assert {v["digest_every"] for v in BUDDY} == {1, 7}
    assert {v["pages"] for v in BUDDY} == {1024, 3584, 4000, 4096, 8192, 16384}
    assert {v["base"] % 1024 for v in BUDDY} == {0, 512}
    requests = [op for v in BUDDY for op in v["ops"]]
    assert {op[0] for op in requests} == set("afxyspwWPSDond")
    assert {op[3] for op in requests if op[0] == "a"} == {4 * kind + type_ for kind in range(4) for type_ in range(3)}
    assert {op[2] for op in requests if op[0] == "a"} == set(range(11))
    dumps = [row for v in BUDDY for row in v["res"] if isinstance(row, dict)]
    assert any(3 in dump["pb"] for dump in dumps), "a HIGHATOMIC pageblock"
    assert any(dump["pcp"] for dump in dumps)
    assert any(v["final"]["boost"] for v in BUDDY if "final" in v) or any(dump["boost"] for dump in dumps)

    modes = {(0, "op"), (2, "each"), (1, "op"), (3, "each"), (3, "op")}
    assert {(v["layout"], v["flags"] & 3, v["gp"]) for v in MAPLE} == {(n, *mode) for n in (32, 64) for mode in modes}
    assert {op[0] for v in MAPLE for op in v["ops"]} == set(maple.OPERATIONS)
    assert {v["ntrees"] for v in MAPLE} >= {1, 3, 4}
    assert any("tree" in tree and "ranges" in tree for v in MAPLE for tree in v["final"])


def test_a_machine_too_small_for_a_vector_is_made_larger(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    make_bench = maple.make_bench

    def counted(vector: Any, slabs: int) -> Any:
        sizes.append(slabs)
        return make_bench(vector, slabs)

    monkeypatch.setattr(maple, "make_bench", counted)
    monkeypatch.setattr(maple, "FIRST_SLABS", 1)
    for name in ("corner/fill400-asc/32/rcu", "exit/exit47-n120/64/rcu-queued"):
        assert conform.check_line(json.dumps(one(MAPLE, name))).passed
    assert max(sizes) > 4


def test_digests_and_shapes_may_come_at_different_times() -> None:
    vector = one(MAPLE, "gen/gen026/64/plain")
    vector["digest_every"], vector["shape_every"] = 6, 4
    for number, row in enumerate(vector["res"], 1):
        for field in ("nodes", "shape") if number % 4 else ():
            row[maple.FIELDS.index(field)] = None
        for field in ("content", "nranges") if number % 6 else ():
            row[maple.FIELDS.index(field)] = None
    assert conform.check_line(json.dumps(vector)).passed
    vector["digest_every"], vector["shape_every"] = 0, 0
    assert not conform.check_line(json.dumps(vector)).passed


@pytest.mark.parametrize("name", ["vma/vma054-after-randpow2/64/norcu", "multi/multi25/64/rcu-queued"])
def test_indices_may_lie_anywhere_in_64_bits(name: str) -> None:
    """A vector whose indices are spread out: only what is printed of the content changes, and a twin knows that."""
    vector = one(MAPLE, name)
    starts: set[int] = set()
    for op in vector["ops"]:
        for first, last in bounds(op):
            starts |= {first, last + 1}
    generator = random.Random(5)
    spread = dict(zip(sorted(starts), sorted(generator.sample(range(2, 2**64 - 1, 977), len(starts))), strict=True))
    assert sum(2**62 < number < 2**64 - 2**62 for number in spread.values()) > len(starts) // 3
    twins = [TwinTree() for _ in range(vector["ntrees"])]
    content, ranges = maple.FIELDS.index("content"), maple.FIELDS.index("nranges")
    for op, row in zip(vector["ops"], vector["res"], strict=True):
        code, tree = op[:2]
        for place, (first, last) in zip(places(op), bounds(op), strict=True):
            op[place] = spread[first]
            if code not in ("er", "ld"):
                op[place + 1] = spread[last + 1] - 1
        if code == "ld":
            row[12] = twins[tree].load(op[2])
        if code in ("ps", "np", "st", "s2"):
            twins[tree].store(op[2], op[3], op[4])
        if code == "s2":
            twins[tree].store(*op[5:])
        if code == "pr":
            twins[tree].store(op[2], op[3], 0)
        if code in ("ex", "ds"):
            twins[tree] = TwinTree()
        row[content], row[ranges] = content_of(twins[tree]), len(twins[tree].ranges)
    for final, twin in zip(vector["final"], twins, strict=True):
        final["content"], final["n"] = content_of(twin), len(twin.ranges)
        if "ranges" in final:
            final["ranges"] = [list(found) for found in twin.ranges]
    found = conform.check_line(json.dumps(vector))
    assert found.mismatches == []


def places(op: list[Any]) -> list[int]:
    """Where in an operation indices or the first ones of ranges stand."""
    return {"s2": [2, 5], "ps": [2], "pr": [2], "np": [2], "st": [2], "fn": [2], "er": [2], "ld": [2]}.get(op[0], [])


def bounds(op: list[Any]) -> list[tuple[int, int]]:
    return [(op[place], op[place] if op[0] in ("er", "ld") else op[place + 1]) for place in places(op)]


def content_of(twin: TwinTree) -> int:
    return zlib.crc32("".join("{:x}-{:x}:{:x};".format(*found) for found in twin.ranges).encode())


# Vectors of a twin: what the kernel's vectors do not happen to have


class TwinVector:
    """Random operations on a twin of the page allocator, written down as a vector."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        choose = self.random.choice
        base = choose([0, 131072, 131072 + 512, 999, 7])
        pages = choose([1, 300, 1024, 1500, 4096, 4097, 6000, 9000])
        reserved = [] if pages < 300 else choose([[], [[0, 77]], [[100, 3], [290, 9]]])
        self.vector: Vector = {
            "id": f"twin/{seed}",
            "config": choose(["nommu", "mmu"]),
            "base": base,
            "pages": pages,
            "mobility": choose([-1, 0, 1]),
            "memmap_pages": choose([0, 18, 5000]),
            "exact_tail": choose([0, 1]),
            "digest_every": choose([0, 1, 3]),
            "reserved": reserved,
            "page_size": choose([4096, 8192, 16384]),
        }
        off = self.vector["mobility"] == 0
        if self.vector["mobility"] == -1:
            off = pages - self.vector["memmap_pages"] < 4096
        self.start = base % 1024
        self.mmu = self.vector["config"] == "mmu"
        holes = [(first + self.start, count) for first, count in reserved]
        self.twin = TwinZone(self.start, self.start + pages, holes, mobility_off=off, mmu=self.mmu)
        self.sized = (0, 1)
        self.ids = 0
        self.blocks: dict[int, tuple[int | None, int]] = {}
        self.exact: dict[int, tuple[int | None, int, int]] = {}
        self.vector.update(
            managed=self.twin.managed, mobility_off=int(off), init=self.dump(), init_digest=self.digest()
        )
        self.vector.update(ops=[], res=[])
        for _ in range(250):
            self.step()
        self.vector.update(digest=self.digest(), nr_free=self.twin.nr_free(), pcp_count=self.twin.pcp_count())
        self.vector.update(final=self.dump())

    def step(self) -> None:
        code = self.random.choice("aaaaaaaaaaafffffffxxyskWPSRDonbd")
        operands, answer = getattr(self, f"do_{'get_' if code.isupper() else ''}{code}".lower())()
        ops, every = self.vector["ops"], self.vector["digest_every"]
        ops.append([code, *operands])
        if code != "d" and every and len(ops) % every == 0:
            answer = [answer, self.digest()]
        self.vector["res"].append(answer)

    def relative(self, page: int | None) -> int:
        return -1 if page is None else page - self.start

    def do_a(self) -> tuple[list[int], Any]:
        order, kind = self.random.choice([0, 0, 0, 0, 1, 2, 3, 4, 6, 9, 10, 11]), self.random.choice([0, 1, 2])
        rights = self.random.choice(range(4))
        given = ({}, {"reclaim": False}, {"high": True, "reclaim": False}, {"memalloc": False})[rights]
        page = self.twin.alloc_pages(order, kind, **given) if order < 11 else None
        self.ids += 1
        self.blocks[self.ids] = (page, order)
        return [self.ids, order, kind + 4 * rights], self.relative(page)

    def do_f(self) -> tuple[list[int], Any]:
        name = self.random.choice([*self.blocks, 10**6])
        page, order = self.blocks.get(name, (None, 0))
        if page is not None:
            self.twin.free_pages(page, order)
            self.blocks[name] = (None, 0)
        return [name], None

    def do_x(self) -> tuple[list[int], Any]:
        size = self.random.choice([1, 8191, 8192, 8193, 500_000, 925_696, 20_000_000])
        pages, kind = -(-size // self.vector["page_size"]), self.random.choice([0, 1, 2])
        page = self.twin.alloc_pages_exact(pages, kind, to_tail=self.vector["exact_tail"]) if pages <= 1024 else None
        self.ids += 1
        self.exact[self.ids] = (page, 0, pages)
        return [self.ids, size, kind], self.relative(page)

    def do_y(self) -> tuple[list[int], Any]:
        whole = [name for name, (_, freed, _) in self.exact.items() if freed == 0]
        name = self.random.choice([*whole, 10**6])
        page, _, pages = self.exact.pop(name, (None, 0, 0))
        if page is not None:
            self.twin.free_pages_exact(page, pages)
        return [name], None

    def do_s(self) -> tuple[list[int], Any]:
        name = self.random.choice([*self.exact, 10**6])
        page, freed, pages = self.exact.get(name, (None, 0, 0))
        to = self.random.randint(freed, pages)
        if name in self.exact:
            self.exact[name] = (page, to, pages)
        if page is not None:
            self.twin.free_pages_exact(page + freed, to - freed)
        return [name, freed, to], None

    def do_k(self) -> tuple[list[int], Any]:
        kbytes = self.random.choice([0, 128, 700, 2000])
        self.twin.set_marks(kbytes * 1024 // self.vector["page_size"])
        sized = (max(self.twin.marks[1], 4), 1) if self.mmu else (0, 1)
        if sized != self.sized:
            self.sized = (self.twin.high, self.twin.batch) = sized
        return [kbytes], self.twin.marks[1]

    def do_get_w(self) -> tuple[list[int], Any]:
        mark = self.random.randrange(5)
        return [mark], [*self.twin.marks, self.twin.boost][mark]

    def do_get_p(self) -> tuple[list[int], Any]:
        batch, high = self.random.choice([(1, 0), (1, 4), (15, 60), (4, 20), (8, 3)])
        self.twin.batch, self.twin.high = batch, high
        return [batch, high], None

    def do_get_s(self) -> tuple[list[int], Any]:
        bits = self.random.randrange(8)
        twin = self.twin
        twin.slow_min, twin.slow_unreserve, twin.slow_no_marks = bool(bits & 1), bool(bits & 2), bool(bits & 4)
        return [bits], None

    def do_get_r(self) -> tuple[list[int], Any]:
        self.twin.reclaim_active = self.random.random() < 0.5
        return [int(self.twin.reclaim_active)], None

    def do_get_d(self) -> tuple[list[int], Any]:
        self.twin.drain()
        return [], None

    def do_o(self) -> tuple[list[int], Any]:
        order, mark, flags = (
            self.random.randrange(12),
            self.random.randrange(4),
            self.random.choice([0, 0x10, 0x20, 0x230]),
        )
        rights = {"non_block": bool(flags & 0x10), "high": bool(flags & 0x20), "highatomic": bool(flags & 0x200)}
        passed = self.twin.mark_ok(order, self.twin.marks[mark] + self.twin.boost, **rights)
        return [order, mark, flags], int(passed)

    def do_n(self) -> tuple[list[int], Any]:
        return [], self.twin.nr_free()

    def do_b(self) -> tuple[list[int], Any]:
        page = self.random.randrange(self.vector["pages"])
        return [page], self.twin.type_of(page + self.start)

    def do_d(self) -> tuple[list[int], Any]:
        return [], self.dump()

    def lists(self) -> Iterator[tuple[str, list[int]]]:
        for order, kinds in enumerate(self.twin.lists):
            for kind, pages in enumerate(kinds):
                if pages:
                    yield f"{order}.{kind}", [page - self.start for page in pages]

    def pcp_lists(self) -> Iterator[tuple[str, list[int]]]:
        for index, pages in enumerate(self.twin.pcp):
            if pages:
                yield str(index), [page - self.start for page, _ in pages]

    def digest(self) -> int:
        lists = [*self.lists(), *((f"p{index}", pages) for index, pages in self.pcp_lists())]
        text = "".join(f"{name}:{''.join(f'{page},' for page in pages)};" for name, pages in lists)
        return zlib.crc32(f"{text}f{self.twin.nr_free()};".encode())

    def dump(self) -> Vector:
        return {
            "free": dict(self.lists()),
            "pcp": dict(self.pcp_lists()),
            "nr_free": self.twin.nr_free(),
            "pcp_count": self.twin.pcp_count(),
            "free_factor": self.twin.free_factor,
            "wmark": self.twin.marks[:3],
            "boost": self.twin.boost,
            "pb": [kind for block, kind in self.twin.types.items() if block * 1024 >= self.start],
        }


@pytest.mark.parametrize("seed", range(40))
def test_a_vector_made_by_a_twin_of_the_page_allocator_matches(seed: int) -> None:
    found = conform.check_line(json.dumps(TwinVector(seed).vector))
    assert found.mismatches == []
    assert found.operations == 250


# What differs


def test_a_wrong_answer_is_shown_with_its_operation_and_exit_code_1(write: Write, capsys: Capture) -> None:
    vector, fine = one(BUDDY, "corner/init-hole/nommu"), one(MAPLE, "corner/n2-then-exit/32/rcu")
    number = next(i for i, op in enumerate(vector["ops"]) if op[0] == "a")
    right, digest = vector["res"][number]
    vector["res"][number] = [right + 1, digest]
    path = write(fine, vector, vector)
    assert run_cli(["check", "allocators", str(path), str(write(fine, name="fine"))]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["vectors.jsonl", "3", "67", "2"]
    assert lines[4:] == [
        "",
        "1 of 2 files differs.",
        "",
        "vectors.jsonl: the first mismatch, 1 more follow",
        "  sequence   corner/init-hole/nommu",
        f"  operation  {number + 1}: {json.dumps(vector['ops'][number])}",
        f"  answer     expected {right + 1}, got {right}",
    ]


def test_all_that_differs_in_a_row_of_a_tree_is_shown(write: Write, capsys: Capture) -> None:
    vector = one(MAPLE, "corner/n2-then-exit/32/rcu")
    row = vector["res"][1]
    alloc, content = row[0], row[8]
    row[0], row[8] = alloc + 1, "x"
    assert run_cli(["check", "allocators", str(write(vector))]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "vectors.jsonl: the first mismatch" in lines
    assert lines[-3:] == [
        f"  operation  2: {json.dumps(vector['ops'][1])}",
        f"  alloc      expected {alloc + 1}, got {alloc}",
        f'  content    expected "x", got {content}',
    ]


def first_block(vector: Vector, write: Write, capsys: Capture) -> list[str]:
    """What is printed of the first mismatch, from the operation on."""
    assert run_cli(["check", "allocators", str(write(vector))]) == 1
    lines = capsys.readouterr().out.splitlines()
    return lines[next(i for i, line in enumerate(lines) if line.startswith("  operation")) :]


def test_of_a_dump_only_the_place_that_differs_is_shown(write: Write, capsys: Capture) -> None:
    vector = one(BUDDY, "corner/init-hole/nommu")
    list_name, pages = next(item for item in vector["init"]["free"].items() if len(item[1]) > 1)
    last = len(pages) - 1
    page = pages.pop()
    assert first_block(vector, write, capsys) == [
        f"  {'operation':<{len(list_name) + 13}}  none yet: the state before the first",
        f"  init.free.{list_name}[{last}]  expected (nothing), got {page}",
    ]
    vector = one(BUDDY, "corner/init-hole/nommu")
    vector["final"]["pb"][2] += 1
    assert first_block(vector, write, capsys)[0].endswith("none: the state after the last")


def test_of_a_long_text_only_the_part_that_differs_is_shown(write: Write, capsys: Capture) -> None:
    vector = one(MAPLE, "vma/vma090-after-randpow2/64/rcu")
    text = vector["final"][0]["tree"]
    vector["final"][0]["tree"] = text[:50] + "x" + text[51:]
    assert first_block(vector, write, capsys)[1] == (
        f'  final[0].tree, character 50  expected "x{text[51:]}", got "{text[50:]}"'
    )


def test_a_result_of_another_form_is_a_mismatch() -> None:
    vector = one(BUDDY, "corner/init-hole/nommu")
    for number, wrong in enumerate((None, [], [None], "x", {"free": {}}, [None, 5, 7]), 0):
        vector["res"][number] = wrong
    found = conform.check_line(json.dumps(vector))
    assert [mismatch.operation for mismatch in found.mismatches] == [1, 2, 3, 4, 5, 6]


def test_a_store_that_would_crash_linux_ends_the_sequence(write: Write, capsys: Capture) -> None:
    """Nodes for one store, two stores that need more: nothing that follows could be trusted."""
    vector = one(MAPLE, "corner/n2-then-exit/64/rcu")
    ops = [["ps", 0, 20 * i, 20 * i + 9, i + 1] for i in range(8)]
    vector["ops"] = [*ops, ["s2", 0, 36, 39, 500, 88, 107, 501], ["wk", 0]]
    vector["res"] = [[None] * 13] * len(vector["ops"])
    assert first_block(vector, write, capsys)[1:] == ['  preallocated nodes  expected "enough", got "too few"']


# Files


def test_the_kind_of_a_vector_is_in_its_header_not_in_the_name(write: Write, capsys: Capture) -> None:
    mixed = [BUDDY[0], MAPLE[1], "\n", BUDDY[2], MAPLE[3]]
    assert run_cli(["check", "allocators", str(write(*mixed, name="maple_plain.gz"))]) == 0
    text = write(*mixed).read_bytes()
    assert run_cli(["check", "allocators", str(write(gzip.compress(text), name="buddy.txt"))]) == 0
    assert conform.check_file(write(gzip.compress(text))).sequences == 4


def test_two_files_of_one_name_are_told_apart(tmp_path: Path, write: Write, capsys: Capture) -> None:
    (tmp_path / "a").mkdir()
    paths = [write(MAPLE[1]), write(MAPLE[2], name="a/vectors.jsonl")]
    assert run_cli(["check", "allocators", *map(str, paths)]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:3]] == list(map(str, paths))


def test_what_was_compared_before_a_bad_line_is_printed(write: Write, capsys: Capture) -> None:
    bad = dict(BUDDY[0], pages=0)
    path = write(BUDDY[0], MAPLE[1], bad, BUDDY[1])
    assert run_cli(["check", "allocators", str(write(MAPLE[2], name="fine")), str(path), str(SUBSETS[0])]) == 2
    printed = capsys.readouterr()
    rows = [line.split() for line in printed.out.splitlines()]
    assert [row[:2] for row in rows[1:4]] == [["fine", "1"], ["vectors.jsonl", "2"], ["2", "files"]]
    assert printed.out.splitlines()[-1] == "Ended early. So far: all match."
    assert f"mcsim: {path}:3: pages: " in printed.err
    assert "valid: a whole number from 1 to 16777216" in printed.err


def test_what_was_compared_before_ctrl_c_is_printed(
    monkeypatch: pytest.MonkeyPatch, write: Write, capsys: Capture
) -> None:
    check_lines = conform.check_lines

    def interrupted(path: Path) -> Iterator[conform.Conformity]:
        for number, found in enumerate(check_lines(path)):
            if number == 3:
                raise KeyboardInterrupt
            yield found

    monkeypatch.setattr(conform, "check_lines", interrupted)
    assert run_cli(["check", "allocators", str(write(*MAPLE[1:6]))]) == 130
    assert capsys.readouterr().out.splitlines()[1].split()[1] == "3"


def test_the_first_run_says_that_it_compiles(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, write: Write, capsys: Capture
) -> None:
    monkeypatch.setattr(compiling, "compiled_marker", lambda what: tmp_path / what)
    path = write(MAPLE[1], MAPLE[2])
    assert run_cli(["check", "allocators", str(path)]) == 0
    assert "compiling kernels, once per version and machine" in capsys.readouterr().err
    assert run_cli(["check", "allocators", str(path)]) == 0
    assert "compiling" not in capsys.readouterr().err


GZIPPED = gzip.compress(json.dumps(MAPLE[1]).encode())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "holds no sequence"),
        (b"\n \n", "holds no sequence"),
        (GZIPPED[:-20], "cannot be read behind line 0"),
        (GZIPPED[:30] + b"\0\0\0\0" + GZIPPED[34:], "cannot be read behind line 0"),
        (b"\x1f\x8b", "cannot be read behind line 0"),
        (bytes(range(256)), ":1: not JSON"),
        (b'\n\n{"a": ', ":3: not JSON"),
        (b"[" * 100_000, ":1: not JSON"),
        (b'{"base": 1' + b"0" * 5000 + b"}", ":1: no"),
        (b"[1]", ":1: [1] is no JSON object"),
        (b"{}", ":1: no vector\n  valid: an object with the key 'layout' (maple) or 'config' (buddy)"),
    ],
)
def test_a_file_that_is_none_of_vectors_is_one_message(
    content: bytes, words: str, write: Write, capsys: Capture
) -> None:
    path = write(content)
    assert run_cli(["check", "allocators", str(SUBSETS[1]), str(path)]) == 2
    printed = capsys.readouterr()
    assert printed.out == "", "files are looked into before anything is run"
    assert printed.err.startswith(f"mcsim: {path}")
    assert words in printed.err
    assert "Traceback" not in printed.err


@pytest.mark.parametrize(("path", "words"), [("nowhere", "no such file"), (".", "Is a directory")])
def test_a_path_that_is_no_file_is_one_message(path: str, words: str, capsys: Capture) -> None:
    assert run_cli(["check", "allocators", path]) == 2
    assert words in capsys.readouterr().err


B, M = one(BUDDY, "corner/exact1024@tail0/mmu"), one(MAPLE, "multi/multi26/32/norcu")


def operation(vector: Vector, *operation: Any) -> Vector:
    """The vector with one operation more."""
    return dict(vector, ops=[*vector["ops"], list(operation)], res=[*vector["res"], None])


def without(vector: Vector, key: str) -> Vector:
    return {name: value for name, value in vector.items() if name != key}


@pytest.mark.parametrize(
    ("vector", "words"),
    [
        *((without(B, key), f"{key}: is missing") for key in B if key not in ("config", "final")),
        *((without(M, key), f"{key}: is missing") for key in M if key != "layout"),
        (dict(B, config="x"), "valid: nommu or mmu"),
        (dict(B, base=-1), "base: -1"),
        (dict(B, pages=2**24 + 1), "pages: 16777217"),
        (dict(B, pages="4096"), "pages: '4096' is not a whole number"),
        (dict(B, pages=True), "pages: True"),
        (dict(B, pages=4096.5), "pages: 4096.5"),
        (dict(B, page_size=8191), "valid: a power of two"),
        (dict(B, mobility=2), "mobility: 2"),
        (dict(B, exact_tail=None), "exact_tail: None"),
        (dict(B, digest_every=-1), "digest_every: -1"),
        (dict(B, memmap_pages=10**30), "memmap_pages: 1000000000000"),
        (dict(B, reserved=[[0]]), "reserved: [0]"),
        (dict(B, reserved=[[0, -1]]), "reserved: [0, -1]"),
        (dict(B, reserved=[[0, 4097]]), "reserved: [0, 4097]"),
        (dict(B, reserved=[[8, 9], [0, 9]]), "reserved: [8, 9]"),
        (dict(B, reserved=[0, 9]), "reserved.0: 0 is not a list"),
        (dict(B, ops={}), "ops: {} is not a list"),
        (dict(B, res=B["res"][1:]), "res: 20 results for 21 operations"),
        (dict(B, id=5), "id: 5 is not a text"),
        (operation(B, "z"), 'operation 22: ["z"]: unknown operation\n  valid: a, f, x, y, s, p, w, k, W, P, S, R, D,'),
        (operation(B, ["a"]), '[["a"]]: unknown operation'),
        (operation(B), "[]: unknown operation"),
        (operation(B, "a", 1, 2), 'has the wrong number of operands\n  valid: ["a", "id", "order", "g"]'),
        (operation(B, "a", 1, -1, 0), 'operation 22: ["a", 1, -1, 0]: order -1 is not valid\n  valid: a whole number'),
        (operation(B, "a", 1, 2, 3), "g 3 has migratetype 3"),
        (operation(B, "a", 1, 2, 15), "g 15 is not valid"),
        (operation(B, "a", 1, 2.0, 0), "order 2.0 is not valid"),
        (operation(B, "x", 1, 0, 0), "bytes 0 is not valid"),
        (operation(B, "b", 4096), "page 4096 is not valid\n  valid: a whole number from 0 to 4095"),
        (operation(B, "W", 5), "mark 5 is not valid"),
        (operation(B, "P", 0, 0), "batch 0 is not valid"),
        (operation(B, "s", 1, 9, 8), "ends before it begins"),
        (operation(B, "o", 10**40, 0, 0), "order 1000000000"),
        (operation(operation(B, "x", 77, 1, 0), "s", 77, 0, 2), 'operation 23: ["s", 77, 0, 2]: frees pages that the'),
        (operation(operation(operation(B, "x", 7, 9000, 0), "s", 7, 0, 1), "y", 7), "frees pages that the block"),
        (dict(M, layout=16), "layout: 16"),
        (dict(M, gp="never"), "gp: 'never' is not known"),
        (dict(M, ntrees=0), "ntrees: 0"),
        (dict(M, ntrees=4), "final: 3 trees\n  valid: one object per tree: 4"),
        (dict(M, flags=-1), "flags: -1"),
        (dict(M, shape_every="x"), "shape_every: 'x'"),
        (dict(M, final=[1, 2, 3]), "final.0: 1 is not a table"),
        (operation(M, "st", 0, 1, 2), 'valid: ["st", "tree", "index", "index", "value"]'),
        (operation(M, "wk", 3), "tree 3 is not valid\n  valid: a whole number from 0 to 2"),
        (operation(M, "ld", 0, 2**32), "index 4294967296 is not valid"),
        (operation(M, "st", 0, 1, 2, 2**28), "value 268435456 is not valid"),
        (operation(M, "ps", 0, 2, 1, 1), "ends before it begins"),
        (operation(M, "s2", 0, 1, 2, 1, 4, 3, 1), "ends before it begins"),
        (operation(M, "pf", 0, -1), "budget -1 is not valid"),
        (operation(M, "wk", 0), "res: result 226 is no row"),
    ],
)  # fmt: skip
def test_a_line_that_is_no_vector_is_one_message_with_its_place(
    vector: Vector, words: str, write: Write, capsys: Capture
) -> None:
    path = write(MAPLE[1], vector)
    assert run_cli(["check", "allocators", str(path)]) == 2
    printed = capsys.readouterr()
    assert printed.err.count("mcsim: ") == 1
    assert f"mcsim: {path}:2: " in printed.err
    assert words in printed.err
    assert "  valid: " in printed.err


def test_stores_from_behind_are_refused_as_linux_does() -> None:
    vector = one(MAPLE, "corner/n2-then-exit/32/rcu")
    vector["ops"] += [["st", 0, 9, 8, 1], ["sf", 0, 9, 8, 1, 0]]
    vector["res"] += [[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, None, None, 22]] * 2
    assert conform.check_line(json.dumps(vector)).passed


def test_any_damage_to_a_vector_is_a_mismatch_or_one_message() -> None:
    """Nothing else may come of it: no other error, no endless loop, no access outside of an array."""
    generator = random.Random(1)
    wrong = [None, True, -1, 0, 1, 5, 1023, 10**5, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1, 2**65, 1.5, "x", [], {}]
    vectors = [vector for vector in BUDDY + MAPLE if len(vector["ops"]) < 100]
    outcomes = set()
    for _ in range(400):
        vector = copy.deepcopy(generator.choice(vectors))
        for _ in range(generator.choice([1, 1, 5])):
            place: Any = vector
            while isinstance(place, dict | list) and place:
                keys = list(place) if isinstance(place, dict) else range(len(place))
                key = generator.choice(["ops", "ops", *keys] if place is vector else list(keys))
                if isinstance(place[key], dict | list) and place[key] and generator.random() < 0.9:
                    place = place[key]
                    continue
                place[key] = generator.choice(wrong)
                break
        try:
            found = conform.check_line(json.dumps(vector))
            outcomes.add("passed" if found.passed else "differs")
        except UserError:
            outcomes.add("refused")
    assert outcomes >= {"differs", "refused"}
