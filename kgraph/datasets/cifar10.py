"""CIFAR-10: 60,000 colour images of 32x32 pixels, in ten classes."""

from __future__ import annotations

import os

import numpy as np

from kgraph import backend as K
from kgraph.datasets.cifar import load_batch
from kgraph.utils.data_utils import get_file

__all__ = ["get_file", "load_batch", "load_data"]


def load_data() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """`(x_train, y_train), (x_test, y_test)`: 50,000 and 10,000 images, uint8 of shape `(n, 32, 32, 3)` or, with the
    channels first, `(n, 3, 32, 32)`; classes of shape `(n, 1)`.

    It comes from `~/.keras/datasets/cifar-10-batches-py.tar.gz`, unpacked beside it.
    """
    origin = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
    path = get_file("cifar-10-batches-py", origin=origin, untar=True)
    parts = [load_batch(os.path.join(path, f"data_batch_{i}")) for i in range(1, 6)]
    x_train = np.concatenate([images for images, _ in parts])
    y_train = np.concatenate([np.array(labels, np.uint8) for _, labels in parts])
    x_test, labels = load_batch(os.path.join(path, "test_batch"))
    return (_ordered(x_train), y_train.reshape(-1, 1)), (_ordered(x_test), np.reshape(labels, (-1, 1)))


def _ordered(images: np.ndarray) -> np.ndarray:
    return images.transpose(0, 2, 3, 1) if K.image_data_format() == "channels_last" else images
