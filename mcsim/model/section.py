"""The base of every table of an experiment file, and how validation errors become one readable message."""

import textwrap
import typing
from pathlib import Path
from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from mcsim.errors import UserError, did_you_mean
from mcsim.files import parse_toml, read_text

MAX_FILE = 1 << 20  # bytes of an experiment, a board, a release


class Section(BaseModel):
    """A table of the file: strict types, unknown keys refused, frozen. Descriptions say what is valid."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


AnySection = typing.TypeVar("AnySection", bound=Section)


def user_error(error: ValidationError, model: type[Section], prefix: tuple[str, ...] = ()) -> UserError:
    """The first problem that pydantic found in `model`, as one message; `prefix` is the path of the table."""
    details = error.errors()
    # An unknown key is usually the misspelt name of the one that is missing: say that first.
    detail = min(details, key=lambda each: each["type"] != "extra_forbidden")
    path = [str(part) for part in detail["loc"]]
    key = ".".join([*prefix, *path])
    more = f" ({len(details) - 1} more after this one)" if len(details) > 1 else ""
    table, field = _find(model, path)
    if detail["type"] == "extra_forbidden":
        known = list(table.model_fields) if table else []
        where = "table" if isinstance(detail["input"], dict) else "key"
        return UserError(
            f"unknown {where}{did_you_mean(path[-1], known)}{more}", key=key, valid=", ".join(known) or None
        )
    valid = field.description if field else None
    cause = detail.get("ctx", {}).get("error")
    if isinstance(cause, CarriedError):
        return UserError(f"{cause.error.what}{more}", key=key, valid=cause.error.valid or valid)
    return UserError(f"{_what(detail)}{more}", key=key, valid=valid)


def section_of(model: type[AnySection], values: object, *prefix: str) -> AnySection:
    """Plain values as the table that they are to be; `prefix` is its key. UserError if they are none."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise user_error(error, model, prefix) from None


def read_section(model: type[AnySection], path: Path, valid: str | None = None) -> AnySection:
    """A TOML file as the table that it is to be. UserError, with the file, if it is none."""
    values = parse_toml(read_text(path, limit=MAX_FILE, valid=valid), path)
    try:
        return section_of(model, values)
    except UserError as error:
        raise error.at(file=path) from None


def json_schema(model: type[Section], kind: str) -> dict[str, Any]:
    """JSON Schema of a kind of files, for editors."""
    schema = model.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": f"mcsim {kind}"}


class CarriedError(ValueError):
    """Carries a `UserError` through pydantic, which only lets ValueError pass from a validator."""

    def __init__(self, error: UserError) -> None:
        """Wrap `error`."""
        super().__init__(error.what)
        self.error = error


def _whole_number(value: object) -> object:
    if type(value) is not int:  # 2.0 and false are equal to whole numbers
        raise CarriedError(UserError(f"{shorten(value)} is not a whole number"))
    return value


WholeNumber = BeforeValidator(_whole_number)  # where a Literal of numbers is asked for


def shorten(value: object) -> str:
    """A value of a file in at most 60 characters."""
    return textwrap.shorten(repr(value), 60)


def _what(detail: ErrorDetails) -> str:
    value = detail["input"]
    shown = shorten(value)
    match detail["type"]:
        case "missing":
            return "is missing"
        case "literal_error":
            allowed = [word.strip("' ") for word in str(detail["ctx"]["expected"]).replace(" or ", ",").split(",")]
            hint = did_you_mean(value, allowed) if isinstance(value, str) else ""
            return f"{shown} is not known{hint}"
        case "string_type" | "int_type" | "float_type" | "bool_type" | "list_type" | "dict_type" | "model_type":
            wanted = {"string": "a text in quotes", "int": "a whole number", "float": "a number"}.get(
                detail["type"].split("_")[0], "a table"
            )
            return f"{shown} is not {'a list' if detail['type'] == 'list_type' else wanted}"
        case _:
            text = detail["msg"]
            return f"{shown}: {text[0].lower()}{text[1:]}"


def _find(model: type[Section], path: list[str]) -> tuple[type[Section] | None, FieldInfo | None]:
    """The table that holds the last key of `path`, and the field of that key if there is one."""
    table: type[Section] | None = model
    field: FieldInfo | None = None
    for part in path:
        found = table.model_fields.get(part) if table else None
        if found is None:
            return table, field
        field = found
        if part is path[-1]:
            return table, field
        kinds = [field.annotation, *typing.get_args(field.annotation)]  # a table, or None
        table = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)), None)
    return table, field
