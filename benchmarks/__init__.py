"""Benchmarks: how long fits take, alone (``pytest benchmarks``) and next to other packages (``python -m benchmarks.peers``)."""
