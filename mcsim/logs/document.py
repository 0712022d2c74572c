"""What `mcsim diagnose --json` prints: schema 1. A value that the log does not say is null."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mcsim.logs.diagnosis import Diagnosis
from mcsim.logs.trend import Trend
from mcsim.logs.values import Boot, Log

VERSION = 1
VERDICTS = ("fragmented", "exhausted", "too-big", "watermark", "undecided")


def document(files: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """All files."""
    return {"schema": VERSION, "files": list(files)}


def of_file(name: str | None, log: Log, diagnoses: Sequence[Diagnosis], found: Trend | None) -> dict[str, Any]:
    """One file. `reports_seen` is larger than the number of reports where a log has too many to keep."""
    boot = log.boots[0] if log.boots else None
    return {
        "file": name,
        "lines": log.lines,
        "lines_read": log.read,
        "reports_seen": log.seen,
        "reports": [of_report(each) for each in diagnoses],
        "boot": None if boot is None else of_boot(boot),
        "boots": len(log.boots),
        "trend": None if found is None else of_trend(found),
        "notes": dict(log.notes),
    }


def of_report(diagnosis: Diagnosis) -> dict[str, Any]:
    """One report."""
    report = diagnosis.report
    return {
        "line": report.line,
        "kind": report.kind,
        "time": report.time,
        "release": report.release,
        "process": report.process,
        "pid": report.pid,
        "bytes": report.bytes,
        "pages": diagnosis.pages,
        "order": diagnosis.order,
        "page_size": diagnosis.page_size,
        "max_order": diagnosis.orders,
        "free_kb": diagnosis.free_kb,
        "largest_free_kb": diagnosis.largest_kb,
        "min_kb": diagnosis.min_kb,
        "verdict": diagnosis.verdict,
        "consistent": diagnosis.consistent,
        "why": list(diagnosis.why),
        "beside": list(diagnosis.beside),
        "helps": list(diagnosis.helps),
        "free_blocks": None if diagnosis.blocks is None else list(diagnosis.blocks),
        "unusable_index": None if diagnosis.blocks is None else [round(each, 4) for each in diagnosis.unusable],
        "zones": [_of_zone(zone) for zone in report.zones],
    }


def _of_zone(zone: Any) -> dict[str, Any]:
    return {
        "node": zone.node,
        "zone": zone.name,
        "kb": dict(zone.kb),
        "pages": dict(zone.in_pages),
        "lowmem_reserve": list(zone.reserve),
        "free_blocks": None if zone.blocks is None else list(zone.blocks),
        "types": {name: list(row) for name, row in zone.types.items()},
    }


def of_boot(boot: Boot) -> dict[str, Any]:
    """Boot lines. Addresses are those of the first and the last byte."""
    return {
        "line": boot.line,
        "release": boot.release,
        "machine": boot.machine,
        "ram_kb": boot.ram_kb,
        "available_kb": boot.available_kb,
        "managed_kb": boot.managed_kb,
        "init_kb": boot.freed_kb if boot.freed_kb is not None else boot.parts_kb.get("init"),
        "reserved_kb": boot.parts_kb.get("reserved"),
        "cma_kb": boot.parts_kb.get("cma-reserved"),
        "page_size": boot.page_size,
        "grouping": boot.grouping,
        "total_pages": boot.total_pages,
        "memmap_pages": boot.memmap_pages,
        "zones": [{"zone": name, "start": start, "end": end} for name, start, end in boot.zones],
        "ranges": [{"node": node, "start": start, "end": end} for node, start, end in boot.ranges],
        "slub_orders": boot.slub_orders,
        "cpus": boot.cpus,
        "memblock_reserved": [
            {"start": each.start, "end": each.end, "bytes": each.end + 1 - each.start, "caller": each.caller}
            for each in boot.reserved
        ],
        "problems": list(boot.problems),
    }


def of_trend(found: Trend) -> dict[str, Any]:
    """Reports over time; slopes in kB per second or per report, with 95 % intervals."""
    return {
        "verdict": found.verdict,
        "per": found.per,
        "slopes": {name: [each.value, each.low, each.high] for name, each in found.slopes.items()},
    }


def _nullable(kind: str) -> dict[str, Any]:
    return {"type": [kind, "null"]}


def _texts() -> dict[str, Any]:
    return {"type": "array", "items": {"type": "string"}}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _whole(*names: str) -> dict[str, Any]:
    return {name: _nullable("integer") for name in names}


_NUMBERS = {"type": ["array", "null"], "items": {"type": "number"}}
_TABLE = {"type": "object", "additionalProperties": {"type": "integer"}}

ZONE_SCHEMA = _object(
    {
        "node": _nullable("integer"),
        "zone": {"type": "string"},
        "kb": _TABLE,
        "pages": _TABLE,
        "lowmem_reserve": _NUMBERS,
        "free_blocks": _NUMBERS,
        "types": {"type": "object", "additionalProperties": _NUMBERS},
    }
)
REPORT_SCHEMA = _object(
    {
        "line": {"type": "integer", "minimum": 1},
        "kind": {"type": "string"},
        "time": _nullable("number"),
        "release": _nullable("string"),
        "process": _nullable("string"),
        **_whole("pid", "bytes", "pages", "order"),
        "page_size": {"type": "integer"},
        **_whole("max_order", "free_kb", "largest_free_kb", "min_kb"),
        "verdict": {"enum": [*VERDICTS, None]},
        "consistent": _nullable("boolean"),
        "why": _texts(),
        "beside": _texts(),
        "helps": _texts(),
        "free_blocks": _NUMBERS,
        "unusable_index": _NUMBERS,
        "zones": {"type": "array", "items": ZONE_SCHEMA},
    }
)
_ADDRESSES = {"start": {"type": "integer"}, "end": {"type": "integer"}}
BOOT_SCHEMA = _object(
    {
        "line": {"type": "integer"},
        "release": _nullable("string"),
        "machine": _nullable("string"),
        **_whole("ram_kb", "available_kb", "managed_kb", "init_kb", "reserved_kb", "cma_kb", "page_size"),
        "grouping": {"enum": ["on", "off", None]},
        **_whole("total_pages", "memmap_pages"),
        "zones": {"type": "array", "items": _object({"zone": {"type": "string"}, **_ADDRESSES})},
        "ranges": {"type": "array", "items": _object({"node": {"type": "integer"}, **_ADDRESSES})},
        "slub_orders": _nullable("string"),
        "cpus": _nullable("integer"),
        "memblock_reserved": {
            "type": "array",
            "items": _object({**_ADDRESSES, "bytes": {"type": "integer"}, "caller": {"type": "string"}}),
        },
        "problems": _texts(),
    }
)
TREND_SCHEMA = _object(
    {
        "verdict": {"enum": ["leak", "fragmentation", "undecided"]},
        "per": {"enum": ["second", "report"]},
        "slopes": {"type": "object", "additionalProperties": _NUMBERS},
    }
)
SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "mcsim diagnose --json",
    **_object(
        {
            "schema": {"const": VERSION},
            "files": {
                "type": "array",
                "items": _object(
                    {
                        "file": _nullable("string"),
                        **{name: {"type": "integer"} for name in ("lines", "lines_read", "reports_seen")},
                        "reports": {"type": "array", "items": REPORT_SCHEMA},
                        "boot": {"anyOf": [BOOT_SCHEMA, {"type": "null"}]},
                        "boots": {"type": "integer"},
                        "trend": {"anyOf": [TREND_SCHEMA, {"type": "null"}]},
                        "notes": _TABLE,
                    }
                ),
            },
        }
    ),
}
