"""Experiments: variants x RAM sizes x one workload, and the tasks (cells) they consist of."""

import difflib
import hashlib
import json
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from mcsim.errors import UserError, did_you_mean
from mcsim.files import is_file, is_folder, parse_toml, read_text
from mcsim.model import section, variants
from mcsim.model.board import Board, load_board
from mcsim.model.release import Policies, Variant, full_name
from mcsim.model.section import MAX_FILE, CarriedError, Section, WholeNumber, read_section, section_of
from mcsim.model.settings import Setting, apply
from mcsim.model.shipped import shipped_files, shipped_folder
from mcsim.model.units import DURATION_SYNTAX, SIZES_SYNTAX, format_size, parse_duration, parse_sizes

MODEL_VERSION = 3  # rises when the same description would give other outcomes
RNG_VERSION = "philox4x32-10/1"  # the generator and the layout of its counters
MAX_SIGMA = 2.0  # the largest factor of median 1 then still fits the fixed-point numbers of the kernels
# With MAX_SIGMA the smallest factor of MIN_MEDIAN still is a few units of these numbers.
MIN_MEDIAN, MAX_MEDIAN = 0.01, 10.0
MEDIAN_SYNTAX = f"a number from {MIN_MEDIAN:g} to {MAX_MEDIAN:g}"
MAX_FACTOR = 2048.0  # what these numbers end below (kernels/jit/rng.py:FACTOR_BITS)
FARTHEST = 3.6688  # sigmas from the median to the last of the quantiles that are drawn (kernels/jit/rng.py)
MAX_TITLE = 500  # letters
MAX_CHOICES = 1000  # rows of [sweep]
MAX_BOOTS = 1_000_000_000
MAX_SEED = (1 << 63) - 1
BOOTS_SYNTAX = f"a whole number from 1 to {MAX_BOOTS}"
SEED_SYNTAX = "a whole number from 0 to 2^63 - 1"


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise CarriedError(UserError("is not one line of printable text"))
    return text


def has_controls(text: str) -> bool:
    """Whether there are control characters in it, or bytes that were no UTF-8."""
    return any(unicodedata.category(each) in ("Cc", "Cs") for each in text)


def _name_of_file(text: str) -> str:
    if has_controls(text):
        raise CarriedError(UserError("has control characters"))
    return text


def _check_factor(median: float, sigma: float) -> None:
    """Refuse a lognormal factor whose largest quantile has no room in the kernels."""
    most = MAX_FACTOR / math.exp(FARTHEST * sigma)
    if median >= most:
        valid = f"with boot_sigma = {sigma:g}, a boot_median below {most:.3g}"
        raise CarriedError(UserError(f"{median:g} makes factors of {MAX_FACTOR:g} and more", valid=valid))


def _duration(text: object) -> float:
    try:
        return parse_duration(text)
    except UserError as error:
        raise CarriedError(error) from None


TEXT_OR_TEXTS = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
Line = Annotated[str, AfterValidator(_one_line)]
Sizes = Annotated[Any, WithJsonSchema(TEXT_OR_TEXTS)]
VariantName = Annotated[str, WithJsonSchema({"anyOf": [{"enum": list(shipped_files("releases"))}, {"type": "string"}]})]


class Question(Section):
    """`[experiment]`: what is compared, and how often."""

    name: str | None = Field(default=None, description="a text: the name of the result folder")
    title: Line = Field(
        default="",
        max_length=MAX_TITLE,
        description=f"a text: one line for the report, without control characters, of at most {MAX_TITLE}",
    )
    variants: list[VariantName] = Field(description="a list of names of variants")
    ram: Sizes = Field(description=SIZES_SYNTAX)
    boots: int = Field(default=1000, ge=1, le=MAX_BOOTS, description=BOOTS_SYNTAX)
    seed: int = Field(default=0, ge=0, le=MAX_SEED, description=SEED_SYNTAX)


