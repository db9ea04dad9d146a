"""The file format that CIFAR-10 and CIFAR-100 have in common."""

from __future__ import annotations

from typing import Any

import numpy as np

from kgraph.datasets.files import read_pickle

__all__ = ["load_batch"]


def load_batch(fpath: str, label_key: str = "labels") -> tuple[np.ndarray, list[int]]:
    """The images, uint8 of shape `(n, 3, 32, 32)`, and the labels of a file.

    # Arguments
        fpath: path of the file.
        label_key: name of the labels in it.

    # Raises
        ValueError: for a file that is damaged or holds something else.
    """
    content = read_pickle(fpath)
    if not isinstance(content, dict):
        raise ValueError(f"{fpath} is no CIFAR file: it holds a {type(content).__name__}")
    named: dict[str, Any] = {k.decode("utf8") if isinstance(k, bytes) else k: v for k, v in content.items()}
    missing = [name for name in ("data", label_key) if name not in named]
    if missing:
        raise ValueError(f"{fpath} has no {missing[0]!r}; it has {', '.join(map(repr, sorted(named)))}")
    data, labels = named["data"], named[label_key]
    return data.reshape(data.shape[0], 3, 32, 32), labels
