"""BLAS threads are slower than one on matrices this small; set before NumPy loads. Tests of the guard set their own.

Hypothesis draws the same examples in every run, so that a red run is about the change and not about the draw; the
``explore`` profile (``pytest --hypothesis-profile=explore``) draws new ones.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None)
settings.load_profile("repeatable")
