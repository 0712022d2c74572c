"""Keys of an experiment file that are replaced on the command line: `--set timing.gap_sigma=0.2`."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mcsim.errors import UserError
from mcsim.files import parse_toml, printable

SETTING_SYNTAX = "KEY=VALUE, a dotted key of the experiment file and a TOML value, as in timing.gap_sigma=0.2"


@dataclass(frozen=True)
class Setting:
    """One key to replace. `option` is what the user wrote, for messages; `key` and `value` are TOML.

    A value that is no TOML is a text, so that a shell needs no quotes in quotes: `experiment.ram=32M`.
    """

    option: str
    key: str
    value: str

    @classmethod
    def of(cls, text: str) -> "Setting":
        """The setting of `--set TEXT`."""
        key, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"{text!r} has no '='", key="--set", valid=SETTING_SYNTAX)
        return cls(f"--set {text}", key.strip(), value.strip())

    @classmethod
    def of_option(cls, option: str, value: str) -> "Setting":
        """The setting of an option of its own, `--half-width X`, which stands for a key of the table `stop`."""
        key = option.removeprefix("--").replace("-", "_")
        return cls(f"{option} {value}", f"stop.{key}", value)

    @classmethod
    def of_value(cls, key: str, value: object) -> "Setting":
        """The setting of a key to a plain Python value (text, number, bool, list of these)."""
        try:
            text = json.dumps(value, ensure_ascii=False)
        except (TypeError, ValueError, RecursionError):
            what = f"a {type(value).__name__} is no value of an experiment"
            raise UserError(what, key=str(key), valid="a text, a number, True, False, or a list of these") from None
        return cls(f"{key} = {value!r}", str(key), text)

    @property
    def note(self) -> str:
        """What it was, as one line of comment that TOML has room for."""
        return "# changed by " + printable(self.option).replace("\n", "\\n")

    @cached_property
    def path(self) -> tuple[str, ...]:
        """The parts of the key."""
        try:
            table: Any = parse_toml(f"{self.key} = 0", self.option)
        except UserError:
            table = {}
        path = []
        while isinstance(table, dict) and len(table) == 1:
            ((name, table),) = table.items()
            path.append(name)
        if table != 0 or "\n" in self.key:
            raise UserError(f"{self.key!r} is not a key", key=self.option, valid=SETTING_SYNTAX)
        return tuple(path)

    def parsed(self) -> Any:
        """The value; a text if it is no TOML. UserError if it is more than a value, or one that no file may have."""
        text = f"value = {self.value}"
        try:
            tomllib.loads(text)
        except tomllib.TOMLDecodeError:
            return self.value
        except (ValueError, RecursionError):
            pass  # `parse_toml` says what it is
        values = parse_toml(text, self.option)
        if values.keys() != {"value"}:
            raise UserError("is more than one value", key=self.option, valid=SETTING_SYNTAX)
        return values["value"]

    def touches(self, key: str) -> bool:
        """Whether an error at this dotted key may be about this setting: the key lies above it, below it, or is it."""
        own, other = f"{'.'.join(self.path)}.", f"{key}."
        return own.startswith(other) or other.startswith(own)


def apply(setting: Setting, values: dict[str, Any]) -> None:
    """Replace the key in the plain values of an experiment file."""
    *tables, last = setting.path
    table = values
    for name in tables:
        inner = table.setdefault(name, {})
        if not isinstance(inner, Mapping):
            raise UserError(f"{name!r} is not a table", key=setting.option, valid=SETTING_SYNTAX)
        table = inner  # type: ignore[assignment]
    table[last] = setting.parsed()
