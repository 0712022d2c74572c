"""`mcsim new`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

SCHEMA_FILE = "mcsim.schema.json"


@click.command(short_help="An experiment of your own, to be edited")
@click.argument("name", required=False)
@click.option(
    "--schema",
    is_flag=False,
    flag_value="experiment",
    type=click.Choice(["experiment", "board", "release"]),
    help="Only print the JSON Schema of such files (experiment, if none is named).",
)
def new(name: str | None, schema: str | None) -> None:
    """Write NAME.toml, a commented experiment that runs at once, and the schema that editors check it by.

    Editors that know TOML (taplo, "Even Better TOML") complete and check a file whose first line is
    `#:schema mcsim.schema.json`, as that of NAME.toml is.

    \b
    Examples:
      mcsim new my-board && mcsim run my-board.toml
      mcsim new --schema > mcsim.schema.json
      mcsim new --schema board > board.schema.json
    """
    from mcsim.errors import UserError
    from mcsim.files import is_folder, write_new, written
    from mcsim.model.experiment import parse
    from mcsim.model.shipped import template

    if (schema is None) == (name is None):
        raise UserError("say what is new", key="NAME, --schema", valid="one of them")
    if name is None:
        click.echo(_schema(schema or "experiment"), nl=False)
        return
    path = Path(name if name.endswith(".toml") else f"{name}.toml")
    text = template()
    parse(text, path)  # also checks the name
    if not is_folder(path.parent):
        raise UserError("no such folder", file=path.parent, valid="a folder that exists")
    if os.path.lexists(path):
        raise UserError("exists", file=path, valid="another name")
    schema_file = path.parent / SCHEMA_FILE
    with written(path, valid="a writable folder"):
        write_new(path, text.encode())
    with written(schema_file, valid="a writable folder"):
        if not os.path.lexists(schema_file):
            write_new(schema_file, _schema("experiment").encode())
    click.echo(f"{path} (and {SCHEMA_FILE}, for editors); next: mcsim run {path}")


def _schema(kind: str) -> str:
    from mcsim.model.board import Board
    from mcsim.model.experiment import ExperimentFile
    from mcsim.model.release import Release
    from mcsim.model.section import Section, json_schema

    models: dict[str, type[Section]] = {"experiment": ExperimentFile, "board": Board, "release": Release}
    return json.dumps(json_schema(models[kind], kind), indent=2) + "\n"
