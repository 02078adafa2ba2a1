"""How kernels are compiled, and where compiled kernels are kept.

Numba stamps a cached function with its own file alone, so editing a helper in another file leaves
its callers stale (numba#1833). Here the folder's name is a hash of every kernel source and of the
machine's vector shape: any edit opens a new, empty folder.
"""

import contextlib
import ctypes
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
    tiles = (simd.VECTOR_BYTES, simd.TILE_ROWS, simd.TILE_VECTORS, simd.WIDE_VECTORS)
    digest.update(repr(tiles).encode())
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

    def _index_key(self, signature: Any, codegen: Any) -> Any:
        # The folder stands for the code, and what a kernel closes over has no lasting name.
        return signature, codegen.magic_tuple()

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
"""Every parallel kernel, so that compilation can be observed."""
natives: "list[Native]" = []
"""Every native one, likewise."""


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
    dispatcher = numba.njit(error_model="numpy", nogil=True, **options)(function)
    template = dispatcher.get_call_template
    # Numba compiles a helper once more for each constant it is called with, to no use: it is built
    # into its caller, where constants are known. A Numba that does not ask this way compiles more,
    # and nothing else is lost.
    dispatcher.get_call_template = lambda args, kws: template(
        tuple(map(types.unliteral, args)),
        {word: types.unliteral(kind) for word, kind in kws.items()},
    )
    return dispatcher


def variant(name: str) -> Callable[[Callable[..., Any]], Any]:
    """Compile one of several helpers that are made from one source, under its own name."""

    def decorate(function: Callable[..., Any]) -> Any:
        function.__qualname__ = name
        return helper(function)

    return decorate


class Native:
    """A kernel over pointers and numbers that is compiled once for a precision.

    A helper is compiled again with each kernel that it is built into. Code of any size is better
    compiled on its own and called through its address, which the frame or the layer table carries.

    Parameters
    ----------
    function : callable
        Returns nothing.
    arguments : str
        A letter for each argument: ``p`` a pointer to reals, ``f`` one to int64 (a frame, say),
        ``l`` one to int32, ``r`` a real, ``d`` a float64, ``n`` a count.
    """

    def __init__(self, function: Callable[..., Any], arguments: str) -> None:
        self._function, self._arguments = function, arguments
        self._compiled: dict[np.dtype[Any], Any] = {}
        self._callable: dict[np.dtype[Any], Any] = {}
        natives.append(self)

    @property
    def name(self) -> str:
        """The kernel's name."""
        return self._function.__name__

    @property
    def module(self) -> str:
        """The module it is defined in, without the package."""
        return self._function.__module__.rpartition(".")[2]

    @property
    def precisions(self) -> list[np.dtype[Any]]:
        """Precisions that this process holds compiled."""
        return list(self._compiled)

    def address(self, dtype: np.dtype[Any]) -> int:
        """Return the kernel's address for float32 or float64, compiled or loaded on first use."""
        return int(self._kernel(dtype).address)

    def function(self, dtype: np.dtype[Any]) -> Any:
        """Return the kernel as Python calls it: addresses and counts are ints, the GIL is free."""
        if dtype not in self._callable:
            kinds: dict[str, Any] = {
                "r": np.ctypeslib.as_ctypes_type(dtype),
                "d": ctypes.c_double,
                "n": ctypes.c_ssize_t,
            }
            arguments = [kinds.get(letter, ctypes.c_void_p) for letter in self._arguments]
            self._callable[dtype] = ctypes.CFUNCTYPE(None, *arguments)(self.address(dtype))
        return self._callable[dtype]

    def _kernel(self, dtype: np.dtype[Any]) -> Any:
        if dtype not in self._compiled:
            real = numba.from_dtype(dtype)
            kinds = {
                "p": types.CPointer(real),
                "f": types.CPointer(types.int64),
                "l": types.CPointer(types.int32),
                "r": real,
                "d": types.float64,
                "n": types.intp,
            }
            arguments = tuple(kinds[letter] for letter in self._arguments)
            options = {"error_model": "numpy", "no_cpython_wrapper": True}
            compiled_function: Any = CFunc(self._function, (arguments, types.void), {}, options)
            compiled_function._cache = _KernelCache(self._function)
            compiled_function.compile()
            self._compiled[dtype] = compiled_function
        return self._compiled[dtype]


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


def parallel(function: Callable[..., Any]) -> Any:
    """Compile a kernel with parallel regions: lazily, without the GIL, and kept on disk.

    Division follows IEEE (``error_model="numpy"``) and no ``fastmath`` flag is set, here and in
    every other kernel: NaN, infinities and the order of sums are the source's own. Regions are not
    fused: Numba cannot see what a kernel called by its address reads and writes.
    """
    options: dict[str, Any] = {"fusion": False}
    dispatcher = numba.njit(parallel=options, error_model="numpy", nogil=True)(function)
    dispatcher._cache = _KernelCache(function)
    compiled.append(dispatcher)
    return dispatcher


def compiled_signatures() -> int:
    """Return how many kernel specialisations this process holds, loaded or compiled."""
    parallel = sum(len(dispatcher.signatures) for dispatcher in compiled)
    return parallel + sum(len(kernel.precisions) for kernel in natives)
