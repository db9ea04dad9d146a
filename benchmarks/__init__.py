"""Measurements against other libraries: whole networks with `python -m benchmarks`, single kernels with
`python -m benchmarks kernels`, what comes on top of kernels with `python -m benchmarks overhead`.

Every library runs in a process of its own, in an interpreter of its own where an environment variable names one
(`libraries.py`). All of them take turns within one run, on the same cores and with as many threads.

    KGRAPH_BENCH_TORCH=/path/to/python KGRAPH_BENCH_TF_KERAS=/path/to/python python -m benchmarks --quick

`networks/` and `kernels/` say what is measured and how each library does it; `worker.py` is a library's process,
`process.py` the other end of it; `rounds.py` lets them take turns; `report.py` and `plot.py` write the results.
`overhead/` times calls against their kernels alone, `fit` against its steps, new batch sizes, and steps beside a
program that takes a core.
"""
