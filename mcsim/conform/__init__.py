"""Conformity: our allocators against vectors that were made by running the real kernel code."""

from mcsim.conform.buddy import check_buddy_file, check_buddy_line
from mcsim.conform.maple import check_maple_file, check_maple_line
from mcsim.conform.report import Conformity, Mismatch

__all__ = [
    "Conformity",
    "Mismatch",
    "check_buddy_file",
    "check_buddy_line",
    "check_maple_file",
    "check_maple_line",
]
