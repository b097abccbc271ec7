"""BLAS threads are slower than one on matrices this small; set before NumPy loads. Tests of the guard set their own.

Hypothesis draws the same examples in every run, so that a red run is about the change and not about the draw; the
``explore`` profile (``pytest --hypothesis-profile=explore``) draws new ones.

Every artifact that a test makes is recorded; ``test_emissions.py`` comes last and judges the record.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from pathlib import Path

import pytest
from hypothesis import settings

from tests.emissions import EMISSIONS

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None)
settings.load_profile("repeatable")

EMISSIONS.install()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave nightly tests out unless a mark expression asks for them, and put ``test_emissions.py`` last. What it asks of a
    whole session is asked only where every module runs, in one process."""
    if not config.getoption("markexpr", None):
        nightly = [item for item in items if item.get_closest_marker("nightly")]
        items[:] = [item for item in items if item not in nightly]
        config.hook.pytest_deselected(items=nightly)
    last = [item for item in items if item.path.name == "test_emissions.py"]
    items[:] = [item for item in items if item not in last]
    present = {item.path for item in items}
    chosen = any(config.getoption(name, None) for name in ("keyword", "markexpr", "deselect", "lf", "numprocesses"))
    partial = chosen or "PYTEST_XDIST_WORKER" in os.environ or any("::" in argument for argument in config.args)
    if partial or any(path not in present | {last[0].path} for path in Path(__file__).parent.glob("test_*.py") if last):
        dropped = [item for item in last if item.get_closest_marker("whole_session")]
        last = [item for item in last if item not in dropped]
        config.hook.pytest_deselected(items=dropped)
    items += last
