"""Boston house prices of 1978: 506 districts with 13 numbers about each."""

from __future__ import annotations

import numpy as np

from kgraph.datasets.files import read_npz
from kgraph.datasets.words import shuffled
from kgraph.utils.data_utils import get_file

__all__ = ["get_file", "load_data"]


def load_data(
    path: str = "boston_housing.npz", test_split: float = 0.2, seed: int = 113
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """`(x_train, y_train), (x_test, y_test)`: float64 of shapes `(n, 13)` and `(n,)`, prices in thousands of dollars.

    # Arguments
        path: name of the file in `~/.keras/datasets`, or its absolute path.
        test_split: part of the data to test with.
        seed: of numpy's global generator, by which the data are shuffled.
    """
    if not 0 <= test_split < 1:
        raise ValueError(f"`test_split` must be at least 0 and less than 1. Received: {test_split}")
    path = get_file(
        path,
        origin="https://s3.amazonaws.com/keras-datasets/boston_housing.npz",
        file_hash="f553886a1f8d56431e820c5b82552d9d95cfcb96d1e678153f8839538947dff5",
    )
    x, y = read_npz(path, "x", "y")
    np.random.seed(seed)
    x, y = shuffled(x, y)
    train = int(len(x) * (1 - test_split))
    return (x[:train], y[:train]), (x[train:], y[train:])
