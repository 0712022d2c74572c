"""python -m tests.faults.inputs: makes tests/data/faults again. tests/test_faults.py has the answers.

Each file is the smallest of its kind that once got a wrong answer, a traceback, a hang or a crash.
"""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from mcsim.kernels.boot import program as flat
from tests.fuzz.mutate import npy
from tests.fuzz.targets.workload import SMALL
from tests.machines import BOARD

FOLDER = Path(__file__).parents[1] / "data" / "faults"
RECORDING = Path(__file__).parents[1] / "data" / "recordings" / "N_V0_64MB_j0_a.npz"
HEAD = '[experiment]\nvariants = ["maple-naive"]\nram = "33M"\nboots = 2\n[workload]\nrecordings = "C"\n'
BY_HAND = (
    '[images.b]\ntext = "64K"\n[[process]]\nname = "init"\nsteps = [{ do = "exec", image = "b" }, { do = "login" }]\n'
)


def texts() -> dict[str, str]:
    """Experiments, workloads, tables."""
    return {
        "experiment-nested.toml": HEAD + f"x = {'[' * 19_000}{']' * 19_000}\n",
        "experiment-number-of-5000-digits.toml": HEAD.replace("boots = 2", f"boots = {'9' * 5000}"),
        "experiment-control-characters.toml": HEAD + '"\\u001b]0;pwn\\u0007" = 2\n',
        "experiment-median-of-nothing.toml": HEAD + "[timing]\nboot_median = 1e-9\n",
        "experiment-recordings-nowhere.toml": HEAD.replace('"C"', '""'),
        "experiment-recordings-above.toml": HEAD.replace('"C"', '"../x"'),
        "experiment-recordings-long.toml": HEAD.replace('"C"', f'"{"x" * 300}"'),
        "workload-nested.toml": BY_HAND + f"[pre_init]\npages = {'[' * 19_000}{']' * 19_000}\n",
        "workload-40-million-pages.toml": BY_HAND
        + f"[pre_init]\npages = [{', '.join(['{ order = 0, count = 100000 }'] * 400)}]\n",
        "workload-years-of-sleep.toml": BY_HAND.replace(
            '{ do = "login" }', '{ do = "sleep", ticks = 1000000 }, ' * 900 + '{ do = "login" }'
        ),
        "workload-control-characters.toml": BY_HAND.replace('"init"', '"in\\u001b]0;pwned\\u0007it"'),
        "counts-control-characters.csv": "env,variant,ram_mb,jitter,boots,failures,use\nC,\x1b[2J,32,0,1,1,check\n",
        "vectors-nested.jsonl": "[" * 30_000 + "\n",
        "vectors-control-characters.jsonl": '{"config": "x\\u001b]0;pwn\\u0007", "id": "\\u001b[2J"}\n',
    }