class Cells(Section):
    """Cells of the grid: those of these variants (all where none is named) at these RAM sizes (likewise)."""

    variant: Annotated[Any, WithJsonSchema(TEXT_OR_TEXTS)] = Field(
        default=None, description="the name of a variant of this experiment, or a list of names"
    )
    ram: Sizes = Field(default=None, description=SIZES_SYNTAX)


class Sweep(Section):
    """`[sweep]`: which cells of the grid variants x RAM sizes are run; without it, all."""

    only: list[Cells] | None = Field(
        default=None,
        max_length=MAX_CHOICES,
        description=f"a list of {{ variant = ..., ram = ... }}, {MAX_CHOICES} at most: no cells but these",
    )
    exclude: list[Cells] = Field(
        default=[],
        max_length=MAX_CHOICES,
        description=f"a list of {{ variant = ..., ram = ... }}, {MAX_CHOICES} at most: not these cells",
    )


class StopRules(Section):
    """`[stop]`: when a cell has enough boots, before it has `experiment.boots`; the first rule that fires ends it."""

    max_failures: int | None = Field(default=None, ge=1, description="a whole number from 1: so many boots have failed")
    half_width: float | None = Field(
        default=None, gt=0, lt=0.5, description="a number above 0 and below 0.5: P(OOM) is known to +- this"
    )
    relative_half_width: float | None = Field(
        default=None, gt=0, description="a number above 0: P(OOM) is known to +- this part of itself"
    )
    decided: str | None = Field(
        default=None, description="the name of a variant of this experiment: the difference from it is clear"
    )
    delta: float | None = Field(
        default=None, gt=0, lt=1, description="a number above 0 and below 1: with decided, smaller differences are none"
    )
    wall_time: Annotated[
        float | None, BeforeValidator(_duration), WithJsonSchema({"type": "string", "examples": ["30m", "1h30m"]})
    ] = Field(default=None, description=DURATION_SYNTAX)
    level: float = Field(
        default=0.95,
        ge=0.5,
        le=0.999999,
        description="a number from 0.5 to 0.999999: of the confidence sequences behind widths",
    )

    def given(self) -> dict[str, Any]:
        """The rules that are there; empty if there is none."""
        rules = self.model_dump(exclude_none=True)
        return rules if len(rules) > 1 else {}


class MachineChoice(Section):
    """`[machine]`: the board, and what is set on it by hand."""

    board: str | None = Field(
        default=None,
        min_length=1,
        description="the name of a shipped board (`mcsim list` prints them), or the path of a board file",
    )
    min_free_kbytes: int | None = Field(
        default=None, ge=0, le=1 << 20, description="vm.min_free_kbytes set by hand, a whole number from 0"
    )


class WorkloadSource(Section):
    """`[workload]`: what boots; exactly one of the two keys."""

    recordings: str | None = Field(
        default=None, description="the name of a shipped set of recordings (`mcsim list` prints them)"
    )
    file: str | None = Field(
        default=None, min_length=1, description="path of a workload file, relative to the experiment file"
    )


class Timing(Section):
    """`[timing]`: what is random besides the recording; the same for all variants and RAM sizes."""

    gap_sigma: float = Field(
        default=0.15,
        ge=0,
        le=MAX_SIGMA,
        description="a number from 0 to 2: sigma of the lognormal factor of each CPU gap",
    )
    boot_sigma: float = Field(
        default=0.3,
        ge=0,
        le=MAX_SIGMA,
        description="a number from 0 to 2: sigma of the lognormal factor common to one boot",
    )
    boot_median: float = Field(
        default=1.0,
        ge=MIN_MEDIAN,
        le=MAX_MEDIAN,
        description=f"{MEDIAN_SYNTAX}: median of that factor (1: as fast as the recordings)",
    )
    jitter: Annotated[Literal[0, 2], WholeNumber] = Field(
        default=0,
        description="0 (no artificial delay) or 2 (at each exec: the delays and sleeps of noisy recordings)",
    )
    tick_phase: Literal["uniform"] = Field(default="uniform", description="'uniform' (over the 10 ms of the clock)")

    @field_validator("boot_median")
    @classmethod
    def _has_room(cls, median: float, info: ValidationInfo) -> float:
        _check_factor(median, info.data.get("boot_sigma", 0.0))
        return median


