"""Experiment files: what is accepted, what is refused and how, and what a task's id depends on."""

import contextlib
import json
import tomllib
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcsim.errors import UserError
from mcsim.kernels.linux import machine as kernel
from mcsim.model import experiment, units
from mcsim.model.board import Board
from mcsim.model.release import Policies, Release, shipped_variants
from mcsim.model.section import Section, json_schema
from mcsim.model.settings import Setting
from mcsim.model.shipped import shipped_files, template
from mcsim.simulator.machine import policy_of
from tests.machines import policy

MAIL = experiment.shipped()["mail-2022"].read_text(encoding="utf-8")
SMALL = """
[experiment]
variants = ["maple-naive", "tail-free"]
ram = ["31M", "32M"]
[workload]
recordings = "C"
"""


def parse(text: str) -> experiment.Experiment:
    return experiment.parse(text, "my.toml")


class TestSizes:
    @pytest.mark.parametrize(("text", "size"), [("8K", 8192), ("32M", 32 << 20), ("1G", 1 << 30), (" 28 M ", 28 << 20)])
    def test_units_are_powers_of_1024(self, text: str, size: int) -> None:
        assert units.parse_size(text) == size

    @pytest.mark.parametrize("text", ["32", "32m", "32MB", "M", "-1M", "0M", "3.5M", "", 32, None, True])
    def test_anything_else_is_refused_with_the_syntax(self, text: object) -> None:
        with pytest.raises(UserError, match="valid: a whole number with K, M or G"):
            units.parse_size(text)

    def test_ranges_include_both_ends_and_lists_are_unions(self) -> None:
        sizes = units.parse_sizes(["28M..40M step 1M", "48M", "32M, 64M"])
        assert [size >> 20 for size in sizes] == [*range(28, 41), 48, 64]

    @pytest.mark.parametrize(
        "text", ["28M..40M", "40M..28M step 1M", "28M..40M step 7M", "1K..1G step 1K", [], "1M..2"]
    )
    def test_ranges_that_cannot_be_meant_are_refused(self, text: object) -> None:
        with pytest.raises(UserError):
            units.parse_sizes(text)

    @given(st.integers(1, 1 << 40))
    def test_a_formatted_size_in_kilobytes_reads_back(self, kilobytes: int) -> None:
        assert units.parse_size(units.format_size(kilobytes << 10)) == kilobytes << 10


class TestDurations:
    @pytest.mark.parametrize(
        ("text", "seconds"), [("90s", 90), ("30m", 1800), ("1h30m", 5400), ("2h", 7200), ("1h5s", 3605)]
    )
    def test_are_hours_minutes_and_seconds(self, text: str, seconds: float) -> None:
        assert units.parse_duration(text) == seconds

    @pytest.mark.parametrize("text", ["90", "", "m", "1.5h", "-1s", "30m1h", "0s", 90, None, "1 h"])
    def test_anything_else_is_refused_with_the_syntax(self, text: object) -> None:
        with pytest.raises(UserError, match="valid: hours, minutes, seconds"):
            units.parse_duration(text)


class TestMail2022:
    def test_has_the_seven_variants_and_sixteen_sizes_of_the_question(self) -> None:
        loaded = experiment.load("mail-2022")
        names = ["pre-maple", "maple-naive", "tail-free", "prealloc-early", "mail-both", "linux-6.1.y", "linux-6.6"]
        assert [each.name for each in loaded.variants] == names
        assert [size >> 20 for size in loaded.ram] == [*range(28, 41), 48, 64, 128]
        assert loaded.boots == 2000
        assert loaded.board.name == "m5208evb"
        assert len(loaded.tasks("d")) == 112

    def test_every_shipped_experiment_is_valid(self) -> None:
        for name in experiment.shipped():
            assert experiment.load(name).name == name

    def test_survives_the_way_through_its_document(self) -> None:
        loaded = experiment.load("mail-2022").with_seed(7)
        document = json.loads(experiment.canonical_json(loaded.document()))
        again = experiment.Experiment.from_document(document, loaded.source, loaded.path)
        assert again.canonical() == loaded.canonical()
        assert [each.id for each in again.tasks("d")] == [each.id for each in loaded.tasks("d")]
        assert [each.name for each in again.variants] == [each.name for each in loaded.variants]