def program() -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Facts and arrays (columns first) of a small program, written by hand."""
    from mcsim.workload.handmade import read_workload

    path = FOLDER / "small.toml"
    path.write_text(SMALL)
    read_workload(path, BOARD).save(FOLDER / "small.npz", BOARD)
    with np.load(FOLDER / "small.npz") as loaded:
        arrays = {name: loaded[name] for name in loaded.files}
    path.unlink()
    (FOLDER / "small.npz").unlink()
    return json.loads(arrays.pop("facts").tobytes()), arrays


def programs() -> dict[str, bytes]:
    """Programs that are none."""
    facts, arrays = program()
    op = arrays["op"]
    taken, waiting, mapped = (
        int(np.flatnonzero(op[flat.KIND] == kind)[0]) for kind in (flat.OP_PAGE_ALLOC, flat.OP_WAIT, flat.OP_MMAP)
    )

    def packed(changes: dict[str, Any] | None = None, text: str | None = None, **others: np.ndarray) -> bytes:
        told = json.dumps({**facts, **(changes or {})}) if text is None else text
        return archive({**arrays, "facts": np.frombuffer(told.encode(), np.uint8), **others})

    def with_op(column: int, row: int, value: int, dtype: str = "<i4") -> np.ndarray:
        changed = op.astype(dtype)
        changed[column, row] = value
        return changed

    member = bytearray(packed())
    member[len(member) // 3] ^= 0x40
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<i4", "fortran_order": False, "shape": (2**40, 6)})
    return {
        "program-handle-out-of-range.npz": packed(op=with_op(flat.A, taken, 2**30)),
        "program-handle-below-0.npz": packed(op=with_op(flat.A, taken, -1)),
        "program-order-of-60.npz": packed(op=with_op(flat.B, taken, 60)),
        "program-too-few-handles.npz": packed({"handles": 1}),
        "program-handles-without-end.npz": packed({"handles": 2**31}),
        "program-of-floats.npz": packed(op=op.astype("<f8")),
        "program-of-int64.npz": packed(op=with_op(flat.B, mapped, int(op[flat.B, mapped]) + 2**32, "<i8")),
        "program-lanes-that-wait-for-ever.npz": packed(op=with_op(flat.B, waiting, 1000)),
        "program-facts-nested.npz": packed(text="[" * 100_000),
        "program-facts-a-list.npz": packed(text="[]"),
        "program-facts-missing.npz": packed(text=json.dumps({k: v for k, v in facts.items() if k != "variant"})),
        "program-facts-too-many.npz": packed({"another": 1}),
        "program-member-flipped.npz": bytes(member),
        "program-member-no-array.npz": archive({**arrays, "facts": b"text"}),
        "program-of-2-to-the-40.npz": archive({**arrays, "facts": b"", "op": header.getvalue()}),
        "program-control-characters.npz": packed(
            {"names": ["in\x1b]0;pwned\x07it"] * len(facts["names"]), "name": "\x1b"}
        ),
    }


def archive(members: dict[str, Any]) -> bytes:
    """A NumPy archive of arrays, or of what stands in their place."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        for name, member in members.items():
            info = zipfile.ZipInfo(f"{name}.npy", (2022, 6, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            out.writestr(info, member if isinstance(member, bytes) else npy(member))
    return file.getvalue()


def recordings(folder: Path) -> dict[str, Path]:
    """Damaged recordings, too large to be kept: made in a folder, each in one of its own with the symbols it needs."""
    with np.load(RECORDING) as loaded:
        arrays = {name: loaded[name] for name in loaded.files}

    def saved(name: str, content: bytes) -> Path:
        path = folder / name / RECORDING.name
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        (path.parent / "symbols_N.csv").write_bytes((RECORDING.parent / "symbols_N.csv").read_bytes())
        return path

    context = arrays["irq"].copy()
    context[6000] = 255
    whole = bytearray(RECORDING.read_bytes())
    whole[len(whole) // 2] ^= 0x40
    return {
        name: saved(name, content)
        for name, content in {
            "column of int16": archive({**arrays, "b": arrays["b"].astype("<i2")}),
            "context 255": archive({**arrays, "irq": context}),
            "member flipped": bytes(whole),
            "member no array": archive({**arrays, "pfn": b"text"}),
            "cut off": RECORDING.read_bytes()[:50_000],
            "bomb": archive({**arrays, "a": np.zeros(140_000_000, "<i8")}),
        }.items()
    }


def vectors_of_one_line(path: Path) -> Path:
    """A line of 70 MB in a file of 70 kB."""
    path.write_bytes(gzip.compress(b'{"config": "nommu", "id": "' + b"a" * (70 << 20) + b'"}\n'))
    return path


def main() -> None:
    """Write all files."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in texts().items():
        (FOLDER / name).write_text(text)
    for name, content in programs().items():
        (FOLDER / name).write_bytes(content)
    (FOLDER / "timing-not-utf8").mkdir(exist_ok=True)
    (FOLDER / "timing-not-utf8" / "timing.toml").write_bytes(b'# \xff\n[timing]\ntick_phase = "uniform"\n')


if __name__ == "__main__":
    main()