class HostLoad(Section):
    """How fast counted boots ran: median and sigma of `boot_factor` over all, and sigma within one series of boots."""

    boot_median: float = Field(ge=MIN_MEDIAN, le=MAX_MEDIAN, description=MEDIAN_SYNTAX)
    boot_sigma: float = Field(gt=0, le=MAX_SIGMA, description="a number above 0, up to 2")
    within_sigma: float = Field(gt=0, le=MAX_SIGMA, description="a number above 0, below boot_sigma")

    @field_validator("boot_sigma")
    @classmethod
    def _has_room(cls, sigma: float, info: ValidationInfo) -> float:
        _check_factor(info.data.get("boot_median", MIN_MEDIAN), sigma)
        return sigma

    @field_validator("within_sigma")
    @classmethod
    def _is_below_the_whole(cls, within: float, info: ValidationInfo) -> float:
        whole = info.data.get("boot_sigma", math.inf)
        if within >= whole:
            raise CarriedError(UserError(f"{within:g} is not below boot_sigma = {whole:g}"))
        return within


class WorkloadTiming(Section):
    """The timing.toml of a folder of programs: what was fitted on its recordings."""

    board: str | None = Field(default=None, description="the board of the recordings: a shipped one, or a path")
    timing: Timing = Field(default_factory=Timing, description="a table, as in an experiment")
    host_load: HostLoad | None = Field(default=None, description="a table")


class ExperimentFile(Section):
    """A whole experiment file."""

    experiment: Question = Field(description="a table: variants, ram, boots, seed")
    machine: MachineChoice = Field(default_factory=MachineChoice, description="a table: board, min_free_kbytes")
    workload: WorkloadSource = Field(description="a table: recordings = NAME, or file = PATH")
    timing: Timing = Field(default_factory=Timing, description="a table")
    sweep: Sweep = Field(default_factory=Sweep, description="a table: only, exclude")
    stop: StopRules = Field(default_factory=StopRules, description="a table: max_failures, half_width, ...")
    variants: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="tables [variants.NAME] with based_on and policies",
        json_schema_extra=lambda schema: schema.update(variants.tables_schema()),
    )


class Document(Section):
    """`Experiment.document()`, as a result folder keeps it."""

    name: str
    title: Line = Field(max_length=MAX_TITLE)
    order: list[str]
    variants: dict[str, Policies]
    descriptions: dict[str, str]
    ram: list[int]
    skipped: list[list[Any]] = Field(default=[])
    board: Board
    workload: Annotated[str, AfterValidator(_name_of_file)]
    workload_source: Annotated[str, AfterValidator(_name_of_file)] = ""
    timing: Timing
    boots: int = Field(ge=1, le=MAX_BOOTS, description=BOOTS_SYNTAX)
    seed: int = Field(ge=0, le=MAX_SEED, description=SEED_SYNTAX)
    stop: dict[str, Any] = Field(default={})


@dataclass(frozen=True)
class Task:
    """One cell: all that defines the outcome of its boots. The variant's name is only a label."""

    variant: str
    ram: int
    board: Board
    policies: Policies
    workload: str  # digest of the compiled workload, hexadecimal
    timing: Timing
    seed: int

    def definition(self) -> dict[str, Any]:
        """What defines the outcomes, and nothing else."""
        return {
            "board": self.board.facts(),
            "model_version": MODEL_VERSION,
            "policies": self.policies.model_dump(),
            "ram": self.ram,
            "rng_version": RNG_VERSION,
            "seed": self.seed,
            "timing": self.timing.model_dump(),
            "workload": self.workload,
        }

    @property
    def id(self) -> str:
        """SHA-256 (hexadecimal) of the canonical JSON of the definition."""
        return sha256(canonical_json(self.definition()))

    @property
    def label(self) -> str:
        """`VARIANT at RAM`, for people."""
        return f"{self.variant} at {format_size(self.ram)}"


