"""For packages that hold networks for several Keras implementations and take the one to use as keyword arguments."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


def keras_modules_injection(base_fun: Callable[..., Any]) -> Callable[..., Any]:
    """`base_fun` with the keyword arguments `backend`, `layers`, `models` and `utils`: kgraph's modules of these names.

    What the caller gives under these names goes first.
    """

    @functools.wraps(base_fun)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        from kgraph import backend, layers, models, utils

        return base_fun(*args, **{"backend": backend, "layers": layers, "models": models, "utils": utils, **kwargs})

    return wrapper
