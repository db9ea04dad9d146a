"""`print` on the CPU: a copy, then a call back into Python, which shows the copy.

The launch holds the function that is called, so that it lives as long as the program, and says that it has an effect,
so that it runs in every run even where nothing that it reads has changed.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from codegen.launch import Launch, LowerContext, Lowering, Read, Write
from codegen.source import Kernel
from ir.graph import Node
from ir.ops.effects import show
from ir.types import TensorType

_SOURCE, _TARGET, _BYTES, _FUNCTION, _SHAPE = range(5)

PRINT = Kernel(
    "print",
    f"""
def kernel(args, lo, hi, worker):
    a = slots(args)
    copy(a[{_TARGET}], a[{_SOURCE}], a[{_BYTES}])
    call_n(a[{_FUNCTION}], args)
""",
)


def lower_print(node: Node, ctx: LowerContext) -> list[Launch]:
    x, y = ctx.buffer(node.inputs[0]), ctx.buffer(node.output)
    function = _shower(node.attrs["message"], node.output.type)
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert address is not None
    slots = (Read(x), Write(y), x.nbytes, address, *node.output.shape)
    return [Launch(PRINT, slots, tiles=1, effect=function)]


def _shower(message: str, type: TensorType) -> Any:
    """A C function of the address of the kernel's slots."""

    def call(args: int) -> None:
        slots = (ctypes.c_int64 * (_SHAPE + type.rank)).from_address(args)
        data = ctypes.string_at(slots[_TARGET], slots[_BYTES])
        show(message, np.frombuffer(data, type.dtype.numpy).reshape(slots[_SHAPE:]))

    return ctypes.CFUNCTYPE(None, ctypes.c_int64)(call)


LOWERINGS: dict[str, Lowering] = {"print": lower_print}
