"""Rare failures: the estimate has the right mean, its interval the stated coverage, and particles are plain boots."""

import functools
import json
import math
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom, norm

import mcsim
from mcsim.cli import run_cli
from mcsim.cli.rare_command import page
from mcsim.kernels.boot import splitting
from mcsim.kernels.boot.splitting import block_offsets
from mcsim.model.experiment import canonical_json, load
from mcsim.simulator import simulator
from mcsim.simulator.population import FIRST_BOOT, Population, largest_order, recordings_of
from mcsim.stats.intervals import interval
from mcsim.stats.splitting import (
    Chain,
    Estimate,
    chain_sizes,
    climb,
    copies,
    estimate,
    next_level,
    pilot,
    plain_boots,
)
from mcsim.studies import rare
from mcsim.studies.rare import Journal, Rare, Repetition
from mcsim.studies.study import any_cell
from tests.machines import BOARD

COMMAND = ["rare", "mail-2022", "--variant", "tail-free", "--ram", "35M", "--repetitions", "5", "--boots", "20"]


class Sums:
    """Made-up boots: eight normal numbers, the danger is the exponential of their sum; it fails above a limit."""

    def __init__(self, p: float, size: int, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.limit = norm.isf(p) * math.sqrt(8)
        self.x = np.zeros((size, 8))
        self.dangers = np.zeros(size)
        self.boots = 0

    def danger(self, x: np.ndarray) -> np.ndarray:
        total = x.sum(axis=1)
        return np.where(total > self.limit, np.inf, np.exp(total))

    def start(self) -> None:
        self.x = self.rng.normal(size=self.x.shape)
        self.dangers = self.danger(self.x)
        self.boots += len(self.x)

    def move(self, level: float) -> float:
        taken = 0
        for share in (0.1, 0.3):
            proposal = np.where(self.rng.random(self.x.shape) < share, self.rng.normal(size=self.x.shape), self.x)
            dangers = self.danger(proposal)
            good = dangers > level
            self.x[good], self.dangers[good] = proposal[good], dangers[good]
            self.boots += len(good)
            taken += good.sum()
        return taken / (2 * len(self.x))

    def keep(self, chosen: np.ndarray) -> None:
        self.x, self.dangers = self.x[chosen], self.dangers[chosen]

    def below(self, limit: int, stage: int) -> int:
        return int(self.rng.integers(limit))


@functools.cache
def made_up_estimates(p: float, size: int, number: int) -> np.ndarray:
    levels = pilot(Sums(p, size, 0)).levels
    return np.array([climb(Sums(p, size, seed), levels).estimate for seed in range(1, number + 1)])


class TestEstimator:
    @pytest.mark.parametrize("p", [0.3, 1e-2, 1e-5])
    def test_the_mean_is_right_even_with_few_boots(self, p: float) -> None:
        """1,000 repetitions: more than 4 standard errors off is one in 16,000, somewhat more for skewed ones."""
        values = made_up_estimates(p, 50, 1000)
        assert abs(values.mean() - p) < 4 * values.std(ddof=1) / math.sqrt(len(values))

    def test_levels_that_were_chosen_badly_do_not_bias_it(self) -> None:
        """The limit for 1e-3 in one step and a level that most boots are above: the same false-alarm rate."""
        values = np.array([climb(Sums(1e-3, 50, seed), [0.1, 20.0, 200.0]).estimate for seed in range(1500)])
        assert values.min() == 0.0
        assert abs(values.mean() - 1e-3) < 4 * values.std(ddof=1) / math.sqrt(len(values))

    @pytest.mark.parametrize(("p", "size"), [(1e-2, 50), (1e-5, 50), (1e-5, 100), (1e-5, 200)])
    def test_the_interval_covers_as_often_as_it_says(self, p: float, size: int) -> None:
        """100 intervals of 10 repetitions: fewer than 89 of 100 are to be expected once in 85 files at 95 %."""
        values = made_up_estimates(p, size, 1000).reshape(-1, 10)
        found = [estimate(each, 0.95) for each in values]
        covered = sum(each.low <= p <= each.high for each in found)
        assert binom.cdf(88, 100, 0.95) < 0.012
        assert covered >= 89

    def test_work_is_that_of_plain_boots_with_the_same_error(self) -> None:
        assert plain_boots(Estimate(0.01, 0.0, 1.0, 0.1)) == pytest.approx(9900)
        assert math.isnan(plain_boots(Estimate(0.0, 0.0, 1.0, math.inf)))

    def test_zero_everywhere_is_no_estimate(self) -> None:
        assert estimate([0.0] * 5, 0.95) == (0.0, 0.0, 1.0, math.inf)

    def test_equal_estimates_do_not_pretend_to_be_exact(self) -> None:
        assert estimate([0.2] * 5, 0.95)[1:3] == (0.0, 1.0)

    def test_chains_are_larger_where_the_pilot_expects_more_failures(self) -> None:
        assert chain_sizes([4e-6, 1e-6, 1e-6, 0.0], 100) == [200, 100, 100, 20]
        assert chain_sizes([0.0, 0.0], 100) == [100, 100]

    def test_the_pilot_itself_estimates_about_right(self) -> None:
        """Not quite, as its levels depend on its boots: it only decides the sizes of chains."""
        assert 1e-6 < pilot(Sums(1e-5, 200, 0)).estimate < 1e-4

    def test_copies_are_equally_many_but_for_one(self) -> None:
        above = np.array([3, 5, 8])
        counts = [np.unique(copies(above, 10, start), return_counts=True) for start in range(3)]
        assert all(values.tolist() == [3, 5, 8] for values, _ in counts)
        assert sum(count for _, count in counts).tolist() == [10, 10, 10]

    def test_a_level_is_below_the_most_dangerous_boot_and_above_the_last_level(self) -> None:
        dangers = np.array([1.0, 2.0, 3.0, 4.0, math.inf])
        assert next_level(dangers, -1.0) == 4.0
        assert next_level(np.array([1.0] * 9 + [2.0]), -1.0) == 1.0
        assert next_level(np.array([1.0] * 9 + [2.0]), 1.0) == math.inf
        assert next_level(np.ones(5), -1.0) == math.inf


@functools.cache
def cell(ram_mb: int, variant: str = "tail-free"):
    return any_cell(load("mail-2022"), variant, f"{ram_mb}M")


def population(size: int, recording: int = 0, ram_mb: int = 32) -> Population:
    task = cell(ram_mb)
    return Population(task, "C", size, 1, recording, largest_order(task, "C"), lambda boots: None)


class TestParticles:
    def test_one_number_everywhere_is_that_plain_boot(self) -> None:
        recording = 4
        boots = population(800, recording)
        boots.start()
        task = cell(32)
        outcomes = simulator.simulate(task, "C", FIRST_BOOT + ((recordings_of(task, "C") + recording) << 28), 800)
        same = outcomes["recording"] == recording
        failed = outcomes["failed"][same] == 1
        assert 2 < failed.sum() < same.sum() - 2
        assert np.array_equal(boots.dangers[same] == math.inf, failed)

    def test_moves_leave_the_level_behind_them(self) -> None:
        boots = population(32)
        boots.start()
        level = float(np.median(boots.dangers[boots.dangers < math.inf]))
        boots.keep(np.flatnonzero(boots.dangers > level))
        assert 0.2 < boots.move(level) < 1.0
        assert (boots.dangers > level).all()

    def test_the_largest_image_needs_a_block_of_1_mb(self) -> None:
        assert largest_order(cell(32), "C") == 7

    def test_each_block_of_requests_has_a_coordinate_of_its_own(self) -> None:
        program = simulator.load_workload("C", BOARD).arrays
        offset = block_offsets(program)
        assert (np.diff(offset) >= 1).all()
        for first, end, *_ in program.recording.tolist():
            lanes = program.lane[first:end]
            blocks = -(-(lanes[:, 1] - lanes[:, 0]) // 8)
            assert (np.diff(offset)[: len(blocks)] >= blocks).all()

    def test_a_move_draws_as_many_coordinates_anew_as_it_says(self) -> None:
        """Of 8,000 coordinates one in 32: outside of 4 standard deviations once in 16,000 seeds. Recordings stay."""
        old, new, words = np.zeros(8000, np.int64), np.zeros(8000, np.int64), np.zeros(4, np.uint64)
        splitting.propose(old, new, 5, 77, splitting.Move(splitting.ALWAYS, 0, splitting.ALWAYS // 32), words)
        assert new[1] == 77
        assert new[0] == new[2] == 0
        assert set(np.unique(new)) == {0, 77}
        assert abs((new[3:] == 77).mean() - 1 / 32) < 4 * math.sqrt(1 / 32 / 8000)


class TestCommand:
    def test_agrees_with_plain_boots_and_says_how_it_came_about(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """P is about 0.5: both intervals at 99.9 %, so that they miss each other once in 1,000 seeds at most."""
        monkeypatch.chdir(tmp_path)
        options = ["--ram", "32M", "--repetitions", "5", "--boots", "40", "--level", "0.999"]
        assert run_cli([*COMMAND, *options]) == 0
        printed = capsys.readouterr()
        assert max(map(len, printed.out.splitlines())) <= 72
        assert "5 repetitions of 21 recordings by 40 boots a stage" in " ".join(printed.out.split())
        found = mcsim.rare("mail-2022", variant="tail-free", ram="32M", repetitions=5, boots=40, level=0.999)
        outcomes = simulator.simulate(cell(32), "C", 0, 200)
        low, high = interval(int(outcomes["failed"].sum()), 200, 0.999)
        assert found.estimate.low <= high
        assert low <= found.estimate.high

    def test_agrees_with_plain_boots_where_one_in_a_hundred_fails(self, tmp_path: Path) -> None:
        """209 of 20,000 plain boots failed. Intervals at 99.9 % miss each other once in 1,000 seeds at most."""
        found = mcsim.rare(
            "mail-2022", variant="tail-free", ram="35M", repetitions=6, boots=20, level=0.999, out=tmp_path
        )
        assert any(found.levels)
        low, high = interval(209, 20_000, 0.999)
        assert found.estimate.low <= high
        assert low <= found.estimate.high
        assert found.estimate.error < 0.6

    def test_where_every_boot_fails_it_says_what_plain_boots_show(self, tmp_path: Path) -> None:
        found = mcsim.rare("mail-2022", variant="maple-naive", ram="20M", repetitions=5, boots=20, out=tmp_path)
        assert not any(found.levels)
        assert found.estimate.p == 1.0
        assert found.estimate[1:3] == interval(2100, 2100)
        assert "exact (Clopper-Pearson), of plain boots" in " ".join(page(found, "mail-2022").split())

    def test_goes_on_where_it_was_killed_and_leaves_the_same_file_on_any_number_of_workers(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def file_of(name: str, repetitions: int, workers: int) -> Path:
            more = ["--ram", "34M", "--repetitions", str(repetitions), "--workers", str(workers)]
            assert run_cli([*COMMAND, *more, "--out", str(tmp_path / name)]) == 0
            (file,) = (tmp_path / name).iterdir()
            return file

        whole = file_of("one", 5, workers=1).read_bytes()
        assert file_of("two", 5, workers=2).read_bytes() == whole
        longer = file_of("two", 6, workers=2)
        lines = longer.read_text().splitlines()
        assert lines[:-1] == whole.decode().splitlines()
        longer.write_text("\n".join([*lines[:3], *lines[5:]]) + "\n")  # as if killed, two workers at work
        assert file_of("two", 6, workers=2).read_text().splitlines() == lines
        capsys.readouterr()
        assert run_cli([*COMMAND, "--ram", "34M", "--out", str(tmp_path / "one"), "--format", "csv"]) == 0
        assert capsys.readouterr().out.startswith("variant,ram,p,low,high,error,level,repetitions,zero,boots,")

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--repetitions", "4"], "--repetitions: 4 is out of range"),
            (["--boots", "0"], "--boots: 0 is out of range"),
            (["--level", "95"], "95.0 is not a level"),
            (["--variant", "tail"], "--variant: 'tail' is not a variant of this experiment (did you mean"),
            (["--ram", "2G"], "--ram: 2G of RAM is out of range"),
            (["--ram", "35"], "--ram: '35' has no unit"),
            (["--seed", "-1"], "--seed: -1 is out of range"),
            (["--workers", "0"], "--workers: 0 is not a number of workers"),
        ],
    )
    def test_bad_input_is_refused_before_anything_is_made(
        self, options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run_cli([*COMMAND, "--out", str(tmp_path / "new"), *options]) == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "new").exists()

    @pytest.mark.parametrize("missing", ["--variant", "--ram"])
    def test_variant_and_size_are_needed(self, missing: str, capsys: pytest.CaptureFixture[str]) -> None:
        given = {"--variant": "tail-free", "--ram": "35M"}
        del given[missing]
        assert run_cli(["rare", "mail-2022", *(word for pair in given.items() for word in pair)]) == 2
        assert f"Missing option '{missing}'. valid: " in capsys.readouterr().err

    def test_help_fits_a_terminal(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run_cli(["rare", "--help"]) == 0
        assert max(map(len, capsys.readouterr().out.splitlines())) <= 100


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of COMMAND; not to be changed by a test."""
    folder = tmp_path_factory.mktemp("rare")
    assert run_cli([*COMMAND, "--out", str(folder)]) == 0
    (file,) = folder.iterdir()
    return file


class TestDamagedFiles:
    """A journal that was damaged, or that somebody edited."""

    @pytest.fixture
    def file(self, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setattr(rare, "_simulate", None)  # nothing is to be simulated
        return Path(shutil.copy(whole, tmp_path))

    def refused(self, file: Path, capsys: pytest.CaptureFixture[str]) -> str:
        assert run_cli([*COMMAND, "--out", str(file.parent)]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith(f"mcsim: {file}: ")
        assert "delete this one" in printed.err
        return printed.err

    def test_a_whole_one_is_read(self, file: Path) -> None:
        assert run_cli([*COMMAND, "--out", str(file.parent)]) == 0

    def test_a_number_that_was_changed_is_found(self, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """As found: `above` of more boots than there are gave P(OOM) 2.81."""
        lines = file.read_bytes().splitlines(keepends=True)
        document = json.loads(lines[3])
        document["chains"][4][2][0] += 1
        file.write_bytes(b"".join([*lines[:3], canonical_json(document).encode() + b"\n", *lines[4:]]))
        assert "is damaged: the checksum of line 4 is wrong" in self.refused(file, capsys)

    def test_any_byte_that_was_changed_is_found(self, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        content, rng = file.read_bytes(), random.Random(7)
        for place in rng.sample(range(len(content)), 40):
            file.write_bytes(content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :])
            self.refused(file, capsys)

    def test_a_file_that_was_cut_off_is_found(self, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        content = file.read_bytes()
        ends = [place + 1 for place, byte in enumerate(content) if byte == ord("\n")]
        for place in (0, 1, ends[0], ends[0] + 1, ends[1] - 1, ends[-2] + 1, ends[-1] - 1):
            file.write_bytes(content[:place])
            self.refused(file, capsys)

    def test_a_line_of_another_file_is_found(self, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        other = file.parent / "other"
        assert Journal(other, cell(35), 20, 6, 21).path != file
        journal = Journal(other, cell(35), 21, 7, 21)
        line = json.loads(file.read_bytes().splitlines()[2])
        file.write_bytes(file.read_bytes() + journal._signed(line | {"number": 9}).encode())
        assert "checksum of line 8" in self.refused(file, capsys)

    def test_a_line_that_is_there_twice_is_found(self, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file.write_bytes(file.read_bytes() + file.read_bytes().splitlines(keepends=True)[-1])
        assert "repetition 5 is there twice" in self.refused(file, capsys)

    @pytest.mark.parametrize(
        "key", ["size", "failed", "above", "above longer", "moved", "moved longer", "boots", "chains", "number"]
    )
    @pytest.mark.parametrize("value", [-1, 300_021, 0.5, True, None, "32", [], {}])
    def test_what_no_chain_can_say_is_refused_though_its_checksum_is_right(
        self, file: Path, capsys: pytest.CaptureFixture[str], key: str, value: object
    ) -> None:
        def edit(document: dict[str, Any]) -> None:
            chain = document["chains"][1]
            assert chain == [46, 0, [10, 6], [pytest.approx(0.519, abs=0.001)], 414]
            if key in document:
                document[key] = value
            elif key in ("above", "moved"):
                chain[Chain._fields.index(key)][-1] = 1.5 if (key, value) == ("moved", 0.5) else value
            elif key.endswith(" longer"):
                chain[Chain._fields.index(key.removesuffix(" longer"))].append(value)
            else:
                chain[Chain._fields.index(key)] = value

        self.edited(file, 2, edit)
        self.refused(file, capsys)

    @pytest.mark.parametrize(
        "pilot",
        [[[3.0, 1.0], 0.1, 9], [["1"], 0.1, 9], [[1.0], 1.5, 9], [[1.0], 0.1, 0], [[1.0], 0.1], [1, 2, 3], None],
    )
    def test_what_no_pilot_can_say_is_refused(
        self, file: Path, capsys: pytest.CaptureFixture[str], pilot: object
    ) -> None:
        self.edited(file, 1, lambda document: document["pilots"].__setitem__(0, pilot))
        self.refused(file, capsys)

    def test_fewer_pilots_or_chains_than_recordings_are_refused(
        self, file: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        content = file.read_bytes()
        self.edited(file, 1, lambda document: document["pilots"].pop())
        assert "20 pilots of 21 recordings" in self.refused(file, capsys)
        file.write_bytes(content)
        self.edited(file, 2, lambda document: document["chains"].pop())
        assert "20 chains of 21 recordings" in self.refused(file, capsys)

    def edited(self, file: Path, place: int, edit: Callable[[dict[str, Any]], object]) -> None:
        """Change what one line says, with a checksum that is right."""
        lines = file.read_bytes().splitlines(keepends=True)
        document = json.loads(lines[place])
        edit(document)
        journal = Journal(file.parent / "none", cell(35), 20, 7, 21)
        assert journal.path.name == file.name
        file.write_bytes(b"".join([*lines[:place], journal._signed(document).encode(), *lines[place + 1 :]]))


def made_up(values: list[list[int]], p: float) -> Rare:
    repetitions = [
        Repetition(number, [Chain(50, 0, above, [0.3] * (len(above) - 1), 999)] * 2)
        for number, above in enumerate(values)
    ]
    found = Estimate(p, p / 2, max(0.03, 2 * p), 0.3 if p else math.inf)
    return Rare(found, 0.95, 50, [[0.1, 3.0, 9.9]] * 2, repetitions, 123_456_789, 7, cell(35), Path("file"))


class TestPage:
    def test_zero_is_a_bound_and_says_so(self) -> None:
        text = page(made_up([[10, 3, 0]] * 5, 0.0), "n" * 40)
        assert "P(OOM)       <0.03" in text
        assert "ZERO IS NOT SHOWN" in text
        assert max(map(len, text.splitlines())) <= 72

    def test_warns_of_an_estimate_that_hangs_on_one_repetition(self) -> None:
        text = page(made_up([[10, 3, 0], [10, 3, 1, 0], [10, 3, 1, 1], [10, 3, 1, 1], [50, 50, 50, 50]], 1e-7), "name")
        assert "DO NOT TRUST THIS YET" in text
        assert max(map(len, text.splitlines())) <= 72

    def test_warns_of_an_estimate_that_hangs_on_few_chains_of_one_recording(self) -> None:
        found = made_up([[10, 3, 5, 4]] * 9, 1e-7)
        none = Chain(50, 0, [10, 0], [0.3], 999)
        half = [
            each._replace(chains=[each.chains[0], none if each.number % 9 else each.chains[1]])
            for each in found.repetitions
        ]
        text = page(found._replace(repetitions=half), "name")
        assert "DO NOT TRUST THIS YET" not in text  # a tenth
        larger = [
            each._replace(chains=[each.chains[0], each.chains[1] if each.number % 3 == 0 else none])
            for each in found.repetitions
        ]
        assert "DO NOT TRUST THIS YET" in page(found._replace(repetitions=larger), "name")

    def test_does_not_warn_where_repetitions_agree(self) -> None:
        text = page(made_up([[10, 3, 5, 4]] * 9, 1e-7), "name")
        assert "DO NOT TRUST" not in text
