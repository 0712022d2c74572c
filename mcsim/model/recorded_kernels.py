"""The kernels whose boots were recorded and counted, in words of mcsim's variants.

One kernel binary served all of them; a data word switched its behaviour. V: Linux 6.1.y, whose mm tree is in RCU mode;
M: the same out of RCU mode, as in 2022. V4 and V5 kept their maple nodes outside of the managed memory: they stand for
a kernel without the maple tree.

That binary's tree forbade a store to top up its preallocated nodes (`prealloc_topup`). V2, M2 and M3 are based on
releases of 2022, which allow it: it cannot matter to them, for every store of theirs is preallocated in full.
"""

from collections.abc import Mapping
from functools import cache

from mcsim.model.release import Variant
from mcsim.model.variants import resolve

RCU = {"maple_rcu": "on"}
DEFINITIONS: Mapping[str, Mapping[str, str]] = {
    "V0": {"based_on": "maple-naive", **RCU},
    "V1": {"based_on": "tail-free", **RCU},
    "V2": {"based_on": "prealloc-early", **RCU},
    "V3": {"based_on": "linux-6.1.y"},
    "V4": {"based_on": "pre-maple"},
    "V5": {"based_on": "pre-maple", "exact_tail": "tail"},
    "M0": {"based_on": "maple-naive"},
    "M1": {"based_on": "tail-free"},
    "M2": {"based_on": "prealloc-early"},
    "M3": {"based_on": "mail-both"},
}
OLD, NEW = "old", "new"  # what becomes of the leftovers of alloc_pages_exact(): head or tail of the free list
TAILS = (OLD, NEW)


@cache
def recorded_variants() -> Mapping[str, Variant]:
    """The variants by name, with their policies."""
    known = resolve(DEFINITIONS)
    return {name: known[name] for name in DEFINITIONS}


def tail_of(name: str) -> str:
    """OLD or NEW."""
    return NEW if recorded_variants()[name].policies.exact_tail == "tail" else OLD
