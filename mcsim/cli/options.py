"""Options that several commands share, each declared once: wherever it stands, it means the same.

Decorators: `experiment`, `settings`; `cell` or `cells`, or of these only `variant` or `sizes`; `sample`, or of it only
`level`; `output`; `workers`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click
from click.core import ParameterSource

from mcsim.errors import UserError

if TYPE_CHECKING:
    from mcsim.model.experiment import Experiment

Command = TypeVar("Command", bound=Callable[..., object])


class OfExperiment(click.types.StringParamType):
    """A name out of the experiment that the command is given: where it is missing, those that there are are told."""

    def __init__(self, names: Callable[[Experiment], Sequence[str]]) -> None:
        """`names` says what an experiment has."""
        self._names = names

    def get_missing_message(self, param: click.Parameter, ctx: click.Context | None = None) -> str | None:
        """`valid: pre-maple, maple-naive`, or what is wrong with the experiment."""
        given = {} if ctx is None else ctx.params
        if given.get("experiment") is None:
            return None
        try:
            return f"valid: {', '.join(self._names(loaded(given['experiment'], given.get('changes') or ())))}"
        except UserError as error:
            return str(error)


def _variants(experiment: Experiment) -> list[str]:
    return [each.name for each in experiment.variants]


def _sizes(experiment: Experiment) -> list[str]:
    from mcsim.model.units import format_size

    return [format_size(size) for size in experiment.ram]


experiment = click.argument("experiment")
settings = click.option(
    "--set", "changes", multiple=True, metavar="KEY=VALUE", help="Replace a key of the experiment (repeatable)."
)
variant = click.option(
    "--variant", required=True, type=OfExperiment(_variants), metavar="V", help="The kernel variant."
)
_variants_only = click.option(
    "--variant", "variants", multiple=True, metavar="V", help="Only this variant (repeatable)."
)
_size = click.option("--ram", required=True, type=OfExperiment(_sizes), metavar="R", help="The RAM size, as 32M.")
sizes = click.option(
    "--ram", multiple=True, metavar="R", help="Only these RAM sizes, as 32M or '28M..64M step 1M' (repeatable)."
)
level = click.option(
    "--level", type=float, default=0.95, show_default=True, metavar="L", help="Confidence of intervals and verdicts."
)
_seed = click.option("--seed", type=int, metavar="S", help="Another seed than that of the experiment.")
workers = click.option("--workers", type=int, metavar="N", help="Workers [default: one per processor].")


def cell(command: Command) -> Command:
    """--variant and --ram, both needed: one cell of the experiment."""
    return variant(_size(command))


def cells(command: Command) -> Command:
    """--variant and --ram, repeatable: all cells of the experiment unless some are named."""
    return _variants_only(sizes(command))


def sample(boots: str, default: int | None = None) -> Callable[[Command], Command]:
    """--boots, --seed and --level; `boots` says of what --boots is the number."""

    def add(command: Command) -> Command:
        number = click.option(
            "--boots", type=int, default=default, show_default=default is not None, metavar="N", help=boots
        )
        return number(_seed(level(command)))

    return add


def output(folder: str = "", forms: Sequence[str] = (), text: str = "") -> Callable[[Command], Command]:
    """--out, a folder, if `folder` says what goes there; --format, what is printed, if there are `forms`."""

    def add(command: Command) -> Command:
        if forms:
            choice = click.Choice(list(forms))
            words = text or "What is printed; csv has all columns."
            command = click.option("--format", "form", type=choice, default=forms[0], show_default=True, help=words)(
                command
            )
        if folder:
            command = click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help=folder)(command)
        return command

    return add


def loaded(experiment: str, changes: Sequence[str], seed: int | None = None) -> Experiment:
    """The experiment of that file or name, with --set and --seed applied. UserError if there is none."""
    from mcsim.model.experiment import load
    from mcsim.model.settings import Setting

    found = load(experiment, [Setting.of(text) for text in changes])
    return found if seed is None else found.with_seed(seed)


def refuse(context: click.Context, why: str, *names: str) -> None:
    """UserError if the user gave one of these parameters, which only go with what `why` names."""
    for parameter in context.command.params:
        name = parameter.name or ""
        if name in names and context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise UserError("does not go with this", key=parameter.opts[-1], valid=why)
