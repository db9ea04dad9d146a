"""CIFAR-100: 60,000 colour images of 32x32 pixels, in a hundred classes, or twenty groups of these."""

from __future__ import annotations

import os

import numpy as np

from kgraph import backend as K
from kgraph.datasets.cifar import load_batch
from kgraph.utils.data_utils import get_file

__all__ = ["get_file", "load_batch", "load_data"]


def load_data(label_mode: str = "fine") -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """`(x_train, y_train), (x_test, y_test)`: 50,000 and 10,000 images, uint8 of shape `(n, 32, 32, 3)` or, with the
    channels first, `(n, 3, 32, 32)`; labels of shape `(n, 1)`.

    It comes from `~/.keras/datasets/cifar-100-python.tar.gz`, unpacked beside it.

    # Arguments
        label_mode: "fine" for the hundred classes, "coarse" for the twenty groups.
    """
    if label_mode not in ("fine", "coarse"):
        raise ValueError(f'`label_mode` must be one of `"fine"`, `"coarse"`. Received: {label_mode!r}')
    origin = "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"
    path = get_file("cifar-100-python", origin=origin, untar=True)
    train, test = (_part(os.path.join(path, name), f"{label_mode}_labels") for name in ("train", "test"))
    return train, test


def _part(path: str, label_key: str) -> tuple[np.ndarray, np.ndarray]:
    images, labels = load_batch(path, label_key=label_key)
    if K.image_data_format() == "channels_last":
        images = images.transpose(0, 2, 3, 1)
    return images, np.reshape(labels, (-1, 1))
