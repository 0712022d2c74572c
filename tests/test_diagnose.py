"""What a kernel's log says: verdicts of public reports, worked out by hand, and logs as mailers leave them."""

from __future__ import annotations

import gzip
import io
import json
import tracemalloc
from pathlib import Path

import jsonschema
import pytest
from conftest import DATA
from hypothesis import given, settings
from hypothesis import strategies as st

import mcsim
from mcsim.cli import run_cli
from mcsim.errors import UserError
from mcsim.logs import reader, rules
from mcsim.logs.document import SCHEMA, document
from mcsim.logs.lines import BLOCK, cleaned, lines
from mcsim.logs.trend import slope, trend
from tests.fuzz.choices import Choices
from tests.fuzz.targets import logs as target

LOGS = DATA / "logs"


def text_of(name: str) -> str:
    return (LOGS / f"{name}.txt").read_text()


def diagnosed(name: str, **given: object) -> dict:
    return mcsim.diagnose(text_of(name), **given)


def first(name: str, **given: object) -> dict:
    return diagnosed(name, **given)["reports"][0]


FIGURES = ("bytes", "pages", "order", "page_size", "max_order", "free_kb", "largest_free_kb", "min_kb")
# Each worked out by hand: figures as in FIGURES, then the verdict and whether lists and totals agree.
CASES = {
    "m68k-5.18": (884736, 108, 7, 8192, 11, 8568, 512, 664, "fragmented", True),
    "m68k-5.18-quoted-mail": (884736, 108, 7, 8192, 11, 8568, 512, 664, "fragmented", True),
    "stm32-3.19-leak": (221184, 54, 6, 4096, 11, 6060, 256, 352, "watermark", True),
    "blackfin-2006": (1052672, 257, 9, 4096, 14, 21028, 1024, 948, "fragmented", True),
    "sh-2.6.31": (299008, 73, 7, 4096, 14, 11644, 32, 0, "fragmented", True),
    "sh-2.6.31-reverted": (None, None, None, 4096, 14, 11128, 8192, 0, None, True),
    "rv32-6.1": (712704, 174, 8, 4096, 11, 2952, 512, 268, "fragmented", True),
    "esp32s3-6.3-cut-off": (None, None, 5, 4096, None, 204, None, None, "undecided", None),
    "esp32s3-6.16": (856064, 209, 8, 4096, None, None, None, None, "undecided", None),
    "stm32h750-banks": (102400, 25, 5, 4096, None, None, None, None, "undecided", None),
    "android-4.14": (None, None, 0, 4096, 11, 10908, 64, 6192, "watermark", False),
    "dma-pool-5.14": (None, None, 10, 4096, 11, 160, 128, 0, "exhausted", True),
    "ethernet-6.7": (None, None, 5, 4096, 11, 149776, 256, 147740, "watermark", False),
}


