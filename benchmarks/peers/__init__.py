"""Our engine next to other packages, on the same data, in turns: ``python -m benchmarks.peers``.

`engines` knows the packages, `install` puts each in an environment of its own, `handoff` writes the data once,
`session` talks to one worker process per engine, `run` takes turns, `judge` compares, `goals` says what is reached, `table`
writes, `machine` tells where it was.
"""
