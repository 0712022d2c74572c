"""What `mcsim diagnose` prints for people: at most 72 columns, every text of a log made printable."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mcsim.files import one_line
from mcsim.logs.diagnosis import Diagnosis
from mcsim.logs.trend import Slope, Trend, row
from mcsim.logs.values import MEMORY, PROC, Boot, Log, Report
from mcsim.report.text import WIDTH

Style = Callable[[str], str]  # of the verdict, on a terminal
MOST_ROWS = 40  # of the table over time
MOST_BESIDE = 4  # files in one table
FEW = 8  # ranges that are shown

MEANING = {
    "fragmented": "enough is free, but no block is large enough",
    "exhausted": "free memory less the request is below the mark",
    "too-big": "it fails on every boot",
    "watermark": "a block is there, and a mark or a reserve refuses it",
    "undecided": "the log does not say enough",
}


@dataclass(frozen=True)
class Told:
    """One file, and what was found in it."""

    name: str
    log: Log
    diagnoses: Sequence[Diagnosis]
    trend: Trend | None


def page(files: Sequence[Told], style: Style = str, unread: bool = False) -> str:
    """All files; two of them and more also beside each other."""
    parts = [_file(told, style, unread) for told in files]
    if len(files) > 1:
        parts += [beside(files[start : start + MOST_BESIDE]) for start in range(0, len(files), MOST_BESIDE)]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _file(told: Told, style: Style, unread: bool) -> list[str]:
    log = told.log
    lines = _wrapped(
        f"{one_line(told.name)}: {_count(log.seen, 'report')}, {_count(len(log.boots), 'boot')} in {log.lines:,} lines"
    )
    lines += [line for note, times in log.notes.items() for line in _wrapped(f"  {note} ({times} times)")]
    for boot in log.boots[:FEW]:
        lines += ["", *_boot(boot)]
    shown = told.diagnoses if len(told.diagnoses) < 3 else told.diagnoses[:1]
    for diagnosis in shown:
        lines += ["", *_report(diagnosis, style)]
    if told.trend is not None:
        lines += ["", *_trend(told.trend, log)]
    if unread:
        lines += ["", *_unread(log)]
    return lines


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _wrapped(text: str, indent: str = "") -> list[str]:
    """One text, wrapped; what goes on is indented by two blanks more."""
    return textwrap.wrap(one_line(text), WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  ") or [""]


# One report


def _report(diagnosis: Diagnosis, style: Style) -> list[str]:
    report = diagnosis.report
    lines = _wrapped(_head(report))
    lines += _wrapped(_asked(diagnosis), "  ")
    if diagnosis.verdict is not None:
        first, *rest = _wrapped(f"{diagnosis.verdict}: {MEANING[diagnosis.verdict]}", "  ")
        lines += [first.replace(diagnosis.verdict, style(diagnosis.verdict.upper()), 1), *rest]
    for title, texts in (("Why", diagnosis.why), ("Beside it", diagnosis.beside), ("What would help", diagnosis.helps)):
        if texts:
            lines += ["", f"  {title}"]
            lines += [line for text in texts for line in _wrapped(text, "    ")]
    if diagnosis.blocks:
        lines += ["", *_orders(diagnosis)]
    return lines


def _head(report: Report) -> str:
    when = "" if report.time is None else f", {report.time:.6g} s"
    return f"line {report.line}{when}: {report.kind}" + (f", Linux {report.release}" if report.release else "")


def _asked(diagnosis: Diagnosis) -> str:
    report = diagnosis.report
    if report.kind in (MEMORY, PROC) or diagnosis.order is None:
        return f"nothing was asked; {_free(diagnosis)}"
    who = report.process or "a process"
    who += "" if report.pid is None else f" ({report.pid})"
    if report.bytes is None:
        what = f"a block of order {diagnosis.order}"
    else:
        what = f"{report.bytes:,} bytes in one piece"
    return f"{who} asked for {what}; {_free(diagnosis)}"


def _free(diagnosis: Diagnosis) -> str:
    parts = [
        f"{diagnosis.free_kb:,} kB were free" if diagnosis.free_kb is not None else "how much was free is missing",
        f"largest block {diagnosis.largest_kb:,} kB" if diagnosis.largest_kb is not None else "",
        f"min {diagnosis.min_kb:,} kB" if diagnosis.min_kb is not None else "",
    ]
    return ", ".join(part for part in parts if part)


def _orders(diagnosis: Diagnosis) -> list[str]:
    kb = diagnosis.page_size // 1024
    lines = ["  order      block       free   unusable for it"]
    for order, (count, share) in enumerate(zip(diagnosis.blocks or (), diagnosis.unusable, strict=True)):
        mark = "  <- asked" if order == diagnosis.order else ""
        lines.append(f"  {order:>5} {kb << order:>7} kB {count:>10} {100 * share:>10.1f} %{mark}")
    return lines


# Several reports


def _trend(found: Trend, log: Log) -> list[str]:
    rows = found.rows
    step = -(-len(rows) // MOST_ROWS)
    title = "All reports" if step * log.stride == 1 else f"Every {step * log.stride}th report"
    lines = [
        f"{title} (kB; blocks: free ones of the order asked, or larger)",
        "  line      time order    free largest blocks   slab  cache  verdict",
    ]
    for each in rows[::step]:
        time = "-" if each.time is None else f"{each.time:.7g}"
        cells = (each.order, each.free, each.largest, each.usable, each.slab, each.cache)
        order, free, largest, blocks, slab, cache = ("-" if cell is None else str(cell) for cell in cells)
        figures = f"{free:>7} {largest:>7} {blocks:>6} {slab:>6} {cache:>6}"
        lines.append(f"{each.line:>6} {time:>9} {order:>5} {figures}  {each.verdict or '-'}"[:WIDTH])
    for name, each_slope in found.slopes.items():
        lines += _wrapped(f"{name}: {_slope(each_slope)} kB per {found.per} (95 % of a straight line)", "  ")
    return [*lines, *_wrapped(f"{found.verdict}: {found.words}.", "  ")]


def _slope(found: Slope) -> str:
    return f"{found.value:+.4g} ({found.low:.4g} .. {found.high:.4g})"


def beside(files: Sequence[Told]) -> list[str]:
    """The first refusal of each file (or its first report), a column for each."""
    chosen = [
        next((each for each in told.diagnoses if each.verdict), None) or next(iter(told.diagnoses), None)
        for told in files
    ]
    width = max((WIDTH - 12) // len(files), 10)
    lines = ["Beside each other: the first refusal of each"]

    def line(title: str, cells: Sequence[object]) -> None:
        shown = ("-" if cell is None else one_line(str(cell)) for cell in cells)
        lines.append((f"{title:<11} " + "".join(f"{cell[-width + 1 :]:>{width}}" for cell in shown)).rstrip())

    line("", [told.name for told in files])
    line("reports", [told.log.seen for told in files])
    rows = [None if each is None else row(each) for each in chosen]
    for title in ("verdict", "order", "free", "largest", "usable", "slab", "cache"):
        line(
            "blocks" if title == "usable" else title, [None if each is None else getattr(each, title) for each in rows]
        )
    line("min", [None if each is None else each.min_kb for each in chosen])
    boots = [told.log.boots[0] if told.log.boots else None for told in files]
    line("available", [None if boot is None else boot.available_kb for boot in boots])
    line("managed", [None if boot is None else boot.managed_kb for boot in boots])
    return lines


# Boot lines


def _boot(boot: Boot) -> list[str]:
    lines = _wrapped(f"line {boot.line}: boot" + (f" of Linux {boot.release}" if boot.release else ""))
    facts: list[tuple[str, str | None]] = [
        ("machine", boot.machine),
        ("RAM", _kb(boot.ram_kb)),
        ("available", _kb(boot.available_kb)),
        ("managed", _managed(boot)),
        ("page size", None if boot.page_size is None else f"{boot.page_size} bytes"),
        ("grouping", boot.grouping),
        ("mem_map", None if boot.memmap_pages is None else _count(boot.memmap_pages, "page")),
        ("pages", None if boot.total_pages is None else f"{boot.total_pages:,} in all zones"),
        ("SLUB", None if boot.slub_orders is None else f"orders {boot.slub_orders}"),
        ("CPUs", None if boot.cpus is None else str(boot.cpus)),
    ]
    facts += [(f"zone {name}", _range(start, end)) for name, start, end in boot.zones[:FEW]]
    facts += [(f"node {node}", _range(start, end)) for node, start, end in boot.ranges[:FEW]]
    facts += [("reserved", f"{_range(each.start, each.end)} {each.caller}") for each in boot.reserved[:FEW]]
    left = len(boot.reserved) - FEW
    facts += [("", f"and {_count(left, 'more range')}")] if left > 0 else []
    facts += [("cannot be", problem) for problem in boot.problems]
    for title, fact in facts:
        if fact is not None:
            lines += textwrap.wrap(
                f"{title:<12} {one_line(fact)}", WIDTH, initial_indent="  ", subsequent_indent=" " * 15
            )
    return lines


def _kb(size: int | None) -> str | None:
    return None if size is None else f"{size:,} kB"


def _managed(boot: Boot) -> str | None:
    if boot.managed_kb is None:
        return None
    source = "init memory as it was freed" if boot.freed_kb is not None else "the init section, if it is freed"
    return f"{boot.managed_kb:,} kB: available and {source}"


def _range(start: int, end: int) -> str:
    return f"{start:#x}..{end:#x} ({(end + 1 - start) / 1024:,.10g} kB)"


def _unread(log: Log) -> list[str]:
    lines = [f"Lines that nobody here knows: {len(log.unread)}{' and more' if len(log.unread) >= 1000 else ''}"]
    for number, text in log.unread:
        lines.append(f"{number:>8} {one_line(text.rstrip())}"[:WIDTH])
    return lines