class TestCases:
    @pytest.mark.parametrize("name", CASES)
    def test_verdict_and_figures_are_those_worked_out_by_hand(self, name: str) -> None:
        report = first(name)
        assert (*(report[figure] for figure in FIGURES), report["verdict"], report["consistent"]) == CASES[name]

    @pytest.mark.parametrize("name", CASES)
    def test_what_is_printed_is_of_the_schema(self, name: str) -> None:
        found = document([diagnosed(name)])
        jsonschema.validate(found, SCHEMA)
        jsonschema.validate(json.loads(json.dumps(found)), SCHEMA)

    def test_two_lines_about_one_request_are_one_report(self) -> None:
        found = diagnosed("m68k-5.18")["reports"]
        assert [(each["pid"], each["process"], each["line"]) for each in found] == [
            (62, "echo", 1),
            (63, "echo", 53),
            (64, "[", 67),
            (65, "[", 80),
        ]
        assert [each["free_blocks"][6] for each in found] == [6, 9, 9, 9]
        assert [each["free_kb"] for each in found] == [8568, 11272, 11272, 11320]
        assert {each["release"] for each in found} == {"5.18.0-rc4-next-20220428"}

    def test_before_4_4_the_mark_is_halved_for_every_order(self) -> None:
        report = first("stm32-3.19-leak")
        assert "1515 free pages - 63 = 1452 > 88 (min); less 23, 44, 96, 184, 368, 736" in report["why"][0]
        assert "1 <= 1 (the mark, halved 6 times)" in report["why"][0]
        assert "1*256kB" in report["why"][1]
        assert any(each.startswith("min_free_kbytes: 252 or less") for each in report["helps"])
        # By the rule since 4.4 this request passes: the release decides.
        assert first("stm32-3.19-leak", release="4.4")["verdict"] == "undecided"

    def test_pages_that_are_free_and_on_no_list_are_a_sign_of_a_leak(self) -> None:
        assert any("1538 pages have no user, 1515 are free: 23" in each for each in first("stm32-3.19-leak")["beside"])

    def test_one_page_less_halves_the_block(self) -> None:
        helps = first("blackfin-2006")["helps"]
        assert any("4096 bytes less (1 MB at most)" in each and "would pass 6 times" in each for each in helps)
        assert any("25620 kB, in single pages" in each for each in helps)

    def test_what_is_trimmed_of_a_block_is_told(self) -> None:
        assert (
            "108 pages of 8 kB need a block of 128 (order 7, 1 MB); 160 kB of it are trimmed"
            in first("m68k-5.18")["beside"]
        )

    def test_what_refuses_in_each_zone_is_told(self) -> None:
        why = " ".join(first("ethernet-6.7")["why"])
        assert "DMA: 3327 free pages - 31 = 3296 <= 16 (min) + 15744 (lowmem_reserve)" in why
        assert "DMA32: 15902 free pages - 31 = 15871 <= 2471 (min) + 13439 (lowmem_reserve)" in why
        assert "37444 free pages - 31 - 512 (highatomic) = 36901 <= 36935 (min, boost 22528 of it)" in why
        assert any(each.startswith("watermark_boost_factor=0") for each in first("ethernet-6.7")["helps"])

    def test_a_largest_order_that_is_given_decides(self) -> None:
        report = first("stm32h750-banks", release="6.18", max_order=4)
        assert (report["verdict"], report["max_order"]) == ("too-big", 5)
        assert "6 orders would be needed" in report["helps"][0]
        assert "the largest bank, 512 kB, holds such a block" in report["helps"][0]

    def test_what_is_missing_is_named(self) -> None:
        why = " ".join(first("esp32s3-6.3-cut-off")["why"])
        assert "51 pages (204 kB) are free, 32 are asked" in why
        assert "the free list" in why

    def test_how_many_more_programs_fit(self) -> None:
        assert "43 more fit" in first("sh-2.6.31-reverted", fit="250K")["helps"][-1]
        assert "0 more fit" in first("sh-2.6.31", fit="250K")["helps"][-1]


class TestBoots:
    @pytest.mark.parametrize(
        ("name", "figures"),
        [
            ("k210-5.18-boot", (8192, 5980, 6520, 4096, "off", "5.18.0")),
            ("mips-16k-4.19-boot", (65536, 57632, 57904, 16384, "off", None)),
            ("stm32f429-5.15-boot", (8192, 7616, 7632, 4096, "off", "5.15.2")),
            ("rv32-6.6-boot", (8188, 5880, 5974, 4096, "off", "6.6.18tiny-rv32ima")),
            ("m68k-boot-line", (32768, 27928, 28944, None, None, None)),
        ],
    )
    def test_what_a_board_leaves_to_its_page_allocator(self, name: str, figures: tuple[object, ...]) -> None:
        boot = diagnosed(name)["boot"]
        names = ("ram_kb", "available_kb", "managed_kb", "page_size", "grouping", "release")
        assert tuple(boot[each] for each in names) == figures

    def test_several_banks_are_several_ranges(self) -> None:
        ranges = diagnosed("stm32h750-banks")["boot"]["ranges"]
        assert [(each["end"] + 1 - each["start"]) >> 10 for each in ranges] == [128, 512, 288, 64]

    def test_reserved_ranges_end_with_their_last_byte_whatever_the_kernel_prints(self) -> None:
        reserved = diagnosed("memblock-debug")["boot"]["memblock_reserved"]
        sizes = [each["bytes"] for each in reserved]
        # The third ends at a round address and holds a device tree of 8257 bytes; the last two have exclusive ends.
        assert sizes == [0x9A9000, 7336, 8257, 4096, 23724, 64, 0x790000, 0xF000]

    def test_a_kernel_without_memory_is_refused_with_a_sentence(self) -> None:
        text = (
            "Built 1 zonelists, mobility grouping off.  Total pages: 0\nx hash table entries: 1 (order: -13, 0 bytes)\n"
        )
        boot = mcsim.diagnose(text)["boot"]
        assert boot["problems"] and boot["page_size"] is None


