"""The ``kernel`` decorator: Numba functions whose compiled code is kept in a folder of our own.

Numba's cache knows one source file's stamp per function, so it goes on using a caller compiled against an older helper;
it writes next to the sources or into a folder shared with other packages. Here the code is kept by a digest of *all*
kernel sources, the versions and the code generation settings (see ``_store`` for the files). Numba's configuration and
the caches of other packages are left alone.

A kernel with declared signatures accepts only these: arguments are converted to them or refused.
"""

from __future__ import annotations

import hashlib
import pickle
import platform
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

import llvmlite
import llvmlite.binding
import numba
import numpy
import scipy
from numba.core import caching, compiler, config, serialize, sigutils
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import CPUDispatcher
from numba.core.runtime.nrt import rtsys

from mixeff_fast.kernels._compiler import collector_at_rest, pipeline
from mixeff_fast.kernels._linking import attach, detach, origins
from mixeff_fast.kernels._store import Store, source_digests

_Function = TypeVar("_Function", bound=Callable[..., Any])
Role = Literal["entry", "inner", "small", "inline", "allocating"]
# roles of kernels that Python calls
ENTRIES = ("entry", "allocating")
Listener = Callable[[str, dict[str, Any]], None]

_HERE = Path(__file__).parent
# Numba's own annotations differ from version to version.
_config: Any = config
_CacheBase: Any = caching._Cache
_DispatcherBase: Any = CPUDispatcher
# The C wrapper serves functions passed as values; without it a kernel compiles a sixth faster.
_OPTIONS = {"nopython": True, "nogil": True, "error_model": "numpy", "boundscheck": False, "no_cfunc_wrapper": True}
# Settings that change the generated code. The processor and its features are part of every file's name.
_SETTINGS = ("OPT", "BOUNDSCHECK", "DEBUGINFO_DEFAULT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "DISABLE_INTEL_SVML")


@dataclass(frozen=True, slots=True)
class CacheFacts:
    """What became of the kernels used by this process.

    Attributes
    ----------
    directory
        Folder of the compiled code; None if there is none.
    reason
        Why compiled code cannot be kept; None if it can.
    loaded, compiled
        Signatures taken from the folder, and signatures compiled by this process.
    """

    directory: Path | None
    reason: str | None
    loaded: int
    compiled: int


class _Events:
    """Delivers each event once; what happens before there is a listener waits for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listener: Listener | None = None
        self._seen: set[str] = set()
        self._waiting: list[tuple[str, dict[str, Any]]] = []

    def listen(self, listener: Listener | None) -> Listener | None:
        with self._lock:
            previous, self._listener = self._listener, listener
            waiting = self._waiting if listener is not None else []
            if listener is not None:
                self._waiting = []
        for event, payload in waiting:
            if listener is not None:
                listener(event, payload)
        return previous

    def emit(self, event: str, payload: dict[str, Any]) -> None:
        with self._lock:
            if event in self._seen:
                return
            self._seen.add(event)
            listener = self._listener
            if listener is None:
                self._waiting.append((event, payload))
        if listener is not None:
            listener(event, payload)


class _State:
    """What all kernels of the process share."""

    def __init__(self) -> None:
        self.events = _Events()
        self.digests = source_digests(_HERE)
        self.store = Store(self._key(), self._report)
        self.reason: str | None = None
        self.changed = not self.digests
        self.loaded = 0
        self.compiled = 0

    def _key(self) -> str:
        versions = (numba.__version__, numpy.__version__, scipy.__version__, llvmlite.__version__)
        python = (sys.implementation.cache_tag, platform.python_version(), getattr(sys, "abiflags", ""))
        settings = tuple((name, str(getattr(_config, name, None))) for name in _SETTINGS)
        text = repr((sorted(self.digests.items()), versions, python, settings))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def _report(self, reason: str, path: Path | None) -> None:
        self.reason = reason
        self.events.emit("cache_unavailable", {"reason": reason, "path": None if path is None else str(path)})

    def admits(self, function: Callable[..., Any]) -> bool:
        """Tell whether a function's code may be kept: it is one of ours, and the key speaks of all it depends on.

        Code of a module that was edited after the key was computed belongs to another key, and so does that of all
        its callers: then nothing is kept or loaded any more.
        """
        path = Path(function.__code__.co_filename)
        if path.parent != _HERE or function.__closure__ is not None:
            return False
        try:
            info = path.stat()
            self.changed |= _digest_of(path, info.st_mtime_ns, info.st_size) != self.digests.get(path.name)
        except OSError:
            self.changed = True
        return True

    def is_current(self) -> bool:
        """Tell whether the key speaks of the sources that were imported; report it if not."""
        if self.changed:
            reason = "the sources changed while in use" if self.digests else "the sources cannot be read"
            self.store.unavailable(reason, _HERE)
        return not self.changed

    def still_current(self) -> bool:
        """Tell the same about the sources as they are now, since callers may have imported them at any time."""
        self.changed |= source_digests(_HERE) != self.digests
        return self.is_current()


@cache
def _digest_of(path: Path, changed: int, size: int) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


_STATE = _State()


class _KernelCache(_CacheBase):  # type: ignore[misc]
    """Numba's cache protocol over our store."""

    def __init__(self, function: Callable[..., Any], kept: bool) -> None:
        self._name = f"{function.__module__.rpartition('.')[2]}.{function.__qualname__}"
        self._kept = kept

    @property
    def cache_path(self) -> str | None:
        folder = _STATE.store.folder() if self._kept else None
        return None if folder is None else str(folder)

    def file_name(self, signature: Any, target: Any) -> str:
        args, result = sigutils.normalize_signature(signature)
        text = repr((tuple(map(str, args)), str(result), target.codegen().magic_tuple()))
        return f"{self._name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.kernel"

    def has(self, signature: Any, target: Any) -> bool:
        return self._kept and _STATE.is_current() and _STATE.store.has(self.file_name(signature, target))

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        result = self._load(sig, target_context) if self._kept and _STATE.is_current() else None
        if result is not None:
            _STATE.loaded += 1
            return result
        _STATE.events.emit("compile", {"kernel": self._name, "directory": self.cache_path})
        _STATE.compiled += 1
        _STATE.store.prune()
        return None

    def _load(self, sig: Any, target_context: Any) -> Any:
        name = self.file_name(sig, target_context)
        content = _STATE.store.load(name)
        if content is None:
            return None
        # Loaded code needs Numba's runtime but not its type registries, which take 0.2 s to fill.
        rtsys.initialize(target_context)
        try:
            symbols, needed, parts = pickle.loads(content)
            attach(needed)
            if not _resolved(symbols):
                target_context.refresh()
                if not _resolved(symbols):
                    return None
            return compiler.CompileResult._rebuild(target_context, *parts)
        except Exception:  # whatever is wrong with a file that was kept, its kernel can be compiled again
            _STATE.store.discard(name)
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        if not self._kept or data.lifted or data.library.has_dynamic_globals or not _STATE.still_current():
            return
        try:
            symbols = _undefined_symbols(data.library)
            content = serialize.dumps((symbols, origins(symbols), data._reduce()))
        except Exception as error:
            _STATE.store.unavailable(f"{self._name} cannot be serialized: {error}", None)
            return
        _STATE.store.save(self.file_name(sig, data.target_context), content)

    def enable(self) -> None:
        """Numba asks for this; our cache is always on."""

    def disable(self) -> None:
        """Numba asks for this; our cache is always on."""

    def flush(self) -> None:
        """Numba calls this before it recompiles; files are replaced one by one, so nothing is to be done."""


def _undefined_symbols(library: Any) -> tuple[str, ...]:
    """Names that linking has to find. Those that cannot be looked up even now cannot be checked later either."""
    declared = (function.name for function in library._final_module.functions if function.is_declaration)
    return tuple(name for name in declared if not name.startswith("llvm.") and _resolved((name,)))


def _resolved(symbols: Iterable[str]) -> bool:
    """Tell whether all symbols have an address: linking code that refers to one without ends the process."""
    return all(llvmlite.binding.address_of_symbol(name) is not None for name in symbols)


class _Kernel(_DispatcherBase):  # type: ignore[misc]
    """A dispatcher that compiles its declared signatures, and only these, when it is first called."""

    def __init__(
        self, function: Callable[..., Any], signatures: tuple[str, ...], options: dict[str, Any], apart: bool, quick: bool
    ) -> None:
        super().__init__(function, targetoptions=options, pipeline_class=pipeline(quick))
        self._cache = _KernelCache(function, _STATE.admits(function))
        self._declared = signatures
        self._apart = apart

    def __reduce__(self) -> str:
        """Pickle by name, as functions are: a copy made from the source would be compiled again and not be kept."""
        return str(self.__qualname__)

    def _compilation_chain_init_hook(self) -> None:
        """Extensions of Numba by other packages are not loaded: kernels use none."""

    def compile(self, sig: Any) -> Any:
        with global_compiler_lock, collector_at_rest():
            entry = super().compile(sig)
            if self._apart:
                for arguments, result in self.overloads.items():
                    detach(self.py_func, arguments, result)
            return entry

    def provide(self, arguments: Any) -> None:
        """Have the code for these argument types in memory."""
        if self._declared:
            self._compile_declared()
        elif arguments not in self.overloads:
            self.compile(arguments)

    def _compile_declared(self) -> None:
        with global_compiler_lock:
            if self._can_compile:
                for signature in self._declared:
                    self.compile(signature)
                self.disable_compile()

    def _compile_for_args(self, *args: Any, **kws: Any) -> Any:
        if not self._declared:
            return super()._compile_for_args(*args, **kws)
        self._compile_declared()
        # Called again, the dispatcher finds the declared signatures and converts the arguments to one of them.
        return self

    def get_call_template(self, args: Any, kws: Any) -> Any:
        if self._declared:
            self._compile_declared()
        return super().get_call_template(args, kws)

    def is_ready(self) -> bool:
        """Tell whether every declared signature is compiled or on disk."""
        return all(
            sigutils.normalize_signature(text)[0] in self.overloads or self._cache.has(text, self.targetctx)
            for text in self._declared
        )


@overload
def kernel(function: _Function, /) -> _Function: ...


@overload
def kernel(
    *signatures: str, fastmath: frozenset[str] = frozenset(), role: Role = "entry", quick: bool = False
) -> Callable[[_Function], _Function]: ...


def kernel(
    *arguments: Any, fastmath: frozenset[str] = frozenset(), role: Role = "entry", quick: bool = False
) -> Any:
    """Compile a function with Numba on first use and keep the code on disk.

    The code releases the interpreter lock, divides as NumPy does and does not check bounds. Where Numba is switched off
    (``NUMBA_DISABLE_JIT``, a debugging aid) functions stay as they are, and those that call LAPACK do not work.

    Parameters
    ----------
    *signatures
        Signatures such as ``"float64(float64[::1], int64)"``. Without any, each combination of argument types that is
        met is compiled.
    fastmath
        Relaxations of floating-point rules, by LLVM's names, such as ``frozenset({"reassoc", "contract"})``.
    role
        ``"entry"``: Python and other kernels call it. ``"inner"``: only kernels do, and nothing is compiled that Python
        would need; its code exists once. ``"small"``: the same, but callers get a copy and may optimize it into their
        loops. ``"inline"``: callers are compiled as if the function were written out in them. ``"allocating"``: an entry
        that makes arrays, or is called by one that does; the others cannot, and so need not count references.
    quick
        Compile in less time, to code without unrolled loops and vectors: for kernels that hold few numbers.

    Returns
    -------
    callable
        The kernel.
    """
    if len(arguments) == 1 and callable(arguments[0]):
        return kernel(role=role, quick=quick)(arguments[0])
    if _config.DISABLE_JIT:
        return lambda function: function
    options: dict[str, Any] = _OPTIONS | {"no_cpython_wrapper": role not in ENTRIES, "_nrt": role == "allocating"}
    if fastmath:
        options["fastmath"] = set(fastmath)
    if role == "inline":
        options["inline"] = "always"
    return lambda function: _Kernel(function, arguments, options, role in (*ENTRIES, "inner"), quick)


def allocating_kernel(function: _Function, /) -> _Function:
    """A kernel that makes arrays, or works on arrays that a kernel made."""
    compiled: _Function = kernel(role="allocating")(function)
    return compiled


def inner_kernel(function: _Function, /) -> _Function:
    """A kernel that only other kernels call, compiled once."""
    compiled: _Function = kernel(role="inner")(function)
    return compiled


def quick_kernel(function: _Function, /) -> _Function:
    """An inner kernel that holds few numbers, compiled in less time."""
    compiled: _Function = kernel(role="inner", quick=True)(function)
    return compiled


def small_kernel(function: _Function, /) -> _Function:
    """A kernel that is copied into the kernels that call it."""
    compiled: _Function = kernel(role="small")(function)
    return compiled


def inline_kernel(function: _Function, /) -> _Function:
    """A kernel that is written out in its callers."""
    compiled: _Function = kernel(role="inline")(function)
    return compiled


def set_listener(listener: Listener | None) -> Listener | None:
    """Name who is told about compilation, and return who was before.

    The listener is called with an event and its facts, each event at most once per process: ``"compile"`` before the
    first kernel is compiled because it was not kept (``kernel``, ``directory``), and ``"cache_unavailable"`` when
    compiled code cannot be kept (``reason``, ``path``). Events from before there was a listener are delivered now.
    """
    return _STATE.events.listen(listener)


def cache_directory() -> Path | None:
    """Return the folder of the compiled code, or None where there cannot be one."""
    return _STATE.store.folder() if _STATE.is_current() else None


def cache_facts() -> CacheFacts:
    """Return what became of the kernels used so far."""
    return CacheFacts(cache_directory(), _STATE.reason, _STATE.loaded, _STATE.compiled)


def is_cached(function: Callable[..., Any]) -> bool:
    """Tell whether a kernel's declared signatures can be used without compiling them."""
    return isinstance(function, _Kernel) and bool(function._declared) and function.is_ready()
