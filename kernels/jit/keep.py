"""The compiled code of kernels on disk, by what Numba calls its own: its compile results, as its own cache has them."""

import hashlib
import os
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from mcsim.kernels.jit import cache
from mcsim.kernels.jit.private import has


def missing() -> list[str]:
    """What this module takes from Numba and this release does not have, or not with these parameters."""
    dispatcher: Any = numba.njit(missing)  # never compiled
    calls = (
        (CompileResult, "_rebuild", None),
        (CompileResult, "_reduce", 1),
        (dispatcher.targetctx, "refresh", 0),
        (dispatcher.targetctx.codegen(), "magic_tuple", 0),
        (dispatcher._cache, "load_overload", 2),
        (dispatcher._cache, "save_overload", 2),
    )
    return [name for owner, name, count in calls if not has(owner, name, count)]


class KernelCache(NullCache):  # type: ignore[misc]  # numba has no types
    """The compiled code of one kernel, in place of numba's own cache: a file for each signature, written and renamed.

    A file begins with the SHA-256 of what it is for and of what it holds. One that is damaged, or another kernel's, is
    found before anything in it is unpickled or run; then the kernel is compiled anew.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        """`function` closes over nothing: what it does depends on its file, and on the kernel sources."""
        source = Path(function.__code__.co_filename)
        self._name = f"{source.stem}.{function.__qualname__.replace('<locals>.', '')}"
        self._what = f"{cache.hash_of(source).hex()} {function.__qualname__} {function.__code__.co_firstlineno}"

    @property
    def cache_path(self) -> str | None:
        """The folder, for `stats` of numba."""
        folder = cache.cache_directory()
        return None if folder is None else str(folder)

    def load_overload(self, signature: Any, target: Any) -> Any:
        """The code for this signature, None if there is none."""
        target.refresh()
        path, key = self._place(signature, target)
        if path is None:
            return None
        try:
            with path.open("rb") as file:
                private, content = cache.is_private(os.fstat(file.fileno())), file.read()
        except OSError:
            return None
        size = hashlib.sha256().digest_size
        if not private or content[:size] != hashlib.sha256(key + content[size:]).digest():
            cache.say(f"{path}: damaged, or not this user's; {self._name} is compiled anew")
            return None
        try:
            result = CompileResult._rebuild(target, *pickle.loads(content[size:]))
        except (AttributeError, ImportError):  # a type that is named there is gone: of a kernel outside of this package
            return None
        # Types of one name need not be the same.
        return result if tuple(result.signature.args) == tuple(signature) else None

    def save_overload(self, signature: Any, result: Any) -> None:
        """Keep the code, if there is a place and room for it."""
        path, key = self._place(signature, result.target_context)
        if path is None or result.library.has_dynamic_globals:
            return
        code = dumps(result._reduce())
        try:
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(hashlib.sha256(key + code).digest() + code)
                Path(temporary).replace(path)
            finally:
                Path(temporary).unlink(missing_ok=True)
        except OSError as error:
            cache.say(f"{path.parent}: {error.strerror}; compiled kernels are not kept")

    def _place(self, signature: Any, target: Any) -> tuple[Path | None, bytes]:
        """The file for this signature, None if nothing is kept; and what the file is for."""
        folder = cache.cache_directory()
        key = f"{self._what} {signature} {target.codegen().magic_tuple()}".encode()
        return folder and folder / f"{self._name}.{hashlib.sha256(key).hexdigest()[:16]}", key