class TestVariants:
    def test_differ_from_one_another_as_the_patches_do(self) -> None:
        policies = {name: policy(name) for name in shipped_variants()}
        naive = policies["maple-naive"]
        assert naive == kernel.Policy(kernel.VMA_INDEX_MAPLE, 0, 0, kernel.PREALLOC_TOPUP_ALLOWED, 0, 0, 0, 0, 1)
        assert policies["pre-maple"] == naive._replace(vma_index=kernel.VMA_INDEX_RBTREE)
        assert policies["tail-free"] == naive._replace(exact_tail=kernel.EXACT_TAIL_TAIL)
        assert policies["prealloc-early"] == naive._replace(
            mmap_prealloc=kernel.MMAP_PREALLOC_MAILED,
            split=kernel.SPLIT_OVERWRITE,
            exit_mmap=kernel.EXIT_MMAP_DESTROY_TREE,
        )
        assert policies["mail-both"] == policies["prealloc-early"]._replace(exact_tail=kernel.EXACT_TAIL_TAIL)
        assert policies["linux-6.1.0"] == policies["mail-both"]._replace(
            mmap_prealloc=kernel.MMAP_PREALLOC_EARLY,
            prealloc_topup=kernel.PREALLOC_TOPUP_FORBIDDEN,
            error_paths=kernel.ERROR_PATHS_LEAK_SPLIT,
        )
        assert policies["linux-6.1.y"] == policies["linux-6.1.0"]._replace(
            error_paths=kernel.ERROR_PATHS_FIXED, maple_rcu=kernel.MAPLE_RCU_ON
        )
        assert policies["linux-6.6"] == policies["linux-6.1.y"]._replace(
            mmap_prealloc=kernel.MMAP_PREALLOC_LATE_RANGED, split=kernel.SPLIT_STORE_NEW
        )

    def test_every_value_of_every_policy_has_a_code(self) -> None:
        for name, field in Policies.model_fields.items():
            if name == "trim_pages":
                continue
            for value in field.annotation.__args__:
                changed = shipped_variants()["linux-6.1.y"].policies.model_copy(update={name: value, "trim_pages": 1})
                code = getattr(kernel, f"{name}_{value}".upper().replace("-", "_"))
                assert getattr(policy_of(changed), name) == code

    def test_a_user_composes_one_from_another_also_in_two_steps(self) -> None:
        own = SMALL.replace('"tail-free"', '"b"') + (
            '[variants.b]\nbased_on = "a"\ntrim_pages = 0\n'
            '[variants.a]\nbased_on = "maple-naive"\nexact_tail = "tail"\n'
        )
        policies = parse(own).variants[1].policies
        expected = {**shipped_variants()["tail-free"].policies.model_dump(), "trim_pages": 0}
        assert policies.model_dump() == expected


