"""Calling compiled kernels from Python: functions made from addresses."""

from __future__ import annotations

import ctypes
from collections.abc import Callable


def c_function(address: int, params: int = 4) -> Callable[..., None]:
    """The C function `void(int64, ...)` at an address, callable with `params` integers; it runs without the
    interpreter lock.
    """
    return ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * params)(address)
