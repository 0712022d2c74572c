"""What the tests and the pages are made with holds together."""

import re
from contextlib import suppress
from pathlib import Path

import conftest
import numba
import numpy as np
import pytest
import stand_in
from conftest import ROOT, TESTS

from docs import fill
from mcsim.kernels.boot import batch
from mcsim.kernels.jit import rng


def test_the_stand_in_gives_what_kernels_give() -> None:
    assert stand_in.OUTCOME == batch.OUTCOME


def test_every_reason_to_skip_is_that_of_a_test() -> None:
    texts = [path.read_text() for path in TESTS.glob("test_*.py")]
    assert [reason for reason in conftest.SKIPS if not any(first_words(reason) in text for text in texts)] == []


def test_another_reason_is_none() -> None:
    assert conftest.is_known("no C twins: no C compiler is found (cc, gcc)")
    assert not conftest.is_known("no C twins: cc -O2 fails")


def first_words(reason: str) -> str:
    """Without what a test has from elsewhere."""
    return reason.partition(": ")[0]


def test_files_that_the_session_knows_are_there() -> None:
    names = {path.stem for path in TESTS.glob("test_*.py")}
    for known in (conftest.FIRST, conftest.WITHOUT_KERNELS):
        assert set(known) <= names
        assert len(set(known)) == len(known)


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")
def test_a_kernel_that_must_not_be_called_refuses() -> None:
    words = np.zeros(4, np.uint64)
    with conftest.refusing() as called, suppress(AssertionError):
        rng.philox4x32(np.uint64(1), np.uint64(2), 3, 4, 5, words)
    assert called == ["philox4x32"]
    rng.philox4x32(np.uint64(1), np.uint64(2), 3, 4, 5, words)
    assert words.any()


@pytest.mark.parametrize("target", sorted({*fill.PARTS, *fill.PICTURES}))
def test_what_a_target_makes_has_its_place(target: str) -> None:
    assert re.search(rf"^{target}:.*\n(.*\n)*?.*-m docs\.fill {target}\b", (ROOT / "Makefile").read_text(), re.M)
    for part in fill.PARTS.get(target, ()):
        page = (ROOT / "docs" / part.page).read_text()
        assert page.count(f"<!-- {part.name}: make {target} -->") == page.count(f"<!-- end of {part.name} -->") == 1
    for picture in fill.PICTURES.get(target, {}).values():
        assert (ROOT / "docs" / picture).is_file()


def test_a_page_is_filled_between_its_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docs").mkdir()
    page = tmp_path / "docs" / "page.md"
    page.write_text("By hand.\n\n<!-- x: make words -->\n\nold\n\n<!-- end of x -->\n\nBy hand.\n")
    program = tmp_path / "words.py"
    monkeypatch.setattr(fill, "ROOT", tmp_path)
    part = fill.Part("page.md", "x", "words", "{number}", shows_command=True)
    monkeypatch.setattr(fill, "PARTS", {"words": (part,)})
    program.write_text("import sys; print('new', sys.argv[1]); sys.exit(int(sys.argv[1]))")
    for code in (0, 1):
        assert fill.main("words", f"number={code}") == code
        shown = f"    words\n\n```\nnew {code}\n```"
        assert page.read_text() == f"By hand.\n\n<!-- x: make words -->\n\n{shown}\n\n<!-- end of x -->\n\nBy hand.\n"
    program.write_text("print('half'); raise SystemExit(2)")
    with pytest.raises(SystemExit):
        fill.main("words", "number=2")
    assert "new 1" in page.read_text()
