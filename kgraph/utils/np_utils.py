"""Helpers on numpy arrays: one-hot labels and normalisation."""

from __future__ import annotations

from typing import Any

import numpy as np


def to_categorical(y: Any, num_classes: int | None = None, dtype: Any = "float32") -> np.ndarray:
    """One-hot rows for class numbers.

    `y` holds integers from 0 up to `num_classes` (default: the largest plus one), of any shape; a last axis of size
    one is dropped. The result has shape `(*y.shape, num_classes)`. A class number out of range is an IndexError.
    """
    labels = np.array(y, dtype="int")
    shape = labels.shape[:-1] if labels.ndim > 1 and labels.shape[-1] == 1 else labels.shape
    labels = labels.ravel()
    if not num_classes:
        if not labels.size:
            raise ValueError("`to_categorical` got no labels, so `num_classes` must be given.")
        num_classes = int(labels.max()) + 1
    categorical = np.zeros((labels.size, num_classes), dtype=dtype)
    categorical[np.arange(labels.size), labels] = 1
    return categorical.reshape((*shape, num_classes))


def normalize(x: Any, axis: int = -1, order: float = 2) -> np.ndarray:
    """`x` divided by its norm of the given order along `axis`; what has norm 0 stays as it is."""
    norms = np.atleast_1d(np.linalg.norm(x, order, axis))
    norms[norms == 0] = 1
    return x / np.expand_dims(norms, axis)