BAD_EDITS = [
    ("boots = 2000", "boot = 2000", "experiment.boot", "did you mean 'boots'?"),
    ("boots = 2000", 'boots = "many"', "experiment.boots", "not a whole number"),
    ("boots = 2000", "boots = 2.5", "experiment.boots", "not a whole number"),
    ("boots = 2000", "boots = true", "experiment.boots", "not a whole number"),
    ("boots = 2000", "boots = 0", "experiment.boots", "a whole number from 1"),
    ("seed = 20220601", "seed = -1", "experiment.seed", "a whole number from 0"),
    ("gap_sigma = 0.11", "gap_sigma = -0.15", "timing.gap_sigma", "a number from 0"),
    ("gap_sigma = 0.11", "gap_sigma = nan", "timing.gap_sigma", "finite"),
    ("gap_sigma = 0.11", "gap_sigma = true", "timing.gap_sigma", "not a number"),
    ("gap_sigma = 0.11", "gap_sgima = 0.15", "timing.gap_sgima", "did you mean 'gap_sigma'?"),
    ("jitter = 0", "jitter = 1", "timing.jitter", "0 (no artificial delay) or 2"),
    ("boot_sigma = 0.14", "boot_sigma = 3.0", "timing.boot_sigma", "from 0 to 2"),
    ('"48M"', '"48X"', "experiment.ram", "unknown unit 'X'"),
    ('"48M"', "48", "experiment.ram", "48 has no unit"),
    ('"48M"', '"30001K"', "experiment.ram", "not a multiple of the page size 8K"),
    ('"48M"', '"4M"', "experiment.ram", "17M to 128M"),
    ('"48M"', '"30728K"', "experiment.ram", "whole number of MB"),
    ('"48M"', '"2G"', "experiment.ram", "17M to 128M"),
    ('board = "m5208evb"', 'page_size = "8K"', "machine.page_size", "board, min_free_kbytes"),
    ('board = "m5208evb"', "min_free_kbytes = -1", "machine.min_free_kbytes", "a whole number from 0"),
    ('board = "m5208evb"', 'board = "m5208"', "machine.board", "did you mean 'm5208evb'?"),
    ('"tail-free",', '"tail-fre",', "experiment.variants", "did you mean 'tail-free'?"),
    ('"tail-free",', '"pre-maple",', "experiment.variants", "named twice"),
    ('"tail-free",', "3,", "experiment.variants.2", "not a text"),
    ('name = "mail-2022"', 'name = "../x"', "experiment.name", "cannot name a folder"),
    ('recordings = "C"', "", "workload", "recordings = NAME, or file = PATH"),
    ('recordings = "C"', 'file = "nope.toml"', "workload.file", "no such file"),
    ("[timing]", "[timings]", "timings", "did you mean 'timing'?"),
    ("[timing]", "[timing", "line 55", "not valid TOML"),
    ("# [variants.my-fix]", "[variants.my-fix]", "variants.my-fix.based_on", "is missing"),
    (
        "# [variants.my-fix]",
        '[variants.my-fix]\nbased_on = "maple"',
        "variants.my-fix.based_on",
        "is not a variant",
    ),
    (
        "# [variants.my-fix]",
        '[variants.my-fix]\nbased_on = "my-fix"',
        "variants.my-fix.based_on",
        "is not a variant",
    ),
    ('title = "P(OOM)', 'title = "\\u0001', "experiment.title", "printable"),
    (
        "# [variants.my-fix]",
        '[variants.my-fix]\nbased_on = "pre-maple"\nexact_tail = "tial"',
        "variants.my-fix.exact_tail",
        "did you mean 'tail'?",
    ),
    (
        "# [variants.my-fix]",
        '[variants.my-fix]\nbased_on = "pre-maple"\nexct_tail = "tail"',
        "variants.my-fix.exct_tail",
        "did you mean 'exact_tail'?",
    ),
    (
        "# [variants.my-fix]",
        '[variants.a]\nbased_on = "b"\n[variants.b]\nbased_on = "a"',
        "variants.b.based_on",
        "in a circle",
    ),
    (
        "# [variants.my-fix]",
        '[variants.my-fix]\nbased_on = "linux-6.1.y"\nvma_index = "rbtree"',
        "variants.my-fix",
        "no tree nodes",
    ),
    (
        "# [variants.my-fix]",
        '[variants.tail-free]\nbased_on = "pre-maple"',
        "variants.tail-free",
        "cannot be redefined",
    ),
    (
        "# [variants.my-fix]",
        '[variants."my fix"]\nbased_on = "pre-maple"',
        "variants.my fix",
        "is not a name",
    ),
]


class TestBadInput:
    @pytest.mark.parametrize(("old", "new", "key", "words"), BAD_EDITS, ids=[edit[1][:40] for edit in BAD_EDITS])
    def test_names_file_and_key_and_says_what_is_valid(self, old: str, new: str, key: str, words: str) -> None:
        assert old in MAIL
        with pytest.raises(UserError) as caught:
            experiment.parse(MAIL.replace(old, new, 1), "my.toml")
        message = str(caught.value)
        assert message.startswith(f"my.toml: {key}: ")
        assert words in message

    def test_a_missing_table_is_named(self) -> None:
        with pytest.raises(UserError, match=r"my.toml: workload: is missing"):
            parse('[experiment]\nvariants = ["pre-maple"]\nram = "32M"\n')

    @pytest.mark.parametrize(
        "text", ["", "x = 1", "[experiment]", "\0", "experiment = 3", "[[experiment]]", "[variants]\na = 1"]
    )
    def test_odd_files_are_refused_in_one_message(self, text: str) -> None:
        with pytest.raises(UserError):
            parse(text)

    @given(st.text(max_size=200))
    def test_no_text_at_all_leads_to_another_exception(self, text: str) -> None:
        with pytest.raises(UserError):
            parse(text)

    def test_an_unknown_experiment_is_answered_with_the_shipped_ones(self) -> None:
        with pytest.raises(UserError, match=r"did you mean 'mail-2022'\?[\s\S]*shipped experiment: .*mail-2022"):
            experiment.load("mail-2023")

    def test_folders_and_binary_files_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="is a folder"):
            experiment.load(tmp_path)
        (tmp_path / "x.toml").write_bytes(b"\xff\xfe")
        with pytest.raises(UserError, match="is not UTF-8"):
            experiment.load(tmp_path / "x.toml")


