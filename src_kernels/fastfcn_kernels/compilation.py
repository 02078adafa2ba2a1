"""How kernels are compiled, and where compiled kernels are kept.

Numba stamps a cached function with its own file alone, so editing a helper in another file leaves
its callers stale (numba#1833). Here the folder's name is a hash of every kernel source and of the
machine's vector shape: any edit opens a new, empty folder.
"""

import contextlib
import functools
import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.caching import CompileResultCacheImpl, FunctionCache
from numba.core.ccallback import CFunc
from numba.extending import intrinsic

from fastfcn_kernels import simd


@functools.cache
def sources_hash() -> str:
    """Return the hash that stands for this version of the kernels on this kind of machine."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    digest.update(repr((simd.VECTOR_BYTES, simd.TILE_ROWS, simd.TILE_VECTORS)).encode())
    return digest.hexdigest()[:16]


def cache_root() -> Path:
    """Return the folder of all compiled kernels: $FASTFCN_CACHE_DIR, else the user's cache."""
    chosen = os.environ.get("FASTFCN_CACHE_DIR")
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA", "~/AppData/Local")
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "fastfcn" / "kernels"


class _Locator:
    """Tell Numba's cache where one function is kept and what stamp it carries."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._line = function.__code__.co_firstlineno

    def get_cache_path(self) -> str:
        return str(cache_root() / sources_hash())

    def get_source_stamp(self) -> str:
        return sources_hash()

    def get_disambiguator(self) -> str:
        return str(self._line)

    def ensure_cache_path(self) -> None:
        Path(self.get_cache_path()).mkdir(parents=True, exist_ok=True)

    @classmethod
    def from_function(cls, function: Callable[..., Any], path: str) -> "_Locator":
        return cls(function)


class _CacheImpl(CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes = [_Locator]


class _KernelCache(FunctionCache):  # type: ignore[misc]
    """A cache that is never the reason why a kernel does not run.

    Numba writes index and data files by rename, so that several processes may compile at once. What
    can still fail (no home, a full disk, a folder wiped while the process runs, a damaged file)
    costs a compilation and no more.
    """

    _impl_class = _CacheImpl

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(signature, target_context)
        except Exception:  # whatever a damaged file raises
            return None

    def save_overload(self, signature: Any, data: Any) -> None:
        try:
            self._impl.locator.ensure_cache_path()
            super().save_overload(signature, data)
        except OSError:
            pass
        except Exception:  # the index is damaged: begin a new one
            with contextlib.suppress(Exception):
                self.flush()
                super().save_overload(signature, data)


compiled: list[Any] = []
"""Every entry kernel, so that compilation can be observed."""


_helpers: set[tuple[str, str]] = set()


def helper(function: Callable[..., Any]) -> Any:
    """Compile a piece of kernels: it is built into its callers and cached with them.

    Python never calls it, so it needs no wrappers: two more compiled copies of the same code.

    Every helper has a name of its own. Numba names compiled code by qualified name, argument types
    and a counter of the process. Two kernels that were compiled in different processes and are
    loaded from the cache into one may then hold different code under one name, and the loader takes
    the first for both: wrong results without a word.
    """
    name = function.__module__, function.__qualname__
    if name in _helpers:
        raise ValueError(f"every helper must have a name of its own, got {name} twice; use variant")
    _helpers.add(name)
    options = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return numba.njit(error_model="numpy", nogil=True, **options)(function)


def variant(name: str) -> Callable[[Callable[..., Any]], Any]:
    """Compile one of several helpers that are made from one source, under its own name."""

    def decorate(function: Callable[..., Any]) -> Any:
        function.__qualname__ = name
        return helper(function)

    return decorate


class Native:
    """A kernel over pointers and numbers that is compiled once for a precision.

    What a helper is built into is compiled again with it, every time. Code of any size is better
    compiled on its own and called through its address, which the layer table carries.

    Parameters
    ----------
    function : callable
        Returns nothing.
    arguments : str
        A letter for each argument: ``p`` a pointer to reals, ``r`` a real, ``n`` a count.
    """

    def __init__(self, function: Callable[..., Any], arguments: str) -> None:
        self._function, self._arguments = function, arguments
        self._compiled: dict[np.dtype[Any], Any] = {}

    def address(self, dtype: np.dtype[Any]) -> int:
        """Return the kernel's address for float32 or float64, compiled or loaded on first use."""
        if dtype not in self._compiled:
            real = numba.from_dtype(dtype)
            kinds = {"p": types.CPointer(real), "r": real, "n": types.intp}
            arguments = tuple(kinds[letter] for letter in self._arguments)
            options = {"error_model": "numpy", "no_cpython_wrapper": True}
            compiled_function: Any = CFunc(self._function, (arguments, types.void), {}, options)
            compiled_function._cache = _KernelCache(self._function)
            compiled_function.compile()
            self._compiled[dtype] = compiled_function
        return int(self._compiled[dtype].address)


def native(arguments: str) -> Callable[[Callable[..., Any]], Native]:
    """Make a :class:`Native` of a function."""
    return functools.partial(Native, arguments=arguments)


@intrinsic
def call(typingctx: Any, address: Any, arguments: Any) -> Any:
    """Call a :class:`Native` by its address, with a tuple of what its letters say."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        values = cgutils.unpack_tuple(builder, args[1])
        function = ir.FunctionType(ir.VoidType(), [value.type for value in values])
        builder.call(builder.inttoptr(args[0], function.as_pointer()), values)
        return context.get_dummy_value()

    return types.void(address, arguments), codegen


def kernel(parallel: bool) -> Callable[[Callable[..., Any]], Any]:
    """Compile a kernel that Python calls: lazily, without the GIL, and kept on disk.

    Division follows IEEE (``error_model="numpy"``) and no ``fastmath`` flag is set: NaN, infinities
    and the order of sums are the source's own.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        dispatcher = numba.njit(parallel=parallel, error_model="numpy", nogil=True)(function)
        dispatcher._cache = _KernelCache(function)
        compiled.append(dispatcher)
        return dispatcher

    return decorate


def compiled_signatures() -> int:
    """Return how many kernel specialisations this process holds, loaded or compiled."""
    return sum(len(dispatcher.signatures) for dispatcher in compiled)
