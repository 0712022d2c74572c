"""RAM sizes with P(OOM) <= p: verdicts and how often they are wrong, the logic of sets, the command."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import stand_in

import mcsim
from mcsim.cli import run_cli
from mcsim.cli.min_ram_command import page
from mcsim.errors import UserError
from mcsim.model.units import format_size
from mcsim.run import compiling
from mcsim.simulator import simulator
from mcsim.stats.scan import SAFE, UNDECIDED, UNSAFE, Count, answer, boots_without_failure, looks, scan, verdict
from mcsim.stats.sequences import sequence
from mcsim.studies.min_ram import ranges

MB = 1 << 20
COMMAND = ["min-ram", "mail-2022", "--variant", "maple-naive", "--p", "0.05", "--workers", "1"]


def counter(p: Mapping[int, float], seed: int) -> Count:
    """Failures of made-up boots; a boot has one severity at all sizes, as in the simulator."""
    rng = np.random.default_rng(seed)
    severity = np.empty(0)

    def count(sizes: Sequence[int], boots: int) -> dict[int, int]:
        nonlocal severity
        severity = np.append(severity, rng.random(max(0, boots - severity.size)))
        return {size: int((severity[:boots] < p[size]).sum()) for size in sizes}

    return count


def words(p: Mapping[int, float], seed: int = 0, **options: bool) -> dict[int, str]:
    found = scan(sorted(p), counter(p, seed), 0.05, 0.95, 2000, **options)
    return {size.ram: size.verdict for size in found}


class TestVerdict:
    @pytest.mark.parametrize(
        ("failures", "boots", "word"),
        [
            (0, 0, UNDECIDED),
            (0, 20, UNDECIDED),
            (0, 400, SAFE),
            (20, 400, UNDECIDED),
            (60, 400, UNSAFE),
            (9, 9, UNSAFE),
        ],
    )
    def test_is_what_the_sequence_says(self, failures: int, boots: int, word: str) -> None:
        low, high = sequence(failures, boots, 0.99)
        assert verdict(failures, boots, 0.05, 0.99) == word
        assert (SAFE if high <= 0.05 else UNSAFE if low > 0.05 else UNDECIDED) == word

    @pytest.mark.parametrize(("limit", "level"), [(0.001, 0.999), (0.05, 0.95), (0.9, 0.5)])
    def test_boots_without_failure_are_just_enough(self, limit: float, level: float) -> None:
        boots = boots_without_failure(limit, level)
        assert verdict(0, boots, limit, level) == SAFE
        assert verdict(0, boots - 1, limit, level) == UNDECIDED

    def test_looks_rise_to_the_most_and_meet_the_clear_sizes(self) -> None:
        numbers = list(looks(0.01, 0.99, 5000))
        assert numbers == sorted(set(numbers))
        assert boots_without_failure(0.01, 0.99) in numbers
        assert numbers[-1] == 5000
        assert list(looks(0.01, 0.99, 7)) == [7]


class TestScan:
    def test_finds_a_set_that_is_not_an_interval(self) -> None:
        p = {28: 0.9, 29: 0.3, 30: 0.0, 31: 0.01, 32: 0.8, 33: 0.2, 34: 0.0, 35: 0.0}
        found = words(p)
        assert found == {size: SAFE if each <= 0.05 else UNSAFE for size, each in p.items()}
        assert answer(found) == (30, 34, [32, 33], [])

    def test_clear_sizes_stop_early_and_unclear_ones_get_the_boots(self) -> None:
        p = {30: 0.9, 31: 0.05, 32: 0.0}
        boots = {size.ram: size.boots for size in scan([30, 31, 32], counter(p, 1), 0.05, 0.95, 3000)}
        assert boots == {30: 128, 31: 3000, 32: boots_without_failure(0.05, 1 - 0.05 / 3)}

    @pytest.mark.parametrize("p", [0.05, 0.0500001])
    def test_wrong_verdicts_are_at_most_as_frequent_as_stated(self, p: float) -> None:
        """Ten sizes just at the limit, on common boots or on their own: at most 5 % of tables hold a wrong word.

        200 tables: with 5 % the chance of more than 18 is 1 %.
        """
        wrong_word = UNSAFE if p <= 0.05 else SAFE
        common = sum(wrong_word in words(dict.fromkeys(range(10), p), seed).values() for seed in range(200))
        assert common <= 18
        rng = np.random.default_rng(5)
        wrong = 0
        for _ in range(200):
            failures = rng.binomial(1, p, (10, 1000)).cumsum(axis=1)
            found = scan(
                range(10), lambda sizes, boots, f=failures: {s: f[s, boots - 1] for s in sizes}, 0.05, 0.95, 1000
            )  # type: ignore[misc]
            wrong += any(size.verdict == wrong_word for size in found)
        assert wrong <= 18

    def test_all_sequences_hold_p_together(self) -> None:
        p = dict(enumerate((0.0, 0.02, 0.04, 0.08, 0.5, 1.0)))
        missed = 0
        for seed in range(200):
            found = scan(sorted(p), counter(p, seed), 0.05, 0.95, 1000)
            missed += any(not size.low <= p[size.ram] <= size.high for size in found)
        assert missed <= 18

    def test_bisection_simulates_few_sizes_and_marks_the_others(self) -> None:
        p = {size: 0.5 if size < 50 else 0.0 for size in range(64)}
        found = scan(sorted(p), counter(p, 2), 0.05, 0.95, 2000, assume_monotonic=True)
        assert [size.verdict for size in found] == [UNSAFE] * 50 + [SAFE] * 14
        assert sum(not size.assumed for size in found) <= 7
        assert all(size.boots == 0 for size in found if size.assumed)

    def test_bisection_goes_on_at_both_sides_of_an_undecided_size(self) -> None:
        p = {0: 0.9, 1: 0.5, 2: 0.3, 3: 0.05, 4: 0.0, 5: 0.0}
        assert words(p, assume_monotonic=True) == {0: UNSAFE, 1: UNSAFE, 2: UNSAFE, 3: UNDECIDED, 4: SAFE, 5: SAFE}

    @pytest.mark.parametrize("value", [0.0, 0.05, 1.0])
    def test_bisection_ends_where_all_sizes_are_alike(self, value: float) -> None:
        found = set(words(dict.fromkeys(range(9), value), 3, assume_monotonic=True).values())
        assert found == {{0.0: SAFE, 0.05: UNDECIDED, 1.0: UNSAFE}[value]}


class TestAnswer:
    def test_an_undecided_size_ends_the_safe_ones(self) -> None:
        assert answer({1: SAFE, 2: UNDECIDED, 3: SAFE}) == (1, 3, [], [2])

    def test_there_may_be_none(self) -> None:
        assert answer({1: UNSAFE, 2: UNDECIDED}) == (None, None, [], [2])
        assert answer({1: SAFE, 2: UNSAFE}) == (1, None, [2], [])

    def test_all_may_be_safe(self) -> None:
        assert answer({1: SAFE, 2: SAFE}) == (1, 1, [], [])

    def test_ranges_follow_the_scan_not_the_numbers(self) -> None:
        sizes = [28 * MB, 29 * MB, 32 * MB, 64 * MB]
        assert ranges(sizes, sizes) == ["28M..64M"]
        assert ranges([28 * MB, 32 * MB, 64 * MB], sizes) == ["28M", "32M..64M"]
        assert ranges([], sizes) == []


@pytest.fixture
def small_world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[int, float]:
    """P of the stand-in by RAM size (MB), to be changed by tests."""
    p = {30: 0.9, 31: 0.0, 32: 0.5, 33: 0.0}

    def simulate(task: simulator.Task, source: str, first: int, count: int) -> np.ndarray:
        outcomes = stand_in.simulate(task, source, first, count)
        tosses = [stand_in.chance(f"{task.seed} {first + number}") for number in range(count)]
        stand_in.fail(outcomes, np.array(tosses) < p[task.ram // MB])
        return outcomes

    monkeypatch.setattr(simulator, "simulate", simulate)
    monkeypatch.setattr(simulator, "load_workload", stand_in.load_workload)
    monkeypatch.setattr(compiling, "compiled_marker", lambda what: None)
    monkeypatch.chdir(tmp_path)
    return p


class TestCommand:
    def test_prints_the_set_and_warns(
        self, small_world: dict[int, float], capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        assert run_cli([*COMMAND, "--ram", "30M..33M step 1M"]) == 0
        printed = capsys.readouterr()
        assert max(map(len, printed.out.splitlines())) <= 72
        text = " ".join(printed.out.split())
        for needed in (
            "30M 128 ",
            "Shown safe: 31M, 33M.",
            "Shown unsafe: 30M, 32M.",
            "Smallest safe size: 31M.",
            "as far as scanned: 33M.",
            "WARNING: more RAM is worse here. Unsafe above the safe 31M: 32M.",
            "non-monotonic.md",
            "95 % confidence",
        ):
            assert needed in text
        assert "128 boots of 30M..33M" in printed.err
        assert (tmp_path / "results/mail-2022-min-ram/manifest.json").is_file()

    def test_continues_in_the_same_folder_and_says_the_same(
        self, small_world: dict[int, float], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run_cli([*COMMAND, "--ram", "30M,31M", "--format", "csv"])
        first = capsys.readouterr().out
        run_cli([*COMMAND, "--ram", "32M,33M", "--boots", "900", "--level", "0.9"])
        monkeypatch.setattr(simulator, "simulate", None)  # nothing is left to simulate
        capsys.readouterr()
        assert run_cli([*COMMAND, "--ram", "30M,31M", "--format", "csv"]) == 0
        assert capsys.readouterr().out == first
        assert pl.read_csv(first.encode())["verdict"].to_list() == [UNSAFE, SAFE]

    @pytest.mark.parametrize(("ram", "code"), [("30M,31M", 0), ("31M,32M", 1), ("31M,35M", 3)])
    def test_exit_code_is_that_of_the_largest_size(self, small_world: dict[int, float], ram: str, code: int) -> None:
        small_world[35] = 0.05
        assert run_cli([*COMMAND, "--ram", ram, "--boots", "300"]) == code

    def test_says_what_was_assumed(self, small_world: dict[int, float], capsys: pytest.CaptureFixture[str]) -> None:
        small_world.update({size: 0.9 if size < 40 else 0.0 for size in range(28, 60)})
        assert run_cli([*COMMAND, "--ram", "28M..59M step 1M", "--assume-monotonic"]) == 0
        printed = capsys.readouterr().out
        assert max(map(len, printed.splitlines())) <= 72
        assert "ASSUMED, not shown" in printed
        assert "assumed  unsafe" in printed
        assert "as far as scanned: 40M" in printed

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--p", "0"], "--p: 0.0 is out of range"),
            (["--p", "nan"], "--p: nan is out of range"),
            (["--level", "95"], "95.0 is not a level"),
            (["--variant", "maple"], "--variant: 'maple' is not a variant of this experiment (did you mean"),
            (["--boots", "0"], "--boots: 0 is out of range"),
            (["--ram", "2G"], "--ram: 2G of RAM is out of range"),
            (["--ram", "64M..28M step 1M"], "--ram: the range"),
            (["--seed", "-1"], "--seed: -1 is out of range"),
        ],
    )
    def test_bad_input_is_refused_before_anything_is_made(
        self,
        small_world: dict[int, float],
        capsys: pytest.CaptureFixture[str],
        options: list[str],
        message: str,
        tmp_path: Path,
    ) -> None:
        assert run_cli([*COMMAND, *options]) == 2
        assert message in capsys.readouterr().err
        assert not list(tmp_path.iterdir())

    def test_the_variant_is_needed(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run_cli(["min-ram", "mail-2022", "--p", "0.1"]) == 2
        assert "Missing option '--variant'. valid: pre-maple, maple-naive" in capsys.readouterr().err

    def test_fits_a_mail_with_the_longest_numbers(self) -> None:
        row = {"variant": "a" * 24, "ram": "128M", "ram_bytes": 128 * MB, "boots": 99_999_999, "failures": 9_999_999}
        row |= {"p": 1.234e-5, "low": 1.234e-5, "high": 1.234e-5, "assumed": False, "limit": 1e-6, "level": 0.999}
        frame = pl.DataFrame([row | {"verdict": UNDECIDED}])
        assert max(map(len, page(frame, "t" * 60).splitlines())) <= 72

    def test_help_fits_a_terminal(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run_cli(["min-ram", "--help"]) == 0
        assert max(map(len, capsys.readouterr().out.splitlines())) <= 100


def test_in_python_it_is_a_data_frame(small_world: dict[int, float]) -> None:
    frame = mcsim.min_ram("mail-2022", variant="tail-free", p=0.05, ram=["31M", "32M"], boots=256)
    assert frame.columns == [
        *("variant", "ram", "ram_bytes", "boots", "failures", "p", "low", "high", "verdict", "assumed", "limit"),
        "level",
    ]
    assert frame["ram"].to_list() == [format_size(31 * MB), format_size(32 * MB)]
    assert all(math.isfinite(value) for value in frame["high"])
    with pytest.raises(UserError, match="is out of range"):
        mcsim.min_ram("mail-2022", variant="tail-free", p=2.0)


class TestRulesOfTheExperiment:
    """An experiment whose own rules end cells, and whose sweep leaves the variant out."""

    TEXT = """
        [experiment]
        name = "ruled"
        variants = ["maple-naive", "tail-free"]
        ram = ["31M..33M step 1M"]
        boots = 4000
        [workload]
        recordings = "C"
        [stop]
        max_failures = 5
        [sweep]
        exclude = [{ variant = "tail-free", ram = "32M" }]
    """

    @pytest.fixture
    def ruled(self, small_world: dict[int, float], tmp_path: Path) -> Path:
        small_world[32] = 0.07
        (tmp_path / "ruled.toml").write_text(self.TEXT)
        return tmp_path / "ruled.toml"

    @pytest.mark.parametrize("left", ["[stop]", "[sweep]", "both"])
    def test_no_boot_is_counted_that_was_not_run(self, ruled: Path, tmp_path: Path, left: str) -> None:
        start, stop, sweep = re.split(r"\n +(?=\[s)", self.TEXT)
        ruled.write_text(
            "\n".join([start, *(each for each in (stop, sweep) if each.startswith(left) or left == "both")])
        )
        command = {"variant": "tail-free", "p": 0.02, "ram": ["32M"]}
        frame = mcsim.min_ram(ruled, **command)
        assert frame["verdict"].to_list() == [UNSAFE]
        stored = mcsim.load("results/ruled-min-ram").outcomes("tail-free", "32M")
        assert stored["boot"].to_list() == list(range(frame["boots"].item()))
        assert int(stored["failed"].sum()) == frame["failures"].item()
        (tmp_path / "plain.toml").write_text(self.TEXT.partition("[stop]")[0])
        assert mcsim.min_ram(tmp_path / "plain.toml", out="plain", **command).equals(frame)

    def test_the_page_says_that_they_are_not_used(self, ruled: Path, capsys: pytest.CaptureFixture[str]) -> None:
        words = "The experiment's [stop] and [sweep] are not used here."
        run_cli(["min-ram", str(ruled), "--variant", "tail-free", "--p", "0.02", "--ram", "32M"])
        assert words in " ".join(capsys.readouterr().out.split())
        run_cli([*COMMAND, "--ram", "32M"])
        assert "not used here" not in capsys.readouterr().out

    def test_a_folder_that_lacks_boots_is_refused(self, ruled: Path) -> None:
        command = {"variant": "tail-free", "p": 0.02, "ram": ["32M"]}
        mcsim.min_ram(ruled, **command, boots=300)
        chunks = sorted(Path("results/ruled-min-ram").rglob("*.parquet"))
        chunks[0].unlink()
        chunks[-1].rename(chunks[-1].with_name("00000000-00000299.parquet"))  # says that it holds them
        with pytest.raises(UserError, match=r"(of the first \d+ boots|damaged|does not hold)"):
            mcsim.min_ram(ruled, **command, boots=300)
