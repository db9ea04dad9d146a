"""A bound on the weights that a model from a file may make, so that a file's config cannot exhaust memory.

`saving.load_model` sets it to what the file's weights justify; `Layer.add_weight` asks before it makes each weight.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from contextvars import ContextVar

_left: ContextVar[int | None] = ContextVar("left", default=None)


@contextlib.contextmanager
def limited(elements: int) -> Iterator[None]:
    """In this block, new weights may hold so many numbers altogether."""
    token = _left.set(elements)
    try:
        yield
    finally:
        _left.reset(token)


def claim(layer_name: str, weight_name: str | None, shape: Sequence[int]) -> None:
    """Take the numbers of one weight from the bound, if there is one. Raises ValueError where they exceed it."""
    left = _left.get()
    if left is None:
        return
    left -= abs(math.prod(shape))
    if left < 0:
        raise ValueError(
            f"Layer {layer_name}: weight '{weight_name}' of shape {tuple(shape)} does not fit the file, whose weights "
            "are much smaller."
        )
    _left.set(left)