class TestProc:
    def test_every_zone_of_buddyinfo_is_there(self) -> None:
        report = first("buddyinfo")
        assert [zone["zone"] for zone in report["zones"]] == ["DMA", "DMA32", "Normal"]
        assert (report["max_order"], report["verdict"], report["order"]) == (11, None, None)

    def test_types_of_blocks_sum_up(self) -> None:
        report = first("pagetypeinfo-openwrt")
        assert report["free_blocks"] == [73, 132, 102, 18, 8, 4, 5, 13, 14, 8, 12]
        assert report["zones"][0]["types"]["Movable"][10] == 9

    def test_the_share_that_is_no_use_for_an_order_is_what_lies_in_smaller_blocks(self) -> None:
        assert rules.unusable([4, 0, 3]) == [0.0, 0.25, 0.25]
        assert first("pagetypeinfo-openwrt")["unusable_index"][10] == round(1 - 12 * 1024 / 23097, 4)

    def test_files_of_one_moment_are_one_report(self) -> None:
        [report] = diagnosed("proc-6.1", fit="824K")["reports"]
        assert report["min_kb"] == 984 and report["free_blocks"] is not None
        assert report["zones"][0]["pages"]["managed"] > 10_000
        twice = mcsim.diagnose(text_of("proc-6.1") * 2)
        assert len(twice["reports"]) == 2


# How people show a log: each of these must give what the log itself gives.
def wrapped(text: str, width: int = 72) -> str:
    """As mailers do: broken at blanks."""
    out = []
    for line in text.splitlines():
        while len(line) > width and " " in line[20:width]:
            place = line.rindex(" ", 20, width)
            out.append(line[:place])
            line = line[place + 1 :]
        out.append(line)
    return "\n".join(out)


def printable_quoted(text: str) -> str:
    import quopri

    return quopri.encodestring(text.encode()).decode()


SHAPES = {
    "quoted": lambda text: "".join(f"> > {line}\n" for line in text.splitlines()),
    "levels": lambda text: "".join(f"<4>{line}\n" for line in text.splitlines()),
    "times": lambda text: "".join(f"[  123.456789] {line}\n" for line in text.splitlines()),
    "callers": lambda text: "".join(f"[    1.000000][  T12] {line}\n" for line in text.splitlines()),
    "dates": lambda text: "".join(f"[Wed May 23 16:58:12 2018] {line}\n" for line in text.splitlines()),
    "syslog": lambda text: "".join(
        f"Apr  7 20:31:20 host kernel: [   1.234567] {line}\n" for line in text.splitlines()
    ),
    "journal": lambda text: "".join(f"2024-05-01T12:00:00.12+0200 host kernel: {line}\n" for line in text.splitlines()),
    "vendor": lambda text: "".join(
        f"<4>[ 6207.637280]  [3:  Binder:9343_3:22875] {line}\n" for line in text.splitlines()
    ),
    "carriage returns": lambda text: text.replace("\n", "\r\n"),
    "colours": lambda text: "".join(f"\x1b[33m{line}\x1b[0m\n" for line in text.splitlines()),
    "html": lambda text: "".join(f"&lt;4&gt;{line}\n" for line in text.splitlines()),
    "joined": lambda text: " ".join(text.splitlines()) + "\n",
    "wrapped": wrapped,
    "quoted-printable": printable_quoted,
    "blank lines": lambda text: text.replace("\n", "\n\n"),
    "a console's words before it": lambda text: f"Starting network: {text}",
}


