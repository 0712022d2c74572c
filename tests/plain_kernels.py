"""The kernels once more, as plain Python: for tests of what a kernel does, without waiting for a compiler."""

import importlib
import sys
from types import ModuleType, SimpleNamespace
from unittest import mock

import numba


def plain_kernels(*names: str) -> SimpleNamespace:
    """Modules kernels.NAME imported apart from the compiled ones, their functions left uncompiled."""
    compiled = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "kernels"}
    for name in compiled:
        del sys.modules[name]
    try:
        with mock.patch.object(numba.core.config, "DISABLE_JIT", 1):
            modules: dict[str, ModuleType] = {name: importlib.import_module(f"kernels.{name}") for name in names}
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "kernels"]:
            del sys.modules[name]
        sys.modules.update(compiled)
    return SimpleNamespace(**modules)
