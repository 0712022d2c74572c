"""The benchmarks: ours and the C twins do the same, the median of paired ratios is judged, the gate holds."""

import json
import shutil
from pathlib import Path

import pytest

from mcsim.cli import run_cli
from mcsim.errors import UserError
from mcsim.fidelity.speed import allocators, jobs, record, startup, twins
from mcsim.fidelity.speed import figure as figures
from mcsim.fidelity.speed.figure import BYTES, QUICK, SECONDS, Figure, ResultsDifferError, Settings, in_turn
from mcsim.fidelity.speed.jobs import Job
from mcsim.fidelity.speed.targets import TARGETS, target_of, verdict
from mcsim.fidelity.speed.twins import NoTwinsError, Twins

FAST = Figure("buddy-mixed", "pairs", (1e-8, 1e-8, 2e-8), (1e-8, 1.1e-8, 2.2e-8), "C twin")
SLOW = Figure("maple-store-20", "stores", (2e-7, 2e-7, 2e-7), (1e-7, 1e-7, 1e-7), "C twin")
ALONE = Figure("maple-store-50", "stores", (2e-7, 2e-7))


@pytest.fixture(scope="module")
def compiled() -> Twins:
    try:
        return Twins()
    except NoTwinsError as reason:
        pytest.skip(f"no C twins: {reason}")


def job_of(made_up: Figure) -> Job:
    return Job(made_up.name, "made up", lambda settings, library: made_up)


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch):
    """Replaces what is measured by these figures."""
    return lambda *made: monkeypatch.setattr(jobs, "jobs", lambda: [job_of(each) for each in made])


# -- ours and the twins --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [job.name for job in jobs.jobs() if job.twinned])
def test_ours_and_the_twin_come_to_the_same_result(compiled: Twins, name: str) -> None:
    (job,) = (each for each in jobs.jobs() if each.name == name)
    found = job.measure(QUICK, compiled)  # raises ResultsDifferError if not
    assert found.name == name
    assert len(found.values) == len(found.other) == QUICK.rounds
    assert min(found.values + found.other) > 0


@pytest.mark.parametrize("preallocate", [0, 1])
def test_the_maple_twin_is_ours_in_the_64_bit_layout_too(compiled: Twins, preallocate: int) -> None:
    assert allocators.maple_store("64", QUICK, compiled, 1000, preallocate, layout=64).other


@pytest.mark.parametrize(
    ("file", "right", "wrong", "measure"),
    [
        ("page_alloc.h", "order < MAX_ORDER - 2)", "order < 0)", allocators.buddy_mixed),
        ("slub.h", "slab->freelist = (int32_t)head;", "slab->freelist = (int32_t)tail;", allocators.replay),
        (
            "maple_tree.h",
            "split = end / 2;",
            "split = end / 2 - 1;",
            lambda *arguments: allocators.maple_store(*arguments, ranges=1000, preallocate=0),
        ),
    ],
)
def test_a_twin_that_does_something_else_is_found(
    compiled: Twins, tmp_path: Path, file: str, right: str, wrong: str, measure
) -> None:
    shutil.copytree(twins.SOURCES, tmp_path / "wrong")
    source = tmp_path / "wrong" / file
    text = source.read_text()
    assert right in text
    source.write_text(text.replace(right, wrong))
    with pytest.raises(ResultsDifferError, match="other-twin"):
        measure("other-twin", QUICK, Twins(tmp_path / "wrong"))


def test_a_source_that_does_not_compile_is_said(compiled: Twins, tmp_path: Path) -> None:
    (tmp_path / "broken.c").write_text("int twin(")
    with pytest.raises(NoTwinsError, match=r"broken\.c"):
        Twins(tmp_path)


# -- in turn -------------------------------------------------------------------------------------------------------


def test_sides_run_in_turn_and_begin_alternately() -> None:
    calls: list[str] = []

    def side(name: str, seconds: float):
        return lambda repeats: (calls.append(name), (seconds * repeats, repeats))[1]

    found = in_turn("x", "pairs", 10, Settings(rounds=3, seconds=1.0), side("ours", 0.1), side("twin", 0.2))
    assert calls[-6:] == ["ours", "twin", "twin", "ours", "ours", "twin"]
    assert found.values == pytest.approx([0.01] * 3)
    assert found.other == pytest.approx([0.02] * 3)