def report_lines(name: str, most: int = 40) -> str:
    """A log from the first line of its report on, without what others printed before it."""
    every = text_of(name).splitlines()
    start = next(number for number, line in enumerate(every) if "page allocation failure" in line)
    return "\n".join(every[start : start + most]) + "\n"


class TestShapes:
    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("name", ["m68k-5.18", "sh-2.6.31", "rv32-6.1"])
    def test_the_same_figures_in_every_shape(self, name: str, shape: str) -> None:
        plain = report_lines(name)
        if name == "rv32-6.1":  # its own times would be in the way
            plain = "".join(f"{line.partition('] ')[2] or line}\n" for line in plain.splitlines())
        expected, found = (mcsim.diagnose(text)["reports"][0] for text in (plain, SHAPES[shape](plain)))
        for figure in (*FIGURES, "verdict", "pid", "release", "free_blocks", "why"):
            assert found[figure] == expected[figure], figure
        assert found["process"] == expected["process"]

    def test_a_utf_16_log_of_a_windows_console(self) -> None:
        found = reader.read(io.BytesIO(text_of("m68k-5.18").encode("utf-16")))
        assert found.seen == 4

    def test_a_packed_log(self, tmp_path: Path) -> None:
        (tmp_path / "log.gz").write_bytes(gzip.compress(text_of("m68k-5.18").encode()))
        assert reader.read_file(tmp_path / "log.gz").seen == 4

    def test_a_list_with_noughts_left_out(self) -> None:
        text = "Normal free:1156kB min:100kB\nNormal: 1*4kB 16*8kB ... 1*1024kB = 1156kB\n"
        report = mcsim.diagnose(f"x: page allocation failure: order:9, mode:0xd0\n{text}")["reports"][0]
        assert (report["verdict"], report["largest_free_kb"]) == ("exhausted", 1024)

    def test_a_list_that_is_cut_off_decides_nothing(self) -> None:
        text = "x: page allocation failure: order:6, mode:0xd0\nNormal free:8000kB min:100kB\nNormal: 1*4kB 2*8kB\n"
        assert mcsim.diagnose(text)["reports"][0]["verdict"] == "undecided"

    def test_numbers_without_end_are_passed_over(self) -> None:
        nines = "9" * 5000
        text = f"nommu: Allocation of length {nines} from process 1 (x) failed\nNormal free:{nines}kB min:1kB\n"
        text += "4096 pages RAM\n"
        assert mcsim.diagnose(text)["lines"] == 3


HEAD = "x: page allocation failure: order:{order}, mode:{mode}, nodemask=(null)\n"


def made(order: int, blocks: list[str], mode: str = "0xcc0(GFP_KERNEL)", zone: str = "", kb: int = 4) -> dict:
    """The diagnosis of a made-up report, lists as the kernel prints them."""
    free = sum(int(each.partition("(")[0] or 0) * (kb << place) for place, each in enumerate(blocks))
    words = " ".join(
        f"{int(each.partition('(')[0] or 0)}*{kb << place}kB" + (f" ({each.partition('(')[2]}" if "(" in each else "")
        for place, each in enumerate(blocks)
    )
    text = (
        HEAD.format(order=order, mode=mode)
        + f"Normal free:{free}kB {zone}\nlowmem_reserve[]: 0 0\nNormal: {words} = {free}kB\n"
    )
    return mcsim.diagnose(text, release="6.1")["reports"][0]


