"""Tensor types: an element type and a shape of dims. Built on `dtypes.py` and `dims.py`; used by everything after."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ir import dims, dtypes
from ir.dims import Dim, Env
from ir.dtypes import DType


@dataclass(frozen=True)
class TensorType:
    """The type of a value: `f32[B, 28, 28, 1]`. Shapes are row-major; a scalar has shape ()."""

    dtype: DType
    shape: tuple[Dim, ...]

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> Dim:
        """Number of elements."""
        return dims.product(self.shape)

    @property
    def nbytes(self) -> Dim:
        return dims.product((*self.shape, self.dtype.itemsize))

    def substitute(self, env: Env) -> TensorType:
        return TensorType(self.dtype, tuple(dims.substitute(d, env) for d in self.shape))

    def bind(self, env: Env) -> tuple[int, ...]:
        """The concrete shape."""
        return tuple(dims.bind(d, env) for d in self.shape)

    def with_dtype(self, dtype: DType) -> TensorType:
        return TensorType(dtype, self.shape)

    def __str__(self) -> str:
        return f"{self.dtype.short}[{', '.join(dims.format_dim(d) for d in self.shape)}]"

    __repr__ = __str__


def tensor(dtype: object, *shape: Dim) -> TensorType:
    """Shorthand: `tensor("f32", B, 3)`."""
    return TensorType(dtypes.of(dtype), tuple(shape))


def symbols(types: Iterable[TensorType]) -> list[dims.SymDim]:
    """The symbols of several types in order of first appearance."""
    seen: dict[dims.SymDim, None] = {}
    for t in types:
        for d in t.shape:
            for s in sorted(dims.symbols(d), key=lambda s: (s.name, s.token)):
                seen.setdefault(s)
    return list(seen)
