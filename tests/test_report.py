"""Reports: what they must say, that they fit a mail, what they never follow, and that no text can break them."""

import csv
import dataclasses
import html
import itertools
import re
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import SimpleNamespace

import matplotlib.figure
import polars as pl
import pytest
import stand_in

import mcsim
from mcsim.cli import run_cli
from mcsim.errors import UserError
from mcsim.files import csv_of
from mcsim.model import experiment
from mcsim.model.board import Board
from mcsim.model.experiment import Task
from mcsim.report import comparison, mail, plot, screen, text, verdict, write
from mcsim.simulator import simulator
from mcsim.stats.intervals import interval
from mcsim.store.result import Result
from mcsim.studies.explain import blame
from mcsim.studies.findings import findings


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
        write.write(findings(made))
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
        groups = [set(group) for group in result.groups]
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
                "exact_low": 0.0025,
                "exact_high": 0.4451,
            }
            for number in range(19)
        ]
        lines = text.matrix(pl.DataFrame(rows))
        assert max(map(len, lines)) <= 72
        assert sum("32M" in line for line in lines) == 3
        assert "  [19] v18" in lines


class TestScreen:
    def test_fits_a_screen_of_80_by_40(self, result: Result) -> None:
        lines = (screen.table(result) + "\n\n\n" + screen.answer(findings(result))).splitlines()
        assert len(lines) <= 40
        assert max(map(len, lines)) <= 72

    def test_variants_that_fail_in_the_same_boots_share_a_column_with_their_figures(self, result: Result) -> None:
        table = screen.table(result)
        groups = result.groups
        assert 1 < len(groups) < len(result.experiment.variants)
        columns = {
            row[0]: row[1:] for row in (line.split() for line in table.splitlines()) if row and row[0][0].isdigit()
        }
        assert list(columns) == [row["ram"] for row in result.summary().filter(variant="pre-maple").to_dicts()]
        legend = " ".join(table.partition("   RAM")[0].split())
        for number, group in enumerate(groups, 1):
            assert f"[{number}] {', '.join(group)}" in legend
            for row in result.summary().filter(variant=group[-1]).iter_rows(named=True):
                assert columns[row["ram"]][number - 1].strip("<>") in (
                    f"{100 * row['p']:.2f}",
                    f"{100 * row['exact_low']:.2f}",
                    f"{100 * row['exact_high']:.2f}",
                )

    def test_every_cell_is_there_if_asked_for(self, result: Result) -> None:
        lines = [line.split()[:2] for line in screen.table(result, cells=True).splitlines()]
        for row in result.summary().iter_rows(named=True):
            assert [row["variant"], row["ram"]] in lines

    def test_the_answer_is_the_sentence_of_the_page_for_the_same_baseline(self, result: Result) -> None:
        for baseline in (None, "tail-free"):
            against = baseline or "maple-naive"
            frame = mcsim.compare(result, baseline=against)
            sentence = verdict.verdict(frame, against, result.groups).answer
            assert " ".join(screen.answer(findings(result, baseline=baseline)).split()) == sentence

    def test_of_one_variant_says_where_it_fails_most(self, stand_in_kernel: None) -> None:
        made = mcsim.run("mail-2022", boots=20, variants=["tail-free"], ram=["31M", "32M"], out="one")
        worst = max(made.summary().iter_rows(named=True), key=lambda row: row["p"])
        words = " ".join(screen.answer(findings(made)).split())
        assert words.startswith(f"tail-free alone was run, so nothing is compared; at {worst['ram']} ")
        assert words.endswith("and at no other size more.")

    def test_boots_that_are_not_there_are_told(self, stand_in_kernel: None) -> None:
        part = mcsim.run("mail-2022", boots=20, ram=["32M"], shard="1/2", out="part")
        assert part.missing()
        assert part.missing()[0] in " ".join(screen.table(part).split())


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
        write.write(findings(mcsim.load(result.path)))
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
            write.write(findings(mcsim.load(empty.path)))

    def test_a_users_title_cannot_break_the_page(self, stand_in_kernel: None) -> None:
        title = 'x | **y** <script>alert("1")</script> `z` $\\frac$ [a](b)'
        source = experiment.load("mail-2022").source.replace(
            'title = "P(OOM) of the 2022 nommu boot, per patch and RAM size"', f"title = '{title}'"
        )
        odd = mcsim.run(experiment.parse(source, "odd.toml"), boots=5, out="odd", ram=["32M"], workers=1)
        write.write(findings(odd))
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