@pytest.mark.parametrize(
    ("line", "pid", "process", "release"),
    [
        ("CPU: 0 UID: 0 PID: 25 Comm: ls Not tainted 6.15.0 #2 NONE", 25, "ls", "6.15.0"),
        ("Pid: 1, comm: swapper Tainted: G        W    3.6.0-rc2+ #228", 1, "swapper", "3.6.0-rc2+"),
        ("Pid: 512, comm: insmod Not tainted (2.6.31-rc7 #5)", 512, "insmod", "2.6.31-rc7"),
        ("CPU: 1 PID: 9 Comm: kworker/0:1 Tainted: [W]=WARN 6.13.1 #1", 9, "kworker/0:1", "6.13.1"),
        ("CPU: 1 PID: 9 Comm: a b\nTainted: G 5.4.0", 9, "a b", None),
        ("CPU: 0 PID: 67 Comm: free Not tainted\n3.19.0-dirty #64", 67, "free", "3.19.0-dirty"),
    ],
)
def test_the_line_that_names_process_and_release(line: str, pid: int, process: str, release: str | None) -> None:
    report = mcsim.diagnose(HEAD.format(order=4, mode="0xcc0") + line)["reports"][0]
    assert (report["pid"], report["process"], report["release"]) == (pid, process, release)


class TestRules:
    def test_blocks_kept_for_atomic_requests_are_refused_to_others(self) -> None:
        blocks = ["0", "0", "0", "64(H)", "0"]
        assert made(3, blocks, zone="min:16kB reserved_highatomic:2048KB")["verdict"] == "watermark"
        passes = made(3, blocks, "0xa20(GFP_ATOMIC)", "min:16kB reserved_highatomic:2048KB")
        assert "as printed it passes" in passes["why"][-1]

    def test_cma_blocks_serve_movable_requests_only(self) -> None:
        blocks = ["100(U)", "0", "0", "64(C)", "0"]
        zone = "min:16kB free_cma:2048kB"
        assert made(3, blocks, zone=zone)["verdict"] == "fragmented"
        movable = made(3, blocks, "0x108cca(GFP_HIGHUSER_MOVABLE)", zone)
        assert "as printed it passes" in movable["why"][-1]

    def test_atomic_requests_go_below_the_mark(self) -> None:
        blocks = ["100(U)", *["0"] * 4]
        assert made(0, blocks, zone="min:800kB")["verdict"] == "exhausted"
        assert "as printed" in made(0, blocks, "0xa20(GFP_ATOMIC)", "min:800kB")["why"][-1]

    def test_a_block_that_the_mark_refuses(self) -> None:
        report = made(3, ["0", "0", "0", "40(U)", "0"], zone="min:1260kB")
        assert report["verdict"] == "watermark"
        assert any("min_free_kbytes: 1248 or less" in each for each in report["helps"])
        assert "as printed" in made(3, ["0", "0", "0", "40(U)", "0"], zone="min:1248kB")["why"][-1]

    @pytest.mark.parametrize(("order", "verdict"), [(4, "fragmented"), (5, "too-big")])
    def test_the_columns_of_the_list_are_the_orders_of_the_kernel(self, order: int, verdict: str) -> None:
        assert made(order, ["200(U)", "0", "0", "0", "0"], zone="min:16kB")["verdict"] == verdict

    def test_more_than_all_memory_fails_on_every_boot(self) -> None:
        text = "Memory available: 3000k/4096k RAM\nnommu: Allocation of length 137438953472 from process 1 (x) failed\n"
        assert mcsim.diagnose(text)["reports"][0]["verdict"] == "too-big"

    def test_a_warning_of_the_kernel_that_no_order_is_so_large(self) -> None:
        text = (
            "WARNING: CPU: 0 PID: 1 at mm/page_alloc.c:4729 __alloc_pages+0x12/0x34\n"
            "nommu: Allocation of length 17825792 from process 1 (x) failed\n"
        )
        assert mcsim.diagnose(text)["reports"][0]["verdict"] == "too-big"

    def test_a_rule_that_is_unknown_and_matters_is_told_both_ways(self) -> None:
        text = (
            report_lines("stm32-3.19-leak")
            .replace("3.19.0-05389-gacf2cf1-dirty", "")
            .replace("pages of RAM", "pages RAM")
        )
        text = text.replace("per-cpu:", "")
        report = mcsim.diagnose(text)["reports"][0]
        assert report["verdict"] == "undecided"
        assert "before 4.4: watermark; since 4.4: as printed it passes" in report["why"][-1]

    def test_fit_takes_one_after_another_and_gives_the_rest_of_each_block_back(self) -> None:
        state = rules.ZoneState("", 16, 0, "min", 0, 0, 0, 0, (0, 0, 0, 0, 1), (False,) * 4 + (True,))
        assert rules.fit(state, 5, True) == 2  # 16 = 5 + 3 given back + 5 + 3 given back
        assert rules.fit(state, 16, True) == 1
        assert rules.fit(state, 17, True) == 0
        assert (
            rules.fit(rules.ZoneState("", 16, 1, "min", 0, 0, 0, 0, (0, 0, 0, 0, 1), (False,) * 4 + (True,)), 16, True)
            == 0
        )


