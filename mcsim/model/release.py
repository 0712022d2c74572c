"""Releases: what a kernel does, as a file: another release, and what has changed since, each with its commit.

A release is a variant that an experiment can name; so are the patches that were mailed in 2022.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from pydantic import Field, model_validator

from mcsim.errors import UserError
from mcsim.model.board import Board
from mcsim.model.section import CarriedError, Section, read_section, section_of
from mcsim.model.shipped import shipped_files


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
    prealloc_topup: Literal["allowed", "forbidden"] = Field(
        description="whether a store on preallocated nodes may ask for more: 'allowed' (2022) or 'forbidden' (6.1)"
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
    trim_pages: int | None = Field(
        default=None,
        ge=0,
        le=1 << 20,
        description="a whole number, vm.nr_trim_pages: 0 never trims, N trims N or more pages; without it, the board's",
    )

    def on(self, board: Board) -> "Policies":
        """The same with the board's own value where none is said."""
        if self.trim_pages is not None:
            return self
        return self.model_copy(update={"trim_pages": board.machine.nr_trim_pages})


@dataclass(frozen=True)
class Variant:
    """A named set of policies; `commits` are the kernel changes it contains."""

    name: str
    description: str
    policies: Policies
    commits: tuple[str, ...] = ()


class Change(Section):
    """One key of `[changes]`."""

    value: Any = Field(description="a value of this policy")
    commit: str = Field(default="", description="the commit, or how else the change is known")
    since: str = Field(default="", description="the release that it came with, where no commit is at hand")

    @model_validator(mode="after")
    def _says_where_from(self) -> "Change":
        if bool(self.commit) == bool(self.since):
            raise CarriedError(UserError("needs its source", valid="commit = ..., or since = ..."))
        return self


class Release(Section):
    """A release file."""

    description: str = Field(max_length=200, description="one line")
    based_on: str | None = Field(
        default=None, description="the name of another release; without it, all policies are said here"
    )
    changes: dict[str, Change] = Field(description="a table: policy = { value = ..., commit = ... }")


def full_name(name: str, known: Iterable[str]) -> str:
    """`6.1.y` stands for `linux-6.1.y`; what is known, or not known either way, stays as it is."""
    known = set(known)
    return f"linux-{name}" if name not in known and f"linux-{name}" in known else name


@cache
def shipped_variants() -> Mapping[str, Variant]:
    """The shipped releases by name, each behind the one that it is based on."""
    releases = {name: read_section(Release, path) for name, path in shipped_files("releases").items()}
    known: dict[str, Variant] = {}
    while len(known) < len(releases):
        before = len(known)
        for name, release in releases.items():
            base = None if release.based_on is None else full_name(release.based_on, releases)
            if name not in known and (base is None or base in known):
                known[name] = _variant(name, release, known[base] if base else None)
        if len(known) == before:
            left = ", ".join(sorted(releases.keys() - known))
            raise UserError(f"these are based on each other, or on none: {left}", key="based_on")
    return known


def _variant(name: str, release: Release, base: Variant | None) -> Variant:
    policies = base.policies.model_dump() if base else {}
    commits = [*base.commits] if base else []
    for key, change in release.changes.items():
        policies[key] = change.value
        if base:
            commits += [each for each in change.commit.split(", ") if each and each not in commits]
    return Variant(name, release.description, section_of(Policies, policies, "changes"), tuple(commits))
