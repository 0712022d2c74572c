"""The kernels once more, as plain Python: for tests of what a kernel does, without waiting for a compiler."""

import importlib
import sys
from types import ModuleType, SimpleNamespace
from unittest import mock

import numba

import mcsim
import mcsim.kernels


def plain_kernels(*names: str) -> SimpleNamespace:
    """Modules mcsim.kernels.NAME imported apart from the compiled ones, their functions left uncompiled."""
    compiled = {name: module for name, module in sys.modules.items() if name.startswith("mcsim.kernels")}
    for name in compiled:
        del sys.modules[name]
    try:
        with mock.patch.object(numba.core.config, "DISABLE_JIT", 1):
            modules: dict[str, ModuleType] = {name: importlib.import_module(f"mcsim.kernels.{name}") for name in names}
    finally:
        for name in [name for name in sys.modules if name.startswith("mcsim.kernels")]:
            del sys.modules[name]
        sys.modules.update(compiled)
        mcsim.kernels = compiled["mcsim.kernels"]  # what `import mcsim.kernels.x as y` asks
    return SimpleNamespace(**{name.split(".")[-1]: module for name, module in modules.items()})