class TestOverTime:
    def test_a_leak_is_told_from_fragmentation(self) -> None:
        noughts = "0*8kB 0*16kB 0*32kB 0*64kB 0*128kB 0*256kB 0*512kB 0*1024kB"

        def log(frees: list[int]) -> str:
            return "".join(
                f"[ {number}.500000] nommu: Allocation of length 1048576 from process {number} (x) failed\n"
                f"[ {number}.500000] Normal free:{free}kB min:16kB\n"
                f"[ {number}.500000] Normal: {free // 4}*4kB {noughts}"
                f" = {free}kB\n"
                for number, free in enumerate(frees, 1)
            )

        leak, pieces = (
            mcsim.diagnose(log(each)) for each in ([9000, 8000, 7000, 6000, 5004], [8000, 8100, 7900, 8000, 8000])
        )
        assert (leak["trend"]["verdict"], leak["trend"]["per"]) == ("leak", "second")
        assert leak["trend"]["slopes"]["free"][0] == pytest.approx(-1000, rel=0.01)
        assert pieces["trend"]["verdict"] == "fragmentation"

    def test_the_interval_of_a_slope_is_students(self) -> None:
        found = slope([(0.0, 1.0), (1.0, 3.0), (2.0, 4.0), (3.0, 4.0)])
        assert found is not None
        # Residuals of 0.5: their variance is 1 / 2, that of the slope a fifth of it; t of 2 degrees, 97.5 %: 4.302653.
        half = 4.302653 * 0.1**0.5
        assert (found.value, found.low, found.high) == pytest.approx((1.0, 1 - half, 1 + half), abs=1e-6)

    def test_one_report_has_no_trend(self) -> None:
        assert trend([]) is None
        assert diagnosed("stm32-3.19-leak")["trend"] is None


