"""BLAS threads are slower than one on matrices this small; set before NumPy loads. Tests of the guard set their own."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