class TestLinks:
    """A result folder that came from elsewhere may hold links to anything."""

    @pytest.fixture
    def folder(self, stand_in_kernel: None, result: Result, tmp_path: Path) -> Path:
        return Path(shutil.copytree(result.path, tmp_path / "copy"))

    def test_are_replaced_not_followed(self, folder: Path) -> None:
        kept = folder.parent / "kept"
        kept.write_text("kept")
        names = ["table.txt", "table.csv", "report.md", "report.html", "p_oom.png", "p_oom.svg"]
        for name in names:
            (folder / name).unlink()
            (folder / name).symlink_to(kept)
        write.write(findings(mcsim.load(folder)))
        assert kept.read_text() == "kept"
        assert not any((folder / name).is_symlink() for name in names)
        found = findings(mcsim.load(folder))
        for name, alone in (
            ("report.html", lambda: write.write_html(found)),
            ("p_oom.png", lambda: write.write_png(found.result)),
        ):
            (folder / name).unlink()
            (folder / name).symlink_to(kept)
            alone()
            assert kept.read_text() == "kept"
            assert not (folder / name).is_symlink()

    def test_nothing_is_written_where_a_part_cannot_be_made(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (folder / "table.txt").write_text("old")

        def broken(*_: object) -> str:
            raise UserError("cannot be made")

        monkeypatch.setattr(write.html, "html", broken)
        with pytest.raises(UserError):
            write.write(findings(mcsim.load(folder)))
        assert (folder / "table.txt").read_text() == "old"

    def test_a_place_that_cannot_be_written_is_one_message(self, folder: Path) -> None:
        (folder / "table.csv").unlink()
        (folder / "table.csv").mkdir()
        with pytest.raises(UserError, match=r"table\.csv: cannot be written"):
            write.write(findings(mcsim.load(folder)))


class TestHostileWords:
    """Names and title as no experiment file may have them, but as a folder from elsewhere could."""

    NAME = '=cmd|"/c calc"!A1\x1b[31m\n| `x` | <b>'

    @pytest.fixture
    def hostile(self, stand_in_kernel: None, result: Result, tmp_path: Path) -> Result:
        loaded = mcsim.load(shutil.copytree(result.path, tmp_path / "copy"))
        names = {"maple-naive": self.NAME, "tail-free": "# `\u202e$\\frac{1$"}
        variants = tuple(
            dataclasses.replace(each, name=names.get(each.name, each.name), description="a\x07\n# b & `c`")
            for each in loaded.experiment.variants
        )
        loaded.experiment = dataclasses.replace(
            loaded.experiment, variants=variants, title="1. \x1b]0;pwned\x07\n# $\\frac{1$ ![x](y)", name="x`; touch y"
        )
        loaded.tasks = [
            dataclasses.replace(task, variant=names.get(task.variant, task.variant)) for task in loaded.tasks
        ]
        loaded.manifest["runs"][-1]["versions"]["python"] = "\x1b[2J"
        return loaded

    def test_reach_no_terminal(self, hostile: Result) -> None:
        for page in (
            text.page(hostile),
            screen.table(hostile, cells=True),
            screen.answer(findings(hostile)),
            write.markdown(hostile),
            csv_of(hostile.summary()),
            comparison.page(mcsim.compare(hostile, baseline="pre-maple"), hostile.experiment.title),
        ):
            assert all(each.isprintable() or each == "\n" for each in page)

    def test_are_one_row_of_every_table(self, hostile: Result) -> None:
        rows = text.page(hostile).splitlines()
        assert sum(line.startswith("=cmd") for line in rows) == len(hostile.experiment.ram)
        heading = next(line for line in write.markdown(hostile).splitlines() if line.startswith("| RAM |"))
        cells = re.split(r"(?<!\\)\|", heading)[1:-1]
        assert len(cells) == 1 + len(hostile.experiment.variants)
        assert "<b>" not in heading.replace("\\<", "")

    def test_are_no_heading_code_or_list_of_the_markdown(self, hostile: Result) -> None:
        page = write.markdown(hostile)
        headings = [line for line in page.splitlines() if line.startswith("#")]
        assert headings[0].startswith("# 1\\. \\\\x1b\\]0;pwned\\\\x07 \\# $")
        assert headings[1:] == ["## The mail's own figures", "## Variants", "## Provenance"]
        assert "![x]" not in page
        assert "`x`; touch y" not in page

    def test_are_no_formula_of_the_csv(self, hostile: Result, tmp_path: Path) -> None:
        write.write(findings(hostile))
        with (hostile.path / "table.csv").open(newline="") as file:
            names = {row["variant"] for row in csv.DictReader(file)}
        assert '\'=cmd|"/c calc"!A1\\x1b[31m | `x` | <b>' in names
        assert not any(name[0] in "=+-@\t" for name in names)

    def test_can_be_drawn(self, hostile: Result) -> None:
        paths = write.write(findings(hostile))
        ElementTree.parse(paths[-1])


class TestWorkload:
    """A result of a workload of the user's own, whose folder has the name of a shipped one."""

    @pytest.fixture
    def made(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Result:
        def load_workload(source: str, board: Board) -> SimpleNamespace:
            """Files in a folder stand for its content; C is a shipped set."""
            if source == "C":
                return SimpleNamespace(digest="cc" * 32)
            if not Path(source).is_dir():
                raise UserError("no such workload")
            return SimpleNamespace(digest=f"{len(list(Path(source).iterdir())):02x}" * 32)

        stand_in.use_stand_in(monkeypatch, tmp_path)
        monkeypatch.setattr(simulator, "load_workload", load_workload)
        looked_at: list[str] = []

        def of_boots(task: Task, source: str, *rest: object, **others: float) -> pl.DataFrame:
            looked_at.append(source)
            return stand_in.of_boots(task, source, *rest, **others)

        monkeypatch.setattr(blame, "of_boots", of_boots)
        monkeypatch.setattr(simulator, "kernel_hash", lambda: "ab" * 32)
        Path("C").mkdir()
        Path("C/a.npz").touch()
        source = '[experiment]\nvariants = ["maple-naive", "tail-free"]\nram = "32M"\nboots = 40\n'
        Path("mine.toml").write_text(source + '[machine]\nboard = "m5208evb"\n[workload]\nfile = "C"\n')
        made = mcsim.run("mine.toml", workers=1, out="mine")
        made.looked_at = looked_at  # type: ignore[attr-defined]
        return made

    def page(self, result: Result, **options: str) -> str:
        return html.unescape(write.write_html(findings(mcsim.load(result.path), **options)).read_text())

    def test_is_that_of_the_boots_from_any_folder(
        self, made: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = tmp_path / "other"
        (other / "C").mkdir(parents=True)
        monkeypatch.chdir(other)
        made.path = tmp_path / made.path
        assert "page cache" in self.page(made)
        assert set(made.looked_at) == {str(tmp_path / "C")}  # type: ignore[attr-defined]

    def test_is_not_taken_for_the_shipped_one_of_its_name(self, made: Result) -> None:
        assert not mail.belongs_beside(mcsim.load(made.path).experiment)
        assert "The mail's figures" not in self.page(made)
        assert "another userland" not in text.page(mcsim.load(made.path))

    @pytest.mark.parametrize("change", ["moved", "changed"])
    def test_that_is_gone_or_another_is_said_and_left_out(self, made: Result, change: str, tmp_path: Path) -> None:
        if change == "moved":
            Path("C").rename("moved")
        else:
            Path("C/b.npz").touch()
        page = self.page(made)
        assert "page cache" not in page
        assert f"The workload is not where it was, or has changed: {tmp_path / 'C'}" in page
        assert "--workload WHERE" in page

    def test_can_be_told_where_it_is_now(self, made: Result, capsys: pytest.CaptureFixture[str]) -> None:
        Path("C").rename("moved")
        assert run_cli(["report", "mine", "--format", "html", "--workload", "moved"]) == 0
        assert "page cache" in Path("mine/report.html").read_text()
        assert run_cli(["report", "mine", "--workload", "C"]) == 2  # the shipped one
        assert "--workload: is not the workload of the stored boots: cccccccccccc here" in capsys.readouterr().err
        assert run_cli(["report", "mine", "--workload", "gone"]) == 2
        assert run_cli(["report", "mine", "--format", "csv", "--workload", "moved"]) == 2


def test_pictures_of_variants_with_a_dot_in_their_names_do_not_replace_each_other(tmp_path: Path) -> None:
    figure = matplotlib.figure.Figure()
    paths = [path.name for name in ("6.6-32M", "6.6-33M") for path in plot.save(figure, tmp_path / f"tornado-{name}")]
    assert paths == ["tornado-6.6-32M.png", "tornado-6.6-32M.svg", "tornado-6.6-33M.png", "tornado-6.6-33M.svg"]