def test_the_median_of_ratios_is_not_the_ratio_of_medians() -> None:
    # Each round is slower than the one before, ours always by a tenth more than the twin.
    found = Figure("x", "pairs", (1.1, 2.2, 4.4), (1.0, 2.0, 4.0), "C twin")
    assert found.ratio == pytest.approx(1 / 1.1)
    one_round_disturbed = Figure("x", "pairs", (1.1, 2.2, 44.0), (1.0, 20.0, 4.0), "C twin")
    assert one_round_disturbed.ratio == pytest.approx(1 / 1.1)
    assert found.value == pytest.approx(1 / 2.2)
    assert Figure("x", SECONDS, (1.0, 3.0, 2.0)).value == 2.0


def test_cpu_time_is_that_of_this_thread() -> None:
    import time

    assert figures.timed(lambda: time.sleep(0.05))[0] < 0.04


# -- the gate ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("figure", "met"),
    [
        (Figure("buddy-mixed", "pairs", (1.0, 1.0), (0.951, 0.951), "C twin"), True),
        (Figure("buddy-mixed", "pairs", (1.0, 1.0), (0.949, 0.949), "C twin"), False),
        (Figure("buddy-mixed", "pairs", (1.0, 1.0)), None),
        (Figure("boots-maple-naive-32M", "boots", (1 / 8501,)), True),
        (Figure("boots-maple-naive-32M", "boots", (1 / 8499,)), False),
        (Figure("boots-tail-free-32M", "boots", (1.0,)), None),
        (Figure("workers", SECONDS, (1.0,), (1.81,), "1 worker"), True),
        (Figure("workers", SECONDS, (1.0,), (1.79,), "1 worker"), False),
        (Figure("memory", BYTES, (101.0,), (100.0,), "2nd chunk"), True),
        (Figure("memory", BYTES, (103.0,), (100.0,), "2nd chunk"), False),
        (Figure("start-cli", SECONDS, (0.29,)), True),
        (Figure("start-cli", SECONDS, (0.31,)), False),
        (Figure("start-warm", SECONDS, (2.1,)), False),
        (Figure("start-cold", SECONDS, (44.0,)), True),
    ],
    ids=lambda value: f"{value.name} {value.values[0]:.4g}" if isinstance(value, Figure) else str(value),
)
def test_targets(figure: Figure, met: bool | None) -> None:
    assert verdict(figure) is met


def test_each_target_is_about_a_benchmark_that_there_is() -> None:
    names = [job.name for job in jobs.jobs()]
    assert {target_of(name) for name in names} - {None} == set(TARGETS)
    assert len(names) == len(set(names))


def test_the_gate_passes_where_all_targets_are_met(made_up) -> None:
    made_up(FAST)
    assert run_cli(["check", "speed", "--gate"]) == 0


def test_the_gate_names_what_misses_its_target(made_up, capsys: pytest.CaptureFixture[str]) -> None:
    made_up(FAST, SLOW)
    assert run_cli(["check", "speed"]) == 0
    assert run_cli(["check", "speed", "--gate"]) == 1
    said = capsys.readouterr()
    assert "missed: maple-store-20" in said.err
    assert "buddy-mixed" not in said.err.split("missed:")[1]
    (line,) = {line for line in said.out.splitlines() if line.startswith("maple-store-20")}
    assert line.split() == ["maple-store-20", "5.00", "M/s", "10.00", "M/s", "0.50", "0", "%", ">=0.95", "missed"]


def test_the_gate_does_not_pass_what_was_not_measured(made_up, capsys: pytest.CaptureFixture[str]) -> None:
    made_up(ALONE)
    assert run_cli(["check", "speed", "--gate"]) == 2
    assert "maple-store-50" in capsys.readouterr().err


# -- the command ---------------------------------------------------------------------------------------------------


