"""From an optimised graph to a program that runs: scheduling, memory planning, kernel printers per target, the kernel
cache.

Before it comes `ir` (what a graph means); after it comes `kgraph` (the runtime that binds programs to a user's arrays).
"""
