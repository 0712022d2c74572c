"""Kernel variants: named sets of policies, each policy one change of the kernel with its commit.

A user composes own variants in the experiment file::

    [variants.my-fix]
    based_on = "maple-naive"
    exact_tail = "tail"
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, ValidationError

from mcsim.errors import UserError, did_you_mean
from mcsim.kernels.linux import policy as kernel
from mcsim.model.section import Section, user_error

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,23}")
MAX_OWN = 200  # tables [variants.NAME] of one experiment
MAX_DESCRIPTION = 200  # letters
NAME_SYNTAX = "1 to 24 letters, digits, '.', '_' or '-', a letter or digit first"


class Policies(Section):
    """The choices that the kernels branch on: one field a change of the kernel."""

    vma_index: Literal["rbtree", "maple"] = Field(description="'rbtree' (before the maple tree) or 'maple'")
    exact_tail: Literal["head", "tail"] = Field(
        description="'head' (leftovers of alloc_pages_exact freed by free_page) or 'tail' (df48a5f7a3bb)"
    )
    mmap_prealloc: Literal["none-nowait", "mailed", "early", "late-ranged"] = Field(
        description="'none-nowait' (nodes taken inside the store), 'mailed' (the patch in the mail: nodes "
        "first), 'early' (as merged in 8220543df148: nodes before the pages) or 'late-ranged' (b5df09226450: "
        "after them)"
    )
    split: Literal["readd", "overwrite", "store-new"] = Field(
        description="'readd', 'overwrite' (8220543df148) or 'store-new' (6.6)"
    )
    exit_mmap: Literal["erase-each", "destroy-tree"] = Field(
        description="'erase-each' or 'destroy-tree' (8220543df148)"
    )
    error_paths: Literal["as-mailed", "leak-split", "leak-mmap", "fixed"] = Field(
        description="'as-mailed', 'leak-split' (6.1.0), 'leak-mmap' (6.1.0 to 6.2-rc4) or 'fixed' "
        "(7f31cced5724, 80be727ec872)"
    )
    maple_rcu: Literal["off", "on"] = Field(description="'off' (2022 and 6.1.0) or 'on' (6.1.y since April 2023)")
    trim_pages: int = Field(
        ge=0,
        le=1 << 20,
        description="a whole number, vm.nr_trim_pages: 0 never trims, N trims N or more pages",
    )

    def for_kernels(self) -> kernel.Policy:
        """The same as the int64 record that the kernels take."""
        values = self.model_dump()
        return kernel.Policy(**{name: _CODES.get(name, {}).get(value, value) for name, value in values.items()})


_CODES: Mapping[str, Mapping[str, int]] = {
    "vma_index": {"rbtree": kernel.VMA_INDEX_RBTREE, "maple": kernel.VMA_INDEX_MAPLE},
    "exact_tail": {"head": kernel.EXACT_TAIL_HEAD, "tail": kernel.EXACT_TAIL_TAIL},
    "mmap_prealloc": {
        "none-nowait": kernel.MMAP_PREALLOC_NOWAIT,
        "mailed": kernel.MMAP_PREALLOC_MAILED,
        "early": kernel.MMAP_PREALLOC_EARLY,
        "late-ranged": kernel.MMAP_PREALLOC_LATE_RANGED,
    },
    "split": {
        "readd": kernel.SPLIT_READD,
        "overwrite": kernel.SPLIT_OVERWRITE,
        "store-new": kernel.SPLIT_STORE_NEW,
    },
    "exit_mmap": {
        "erase-each": kernel.EXIT_MMAP_ERASE_EACH,
        "destroy-tree": kernel.EXIT_MMAP_DESTROY_TREE,
    },
    "error_paths": {
        "as-mailed": kernel.ERROR_PATHS_AS_MAILED,
        "leak-split": kernel.ERROR_PATHS_LEAK_SPLIT,
        "leak-mmap": kernel.ERROR_PATHS_LEAK_MMAP,
        "fixed": kernel.ERROR_PATHS_FIXED,
    },
    "maple_rcu": {"off": kernel.MAPLE_RCU_OFF, "on": kernel.MAPLE_RCU_ON},
}


@dataclass(frozen=True)
class Variant:
    """A named set of policies; `commits` are the kernel changes it contains."""

    name: str
    description: str
    policies: Policies
    commits: tuple[str, ...] = ()


def tables_schema() -> dict[str, Any]:
    """JSON Schema of the `[variants.NAME]` tables, for editors."""
    policies = Policies.model_json_schema()["properties"]
    own = {
        "based_on": {"type": "string", "description": "the name of a shipped variant or of another of these tables"},
        "description": {"type": "string", "description": "one line for the report"},
    }
    table = {"type": "object", "properties": own | policies, "required": ["based_on"], "additionalProperties": False}
    return {"type": "object", "additionalProperties": table}


def _shipped() -> dict[str, Variant]:
    naive = {
        "vma_index": "maple",
        "exact_tail": "head",
        "mmap_prealloc": "none-nowait",
        "split": "readd",
        "exit_mmap": "erase-each",
        "error_paths": "as-mailed",
        "maple_rcu": "off",
        "trim_pages": 1,
    }
    nommu = {"mmap_prealloc": "mailed", "split": "overwrite", "exit_mmap": "destroy-tree"}
    stable = {
        **nommu,
        "exact_tail": "tail",
        "mmap_prealloc": "early",
        "error_paths": "fixed",
        "maple_rcu": "on",
    }
    rows: list[tuple[str, str, dict[str, Any], tuple[str, ...]]] = [
        ("pre-maple", "before the maple tree: linked list and rbtree, no node is ever allocated",
         {"vma_index": "rbtree"}, ()),
        ("maple-naive", "the maple tree series of May 2022, nodes taken GFP_NOWAIT inside the store", {}, ()),
        ("tail-free", "maple-naive with the leftovers of alloc_pages_exact freed to the tail",
         {"exact_tail": "tail"}, ("df48a5f7a3bb",)),
        ("prealloc-early", "maple-naive with the nommu patch of the mail (1 June 2022): nodes first",
         nommu, ("8220543df148 as mailed",)),
        ("mail-both", "both patches of the mail", {**nommu, "exact_tail": "tail"},
         ("df48a5f7a3bb", "8220543df148 as mailed")),
        ("linux-6.1.y", "both as merged, error paths fixed, tree in RCU mode (since April 2023)", stable,
         ("df48a5f7a3bb", "8220543df148", "7f31cced5724", "80be727ec872")),
        ("linux-6.6", "as 6.1.y, but nodes asked after the pages and sized for the range",
         {**stable, "mmap_prealloc": "late-ranged", "split": "store-new"}, ("df48a5f7a3bb", "b5df09226450")),
    ]  # fmt: skip
    return {
        name: Variant(name, description, Policies(**{**naive, **changes}), commits)
        for name, description, changes, commits in rows
    }


SHIPPED: Mapping[str, Variant] = _shipped()


def resolve(own: Mapping[str, Mapping[str, Any]]) -> dict[str, Variant]:
    """All variants that an experiment may name: the shipped ones and its own `[variants.NAME]` tables."""
    known = dict(SHIPPED)
    if len(own) > MAX_OWN:
        raise UserError(f"{len(own)} tables are too many", key="variants", valid=f"at most {MAX_OWN} own variants")
    for name in own:
        if name in SHIPPED:
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
    names = [*SHIPPED, *(each for each in own if each != name)]
    base_name = table.pop("based_on", None)
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
