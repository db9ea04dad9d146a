"""The warps of images on scipy, one channel after the other, as Keras did them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.kernels.cases import CASES, arrays, turned


def load(threads: int) -> str:
    import scipy

    return str(scipy.__version__)


def prepare(name: str, threads: int) -> Callable[[], Any]:
    import numpy as np
    from scipy.ndimage import affine_transform

    case = CASES[name]
    (x,) = arrays(case)
    matrix, offset = turned(len(x))
    (mode,) = case.options

    def step() -> Any:
        planes = [affine_transform(plane, matrix, offset, order=1, mode=mode) for plane in np.moveaxis(x, 2, 0)]
        return np.stack(planes, axis=2)

    return step