@dataclass(frozen=True)
class Experiment:
    """A validated experiment. `source` is its text, `workload` what `mcsim.workload.load` takes."""

    name: str
    title: str
    variants: tuple[Variant, ...]
    ram: tuple[int, ...]
    board: Board
    workload: str
    timing: Timing
    boots: int
    seed: int
    stop: StopRules
    skipped: frozenset[tuple[str, int]]  # cells (variant, RAM) of the grid that are not run
    source: str
    path: str

    def canonical(self) -> dict[str, Any]:
        """The experiment as plain values; equal ones give equal canonical JSON.

        How many boots are run, or until when, is not part of it.
        """
        return {
            **({"skipped": [list(cell) for cell in sorted(self.skipped)]} if self.skipped else {}),
            "name": self.name,
            "board": self.board.model_dump(mode="json"),
            "ram": list(self.ram),
            "seed": self.seed,
            "timing": self.timing.model_dump(),
            "variants": {each.name: each.policies.model_dump() for each in self.variants},
            "workload": Path(self.workload).name,
        }

    def document(self) -> dict[str, Any]:
        """All that `from_document` needs."""
        texts = {each.name: each.description for each in self.variants}
        return {
            **self.canonical(),
            "boots": self.boots,
            "descriptions": texts,
            "order": [each.name for each in self.variants],
            "stop": self.stop.given(),
            "title": self.title,
            "workload_source": self.workload,
        }

    @classmethod
    def from_document(cls, document: dict[str, Any], source: str, path: str) -> "Experiment":
        """The experiment that `document()` was made of.

        UserError, with `path` as its file, if it could not have been made of one.
        """
        try:
            return _of_document(document, source, path)
        except UserError as error:
            raise error.at(file=path) from None

    def with_seed(self, seed: int) -> "Experiment":
        """The same experiment with another seed."""
        if not 0 <= seed <= MAX_SEED:
            raise UserError(f"{seed} is out of range", key="--seed", valid=SEED_SYNTAX)
        return replace(self, seed=seed)

    def tasks(self, workload_digest: str) -> list[Task]:
        """All cells, RAM size by RAM size."""
        return [
            Task(each.name, ram, self.board, each.policies, workload_digest, self.timing, self.seed)
            for ram in self.ram
            for each in self.variants
            if (each.name, ram) not in self.skipped
        ]


def number_of_boots(boots: int) -> int:
    """The number of boots asked for. UserError for one that no run may have."""
    if not 1 <= boots <= MAX_BOOTS:
        raise UserError(f"{boots} is out of range", key="--boots", valid=BOOTS_SYNTAX)
    return boots


def select(tasks: Sequence[Task], variant_names: Iterable[str] = (), ram: Iterable[str] = ()) -> list[Task]:
    """The tasks of the named variants and RAM sizes (all where none is named)."""
    names, sizes = list(variant_names), {size for text in ram for size in _option_sizes(text)}
    known_names = list(dict.fromkeys(task.variant for task in tasks))
    known_sizes = sorted({task.ram for task in tasks})
    for name in names:
        if name not in known_names:
            raise UserError(
                f"{name!r} is not a variant of this experiment{did_you_mean(name, known_names)}",
                key="--variant",
                valid=", ".join(known_names),
            )
    for size in sizes - set(known_sizes):
        raise UserError(
            f"{format_size(size)} is not a RAM size of this experiment",
            key="--ram",
            valid=", ".join(map(format_size, known_sizes)),
        )
    chosen = [task for task in tasks if (not names or task.variant in names) and (not sizes or task.ram in sizes)]
    if not chosen and tasks:
        rest = sorted({task.ram for task in tasks if task.variant in names})
        raise UserError(
            f"[sweep] of this experiment leaves out {', '.join(names)} at {', '.join(map(format_size, sorted(sizes)))}",
            key="--variant, --ram",
            valid=f"with {', '.join(names)}: {', '.join(map(format_size, rest))}",
        )
    return chosen


def _option_sizes(text: str) -> tuple[int, ...]:
    try:
        return parse_sizes(text)
    except UserError as error:
        raise error.at(key="--ram") from None


