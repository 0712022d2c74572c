"""What a run shows while it works: true figures, no more lines than there are, and a clean terminal afterwards."""

import io
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
import stand_in
from conftest import HANGS, SLOW_MCSIM, SMALL, small
from rich.console import Console

import mcsim
from mcsim.errors import UserError
from mcsim.model import experiment
from mcsim.run.progress import Live, PlainLines, Silent, Tally
from mcsim.stats.sequences import sequence


class Heard(Silent):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.total = self.cells = self.done = 0
        self.tallies: list[Tally] = []

    def start(self, total: int, cells: int = 0) -> None:
        self.total, self.cells = total, cells

    def tally(self, tally: Tally) -> None:
        self.tallies.append(tally)

    def advance(self, units: int, label: str) -> None:
        assert self.tallies[-1].label == label
        self.done += units

    def less(self, units: int) -> None:
        self.total -= units

    def last(self) -> dict[str, Tally]:
        return {tally.label: tally for tally in self.tallies}


class TestTallies:
    @pytest.fixture(autouse=True)
    def stand_in_kernel(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        stand_in.use_stand_in(monkeypatch, tmp_path)

    def test_the_last_ones_are_the_summary_also_when_a_run_goes_on(self) -> None:
        loaded = small()
        mcsim.run(loaded, boots=30, workers=1)
        mcsim.run(loaded, boots=60, workers=1, ram=["32M"])
        heard = Heard()
        result = mcsim.run(loaded, workers=2, progress=heard)
        assert (heard.total, heard.done, heard.cells) == (2 * 70 + 2 * 40, 2 * 70 + 2 * 40, 4)
        for row in result.summary().iter_rows(named=True):
            tally = heard.last()[f"{row['variant']} at {row['ram']}"]
            assert (tally.done, tally.wanted, tally.failures) == (row["boots"], row["boots"], row["failures"])
            assert tally.over
            assert tally.rate > 0.0

    def test_a_cell_that_a_rule_ended_is_over(self) -> None:
        heard = Heard()
        text = SMALL.replace("boots = 100", "boots = 5000") + "[stop]\nhalf_width = 0.1\n"
        result = mcsim.run(experiment.parse(text, "small.toml"), workers=1, progress=heard)
        assert all(tally.over for tally in heard.last().values())
        assert any(tally.done < tally.wanted for tally in heard.last().values())
        assert heard.total == heard.done == sum(result.summary()["boots"])

    def test_a_shard_is_told_its_own_share(self, monkeypatch: pytest.MonkeyPatch) -> None:
        heard = Heard()
        result = mcsim.run(small(), boots=1500, shard="1/2", workers=1, progress=heard)
        wanted = {tally.label: tally.wanted for tally in heard.tallies}
        assert wanted == {
            f"{row['variant']} at {row['ram']}": row["boots"] for row in result.summary().iter_rows(named=True)
        }

    def test_a_damaged_file_is_told_before_a_boot_is_simulated(self) -> None:
        loaded = small()
        result = mcsim.run(loaded, boots=30, workers=1)
        broken = next(result.path.rglob("*.parquet"))
        broken.write_bytes(b"x")
        heard = Heard()
        with pytest.raises(UserError, match="is damaged"):
            mcsim.run(loaded, workers=1, progress=heard)
        assert heard.done == 0
        broken.unlink()
        mcsim.run(loaded, workers=1, progress=heard)
        assert heard.done > 4 * 70


class TestEstimate:
    def test_is_the_share_with_its_confidence_sequence(self) -> None:
        low, high = sequence(25, 200, 0.95)
        assert Tally("", 400, 200, 25, 1.0).estimate() == f"12.50 % ({100 * low:.2f} to {100 * high:.2f})"

    def test_is_a_bound_where_none_or_all_failed(self) -> None:
        assert Tally("", 400, 200, 0, 1.0).estimate().startswith(f"<{100 * sequence(0, 200).high:.2f} % ")
        assert Tally("", 400, 200, 200, 1.0).estimate().startswith(f">{100 * sequence(200, 200).low:.2f} % ")
        assert Tally("", 400, 0, 0, 0.0).estimate() == "-"


class TestPlainLines:
    def test_tell_the_estimate_and_once_what_its_brackets_are(self, capsys: pytest.CaptureFixture[str]) -> None:
        lines = PlainLines(sys.stderr, seconds=0)
        with lines:
            lines.start(300, 1)
            for number in (1, 2):
                lines.tally(Tally("x at 32M", 300, 100 * number, 10 * number, 5.0))
                lines.advance(100, "x at 32M")
        errors = capsys.readouterr().err
        assert errors.count("confidence sequence") == 1
        assert re.search(r"^100 of 300 boots, .* left, at x at 32M: 10\.00 % \(\d+\.\d+ to \d+\.\d+\)$", errors, re.M)
        assert all(errors.count(line) == 1 for line in errors.splitlines())


def screen(width: int, height: int) -> tuple[Live, Console]:
    console = Console(file=io.StringIO(), force_terminal=True, width=width, height=height, color_system=None)
    return Live(console=console), console


def drawn(live: Live, console: Console) -> list[str]:
    with console.capture() as captured:
        console.print(live.show())
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", captured.get()).splitlines()


class TestLive:
    @pytest.mark.parametrize("height", [3, 5, 6, 10, 24, 60])
    @pytest.mark.parametrize("width", [30, 60, 80, 200])
    def test_never_has_more_lines_or_columns_than_the_terminal(self, width: int, height: int) -> None:
        live, console = screen(width, height)
        live.start(112 * 2000, 112)
        for number in range(112):
            live.tally(Tally(f"variant-{number} at 32M", 2000, 1000, number, 12345.6, over=number < 50))
        lines = drawn(live, console)
        assert len(lines) < height
        assert max(map(len, lines)) <= width
        assert len(lines[-1]) <= width - 6  # the ^C of the terminal needs no line of its own

    def test_shows_the_cells_at_work_and_sums_up_the_others(self) -> None:
        live, console = screen(100, 30)
        live.start(112 * 2000, 112)
        for number in range(40):
            live.tally(Tally(f"v{number} at 32M", 2000, 2000, 10, 900.0, over=True))
        live.tally(Tally("a at 32M", 2000, 500, 50, 400.0))
        live.tally(Tally("b at 32M", 2000, 1000, 0, 500.0))
        lines = drawn(live, console)
        assert "95 % confidence sequence" in lines[0]
        rows = {line.split(" ")[0]: line for line in lines}
        assert re.search(r"500/2,000 +400 +10\.00 % \(", rows["a"])
        assert re.search(r"1,000/2,000 +500 +<\d", rows["b"])
        assert "40 of 112 cells done, 2 begun; 450 of 81,500 boots failed" in lines
        assert sum(line.startswith("v") for line in lines) == 10  # the last ones done

    def test_what_counts_no_boots_has_the_bar_alone(self) -> None:
        live, console = screen(80, 24)
        live.start(10)
        live.advance(3, "golden/x.jsonl.gz")
        (line,) = drawn(live, console)
        assert "3/10" in line
        assert "golden/x.jsonl.gz" in line

    def test_leaves_one_line(self) -> None:
        live, console = screen(80, 24)
        with live:
            live.start(200, 1)
            live.tally(Tally("a at 32M", 200, 200, 50, 400.0, over=True))
            live.advance(200, "a at 32M")
        output = console.file.getvalue()  # type: ignore[attr-defined]
        assert output.count("200 of 200 boots in 0:00") == 1
        assert output.rstrip().endswith("a second")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a pseudo-terminal")
def test_an_interrupt_leaves_a_clean_terminal(tmp_path: Path) -> None:
    import fcntl
    import termios

    (tmp_path / "small.toml").write_text(SMALL.replace("boots = 100", "boots = 100000"))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 90, 0, 0))
    command = [*SLOW_MCSIM, "run", "small.toml", "--workers", "2"]
    environment = {**os.environ, "TERM": "xterm-256color"}
    run = subprocess.Popen(
        command, cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
    )
    os.close(theirs)
    output = b""
    deadline = time.monotonic() + HANGS
    interrupted = False
    while time.monotonic() < deadline:
        if select.select([ours], [], [], 0.1)[0]:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            output += part
        if not interrupted and b"maple-naive at 31M" in output:
            os.killpg(run.pid, signal.SIGINT)
            interrupted = True
    os.close(ours)
    assert run.wait(HANGS) == 130
    text = output.decode()
    assert "\x1b[?25l" in text  # the cursor was hidden
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # and came back
    after = text[text.rindex("\x1b[?25h") :]
    assert re.search(r"\d of 400,000 boots in 0:\d\d", after)
    assert after.count("Interrupted. Finished boots are kept in results/small") == 1
    assert "%" not in after
    assert "Traceback" not in text
