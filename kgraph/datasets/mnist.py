"""MNIST: 70,000 handwritten digits of 28x28 pixels."""

from __future__ import annotations

import numpy as np

from kgraph.datasets.files import read_npz
from kgraph.utils.data_utils import get_file

__all__ = ["get_file", "load_data"]


def load_data(path: str = "mnist.npz") -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """`(x_train, y_train), (x_test, y_test)`: 60,000 and 10,000 images, uint8 of shape `(n, 28, 28)`, and their digits.

    # Arguments
        path: name of the file in `~/.keras/datasets`, or its absolute path.
    """
    path = get_file(
        path,
        origin="https://s3.amazonaws.com/img-datasets/mnist.npz",
        file_hash="8a61469f7ea1b51cbae51d4f78837e45",
    )
    x_train, y_train, x_test, y_test = read_npz(path, "x_train", "y_train", "x_test", "y_test")
    return (x_train, y_train), (x_test, y_test)
