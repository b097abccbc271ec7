"""The oracle's tests of the models of ``inference.json``: ``python -m tests.reference.inference_dense [OUTPUT]``.

lmerTest differentiates numerically; here every derivative is a formula, at an optimum polished by Newton steps on the
n x n criterion. The tests stand in the order coefficients, terms, contrasts, with the rows of ``inference.json``.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from tests.inference_references import Tested, inference_references, problem_of
from tests.oracle_inference import KenwardRoger, Satterthwaite, Test, at_optimum, gradient, kenward_roger, satterthwaite


def record(test: Test) -> dict[str, float]:
    out = {"ndf": test.ndf, "ddf": test.ddf, "F": test.F, "p": test.p, "scale": test.scale, "unscaled": test.unscaled}
    if not np.isnan(test.se):
        p_t = float(2 * stats.t.sf(abs(test.t), test.ddf))
        out |= {"estimate": float(test.estimate[0]), "se": test.se, "t": test.t, "p_t": p_t}
    return out


def all_of(method: Satterthwaite | KenwardRoger, tests: Sequence[Tested]) -> list[dict[str, float]]:
    return [record(method.test(each.L, each.rhs)) for each in tests]


def main(output: Path) -> None:
    models: dict[str, Any] = {}
    for name, model in inference_references().items():
        began = time.perf_counter()
        point = at_optimum(problem_of(name), model.theta, model.reml)
        models[name] = {
            "theta": point.theta.tolist(),
            "sigma": point.sigma,
            "gradient": float(np.abs(gradient(point)).max()),
            "held": point.held,
            "satterthwaite": all_of(satterthwaite(point), model.tests),
            "kenward_roger": all_of(kenward_roger(point), model.tests),
            "everything": all_of(kenward_roger(point, held=False), model.tests) if point.held else [],
        }
        print(f"{name:28s} gradient {models[name]['gradient']:.1e}  held {point.held}  "
              f"{time.perf_counter() - began:.1f} s", flush=True)
    lines = [f'"{name}": {json.dumps(found)}' for name, found in models.items()]
    output.write_text(f'{{"numpy": "{np.__version__}", "models": {{\n' + ",\n".join(lines) + "\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "inference_dense.json")
