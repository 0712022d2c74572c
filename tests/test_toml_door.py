"""The door of experiments: whatever is in a file, a `--set` or a stored document is an experiment or one UserError."""

import copy
import json
import math
import tomllib
from datetime import date, datetime
from pathlib import Path
from statistics import NormalDist
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mcsim import files
from mcsim.errors import LONGEST_PLACE, LONGEST_WORDS, UserError
from mcsim.kernels.jit.rng import FACTOR_BITS, FACTOR_TABLE_BITS
from mcsim.model import experiment, units, variants
from mcsim.model.settings import Setting
from mcsim.model.shipped import template
from mcsim.simulator.simulator import lognormal_factors
from tests.machines import BOARD

TEXTS = [path.read_text(encoding="utf-8") for path in experiment.shipped().values()] + [template()]
FULL = """
[experiment]
name = "full"
title = "all tables"
variants = ["maple-naive", "mine"]
ram = ["31M..33M step 1M", "64M"]
boots = 20
seed = 3
[machine]
board = "m5208evb"
min_free_kbytes = 1024
[workload]
recordings = "C"
[timing]
gap_sigma = 0.2
boot_sigma = 0.5
boot_median = 1.5
jitter = 2
[sweep]
only = [{ variant = "mine" }, { ram = ["31M", "32M"] }]
exclude = [{ variant = "mine", ram = "31M" }]
[stop]
half_width = 0.1
decided = "mine"
delta = 0.01
wall_time = "1h30m"
[variants.mine]
based_on = "tail-free"
description = "no trimming"
trim_pages = 0
"""
SMALL = """
[experiment]
variants = ["maple-naive", "tail-free"]
ram = ["31M", "32M"]
[workload]
recordings = "C"
"""

letters = st.text(st.characters(codec="utf-8"), max_size=12)
words = st.sampled_from(
    ["", ".", "/", "../x", "C", "N", "maple-naive", "mine", "32M", "1M..9M step 1K", "8K", "a\0b", "\x1b]0;x\x07"]
)  # fmt: skip
numbers = st.one_of(
    st.integers(-(1 << 70), 1 << 70),
    st.sampled_from([0, 1, 2, -1, 1 << 63, (1 << 63) - 1, 10**300]),
    st.floats(),
    st.sampled_from([1e-9, 5e-324, 1e308, 0.01, 10.0, 2.0, -0.0, math.nan, math.inf]),
)
plain = st.one_of(letters, words, numbers, st.booleans(), st.just(date(2022, 6, 1)), st.just(datetime(2022, 6, 1)))
anything = st.recursive(
    plain,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(letters, inner, max_size=3)),
    max_leaves=8,
)


def toml(value: Any) -> str:
    """A value as TOML, tables inline."""
    match value:
        case bool():
            return str(value).lower()
        case dict():
            return "{ " + ", ".join(f"{toml(str(key))} = {toml(each)}" for key, each in value.items()) + " }"
        case list():
            return "[" + ", ".join(map(toml, value)) + "]"
        case str():
            return '"' + "".join(f"\\U{ord(each):08X}" if not each.isalnum() else each for each in value) + '"'
        case int():
            return str(value)
        case float():
            return repr(value)
        case _:
            return str(value.isoformat())


def whole_file(values: dict[str, Any]) -> str:
    return "".join(f"{toml(str(key))} = {toml(each)}\n" for key, each in values.items())


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something is, of a plain document: the keys and numbers on the way to it."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, each in inner for place in [(*path, key), *places(each, (*path, key))]]