class Endless(io.RawIOBase):
    """A file of `size` bytes that is never all there: one text over and over."""

    def __init__(self, text: bytes, size: int) -> None:
        self.text, self.left, self.largest = text * (1 + BLOCK // len(text)), size, 0

    def read(self, size: int = -1) -> bytes:
        self.largest = max(self.largest, size)
        part = self.text[: min(size, self.left)]
        self.left -= len(part)
        return part


class TestStreams:
    @pytest.mark.parametrize(
        ("text", "size"),
        [
            (b"Apr  7 20:31:20 host systemd[1]: Started Session 7 of user root.\n", 64 << 20),
            (b"x" * 4096, 64 << 20),
            (report_lines("m68k-5.18").encode(), 24 << 20),
        ],
        ids=["others' lines", "no end of line", "reports"],
    )
    def test_memory_does_not_grow_with_the_log(self, text: bytes, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reader, "MOST_REPORTS", 64)
        file = Endless(text, size)
        tracemalloc.start()
        found = reader.read(file)  # type: ignore[arg-type]
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert file.left == 0 and 0 < file.largest <= BLOCK
        assert peak < 8 << 20
        assert len(found.reports) <= 65

    def test_of_very_many_reports_some_are_kept_and_all_are_counted(self) -> None:
        kept = reader.Kept(8)
        for number in range(100):
            kept.add(reader.Report(number, "memory"))
        assert kept.seen == 100 and len(kept.reports) <= 9
        assert kept.reports[0].line == 0
        steps = {b.line - a.line for a, b in zip(kept.reports, kept.reports[1:], strict=False)}
        assert steps == {kept.stride}

    def test_lines_are_numbered_as_an_editor_does(self) -> None:
        text = b"nothing\n" * 10_000 + b"Memory: 1K/2K available\n" + b"nothing\n" * 10_000 + b"Memory: 1K/2K available"
        found = [number for number, raw in lines(io.BytesIO(text), lambda: False, lambda: False) if raw]
        assert found == [10_001, 20_002]

    def test_a_known_word_over_the_edge_of_a_block_is_found(self) -> None:
        for pad in range(BLOCK - 40, BLOCK + 5):
            text = b"-" * 60 + b"\n" + b"x" * (pad - 62) + b"\nMemory: 100K/200K available\n"
            assert reader.read(io.BytesIO(text)).boots[0].ram_kb == 200


class TestCommand:
    def test_people_get_72_columns_and_no_escapes(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        evil = "\x1b]0;pwned\x07\x1b[31mx\u202e<script>"
        text = text_of("m68k-5.18").replace("(echo)", f"({evil})").replace("Comm: echo", f"Comm: {evil}")
        path = tmp_path / "log.txt"
        path.write_text(text + f"Machine model: {evil}\nMemory: 1K/2K available\n")
        files = [str(path), *(str(each) for each in sorted(LOGS.glob("*.txt")))]
        assert run_cli(["diagnose", *files, "--unread", "--fit", "218K"]) == 0
        printed = capsys.readouterr().out
        assert max(map(len, printed.splitlines())) <= 72
        assert all(each.isprintable() or each == "\n" for each in printed)
        assert "FRAGMENTED" in printed and "Beside each other" in printed

    def test_json_for_several_files(self, capsys: pytest.CaptureFixture[str]) -> None:
        names = [str(LOGS / "m68k-5.18.txt"), str(LOGS / "k210-5.18-boot.txt")]
        assert run_cli(["diagnose", *names, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        jsonschema.validate(found, SCHEMA)
        assert [each["file"] for each in found["files"]] == names
        assert found["files"][0]["boot"] is None and found["files"][1]["reports"] == []

    def test_a_file_without_reports_says_what_was_looked_for(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        (tmp_path / "novel.txt").write_text("It was a dark and stormy night.\n")
        assert run_cli(["diagnose", str(tmp_path / "novel.txt")]) == 2
        told = capsys.readouterr().err
        assert "no memory report" in told and "buddyinfo" in told and "page allocation failure" in told

    @pytest.mark.parametrize(
        ("option", "value"),
        [("--fit", "x"), ("--page-size", "3K"), ("--max-order", "99"), ("--release", "new"), ("--fit", "0K")],
    )
    def test_what_no_kernel_can_have_is_refused(
        self, option: str, value: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run_cli(["diagnose", str(LOGS / "m68k-5.18.txt"), option, value]) == 2
        assert option in capsys.readouterr().err

    def test_no_such_file(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run_cli(["diagnose", str(tmp_path / "none")]) == 2
        assert "no such file" in capsys.readouterr().err

    def test_lines_that_nobody_knows_are_listed(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run_cli(["diagnose", str(LOGS / "sh-2.6.31.txt"), "--unread"]) == 0
        assert "1 alloc order 7 for 49000:" in capsys.readouterr().out

    def test_text_without_reports_in_python(self) -> None:
        with pytest.raises(UserError, match="no memory report"):
            mcsim.diagnose("nothing")


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data())
def test_a_mutated_log_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("log")
    case = target.make(Choices.drawn(data), folder, folder)
    try:
        target.run(folder, folder, case)
    except UserError as error:
        assert "no memory report" in str(error)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.binary(max_size=400))
def test_any_bytes_are_a_line(raw: bytes) -> None:
    for line in cleaned(1, raw):
        assert line.text.isprintable() or "\ufffd" in line.text or not line.text.isascii()
