"""The documents of a result folder, each checked completely when it is read: one UserError with file and key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, ValidationError

from mcsim import files
from mcsim.errors import UserError
from mcsim.model.experiment import MAX_BOOTS, MAX_SEED, Experiment, StopRules, Timing
from mcsim.model.machine import Machine, check_ram
from mcsim.model.section import Section, user_error
from mcsim.model.variants import Policies

START_AFRESH = "another folder with --out, or delete this one"
MAX_DEPTH = 32  # of lists and tables in one another

Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="a SHA-256: 64 hexadecimal digits")]
Count = Annotated[int, Field(ge=0, lt=1 << 63, description="a whole number from 0")]
Boot = Annotated[int, Field(ge=0, lt=MAX_BOOTS, description="the number of a boot")]


class Manifest(Section):
    """manifest.json: what the folder belongs to."""

    format: Count
    experiment: dict[str, Any] = Field(description="a table: the experiment")
    kernels: Hash
    workload: Hash


class FrozenExperiment(Section):
    """What `Experiment.document` makes."""

    boots: int = Field(ge=1, le=MAX_BOOTS, description="a number of boots")
    descriptions: dict[str, str] = Field(description="a table of texts")
    machine: dict[str, Any] = Field(description="a table: the machine")
    name: str = Field(min_length=1, description="a text")
    order: list[str] = Field(min_length=1, description="the names of the variants")
    ram: list[int] = Field(min_length=1, description="a list of sizes in bytes")
    seed: int = Field(ge=0, le=MAX_SEED, description="a whole number from 0 to 2^63 - 1")
    skipped: list[Annotated[list[str | int], Field(min_length=2, max_length=2)]] = Field(
        default=[], description="a list of [variant, bytes of RAM]"
    )
    stop: dict[str, int | float | str] = Field(description="a table of stop rules")
    timing: Timing = Field(description="a table, as in an experiment")
    title: str = Field(description="a text")
    variants: dict[str, Policies] = Field(description="a table of policies for each variant")
    workload: str = Field(min_length=1, description="a text")
    workload_source: str = Field(min_length=1, description="a text")


class ExperimentDocument(Section):
    """experiment.json."""

    experiment: FrozenExperiment = Field(description="a table: the experiment")
    tasks: dict[Hash, dict[str, Any]] = Field(description="a table: the definition of each task under its id")


class Versions(Section):
    """What a run was made with."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, str]

    cpu: str = Field(description="a text")
    platform: str = Field(description="a text")


Range = Annotated[list[Boot], Field(min_length=2, max_length=2, description="the first boot and the last")]


class RunRecord(Section):
    """records/run-ID.json: one call of `mcsim run`, written by its own process alone."""

    id: str = Field(pattern=r"^[0-9a-f]{16}$", description="16 hexadecimal digits")
    started: str = Field(description="a time")
    finished: str | None = Field(default=None, description="a time")
    versions: Versions = Field(description="a table of versions")
    backend: str = Field(description="a text")
    boots: int = Field(ge=1, le=MAX_BOOTS, description="a number of boots")
    boots_done: Count
    cells: Count
    complete: bool = Field(description="true or false")
    ended: dict[Hash, str] = Field(default={}, description="a table: which rule ended which task")
    shard: str = Field(pattern=r"^[1-9][0-9]{0,5}/[1-9][0-9]{0,5}$", description="I/N")
    stop: dict[str, int | float | str] = Field(description="a table of stop rules")
    stored: dict[Hash, list[Range]] = Field(default={}, description="a table: which boots of which task were stored")
    tasks: list[Hash] = Field(default=[], description="a list of ids")
    unfinished: list[Hash] = Field(default=[], description="a list of ids")
    workers: Count


class CheckRecord(Section):
    """records/verify-ID.json: one call of `mcsim verify`."""

    id: str = Field(pattern=r"^[0-9a-f]{16}$", description="16 hexadecimal digits")
    when: str = Field(description="a time")
    kernels: Hash
    sha256: Hash
    stored: Count
    compared: Count
    differences: Count
    gone: Count
    seed: Count


def read_document(path: Path, model: type[Section], format_: int | None = None) -> dict[str, Any]:
    """The values of a JSON file that are what `model` says, those that may be left out filled in.

    A file of another format than `format_` is refused by that name before anything else is looked at.
    """
    try:
        value = files.parse_json(files.read_bytes(path), path)
        if _depth(value) > MAX_DEPTH:
            raise UserError("nested too deeply", file=path)
        json.dumps(value, ensure_ascii=False).encode()  # JSON can write halves of characters, which no file can hold
    except UserError as error:
        raise UserError(f"cannot be read: {error.what}", file=path, valid=START_AFRESH) from None
    except UnicodeEncodeError:
        raise UserError("cannot be read: half a character", file=path, valid=START_AFRESH) from None
    if not isinstance(value, dict):
        raise UserError("cannot be read: is not a table", file=path, valid=START_AFRESH)
    if format_ is not None and "format" in value and value["format"] != format_:
        what = f"has format {str(value['format'])[:20]}, this mcsim writes {format_} and reads no other"
        raise UserError(what, file=path.parent, valid=START_AFRESH)
    try:
        return model.model_validate(value).model_dump()
    except ValidationError as error:
        raise user_error(error, model).at(file=path) from None


def _depth(value: Any) -> int:
    """How many lists and tables lie in one another."""
    depth, level = 0, [value]
    while level := [each for each in level if isinstance(each, dict | list)]:
        depth += 1
        level = [inner for each in level for inner in (each.values() if isinstance(each, dict) else each)]
    return depth


def read_experiment(path: Path, source: str) -> tuple[Experiment, dict[str, Any]]:
    """The experiment of an experiment.json, its text being `source`; and the definitions of its tasks by id."""
    read_document(path, ExperimentDocument)
    whole: dict[str, Any] = files.parse_json(files.read_bytes(path), path)
    document = whole["experiment"]

    def refuse(key: str, what: str) -> UserError:
        return UserError(what, file=path, key=f"experiment.{key}", valid=START_AFRESH)

    if sorted(document["order"]) != sorted(document["variants"]) or not document["order"]:
        raise refuse("order", "is not the list of the variants")
    if document["descriptions"].keys() != document["variants"].keys():
        raise refuse("descriptions", "is not of the variants")
    if not document["stop"].keys() <= StopRules.model_fields.keys():
        raise refuse("stop", "holds a rule that is not known")
    if document["machine"] not in [Machine(pointer_bits=bits).model_dump() for bits in (32, 64)]:
        raise refuse("machine", "is not a machine")
    if len(set(document["ram"])) != len(document["ram"]):
        raise refuse("ram", "holds a size twice")
    for size in document["ram"]:
        try:
            check_ram(Machine(), size)
        except UserError as error:
            raise error.at(file=path, key="experiment.ram") from None
    experiment = Experiment.from_document(document, source, str(path))
    again = experiment.document()
    for key in document:
        if key != "workload_source" and document[key] != again.get(key):
            raise refuse(key, "is not what an experiment has")
    if Path(document["workload_source"]).name != Path(document["workload"]).name:
        raise refuse("workload_source", f"is another one than {document['workload']!r}")
    return experiment, whole["tasks"]
