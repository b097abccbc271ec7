"""The loop of every Python worker: one JSON object a line in, one out.

Runs in environments with nothing but the package that is timed: the standard library only, Python 3.10 or later. What a
package prints goes to standard error, also from C, so that answers stay whole.

``load`` (the data, the model) is answered with versions; ``fit`` (``reml``, ``times``) with the seconds of each
measurement, their mean processor time, and what the last one found. A failure is answered with its reason, and the worker
goes on.
"""

from __future__ import annotations

import array
import ctypes
import gc
import json
import math
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import Any

Message = dict[str, Any]


def _as_it_is(y: Any) -> Any:
    return y


@dataclass(frozen=True)
class Refits:
    """How a package fits a model again to other responses.

    `prepare` takes what was loaded and whether to fit by REML, `refit` takes what that returns and a response; `refit`
    alone is timed. `response` makes of an array of doubles what `refit` takes; where `together` is given, it makes of all
    of them what `refit` takes at once, and the facts are those of all fits.
    """

    prepare: Callable[[Any, bool], Any]
    refit: Callable[[Any, Any], Any]
    response: Callable[[Any], Any] = _as_it_is
    together: Callable[[list[Any]], Any] | None = None


class Worker:
    """What one process has loaded, and how it fits."""

    def __init__(self, load: Callable[[Message], Any], fit: Callable[[Any, bool], Any], facts: Callable[[Any], Message],
                 refits: Refits | None) -> None:
        self._load, self._fit, self._facts, self._refits = load, fit, facts, refits
        self._task = "fit"
        self._loaded: Any = None
        self._responses: list[Any] = []
        self._prepared: dict[bool, Any] = {}

    def load(self, message: Message) -> None:
        """Read the data, except where reading is part of what is timed."""
        self._task = message.get("task", "fit")
        if self._task == "refit":
            if self._refits is None:
                raise ValueError("has no refit")
            self._responses = [self._refits.response(y) for y in _responses(message)]
            if self._refits.together is not None:
                self._responses = [self._refits.together(self._responses)]
        self._loaded = message if self._task == "stream" else self._load(message)
        _release()

    def fits(self, message: Message) -> Message:
        """Measure so many times; one measurement of a refit task is all responses."""
        reml = message["reml"]
        measure = self._refit_all if self._task == "refit" else self._fit_once
        if self._task == "refit" and self._refits is not None and reml not in self._prepared:
            self._prepared[reml] = self._refits.prepare(self._loaded, reml)
        gc.collect()
        seconds: list[float] = []
        facts: Message = {}
        processor = 0.0
        for _ in range(message["times"]):
            taken, used, facts = measure(reml)
            seconds.append(taken)
            processor += used
        return {"seconds": seconds, "cpu": processor / len(seconds), **facts}

    def _fit_once(self, reml: bool) -> tuple[float, float, Message]:
        start, processor = time.perf_counter(), time.process_time()
        fitted = self._fit(self._load(self._loaded) if self._task == "stream" else self._loaded, reml)
        seconds, used = time.perf_counter() - start, time.process_time() - processor
        return seconds, used, self._facts(fitted)

    def _refit_all(self, reml: bool) -> tuple[float, float, Message]:
        assert self._refits is not None
        prepared, seconds, used = self._prepared[reml], 0.0, 0.0
        found = []
        for y in self._responses:
            start, processor = time.perf_counter(), time.process_time()
            fitted = self._refits.refit(prepared, y)
            seconds += time.perf_counter() - start
            used += time.process_time() - processor
            found.append(self._facts(fitted))
            del fitted
        facts = {name: _together([facts[name] for facts in found]) for name in found[0]}
        if facts["loglik"] is not None:
            facts["loglik"] /= len(found)
        return seconds, used, facts


def _together(values: list[Any]) -> Any:
    """Sums over refits; of yes and no, whether all are yes; None where one is not known."""
    if None in values:
        return None
    return all(values) if isinstance(values[0], bool) else sum(values)


def saturated(y: list[float], trials: list[float]) -> float:
    """The log-likelihood of binomial proportions by which they are most likely, which some packages leave out of theirs."""
    total = 0.0
    for share, size in zip(y, trials, strict=True):
        successes = round(share * size)
        total += math.lgamma(size + 1) - math.lgamma(successes + 1) - math.lgamma(size - successes + 1)
        if 0 < successes < size:
            total += successes * math.log(share) + (size - successes) * math.log1p(-share)
    return total


def _responses(message: Message) -> Iterator[Any]:
    with open(message["responses"]["path"], "rb") as numbers:  # noqa: PTH123
        for _ in range(message["responses"]["times"]):
            y = array.array("d")
            y.fromfile(numbers, message["rows"])
            yield y


def _release() -> None:
    """Hand memory that was needed only while reading back to the system, so that fits cannot hide in it."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        return


def serve(
    load: Callable[[Message], Any],
    fit: Callable[[Any, bool], Any],
    facts: Callable[[Any], Message],
    packages: tuple[str, ...],
    refits: Refits | None = None,
) -> None:
    """Answer messages until the input ends.

    Parameters
    ----------
    load
        Reads the data and makes whatever a user has in hand before fitting; timed only where the task is to fit from a file.
    fit
        The fit call, with what `load` returned and whether to fit by REML; this is timed.
    facts
        ``loglik``, ``evaluations`` and ``converged`` of a fit, None where not known; not timed.
    packages
        Distributions whose versions are reported, the package itself first.
    refits
        How the package fits a model to new responses; None for those that cannot.
    """
    warnings.simplefilter("ignore")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    worker = Worker(load, fit, facts, refits)
    for line in sys.stdin:
        message = json.loads(line)
        answer: Message = {"ok": True}
        try:
            if message["do"] == "load":
                worker.load(message)
                versions = {name: _version(name) for name in packages}
                answer["versions"] = versions | {"Python": platform.python_version()}
            else:
                answer |= worker.fits(message)
        except Exception as error:  # whatever a package raises is the answer
            answer = {"ok": False, "reason": f"{type(error).__name__}: {error}"[:500]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _version(name: str) -> str:
    """A module's own word first: a package used from its sources is not installed."""
    return str(getattr(sys.modules.get(name), "__version__", None) or metadata.version(name))
