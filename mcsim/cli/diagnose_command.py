"""`mcsim diagnose`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mcsim.errors import UserError

if TYPE_CHECKING:
    from mcsim.logs.values import Log

STDIN = "-"


@click.command(
    short_help="Why a kernel refused memory: what its log says",
    epilog="Exit code: 0 if reports or boot lines were read, 2 if a file has none. The log is only read: no model.",
)
@click.argument("logs", nargs=-1, metavar="[FILE]...")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of words for people (schema 1: docs/diagnose.md).")
@click.option("--release", metavar="R", help="The kernel, as 3.19, where the log does not say: it decides the rule.")
@click.option("--fit", metavar="SIZE", help="How many more programs of this size, as 218K, fit in what is free.")
@click.option("--page-size", metavar="SIZE", help="As 8K, where the log does not say.")
@click.option("--max-order", type=int, metavar="N", help="CONFIG_ARCH_FORCE_MAX_ORDER, where the log has no free list.")
@click.option("--unread", is_flag=True, help="List the lines that nobody here knows (the first 1000).")
def diagnose(
    logs: tuple[str, ...],
    as_json: bool,
    release: str | None,
    fit: str | None,
    page_size: str | None,
    max_order: int | None,
    unread: bool,
) -> None:
    """Megabytes are free, and yet a request was refused: why? Any text with kernel reports, of any board and release.

    Reads FILEs, or what comes through a pipe: page allocation failures, nommu's "Allocation of length", the OOM
    killer's reports, sysrq-m, boot lines, /proc/buddyinfo, pagetypeinfo and zoneinfo; quoted, wrapped, with any prefix;
    plain, gzip or xz. Two files and more are shown beside each other as well.

    \b
    Examples:
      dmesg | mcsim diagnose
      mcsim diagnose console.txt --fit 218K
      mcsim diagnose before.txt after.txt
      mcsim diagnose console.txt --json
    """
    from mcsim.logs.diagnosis import diagnose_all, given
    from mcsim.logs.document import document, of_file
    from mcsim.logs.trend import trend
    from mcsim.report.diagnosis import Told, page

    known = given(release, fit, page_size, max_order)
    files = []
    for name in logs or (STDIN,):
        log = _read(name, unread, asked=bool(logs))
        diagnoses = diagnose_all(log, known)
        files.append(Told(name, log, diagnoses, trend(diagnoses)))
    if as_json:
        found = [of_file(each.name, each.log, each.diagnoses, each.trend) for each in files]
        click.echo(json.dumps(document(found), indent=1))
    else:
        click.echo(page(files, lambda word: click.style(word, bold=True, fg="red"), unread), nl=False)


def _read(name: str, unread: bool, asked: bool) -> Log:
    from mcsim.logs.reader import LOOKED_FOR, read_file, read_stream

    if name != STDIN:
        return read_file(Path(name), unread)
    if not asked and sys.stdin.isatty():
        raise UserError("no file", valid=f"a file, or a pipe (dmesg | mcsim diagnose), with {LOOKED_FOR}")
    return read_stream(sys.stdin.buffer, "standard input", unread)