def canonical_json(value: Mapping[str, Any]) -> str:
    """One text for equal values: keys sorted, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def sha256(text: str) -> str:
    """SHA-256 (hexadecimal) of a text in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


def shipped() -> dict[str, Path]:
    """The shipped experiments by name."""
    return shipped_files()


def shipped_recordings() -> dict[str, Path]:
    """The folders of the shipped sets of recordings, by name."""
    folder = shipped_folder() / "recordings"
    return {path.name: path for path in sorted(folder.iterdir()) if path.is_dir()} if folder.is_dir() else {}


def json_schema() -> dict[str, Any]:
    """JSON Schema of experiment files."""
    return section.json_schema(ExperimentFile, "experiment")


def load(experiment: str | Path, settings: Sequence[Setting] = ()) -> Experiment:
    """Read and validate an experiment: a file, or the name of a shipped one; `settings` replace keys of it."""
    path = _find(experiment)
    return parse(read_text(path, limit=MAX_FILE, valid="a readable TOML file"), path, settings)


def _find(experiment: str | Path) -> Path:
    path = Path(experiment)
    if is_file(path):
        return path
    known = shipped()
    if str(experiment) in known:
        return known[str(experiment)]
    if is_folder(path):
        raise UserError("is a folder", file=path, valid="an experiment file (TOML)")
    hint = did_you_mean(path.stem, known)
    raise UserError(
        f"no such experiment: {str(experiment)!r}{hint}",
        valid=f"a file, or a shipped experiment: {', '.join(known) or 'none'}",
    )


def parse(text: str, path: str | Path, settings: Sequence[Setting] = ()) -> Experiment:
    """Validate the text of an experiment file; `path` is for messages and for files it refers to.

    `settings` replace keys of it; they are noted as comments at the end of the text that a result folder keeps.
    """
    values = parse_toml(text, path)
    for setting in settings:
        apply(setting, values)
    notes = "".join(f"{setting.note}\n" for setting in settings)
    source = f"{text.rstrip()}\n\n{notes}" if notes else text
    try:
        return _build(values, source, Path(path))
    except UserError as error:
        guilty = next((each for each in reversed(settings) if each.touches(error.key or "")), None)
        raise error.at(file=guilty.option if guilty else path) from None


def _of_document(values: object, source: str, path: str) -> Experiment:
    document = section_of(Document, values)
    names, ram = document.order, tuple(document.ram)
    if len(set(names)) < len(names) or not set(names) == document.variants.keys() == document.descriptions.keys():
        raise UserError("are not the same variants", key="order, variants, descriptions", valid="each variant once")
    for name in names:
        if not variants.NAME.fullmatch(name):
            raise UserError(f"{name!r} is not a name of a variant", key="order", valid=variants.NAME_SYNTAX)
        if not variants.is_description(document.descriptions[name]):
            raise UserError("is not one line of text", key=f"descriptions.{name}")
        variants.check(document.variants[name], f"variants.{name}")
    stop = dict(document.stop)
    # Written with a unit in a file, and plainly in a document.
    if isinstance(stop.get("wall_time"), float) and stop["wall_time"].is_integer():
        stop["wall_time"] = f"{stop['wall_time']:.0f}s"
    for size in ram:
        try:
            document.board.check_ram(size)
        except UserError as error:
            raise error.at(key="ram") from None
    if not ram or list(ram) != sorted(set(ram)):
        raise UserError("is not a list of ascending sizes", key="ram")
    skipped = _skipped_of_document(document.skipped, names, ram)
    return Experiment(
        name=_name(document.name, Path()),
        title=document.title,
        variants=tuple(Variant(name, document.descriptions[name], document.variants[name]) for name in names),
        ram=ram,
        board=document.board,
        workload=document.workload_source or document.workload,
        timing=document.timing,
        boots=document.boots,
        seed=document.seed,
        stop=_stop(section_of(StopRules, stop, "stop"), names),
        skipped=skipped,
        source=source,
        path=path,
    )


