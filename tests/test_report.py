"""Reports: what they must say, that they fit a mail, and that a user's text cannot break them."""

import itertools
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import polars as pl
import pytest
import stand_in

import mcsim
from mcsim.errors import UserError
from mcsim.model import experiment
from mcsim.report import mail, plot, text, write
from mcsim.result import Result
from mcsim.stats.intervals import interval


@pytest.fixture
def stand_in_kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_in.use_stand_in(monkeypatch, tmp_path)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """Forty boots of every cell, and all files of its report; not to be changed by a test."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        folder = tmp_path_factory.mktemp("report")
        stand_in.use_stand_in(monkeypatch, folder)
        made = mcsim.run("mail-2022", boots=40, workers=1, out=folder / "mail-2022")
        write.write(made)
    return made


class TestText:
    def test_fits_72_columns(self, result: Result) -> None:
        lines = text.page(result).splitlines()
        assert max(map(len, lines)) <= 72
        assert lines == [line.rstrip() for line in lines]

    def test_fits_72_columns_with_the_longest_names_and_numbers(self) -> None:
        row = {"variant": "a" * 24, "ram": "128M", "ram_bytes": 1, "boots": 9_999_999, "failures": 5 * 10**6}
        row |= {"p": 0.5, "exact_low": 0.4999, "exact_high": 0.5001, "level": 0.999}
        summary = pl.DataFrame([row])
        assert max(map(len, text.cell_table(summary))) <= 72
        assert max(map(len, text.matrix(summary))) <= 72

    def test_has_a_row_per_cell_with_boots_failures_and_exact_interval(self, result: Result) -> None:
        page = text.page(result)
        for row in result.summary().iter_rows(named=True):
            low, high = interval(row["failures"], row["boots"])
            found = [line.split() for line in page.splitlines() if line.startswith(f"{row['variant']} ")]
            cells = [words for words in found if words[1] == row["ram"]]
            assert [cells[0][2], cells[0][3]] == [str(row["boots"]), str(row["failures"])]
            assert cells[0][-3:] == [f"{low:.4f}", "..", f"{high:.4f}"]

    def test_never_prints_a_bare_0_or_1(self) -> None:
        assert text.probability(0, 100, *interval(0, 100)) == "<0.0362"
        assert text.probability(100, 100, *interval(100, 100)) == ">0.9638"
        assert text.probability(1, 100, *interval(1, 100)) == "0.0100"

    def test_states_method_level_sample_and_seed(self, result: Result) -> None:
        words = " ".join(text.page(result, level=0.99).split())
        for needed in (
            "40 boots per cell",
            "Clopper-Pearson",
            "99 %",
            "seed 20220601",
            "gap sigma 0.11",
            "kernels ",
        ):
            assert needed in words

    def test_shows_the_mails_figures_with_their_own_intervals_and_never_pools(self, result: Result) -> None:
        page = text.page(result)
        assert "another userland" in page
        assert "never pooled" in page
        for figure in mail.FIGURES:
            low, high = interval(figure.failures, figure.boots)
            assert f"{figure.failures}/{figure.boots}  {low:.4f} .. {high:.4f}" in page

    def test_says_which_variants_fail_in_the_same_boots(self, result: Result) -> None:
        groups = [set(group) for group in text.equal_groups(result)]
        assert {"pre-maple", "maple-naive", "prealloc-early"} in groups
        assert {"tail-free", "mail-both", "linux-6.1.y", "linux-6.6"} in groups

    def test_many_variants_are_set_in_blocks(self) -> None:
        rows = [
            {
                "variant": f"v{number}",
                "ram": "32M",
                "ram_bytes": 32 << 20,
                "boots": 10,
                "failures": 1,
                "p": 0.1,
            }
            for number in range(19)
        ]
        lines = text.matrix(pl.DataFrame(rows))
        assert max(map(len, lines)) <= 72
        assert sum("32M" in line for line in lines) == 3
        assert "  [19] v18" in lines


class TestFiles:
    def test_all_are_written_beside_the_chunks(self, result: Result) -> None:
        reports = {"table.txt", "table.csv", "report.md", "report.html", "p_oom.png", "p_oom.svg"}
        stored = {"chunks", "experiment.json", "experiment.toml", "manifest.json", "records"}
        assert {path.name for path in result.path.iterdir()} == reports | stored

    def test_the_csv_is_the_summary(self, result: Result) -> None:
        table = pl.read_csv(result.path / "table.csv")
        assert table.columns == result.summary().columns
        assert table["failures"].to_list() == result.summary()["failures"].to_list()

    def test_the_same_boots_give_the_same_bytes(self, stand_in_kernel: None, result: Result) -> None:
        before = {path.name: path.read_bytes() for path in result.path.iterdir() if path.is_file()}
        write.write(mcsim.load(result.path))
        assert before == {path.name: path.read_bytes() for path in result.path.iterdir() if path.is_file()}

    def test_pictures_are_whole_and_the_svg_names_every_variant(self, result: Result) -> None:
        assert (result.path / "p_oom.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        ElementTree.parse(result.path / "p_oom.svg")
        svg = (result.path / "p_oom.svg").read_text()
        for variant in result.experiment.variants:
            assert variant.name in svg

    def test_no_boots_are_an_error_not_an_empty_report(self, stand_in_kernel: None) -> None:
        empty = mcsim.run("mail-2022", boots=1, ram=["32M"], workers=1)
        for path in empty.path.rglob("*.parquet"):
            path.unlink()
        with pytest.raises(UserError, match="holds no boots yet"):
            write.write(mcsim.load(empty.path))

    def test_a_users_title_cannot_break_the_page(self, stand_in_kernel: None) -> None:
        title = 'x | **y** <script>alert("1")</script> `z` $\\frac$ [a](b)'
        source = experiment.load("mail-2022").source.replace(
            'title = "P(OOM) of the 2022 nommu boot, per patch and RAM size"', f"title = '{title}'"
        )
        odd = mcsim.run(experiment.parse(source, "odd.toml"), boots=5, out="odd", ram=["32M"], workers=1)
        write.write(odd)
        page = (odd.path / "report.md").read_text()
        assert "<script>" not in page
        assert "**y**" not in page
        ElementTree.parse(odd.path / "p_oom.svg")


class TestPlot:
    def test_variants_are_told_apart_by_more_than_colour(self) -> None:
        styles = [plot.line_style(number) for number in range(20)]
        for one, other in itertools.combinations(styles, 2):
            assert one["marker"] != other["marker"] or one["color"] != other["color"]
        for one, other in itertools.combinations(styles[:9], 2):
            assert one["marker"] != other["marker"]

    @pytest.mark.parametrize(("variants", "sizes"), [(1, 1), (1, 30), (9, 2), (12, 3)])
    def test_any_number_of_variants_and_sizes_can_be_drawn(self, variants: int, sizes: int, tmp_path: Path) -> None:
        rows = [
            {
                "variant": f"v{number}",
                "ram": f"{size + 24}M",
                "ram_bytes": (size + 24) << 20,
                "boots": 10,
                "p": 0.1,
            }
            | {"exact_low": 0.0, "exact_high": 0.4}
            for number in range(variants)
            for size in range(sizes)
        ]
        summary = pl.DataFrame(rows)
        figure = plot.draw(summary, [[f"v{number}"] for number in range(variants)], "t", plot.note(summary, 0, 0.95))
        for path in plot.save(figure, tmp_path / "x"):
            assert path.stat().st_size > 1000
