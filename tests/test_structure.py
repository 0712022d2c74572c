"""Imports go one way: each room of the house names the rooms it may import, and none imports another.

Read from the code: imports inside functions and those for types alone count as well.
"""

import ast
import os
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import mcsim

PACKAGE = Path(mcsim.__file__).parent
FLOOR = "errors files"  # which need each other
DATA = "model workload"
ENGINES = "stats simulator store run studies fidelity logs"
KERNELS = "kernels.jit kernels.linux kernels.boot kernels.probe"

# Room: what it may import beside itself. A name stands for all that lies in it, but where that has a row of its own.
ARROWS = {
    "errors": "files",
    "files": "errors",
    "kernels": "",
    "kernels.jit": "",
    "kernels.linux": "kernels.jit",
    "kernels.boot": "kernels.jit kernels.linux",
    "kernels.probe": "kernels.jit kernels.linux kernels.boot",
    "stats": "errors",
    "model": FLOOR,
    "workload": f"{FLOOR} model kernels.linux kernels.boot.program",
    "logs": f"{FLOOR} model",
    "simulator": f"{FLOOR} {DATA} {KERNELS}",
    "simulator.values": "kernels.boot.page_owner kernels.linux",
    "store": f"{FLOOR} model stats",
    "run": f"{FLOOR} {DATA} stats simulator store kernels.jit.cache",
    "studies": f"{FLOOR} {DATA} stats simulator store run",
    "fidelity": f"{FLOOR} {DATA} stats simulator store run studies kernels.linux kernels.probe kernels.boot.program",
    "report": f"{FLOOR} {DATA} stats store studies fidelity logs simulator.values kernels.linux.gfp",
    "api": f"{FLOOR} {DATA} {ENGINES} report",
    "": f"{FLOOR} api",  # `import mcsim`
    "cli": f"{FLOOR} {DATA} {ENGINES} report api mcsim",
    "__main__": "cli",
}
# What kernels and pure statistics are made of.
LIBRARIES = {
    "kernels.jit": {"numpy", "numba", "llvmlite", "platformdirs"},
    "kernels.linux": {"numpy", "numba"},
    "kernels.boot": {"numpy", "numba"},
    "kernels.probe": {"numpy", "numba"},
    "stats": {"numpy", "scipy"},
}


def modules() -> dict[str, Path]:
    """Name below mcsim -> file, of all modules; the kernels may be a link."""
    found = {}
    for folder, _, files in os.walk(PACKAGE, followlinks=True):
        for file in files:
            if file.endswith(".py"):
                path = Path(folder, file)
                found[".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").strip(".")] = (
                    path
                )
    return found


MODULES = modules()


def imported(code: str) -> Iterator[str]:
    """Full names of what is imported anywhere in a file: modules, or names in modules."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not read here"
            yield from (f"{node.module}.{each.name}" for each in node.names)


def within(name: str, room: str) -> bool:
    return name == room or name.startswith(f"{room}.")


def room_of(module: str) -> str:
    return max((room for room in ARROWS if within(module, room)), key=len)


def module_of(name: str) -> str:
    """`stats.intervals.interval` -> `stats.intervals`; the package itself is `mcsim`."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name or "mcsim"


def wrong_arrows(module: str, code: str) -> set[tuple[str, str]]:
    """Modules of ours that `module` imports and may not."""
    room = room_of(module)
    targets = {module_of(name.partition(".")[2]) for name in imported(code) if within(name, "mcsim")}
    allowed = [room, *ARROWS[room].split()]
    return {(module, target) for target in targets if not any(within(target, each) for each in allowed)}


def test_every_import_goes_along_an_arrow() -> None:
    assert len(MODULES) > 100
    found = {arrow for module, path in MODULES.items() for arrow in wrong_arrows(module, path.read_text())}
    assert found == set()


def test_the_arrows_go_one_way() -> None:
    def floor(room: str) -> str:
        return "floor" if room in FLOOR.split() else room

    graph = {
        floor(room): {floor(room_of(each)) for each in to.split() if each != "mcsim"} for room, to in ARROWS.items()
    }
    graph["floor"] = set()
    assert list(TopologicalSorter(graph).static_order())[-1] in ("__main__", "cli")


def test_only_the_simulator_and_checks_of_allocators_know_how_kernels_boot() -> None:
    into = {room for room, to in ARROWS.items() for each in to.split() if each == "kernels.boot"}
    assert into == {"simulator", "kernels.probe"}


def test_kernels_and_statistics_are_made_of_few_libraries() -> None:
    for room, allowed in LIBRARIES.items():
        for module, path in MODULES.items():
            if within(module, room):
                roots = {name.partition(".")[0] for name in imported(path.read_text())} - {"mcsim"}
                assert roots - sys.stdlib_module_names <= allowed, module


def test_an_arrow_up_is_found_wherever_it_stands() -> None:
    lazily = "def f():\n    from mcsim.run import engine\n"
    for_types = "if TYPE_CHECKING:\n    from mcsim.simulator.simulator import Simulator\n"
    assert wrong_arrows("stats.plan", lazily) == {("stats.plan", "run.engine")}
    assert wrong_arrows("report.html", for_types) == {("report.html", "simulator.simulator")}
    assert wrong_arrows("kernels.linux.slub", "import mcsim.kernels.boot.boot") == {
        ("kernels.linux.slub", "kernels.boot.boot")
    }
    assert wrong_arrows("studies.rare", "import mcsim") == {("studies.rare", "mcsim")}
    assert not wrong_arrows("studies.rare", "from mcsim.run import engine")
