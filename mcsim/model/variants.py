"""Kernel variants: named sets of policies, each policy one change of the kernel with its commit.

A user composes own variants in the experiment file::

    [variants.my-fix]
    based_on = "maple-naive"
    exact_tail = "tail"
"""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from mcsim.errors import UserError, did_you_mean
from mcsim.model.release import Policies, Variant, full_name, shipped_variants
from mcsim.model.section import user_error

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,23}")
MAX_OWN = 200  # tables [variants.NAME] of one experiment
MAX_DESCRIPTION = 200  # letters
NAME_SYNTAX = "1 to 24 letters, digits, '.', '_' or '-', a letter or digit first"


def tables_schema() -> dict[str, Any]:
    """JSON Schema of the `[variants.NAME]` tables, for editors."""
    policies = Policies.model_json_schema()["properties"]
    own = {
        "based_on": {"type": "string", "description": "the name of a shipped variant or of another of these tables"},
        "description": {"type": "string", "description": "one line for the report"},
    }
    table = {"type": "object", "properties": own | policies, "required": ["based_on"], "additionalProperties": False}
    return {"type": "object", "additionalProperties": table}


def resolve(own: Mapping[str, Mapping[str, Any]]) -> dict[str, Variant]:
    """All variants that an experiment may name: the shipped ones and its own `[variants.NAME]` tables."""
    shipped = shipped_variants()
    known = dict(shipped)
    if len(own) > MAX_OWN:
        raise UserError(f"{len(own)} tables are too many", key="variants", valid=f"at most {MAX_OWN} own variants")
    for name in own:
        if name in shipped:
            raise UserError(
                "a shipped variant cannot be redefined",
                key=f"variants.{name}",
                valid="a name that is not shipped",
            )
        if not NAME.fullmatch(name):
            raise UserError("is not a name of a variant", key=f"variants.{name}", valid=NAME_SYNTAX)
    for name in own:
        _resolve_one(name, own, known, ())
    return known


def _resolve_one(
    name: str, own: Mapping[str, Mapping[str, Any]], known: dict[str, Variant], parents: tuple[str, ...]
) -> Variant:
    if name in known:
        return known[name]
    key = f"variants.{name}"
    table = dict(own[name])
    names = [*shipped_variants(), *(each for each in own if each != name)]
    base_name = table.pop("based_on", None)
    if isinstance(base_name, str):
        base_name = full_name(base_name, names)
    if base_name is None:
        raise UserError("is missing", key=f"{key}.based_on", valid=", ".join(names))
    if not isinstance(base_name, str) or base_name not in names:
        hint = did_you_mean(str(base_name), names)
        raise UserError(f"{base_name!r} is not a variant{hint}", key=f"{key}.based_on", valid=", ".join(names))
    if base_name in (*parents, name):
        raise UserError("variants are based on each other in a circle", key=f"{key}.based_on")
    base = _resolve_one(base_name, own, known, (*parents, name))
    description = table.pop("description", f"{base_name} with own changes")
    if not is_description(description):
        raise UserError(
            f"{description!r} is not one line of text",
            key=f"{key}.description",
            valid=f"a text in quotes, without control characters, of at most {MAX_DESCRIPTION}",
        )
    unknown = [each for each in table if each not in Policies.model_fields]
    if unknown:
        keys = ["based_on", "description", *Policies.model_fields]
        hint = did_you_mean(unknown[0], keys)
        raise UserError(f"unknown key{hint}", key=f"{key}.{unknown[0]}", valid=", ".join(keys))
    try:
        policies = Policies(**{**base.policies.model_dump(), **table})
    except ValidationError as error:
        raise user_error(error, Policies, ("variants", name)) from None
    check(policies, key)
    known[name] = Variant(name, description, policies)
    return known[name]


def is_description(text: object) -> bool:
    """Whether a report has room for it: one line, without control characters."""
    return isinstance(text, str) and text.isprintable() and len(text) <= MAX_DESCRIPTION


def check(policies: Policies, key: str) -> None:
    """Refuse policies that contradict each other."""
    if policies.vma_index == "rbtree" and (policies.mmap_prealloc != "none-nowait" or policies.maple_rcu == "on"):
        raise UserError(
            "vma_index = 'rbtree' has no tree nodes to preallocate or to free by RCU",
            key=key,
            valid="mmap_prealloc = 'none-nowait' and maple_rcu = 'off' with vma_index = 'rbtree'",
        )