def damage(document: Any, draw: Any) -> Any:
    """The document with one to three values replaced, removed, or moved to another key."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        if not (known := places(document)):
            return document
        *way, last = draw(st.sampled_from(known))
        table = document
        for key in way:
            table = table[key]
        match draw(st.sampled_from(["replace", "replace", "replace", "remove", "rename"])):
            case "replace":
                table[last] = draw(anything)
            case "remove":
                del table[last]
            case "rename" if isinstance(table, dict):
                table[draw(letters)] = table.pop(last)
    return document


def check(loaded: experiment.Experiment) -> None:
    """What holds for every experiment that was accepted."""
    text = experiment.canonical_json(loaded.document())  # raises ValueError for a number that is not finite
    text.encode()
    tomllib.loads(loaded.source)
    assert loaded.tasks("d")
    assert loaded.title.isprintable()
    for factors in (
        lognormal_factors(loaded.timing.gap_sigma),
        lognormal_factors(loaded.timing.boot_sigma, loaded.timing.boot_median),
    ):
        assert 0 < factors.min() <= factors.max() < 2**31 - 1
    again = experiment.Experiment.from_document(json.loads(text), loaded.source, "experiment.json")
    assert again.document() | {"workload_source": ""} == loaded.document() | {"workload_source": ""}


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.data())
def test_a_damaged_experiment_is_accepted_whole_or_refused_in_one_message(data: st.DataObject) -> None:
    values = damage(tomllib.loads(data.draw(st.sampled_from([*TEXTS, FULL, FULL, FULL]))), data.draw)
    try:
        loaded = experiment.parse(whole_file(values), "damaged.toml")
    except UserError as error:
        assert str(error).replace("\n", "").isprintable()
        return
    check(loaded)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data())
def test_bytes_in_the_way_are_accepted_or_refused_in_one_message(data: st.DataObject, tmp_path_factory: Any) -> None:
    content = data.draw(st.sampled_from([*TEXTS, FULL])).encode()
    place = data.draw(st.integers(0, len(content)))
    length = data.draw(st.integers(0, 30))
    content = content[:place] + data.draw(st.binary(max_size=12)) + content[place + length :]
    path = tmp_path_factory.getbasetemp() / "bytes.toml"
    path.write_bytes(content)
    try:
        loaded = experiment.load(path)
    except UserError as error:
        assert str(error).replace("\n", "").isprintable()
        return
    check(loaded)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.data())
def test_a_damaged_document_of_a_result_is_accepted_whole_or_refused_in_one_message(data: st.DataObject) -> None:
    stored = json.loads(experiment.canonical_json(experiment.parse(FULL, "full.toml").document()))
    damaged = damage(stored, data.draw)
    try:
        loaded = experiment.Experiment.from_document(damaged, "", "experiment.json")
    except UserError as error:
        assert error.file == "experiment.json"
        return
    check(loaded)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.sampled_from(["experiment.ram", "experiment.boots", "experiment.title", "timing.gap_sigma", "stop.wall_time"]),
    st.one_of(anything.map(toml), st.text(max_size=30)),
)
@example("experiment.ram", '["32M",\n"33M"]')
@example("experiment.title", '"""two\nlines"""')
def test_a_set_key_gives_the_same_experiment_again_from_the_text_that_is_kept(key: str, value: str) -> None:
    setting = Setting.of(f"{key}={value}")
    try:
        loaded = experiment.parse(SMALL, "small.toml", [setting])
    except UserError as error:
        assert str(error).replace("\n", "").isprintable()
        return
    check(loaded)
    assert tomllib.loads(loaded.source) == tomllib.loads(SMALL)
    assert experiment.parse(loaded.source, "small.toml", [setting]).canonical() == loaded.canonical()


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("experiment.boots=7\nx=99", "is more than one value"),
        ("experiment.title=" + "[" * 20_000, "nested too deeply"),
        ("experiment.seed=" + "9" * 5000, "4300 digits"),
        ("experiment.seed=0x" + "f" * 5000, "more than 64 bits"),
        ("a." * 5000 + "a=1", "is not a key"),
        ("timing.boot_median=1e-9", "a number from 0.01 to 10"),
        ("timing.boot_median=5e-324", "a number from 0.01 to 10"),
        ("timing.boot_median=nan", "finite"),
        ("timing.gap_sigma=inf", "finite"),
        ("stop.relative_half_width=inf", "finite"),
        ("timing.jitter=2.0", "2.0 is not a whole number"),
        ("timing.jitter=false", "False is not a whole number"),
        ("machine.min_free_kbytes=32.0", "32.0 is not a whole number"),
        ('workload.recordings=""', "'' is not a shipped set"),
        ("workload.recordings=../x", "'../x' is not a shipped set"),
        ('workload.recordings="/"', "'/' is not a shipped set"),
        ("workload.recordings=c", "valid: C, N"),
        ("stop.wall_time=8761h", "more than a year"),
        ("experiment.ram=" + "1M" + " " * 100_000 + ".", "is not a size"),
        ("experiment.ram=1M..2000M step 1M", "at most 1000 sizes"),
        ("experiment.title=" + "a" * 501, "at most 500"),
        ('experiment.variants=["maple-naive", "maple-naive"]', "is named twice"),
        ("sweep.exclude=[" + "{}, " * 1001 + "]", "at most 1000"),
    ],
)
def test_nonsense_is_refused(setting: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        experiment.parse(SMALL, "small.toml", [Setting.of(setting)])


@pytest.mark.parametrize("value", [None, object(), {1, 2}, math.nan, [math.inf]])
def test_python_values_that_no_file_may_have_are_refused(value: object) -> None:
    with pytest.raises(UserError):
        experiment.parse(SMALL, "small.toml", [Setting.of_value("timing.gap_sigma", value)])


def test_a_python_text_stays_what_it_is() -> None:
    titled = experiment.parse(
        SMALL, "small.toml", [Setting.of_value("experiment.title", "起動 \U0001f600 'x' \"y\" 5")]
    )
    assert titled.title == "起動 \U0001f600 'x' \"y\" 5"


def test_the_largest_and_the_smallest_factor_that_are_drawn_have_room_in_the_kernels() -> None:
    size = 1 << FACTOR_TABLE_BITS
    assert NormalDist().inv_cdf(1 - 0.5 / size) <= experiment.FARTHEST
    assert 1 << (31 - FACTOR_BITS) == experiment.MAX_FACTOR
    assert lognormal_factors(experiment.MAX_SIGMA, experiment.MIN_MEDIAN).min() > 0
    with pytest.raises(UserError, match=r"boot_median below 1\.3"):
        experiment.parse(SMALL + "[timing]\nboot_sigma = 2.0\nboot_median = 1.4\n", "small.toml")
    fits = experiment.parse(SMALL + "[timing]\nboot_sigma = 2.0\nboot_median = 1.3\n", "small.toml").timing
    assert lognormal_factors(fits.boot_sigma, fits.boot_median).max() < 2**31 - 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"\xff", "timing.toml: is not UTF-8 text"),
        (b"x = " + b"[" * 20_000, "timing.toml: not valid TOML: nested too deeply"),
        (
            b"[host_load]\nboot_median = 1.0\nboot_sigma = 0.3\nwithin_sigma = 0.3\n",
            "0.3 is not below boot_sigma = 0.3",
        ),
        (b"[host_load]\nboot_median = 10.0\nboot_sigma = 2.0\nwithin_sigma = 0.3\n", "factors of 2048 and more"),
        (b"[host_load]\nboot_median = 1e-9\nboot_sigma = 2.0\nwithin_sigma = 0.3\n", "a number from 0.01 to 10"),
        (b'board = "m5208evb"\n[timing]\nboot_median = 10.0\n', "boot_median below"),
    ],
)
def test_a_timing_file_of_a_workload_goes_through_the_same_door(text: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "timing.toml").write_bytes(text)
    (tmp_path / "own.toml").write_text(SMALL.replace('recordings = "C"', 'file = "."') + "[timing]\nboot_sigma = 1.9\n")
    with pytest.raises(UserError, match=words):
        experiment.workload_timing(str(tmp_path))
        experiment.load(tmp_path / "own.toml")


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "", "loop", "pipe", "a\x1bb"])
def test_a_workload_that_no_file_can_be_is_refused(name: str, tmp_path: Path) -> None:
    import os

    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    text = SMALL.replace('recordings = "C"', f"file = {toml(name)}")
    with pytest.raises(UserError, match=r"workload\.file"):
        experiment.parse(text, tmp_path / "small.toml")


def test_a_file_that_is_larger_than_any_experiment_is_refused(tmp_path: Path) -> None:
    (tmp_path / "large.toml").write_bytes(b"#" * (experiment.MAX_FILE + 1))
    with pytest.raises(UserError, match="is larger than 1 MB"):
        experiment.load(tmp_path / "large.toml")


def test_a_long_line_of_variants_ends_and_a_long_list_is_refused() -> None:
    chain = "".join(
        f'[variants.v{number}]\nbased_on = "{f"v{number - 1}" if number else "maple-naive"}"\n'
        for number in range(variants.MAX_OWN)
    )
    last = SMALL.replace("tail-free", f"v{variants.MAX_OWN - 1}")
    same = variants.shipped_variants()["maple-naive"].policies.on(BOARD)
    assert experiment.parse(last + chain, "small.toml").variants[1].policies == same
    with pytest.raises(UserError, match="at most 200 own variants"):
        experiment.parse(f'{last}{chain}[variants.more]\nbased_on = "pre-maple"\n', "small.toml")


@pytest.mark.parametrize("text", ["a." * 100_000 + "a = 1", "[" + '"a" . ' * 100 + "a]", "x = 0x" + "f" * 20_000])
def test_toml_that_python_reads_slowly_or_cannot_print_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="not valid TOML"):
        files.parse_toml(text, "x.toml")


def test_sixty_four_bits_and_some_depth_are_valid_toml() -> None:
    deep = "[" * 60 + "]" * 60
    assert files.parse_toml(f"x = {2**63 - 1}", "x") == {"x": 2**63 - 1}
    assert files.parse_toml(f"z = {deep}", "x").keys() == {"z"}
    assert files.parse_toml("v = '" + "1.2.3 " * 100 + "'", "x").keys() == {"v"}


def test_a_message_is_one_line_a_place_and_no_longer_than_a_screen() -> None:
    error = UserError("w" * 10_000, file="a\nb\x1b[2J", key="k" * 10_000, valid="v" * 10_000)
    text = str(error)
    assert len(text) < LONGEST_PLACE + 2 * LONGEST_WORDS + 200
    assert text.startswith("a\\nb\\x1b[2J: kkkk")
    assert error.what == "w" * 10_000


def test_sizes_of_other_numerals_and_lengths_are_read_or_refused_at_once() -> None:
    for text in ("1M.." * 10_000, " " * 100_000 + "x", "1" * 100_000 + "M", ["32M"] * 1001):
        with pytest.raises(UserError):
            units.parse_sizes(text)
    with pytest.raises(UserError):
        units.parse_duration("1" * 100_000 + "s")


def test_a_cell_that_the_sweep_leaves_out_is_refused_by_name() -> None:
    tasks = experiment.parse(template(), "my.toml").tasks("d")
    with pytest.raises(
        UserError, match=r"\[sweep\] of this experiment leaves out my-fix at 64M\n  valid: with my-fix: 30M"
    ):
        experiment.select(tasks, ["my-fix"], ["64M"])
    assert len(experiment.select(tasks, ["my-fix"], ["34M, 64M"])) == 1


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("order", ["maple-naive"], "are not the same variants"),
        ("order", ["maple-naive", "maple-naive"], "are not the same variants"),
        ("ram", [32 << 20, 31 << 20], "ascending"),
        ("ram", [], "ascending"),
        ("ram", [12345], "not a multiple"),
        ("boots", 0, "boots: 0"),
        ("seed", -1, "seed: -1"),
        ("name", "../x", "cannot name a folder"),
        ("title", "\x1b]0;x\x07", "printable text"),
        ("skipped", [["mine", 1]], "is not a cell"),
        ("stop", {"decided": "x", "level": 0.95}, "stop.decided"),
        ("stop", {"wall_time": 1e300, "level": 0.95}, "stop.wall_time"),
        ("board", {"name": "x"}, "board.description: is missing"),
        ("timing", {"boot_median": 1e-9}, "timing.boot_median"),
        ("workload", "a\x1bb", "workload: has control characters"),
        ("more", 1, "more: unknown key"),
    ],
)
def test_a_document_that_no_experiment_makes_is_refused(key: str, value: object, words: str) -> None:
    document = {**experiment.parse(FULL, "full.toml").document(), key: value}
    with pytest.raises(UserError, match=words) as caught:
        experiment.Experiment.from_document(document, "", "experiment.json")
    assert caught.value.file == "experiment.json"