def cells(text: str) -> list[str]:
    return [task.label for task in parse(text).tasks("d")]


class TestSweep:
    def test_only_and_exclude_choose_cells_of_the_grid(self) -> None:
        assert cells(SMALL + '[sweep]\nexclude = [{ variant = "tail-free", ram = "32M" }]\n') == [
            "maple-naive at 31M",
            "tail-free at 31M",
            "maple-naive at 32M",
        ]
        assert cells(SMALL + '[sweep]\nexclude = [{ ram = "32M" }]\n') == ["maple-naive at 31M", "tail-free at 31M"]

    def test_only_pairs_each_variant_with_its_own_sizes(self) -> None:
        pairs = '[{ variant = "tail-free", ram = "31M" }, { variant = ["maple-naive"], ram = ["32M"] }]'
        assert cells(SMALL + f"[sweep]\nonly = {pairs}\n") == ["tail-free at 31M", "maple-naive at 32M"]

    def test_chosen_cells_keep_their_ids_and_are_part_of_the_experiment(self) -> None:
        chosen = parse(SMALL + '[sweep]\nonly = [{ ram = "32M" }]\n')
        assert [each.id for each in chosen.tasks("d")] == [each.id for each in parse(SMALL).tasks("d")][2:]
        assert chosen.canonical() != parse(SMALL).canonical()
        assert "skipped" not in parse(SMALL).canonical()
        again = experiment.Experiment.from_document(json.loads(json.dumps(chosen.document())), chosen.source, "x")
        assert again.canonical() == chosen.canonical()

    @pytest.mark.parametrize(
        ("rules", "words"),
        [
            ('exclude = [{ variant = "tail" }]', "sweep.exclude.variant: 'tail' is not .*did you mean 'tail-free'"),
            ('only = [{ ram = "33M" }]', r"sweep.only.ram: 33M is not a RAM size of this experiment\s+valid: 31M 32M"),
            ('only = [{ ram = "33" }]', "sweep.only.ram: '33' has no unit"),
            ("only = []", "sweep: leaves no cell to run"),
            ("exclude = [{}]", "sweep: leaves no cell to run"),
            ('exclude = [{ rum = "32M" }]', r"sweep.exclude.0.rum: .*"),
            ('exclude = "32M"', "sweep.exclude: .*not a list"),
        ],
    )
    def test_what_cannot_be_meant_is_refused(self, rules: str, words: str) -> None:
        with pytest.raises(UserError, match=words):
            parse(f"{SMALL}[sweep]\n{rules}\n")


def changed(*settings: str) -> experiment.Experiment:
    return experiment.parse(SMALL, "my.toml", [Setting.of(text) for text in settings])


