"""Element types of tensors.

The first step of the IR: `types.py` builds tensor types on these. A `DType` has Keras' name (`float32`), a short
name for the text form (`f32`) and the numpy type that stores it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class DType:
    """One element type. `kind` is 'b' (bool), 'i' (signed), 'u' (unsigned) or 'f' (float)."""

    name: str
    short: str
    kind: str
    itemsize: int

    @property
    def numpy(self) -> np.dtype:
        return np.dtype(self.name)

    @property
    def is_float(self) -> bool:
        return self.kind == "f"

    @property
    def is_integer(self) -> bool:
        return self.kind in "iu"

    @property
    def is_bool(self) -> bool:
        return self.kind == "b"

    def __str__(self) -> str:
        return self.short

    def __repr__(self) -> str:
        return self.short


bool_ = DType("bool", "bool", "b", 1)
i8 = DType("int8", "i8", "i", 1)
i16 = DType("int16", "i16", "i", 2)
i32 = DType("int32", "i32", "i", 4)
i64 = DType("int64", "i64", "i", 8)
u8 = DType("uint8", "u8", "u", 1)
u16 = DType("uint16", "u16", "u", 2)
u32 = DType("uint32", "u32", "u", 4)
u64 = DType("uint64", "u64", "u", 8)
f16 = DType("float16", "f16", "f", 2)
f32 = DType("float32", "f32", "f", 4)
f64 = DType("float64", "f64", "f", 8)

ALL: tuple[DType, ...] = (bool_, i8, i16, i32, i64, u8, u16, u32, u64, f16, f32, f64)
_BY_NAME: dict[str, DType] = {d.name: d for d in ALL} | {d.short: d for d in ALL}


def of(dtype: object) -> DType:
    """The `DType` of a name ('float32', 'f32'), a numpy dtype or scalar type, or a `DType`.

    Raises ValueError for anything that tensors cannot hold (strings, objects, complex numbers).
    """
    if isinstance(dtype, DType):
        return dtype
    if isinstance(dtype, str) and dtype in _BY_NAME:
        return _BY_NAME[dtype]
    try:
        name = np.dtype(dtype).name  # type: ignore[call-overload]
    except TypeError:
        name = str(dtype)
    if name not in _BY_NAME:
        raise ValueError(f"unsupported dtype {dtype!r}; expected one of {', '.join(d.name for d in ALL)}")
    return _BY_NAME[name]