def test_a_quick_run_prints_and_writes_all_rounds(
    compiled: Twins, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rounds.json"
    assert (
        run_cli(["check", "speed", "--quick", "--only", "buddy-single", "--only", "start-cli", "--json", str(file)])
        == 0
    )
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 72
    assert "buddy-single" in printed
    assert "buddy-mixed" not in printed

    import pyperf

    suite = pyperf.BenchmarkSuite.load(str(file))
    assert suite.get_benchmark_names() == ["buddy-single", "buddy-single, C twin", "start-cli"]
    for each in suite.get_benchmarks():
        assert len(each.get_values()) == QUICK.rounds
    metadata = suite.get_benchmark("buddy-single").get_metadata()
    assert metadata["cpu_count"] >= 1
    assert metadata["target"] in ("met", "missed")
    assert compiled.version == metadata["c_compiler"]
    assert json.loads(file.read_text())["version"]


def test_what_has_no_twin_is_measured_too(capsys: pytest.CaptureFixture[str]) -> None:
    names = ["boots-maple-naive-32M", "workers", "memory", "more-boots", "start-warm"]
    assert run_cli(["check", "speed", "--quick", *(word for name in names for word in ("--only", name))]) == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 72
    assert [line.split()[0] for line in printed.splitlines() if line.startswith(tuple(names))] == names


def test_a_run_that_prints_no_figure_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(startup, "RUN", ("run", "no-such-experiment"))
    with pytest.raises(UserError, match="prints no figure"):
        startup.first_figure(tmp_path / "out", None)


def test_without_a_compiler_ours_is_measured_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    assert run_cli(["check", "speed", "--quick", "--only", "buddy-single"]) == 0
    said = capsys.readouterr()
    assert "no C compiler is found (no-such-compiler)" in said.err
    (line,) = (line for line in said.out.splitlines() if line.startswith("buddy-single"))
    assert line.endswith(">=0.95 not seen")


def test_without_a_checkout_there_are_no_twins(tmp_path: Path) -> None:
    with pytest.raises(NoTwinsError, match="checkout"):
        Twins(tmp_path)


def test_ctrl_c_keeps_what_is_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> Figure:
        raise KeyboardInterrupt

    monkeypatch.setattr(jobs, "jobs", lambda: [job_of(ALONE), Job("stop", "made up", interrupted)])
    file = tmp_path / "some.json"
    assert run_cli(["check", "speed", "--json", str(file)]) == 130
    assert "maple-store-50" in capsys.readouterr().out
    assert file.is_file()


def test_different_results_end_with_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def differs(settings: Settings, _: Twins | None) -> Figure:
        return in_turn("odd", "pairs", 1, settings, lambda n: (0.1, 1), lambda n: (0.1, 2))

    monkeypatch.setattr(jobs, "jobs", lambda: [job_of(FAST), Job("odd", "made up", differs)])
    assert run_cli(["check", "speed"]) == 1
    assert "odd: ours and the C twin come to different results" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "budy"], "--only: 'budy' begins the name of no benchmark"),
        (["--only", ""], "--only: '' begins"),
        (["--gate", "--quick"], "--gate, --quick:"),
        (["--json", "no/such/folder/x.json"], "no/such/folder/x.json: --json: cannot be written"),
        (["--json", "."], "--json: cannot be written"),
        (["--rounds", "3"], "No such option"),
    ],
)
def test_bad_input_ends_with_2(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["check", "speed", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_file_that_holds_no_benchmarks_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "thesis.json"
    file.write_text("mine")
    assert run_cli(["check", "speed", "--quick", "--only", "buddy-single", "--json", str(file)]) == 2
    assert "exists and holds no benchmarks" in capsys.readouterr().err
    assert file.read_text() == "mine"


@pytest.mark.parametrize("name", ["rounds.json", "rounds.json.gz"])
def test_pyperf_reads_what_is_written(name: str, tmp_path: Path) -> None:
    import pyperf

    for _ in range(2):  # the second time over the first
        record.check(tmp_path / name)
        record.write(tmp_path / name, [ALONE], {})
    assert [each.get_name() for each in pyperf.BenchmarkSuite.load(str(tmp_path / name))] == [ALONE.name]
    assert list(tmp_path.iterdir()) == [tmp_path / name]


def test_a_file_needs_pyperf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pyperf", None)
    assert run_cli(["check", "speed", "--quick", "--only", "buddy-single", "--json", str(tmp_path / "x.json")]) == 2


def test_memory_of_the_parent_is_not_counted() -> None:
    from mcsim.fidelity.speed.boots import peak

    assert 1 << 20 < peak() < 1 << 36


def test_record_says_what_was_judged() -> None:
    assert record.judged(SLOW) == {"ratio": 0.5, "target": "missed"}
    assert record.judged(ALONE) == {"target": "not measured"}
