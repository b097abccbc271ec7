"""The loop of every Python worker: one JSON object a line in, one out.

Runs in environments with nothing but the package that is timed: the standard library only, Python 3.10 or later. What a
package prints goes to standard error, also from C, so that answers stay whole.

``load`` (the data, the model) is answered with versions; ``fit`` (``reml``, ``times``) with the seconds of each fit and
what the last one found. A failure is answered with its reason, and the worker goes on.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable
from importlib import metadata
from typing import Any

Message = dict[str, Any]


def serve(
    load: Callable[[Message], Any],
    fit: Callable[[Any, bool], Any],
    facts: Callable[[Any], Message],
    packages: tuple[str, ...],
) -> None:
    """Answer messages until the input ends.

    Parameters
    ----------
    load
        Reads the data and makes whatever a user has in hand before fitting; not timed.
    fit
        The fit call, with what `load` returned and whether to fit by REML; this is timed.
    facts
        ``loglik``, ``evaluations`` and ``converged`` of a fit, None where not known; not timed.
    packages
        Distributions whose versions are reported, the package itself first.
    """
    warnings.simplefilter("ignore")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    loaded: Any = None
    for line in sys.stdin:
        message = json.loads(line)
        answer: Message = {"ok": True}
        try:
            if message["do"] == "load":
                loaded = load(message)
                versions = {name: _version(name) for name in packages}
                answer["versions"] = versions | {"Python": platform.python_version()}
            else:
                answer |= _fits(fit, facts, loaded, message)
        except Exception as error:  # whatever a package raises is the answer
            answer = {"ok": False, "reason": f"{type(error).__name__}: {error}"[:500]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _fits(fit: Callable[[Any, bool], Any], facts: Callable[[Any], Message], loaded: Any, message: Message) -> Message:
    gc.collect()
    seconds = []
    fitted = None
    for _ in range(message["times"]):
        fitted = None
        start = time.perf_counter()
        fitted = fit(loaded, message["reml"])
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds, **facts(fitted)}


def _version(name: str) -> str:
    """A module's own word first: a package used from its sources is not installed."""
    return str(getattr(sys.modules.get(name), "__version__", None) or metadata.version(name))
