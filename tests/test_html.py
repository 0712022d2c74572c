"""The HTML report: what its sentences claim is what the boots show, it is one file, and a user's text stays text."""

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import stand_in
from matplotlib.colors import to_rgb

import mcsim
from mcsim.cli import run_cli
from mcsim.errors import UserError
from mcsim.model import experiment
from mcsim.model.settings import Setting
from mcsim.report import figures, write
from mcsim.report.html import html as page_of
from mcsim.report.html import question
from mcsim.report.sections import SECTIONS
from mcsim.report.sections.parts import Cell, Table
from mcsim.report.verdict import ranges, verdict
from mcsim.simulator import simulator
from mcsim.store.result import Result
from mcsim.studies.compare import compare
from mcsim.studies.findings import findings, usual_baseline
from mcsim.studies.monotonic import rises

HEAD = """
[experiment]
name = "small"
variants = [{names}]
ram = [{sizes}]
boots = {boots}
seed = 3
[workload]
recordings = "C"
"""
# Policies that differ, so that the stand-in below can tell the variants apart.
VARIANTS = ("maple-naive", "tail-free", "prealloc-early")


@pytest.fixture(autouse=True)
def stand_in_kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_in.use_stand_in(monkeypatch, tmp_path)


def made(
    monkeypatch: pytest.MonkeyPatch, p: dict[tuple[str, int], float], boots: int = 400, name: str = "small"
) -> Result:
    """A result whose boot k fails if a number drawn for k is below `p[variant, megabytes]`."""
    names, sizes = list(dict.fromkeys(key[0] for key in p)), sorted({key[1] for key in p})

    def simulate(task: Any, source: str, first: int, count: int) -> Any:
        outcomes = stand_in.simulate(task, source, first, count)
        tosses = np.array([stand_in.chance(f"{task.seed} {first + number}") for number in range(count)])
        stand_in.fail(outcomes, tosses < p[task.variant, task.ram >> 20])
        return outcomes

    monkeypatch.setattr(simulator, "simulate", simulate)
    quoted = ", ".join(f'"{each}"' for each in names)
    text = HEAD.format(names=quoted, sizes=", ".join(f'"{size}M"' for size in sizes), boots=boots)
    return mcsim.run(experiment.parse(text, "small.toml"), workers=1, out=name)


def html(result: Result, **options: Any) -> str:
    return page_of(findings(result, **options))


def answer(result: Result, baseline: str = "maple-naive") -> str:
    return verdict(compare(result, baseline), baseline).answer


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


