"""What boots: programs extracted from recordings or written by hand, mixed into one flat program."""

from mcsim.workload.mixture import Workload, load, shipped_workloads

__all__ = ["Workload", "load", "shipped_workloads"]