def _skipped_of_document(rows: list[list[Any]], names: list[str], ram: tuple[int, ...]) -> frozenset[tuple[str, int]]:
    grid = {(name, size) for name in names for size in ram}
    for row in rows:
        if [type(each) for each in row] != [str, int] or tuple(row) not in grid:
            raise UserError(f"{row!r} is not a cell", key="skipped", valid="a list of [VARIANT, BYTES]")
    skipped = frozenset((name, size) for name, size in rows)
    if skipped == grid:
        raise UserError("leaves no cell", key="skipped", valid="at least one variant at one RAM size")
    return skipped


def _build(values: dict[str, Any], text: str, path: Path) -> Experiment:
    file = section_of(ExperimentFile, values)
    question = file.experiment
    workload = _workload(file.workload, path)
    board = _board(file.machine, workload, path)
    ram = _ram(question.ram, board)
    known = variants.resolve(file.variants)
    names = [full_name(name, known) for name in question.variants]
    chosen = _variants(names, known, board)
    return Experiment(
        name=_name(question.name, path),
        title=question.title,
        variants=chosen,
        ram=ram,
        board=board,
        workload=workload,
        timing=_timing(file.timing, workload, board),
        boots=question.boots,
        seed=question.seed,
        stop=_stop(file.stop, names),
        skipped=_skipped(file.sweep, names, ram),
        source=text,
        path=str(path),
    )


def _name(given: str | None, path: Path) -> str:
    name = path.stem if given is None else given
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise UserError(
            f"{name!r} cannot name a folder",
            key="experiment.name",
            valid="1 to 64 letters, digits, '.', '_' or '-', a letter or digit first",
        )
    return name


def _board(chosen: MachineChoice, workload: str, path: Path) -> Board:
    if chosen.board is None:
        board = recorded_board(workload)
    else:
        board = load_board(chosen.board, path.parent)
        _check_recorded(workload, board)
    if chosen.min_free_kbytes is None:
        return board
    return board.model_copy(
        update={"machine": board.machine.model_copy(update={"min_free_kbytes": chosen.min_free_kbytes})}
    )


def _check_recorded(workload: str, board: Board) -> None:
    """Refuse recordings of a board whose programs would mean something else on this one."""
    recorded = None if workload.endswith(".toml") else _said_board(workload)  # by hand: made for any board
    if recorded is not None and recorded.of_recordings() != board.of_recordings():
        what = f"{board.name} has other pages, stacks or another clock than {recorded.name}, of which the workload is"
        raise UserError(what, key="machine.board", valid=recorded.name)


