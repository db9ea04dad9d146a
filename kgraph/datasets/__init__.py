"""Data sets. `digits` comes with the package."""

from kgraph.datasets import digits

__all__ = ["digits"]