class TestSettings:
    def test_replace_keys_and_are_validated_like_the_file(self) -> None:
        loaded = changed("timing.gap_sigma=0.5", 'experiment.ram=["33M", "34M"]', "experiment.title=two words")
        assert loaded.timing.gap_sigma == 0.5
        assert [size >> 20 for size in loaded.ram] == [33, 34]
        assert loaded.title == "two words"

    def test_a_size_needs_no_quotes_in_quotes_and_a_new_table_is_made(self) -> None:
        loaded = changed("experiment.ram=28M..30M step 1M", "stop.half_width=0.1", "variants.mine.based_on=tail-free")
        assert len(loaded.ram) == 3
        assert loaded.stop.half_width == 0.1

    def test_the_text_that_is_kept_says_so(self) -> None:
        assert changed("timing.jitter=2").source.endswith("\n# changed by --set timing.jitter=2\n")
        assert experiment.parse(changed("timing.jitter=2").source, "x.toml").timing.jitter == 0  # a comment, no key

    def test_python_values(self) -> None:
        settings = [Setting.of_value("experiment.variants", ["pre-maple"]), Setting.of_value("timing.jitter", 2)]
        loaded = experiment.parse(SMALL, "my.toml", settings)
        assert ([each.name for each in loaded.variants], loaded.timing.jitter) == (["pre-maple"], 2)

    @pytest.mark.parametrize(
        ("setting", "words"),
        [
            ("timing.gap_sigma=-1", r"^--set timing.gap_sigma=-1: timing.gap_sigma: -1: "),
            ("timing.gap_sgima=1", r"^--set timing.gap_sgima=1: timing.gap_sgima: unknown key \(did you mean"),
            ("experiment.variants=[3]", r"^--set experiment.variants=\[3\]: experiment.variants.0: 3 is not a text"),
            ("experiment.ram=32", r"^--set experiment.ram=32: experiment.ram: 32 has no unit"),
            ("workload.file=nope", r"^--set workload.file=nope: workload: needs exactly one key"),
            ("experiment.boots.x=1", r"^--set experiment.boots.x=1: experiment.boots: .* is not a whole number"),
            ("experiment.ram.x=1", r"^--set experiment.ram.x=1: 'ram' is not a table"),
            ("timing", r"^--set: 'timing' has no '='"),
            ("=3", r"^--set =3: '' is not a key"),
            ("a b=3", r"^--set a b=3: 'a b' is not a key"),
        ],
    )
    def test_errors_name_the_option(self, setting: str, words: str) -> None:
        with pytest.raises(UserError, match=words):
            changed(setting)

    def test_an_error_elsewhere_still_names_the_file(self) -> None:
        with pytest.raises(UserError, match=r"^my.toml: experiment.ram"):
            experiment.parse(SMALL.replace('"31M"', '"31X"'), "my.toml", [Setting.of("timing.jitter=2")])

    @given(st.text(max_size=40))
    def test_no_text_at_all_leads_to_another_exception(self, text: str) -> None:
        with contextlib.suppress(UserError):
            changed(text)


class TestSchema:
    @pytest.mark.parametrize("name", [*experiment.shipped(), "template"])
    def test_accepts_what_mcsim_accepts(self, name: str) -> None:
        text = template() if name == "template" else experiment.shipped()[name].read_text(encoding="utf-8")
        jsonschema.validate(tomllib.loads(text), experiment.json_schema())

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("boots = 2000", "boot = 2000"),
            ("boots = 2000", "boots = 0"),
            ('board = "m5208evb"', "board = 8192"),
            ("[workload]", "[workloads]"),
            ("[workload]", "[stop]\nhalf_width = -0.15\n[workload]"),
            ("# [variants.my-fix]", "[variants.my-fix]"),
            ("# [variants.my-fix]", '[variants.my-fix]\nbased_on = "pre-maple"\nexact_tail = "tial"'),
        ],
    )
    def test_refuses_slips(self, old: str, new: str) -> None:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(tomllib.loads(MAIL.replace(old, new, 1)), experiment.json_schema())

    def test_says_what_is_valid_at_every_key(self) -> None:
        tables = experiment.json_schema()["$defs"].values()
        assert all("description" in field for table in tables for field in table["properties"].values())


