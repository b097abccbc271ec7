"""Compiled kernels: arrays in, arrays out. No frames, no formulas; imports NumPy, Numba and SciPy only."""
