"""Models as estimators of other libraries."""

from kgraph.wrappers import scikit_learn

__all__ = ["scikit_learn"]
