"""Fashion-MNIST: 70,000 pictures of clothes of 28x28 pixels, in ten classes."""

from __future__ import annotations

import gzip
import os
import zlib

import numpy as np

from kgraph.utils.data_utils import get_file

__all__ = ["get_file", "load_data"]

_ORIGIN = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
_SIZE = 28


def load_data() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """`(x_train, y_train), (x_test, y_test)`: 60,000 and 10,000 images, uint8 of shape `(n, 28, 28)`, and their
    classes. Its four files lie in `~/.keras/datasets/fashion-mnist`."""
    train, test = (_part(name) for name in ("train", "t10k"))
    return train, test


def _part(name: str) -> tuple[np.ndarray, np.ndarray]:
    labels = _bytes(f"{name}-labels-idx1-ubyte.gz", 8)
    images = _bytes(f"{name}-images-idx3-ubyte.gz", 16)
    if images.size != labels.size * _SIZE * _SIZE:
        raise ValueError(
            f"the files of Fashion-MNIST's part {name!r} do not belong together: {labels.size} labels, but "
            f"{images.size / _SIZE**2:g} images"
        )
    return images.reshape(-1, _SIZE, _SIZE), labels


def _bytes(name: str, header: int) -> np.ndarray:
    """The bytes of a compressed file after its header."""
    path = get_file(name, origin=_ORIGIN + name, cache_subdir=os.path.join("datasets", "fashion-mnist"))
    try:
        with gzip.open(path, "rb") as file:
            return np.frombuffer(file.read(), np.uint8, offset=header).copy()
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
