"""Settings that outlive sessions: the default float type, the fuzz factor and the order of image axes.

They start from `keras.json` in the user's Keras folder where that file is readable and sensible; a broken file is
ignored, a missing one is written with the defaults, to be edited. `session.py` holds the one `Config` in use.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
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


def keras_folder() -> Path:
    """`$KERAS_HOME`, else `~/.keras`, or `.keras` in the folder for temporary files where home cannot be written."""
    given = os.environ.get("KERAS_HOME")
    if given:
        return Path(given)
    home = Path(os.path.expanduser("~"))
    return (home if os.access(home, os.W_OK) else Path(tempfile.gettempdir())) / ".keras"


def load_config() -> Config:
    """The settings of the user's `keras.json`, each replaced by its default where it makes no sense."""
    file, config = keras_folder() / "keras.json", Config()
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        stored = None
        _write(config, file)
    except (OSError, ValueError):
        stored = None
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


def _write(config: Config, file: Path) -> None:
    """Writes the settings where that is possible."""
    content = {
        "floatx": config.floatx,
        "epsilon": config.epsilon,
        "backend": backend(),
        "image_data_format": config.image_data_format,
    }
    growing = file.with_name(f"keras.json.{os.getpid()}")
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        growing.write_text(json.dumps(content, indent=4), encoding="utf-8")
        os.replace(growing, file)


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