class TestVerdict:
    def test_names_the_variant_that_helps_where_and_by_how_much(self, monkeypatch: pytest.MonkeyPatch) -> None:
        result = made(
            monkeypatch,
            {("maple-naive", 31): 0.1, ("maple-naive", 32): 0.9, ("tail-free", 31): 0.1, ("tail-free", 32): 0.5},
        )
        row = compare(result, "maple-naive").filter(pl.col("ram") == "32M").row(0, named=True)
        assert answer(result).startswith(
            f"tail-free helps: at 32M, where the difference is largest, it fails in {100 * row['p']:.2f} % of boots "
            f"instead of {100 * row['baseline_p']:.2f} % with maple-naive, {-100 * row['difference']:.1f} points fewer "
            f"(95 % interval {-100 * row['high']:.1f} to {-100 * row['low']:.1f}, the same 400 boots, adjusted p "
            "< 0.000001)"
        )
        assert answer(result).endswith("fewer boots fail at 32M.")

    def test_prefers_the_variant_that_helps_most_and_tells_where_it_harms(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        p = {("maple-naive", 31): 0.3, ("maple-naive", 32): 0.9}
        p |= {("tail-free", 31): 0.3, ("tail-free", 32): 0.7, ("mail-both", 31): 0.6, ("mail-both", 32): 0.1}
        assert answer(made(monkeypatch, p)).startswith("mail-both helps most, on average over RAM sizes: at 32M")
        assert "That mail-both is better than the others that help has not been tested here" in html(
            made(monkeypatch, p)
        )
        assert answer(made(monkeypatch, p)).endswith("fewer boots fail at 32M, but more at 31M.")

    def test_harm_is_not_called_help(self, monkeypatch: pytest.MonkeyPatch) -> None:
        result = made(monkeypatch, {("maple-naive", 32): 0.3, ("tail-free", 32): 0.5})
        assert answer(result).startswith(
            "No variant is shown to be better than maple-naive; tail-free fails more often"
        )

    def test_a_small_difference_is_undecided_and_none_in_many_boots_is_none(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        p = {("maple-naive", 32): 0.30, ("tail-free", 32): 0.31}
        assert answer(made(monkeypatch, p, boots=40, name="few")).startswith("Undecided: these boots show neither")
        p["tail-free", 32] = 0.30
        many = made(monkeypatch, p, boots=1000, name="many")
        assert answer(many).startswith("No variant differs from maple-naive by more than 2 points")
        points = verdict(compare(many, "maple-naive"), "maple-naive").points
        assert points == [
            "tail-free: not one of 1,000 boots differs from maple-naive at any RAM size, so at most 0.37 % of all "
            "boots do at each (exact, 95 %)."
        ]

    def test_after_a_rule_that_looked_it_quotes_the_sequence(self, monkeypatch: pytest.MonkeyPatch) -> None:
        result = made(monkeypatch, {("maple-naive", 32): 0.9, ("tail-free", 32): 0.1})
        found = verdict(compare(result, "maple-naive", peeking=True), "maple-naive").answer
        assert "95 % confidence sequence" in found
        assert "adjusted p" not in found

    def test_sizes_are_told_as_ranges(self) -> None:
        rows = [{"ram": f"{size}M"} for size in (28, 29, 30, 32, 48)]
        assert ranges(rows[:3], rows) == "28M to 30M"
        assert ranges([rows[0], rows[4]], rows) == "28M and 48M"
        assert ranges(rows[:2], rows) == "28M and 29M"
        assert ranges(rows, rows) == "every RAM size"

    def test_the_baseline_is_the_unfixed_kernel_if_it_was_run(self) -> None:
        assert usual_baseline(["pre-maple", "maple-naive"]) == "maple-naive"
        assert usual_baseline(["b", "a"]) == "b"


class TestMoreRam:
    def test_a_rise_is_found_with_its_size_and_a_fall_is_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        result = made(monkeypatch, {("maple-naive", 31): 0.1, ("maple-naive", 32): 0.9, ("maple-naive", 33): 0.5})
        found = rises(result).rows(named=True)
        assert [(row["smaller"], row["larger"]) for row in found] == [("31M", "32M")]
        cells = {row["ram"]: row["failures"] for row in result.summary().iter_rows(named=True)}
        assert (found[0]["smaller_failures"], found[0]["larger_failures"]) == (cells["31M"], cells["32M"])
        assert found[0]["difference"] == pytest.approx((cells["32M"] - cells["31M"]) / 400)

    def test_the_page_explains_it_only_then(self, monkeypatch: pytest.MonkeyPatch) -> None:
        up = made(monkeypatch, {("maple-naive", 31): 0.1, ("maple-naive", 32): 0.9}, name="up")
        down = made(monkeypatch, {("maple-naive", 31): 0.9, ("maple-naive", 32): 0.1}, name="down")
        assert "move_freepages_block()" in html(up)
        assert "Why more RAM" not in html(down)

    def test_a_rise_at_another_place_is_not_explained_by_the_pageblock(self, monkeypatch: pytest.MonkeyPatch) -> None:
        result = made(monkeypatch, {("maple-naive", 33): 0.1, ("maple-naive", 34): 0.9})
        assert "move_freepages_block()" not in html(result)
        assert "Why 34M is worse than the size before it is not explained" in html(result)

    def test_a_rise_that_may_be_chance_is_not_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        result = made(monkeypatch, {("maple-naive", 31): 0.50, ("maple-naive", 32): 0.51}, boots=100)
        low, high = result.summary()["failures"]
        assert low < high
        assert rises(result).height == 0


class TestPage:
    def test_needs_nothing_from_elsewhere(self, monkeypatch: pytest.MonkeyPatch) -> None:
        page = html(made(monkeypatch, {(name, 32): 0.5 for name in VARIANTS}))
        for _, attributes in Page(page).tags:
            for name in ("src", "href", "xlink:href", "data", "action"):
                assert (attributes.get(name) or "#").startswith("#")
        assert "@import" not in page
        assert not re.search(r"url\((?!#)", page)

    def test_every_id_is_there_once_and_every_reference_finds_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        page = html(
            made(
                monkeypatch,
                {("maple-naive", 31): 0.1, ("maple-naive", 32): 0.9, ("tail-free", 32): 0.4} | {("tail-free", 31): 0.2},
            )
        )
        ids = [attributes["id"] for _, attributes in Page(page).tags if "id" in attributes]
        assert len(ids) == len(set(ids))
        referred = re.findall(r'(?:href="|url\()#([^")]+)', page)
        assert set(referred) <= set(ids)

    def test_a_users_text_is_text_wherever_it_comes_from(self, monkeypatch: pytest.MonkeyPatch) -> None:
        evil = "<script>alert(1)</script>\"'&</style></pre>"
        made(
            monkeypatch,
            {("maple-naive", 31): 0.1, ("maple-naive", 32): 0.9, ("tail-free", 31): 0.1, ("tail-free", 32): 0.5},
            name="odd",
        )
        page = html(stand_in.disguise(mcsim.load("odd"), "tail-free", evil))
        seen = Page(page)
        assert sum(tag == "script" for tag, _ in seen.tags) == 1
        assert sum(tag == "style" for tag, _ in seen.tags) == 1
        shown = "".join(seen.texts)
        assert f"Title {evil}" in shown
        assert f"Words {evil}" in shown
        assert f"# File {evil}" in shown
        assert shown.count(evil) > 10

    def test_only_its_own_script_may_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        page = html(made(monkeypatch, {("maple-naive", 32): 0.5}))
        script = page.partition("<script>")[2].partition("</script>")[0]
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        policy = next(each["content"] for tag, each in Page(page).tags if each.get("http-equiv"))
        assert f"script-src 'sha256-{digest}'" in (policy or "")

    def test_never_prints_a_bare_0_per_cent(self, monkeypatch: pytest.MonkeyPatch) -> None:
        result = made(
            monkeypatch,
            {("maple-naive", 31): 0.0, ("maple-naive", 32): 1.0, ("tail-free", 31): 0.0, ("tail-free", 32): 0.0},
        )
        shown = "".join(Page(html(result)).texts)
        for words in ("0.00 %", "0.00\N{NO-BREAK SPACE}%", "100.00 %", "100.00\N{NO-BREAK SPACE}%"):
            assert words not in shown
        assert "<0.92" in shown
        assert ">99.08" in shown

    def test_the_mail_and_the_real_boots_stand_beside_boots_of_their_workload_only(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        result = made(monkeypatch, {("maple-naive", 32): 0.9, ("tail-free", 32): 0.5})
        page = html(result)
        assert "12 of 13" in page
        assert "19 of 19" in page
        result.experiment = replace(result.experiment, workload="my.toml")
        page = html(result)
        assert "12 of 13" not in page
        assert "19 of 19" not in page

    def test_one_variant_alone_is_compared_with_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        page = html(made(monkeypatch, {("maple-naive", 31): 0.2, ("maple-naive", 32): 0.4}))
        assert "maple-naive alone was run, so nothing is compared" in page
        assert "Differences from" not in page

    def test_many_variants_each_get_a_panel(self, monkeypatch: pytest.MonkeyPatch) -> None:
        names = ("maple-naive", "tail-free", "prealloc-early", "mail-both")
        p = {(name, size): 0.2 * (1 + number) for number, name in enumerate(names) for size in (31, 32)}
        page = html(made(monkeypatch, p))
        assert page.count("forest-") > 3
        assert "Each line by itself" in page

    def test_asks_what_was_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        two = {("maple-naive", 31): 0.1, ("maple-naive", 32): 0.9, ("tail-free", 31): 0.1, ("tail-free", 32): 0.5}
        assert question(findings(made(monkeypatch, two))) == (
            "How likely is a boot of workload C on m5208evb to run out of contiguous memory, with which of 2 kernels, "
            "at which of 2 RAM sizes from 31M to 32M?"
        )
        one = made(monkeypatch, {("tail-free", 32): 0.5}, name="one")
        assert question(findings(one)).endswith("with tail-free, at 32M?")

    def test_says_how_to_make_it_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        text = HEAD.format(names='"maple-naive", "tail-free"', sizes='"31M", "32M"', boots=9)
        loaded = experiment.parse(text, "small.toml", [Setting.of("timing.gap_sigma=0.3")])
        result = mcsim.run(loaded, workers=1, out="a b", ram=["32M"])
        page = "".join(Page(html(result)).texts)
        assert (
            "mcsim run 'a b/experiment.toml' --seed 3 --boots 9 --variant maple-naive --variant tail-free --ram 32M "
            "--set timing.gap_sigma=0.3 --out again"
        ) in page

    def test_every_section_is_named_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        page = Page(
            html(
                made(
                    monkeypatch,
                    {
                        ("maple-naive", 31): 0.1,
                        ("maple-naive", 32): 0.9,
                        ("tail-free", 31): 0.1,
                        ("tail-free", 32): 0.5,
                    },
                )
            )
        )
        sections = [attributes["id"] for tag, attributes in page.tags if tag == "section"]
        assert len(sections) == len(SECTIONS)

    def test_a_column_of_numbers_is_one_although_cells_are_missing(self) -> None:
        table = Table("", ["a", "b", "c"], [[Cell("x"), Cell("1", 1), Cell("y")], [Cell("z"), Cell("-"), Cell("w")]])
        assert [table.numeric(column) for column in range(3)] == [False, True, False]


class TestColours:
    def test_words_on_the_heat_map_are_legible_in_both_themes(self) -> None:
        for p in np.linspace(0.0, 1.0, 101):
            style = dict(part.removeprefix("--").split(":") for part in figures.heat(float(p)).split(";"))
            for theme in ("light", "dark"):
                assert figures.contrast(to_rgb(style[theme]), to_rgb(style[f"{theme}-ink"])) >= 4.5

    def test_lines_stand_out_from_the_ground_in_both_themes(self) -> None:
        css = (Path(figures.__file__).parent / "page" / "report.css").read_text()
        for theme in re.findall(r":root \{(.*?)\}", css, re.S):
            colours = dict(re.findall(r"--([\w-]+): (#\w{6})", theme))
            for name, colour in colours.items():
                if name.startswith("series-") or name in ("ink", "soft", "accent"):
                    least = 4.5 if name in ("ink", "soft", "accent") else 3.0
                    assert figures.contrast(to_rgb(colour), to_rgb(colours["ground"])) >= least, name

    def test_no_colour_of_a_picture_is_fixed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        p = {(name, size): 0.2 * (1 + number) for number, name in enumerate(VARIANTS) for size in (31, 32)}
        page = html(made(monkeypatch, p))
        pictures = "".join(re.findall(r"<svg.*?</svg>", page, re.S))
        assert "var(--series-1)" in pictures
        assert not re.search(r"(?:fill|stroke): *#", pictures)


class TestCommand:
    def test_formats_print_or_write_what_they_say(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        result = made(monkeypatch, {("maple-naive", 32): 0.9, ("tail-free", 32): 0.5})
        before = set(result.path.iterdir())
        for form, file in (("html", "report.html"), ("png", "p_oom.png")):
            assert run_cli(["report", "small", "--format", form]) == 0
            assert capsys.readouterr().out == f"small/{file}\n"
            assert {path.name for path in set(result.path.iterdir()) - before} == {file}
            (result.path / file).unlink()
        assert run_cli(["report", "small", "--format", "markdown"]) == 0
        assert capsys.readouterr().out == write.markdown(result)
        assert set(result.path.iterdir()) == before

    def test_a_baseline_is_chosen_or_refused(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        made(monkeypatch, {("maple-naive", 32): 0.9, ("tail-free", 32): 0.5})
        assert run_cli(["report", "small", "--format", "html", "--baseline", "tail-free"]) == 0
        assert "Differences from tail-free" in Path("small/report.html").read_text()
        assert run_cli(["report", "small", "--baseline", "tail-fre"]) == 2
        assert "did you mean 'tail-free'?" in capsys.readouterr().err
        assert run_cli(["report", "small", "--format", "csv", "--baseline", "tail-free"]) == 2

    @pytest.mark.parametrize("form", ["text", "markdown", "html", "png"])
    def test_no_boots_are_an_error(
        self, form: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        empty = made(monkeypatch, {("maple-naive", 32): 0.9}, boots=1)
        for path in empty.path.rglob("*.parquet"):
            path.unlink()
        assert run_cli(["report", "small", "--format", form]) == 2
        assert "holds no boots yet" in capsys.readouterr().err

    def test_the_library_refuses_an_unknown_baseline(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(UserError, match="not a variant with boots"):
            html(made(monkeypatch, {("maple-naive", 32): 0.9}), baseline="x")
