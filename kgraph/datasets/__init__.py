"""Data sets. `digits` comes with the package; the others are kept in `~/.keras/datasets` and fetched when they are
first used. Without a network, the error names the file and the folder where to put it.
"""

from kgraph.datasets import (
    boston_housing,
    cifar,
    cifar10,
    cifar100,
    digits,
    fashion_mnist,
    imdb,
    mnist,
    reuters,
)

__all__ = ["boston_housing", "cifar", "cifar10", "cifar100", "digits", "fashion_mnist", "imdb", "mnist", "reuters"]
