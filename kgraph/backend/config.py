"""Settings that outlive sessions: the default float type, the fuzz factor and the order of image axes.

They start from `$KERAS_HOME/keras.json` (default `~/.keras/keras.json`) where that file is readable and sensible; a
broken file is ignored. `session.py` holds the one `Config` in use.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from kgraph.backend import session

FLOAT_TYPES = ("float16", "float32", "float64")
DATA_FORMATS = ("channels_last", "channels_first")


@dataclass
class Config:
    """`floatx` is a name in `FLOAT_TYPES`, `image_data_format` one in `DATA_FORMATS`."""

    floatx: str = "float32"
    epsilon: float = 1e-7
    image_data_format: str = "channels_last"


def load_config() -> Config:
    """The settings of the user's `keras.json`, each replaced by its default where it makes no sense."""
    home = os.environ.get("KERAS_HOME") or os.path.join(os.path.expanduser("~"), ".keras")
    try:
        with open(os.path.join(home, "keras.json"), encoding="utf-8") as file:
            stored = json.load(file)
    except (OSError, ValueError):
        stored = None
    config = Config()
    if not isinstance(stored, dict):
        return config
    if stored.get("floatx") in FLOAT_TYPES:
        config.floatx = stored["floatx"]
    if stored.get("image_data_format") in DATA_FORMATS:
        config.image_data_format = stored["image_data_format"]
    fuzz = stored.get("epsilon")
    if isinstance(fuzz, (int, float)) and not isinstance(fuzz, bool):
        config.epsilon = float(fuzz)
    return config


def backend() -> str:
    """The name of the backend whose semantics hold: 'tensorflow'."""
    return "tensorflow"


def floatx() -> str:
    """The default float type, such as 'float32'."""
    return session.current().config.floatx


def set_floatx(floatx: str) -> None:
    """Sets the default float type: 'float16', 'float32' or 'float64'."""
    if floatx not in FLOAT_TYPES:
        raise ValueError(f"Unknown floatx type: {floatx}")
    session.current().config.floatx = str(floatx)


def epsilon() -> float:
    """The fuzz factor that keeps logarithms and quotients finite."""
    return session.current().config.epsilon


def set_epsilon(e: float) -> None:
    """Sets the fuzz factor."""
    session.current().config.epsilon = e


def image_data_format() -> str:
    """The default order of image axes: 'channels_last' or 'channels_first'."""
    return session.current().config.image_data_format


def set_image_data_format(data_format: str) -> None:
    """Sets the default order of image axes."""
    if data_format not in DATA_FORMATS:
        raise ValueError(f"Unknown data_format: {data_format}")
    session.current().config.image_data_format = str(data_format)


def image_dim_ordering() -> str:
    """Keras 1's word for the order of image axes: 'th' (channels first) or 'tf'."""
    return "th" if image_data_format() == "channels_first" else "tf"


def set_image_dim_ordering(dim_ordering: str) -> None:
    """Sets the order of image axes by Keras 1's words 'th' and 'tf'."""
    if dim_ordering not in ("tf", "th"):
        raise ValueError(f"Unknown dim_ordering: {dim_ordering}")
    set_image_data_format("channels_first" if dim_ordering == "th" else "channels_last")


def normalize_data_format(value: str | None) -> str:
    """`value` checked, in lower case; the default order for None."""
    if value is None:
        return image_data_format()
    data_format = value.lower()
    if data_format not in DATA_FORMATS:
        raise ValueError(
            f'The `data_format` argument must be one of "channels_first", "channels_last". Received: {value}'
        )
    return data_format


def cast_to_floatx(x: Any) -> np.ndarray:
    """A number or array as a numpy array of the default float type."""
    return np.asarray(x, dtype=floatx())