def _variants(names: list[str], known: Mapping[str, Variant], board: Board) -> tuple[Variant, ...]:
    key = "experiment.variants"
    if not names:
        raise UserError("the list is empty", key=key, valid=", ".join(known))
    for number, name in enumerate(names):
        if name not in known:
            near = difflib.get_close_matches(name, list(known), n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise UserError(f"{name!r} is not a variant{hint}", key=key, valid=", ".join(known))
        if name in names[:number]:
            raise UserError(f"{name!r} is named twice", key=key, valid="each variant once")
    return tuple(replace(known[name], policies=known[name].policies.on(board)) for name in names)


def _ram(text: str | list[str], board: Board) -> tuple[int, ...]:
    try:
        sizes = parse_sizes(text)
        for size in sizes:
            board.check_ram(size)
    except UserError as error:
        raise error.at(key="experiment.ram") from None
    return sizes


def recorded_board(workload: str) -> Board:
    """The board that a workload is of, by its timing.toml or its own file. UserError if it does not say."""
    board = _said_board(workload)
    if board is None:
        valid = f"{', '.join(shipped_files('boards'))}, or the path of a board file"
        raise UserError("is missing: the workload does not say its board", key="machine.board", valid=valid)
    return board


def _said_board(workload: str) -> Board | None:
    path = shipped_recordings().get(workload, Path(workload))
    if path.suffix == ".toml" and is_file(path):
        said = parse_toml(read_text(path), path).get("board")
        said, folder = (said if isinstance(said, str) else None), path.parent
    else:
        said, folder = workload_timing(workload).board, path
    return None if said is None else load_board(said, folder)


def workload_timing(workload: str) -> WorkloadTiming:
    """What the workload's folder says about its timing; the general defaults if it says nothing.

    Raises UserError for a timing.toml that is none.
    """
    path = shipped_recordings().get(workload, Path(workload)) / "timing.toml"
    if not is_file(path):
        return WorkloadTiming()
    return read_section(WorkloadTiming, path)


def _timing(given: Timing, workload: str, board: Board) -> Timing:
    """The timing of an experiment: what it does not say comes from its workload."""
    fitted = workload_timing(workload).timing.model_dump(exclude_unset=True)
    timing = section_of(Timing, {**fitted, **given.model_dump(exclude_unset=True)}, "timing")
    if timing.jitter == 2 and board.noise is None:
        what = f"the board {board.name} does not say what delays these are"
        raise UserError(what, key="timing.jitter", valid="0, or a table [noise] in the board's file")
    return timing


def _stop(rules: StopRules, names: list[str]) -> StopRules:
    if rules.decided is not None and rules.decided not in names:
        what = f"{rules.decided!r} is not a variant of this experiment{did_you_mean(rules.decided, names)}"
        raise UserError(what, key="stop.decided", valid=", ".join(names))
    if rules.delta is not None and rules.decided is None:
        raise UserError("has nothing to be compared with", key="stop.delta", valid="together with stop.decided")
    return rules


def _skipped(sweep: Sweep, names: list[str], ram: tuple[int, ...]) -> frozenset[tuple[str, int]]:
    """The cells of the grid that are not run."""
    grid = {(name, size) for name in names for size in ram}
    chosen = grid
    if sweep.only is not None:
        chosen = {cell for cells in sweep.only for cell in _cells(cells, "sweep.only", names, ram)}
    for cells in sweep.exclude:
        chosen = chosen - _cells(cells, "sweep.exclude", names, ram)
    if not chosen:
        raise UserError("leaves no cell to run", key="sweep", valid="at least one variant at one RAM size")
    return frozenset(grid - chosen)


def _cells(cells: Cells, key: str, names: list[str], ram: tuple[int, ...]) -> set[tuple[str, int]]:
    wanted = names if cells.variant is None else cells.variant if isinstance(cells.variant, list) else [cells.variant]
    for name in wanted:
        if name not in names:
            what = f"{name!r} is not a variant of this experiment{did_you_mean(str(name), names)}"
            raise UserError(what, key=f"{key}.variant", valid=", ".join(names))
    try:
        sizes = ram if cells.ram is None else parse_sizes(cells.ram)
    except UserError as error:
        raise error.at(key=f"{key}.ram") from None
    for size in sizes:
        if size not in ram:
            what = f"{format_size(size)} is not a RAM size of this experiment"
            raise UserError(what, key=f"{key}.ram", valid=" ".join(map(format_size, ram)))
    return {(name, size) for name in wanted for size in sizes}


def _workload(source: WorkloadSource, path: Path) -> str:
    if (source.recordings is None) == (source.file is None):
        raise UserError("needs exactly one key", key="workload", valid="recordings = NAME, or file = PATH")
    if source.recordings is not None:
        known = shipped_recordings()
        if source.recordings not in known:
            hint = did_you_mean(source.recordings, known)
            raise UserError(
                f"{source.recordings!r} is not a shipped set{hint}",
                key="workload.recordings",
                valid=f"{', '.join(known) or 'none is shipped'}; programs of your own: file = PATH",
            )
        return source.recordings
    assert source.file is not None
    file = (path.parent / source.file).absolute()  # worker processes may run in another folder
    valid = "path of a file (.toml, .npz) or of a folder of programs, relative to the experiment file"
    if has_controls(str(file)):  # it becomes part of what is stored, in UTF-8
        raise UserError(f"{str(file)!r} has control characters", key="workload.file", valid=valid)
    if not (is_file(file) or is_folder(file)):
        raise UserError(f"no such file: {file}", key="workload.file", valid=valid)
    return str(file)
