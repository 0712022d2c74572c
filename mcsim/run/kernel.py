"""The one place where the Python face calls the kernels."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from mcsim.errors import UserError
from mcsim.model.experiment import Task

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FAILURE_CLASSES = {1: "contiguous mapping", 2: "slab page", 3: "maple node", 4: "other page"}


@lru_cache(maxsize=4)
def load_workload(source: str) -> Any:
    """The compiled workload of that name or path; read once per process."""
    from mcsim import workload

    try:
        return workload.load(source)
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"the workload {source!r} cannot be loaded: {error}", key="workload") from None


def simulate(task: Task, source: str, first: int, count: int) -> NDArray[np.void]:
    """Outcomes of `count` boots of one task from boot `first` on, an array of `kernels.batch.OUTCOME`.

    `source` is what `load_workload` takes; its digest is `task.workload`.
    """
    import numpy as np

    from kernels import batch

    outcomes = np.zeros(count, dtype=batch.OUTCOME)
    batch.run_boots(
        load_workload(source).arrays,
        _record(batch.Machine, _machine(task)),
        task.policies.for_kernels(),
        _record(batch.Timing, _timing(task)),
        task.seed,
        first,
        outcomes,
    )
    return outcomes


def kernel_hash() -> str:
    """SHA-256 of the kernel sources."""
    from kernels.compile import source_hash

    return source_hash()


def _machine(task: Task) -> dict[str, int]:
    page_size = task.machine.page_size
    return {
        "ram_pages": task.ram // page_size,
        "ram_bytes": task.ram,
        "page_size": page_size,
        "pointer_bits": task.machine.pointer_bits,
    }


def _timing(task: Task) -> dict[str, float]:
    return {"gap_sigma": task.timing.gap_sigma, "boot_sigma": task.timing.boot_sigma}


def _record(kind: Any, values: dict[str, Any]) -> Any:
    """A kernel record with the fields it has; a field that is missing here is a bug, not a user's error."""
    return kind(**{name: values[name] for name in kind._fields})


def shipped_workloads() -> dict[str, str]:
    """Names of the shipped sets of recordings, with a word about each."""
    from mcsim.model.experiment import experiments_folder

    folder = experiments_folder() / "recordings"
    return {path.name: "" for path in sorted(folder.iterdir())} if folder.is_dir() else {}
