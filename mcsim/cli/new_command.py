"""`mcsim new` and `mcsim schema`."""

from __future__ import annotations

import json
from pathlib import Path

import click

SCHEMA_FILE = "mcsim.schema.json"


@click.command()
@click.argument("name")
def new(name: str) -> None:
    """Write NAME.toml, a commented experiment that runs at once, and the schema that editors check it by.

    \b
    Example:
      mcsim new my-board && mcsim run my-board.toml
    """
    from mcsim.errors import UserError
    from mcsim.model.experiment import parse
    from mcsim.model.template import TEMPLATE

    path = Path(name).with_suffix(".toml") if not name.endswith(".toml") else Path(name)
    if path.exists():
        raise UserError("exists", file=path, valid="another name")
    parse(TEMPLATE, path)  # also checks the name
    try:
        if not (path.parent / SCHEMA_FILE).exists():
            (path.parent / SCHEMA_FILE).write_text(_schema(), encoding="utf-8")
        path.write_text(TEMPLATE, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot be written: {error.strerror}", file=path, valid="a writable folder") from None
    click.echo(f"{path} (and {SCHEMA_FILE}, for editors); next: mcsim run {path}")


@click.command()
def schema() -> None:
    """Print the JSON Schema of experiment files.

    Editors that know TOML (taplo, "Even Better TOML") complete and check a file whose first line is
    `#:schema mcsim.schema.json`.

    \b
    Example:
      mcsim schema > mcsim.schema.json
    """
    click.echo(_schema(), nl=False)


def _schema() -> str:
    from mcsim.model.experiment import json_schema

    return json.dumps(json_schema(), indent=2) + "\n"