class TestTaskId:
    def test_the_same_question_in_other_words_has_the_same_tasks(self) -> None:
        spelt = (
            SMALL.replace('["31M", "32M"]', '"31M..32768K step 1024K"')
            + "[timing]\nboot_sigma = 0.14\ngap_sigma = 0.11\n"
        )
        assert [each.id for each in parse(spelt).tasks("d")] == [each.id for each in parse(SMALL).tasks("d")]

    def test_the_name_of_a_variant_and_the_number_of_boots_are_not_in_it(self) -> None:
        own = SMALL.replace('"tail-free"', '"mine"').replace("[workload]", "boots = 5\n[workload]")
        own += '[variants.mine]\nbased_on = "maple-naive"\nexact_tail = "tail"\n'
        assert [each.id for each in parse(own).tasks("d")] == [each.id for each in parse(SMALL).tasks("d")]

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ('"tail-free"', '"pre-maple"'),
            ('"32M"', '"33M"'),
            ("[workload]", "seed = 1\n[workload]"),
            ("[workload]", "[timing]\ngap_sigma = 0.2\n[workload]"),
            ("[workload]", "[machine]\nmin_free_kbytes = 1024\n[workload]"),
        ],
    )
    def test_everything_that_may_change_an_outcome_is_in_it(self, old: str, new: str) -> None:
        before = parse(SMALL).tasks("d")[-1].id
        assert parse(SMALL.replace(old, new)).tasks("d")[-1].id != before

    def test_what_the_experiment_does_not_say_comes_from_the_workload(self) -> None:
        fitted = experiment.workload_timing("C").timing
        assert parse(SMALL).timing == fitted
        assert fitted.gap_sigma != experiment.Timing().gap_sigma
        given = parse(SMALL + "[timing]\ngap_sigma = 0.5\n").timing
        assert (given.gap_sigma, given.boot_sigma) == (0.5, fitted.boot_sigma)

    def test_a_workload_without_timing_has_the_general_defaults(self, tmp_path: Path) -> None:
        assert experiment.workload_timing(str(tmp_path)) == experiment.WorkloadTiming()

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("[timing]\ngap_sgima = 0.1\n", "timing.gap_sgima: unknown key"),
            ("[host_load]\nboot_median = 1.0\n", "host_load.boot_sigma: is missing"),
            ("[timing", "not valid TOML"),
        ],
    )
    def test_a_timing_file_that_is_none_is_refused(self, text: str, message: str, tmp_path: Path) -> None:
        (tmp_path / "timing.toml").write_text(text)
        with pytest.raises(UserError, match=message) as caught:
            experiment.workload_timing(str(tmp_path))
        assert caught.value.file == str(tmp_path / "timing.toml")

    def test_another_workload_is_another_task(self) -> None:
        assert parse(SMALL).tasks("a")[0].id != parse(SMALL).tasks("b")[0].id

    def test_ids_are_stable_from_version_to_version(self) -> None:
        """A change here orphans every stored result: raise MODEL_VERSION, and say so in the changelog."""
        assert parse(SMALL).tasks("d")[0].id == "c5de4cfdb3a635e62ad7f2e16ddac448b08cb9e250ecf3324bc36b7684b53c0a"


class TestSelection:
    def test_options_name_variants_and_sizes(self) -> None:
        tasks = parse(SMALL).tasks("d")
        chosen = experiment.select(tasks, ["tail-free"], ["32M"])
        assert [each.label for each in chosen] == ["tail-free at 32M"]
        assert len(experiment.select(tasks, [], ["31M..32M step 1M"])) == 4

    @pytest.mark.parametrize(
        ("names", "sizes", "words"),
        [
            (["tailfree"], [], r"--variant: 'tailfree' .*did you mean 'tail-free'"),
            ([], ["33M"], r"--ram: 33M is not a RAM size of this experiment\s+valid: 31M, 32M"),
            ([], ["33"], r"--ram: '33' has no unit"),
        ],
    )
    def test_what_is_not_there_is_answered_with_what_is(self, names: list[str], sizes: list[str], words: str) -> None:
        with pytest.raises(UserError, match=words):
            experiment.select(parse(SMALL).tasks("d"), names, sizes)


class TestReleases:
    def test_a_number_stands_for_the_release(self) -> None:
        short = SMALL.replace('"tail-free"', '"6.1.y"')
        assert [each.name for each in parse(short).variants] == ["maple-naive", "linux-6.1.y"]
        own = SMALL.replace('"tail-free"', '"mine"') + '[variants.mine]\nbased_on = "6.6"\n'
        assert parse(own).variants[1].policies == parse(own.replace("6.6", "linux-6.6")).variants[1].policies

    def test_every_change_of_every_release_has_its_source(self) -> None:
        for path in shipped_files("releases").values():
            changes = tomllib.loads(path.read_text(encoding="utf-8"))["changes"]
            assert changes and all(each.get("commit") or each.get("since") for each in changes.values())

    @pytest.mark.parametrize("kind", ["boards", "releases"])
    def test_the_schema_of_shipped_files_accepts_them(self, kind: str) -> None:
        model: type[Section] = {"boards": Board, "releases": Release}[kind]
        for path in shipped_files(kind).values():
            jsonschema.validate(tomllib.loads(path.read_text(encoding="utf-8")), json_schema(model, kind))
