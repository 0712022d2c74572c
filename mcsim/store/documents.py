"""The documents of a result folder, each checked completely when it is read: one UserError with file and key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, ValidationError

from mcsim import files
from mcsim.errors import UserError
from mcsim.model.experiment import MAX_BOOTS, Experiment
from mcsim.model.section import Section, user_error

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


class ExperimentDocument(Section):
    """experiment.json."""

    experiment: dict[str, Any] = Field(description="a table: the experiment")
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
    """records/check-ID.json: one call of `mcsim check results`."""

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
    document = read_document(path, ExperimentDocument)
    given = document["experiment"]
    try:
        experiment = Experiment.from_document(given, source, str(path))
        if Path(given.get("workload_source", "")).name != Path(given["workload"]).name:
            raise UserError(f"is another one than {given['workload']!r}", key="workload_source")
        again = experiment.document()
        for key in given:
            if key != "workload_source" and given[key] != again.get(key):
                raise UserError("is not what an experiment has", key=key)
    except UserError as error:
        key = f"experiment.{error.key}" if error.key else "experiment"
        raise UserError(error.what, file=path, key=key, valid=error.valid or START_AFRESH) from None
    return experiment, document["tasks"]
