"""What passes may know about a value's content: small helpers that `specialize` and `simplify` share."""

from __future__ import annotations

import math

import numpy as np

from ir.graph import Value
from ir.opdef import Array

Number = bool | int | float
_SPREADING = ("broadcast_to", "reshape", "transpose")  # ops whose elements are those of their operand


def constant_array(v: Value) -> Array | None:
    """The content of a `constant`; None for anything else."""
    if v.node is None or v.node.op.name != "constant":
        return None
    attrs = v.node.attrs
    return np.array(attrs["value"], dtype=attrs["dtype"].numpy).reshape(attrs["shape"])


def splat(v: Value) -> Number | None:
    """The one number that every element of `v` is known to be, else None. Follows `broadcast_to` and the like."""
    while v.node is not None and v.node.op.name in _SPREADING:
        v = v.node.inputs[0]
    if v.node is None or v.node.op.name != "constant":
        return None
    elements: tuple[Number, ...] = v.node.attrs["value"]
    if not elements or not all(same_number(x, elements[0]) for x in elements[1:]):
        return None
    return elements[0]


def is_splat(v: Value, number: Number) -> bool:
    """Whether every element of `v` is `number`; 0.0 and -0.0 are told apart."""
    known = splat(v)
    return known is not None and same_number(known, number)


def same_number(a: Number, b: Number) -> bool:
    """Equal in value and, for zeros, in sign. A NaN is the same as nothing."""
    return a == b and math.copysign(1.0, a) == math.copysign(1.0, b)
