"""The figures of the mail that started it, to be shown beside ours and never mixed with them.

Liam Howlett, linux-mm, 1 June 2022, "Re: [PATCH] mapletree-vs-khugepaged": "My configuration OOMs 12/13 times
without maple tree", "maybe 1/10 fail instead of 4/5 failing", "the failure rate remained at 1/10 with this
change". His boots ran another userland (buildroot-2022.02.1 under qemu 7.0) than the recordings do. 1/10 is
an estimate by word of mouth; its interval is what 10 boots would give.
"""

from typing import NamedTuple

from mcsim.model.experiment import Experiment
from mcsim.workload import shipped_workloads

SOURCE = "Liam Howlett, linux-mm, 1 June 2022"
USERLAND = "another userland (buildroot-2022.02.1, qemu 7.0): never pooled with ours"
BOOTING = (
    "64M",
    "128M",
)  # "With 128MB the kernel boots. With 64MB it also boots." (maple tree, one boot each)
RAM = "32M"  # qemu's default size for the board at the time


def belongs_beside(experiment: Experiment) -> bool:
    """Whether the experiment boots what was recorded on the mail's board, and not a workload of the user's own."""
    return experiment.workload in shipped_workloads()


class MailFigure(NamedTuple):
    """`failures` of `boots`, as the mail tells, for a kernel that `variant` stands for."""

    variant: str
    failures: int
    boots: int
    words: str


FIGURES = (
    MailFigure("pre-maple", 12, 13, "no maple tree"),
    MailFigure("maple-naive", 4, 5, "maple tree"),
    MailFigure("tail-free", 1, 10, "page_alloc fix"),
    MailFigure("mail-both", 1, 10, "both patches"),
)
