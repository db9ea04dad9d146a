"""What the tests of image layers share: numpy in either data format, and configs that Keras itself wrote."""

from __future__ import annotations

from typing import Any

import numpy as np

LAST, FIRST = "channels_last", "channels_first"


def to_last(x: np.ndarray, data_format: str) -> np.ndarray:
    """Images as (samples, height, width, channels)."""
    return np.moveaxis(x, 1, -1) if data_format == FIRST else x


def from_last(x: np.ndarray, data_format: str) -> np.ndarray:
    """Images given channels last, as `data_format` has them."""
    return np.moveaxis(x, -1, 1) if data_format == FIRST else x


def images(data_format: str, samples: int = 5, height: int = 9, width: int = 7, channels: int = 3) -> np.ndarray:
    """Random images, the same for the same arguments."""
    x = np.random.default_rng(height * 100 + width).standard_normal((samples, height, width, channels))
    return np.ascontiguousarray(from_last(x.astype(np.float32), data_format))


def margins(size: int, window: int, stride: int, padding: str) -> tuple[int, int, int]:
    """Padding before and after an axis of `size`, and how many windows it holds, as TensorFlow places them."""
    if padding == "valid":
        return 0, 0, (size - window) // stride + 1
    count = -(-size // stride)
    total = max((count - 1) * stride + window - size, 0)
    return total // 2, total - total // 2, count


def predicted(layer: Any, x: np.ndarray, batch_size: int = 2) -> np.ndarray:
    """What a model of this layer alone predicts; batches of 2 leave a partial one."""
    from kgraph.engine.input_layer import Input
    from kgraph.engine.training import Model

    inputs = Input(shape=x.shape[1:], dtype=str(x.dtype))
    return Model(inputs, layer(inputs)).predict(x, batch_size=batch_size)


def without_tuples(config: Any) -> Any:
    """A config as JSON gives it back."""
    if isinstance(config, dict):
        return {key: without_tuples(value) for key, value in config.items()}
    return [without_tuples(item) for item in config] if isinstance(config, (list, tuple)) else config
